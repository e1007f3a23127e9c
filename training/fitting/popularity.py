"""Fit recent popularity: how fast interest fades is found on the past itself."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from features.home import Progress, silent
from features.options import Signal
from features.popularity import recent_popularity
from features.split import cut_for_test, time_split
from features.timelines import Timelines
from features.training_options import PopularityOptions
from training.past import Past
from training.rankers.popularity import PopularityRanker

_MOMENTS = 8


def fit_popularity(
    past: Past, options: PopularityOptions, progress: Progress = silent
) -> PopularityRanker:
    """Decayed counts at the past's end, with the half-life that best foretold its last tenth."""
    del progress
    half_life = _best_half_life(past.timelines, options.half_life_days, past.signals)
    counts = recent_popularity(past.timelines, past.as_of_us, half_life, past.signals)
    return PopularityRanker(counts, half_life)


def _best_half_life(
    timelines: Timelines, candidates: list[float], signals: dict[str, Signal]
) -> float:
    """The half-life whose counts give what came next the highest mean reciprocal rank.

    Every half-life sees the past at several moments, each judged by the slice that follows.
    """
    if len(candidates) == 1 or np.ptp(timelines.occurred_us) == 0:
        return candidates[len(candidates) // 2]
    last = int(timelines.occurred_us.max())
    slices = np.linspace(cut_for_test(timelines, None), last, _MOMENTS + 1).astype(np.int64)
    totals = np.zeros(len(candidates))
    for begin, end in pairwise(slices.tolist()):
        split = time_split(timelines, begin)
        next_items = split.future.items[split.future.occurred_us < end]
        for place, days in enumerate(candidates):
            counts = recent_popularity(split.past, begin, days, signals)
            ranks = np.empty(counts.size)
            ranks[np.argsort(-counts, kind="stable")] = np.arange(1, counts.size + 1)
            totals[place] += (1 / ranks[next_items]).sum()
    return candidates[int(totals.argmax())]
