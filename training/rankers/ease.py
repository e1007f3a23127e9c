"""EASE: one weight for every pair of items, in closed form; a history is a sum of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.types import Float32, Int32, Interest
from training.rankers.base import Items, Queries, Ranker


@dataclass(frozen=True)
class EaseRanker(Ranker):
    """Embarrassingly shallow autoencoder (Steck 2019) over decayed histories.

    weights: (n_kept, n_kept) float32, row i has what item i says of each item, of itself nothing
    kept:    (n_kept,) int32, sorted indices of the items it knows; none on any other
    power:   interest counts as interest ^ power; 0: any interest counts alike
    """

    weights: Float32
    kept: Int32
    power: float
    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """The weights of the history's items, summed."""
        if len(queries) == 1:
            found = self._one(queries.histories.by_item)
        else:
            own = queries.histories.interest()[:, self.kept]
            own.data **= np.float32(self.power)
            found = np.asarray(own @ self.weights, dtype=np.float32)
            found[np.diff(own.indptr) == 0] = np.nan
        scores = np.full((len(queries), queries.histories.n_items), np.nan, dtype=np.float32)
        scores[:, self.kept] = found
        return scores if items is None else scores[:, items]

    def _one(self, own: Interest) -> Float32:
        """(1, n_kept) as `score`, of the only query."""
        places, known = self._places(own.indices)
        amounts = own.data[known] ** np.float32(self.power)
        if not amounts.size:
            return np.full((1, self.kept.size), np.nan, dtype=np.float32)
        return np.asarray(amounts[None] @ self.weights[places[known]], dtype=np.float32)

    def contributions(self, own: Interest, items: Int32) -> Float32:
        """What each item of the history adds; 0 from and to an item that is not kept."""
        (rows, from_kept), (columns, to_kept) = self._places(own.indices), self._places(items)
        parts = self.weights[np.ix_(rows, columns)] * (own.data**self.power)[:, None]
        return np.where(from_kept[:, None] & to_kept, parts, 0).astype(np.float32)

    def _places(self, items: Int32) -> tuple[Int32, np.ndarray]:
        """Where items are among the kept ones, and whether they are."""
        places = np.minimum(np.searchsorted(self.kept, items), self.kept.size - 1)
        return places.astype(np.int32), self.kept[places] == items
