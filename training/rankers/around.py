"""A ranker around another one, which answers for it wherever it has nothing to add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from features.types import Float32, Int32, Interest
from training.rankers.base import Allowed, Items, Queries, Ranker, Ranking
from training.rankers.opinion import Opinion


@dataclass(frozen=True)
class Around(Ranker):
    """As `ranker` itself."""

    ranker: Ranker

    @property
    def knows_strangers(self) -> bool:  # type: ignore[override]
        """As the ranker itself."""
        return self.ranker.knows_strangers

    @property
    def only_had(self) -> bool:  # type: ignore[override]
        """As the ranker itself."""
        return self.ranker.only_had

    @property
    def by_segment(self) -> bool:  # type: ignore[override]
        """As the ranker itself."""
        return self.ranker.by_segment

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """As the ranker itself."""
        return self.ranker.score(queries, items)

    def opinion(self, queries: Queries) -> Opinion:
        """As the ranker itself."""
        return self.ranker.opinion(queries)

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """As the ranker itself."""
        return self.ranker.top(queries, k, allowed)

    def anchors(self, queries: Queries, items: Int32) -> Int32:
        """As the ranker itself."""
        return self.ranker.anchors(queries, items)

    def contributions(self, own: Interest, items: Int32) -> Float32 | None:
        """As the ranker itself."""
        return self.ranker.contributions(own, items)

    def stored(self) -> Any:
        """What a bundle keeps of the ranker itself."""
        return self.ranker.stored()
