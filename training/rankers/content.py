"""Content: what an item is (words, categories, brand, price, age) says who wants it.

Nothing here knows an item by its number, so an item without a single event is placed like any
other, and one that appears after the fit is placed by `ItemTower.vectors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.sparse as sp

from features.types import DAY_US, Bool, Float32, Int8, Int32, Int64
from training.rankers.base import Items, Queries, Ranker

if TYPE_CHECKING:
    from training.item_facts import ItemFacts  # a serving worker does not load it

SESSION_DECAY = 0.6  # of an item of the session, beside the one that followed it
AGE_DAYS = np.array([0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])  # steps of age
_SMALL = np.float32(1e-9)


@dataclass(frozen=True)
class Properties:
    """How the facts about an item, its words apart, become numbers.

    Columns: a 1 for each of its categories, its brand and its kind; its price and its price beside
    that of its like, each spread over the two nearest of some steps. What was not there at the fit
    (a new category, a new brand) has no column, like what is not known.

    price_steps, relative_steps: (k,) float32, logarithms of prices, rising; none: not looked at
    """

    n_categories: int
    n_brands: int
    n_kinds: int
    price_steps: Float32
    relative_steps: Float32

    def table(self, facts: ItemFacts) -> sp.csr_matrix:
        """(n, columns) CSR float32."""
        parts = [
            with_columns(facts.categories, self.n_categories),
            _marks(facts.brands, self.n_brands), _marks(facts.kinds, self.n_kinds),
            _spread(logarithms(facts.prices), self.price_steps),
            _spread(logarithms(facts.price_relative), self.relative_steps),
        ]  # fmt: skip
        return sp.csr_matrix(sp.hstack(parts, format="csr", dtype=np.float32))


@dataclass(frozen=True)
class Layer:
    """One hidden layer that corrects what it is given: unit(x + max(0, x H + h) O + o).

    hidden: (factors, units) float32, H        hidden_bias: (units,), h
    out:    (units, factors) float32, O        out_bias:    (factors,), o
    """

    hidden: Float32
    hidden_bias: Float32
    out: Float32
    out_bias: Float32

    def corrected(self, vectors: Float32) -> Float32:
        """(n, factors) to (n, factors), rows of length 1."""
        inside = np.maximum(vectors @ self.hidden + self.hidden_bias, 0)
        return unit(vectors + inside @ self.out + self.out_bias)


@dataclass(frozen=True)
class ItemTower:
    """Facts to vectors: what an item's words and properties stand for, summed and corrected.

    words:      (d, factors) float32, d as in `ItemFacts.text`
    meanings:   (columns, factors) float32, a row per column of `properties`
    """

    properties: Properties
    words: Float32
    meanings: Float32
    layer: Layer

    def vectors(self, facts: ItemFacts) -> Float32:
        """(n, factors) float32, rows of length 1, whatever is known of the items."""
        table = self.properties.table(facts)
        return self.layer.corrected(facts.text @ self.words + table @ self.meanings)


@dataclass(frozen=True)
class ContentRanker(Ranker):
    """Two towers (Yi et al. 2019, sec. 3), the one of items over their content alone.

    items:    facts to vectors, for items that appear after the fit
    people:   the mean of what a person is interested in to what the items are compared with
    session:  how much the mean of the current session counts beside the mean of everything
    sharpness: of a cosine: the inverse of the temperature in their eq. 2
    item_vectors: (n_items, factors) float32, of length 1; zero where `described` is not
    described: (n_items,) bool, is anything known of it?
    centres:  (n_categories, factors) float32, mean of a category's items, for what people tell us
    kinds:    (n_items,) int8        born_us: (n_items,) int64, as in ItemFacts
    ages:     (n_kinds, len(AGE_DAYS) + 2) float32, what the age of `age_steps` adds; 0: unknown age
    interest_scale: the mean interest of the past, in which interest is counted
    curve:    (epochs, 4) float32: epoch from 1, seconds, mean loss, quality on items held out
    """

    items: ItemTower
    people: Layer
    session: float
    sharpness: float
    item_vectors: Float32
    described: Bool
    centres: Float32
    kinds: Int8
    born_us: Int64
    ages: Float32
    interest_scale: float
    curve: Float32
    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """Cosine times sharpness, plus what the item's age adds at the moment of asking.

        No opinion on people who neither showed interest nor told us anything, nor on items of
        which nothing is known.
        """
        chosen: Items = slice(None) if items is None else items
        means, known = self._means(queries)
        people = self.people.corrected(means) * np.float32(self.sharpness)
        scores = np.asarray(people @ self.item_vectors[chosen].T, dtype=np.float32)
        scores += self._of_age(queries.now_us, chosen)
        scores[~known] = np.nan
        scores[:, ~self.described[chosen]] = np.nan
        return scores

    def _means(self, queries: Queries) -> tuple[Float32, Bool]:
        """(n, factors) what people's histories and answers are about; (n,) is there anything?"""
        interest = queries.histories.interest()
        interest.data = squashed(interest.data, self.interest_scale)
        weights, about = interest @ self.described, interest @ self.item_vectors
        if not queries.told_nothing():
            told = with_columns(queries.declared, len(self.centres))
            told.data = squashed(told.data, self.interest_scale)
            about = about + told @ self.centres
            weights = weights + row_sums(abs(told))
        means = about / np.maximum(weights, _SMALL)[:, None]
        means = means + self.session * (self._sessions(queries) @ self.item_vectors)
        return np.asarray(means, dtype=np.float32), weights > 0

    def _sessions(self, queries: Queries) -> sp.csr_matrix:
        """(n, n_items) shares of the items of each current session, the newest first."""
        now = queries.histories.since(queries.session_start)
        lengths = np.diff(now.indptr)
        after = np.repeat(now.indptr[1:], lengths) - 1 - np.arange(now.items.size)
        liked = (now.weights > 0) & self.described[now.items]
        cells = (liked * SESSION_DECAY**after, now.items, now.indptr)
        sessions = sp.csr_matrix(cells, shape=(len(now), now.n_items), dtype=np.float32)
        totals = np.maximum(row_sums(sessions), _SMALL)
        return sp.csr_matrix(sessions.multiply(1 / totals[:, None]))

    def _of_age(self, now_us: Int64, items: Items) -> Float32:
        """(n, chosen) what age adds for each query."""
        kinds, born = self.kinds[items], self.born_us[items]
        moments, place = np.unique(now_us, return_inverse=True)
        return self.ages[kinds, age_steps(moments[:, None], born)][place]


