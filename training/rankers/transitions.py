"""What comes next: what followed the last items that somebody showed interest in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from features.live import Trails, Transitions, spread
from features.types import Float32, Float64, Int32, Int64, row_numbers
from training.rankers.allowed import holds
from training.rankers.base import Items, Queries, SparseRanker
from training.rankers.opinion import Few
from training.rankers.sparse import few

_LAST = 20  # items of a history that are looked at
_PRIOR = 1.0  # pairs without a target that every item starts with: one pair alone is no proof


@dataclass(frozen=True)
class TransitionsRanker(SparseRanker):
    """Weights what followed the last items of a history; a follower of it is live.

    The score of j is the sum over the history's last items i of

        w_i * pairs(i, j) / (pairs(i, *) + 1) / (pairs(*, j) + 1) ** popularity_damping

    transitions: decayed by distance and time, at the moment of asking
    recency:     w_i falls by this per item of distance from the end of the history, so from the
                 next click; what a person did at one moment of the past is at one distance
    earlier:     of w_i for items from before the current session
    popularity_damping: from 0, which tells what is likely, to 1, which tells what is particular
    """

    transitions: Transitions
    recency: float
    earlier: float
    popularity_damping: float
    knows_strangers: ClassVar[bool] = False
    learns_live: ClassVar[bool] = True

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """See the class; no opinion on what never followed any of the last items."""
        n_items = self.transitions.indptr.size - 1
        rows, _, targets, parts = self._parts(queries)
        cells = np.bincount(rows * n_items + targets, parts, minlength=len(queries) * n_items)
        scores = cells.astype(np.float32).reshape(len(queries), n_items)
        scores[scores == 0] = np.nan
        return scores if items is None else scores[:, items]

    def anchors(self, queries: Queries, items: Int32) -> Int32:
        """The item of the history that adds most to the score of each shown one."""
        rows, sources, targets, parts = self._parts(queries)
        n_items = self.transitions.indptr.size - 1
        cells, wanted = rows * n_items + targets, np.arange(len(queries))[:, None] * n_items + items
        shown = np.flatnonzero(holds(np.sort(wanted, axis=None), cells))
        order = shown[np.lexsort((parts[shown], cells[shown]))]  # of each cell the strongest last
        place = np.searchsorted(cells[order], wanted, side="right") - 1
        if not order.size:
            return np.full(items.shape, -1, dtype=np.int32)
        led = (place >= 0) & (cells[order[place]] == wanted) & (items >= 0)
        return np.where(led, sources[order[place]], -1).astype(np.int32)

    def opinion(self, queries: Queries) -> Few:
        """As `score`."""
        _, _, targets, parts = self._parts(queries)
        return few(targets, parts)

    def follower(self, n_items: int) -> Self:
        """A copy that counts on, with room for `n_items` items."""
        return replace(self, transitions=self.transitions.grown(n_items))

    def observe(self, trails: Trails) -> None:
        """Count what the fresh events follow."""
        self.transitions.add(trails)

    def _parts(self, queries: Queries) -> tuple[Int64, Int32, Int32, Float64]:
        """Flat: (m,) row of the query, item of its history, what followed it, what that adds."""
        found: tuple[Int64, Int32, Int32, Float64]
        for ranker, found in queries.worked_out:
            if ranker is self:
                return found
        found = self._work_out(queries)
        if len(queries) == 1:  # a batch would keep too much
            queries.worked_out.append((self, found))
        return found

    def _work_out(self, queries: Queries) -> tuple[Int64, Int32, Int32, Float64]:
        rows, items, weights = last_items(queries, self.recency, self.earlier)
        moments = queries.now_us[rows]
        places, targets, sums = self.transitions.rows(items, moments)
        passed = self.transitions.passed(moments)
        given = np.exp2(self.transitions.given.sums[0, items] - passed) + _PRIOR
        parts = (weights / given)[places] * sums
        if self.popularity_damping:
            taken = self.transitions.taken.sums[0, targets] - spread(passed, places)
            parts /= (np.exp2(taken) + _PRIOR) ** self.popularity_damping
        return rows[places], items[places], targets, parts


def last_items(queries: Queries, recency: float, earlier: float) -> tuple[Int64, Int32, Float64]:
    """The last distinct liked items of each history: row of the query, item, weight; flat."""
    histories = queries.histories
    liked = np.flatnonzero(histories.weights > 0)[::-1]  # newest first
    rows, items = row_numbers(histories.indptr)[liked], histories.items[liked]
    newest = np.unique(rows * histories.n_items + items, return_index=True)[1]
    newest.sort()  # the latest time that each is there, still newest first
    liked, rows, items = liked[newest], rows[newest], items[newest]
    place = np.arange(rows.size) - np.searchsorted(-rows, -rows)
    session = liked - histories.indptr[rows] >= queries.session_start[rows]
    ages = histories.ages_days[liked]
    again = np.zeros(rows.size, np.bool_)  # of the same moment as the one after it
    again[1:] = (rows[1:] == rows[:-1]) & (ages[1:] == ages[:-1]) & ~session[1:]
    distance = place[np.maximum.accumulate(np.where(again, 0, np.arange(rows.size)))]
    kept = place < _LAST
    weights = recency**distance * np.where(session, 1.0, earlier) * histories.weights[liked]
    return rows[kept], items[kept], weights[kept].astype(np.float64)
