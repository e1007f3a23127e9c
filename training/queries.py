"""From people to queries: what we know of them, plus what they do right now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from features.options import Signal
from features.timelines import Timelines
from features.types import Int32, Int64, row_numbers
from training.rankers.base import Queries


def queries_for(
    timelines: Timelines, persons: Int32, recent: Sequence[Int32], now_us: int,
    signals: dict[str, Signal], session_signal: int,
) -> Queries:  # fmt: skip
    """The queries of people with a past in `timelines` and a present in `recent`.

    persons: (n,) rows of `timelines`, -1 for people it does not know
    recent:  n arrays of item indices, oldest first: the current session, one event each at `now_us`
    """
    past = _with_strangers(timelines, persons)
    together = with_present(past, recent, now_us, session_signal)
    return Queries.plain(together.histories(now_us, signals), np.diff(past.indptr), now_us)


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
