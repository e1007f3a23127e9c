"""Implicit-feedback ALS: anyone with a history is folded in, so fresh events count at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from features.types import Bool, Float32, Int32
from training.rankers.base import Items, Queries, Ranker


@dataclass(frozen=True)
class AlsRanker(Ranker):
    """Implicit-feedback ALS (Hu, Koren & Volinsky 2008), folded in from a history alone.

    item_factors: (n_items, n_factors) float32, y_i in the paper
    gram:         (n_factors, n_factors) float32, Y'Y + regularization * I
    touched:      (n_items,) bool, had anybody any interest in the item?
    confidence_scale: alpha in their sec. 4, confidence = 1 + alpha * interest
    """

    item_factors: Float32
    gram: Float32
    touched: Bool
    confidence_scale: float
    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """x_u' y_i; no opinion on people without interest, nor on items that nobody touched."""
        interest = queries.histories.interest()
        factors = self.item_factors if items is None else self.item_factors[items]
        people = np.stack([self._person(interest[row]) for row in range(len(queries))])
        scores = people @ factors.T
        scores[np.diff(interest.indptr) == 0] = np.nan
        touched = self.touched if items is None else self.touched[items]
        if not touched.all():
            scores[:, ~touched] = np.nan
        return scores

    def contributions(self, own: sp.csr_matrix, items: Int32) -> Float32:
        """The terms of x_u' y_i: y_i' A^-1 c_h y_h for each history item h (sec. 5)."""
        system, factors, confidence = self._system(own)
        towards = np.linalg.solve(system, self.item_factors[items].T)
        parts: Float32 = (factors @ towards) * confidence[:, None]
        return parts

    def _person(self, own: sp.csr_matrix) -> Float32:
        """x_u, eq. 4 of the paper, for one row of interest."""
        if own.nnz == 0:
            return np.zeros(self.gram.shape[0], dtype=np.float32)
        system, factors, confidence = self._system(own)
        return np.linalg.solve(system, factors.T @ confidence)

    def _system(self, own: sp.csr_matrix) -> tuple[Float32, Float32, Float32]:
        """A = Y'Y + Y'(C - I)Y + regularization I, with the history's factors and confidences."""
        factors = self.item_factors[own.indices]
        extra = np.float32(self.confidence_scale) * own.data
        system = np.asarray(self.gram + (factors.T * extra) @ factors, dtype=np.float32)
        return system, factors, 1 + extra
