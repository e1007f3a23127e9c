"""What a ranker says to one person: of every item, or of a few only. Both answer alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from features.types import Float32, Int32
from training.rankers.allowed import Allowed, cells, items_at
from training.rankers.topk import best, best_of_rows, highest


class Opinion(Protocol):
    """Scores of the catalogue for one person; NaN where there is no opinion."""

    def best(self, k: int) -> Float32:
        """The k highest scores of all, highest first; fewer where there are fewer."""

    def top(self, k: int, allowed: Allowed) -> tuple[Int32, Float32]:
        """The k best allowed items with their scores, best first; equal ones in catalogue order."""

    def at(self, items: Int32) -> Float32:
        """(m,) the score of each of `items` (m,)."""


@dataclass(frozen=True)
class Whole:
    """A score for every item. scores: (n,) float32, of the first n items of the catalogue."""

    scores: Float32

    def best(self, k: int) -> Float32:
        """See Opinion."""
        return highest(self.scores, k)

    def top(self, k: int, allowed: Allowed) -> tuple[Int32, Float32]:
        """See Opinion."""
        items, open_ = allowed.below(self.scores.size).narrowed()
        scores = self.scores[items]
        places = best_of_rows(scores[None], k, cells(allowed.excluded, items), open_)[0]
        places = places[places >= 0]
        return np.asarray(items_at(items, places), np.int32), scores[places]

    def at(self, items: Int32) -> Float32:
        """See Opinion."""
        if not items.size or items.max() < self.scores.size:
            return self.scores[items]
        known = items < self.scores.size
        return np.where(known, self.scores[np.where(known, items, 0)], np.float32(np.nan))


@dataclass(frozen=True)
class Few:
    """Scores of some items: no opinion on the others.

    items: (m,) int32, ascending        scores: (m,) float32, none NaN
    """

    items: Int32
    scores: Float32

    @classmethod
    def nothing(cls) -> Few:
        """No opinion on anything."""
        return cls(np.empty(0, np.int32), np.empty(0, np.float32))

    def best(self, k: int) -> Float32:
        """See Opinion."""
        return highest(self.scores, k)

    def top(self, k: int, allowed: Allowed) -> tuple[Int32, Float32]:
        """See Opinion."""
        places = allowed.among(self.items)
        places = places[best(self.scores[places], k)]
        return self.items[places], self.scores[places]

    def at(self, items: Int32) -> Float32:
        """See Opinion."""
        if not self.items.size:
            return np.full(items.size, np.nan, np.float32)
        place = np.minimum(np.searchsorted(self.items, items), self.items.size - 1)
        return np.where(self.items[place] == items, self.scores[place], np.float32(np.nan))
