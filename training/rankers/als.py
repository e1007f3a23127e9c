"""Implicit-feedback ALS: who has a history or told us something is folded in, at once, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from features.types import Bool, Float32, Int32, Int64, Interest
from training.rankers.base import Items, Queries, Ranker
from training.rankers.least_squares import parts, solve


@dataclass(frozen=True)
class AlsModel:
    """What one side is solved by, given the other (Rendle, Krichene, Zhang & Koren 2021, sec. 3).

    An item with interest r should score 1, with weight confidence_scale * r; every item should
    score 0, with weight 1. A row of n entries pays for its factors, squared,

        regularization * (n + unobserved) ^ frequency_scaling

    confidence_scale:  1 / alpha_0 of the paper, at an interest of 1
    unobserved:        alpha_0 |I|, what a row weighs without any entry
    frequency_scaling: nu
    """

    confidence_scale: float
    regularization: float
    unobserved: float
    frequency_scaling: float

    def weights(self, interest: Float32) -> Float32:
        """What interest weighs."""
        return np.float32(self.confidence_scale) * interest

    def penalty(self, counts: Int64) -> Float32:
        """(n, 1) float32: the penalty of rows with `counts` (n,) entries."""
        size = (counts[:, None] + self.unobserved) ** self.frequency_scaling
        return np.asarray(self.regularization * size, dtype=np.float32)


@dataclass(frozen=True)
class AlsRanker(Ranker):
    """Matrix factors for implicit feedback (Hu, Koren & Volinsky 2008; Rendle et al. 2021).

    factors:  (n_items + n_categories, f) float32: of the items, turned so that Y'Y is diagonal;
              then of the categories, each the mean of its touched items
    strength: (f,) float32, that diagonal
    touched:  (n_items,) bool, had anybody any interest in the item?
    declared_weight: of what people told us, beside an event of the same weight
    """

    factors: Float32
    strength: Float32
    touched: Bool
    model: AlsModel
    declared_weight: float
    knows_strangers: ClassVar[bool] = False

    @property
    def item_factors(self) -> Float32:
        """(n_items, f) float32; 0 for an item that nobody touched."""
        return self.factors[: self.touched.size]

    @property
    def category_factors(self) -> Float32:
        """(n_categories, f) float32; 0 for a category of which nobody touched anything."""
        return self.factors[self.touched.size :]

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """x_u' y_i; no opinion on people without interest, nor on items that nobody touched."""
        return self.scorer(queries, items)(slice(None))

    def scorer(self, queries: Queries, items: Items | None) -> Callable[[slice], Float32]:
        """`score` of some of the queries at a time, after everybody has been folded in."""
        chosen = slice(0, self.touched.size) if items is None else items
        people, factors = self.people(queries), self.item_factors[chosen].T
        untouched, silent = self._untouched(chosen), np.logical_not(people.any(axis=1))

        def some(rows: slice) -> Float32:
            scores: Float32 = people[rows] @ factors
            if silent.any():
                scores[silent[rows]] = np.nan
            scores[:, untouched] = np.nan
            return scores

        return some

    def _untouched(self, items: Items) -> Int64:
        """Places in `items` of those that nobody touched."""
        if not isinstance(items, slice):
            return np.flatnonzero(~self.touched[items])
        begin, end = np.searchsorted(self._never, [items.start, items.stop])
        found: Int64 = self._never[begin:end] - items.start
        return found

    @cached_property
    def _never(self) -> Int64:
        """The items that nobody touched."""
        return np.flatnonzero(~self.touched)

    def people(self, queries: Queries) -> Float32:
        """(n, f) float32: the factors of each query; 0 where nothing speaks for any item.

        What somebody told us of a category is one more entry, of its mean item: wanted, or not
        wanted where they asked for less of it. So behaviour can overrule it.
        """
        known = queries.histories.by_item
        if self.declared_weight and not queries.told_nothing():
            told = Interest.of(queries.declared).times(self.declared_weight)
            known = known.beside(told, self.touched.size)
        ridge = self.strength + self.model.penalty(np.diff(known.indptr))
        return solve(known.times(self.model.confidence_scale), self.factors, ridge)

    def contributions(self, own: Interest, items: Int32) -> Float32:
        """What each history item adds to the score, for one who told us nothing."""
        factors, weights = self.item_factors[own.indices], self.model.weights(own.data)
        ridge = self.strength + self.model.penalty(np.diff(own.indptr))[0]
        return parts(weights, factors, ridge, self.item_factors[items])
