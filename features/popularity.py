"""What is popular of late: each event counts its signal's weight, halved every half-life."""

from __future__ import annotations

import numpy as np

from features.online import ages_in_days, signal_rates
from features.options import Signal
from features.timelines import Timelines
from features.types import Float32


def recent_popularity(
    timelines: Timelines, as_of_us: int, half_life_days: float, signals: dict[str, Signal]
) -> Float32:
    """(n_items,) decayed interest of everybody; the half-life is the same for all signals.

    Exponential forward decay (Cormode, Shkapenyuk, Srivastava & Xu 2009), taken at `as_of_us`.
    """
    weights, _ = signal_rates(signals.values())
    ages = ages_in_days(timelines.occurred_us, as_of_us)
    counts = np.maximum(weights, 0)[timelines.signals] * np.exp2(-ages / half_life_days)
    return np.bincount(timelines.items, counts, minlength=timelines.n_items).astype(np.float32)
