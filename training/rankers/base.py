"""What a ranker is: something fitted that can order the catalogue for anyone with a history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import scipy.sparse as sp

from features.live import Trails
from features.types import (
    Float32,
    Histories,
    Int8,
    Int16,
    Int32,
    Int64,
    Interest,
    nothing,
    row_numbers,
)
from training.rankers.allowed import (
    GATHER_BELOW,
    Allowed,
    Items,
    as_indices,
    cells,
    items_at,
    sized,
)
from training.rankers.cores import each
from training.rankers.opinion import Few, Opinion, Whole
from training.rankers.topk import best, best_of_rows

__all__ = ["Allowed", "Items", "Queries", "Ranker", "Ranking", "SparseRanker", "as_indices"]


@dataclass(frozen=True)
class Queries:
    """A batch of people asking; one request is a batch of one.

    histories:     items in time order, of all that we may use
    session_start: (n,) int64, offset in each row where the current session begins
    now_us:        (n,) int64, the moment of asking, microseconds since 1970 UTC
    segment:       (n,) int16, -1 in none        stage: (n,) int8, index into STAGES, -1 unknown
    declared:      (n, n_categories) CSR float32, what they told us, already decayed; below 0: less
    """

    histories: Histories
    session_start: Int64
    now_us: Int64
    segment: Int16
    stage: Int8
    declared: sp.csr_matrix

    @classmethod
    def plain(cls, histories: Histories, session_start: Int64, now_us: Int64 | int) -> Queries:
        """People in no segment, who told us nothing."""
        n = len(histories)
        each = isinstance(now_us, np.ndarray) and now_us.shape == (n,)
        moments = np.asarray(now_us) if each else np.full(n, now_us, np.int64)
        return cls(
            histories, session_start, moments,
            np.full(n, -1, np.int16), np.full(n, -1, np.int8),
            nothing(n, 0),
        )  # fmt: skip

    @classmethod
    def of_strangers(cls, rows: int, n_items: int, now_us: Int64 | int = 0) -> Queries:
        """`rows` people of whom nothing is known."""
        return cls.plain(Histories.strangers(rows, n_items), np.zeros(rows, np.int64), now_us)

    def __len__(self) -> int:
        return len(self.histories)

    def take(self, rows: Int64) -> Queries:
        """The queries of the named rows."""
        if rows.size == len(self) == 1:
            return self
        silent = self.told_nothing()
        return Queries(
            self.histories.take(rows), self.session_start[rows], self.now_us[rows],
            self.segment[rows], self.stage[rows],
            nothing(rows.size, self.declared.shape[1]) if silent else self.declared[rows],
        )  # fmt: skip

    @cached_property
    def stranger(self) -> Queries:
        """What rung `one_for_all` may know: nothing but the moment."""
        return Queries.of_strangers(len(self), self.histories.n_items, self.now_us)

    @cached_property
    def session_only(self) -> Queries:
        """What rung `context` may know: the current session and nothing before it."""
        cut = self.histories.since(self.session_start)
        return Queries.plain(cut, np.zeros(len(self), np.int64), self.now_us)

    @cached_property
    def session_and_segment(self) -> Queries:
        """What rung `segment` may know: the current session, and what group the person is of."""
        return replace(self.session_only, segment=self.segment, stage=self.stage)

    def below(self, limit: int) -> Queries:
        """The same people, as if they had never met an item from number `limit` on."""
        if limit not in self._below:
            self._below[limit] = self._cut(limit)
        return self._below[limit]

    @cached_property
    def _below(self) -> dict[int, Queries]:
        return {}

    def _cut(self, limit: int) -> Queries:
        histories = self.histories
        kept = histories.items < limit
        if kept.all():
            return replace(self, histories=replace(histories, n_items=limit))
        rows = row_numbers(histories.indptr)
        place = np.arange(rows.size) - histories.indptr[rows]
        before = kept & (place < self.session_start[rows])
        starts = np.bincount(rows[before], minlength=len(self))
        return replace(self, histories=histories.where(kept, limit), session_start=starts)

    @cached_property
    def worked_out(self) -> list[tuple[Any, Any]]:
        """Of one who asks: what rankers (the first of each pair) need for scores and anchors."""
        return []

    def told_nothing(self) -> bool:
        """Has nobody here told us anything about categories?"""
        return self.declared.nnz == 0


@dataclass(frozen=True)
class Ranking:
    """The best items of each row, best first.

    items: (n, k) int32, -1 where there is none      scores: (n, k) float32, NaN where none
    """

    items: Int32
    scores: Float32

    @classmethod
    def empty(cls, rows: int, k: int) -> Self:
        """Nothing for anybody."""
        return cls(np.full((rows, k), -1, np.int32), np.full((rows, k), np.nan, np.float32))

    @classmethod
    def of_one(cls, items: Int32 | Int64, scores: Float32, k: int) -> Self:
        """At most k items for one person."""
        ranking = cls.empty(1, k)
        ranking.items[0, : items.size], ranking.scores[0, : items.size] = items, scores
        return ranking


class Ranker(Protocol):
    """A fitted model: arrays and a `score`."""

    knows_strangers: ClassVar[bool]  # has an opinion on an empty history
    only_had: ClassVar[bool] = False  # speaks of nothing but what the person had before
    by_segment: ClassVar[bool] = False  # needs no history, but the segment of who asks
    learns_live: ClassVar[bool] = False  # has a `follower` that takes events in

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """Score items for each query; higher is better, NaN means no opinion.

        items:   what to score; None is the whole catalogue
        returns: (n, n_items) or (n, len(items)) float32
        """

    def opinion(self, queries: Queries) -> Opinion:
        """What `score` says of the whole catalogue to the only query."""
        return Whole(self.score(queries)[0])

    def contributions(self, own: Interest, items: Int32) -> Float32 | None:
        """What each item of one history adds to the scores of `items`; None: not by history.

        own: the only row, with m entries     items: (k,) int32     returns: (m, k)
        """
        del own, items
        return None

    def bound(self, others: Mapping[Any, Ranker]) -> Self:
        """This ranker as it was stored, with the fitted `others` (by name) that it asks."""
        del others
        return self

    def follower(self, n_items: int) -> Self:
        """A copy that learns from events, with room for `n_items`; see `training.rankers.live`."""
        del n_items
        raise NotImplementedError(f"{type(self).__name__} learns nothing until it is fitted again")

    def observe(self, trails: Trails) -> None:
        """Take in the fresh events; only a follower can."""
        del trails
        raise NotImplementedError(f"{type(self).__name__} is no follower; ask `follower` for one")

    def stored(self) -> Any:
        """The dataclass of arrays that a bundle keeps of this ranker."""
        return self

    def anchors(self, queries: Queries, items: Int32) -> Int32:
        """The history item that speaks most for each shown item; -1: not because of the history.

        items: (n, k) int32 as in a Ranking         returns: (n, k) int32
        """
        found = np.full(items.shape, -1, dtype=np.int32)
        interest = queries.histories.by_item
        for row in range(len(queries)):
            own, shown = interest.row(row), np.flatnonzero(items[row] >= 0)
            parts = self.contributions(own, items[row, shown]) if own.nnz and shown.size else None
            if parts is None:
                continue
            parts[own.indices[:, None] == items[row, shown]] = -np.inf  # nothing is due to itself
            strongest = parts.argmax(axis=0)
            told = parts[strongest, np.arange(shown.size)] > 0
            found[row, shown[told]] = own.indices[strongest[told]]
        return found

    def scorer(self, queries: Queries, items: Items | None) -> Callable[[slice], Float32]:
        """`score` of some of the queries at a time; what they share is done once, before."""
        scores = self.score(queries, items)
        return lambda rows: scores[rows]

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """The k best allowed items of each query, exactly; equal scores in catalogue order."""
        items, open_ = allowed.narrowed()
        width = sized(items)
        whole = not isinstance(items, slice) and width > GATHER_BELOW
        score = self.scorer(queries, None if whole else items)
        excluded = cells(allowed.excluded, items)
        if len(queries) == 1:
            own = (score(slice(None))[:, items] if whole else score(slice(None)))[0]
            places = best(own, k, excluded, open_)
            return Ranking.of_one(items_at(items, places), own[places], k)
        ranking = Ranking.empty(len(queries), k)

        def one(start: int) -> None:
            rows = slice(start, start + _ROWS)
            scores = score(rows)[:, items] if whole else score(rows)
            begin, end = np.searchsorted(excluded, [start * width, rows.stop * width])
            chosen = best_of_rows(scores, k, excluded[begin:end] - start * width, open_)
            row, place = np.nonzero(chosen >= 0)
            ranking.items[start + row, place] = items_at(items, chosen[row, place])
            ranking.scores[start + row, place] = scores[row, chosen[row, place]]

        each(one, range(0, len(queries), _ROWS))
        return ranking


class SparseRanker(Ranker, Protocol):
    """A ranker that speaks of a few items only: to one who asks it says no more than these."""

    def opinion(self, queries: Queries) -> Few:
        """As of every ranker."""
        ...

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """As of every ranker."""
        if len(queries) != 1:
            return super().top(queries, k, allowed)
        return Ranking.of_one(*self.opinion(queries).top(k, allowed), k)


_ROWS = 64  # queries whose scores lie in cache at once
