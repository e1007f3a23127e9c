"""How an event weighs after a while: the one rule, for a whole log and for one who asks now."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from features.options import Signal
from features.types import DAY_US, Float32, Int8, Int64


def ages_in_days(occurred_us: Int64, as_of_us: int) -> Float32:
    """Age of each event at `as_of_us`, in days, never below 0."""
    return np.maximum((as_of_us - occurred_us) / DAY_US, 0).astype(np.float32)


def decayed(signal: Int8, age_days: Float32, signals: dict[str, Signal]) -> Float32:
    """Signal weight, halved every half-life; a weight below 0 does not fade: it blocks.

    signal: (m,) index into `signals`, in their order        age_days: (m,)
    """
    weight, rate = signal_rates(signals.values())
    faded: Float32 = weight[signal] * np.exp2(-age_days * rate[signal])
    return faded


def signal_rates(signals: Iterable[Signal]) -> tuple[Float32, Float32]:
    """Weight of each signal, and how often it halves in a day."""
    rows = [(s.weight, 1 / s.half_life_days if s.half_life_days and s.weight > 0 else 0.0)
            for s in signals]  # fmt: skip
    table = np.array(rows, dtype=np.float32)
    return table[:, 0].copy(), table[:, 1].copy()
