"""Past and future: what a model may learn from, and what it is judged by.

No past holds an event at or after its cut. `leave_last_out` is the one exception, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from features.timelines import Timelines
from features.types import DAY_US, Bool, Int32, Int64, row_numbers

_WEEK_US = 7 * DAY_US


@dataclass(frozen=True)
class Split:
    """The same people before and from `cut_us` on."""

    past: Timelines
    future: Timelines
    cut_us: int


def time_split(timelines: Timelines, cut_us: int) -> Split:
    """Everything before `cut_us` (microseconds since 1970) is past, the rest is future."""
    past = timelines.occurred_us < cut_us
    return Split(timelines.where(past), timelines.where(~past), cut_us)


def cut_for_test(timelines: Timelines, test_days: float | None) -> int:
    """Where the test slice begins: `test_days` before the end, else a tenth of it (1 to 28 days).

    Never more than half of the log unless it is asked for; a log of one moment has no test slice.
    Raises ValueError when `test_days` would leave no past.
    """
    if not len(timelines.occurred_us):
        raise ValueError("the log has no event that carries a signal; see `signals:` in the config")
    first, last = int(timelines.occurred_us.min()), int(timelines.occurred_us.max())
    span = (last - first) / DAY_US
    if test_days is not None and test_days >= span:
        raise ValueError(
            f"training.test_days is {test_days:g}, but the log covers {span:.3g} days; "
            "ask for fewer, or leave it out"
        )
    days = test_days or min(float(np.clip(span / 10, 1, 28)), span / 2)
    return last - int(days * DAY_US) + (span == 0)


def rolling_weeks(
    timelines: Timelines, weeks: int, *, until_us: int | None = None
) -> Iterator[Split]:
    """Weeks on end, oldest first: each is the future of a split, all before it is the past.

    until_us: the last week ends before it; None: right after the last event
    Raises ValueError when nothing lies before the first week.
    """
    if weeks < 1:
        raise ValueError(f"weeks is {weeks}; ask for at least one")
    if not len(timelines.occurred_us):
        raise ValueError("the log has no event that carries a signal; see `signals:` in the config")
    end = int(timelines.occurred_us.max()) + 1 if until_us is None else until_us
    begins = [end - week * _WEEK_US for week in range(weeks, 0, -1)]
    first = int(timelines.occurred_us.min())
    if first >= begins[0]:
        raise ValueError(
            f"weeks is {weeks}, which leaves no past: up to their end the log covers "
            f"{max(end - first, 0) / _WEEK_US:.3g} weeks; ask for fewer"
        )
    return (_week(timelines, begin) for begin in begins)


def _week(timelines: Timelines, begin_us: int) -> Split:
    times = timelines.occurred_us
    during = (times >= begin_us) & (times < begin_us + _WEEK_US)
    return Split(timelines.where(times < begin_us), timelines.where(during), begin_us)


def leave_last_out(timelines: Timelines) -> Split:
    """Everybody's last event is future; whoever has a single event has no future.

    Only to compare with published benchmarks: a model that learns from this past has seen what
    others did after the moment of asking. `cut_us` is right after the newest event of the past.
    """
    lengths = np.diff(timelines.indptr)
    last = np.zeros(len(timelines.items), dtype=np.bool_)
    last[timelines.indptr[1:][lengths > 1] - 1] = True
    past = timelines.where(~last)
    cut_us = int(past.occurred_us.max()) + 1 if past.occurred_us.size else 0
    return Split(past, timelines.where(last), cut_us)


@dataclass(frozen=True)
class NextItems:
    """Moments within sessions, and the item that came next: a query each, its prefix not copied.

    What was known when item `items[i]` was chosen are the entries of person `rows[i]` before
    `positions[i]`; the current session is what of them lies from `session_starts[i]` on, at least
    one entry. Both are offsets in the person's row.

    rows, session_starts, positions: (q,) int64, by person and time        items: (q,) int32
    """

    rows: Int64
    session_starts: Int64
    positions: Int64
    items: Int32

    def __len__(self) -> int:
        return len(self.items)


def session_next_item(
    timelines: Timelines, cut_us: int, *, wanted: Bool | None = None,
    per_session: int | None = None, seed: int = 0,
) -> NextItems:  # fmt: skip
    """What came next in every session that began at or after `cut_us`.

    A session that began before the cut is left out as a whole. Where two sessions of one person run
    at the same time, every unbroken stretch counts as one.

    wanted:      (n_signals,) bool, signals that can be what came next; None: all
    per_session: so many positions of a session at most, drawn by `seed`; None: all
    """
    rows, entries = row_numbers(timelines.indptr), np.arange(len(timelines.items))
    opens = np.ones(len(entries), dtype=np.bool_)
    opens[1:] = (rows[1:] != rows[:-1]) | (timelines.sessions[1:] != timelines.sessions[:-1])
    stretch = np.cumsum(opens) - 1
    start = np.flatnonzero(opens)[stretch]
    asked = ~opens & _began_since(timelines, rows, cut_us)
    if wanted is not None:
        asked &= wanted[timelines.signals]
    chosen = np.flatnonzero(asked)
    if per_session is not None:
        chosen = _drawn(chosen, stretch, per_session, seed)
    begin = timelines.indptr[rows[chosen]]
    return NextItems(
        rows[chosen], start[chosen] - begin, chosen - begin, timelines.items[chosen]
    )  # fmt: skip


def _began_since(timelines: Timelines, rows: Int64, cut_us: int) -> Bool:
    """(m,) whether the session of an entry has its first event at or after `cut_us`."""
    width = int(timelines.sessions.max(initial=0)) + 1
    session = rows * width + timelines.sessions
    before = np.unique(session[timelines.occurred_us < cut_us])
    return ~np.isin(session, before)


def _drawn(chosen: Int64, stretch: Int64, most: int, seed: int) -> Int64:
    """At most `most` of the entries of every stretch, in their order."""
    if most < 1:
        raise ValueError(f"per_session is {most}; ask for at least one position")
    luck = np.random.default_rng(seed).random(len(chosen))
    order = np.lexsort((luck, stretch[chosen]))
    group = stretch[chosen[order]]
    place = np.arange(len(order)) - np.searchsorted(group, group, side="left")
    return np.sort(chosen[order[place < most]])
