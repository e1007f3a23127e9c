"""What a ranker is: something fitted that can order the catalogue for anyone with a history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.live import Trails
from features.types import (
    Float32,
    Histories,
    Int8,
    Int16,
    Int32,
    Int64,
    Ragged,
    nothing,
    row_numbers,
)
from training.rankers.cores import each
from training.rankers.topk import best_of_rows

Items = slice | NDArray[np.int32]  # a contiguous part of the catalogue, or sorted indices into it


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
        return cls(
            histories, session_start, np.broadcast_to(np.asarray(now_us, np.int64), (n,)),
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
        return Queries(
            self.histories.take(rows), self.session_start[rows], self.now_us[rows],
            self.segment[rows], self.stage[rows], self.declared[rows],
        )  # fmt: skip

    def session_only(self) -> Queries:
        """What rung `context` may know: the current session and nothing before it."""
        cut = self.histories.since(self.session_start)
        return Queries.plain(cut, np.zeros(len(self), np.int64), self.now_us)

    def session_and_segment(self) -> Queries:
        """What rung `segment` may know: the current session, and what group the person is of."""
        return replace(self.session_only(), segment=self.segment, stage=self.stage)

    def told_nothing(self) -> bool:
        """Has nobody here told us anything about categories?"""
        return self.declared.nnz == 0


@dataclass(frozen=True)
class Allowed:
    """What may be shown: `items` to everybody of the batch, less `excluded` of each row."""

    items: Items
    excluded: Ragged

    def take(self, rows: Int64) -> Allowed:
        """The same for the named rows."""
        return Allowed(self.items, self.excluded.take(rows))

    def without(self, shown: Ragged) -> Allowed:
        """Also exclude what each row has been given already."""
        return Allowed(self.items, self.excluded.joined(shown))


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

    def contributions(self, own: sp.csr_matrix, items: Int32) -> Float32 | None:
        """What each item of one history adds to the scores of `items`; None: not by history.

        own: (1, n_items) interest with m entries     items: (k,) int32     returns: (m, k)
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
        interest = queries.histories.interest()
        for row in range(len(queries)):
            own, shown = interest[row], np.flatnonzero(items[row] >= 0)
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
        indices = as_indices(allowed.items)
        whole = not isinstance(allowed.items, slice) and indices.size > _GATHER_BELOW
        score = self.scorer(queries, None if whole else allowed.items)
        excluded = _places(allowed.excluded, indices)
        ranking = Ranking.empty(len(queries), k)

        def one(start: int) -> None:
            rows = slice(start, start + _ROWS)
            scores = score(rows)[:, indices] if whole else score(rows)
            begin, end = np.searchsorted(excluded, [start * indices.size, rows.stop * indices.size])
            chosen = best_of_rows(scores, k, excluded[begin:end] - start * indices.size)
            row, place = np.nonzero(chosen >= 0)
            ranking.items[start + row, place] = indices[chosen[row, place]]
            ranking.scores[start + row, place] = scores[row, chosen[row, place]]

        each(one, range(0, len(queries), _ROWS))
        return ranking


_ROWS = 64  # queries whose scores lie in cache at once
_GATHER_BELOW = 4096  # fewer items: score only these; more: score all, then choose (it is cheaper)


def as_indices(items: Items) -> Int32:
    """`items` as sorted indices."""
    if isinstance(items, slice):
        return np.arange(items.start, items.stop, dtype=np.int32)
    return items


def _places(excluded: Ragged, indices: Int32) -> Int64:
    """(m,) sorted, row * len(indices) + place in `indices` of what is excluded."""
    if not excluded.values.size or not indices.size:
        return np.empty(0, np.int64)
    place = np.minimum(np.searchsorted(indices, excluded.values), indices.size - 1)
    found = indices[place] == excluded.values
    return np.sort((row_numbers(excluded.indptr) * indices.size + place)[found])
