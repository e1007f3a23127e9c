"""What feeds are like, whoever wanted what: spread, novelty, variety, age, calibration, gaps.

Feeds are (n, size) int32 item indices, best first, distinct, -1 where a feed is over; for the first
k places pass `feeds[:, :k]`. A measure per person is (n,) float64 and NaN where it says nothing of
that person (`metrics.interval` leaves such people out). None of them says that a feed is good: read
them beside the metrics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from features.types import DAY_US, Float32, Float64, Int8, Int32, Int64, Ragged
from training.evaluation import metrics
from training.item_facts import UNBORN, ItemFacts
from training.policy import Decision
from training.rankers.base import Queries

ALPHA = 0.01  # of the history's categories in the feed's, so that none is missing (Steck 2018)
_CHUNK = 8192  # people whose summed vectors are held at once


def exposure(feeds: Int32, n_items: int) -> Int64:
    """(n_items,) in how many feeds each item of the catalogue is."""
    return np.bincount(feeds[feeds >= 0], minlength=n_items)


def gini(exposed: Int64) -> float:
    """How unevenly the catalogue is shown: 0 all items alike, 1 only one; see `exposure`.

    sum over j of (2j - n - 1) p(j), / (n - 1), with the shares p ascending and j from 1 to n
    (Shani & Gunawardana 2011, ch. 8 of the Recommender Systems Handbook, on coverage).
    NaN where nothing is shown, or the catalogue is a single item.
    """
    n, total = exposed.size, exposed.sum()
    if n < 2 or not total:
        return float("nan")
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(exposed) / (total * (n - 1)))


def novelty(feeds: Int32, counts: Int64) -> Float64:
    """(n,) mean self-information of the shown items in bits: -log2 p(item), high for rare ones.

    counts: (n_items,) of the past that the feeds were made from, of events or of people

    Zhou et al. 2010; p(item | seen) of Vargas & Castells 2011. p = (count + 1) / (total + n_items),
    so that an item that nobody had is novel, but not infinitely.
    """
    bits = np.log2(counts.sum() + counts.size) - np.log2(counts + 1.0)
    return _mean(np.where(feeds >= 0, bits[feeds], np.nan))


def diversity(feeds: Int32, vectors: sp.csr_matrix | Float32) -> Float64:
    """(n,) mean of 1 - cosine over all pairs of items in the feed (intra-list distance).

    vectors: (n_items, d) what items are alike by, of any length; a row of zeros is not known,
             and left out. `ItemFacts.text` for their words; `ItemFacts.categories` for their
             place in the tree, where the cosine of two paths is what they share over the
             geometric mean of their depths: 0.5 for `a/b` and `a/c`, 0 for `a` and `b`

    Ziegler et al. 2005, sec. 3.3, sum the similarity of the pairs; here its mean is taken from 1,
    so that feeds of different lengths compare. NaN with fewer than two known items.
    """
    units, known = _units(vectors)
    parts = [
        _distance(feeds[at : at + _CHUNK], units, known) for at in range(0, len(feeds), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def serendipity(feeds: Int32, truth: Ragged, popular: Int32) -> Float64:
    """(n,) share of the places with an item that was wanted and that popularity would not show.

    popular: (n, size) the popular feed of the same length, for each person or the same for all
             (np.broadcast_to)

    Useful and not in the list of a primitive ranker (Murakami et al. 2008, Ge et al. 2010); over
    all places, as precision, so that a feed does not gain by being short.
    Raises ValueError where the two are not of one shape.
    """
    if feeds.shape != popular.shape:
        raise ValueError(f"popular is {popular.shape}, feeds {feeds.shape}: make them of one size")
    hit = metrics.hits(feeds, truth) & ~metrics.hits(feeds, _rows(popular))
    return metrics.precision(hit, feeds.shape[1])


def ages(feeds: Int32, born_us: Int64, asked_us: Int64 | int) -> Float64:
    """(n, size) days from the item's birth to the moment of asking; NaN for no item, or UNBORN.

    born_us:  (n_items,) `ItemFacts.born_us`
    asked_us: (n,) or one moment for all; below 0 days: the item was not there yet
    """
    born, asked = born_us[feeds], np.asarray(asked_us, dtype=np.int64).reshape(-1, 1)
    known = (feeds >= 0) & (born != UNBORN)
    return np.where(known, (asked - np.where(known, born, 0)) / DAY_US, np.nan)


def mean_age(aged: Float64) -> Float64:
    """(n,) mean age of each feed in days; see `ages`."""
    return _mean(aged)


def median_age(aged: Float64) -> Float64:
    """(n,) median age of each feed in days, which one evergreen does not move; see `ages`."""
    ordered = np.sort(aged, axis=1)  # NaN last
    count = (~np.isnan(aged)).sum(axis=1)
    rows, last = np.arange(len(aged)), np.maximum(count - 1, 0)
    return np.asarray((ordered[rows, last // 2] + ordered[rows, (last + 1) // 2]) / 2)


def miscalibration(
    feeds: Int32, interest: sp.csr_matrix, category: Int32, alpha: float = ALPHA
) -> Float64:
    """(n,) how far a feed's categories are from those of the history, 0 the same (Steck 2018).

    interest: (n, n_items) CSR, what each item of the history weighs: `Histories.interest()`
    category: (n_items,) int32, -1 unknown: such items are left out on both sides

    KL(p, q~) = sum over the categories c of p(c) ln(p(c) / q~(c)), q~ = (1 - alpha) q + alpha p,
    with p the shares in the history by weight and q those in the feed, each place alike. In nats,
    at most ln(1 / alpha). NaN where history or feed has no item of a known category.
    """
    known = np.flatnonzero(category >= 0)
    member = (np.ones(known.size), (known, category[known]))
    of = sp.csr_matrix(member, shape=(category.size, int(category.max(initial=0)) + 1))
    p, q = _shares(interest @ of), _shares(_incidence(feeds, category.size) @ of)
    # a category that the feed leaves out adds p ln(1 / alpha); one that it has adds less than that
    both, shown = sp.csr_matrix(p.multiply(q.sign())), sp.csr_matrix(q.multiply(p.sign()))
    both.data *= np.log1p((1 - alpha) / alpha * shown.data / both.data)
    found = -np.log(alpha) - np.asarray(both.sum(axis=1)).ravel()
    said = (np.diff(p.indptr) > 0) & (np.diff(q.indptr) > 0)
    return np.where(said, np.maximum(found, 0.0), np.nan)


def per_person(
    feeds: Int32, queries: Queries, items: ItemFacts, counts: Int64
) -> dict[str, Float64]:
    """Novelty, diversity by category and by words, age in days and miscalibration: (n,) each.

    queries: who was asked, when, and with what history        counts: see `novelty`
    """
    return {
        "novelty": novelty(feeds, counts),
        "category_diversity": diversity(feeds, items.categories),
        "text_diversity": diversity(feeds, items.text),
        "age_days": mean_age(ages(feeds, items.born_us, queries.now_us)),
        "miscalibration": miscalibration(feeds, queries.histories.interest(), items.category),
    }


def short_share(feeds: Int32) -> float:
    """Share of the feeds, empty ones included, that have fewer items than places."""
    return float((feeds < 0).any(axis=1).mean()) if len(feeds) else float("nan")


def decision_shares(decisions: Int8) -> dict[str, float]:
    """Share of the requests that got each decision: show, fallback, suppress.

    decisions: (n,) int8, `Feeds.decisions`; all NaN where nobody asked
    """
    counts = np.bincount(decisions, minlength=len(Decision))
    total = len(decisions) or float("nan")
    return {one.name: float(counts[one] / total) for one in Decision}


def _mean(values: Float64) -> Float64:
    """(n,) mean of what is not NaN in each row of (n, size), NaN where all is."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _rows(feeds: Int32) -> Ragged:
    shown = feeds >= 0
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(shown.sum(axis=1))])
    return Ragged(indptr, feeds[shown])


