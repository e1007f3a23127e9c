"""Past and future: what a model may learn from, and what it is judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.timelines import Timelines
from features.types import DAY_US


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
