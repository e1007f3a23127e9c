"""Timelines: what each person did, in time order. NumPy only: training and serving use them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.online import ages_in_days, decayed, newer_in_pile
from features.options import Signal
from features.types import Bool, Histories, Int8, Int32, Int64, gather, row_numbers


@dataclass(frozen=True)
class Timelines:
    """Every event that carries a signal, person by person, in time order.

    indptr:  (n_persons + 1,) int64       items: (m,) int32       signals: (m,) int8
    occurred_us: (m,) int64, microseconds since 1970 UTC; equal times stay in the log's order
    sessions:    (m,) int32, number of the session within the person, from 0
    """

    indptr: Int64
    items: Int32
    signals: Int8
    occurred_us: Int64
    sessions: Int32
    n_items: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def where(self, kept: Bool) -> Timelines:
        """The same people with only the entries that `kept` (m,) names."""
        lengths = np.bincount(row_numbers(self.indptr)[kept], minlength=len(self))
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return self._entries(indptr, kept)

    def take(self, rows: Int64) -> Timelines:
        """The timelines of the named people."""
        return self._entries(*gather(self.indptr, rows))

    def between(self, begins: Int64, ends: Int64) -> tuple[Timelines, Int64]:
        """A row per pair of bounds: the entries from begins[i] until ends[i]; which these are."""
        bounds = np.stack([begins, ends], axis=1).ravel()
        indptr, entries = gather(bounds, 2 * np.arange(begins.size))
        return self._entries(indptr, entries), entries

    def followed_by(self, later: Timelines) -> tuple[Timelines, Int64]:
        """Row by row these entries, then those of `later`; and the place of each in both, joined.

        The numbers of the sessions stay as they are in each.
        """
        rows = np.concatenate([row_numbers(self.indptr), row_numbers(later.indptr)])
        order = np.argsort(rows, kind="stable")
        return Timelines(
            self.indptr + later.indptr,
            np.concatenate([self.items, later.items])[order],
            np.concatenate([self.signals, later.signals])[order],
            np.concatenate([self.occurred_us, later.occurred_us])[order],
            np.concatenate([self.sessions, later.sessions])[order], later.n_items,
        ), order  # fmt: skip

    def histories(self, as_of_us: Int64 | int, signals: dict[str, Signal]) -> Histories:
        """How all of it weighs at `as_of_us`; entries after that moment must not be there.

        as_of_us: of everybody, or (m,) of each entry

        Of one person's events of a signal on one item only the newest `Signal.cap` count: the older
        ones stay, but weigh nothing.
        """
        ages = ages_in_days(self.occurred_us, as_of_us)
        weights = decayed(self.signals, ages, signals)
        weights[self._over_the_cap(signals)] = 0
        return Histories(self.indptr, self.items, self.signals, weights, ages, self.n_items)

    def _entries(self, indptr: Int64, entries: Int64 | Bool) -> Timelines:
        return Timelines(
            indptr, self.items[entries], self.signals[entries], self.occurred_us[entries],
            self.sessions[entries], self.n_items,
        )  # fmt: skip

    def _over_the_cap(self, signals: dict[str, Signal]) -> Int64:
        """Entries with more than `cap` newer ones of the same person, item and signal.

        What blocks an item is never capped: it blocks however often it was said.
        """
        most = [s.cap if s.cap is not None and s.weight > 0 else 0 for s in signals.values()]
        if not any(most):
            return np.empty(0, np.int64)
        caps = np.array(most, dtype=np.int64)  # 0: none
        entries = np.flatnonzero(caps[self.signals])
        of_item = row_numbers(self.indptr)[entries] * self.n_items + self.items[entries]
        pile = of_item * len(signals) + self.signals[entries]
        return entries[newer_in_pile(pile) >= caps[self.signals[entries]]]
