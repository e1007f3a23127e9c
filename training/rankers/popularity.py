"""Recent popularity: the same order for everyone, so it also serves strangers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from features.live import Counters, Trails
from features.types import DAY_US, Float32, Float64, Int32, Int64
from training.item_facts import UNBORN
from training.rankers.base import Allowed, Items, Queries, Ranker, Ranking
from training.rankers.opinion import Opinion, Whole
from training.rankers.topk import best

MOST_WANTED = 4096  # items whose order is kept ready


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
        scores = self.popularity if items is None else (
            self.popularity[items] if isinstance(items, slice) else self.of(items))  # fmt: skip
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
        scores, logs = self._counted(slice(None))
        uncounted = np.isneginf(logs)
        scores[uncounted] = _newest_first(self.born_us[uncounted])
        return scores

    def _counted(self, items: Items) -> tuple[Float32, Float64]:
        """(m,) scores of items that were counted; (m,) log2 of what was, -inf: nothing."""
        logs = standing(self.pace.counters, self.born_us, self.pace.freshness_days, items)[0]
        above, below = 1 + np.maximum(logs, 0), 1 / (1 - np.minimum(logs, 0))
        return np.where(logs >= 0, above, below).astype(np.float32), logs

    def of(self, items: Int32) -> Float32:
        """(m,) `popularity` of some items; of counted ones without a look at the others."""
        if "popularity" not in self.__dict__:
            scores, logs = self._counted(items)
            if not np.isneginf(logs).any():
                return scores
        return self.popularity[items]

    def opinion(self, queries: Queries) -> Opinion:
        """As `score`; the order of what is most wanted is kept ready, as it is everybody's."""
        return Wanted(self, queries)

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """As of every ranker."""
        if len(queries) != 1:
            return super().top(queries, k, allowed)
        return Ranking.of_one(*self.opinion(queries).top(k, allowed), k)

    @cached_property
    def most_wanted(self) -> Int32:
        """The best counted items, best first, of equals the first; at most so many."""
        scores, _ = self.popularity, self._all_fade
        found = best(scores, MOST_WANTED).astype(np.int32)
        return found[scores[found] > 0]

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
        if "most_wanted" in self.__dict__:
            self._move_up(items)

    def _move_up(self, counted: Int32) -> None:
        """Keep `most_wanted` ready: what has just been counted may rise, all others fade alike."""
        order = self.__dict__.pop("most_wanted")
        if self._all_fade and self._fade(counted):
            items = np.union1d(order, counted).astype(np.int32)
            self.__dict__["most_wanted"] = items[best(self._counted(items)[0], MOST_WANTED)]
        else:
            del self.__dict__["_all_fade"]

    @cached_property
    def _all_fade(self) -> bool:
        """Did all counted items fade alike when `most_wanted` was made?"""
        return self._fade(np.flatnonzero(~np.isneginf(self.pace.counters.sums[0])))

    def _fade(self, items: NDArray[np.integer]) -> bool:
        """Do these fade like all others? What is not born does not age, so it gains on them."""
        newest = self.pace.counters.newest_us[0]
        return self.pace.freshness_days is None or bool((self.born_us[items] <= newest).all())


@dataclass(frozen=True)
class Wanted:
    """What popularity says to whoever asks: an Opinion."""

    ranker: PopularityRanker
    queries: Queries

    def best(self, k: int) -> Float32:
        """See Opinion."""
        first = self.ranker.most_wanted[:k]
        return self.ranker.of(first) if first.size == k else self._whole().best(k)

    def top(self, k: int, allowed: Allowed) -> tuple[Int32, Float32]:
        """See Opinion."""
        order = self.ranker.most_wanted
        for some in (order[: 4 * k], order):
            items = some[allowed.among(some)[:k]]
            if items.size == k:
                return items, self.ranker.of(items)
        return self._whole().top(k, allowed)

    def at(self, items: Int32) -> Float32:
        """See Opinion."""
        return np.asarray(self.ranker.score(self.queries, items)[0])

    def _whole(self) -> Whole:
        return Whole(self.ranker.score(self.queries)[0])


def standing(
    counters: Counters, born_us: Int64, freshness_days: float | None, items: Items = slice(None)
) -> Float64:
    """(h, m) log2 of what was counted, at the newest event, faded by the item's age too."""
    newest = int(counters.newest_us[0])
    logs = counters.at(newest, items)
    if freshness_days is None:
        return logs
    ages: Float64 = np.maximum(newest - born_us[items], 0) / DAY_US
    return logs - ages / freshness_days


def _newest_first(born_us: Int64) -> Float64:
    """Scores from 0 down to -1, which is for those of unknown age."""
    moments, places = np.unique(-born_us, return_inverse=True)
    scores: Float64 = -(places + 1) / (moments.size + 1)
    scores[born_us == UNBORN] = -1
    return scores
