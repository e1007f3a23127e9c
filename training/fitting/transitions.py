"""Fit transitions: count what followed what; how to read it is found on the past itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.home import Progress, silent
from features.live import Reach, Trails, Transitions
from features.online import decayed
from features.split import cut_for_test, time_split
from features.timelines import Timelines
from features.training_options import TransitionsOptions
from features.types import DAY_US, Histories, Int64, Ragged, gather, row_numbers
from training.fitting import CannotFit
from training.past import Past
from training.rankers.base import Queries
from training.rankers.transitions import TransitionsRanker

_MOMENTS = 600  # of the last tenth: settings are judged by what came next
_LATEST = 100  # entries of a history that are looked at there
_NEXT = 50  # of what came next at most
_AT_ONCE = 100  # moments scored at once: bounds memory to so many catalogues


def fit_transitions(
    past: Past, options: TransitionsOptions, progress: Progress = silent
) -> TransitionsRanker:
    """Count all of the past, and read it by the settings that best foretold its last tenth."""
    if not past.touched.any():
        raise CannotFit("transitions: nobody has shown interest in anything yet")
    best = _best(past, options, progress)
    counted = _counted(past, options, ordered=best.transitions.reach.ordered)
    if not counted.targets.size:
        raise CannotFit("transitions: nobody has gone from one item to another yet")
    return replace(best, transitions=counted)


def _counted(past: Past, options: TransitionsOptions, *, ordered: bool) -> Transitions:
    return Transitions.of(
        Trails.of(past.timelines, past.signals), past.timelines.n_items,
        Reach(options.window, options.decay, ordered),
        options.half_life_days, past.as_of_us, options.followers,
    )  # fmt: skip


def _best(past: Past, options: TransitionsOptions, progress: Progress) -> TransitionsRanker:
    """The settings with the most gain by what came next: recency first, then the damping."""
    log = past.timelines
    begin = cut_for_test(log, None)
    before = replace(past, timelines=time_split(log, begin).past, as_of_us=begin)
    queries, wanted = _asked(past, begin)
    found: list[tuple[float, TransitionsRanker]] = []
    for ordered in [True, False] if _has_baskets(log) else [True]:
        progress("how transitions are read best", 0.2 if ordered else 0.6)
        dampings = sorted(options.popularity_damping)
        one = TransitionsRanker(
            _counted(before, options, ordered=ordered), options.recency[0], options.earlier,
            dampings[len(dampings) // 2],
        )  # fmt: skip
        tried = [replace(one, recency=value) for value in options.recency]
        _, one = _most(tried, queries, wanted)
        tried = [replace(one, popularity_damping=value) for value in dampings]
        found.append(_most(tried, queries, wanted))
    return max(found, key=lambda judged: judged[0])[1]


def _most(
    candidates: list[TransitionsRanker], queries: Queries, wanted: Ragged
) -> tuple[float, TransitionsRanker]:
    """The gain of the best candidate, and it; of equals the first."""
    gains = [_gain(one, queries, wanted) for one in candidates]
    return max(gains), candidates[int(np.argmax(gains))]


def _has_baskets(log: Timelines) -> bool:
    """Has anybody done something with two items at the same moment?"""
    rows = row_numbers(log.indptr)
    together = (rows[1:] == rows[:-1]) & (log.occurred_us[1:] == log.occurred_us[:-1])
    return bool((together & (log.items[1:] != log.items[:-1])).any())


def _asked(past: Past, begin: int) -> tuple[Queries, Ragged]:
    """People right before an event from `begin` on, drawn by the seed, and the rest of its visit.

    Where people do one thing a visit, that is the next thing they did.
    """
    log, rows = past.timelines, row_numbers(past.timelines.indptr)
    opens = np.ones(rows.size, np.bool_)
    opens[1:] = (rows[1:] != rows[:-1]) | (log.sessions[1:] != log.sessions[:-1])
    visit = np.append(np.flatnonzero(opens), rows.size)
    begun = np.arange(rows.size) > log.indptr[rows]
    liked = np.array([signal.weight > 0 for signal in past.signals.values()])[log.signals]
    chosen = np.flatnonzero(begun & liked & (log.occurred_us >= begin))
    if chosen.size > _MOMENTS:
        chosen = np.sort(np.random.default_rng(past.seed).choice(chosen, _MOMENTS, replace=False))
    first = np.maximum(log.indptr[rows[chosen]], chosen - _LATEST)
    own = np.searchsorted(visit, chosen, side="right")
    starts = np.maximum(visit[own - 1], first) - first
    ends = np.minimum(visit[own], chosen + _NEXT)
    rest = [np.unique(log.items[one:end]) for one, end in zip(chosen, ends, strict=True)]
    return Queries.plain(_until(past, first, chosen), starts, log.occurred_us[chosen]), Ragged.of(
        rest
    )


def _until(past: Past, first: Int64, end: Int64) -> Histories:
    """Entries first[i] to end[i] of the log as they weigh at the moment of entry end[i]."""
    log = past.timelines
    bounds = np.stack([first, end], axis=1).ravel()
    indptr, entries = gather(bounds, np.arange(0, bounds.size, 2))
    moments = np.repeat(log.occurred_us[end], np.diff(indptr))
    ages = ((moments - log.occurred_us[entries]) / DAY_US).astype(np.float32)
    signals = log.signals[entries]
    weights = decayed(signals, ages, past.signals)
    return Histories(indptr, log.items[entries], signals, weights, ages, log.n_items)


def _gain(ranker: TransitionsRanker, queries: Queries, wanted: Ragged) -> float:
    """Mean over the queries of their wanted items' mean discounted gain, by their exact ranks."""
    total = 0.0
    for start in range(0, len(queries), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(queries)))
        for scores, row in zip(ranker.score(queries.take(rows)), rows.tolist(), strict=True):
            own = scores[wanted.row(row)]
            ordered = np.sort(scores)  # NaN last: what has an opinion comes before them
            spoken = scores.size - np.count_nonzero(np.isnan(scores))
            higher = spoken - np.searchsorted(ordered[:spoken], own, side="right")
            gains = np.where(np.isnan(own), 0, 1 / np.log2(2 + np.maximum(higher, 0)))
            total += float(gains.mean())
    return total / max(len(queries), 1)
