"""Fit segment popularity: how fast it fades and how much it leans is found on the past itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from features.home import Progress, silent
from features.live import Counters
from features.online import signal_rates
from features.split import cut_for_test
from features.training_options import SegmentPopularityOptions
from features.types import Float32, Float64, Int32, Int64, row_numbers
from training.fitting import CannotFit
from training.past import Past
from training.rankers.segment_popularity import SegmentPopularityRanker

_SLICES = 4  # of the last tenth: each is foretold by what was counted before it


def fit_segment_popularity(
    past: Past, options: SegmentPopularityOptions, progress: Progress = silent
) -> SegmentPopularityRanker:
    """Decayed counts at the past's end, by the settings that best foretold its last tenth."""
    del progress
    log = _Log.of(past)
    if not (log.segments >= 0).any():
        raise CannotFit(
            "segment_popularity: nobody in a segment has shown interest in anything yet; "
            "`segments:` in the config says who belongs together"
        )
    half_life, prior = _best(past, log, options)
    counters = log.counters([half_life])
    log.count(counters, slice(None))
    shares = log.shares(log.counted(counters, past.as_of_us), prior)[0]
    shares[shares == 0] = np.nan
    return SegmentPopularityRanker(shares, half_life, prior)


@dataclass(frozen=True)
class _Log:
    """Everybody's events of interest in time order, each (m,); segments: -1 in none.

    A segment's items are counted side by side, those of people in no segment first.
    """

    segments: Int64
    items: Int32
    weights: Float64
    occurred_us: Int64
    size: tuple[int, int]  # segments, items

    @classmethod
    def of(cls, past: Past) -> Self:
        log = past.timelines
        weights = np.maximum(signal_rates(past.signals.values())[0], 0)[log.signals]
        liked = np.flatnonzero(weights > 0)
        order = liked[np.argsort(log.occurred_us[liked], kind="stable")]
        return cls(
            past.segments[row_numbers(log.indptr)[order]].astype(np.int64), log.items[order],
            weights[order].astype(np.float64), log.occurred_us[order],
            (past.n_segments, log.n_items),
        )  # fmt: skip

    def counters(self, half_lives: list[float]) -> Counters:
        """Nothing counted yet."""
        segments, items = self.size
        newest = int(self.occurred_us[-1])
        return Counters.empty(np.array(half_lives), (segments + 1) * items, newest)

    def count(self, counters: Counters, entries: slice) -> None:
        """Count some of the events."""
        cells = (self.segments[entries] + 1) * self.size[1] + self.items[entries]
        counters.add(cells.astype(np.int32), self.weights[entries], self.occurred_us[entries])

    def counted(self, counters: Counters, moment_us: int) -> Float64:
        """(h, n_segments + 1, n_items) what was counted, as it weighs at a moment."""
        segments, items = self.size
        return np.exp2(counters.at(moment_us)).reshape(-1, segments + 1, items)

    def shares(self, counts: Float64, prior: float) -> Float32:
        """(h, n_segments, n_items) shares of interest to expect of each segment.

        Bayesian smoothing with a Dirichlet prior (Zhai & Lafferty 2004): a segment starts with
        `prior` events that are spread as everybody's interest is.
        """
        everybody, own = counts.sum(axis=1, keepdims=True), counts[:, 1:]
        total = np.maximum(everybody.sum(axis=2, keepdims=True), np.finfo(np.float64).tiny)
        pseudo = prior * self.weights.mean()
        size = own.sum(axis=2, keepdims=True)
        shares = (own + pseudo * everybody / total) / (size + pseudo)
        return np.asarray(shares, dtype=np.float32)


def _best(past: Past, log: _Log, options: SegmentPopularityOptions) -> tuple[float, float]:
    """The half-life and the prior that give what came next the highest mean reciprocal rank."""
    half_lives, priors = options.half_life_days, options.prior
    if len(half_lives) * len(priors) == 1 or np.ptp(log.occurred_us) == 0:
        return half_lives[len(half_lives) // 2], priors[len(priors) // 2]
    counters, counted = log.counters(half_lives), 0
    totals = np.zeros((len(priors), len(half_lives)))
    begin, end = cut_for_test(past.timelines, None), int(log.occurred_us[-1]) + 1
    edges = np.linspace(begin, end, _SLICES + 1).astype(np.int64)
    places = np.searchsorted(log.occurred_us, edges).tolist()
    for moment, (start, stop) in zip(edges.tolist(), pairwise(places), strict=False):
        log.count(counters, slice(counted, start))
        counted, counts = start, log.counted(counters, moment)
        for place, prior in enumerate(priors):
            totals[place] += _reciprocal_ranks(log.shares(counts, prior), log, slice(start, stop))
    row, column = np.unravel_index(int(totals.argmax()), totals.shape)
    return half_lives[column], priors[row]


def _reciprocal_ranks(shares: Float32, log: _Log, entries: slice) -> Float64:
    """(h,) the reciprocal ranks of some events' items in their segments, summed."""
    segments, items = log.segments[entries], log.items[entries]
    totals = np.zeros(len(shares))
    for segment in range(log.size[0]):
        wanted, times = np.unique_counts(items[segments == segment])
        for place, row in enumerate(shares[:, segment] if wanted.size else []):
            ordered = np.sort(row)
            above = row.size - np.searchsorted(ordered, row[wanted], side="right")
            level = row.size - np.searchsorted(ordered, row[wanted]) - above
            totals[place] += (times / (above + (level + 1) / 2)).sum()  # equals share their ranks
    return totals
