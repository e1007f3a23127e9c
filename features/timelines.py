"""Timelines: what each person did, in time order. NumPy only: training and serving use them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.online import ages_in_days, decayed
from features.options import Signal
from features.types import Bool, Histories, Int8, Int32, Int64, gather, row_numbers


@dataclass(frozen=True)
class Timelines:
    """Every event that carries a signal, person by person, in time order.

    indptr:  (n_persons + 1,) int64       items: (m,) int32       signals: (m,) int8
    occurred_us: (m,) int64, microseconds since 1970 UTC; equal times stay in the log's order
    """

    indptr: Int64
    items: Int32
    signals: Int8
    occurred_us: Int64
    n_items: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def where(self, kept: Bool) -> Timelines:
        """The same people with only the entries that `kept` (m,) names."""
        lengths = np.bincount(row_numbers(self.indptr)[kept], minlength=len(self))
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return Timelines(
            indptr, self.items[kept], self.signals[kept], self.occurred_us[kept], self.n_items
        )

    def take(self, rows: Int64) -> Timelines:
        """The timelines of the named people."""
        indptr, entries = gather(self.indptr, rows)
        return Timelines(
            indptr, self.items[entries], self.signals[entries], self.occurred_us[entries],
            self.n_items,
        )  # fmt: skip

    def histories(self, as_of_us: int, signals: dict[str, Signal]) -> Histories:
        """How all of it weighs at `as_of_us`; entries after that moment must not be there."""
        ages = ages_in_days(self.occurred_us, as_of_us)
        weights = decayed(self.signals, ages, signals)
        return Histories(self.indptr, self.items, self.signals, weights, ages, self.n_items)
