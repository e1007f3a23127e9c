"""Rankers between trainings: the live ones count on, the others keep to the items they know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.training_options import RankerName
from features.types import Float32, Int32
from training.rankers.around import Around
from training.rankers.base import Allowed, Items, Queries, Ranker, Ranking, as_indices
from training.rankers.opinion import Opinion


def followers(
    rankers: Mapping[RankerName, Ranker], known: int, n_items: int
) -> dict[RankerName, Ranker]:
    """The same rankers for a catalogue that has grown from `known` to `n_items` items.

    Those that learn live are copies with counters of their own, to be told with `observe`; the
    others are asked about the items they were fitted on. Who asks others asks these in their turn.
    """
    found: dict[RankerName, Ranker] = {
        name: one.follower(n_items) if one.learns_live else Widened(one, known, n_items)
        for name, one in rankers.items()
    }
    return {name: one.bound(found) for name, one in found.items()}


@dataclass(frozen=True)
class Widened(Around):
    """A ranker fitted on the first `known` of `n_items` items: no opinion on the others."""

    known: int
    n_items: int

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """The ranker's own scores of the items it knows, NaN of the others."""
        wanted = as_indices(slice(0, self.n_items) if items is None else items)
        own = wanted < self.known
        scores = np.full((len(queries), wanted.size), np.nan, dtype=np.float32)
        scores[:, own] = self.ranker.score(queries.below(self.known), wanted[own])
        return scores

    def opinion(self, queries: Queries) -> Opinion:
        """The ranker's own; it has none on an item that it does not know."""
        return self.ranker.opinion(queries.below(self.known))

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """The ranker's own choice among the items it knows."""
        return self.ranker.top(queries.below(self.known), k, allowed.below(self.known))

    def anchors(self, queries: Queries, items: Int32) -> Int32:
        """As the ranker itself."""
        known = np.where(items < self.known, items, -1)
        return self.ranker.anchors(queries.below(self.known), known)
