"""Rankers between trainings: the live ones count on, the others keep to the items they know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from features.training_options import RankerName
from features.types import Float32, Histories, Int32, Ragged, row_numbers
from training.rankers.base import Allowed, Items, Queries, Ranker, Ranking, as_indices


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
class Widened(Ranker):
    """A ranker fitted on the first `known` of `n_items` items: no opinion on the others."""

    ranker: Ranker
    known: int
    n_items: int

    @property
    def knows_strangers(self) -> bool:  # type: ignore[override]
        """As the ranker itself."""
        return self.ranker.knows_strangers

    @property
    def only_had(self) -> bool:  # type: ignore[override]
        """As the ranker itself."""
        return self.ranker.only_had

    @property
    def by_segment(self) -> bool:  # type: ignore[override]
        """As the ranker itself."""
        return self.ranker.by_segment

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """The ranker's own scores of the items it knows, NaN of the others."""
        wanted = as_indices(slice(0, self.n_items) if items is None else items)
        own = wanted < self.known
        scores = np.full((len(queries), wanted.size), np.nan, dtype=np.float32)
        scores[:, own] = self.ranker.score(self._cut(queries), wanted[own])
        return scores

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """The ranker's own choice among the items it knows."""
        items = allowed.items
        if isinstance(items, slice):
            begin = min(items.start, self.known)
            items = slice(begin, max(begin, min(items.stop, self.known)))
        else:
            items = items[items < self.known]
        excluded = _below(allowed.excluded, self.known)
        return self.ranker.top(self._cut(queries), k, Allowed(items, excluded))

    def anchors(self, queries: Queries, items: Int32) -> Int32:
        """As the ranker itself."""
        return self.ranker.anchors(self._cut(queries), np.where(items < self.known, items, -1))

    def _cut(self, queries: Queries) -> Queries:
        """The same people, as if they had never met an item that the ranker does not know."""
        histories = queries.histories
        kept = histories.items < self.known
        if kept.all():
            return replace(queries, histories=replace(histories, n_items=self.known))
        rows = row_numbers(histories.indptr)
        place = np.arange(rows.size) - histories.indptr[rows]
        before = kept & (place < queries.session_start[rows])
        starts = np.bincount(rows[before], minlength=len(queries))
        indptr = np.append(0, np.cumsum(np.bincount(rows[kept], minlength=len(queries))))
        cut = Histories(
            indptr, histories.items[kept], histories.signals[kept], histories.weights[kept],
            histories.ages_days[kept], self.known,
        )  # fmt: skip
        return replace(queries, histories=cut, session_start=starts)


def _below(ragged: Ragged, limit: int) -> Ragged:
    """The values below `limit` of every row."""
    kept = ragged.values < limit
    lengths = np.bincount(row_numbers(ragged.indptr)[kept], minlength=len(ragged))
    return Ragged(np.append(0, np.cumsum(lengths)), ragged.values[kept])
