"""Segment popularity: what people of the same segment want of late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.types import Float32
from training.rankers.base import Items, Queries, Ranker


@dataclass(frozen=True)
class SegmentPopularityRanker(Ranker):
    """Ranks by the segment's recent interest, which leans on everybody's where it is small.

    shares: (n_segments, n_items) float32, of the interest to expect; NaN: nobody wants the item
    half_life_days, prior: what was found on the past
    """

    shares: Float32
    half_life_days: float
    prior: float
    knows_strangers: ClassVar[bool] = False
    by_segment: ClassVar[bool] = True

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """The row of who asks' segment; no opinion on people in none."""
        shares = self.shares if items is None else self.shares[:, items]
        if len(queries) == 1 and queries.segment[0] >= 0:
            one: Float32 = shares[queries.segment[0]][None]  # nothing is copied
            return one
        scores = shares[np.maximum(queries.segment, 0)]
        scores[queries.segment < 0] = np.nan
        return scores