def _incidence(feeds: Int32, n_items: int) -> sp.csr_matrix:
    """(n, n_items) float32, 1 for each item of the feed."""
    shown = _rows(feeds)
    ones = np.ones(shown.values.size, dtype=np.float32)
    return sp.csr_matrix((ones, shown.values, shown.indptr), shape=(len(feeds), n_items))


def _units(vectors: sp.csr_matrix | Float32) -> tuple[sp.csr_matrix | Float32, Float32]:
    """The vectors at length 1, and (n_items,) float32, 1 where one has a length at all."""
    length = np.sqrt(_square_lengths(vectors))
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    known = (length > 0).astype(np.float32)
    if isinstance(vectors, np.ndarray):
        return np.asarray(vectors * scale[:, None], dtype=np.float32), known
    return sp.csr_matrix(sp.diags(scale) @ vectors), known


def _distance(feeds: Int32, units: sp.csr_matrix | Float32, known: Float32) -> Float64:
    """`diversity` of vectors of length 1: the square of their sum holds every pair twice."""
    shown = _incidence(feeds, len(known))
    count = np.asarray(shown @ known, dtype=np.float64)
    twice, pairs = _square_lengths(shown @ units) - count, count * (count - 1)
    alike = np.divide(twice, pairs, out=np.full(len(feeds), np.nan), where=pairs > 0)
    return np.asarray(np.clip(1 - alike, 0.0, 2.0))


def _square_lengths(vectors: Any) -> Float64:
    squares = np.square(vectors) if isinstance(vectors, np.ndarray) else vectors.power(2)
    return np.asarray(squares.sum(axis=1, dtype=np.float64)).ravel()


def _shares(weights: sp.csr_matrix) -> sp.csr_matrix:
    """Rows that sum to 1, their entries sorted; an empty row stays so. A product has no zeros."""
    weights = sp.csr_matrix(weights, dtype=np.float64)
    weights.sum_duplicates()
    total = np.asarray(weights.sum(axis=1)).ravel()
    weights.data /= np.repeat(total, np.diff(weights.indptr))
    return weights
