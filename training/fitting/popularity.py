"""Fit recent popularity: how fast interest and items fade is found on the past itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from features.home import Progress, silent
from features.live import Counters
from features.online import signal_rates
from features.split import cut_for_test
from features.training_options import PopularityOptions
from features.types import Bool, Float64, Int32, Int64, row_numbers
from training.item_facts import UNBORN
from training.past import Past
from training.rankers.popularity import Pace, PopularityRanker, standing

_SLICES = 8  # of the last tenth: each is foretold by what was counted before it
_MOMENTS = 3000  # of the last tenth: each is foretold by all that was counted until then
_COMPARISONS = 300_000_000  # with large catalogues fewer moments are looked at
Found = tuple[float, float | None]  # half-life and freshness, days
Asked = Iterator[tuple[int, Int32]]  # moments in time order, each with the items that came next


def fit_popularity(
    past: Past, options: PopularityOptions, progress: Progress = silent
) -> PopularityRanker:
    """Decayed counts at the past's end, with the half-lives and freshness that foretold it best.

    Where nobody has shown interest in anything, what is newest comes first: strangers get a feed.
    """
    del progress
    log = _Log.of(past)
    pace, live = (_counted(past, log, found) for found in _best(past, log, options))
    return PopularityRanker(pace, live, past.items.born_us)


def _counted(past: Past, log: _Log, found: Found) -> Pace:
    half_life, freshness = found
    counters = Counters.empty(np.array([half_life]), past.timelines.n_items, past.as_of_us)
    counters.add(log.items, log.weights, log.occurred_us)
    return Pace(counters, half_life, freshness)


@dataclass(frozen=True)
class _Log:
    """Everybody's events in time order; `first`: of its item in its visit."""

    items: Int32
    weights: Float64
    occurred_us: Int64
    first: Bool

    @classmethod
    def of(cls, past: Past) -> Self:
        log = past.timelines
        weights = np.maximum(signal_rates(past.signals.values())[0], 0)[log.signals]
        entries = np.flatnonzero(weights > 0)
        entries = entries[np.argsort(log.occurred_us[entries], kind="stable")]
        visit = row_numbers(log.indptr) * (int(log.sessions.max(initial=0)) + 1) + log.sessions
        act = (visit * log.n_items + log.items)[entries]
        first = np.zeros(entries.size, np.bool_)
        first[np.unique(act, return_index=True)[1]] = True
        amounts = weights[entries].astype(np.float64)
        return cls(log.items[entries], amounts, log.occurred_us[entries], first)


def _best(past: Past, log: _Log, options: PopularityOptions) -> tuple[Found, Found]:
    """The settings that give what came next the best ranks: in general, and when live.

    Live counters know all until the moment of asking; between trainings without live events they
    grow stale. The first settings have to be good for both: what counts is the geometric mean of
    the mean reciprocal ranks. The second are for those that are live for certain.
    """
    half_lives = np.array(options.half_life_days)
    aged = bool((past.items.born_us < UNBORN).any())
    freshness = options.freshness_days if aged else [None]
    candidates = half_lives.size * len(freshness)
    if candidates == 1 or not log.items.size or np.ptp(log.occurred_us) == 0:
        usual = float(half_lives[half_lives.size // 2]), freshness[0]
        return usual, usual
    begin = cut_for_test(past.timelines, None)
    moments = min(_MOMENTS, 1 + _COMPARISONS // candidates // past.timelines.n_items)
    drawn = _one_by_one(log, begin, moments, np.random.default_rng(past.seed))
    live, stale = (_reciprocal_ranks(past, log, asked, half_lives, freshness)
                   for asked in (drawn, _slice_by_slice(log, begin)))  # fmt: skip

    def best(scores: Float64) -> Found:
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        return float(half_lives[column]), freshness[row]

    return best(live * stale), best(live)


def _one_by_one(log: _Log, begin: int, most: int, random: np.random.Generator) -> Asked:
    """Events drawn from `begin` on, each the first of its item in its visit."""
    entries = np.flatnonzero(log.first & (log.occurred_us >= begin))
    if entries.size > most:
        entries = np.sort(random.choice(entries, most, replace=False))
    for entry in entries.tolist():
        yield int(log.occurred_us[entry]), log.items[entry : entry + 1]


def _slice_by_slice(log: _Log, begin: int) -> Asked:
    """The rest from `begin` on in equal slices, each asked for at its beginning."""
    edges = np.linspace(begin, log.occurred_us[-1] + 1, _SLICES + 1).astype(np.int64)
    for start, end in pairwise(np.searchsorted(log.occurred_us, edges).tolist()):
        if end > start:
            yield int(log.occurred_us[start]), log.items[start:end][log.first[start:end]]


def _reciprocal_ranks(
    past: Past, log: _Log, asked: Asked, half_lives: Float64, freshness: Sequence[float | None]
) -> Float64:
    """(freshness, half-lives) mean reciprocal rank of what came next; equals share their ranks."""
    counters = Counters.empty(half_lives, past.timelines.n_items, past.as_of_us)
    totals, known, items = np.zeros((len(freshness), half_lives.size)), 0, 0
    for moment, wanted in asked:
        now = max(known, int(np.searchsorted(log.occurred_us, moment)))
        new, known = slice(known, now), now
        counters.add(log.items[new], log.weights[new], log.occurred_us[new])
        items += wanted.size
        for row, days in enumerate(freshness):
            totals[row] += _ranked(standing(counters, past.items.born_us, days), wanted)
    return totals / max(items, 1)


def _ranked(scores: Float64, wanted: Int32) -> Sequence[float]:
    """Per row of `scores` the sum of the reciprocal ranks of the wanted items."""
    found = []
    for row in scores:
        own = row[wanted]
        if wanted.size == 1:
            higher, equal = (row > own).sum(), (row == own).sum()
        else:
            ordered = np.sort(row)
            end = np.searchsorted(ordered, own, side="right")
            higher, equal = row.size - end, end - np.searchsorted(ordered, own)
        found.append(float((1 / (1 + higher + (equal - 1) / 2)).sum()))
    return found
