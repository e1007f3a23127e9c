"""From people to queries: what we know of them, plus what they do right now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import scipy.sparse as sp

from features.options import Signal
from features.timelines import Timelines
from features.types import Bool, Int8, Int16, Int32, Int64, nothing, only_rows, row_numbers
from training.rankers.base import Queries


@dataclass(frozen=True)
class Standing:
    """What is known of people besides what they did, a row per person of some timelines.

    segments: (n,) int16, -1 in none        stages: (n,) int8, -1 unknown
    declared: (n, n_categories) CSR float32, what they told us, decayed to the moment of asking
    """

    segments: Int16
    stages: Int8
    declared: sp.csr_matrix

    @classmethod
    def nobody(cls, rows: int, n_categories: int = 0) -> Self:
        """`rows` people of whom no such thing is known."""
        return cls(np.full(rows, -1, np.int16), np.full(rows, -1, np.int8),
                   nothing(rows, n_categories))  # fmt: skip

    def of(self, persons: Int32) -> Standing:
        """(len(persons),) the standing of these rows; of -1 nothing is known."""
        place = np.maximum(persons, 0)
        if not len(self.segments):
            return Standing.nobody(len(persons), self.declared.shape[1])
        told = self.declared[place] if self.declared.nnz else nothing(
            len(persons), self.declared.shape[1])  # fmt: skip
        return Standing(self.segments[place], self.stages[place], told).only(persons >= 0)

    def only(self, known: Bool) -> Standing:
        """The same, but of those not in `known` (n,) nothing is known."""
        if known.all():
            return self
        return Standing(
            np.where(known, self.segments, np.int16(-1)), np.where(known, self.stages, np.int8(-1)),
            only_rows(self.declared, known),
        )  # fmt: skip


def queries_for(
    timelines: Timelines, persons: Int32, recent: Sequence[Int32], now_us: int,
    signals: dict[str, Signal], session_signal: int, standing: Standing | None = None,
) -> Queries:  # fmt: skip
    """The queries of people with a past in `timelines` and a present in `recent`.

    persons:  (n,) rows of `timelines`, -1 for people it does not know
    recent:   n arrays of item indices, oldest first: the current session, an event each at `now_us`
    standing: of the rows of `timelines`; None: of nobody anything is known
    """
    past = _with_strangers(timelines, persons)
    together = with_present(past, recent, now_us, session_signal)
    plain = Queries.plain(together.histories(now_us, signals), np.diff(past.indptr), now_us)
    if standing is None:
        return plain
    own = standing.of(persons)
    return replace(plain, segment=own.segments, stage=own.stages, declared=own.declared)


def with_present(
    past: Timelines, recent: Sequence[Int32], now_us: int, session_signal: int
) -> Timelines:
    """Each person's past, followed by a new session of `recent` items at `now_us`."""
    lengths = np.array([one.size for one in recent], dtype=np.int64)
    rows = np.concatenate([row_numbers(past.indptr), np.repeat(np.arange(len(recent)), lengths)])
    order = np.argsort(rows, kind="stable")  # each row: its past, then its present
    fresh = np.concatenate([np.empty(0, np.int32), *recent]).astype(np.int32)
    return Timelines(
        past.indptr + np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        np.concatenate([past.items, fresh])[order],
        np.concatenate([past.signals, np.full(fresh.size, session_signal, np.int8)])[order],
        np.concatenate([past.occurred_us, np.full(fresh.size, now_us, np.int64)])[order],
        np.concatenate([past.sessions, _sessions_so_far(past).repeat(lengths)])[order],
        past.n_items,
    )


def _with_strangers(timelines: Timelines, persons: Int32) -> Timelines:
    """The timelines of `persons`, empty where a person is -1."""
    known = persons >= 0
    taken = timelines.take(persons[known].astype(np.int64))
    lengths: Int64 = np.zeros(persons.size, dtype=np.int64)
    lengths[known] = np.diff(taken.indptr)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return replace(taken, indptr=indptr)


def _sessions_so_far(past: Timelines) -> Int32:
    """(n,) how many sessions each person has had: the number of the next one."""
    following = np.zeros(len(past), dtype=np.int32)
    np.maximum.at(following, row_numbers(past.indptr), past.sessions + 1)
    return following