def age_steps(now_us: Int64, born_us: Int64) -> Int64:
    """The step of AGE_DAYS that an item has reached; the last one: unknown, or not yet born.

    now_us, born_us: of shapes that broadcast; the result has the shape of both together
    """
    steps = np.searchsorted(AGE_DAYS * DAY_US, now_us - born_us, side="right")
    return np.asarray(np.where(born_us > now_us, len(AGE_DAYS) + 1, steps), dtype=np.int64)


def unit(vectors: Float32) -> Float32:
    """Rows of length 1; those of (nearly) no length stay so."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6), dtype=np.float32)


def squashed(weights: Float32, scale: float) -> Float32:
    """Interest in logarithms, its sign kept: the tenth purchase of an item tells little more."""
    logs = np.sign(weights) * np.log1p(np.abs(weights) / np.float32(scale))
    return np.asarray(logs, dtype=np.float32)


def logarithms(prices: Float32) -> Float32:
    """Logarithms of prices; NaN where there is none above 0."""
    return np.log(np.where(prices > 0, prices, np.nan))


def row_sums(matrix: sp.csr_matrix) -> Float32:
    """(n,) the sum of each row."""
    return np.asarray(matrix.sum(axis=1), dtype=np.float32).ravel()


def with_columns(matrix: sp.csr_matrix, columns: int) -> sp.csr_matrix:
    """A copy with so many columns: empty ones at the end, or without the last ones."""
    cells = matrix.tocoo()
    kept = cells.col < columns
    rows = (cells.row[kept], cells.col[kept])
    return sp.csr_matrix((cells.data[kept], rows), shape=(matrix.shape[0], columns))


def _marks(codes: Int8 | Int32, width: int) -> sp.csr_matrix:
    """(n, width) a 1 in the column of each code; nothing for codes outside."""
    rows = np.flatnonzero((codes >= 0) & (codes < width))
    ones = np.ones(rows.size, dtype=np.float32)
    return sp.csr_matrix((ones, (rows, codes[rows])), shape=(len(codes), width))


def _spread(values: Float32, steps: Float32) -> sp.csr_matrix:
    """(n, len(steps)) each value as shares of the two steps beside it; nothing where NaN."""
    rows = np.flatnonzero(np.isfinite(values)) if steps.size > 1 else np.empty(0, np.int64)
    inside = np.clip(values[rows], steps[:1], steps[-1:])
    left = np.clip(np.searchsorted(steps, inside, side="right") - 1, 0, steps.size - 2)
    share = (inside - steps[left]) / (steps[left + 1] - steps[left]) if rows.size else inside
    cells = (np.concatenate([rows, rows]), np.concatenate([left, left + 1]))
    data = np.concatenate([1 - share, share])
    return sp.csr_matrix((data, cells), shape=(len(values), steps.size), dtype=np.float32)
