"""Recent popularity: the same order for everyone, so it also serves strangers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from features.live import Counters, Trails
from features.types import DAY_US, Float32, Float64, Int32, Int64
from training.item_facts import UNBORN
from training.rankers.base import Items, Queries, Ranker


@dataclass(frozen=True)
class Pace:
    """How fast interest and items fade, and what has been counted at that pace.

    counters: of one half-life        freshness_days: an item's score halves with every so many days
    of its age; None: never
    """

    counters: Counters
    half_life_days: float
    freshness_days: float | None

    def grown(self, n_items: int) -> Pace:
        """A copy that counts on, with room for `n_items` items."""
        return replace(self, counters=self.counters.grown(n_items))


@dataclass(frozen=True)
class PopularityRanker(Ranker):
    """Ranks by decayed interest of everybody and by the age of the item; a follower of it is live.

    pace: found on the past, for feeds that know nothing newer        born_us: (n_items,) int64,
    UNBORN where it is not known
    live: for a follower, which knows of every event: what is wanted this very hour may be all that
          counts then, and nothing a week later

    As all ages grow alike, the moment of asking changes no order: what is asked at another moment
    is the same but for a factor (forward decay, see `features.live`).
    """

    pace: Pace
    live: Pace
    born_us: Int64
    knows_strangers: ClassVar[bool] = True
    learns_live: ClassVar[bool] = True

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """`popularity` for every query; what is not born when it asks comes last."""
        scores = self.popularity if items is None else self.popularity[items]
        everybody: Float32 = np.broadcast_to(scores, (len(queries), scores.size))
        if not self._announced.size:
            return everybody
        born = np.zeros(self.popularity.size, np.int64)
        born[self._announced] = self.born_us[self._announced]
        born = born if items is None else born[items]
        return np.where(born > queries.now_us[:, None], np.float32(-1), everybody)

    @cached_property
    def popularity(self) -> Float32:
        """(n_items,) float32: above 0 for items that were counted, else from 0 to -1, newest first.

        Of a decayed sum s, at the newest event: 1 + log2 s from 1 on, 1 / (1 - log2 s) below it,
        which orders what has long been forgotten as well.
        """
        logs = standing(self.pace.counters, self.born_us, self.pace.freshness_days)[0]
        above, below = 1 + np.maximum(logs, 0), 1 / (1 - np.minimum(logs, 0))
        scores = np.where(logs >= 0, above, below)
        uncounted = np.isneginf(logs)
        scores[uncounted] = _newest_first(self.born_us[uncounted])
        return np.asarray(scores, dtype=np.float32)

    @cached_property
    def _announced(self) -> Int32:
        """Items without a count that were not born when the newest event came."""
        counters = self.pace.counters
        later = (self.born_us > counters.newest_us[0]) & (self.born_us < UNBORN)
        return np.flatnonzero(later & np.isneginf(counters.sums[0])).astype(np.int32)

    def follower(self, n_items: int) -> Self:
        """A copy that counts on at the live pace, with room for `n_items` items."""
        room = np.full(n_items - self.born_us.size, UNBORN)
        born = np.concatenate([self.born_us, room])
        return replace(self, pace=self.live.grown(n_items), born_us=born)

    def observe(self, trails: Trails) -> None:
        """Count the fresh events; an item of unknown age is as old as its first event."""
        items, times = trails.items[trails.fresh], trails.occurred_us[trails.fresh]
        self.pace.counters.add(items, trails.weights[trails.fresh], times)
        unborn = self.born_us[items] == UNBORN
        np.minimum.at(self.born_us, items[unborn], times[unborn])
        for derived in ("popularity", "_announced"):
            self.__dict__.pop(derived, None)


def standing(counters: Counters, born_us: Int64, freshness_days: float | None) -> Float64:
    """(h, n_items) log2 of what was counted, at the newest event, faded by the item's age too."""
    newest = int(counters.newest_us[0])
    logs = counters.at(newest)
    if freshness_days is None:
        return logs
    ages: Float64 = np.maximum(newest - born_us, 0) / DAY_US
    return logs - ages / freshness_days


def _newest_first(born_us: Int64) -> Float64:
    """Scores from 0 down to -1, which is for those of unknown age."""
    moments, places = np.unique(-born_us, return_inverse=True)
    scores: Float64 = -(places + 1) / (moments.size + 1)
    scores[born_us == UNBORN] = -1
    return scores
