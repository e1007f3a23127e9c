"""What a ranker is: something fitted that can order the catalogue for anyone with a history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.types import Float32, Histories, Int32, Int64, Ragged
from training.rankers.topk import best

Items = slice | NDArray[np.int32]  # a contiguous part of the catalogue, or sorted indices into it


@dataclass(frozen=True)
class Queries:
    """A batch of people asking; one request is a batch of one.

    histories:     items in time order, of all that we may use
    session_start: (n,) int64, offset in each row where the current session begins
    """

    histories: Histories
    session_start: Int64

    @classmethod
    def of_strangers(cls, rows: int, n_items: int) -> Queries:
        """`rows` people of whom nothing is known."""
        return cls(Histories.strangers(rows, n_items), np.zeros(rows, np.int64))

    def __len__(self) -> int:
        return len(self.histories)

    def take(self, rows: Int64) -> Queries:
        """The queries of the named rows."""
        return Queries(self.histories.take(rows), self.session_start[rows])

    def session_only(self) -> Queries:
        """What rung `context` may know: the current session and nothing before it."""
        cut = self.histories.since(self.session_start)
        return Queries(cut, np.zeros(len(self), np.int64))


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


class Ranker(Protocol):
    """A fitted model: arrays and a `score`."""

    knows_strangers: ClassVar[bool]  # has an opinion on an empty history

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

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """The k best allowed items of each query, exactly; equal scores in catalogue order."""
        indices = as_indices(allowed.items)
        sparse = not isinstance(allowed.items, slice) and indices.size > _GATHER_BELOW
        scores = self.score(queries, None if sparse else allowed.items)
        items = np.full((len(queries), k), -1, dtype=np.int32)
        values = np.full((len(queries), k), np.nan, dtype=np.float32)
        for row, excluded in enumerate(map(allowed.excluded.row, range(len(queries)))):
            own = scores[row, indices] if sparse else scores[row]
            own = _without(own, indices, excluded)
            chosen = best(own, k)
            items[row, : chosen.size] = indices[chosen]
            values[row, : chosen.size] = own[chosen]
        return Ranking(items, values)


_GATHER_BELOW = 4096  # fewer items: score only these; more: score all, then choose (it is cheaper)


def as_indices(items: Items) -> Int32:
    """`items` as sorted indices."""
    if isinstance(items, slice):
        return np.arange(items.start, items.stop, dtype=np.int32)
    return items


def _without(scores: Float32, indices: Int32, excluded: Int32) -> Float32:
    """`scores` with no opinion on the excluded items."""
    if not excluded.size or not indices.size:
        return scores
    place = np.minimum(np.searchsorted(indices, excluded), indices.size - 1)
    out = scores.copy()
    out[place[indices[place] == excluded]] = np.nan
    return out
