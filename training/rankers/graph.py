"""A graph filter: what lies near a history in the graph of people and items; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from features.types import Bool, Float32, Int32, Interest
from training.rankers.base import Items, Queries, Ranker
from training.rankers.sparse import cells_of


@dataclass(frozen=True)
class GraphRanker(Ranker):
    """GF-CF (Shen et al. 2021): score = r (N'N + low_pass * D^-1/2 V V' D^1/2), sec. 4.

    N is the interest matrix divided by the roots of its row sums and column sums (D).

    linear: (n_items, n_items) CSR float32, N'N, the highest of each row
    begin:  (n_items, f) float32, D^-1/2 V, with V the strongest right singular vectors of N
    end:    (n_items, f) float32, low_pass * D^1/2 V; 0 for an item that nobody touched
    """

    linear: sp.csr_matrix
    begin: Float32
    end: Float32
    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """The filtered history; no opinion on people without one, nor on what nobody touched."""
        chosen = slice(None) if items is None else items
        own = queries.histories.interest()
        scores = np.asarray((own @ self.linear).todense(), dtype=np.float32)[:, chosen]
        scores += (own @ self.begin) @ self.end[chosen].T
        scores[np.diff(own.indptr) == 0] = np.nan
        scores[:, ~self._touched[chosen]] = np.nan
        return scores

    def contributions(self, own: Interest, items: Int32) -> Float32:
        """What each item of the history passes on to the shown ones."""
        near = cells_of(self.linear, own.indices, items)
        parts: Float32 = (near + self.begin[own.indices] @ self.end[items].T) * own.data[:, None]
        return parts

    @cached_property
    def _touched(self) -> Bool:
        return np.diff(self.linear.indptr) > 0
