"""Fitted rankers: what serving loads. NumPy, SciPy and ONNX Runtime only."""

from __future__ import annotations

from typing import Any

from features.training_options import RankerName
from training.rankers.als import AlsRanker
from training.rankers.blend import BlendForest
from training.rankers.content import ContentRanker
from training.rankers.ease import EaseRanker
from training.rankers.graph import GraphRanker
from training.rankers.neighbours import NeighboursRanker
from training.rankers.popularity import PopularityRanker
from training.rankers.repeat import RepeatRanker
from training.rankers.segment_popularity import SegmentPopularityRanker
from training.rankers.sequence import SequenceRanker
from training.rankers.session_neighbours import SessionNeighboursRanker
from training.rankers.transitions import TransitionsRanker

RANKERS: dict[RankerName, Any] = {  # what a bundle stores; `bound` makes a ranker of it
    "popularity": PopularityRanker,
    "segment_popularity": SegmentPopularityRanker,
    "repeat": RepeatRanker,
    "transitions": TransitionsRanker,
    "session_neighbours": SessionNeighboursRanker,
    "neighbours": NeighboursRanker,
    "graph": GraphRanker,
    "als": AlsRanker,
    "ease": EaseRanker,
    "sequence": SequenceRanker,
    "content": ContentRanker,
    "blend": BlendForest,
}
