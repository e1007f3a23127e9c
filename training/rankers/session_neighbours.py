"""Session neighbours: what else was in the past sessions that are most like the present."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from features.types import (
    Float32,
    Float64,
    Histories,
    Int32,
    Int64,
    Interest,
    Ragged,
    gather,
    row_numbers,
)
from training.rankers.base import Items, Queries, SparseRanker
from training.rankers.opinion import Few
from training.rankers.sparse import cells_of, few
from training.rankers.topk import best


@dataclass(frozen=True)
class SessionNeighboursRanker(SparseRanker):
    """V-SKNN (Ludewig & Jannach 2018; Ludewig, Mauro, Latifi & Jannach 2021), in arrays.

    sessions: (S rows) the distinct items of each past session, oldest session first
    holders:  (n_items rows) the newest `sample` sessions that hold an item, oldest first
    lengths:  (S,) float32, root of the number of items: the session's length as a vector
    fresh:    (S,) float32, halved every half-life of the session's age
    rarity:   (n_items,) float32, how much more a vote for a rare item counts
    sample:   newest sessions sharing an item that are looked at    neighbours: of them that vote
    history:  newest events of who asks that are looked at

    An event of the present counts by its weight and by how recent it is: 1 for the newest event of
    the current session, 1/2 for the one before, ... and what was before that session comes after
    its first event. The similarity is the cosine with the session; a session votes for its items
    with the square of it (case amplification: Breese, Heckerman & Kadie 1998, sec. 2.2).
    """

    sessions: Ragged
    holders: Ragged
    lengths: Float32
    fresh: Float32
    rarity: Float32
    sample: int
    neighbours: int
    history: int
    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """Votes of the nearest sessions; no opinion on what none of them holds."""
        present = self._present(queries).by_item
        wanted = slice(None) if items is None else items
        scores = np.full((len(queries), self.rarity.size), np.nan, dtype=np.float32)
        for row in range(len(queries)):
            voted = self._voted(present.row(row))
            scores[row, voted.items] = voted.scores
        return scores[:, wanted]

    def opinion(self, queries: Queries) -> Few:
        """As `score`."""
        return self._voted(self._present(queries).by_item)

    def contributions(self, own: Interest, items: Int32) -> Float32:
        """Each vote, shared out among the history items that made its session a neighbour."""
        nearest, votes = self._nearest(own.indices, own.data)
        held = self.sessions.take(nearest)
        theirs = _there(held, own.indices) * own.data
        share = votes / np.maximum(theirs.sum(axis=1), np.finfo(np.float32).tiny)
        parts = theirs.T @ (_there(held, items) * share[:, None]) * self.rarity[items]
        return np.asarray(parts, dtype=np.float32)

    def anchors(self, queries: Queries, items: Int32) -> Int32:
        """As of every ranker, with the weights that the events have here."""
        return super().anchors(replace(queries, histories=self._present(queries)), items)

    def _present(self, queries: Queries) -> Histories:
        """The histories with each event's weight in the comparison; 0 for what is not looked at."""
        histories = queries.histories
        rows = row_numbers(histories.indptr)
        entries = np.arange(rows.size)
        from_end = histories.indptr[1:][rows] - entries  # 1 for the newest
        started = histories.indptr[:-1] + queries.session_start
        distance = np.minimum(from_end, (histories.indptr[1:] - started + 1)[rows])
        weights = np.where(from_end <= self.history, histories.weights / distance, 0)
        return replace(histories, weights=weights.astype(np.float32))

    def _nearest(self, items: Int32, weights: Float32) -> tuple[Int64, Float64]:
        """(k,) the sessions nearest to distinct `items` of these weights, (k,) their votes."""
        indptr, entries = gather(self.holders.indptr, items)
        holders = self.holders.values[entries]
        if not holders.size:
            return np.empty(0, np.int64), np.empty(0, np.float64)
        oldest = int(holders.min())
        unit = weights / np.linalg.norm(weights.astype(np.float64))
        shared = np.bincount(holders - oldest, np.repeat(unit, np.diff(indptr)))
        newest_first = np.flatnonzero(shared > 0)[: -self.sample - 1 : -1]
        sessions = newest_first + oldest
        votes = (shared[newest_first] / self.lengths[sessions]) ** 2 * self.fresh[sessions]
        nearest = best(votes.astype(np.float32), self.neighbours)
        return sessions[nearest], votes[nearest]

    def _voted(self, own: Interest) -> Few:
        """The votes for each item that the nearest sessions hold."""
        sessions, votes = self._nearest(own.indices, own.data)
        held = self.sessions.take(sessions)
        amounts = np.repeat(votes, np.diff(held.indptr)) * self.rarity[held.values]
        return few(held.values, amounts)


def _there(held: Ragged, items: Int32) -> Float32:
    """(len(held), len(items)) 1 where a row holds the item, else 0; no item twice."""
    ones = np.ones(held.values.size, dtype=np.float32)
    return cells_of(Interest(held.indptr, held.values, ones), np.arange(len(held)), items)
