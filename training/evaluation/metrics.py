"""Ranking metrics per person over the full catalogue, and what may be said of their mean.

Feeds are (n, size) item indices, best first, distinct, -1 where a feed is over: a missing item is a
miss, so a short feed is never scored as if it were a full one. `truth` holds each person's distinct
items that the feed should have found, in any order; everybody in it has at least one.

Ties are decided before a feed arrives here: of items with equal scores the first in the catalogue
is shown first (training/rankers/topk.py), and a metric sees only the order that a person would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.timelines import Timelines
from features.types import DAY_US, Bool, Float64, Int32, Int64, Ragged, row_numbers

_DRAWS = 32  # of the bootstrap at once: bounds the copy in float64


def hits(feeds: Int32, truth: Ragged) -> Bool:
    """(n, size) bool: is the item at this place one that the person wanted?"""
    return np.asarray(_found(feeds, truth) >= 0)


def gains(feeds: Int32, truth: Ragged, value: Float64) -> Float64:
    """(n, size) what the item at each place was worth to the person, 0 where it was not wanted.

    value: (len(truth.values),) float64, above 0, of each wanted item: money, or seconds of reading
    Raises ValueError for another length, for a value that is no number above 0 (an item that is
    worth nothing is not wanted) and for an item that one person wants twice.
    """
    _check_value(truth, value)
    found = _found(feeds, truth)
    return np.where(found >= 0, value[found], 0.0) if value.size else np.zeros(feeds.shape)


def recall(hit: Bool, wanted: Int64, k: int) -> Float64:
    """(n,) share of what each person wanted that is among the first k; wanted: (n,) counts."""
    return np.asarray(hit[:, :k].sum(axis=1) / wanted, dtype=np.float64)


def precision(hit: Bool, k: int) -> Float64:
    """(n,) share of the k places with an item that was wanted (P@k of trec_eval).

    The divisor is k for a shorter feed too: its empty places are misses.
    """
    return np.asarray(hit[:, :k].sum(axis=1) / k, dtype=np.float64)


def hit_rate(hit: Bool, k: int) -> Float64:
    """(n,) 1 where anything wanted is among the first k, else 0."""
    return np.asarray(hit[:, :k].any(axis=1), dtype=np.float64)


def reciprocal_rank(hit: Bool, k: int) -> Float64:
    """(n,) 1 / place of the first wanted item, 0 with none among the first k (Voorhees 1999).

    Its mean over people is MRR@k.
    """
    first = hit[:, :k]
    return np.where(first.any(axis=1), 1 / (first.argmax(axis=1) + 1), 0.0)


def average_precision(hit: Bool, wanted: Int64, k: int) -> Float64:
    """(n,) precision at the place of each hit among the first k, summed, / min(wanted, k).

    Manning, Raghavan & Schütze 2008, sec. 8.4, cut at k; its mean over people is MAP@k. They and
    trec_eval divide by `wanted`: whoever wants more than k could then never reach 1.
    """
    first = hit[:, :k]
    precisions = first.cumsum(axis=1) / np.arange(1, first.shape[1] + 1)
    return np.asarray((precisions * first).sum(axis=1) / np.minimum(wanted, k))


def ndcg(hit: Bool, wanted: Int64, k: int) -> Float64:
    """(n,) discounted gain over that of the best possible feed (Järvelin & Kekäläinen 2002).

    Gain 1 per wanted item, discount 1 / log2(place + 1) with places from 1 (Burges et al. 2005).
    """
    possible = np.concatenate([[0.0], np.cumsum(_discount(k))])
    return np.asarray(_discounted(hit, k) / possible[np.minimum(wanted, k)])


def value_ndcg(gain: Float64, truth: Ragged, value: Float64, k: int) -> Float64:
    """(n,) `ndcg` with the value of each wanted item as its gain: 1 for the dearest k in order.

    gain: (n, size), see `gains`        value: (len(truth.values),), above 0

    Linear in the value (Järvelin & Kekäläinen 2002), not 2 ** value - 1: twice the money counts
    twice.
    """
    rows = row_numbers(truth.indptr)
    order = np.lexsort((-value, rows))
    place = np.arange(value.size) - np.repeat(truth.indptr[:-1], np.diff(truth.indptr))
    kept = place < k
    ideal = value[order][kept] * _discount(k)[place[kept]]
    return _discounted(gain, k) / np.bincount(rows[kept], ideal, minlength=len(truth))


def value_captured(gain: Float64, k: int) -> Float64:
    """(n,) the value of what each person wanted that is among the first k; gain: see `gains`."""
    return np.asarray(gain[:, :k].sum(axis=1))


def value_share(gain: Float64, truth: Ragged, value: Float64, k: int) -> Float64:
    """(n,) `value_captured` over the value of all that each person wanted: recall in money."""
    wanted = np.bincount(row_numbers(truth.indptr), value, minlength=len(truth))
    return value_captured(gain, k) / wanted


def value_after(
    log: Timelines, value: Float64, asked_us: Int64 | int, days: float
) -> tuple[Ragged, Float64]:
    """What each person went on to want within `days` of being asked, and what it was worth in all.

    value:    (len(log.items),) float64, of each event, below 0 for a return, NaN where it has none
    asked_us: (len(log),) int64 or one moment for all; it is the first of the window
    returns:  distinct items by person, and their (m,) float64 values for `gains`; an item that
              was worth nothing in the end is left out, and so a row may be empty
    Raises ValueError for another length of `value`.
    """
    if value.shape != log.items.shape:
        raise ValueError(f"value has {value.size} entries, the log {log.items.size} events")
    rows = row_numbers(log.indptr)
    since = log.occurred_us - np.broadcast_to(np.asarray(asked_us), (len(log),))[rows]
    inside = (since >= 0) & (since < days * DAY_US) & ~np.isnan(value)
    keys, entry = np.unique(rows[inside] * log.n_items + log.items[inside], return_inverse=True)
    worth = np.bincount(entry, value[inside], minlength=keys.size).astype(np.float64)
    keys, worth = keys[worth > 0], worth[worth > 0]
    counts = np.bincount(keys // log.n_items, minlength=len(log))
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Ragged(indptr, (keys % log.n_items).astype(np.int32)), worth


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
    """Mean of `values` (n,) and the 2.5 and 97.5 percentiles of the means over the draws.

    Where a value is NaN, the measure says nothing of that person, who is left out of every mean.
    All are NaN where nobody is left.
    """
    known = ~np.isnan(values)
    if not known.any():
        return Interval(np.nan, np.nan, np.nan)
    sums = _summed(drawn, np.where(known, values, 0.0))
    people = np.full(len(drawn), float(len(values))) if known.all() else _summed(drawn, known * 1.0)
    low, high = np.percentile(sums[people > 0] / people[people > 0], [2.5, 97.5])
    return Interval(float(values[known].mean()), float(low), float(high))


def _summed(drawn: Int64, values: Float64) -> Float64:
    """(count,) the sum of the values (n,) in each draw."""
    parts = [drawn[at : at + _DRAWS] @ values for at in range(0, len(drawn), _DRAWS)]
    return np.concatenate(parts)


def _found(feeds: Int32, truth: Ragged) -> Int64:
    """(n, size) where in `truth.values` the item at each place is, -1 where it is not wanted."""
    if len(feeds) != len(truth):
        raise ValueError(f"feeds have {len(feeds)} rows, truth {len(truth)}: one for each person")
    if not truth.values.size:
        return np.full(feeds.shape, -1, dtype=np.int64)
    width = int(max(feeds.max(initial=0), truth.values.max())) + 1
    wanted, entry = np.unique(_keys(truth, width), return_index=True)
    keys = np.arange(len(feeds))[:, None] * width + feeds
    place = np.minimum(np.searchsorted(wanted, keys), wanted.size - 1)
    return np.where((feeds >= 0) & (wanted[place] == keys), entry[place], -1)


def _keys(truth: Ragged, width: int) -> Int64:
    return np.asarray(row_numbers(truth.indptr) * width + truth.values)


def _discount(k: int) -> Float64:
    return 1 / np.log2(np.arange(2, k + 2))


def _discounted(gain: Bool | Float64, k: int) -> Float64:
    first = gain[:, :k]
    return np.asarray(first @ _discount(k)[: first.shape[1]])


def _check_value(truth: Ragged, value: Float64) -> None:
    if value.shape != truth.values.shape:
        raise ValueError(
            f"value has {value.size} entries, truth {truth.values.size}: one for each wanted item"
        )
    wrong = np.flatnonzero(~((value > 0) & np.isfinite(value)))
    if wrong.size:
        raise ValueError(
            f"value[{wrong[0]}] is {value[wrong[0]]}, not a number above 0: leave items that are "
            "worth nothing out of truth"
        )
    width = int(truth.values.max(initial=0)) + 1
    keys = np.sort(_keys(truth, width))
    twice = keys[1:][keys[1:] == keys[:-1]]
    if twice.size:
        row, item = divmod(int(twice[0]), width)
        raise ValueError(f"truth row {row} has item {item} twice: have it once, its value summed")
