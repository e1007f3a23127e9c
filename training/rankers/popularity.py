"""Recent popularity: the same order for everyone, so it also serves strangers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.types import Float32
from training.rankers.base import Items, Queries, Ranker


@dataclass(frozen=True)
class PopularityRanker(Ranker):
    """Ranks by decayed interest of everybody.

    popularity: (n_items,) float32        half_life_days: what it was found to be worth on the past
    """

    popularity: Float32
    half_life_days: float
    knows_strangers: ClassVar[bool] = True

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """The same row for every query."""
        scores = self.popularity if items is None else self.popularity[items]
        return np.broadcast_to(scores, (len(queries), scores.size))
