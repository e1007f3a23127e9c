"""Filling feeds from a ladder: from the top step down, with one exclude set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.config import RUNGS, Rung
from features.training_options import RankerName
from features.types import Bool, Float32, Int8, Int32, Int64, Ragged
from training.rankers.base import Allowed, Queries, Ranker, Ranking


@dataclass(frozen=True)
class Step:
    """One step of the ladder: a ranker, and how much it may know."""

    rung: Rung
    name: RankerName
    ranker: Ranker


def seen_by(rung: Rung, queries: Queries) -> Queries:
    """What a step of `rung` may look at."""
    if rung == "one_to_one":
        return queries
    if rung == "context":
        return queries.session_only
    return queries.session_and_segment if rung == "segment" else queries.stranger


@dataclass(frozen=True)
class Request:
    """Who asks a ladder for what.

    queries: what may be known of each        rungs: (n,) int8, the highest that each may have
    """

    ladder: Sequence[Step]
    queries: Queries
    rungs: Int8
    allowed: Allowed

    def row(self, row: int) -> Request:
        """For one person."""
        if len(self.queries) == 1:
            return self
        rows = np.array([row])
        return replace(self, queries=self.queries.take(rows), rungs=self.rungs[rows],
                       allowed=self.allowed.take(rows))  # fmt: skip

    def among(self, wanted: Bool) -> Request:
        """The same, of these items only: (n_items,)."""
        open_ = wanted if self.allowed.open is None else wanted & self.allowed.open
        return replace(self, allowed=replace(self.allowed, open=open_))


@dataclass(frozen=True)
class Filling:
    """Feeds that are being filled; the arrays change in place.

    items, scores, steps: (n, size) as in `policy.Feeds`        counts: (n,) int64, items so far
    """

    items: Int32
    scores: Float32
    steps: Int8
    counts: Int64

    @classmethod
    def empty(cls, rows: int, size: int) -> Filling:
        """Nothing yet."""
        return cls(
            np.full((rows, size), -1, dtype=np.int32),
            np.full((rows, size), np.nan, dtype=np.float32),
            np.full((rows, size), -1, dtype=np.int8),
            np.zeros(rows, dtype=np.int64),
        )

    def row(self, row: int) -> Filling:
        """The feed of one person; what is filled in there is filled in here."""
        own = slice(row, row + 1)
        return Filling(self.items[own], self.scores[own], self.steps[own], self.counts[own])

    def fill(self, request: Request, below: int | None = None) -> None:
        """Go down the ladder until every row is full (or has `below` items)."""
        size, rungs = self.items.shape[1] if below is None else below, request.rungs
        highest = rungs.max(initial=0)
        for place, step in enumerate(request.ladder):
            if (level := RUNGS.index(step.rung)) > highest:
                continue
            rows = np.flatnonzero((rungs >= level) & (self.counts < size))
            if rows.size:
                view = seen_by(step.rung, request.queries)
                ranking = step.ranker.top(*self._open(rows, view, size, request.allowed))
                self._append(rows, place, ranking, size)

    def _open(
        self, rows: Int64, view: Queries, size: int, allowed: Allowed
    ) -> tuple[Queries, int, Allowed]:
        """What the ranker of a step is asked for the named rows, which have room."""
        if rows.size < len(view):
            view, allowed = view.take(rows), allowed.take(rows)
        if self.counts[rows].any():
            items, lengths = self.items[rows], self.counts[rows]
            indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
            allowed = allowed.without(Ragged(indptr, items[items >= 0]))
        return view, size, allowed

    def _append(self, rows: Int64, step: int, ranking: Ranking, size: int) -> None:
        if len(self.counts) == 1 and not self.counts[0]:  # the first step of one who asks
            many = min(int((ranking.items[0] >= 0).sum()), size)
            self.items[0, :many] = ranking.items[0, :many]
            self.scores[0, :many] = ranking.scores[0, :many]
            self.steps[0, :many], self.counts[0] = step, many
            return
        filled = self.counts[rows]
        wanted = np.minimum((ranking.items >= 0).sum(axis=1), size - filled)
        row, column = np.nonzero(np.arange(ranking.items.shape[1]) < wanted[:, None])
        target = (rows[row], filled[row] + column)
        self.items[target] = ranking.items[row, column]
        self.scores[target] = ranking.scores[row, column]
        self.steps[target] = step
        self.counts[rows] += wanted
