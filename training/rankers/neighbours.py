"""Item neighbours: what went with the items of a history, weighted by how fresh these are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from features.types import Float32, Int32, Interest
from training.rankers.base import Items, Queries, SparseRanker
from training.rankers.opinion import Few
from training.rankers.sparse import cells_of, mixed


@dataclass(frozen=True)
class NeighboursRanker(SparseRanker):
    """Item neighbours (Sarwar, Karypis, Konstan & Riedl 2001), however they were weighted.

    similarity: (n_items, n_items) CSR float32; row i has the neighbours of item i
    """

    similarity: sp.csr_matrix
    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """Similarity to the history, summed; no opinion on an item that nothing points to."""
        interest = queries.histories.interest()
        scores = np.asarray((interest @ self.similarity).todense(), dtype=np.float32)
        scores = scores if items is None else scores[:, items]
        return np.where(scores > 0, scores, np.float32(np.nan))

    def opinion(self, queries: Queries) -> Few:
        """As `score`."""
        return mixed(queries.histories.by_item, self.similarity)

    def contributions(self, own: Interest, items: Int32) -> Float32:
        """Interest in each history item times its similarity to the shown ones."""
        return cells_of(self.similarity, own.indices, items) * own.data[:, None]
