"""Local time by whole numbers: when a zone's clock changed, and how far it then was from UTC."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from features.types import DAY_US, HOUR_US, SECOND_US, Int64, from_us

_UNTIL_US = 130 * 365 * DAY_US  # about the year 2100; later clocks are taken not to change


@lru_cache(maxsize=64)
def transitions(zone: str, from_us: int, until_us: int) -> tuple[tuple[int, int], ...]:
    """(start_us, offset_us) of every stretch of one offset from UTC, the first from `from_us` on.

    Found by looking at every day and halving where the offset differs: the standard library has the
    offsets, but no list of their changes. A change that is undone within a day is not seen.
    """
    days = [*range(from_us, until_us, DAY_US), until_us]
    found = [(from_us, offset_us(zone, from_us))]
    for before, after in pairwise(days):
        if offset_us(zone, after) != found[-1][1]:
            found.append((_change(zone, before, after), offset_us(zone, after)))
    return tuple(found)


def changes(zone: str) -> tuple[tuple[int, int], ...]:
    """`transitions` from 1970 to about 2100."""
    return transitions(zone, 0, _UNTIL_US)


def local_hours(occurred_us: Int64, zone: str) -> Int64:
    """(m,) hour of the day, 0 to 23, on the clocks of `zone`."""
    starts, offsets = _as_arrays(zone)
    stretch = np.maximum(np.searchsorted(starts, occurred_us, side="right") - 1, 0)
    return (occurred_us + offsets[stretch]) // HOUR_US % 24


def offset_us(zone: str, moment_us: int) -> int:
    """How far the clocks of `zone` are ahead of UTC at a moment, in microseconds."""
    offset = from_us(moment_us).astimezone(ZoneInfo(zone)).utcoffset()
    return (offset or timedelta()) // timedelta(microseconds=1)


def _change(zone: str, before: int, after: int) -> int:
    """The first second with the offset of `after`, which is not that of `before`."""
    new = offset_us(zone, after)
    while after - before > SECOND_US:
        middle = (before + after) // 2 // SECOND_US * SECOND_US
        before, after = (before, middle) if offset_us(zone, middle) == new else (middle, after)
    return after


@lru_cache(maxsize=64)
def _as_arrays(zone: str) -> tuple[Int64, Int64]:
    table = np.array(changes(zone), dtype=np.int64)
    return table[:, 0].copy(), table[:, 1].copy()
