"""Ranking metrics per person over the full catalogue, and what may be said of their mean.

Feeds are (n, size) item indices, best first, -1 where a feed is over: a missing item is a miss, so
a short feed is never scored as if it were a full one. `truth` holds each person's distinct items
that the feed should have found; everybody in it has at least one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Bool, Float64, Int32, Int64, Ragged, row_numbers


def hits(feeds: Int32, truth: Ragged) -> Bool:
    """(n, size) bool: is the item at this place one that the person wanted?"""
    width = int(max(feeds.max(initial=0), truth.values.max(initial=0))) + 1
    wanted = np.unique(row_numbers(truth.indptr) * width + truth.values)
    keys = np.arange(len(feeds))[:, None] * width + feeds
    place = np.minimum(np.searchsorted(wanted, keys), max(wanted.size - 1, 0))
    return np.asarray((feeds >= 0) & (wanted[place] == keys)) if wanted.size else feeds > feeds


def recall(hit: Bool, wanted: Int64, k: int) -> Float64:
    """(n,) share of what each person wanted that is among the first k; wanted: (n,) counts."""
    return np.asarray(hit[:, :k].sum(axis=1) / wanted, dtype=np.float64)


def hit_rate(hit: Bool, k: int) -> Float64:
    """(n,) 1 where anything wanted is among the first k, else 0."""
    return np.asarray(hit[:, :k].any(axis=1), dtype=np.float64)


def ndcg(hit: Bool, wanted: Int64, k: int) -> Float64:
    """(n,) discounted gain over that of the best possible feed (Järvelin & Kekäläinen 2002).

    Gain 1 per wanted item, discount 1 / log2(place + 1) with places from 1.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    gained = hit[:, :k] @ discount[: hit[:, :k].shape[1]]
    possible = np.concatenate([[0.0], np.cumsum(discount)])
    return np.asarray(gained / possible[np.minimum(wanted, k)])


def coverage(feeds: Int32, n_items: int, k: int) -> float:
    """Share of the catalogue that is in anybody's first k."""
    shown = feeds[:, :k]
    return np.unique(shown[shown >= 0]).size / n_items if n_items else 0.0


@dataclass(frozen=True)
class Interval:
    """A mean over people with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def draws(people: int, count: int, seed: int) -> Int64:
    """(count, people) how often each person is in each bootstrap draw (Efron 1979).

    One set of draws for all rankers makes their differences paired.
    """
    random = np.random.default_rng(seed)
    chosen = (random.integers(people, size=people) for _ in range(count))
    return np.stack([np.bincount(one, minlength=people) for one in chosen]).astype(np.int32)


def interval(values: Float64, drawn: Int64) -> Interval:
    """Mean of `values` (n,) and the 2.5 and 97.5 percentiles of the means over the draws."""
    means = (drawn @ values) / len(values)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))
