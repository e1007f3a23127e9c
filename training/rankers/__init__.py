"""Fitted rankers: what serving loads. NumPy and SciPy only."""

from __future__ import annotations

from features.training_options import RankerName
from training.rankers.als import AlsRanker
from training.rankers.base import Ranker
from training.rankers.neighbours import NeighboursRanker
from training.rankers.popularity import PopularityRanker

RANKERS: dict[RankerName, type[Ranker]] = {
    "popularity": PopularityRanker,
    "neighbours": NeighboursRanker,
    "als": AlsRanker,
}
