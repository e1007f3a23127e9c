"""The blend: learned order over what the other rankers would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from features.live import Trails
from features.training_options import RankerName
from features.types import Bool, Float32, Int32, Int64, Interest, row_numbers
from training.rankers.base import Allowed, Items, Queries, Ranker, Ranking, as_indices
from training.rankers.blend_features import ItemSide, Scored, rows_of
from training.rankers.onnx_model import OnnxModel
from training.rankers.topk import best

_AT_ONCE = 128  # queries: bounds memory to as many rows of every input's scores
EXPLAINING: tuple[RankerName, ...] = (
    "transitions",
    "ease",
    "als",
    "neighbours",
    "session_neighbours",
    "graph",
)


@dataclass(frozen=True)
class BlendForest:
    """What a bundle keeps of a blend.

    model:      (m, p) float32 `features` -> (m, 1) `variable`, LambdaMART as an ONNX graph
    inputs:     the rankers that it asks, in the order of its features
    candidates: so many of each input are looked at
    """

    model: OnnxModel
    side: ItemSide
    inputs: list[RankerName]
    candidates: int
    knows_strangers: ClassVar[bool] = False

    def bound(self, others: Mapping[Any, Ranker]) -> BlendRanker:
        """The blend, asking these rankers; one that is gone has no opinion on anything."""
        return BlendRanker(self, {name: others[name] for name in self.inputs if name in others})


@dataclass(frozen=True)
class BlendRanker(Ranker):
    """LambdaMART (Burges 2010) over the inputs' scores and places, the item and the person.

    Who has neither a history nor told us anything gets no opinion: that is what popularity is for.
    """

    forest: BlendForest
    rankers: Mapping[RankerName, Ranker] = field(default_factory=dict)
    knows_strangers: ClassVar[bool] = False
    learns_live: ClassVar[bool] = True

    def follower(self, n_items: int) -> BlendRanker:
        """A copy that counts on; `bound` gives it the followers of its inputs."""
        return replace(self, forest=replace(self.forest, side=self.forest.side.follower(n_items)))

    def observe(self, trails: Trails) -> None:
        """Take new events in; the inputs are told by whoever holds them."""
        self.forest.side.observe(trails)

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """Every item asked for that any input has an opinion on; dearer than `top`."""
        width = queries.histories.n_items
        wanted = as_indices(slice(0, width) if items is None else items)
        found = np.full((len(queries), len(wanted)), np.nan, dtype=np.float32)
        for part in parts_of(len(queries)):
            view = queries.take(part)
            scored, speak = self.scored(view), asked(view)
            some = [speaks(scored, row, wanted) & speak[row] for row in range(len(part))]
            row, place = np.nonzero(some)
            if row.size:
                found[part[row], place] = self._judged(view, scored, row, wanted[place])
        return found

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """The k best of the allowed candidates: what the inputs would show first."""
        items = np.full((len(queries), k), -1, dtype=np.int32)
        values = np.full((len(queries), k), np.nan, dtype=np.float32)
        for part in parts_of(len(queries)):
            view = queries.take(part)
            scored = self.scored(view)
            row, item = candidates(view, scored, allowed.take(part), max(k, self.forest.candidates))
            if not row.size:
                continue
            judged = self._judged(view, scored, row, item)
            bounds = np.searchsorted(row, np.arange(len(part) + 1))
            for n, place in enumerate(part.tolist()):
                here = slice(bounds[n], bounds[n + 1])
                chosen = best(judged[here], k)
                items[place, : chosen.size] = item[here][chosen]
                values[place, : chosen.size] = judged[here][chosen]
        return Ranking(items, values)

    def anchors(self, queries: Queries, items: Int32) -> Int32:
        """The ground that the first input gives which can name one."""
        found = np.full(items.shape, -1, dtype=np.int32)
        for name in EXPLAINING:
            if name in self.rankers and (open_ := (found < 0) & (items >= 0)).any():
                told = self.rankers[name].anchors(queries, np.where(open_, items, -1))
                found = np.where(open_, told, found)
        return found

    def contributions(self, own: Interest, items: Int32) -> Float32 | None:
        """Not by history: a forest has no parts."""
        del own, items
        return None

    def scored(self, queries: Queries) -> list[Scored]:
        """What each input says of the whole catalogue."""
        return score_all(self.rankers, self.forest.inputs, queries)

    def bound(self, others: Mapping[Any, Ranker]) -> BlendRanker:
        """The same forest, asking these rankers."""
        return self.forest.bound(others)

    def stored(self) -> BlendForest:
        """The forest; the inputs are stored as what they are."""
        return self.forest

    def _judged(self, view: Queries, scored: list[Scored], row: Int64, item: Int32) -> Float32:
        rows = rows_of(view, scored, self.forest.side, row, item)
        return self.forest.model.run("variable", features=rows)[:, 0]


def score_all(
    rankers: Mapping[RankerName, Ranker], inputs: Sequence[RankerName], queries: Queries
) -> list[Scored]:
    """The scores of every input in order; one that is not there has no opinion."""
    return [
        _scored(rankers[name], queries) if name in rankers else Scored.silent(len(queries))
        for name in inputs
    ]


def _scored(ranker: Ranker, queries: Queries) -> Scored:
    if len(queries) == 1:
        return Scored([ranker.opinion(queries)])
    return Scored.of(ranker.score(queries))


def speaks(scored: Sequence[Scored], row: int, items: Int32) -> Bool:
    """(m,) has any input an opinion on the item, for this query?"""
    found = np.zeros(items.size, np.bool_)
    for one in scored:
        found |= ~np.isnan(one.opinions[row].at(items))
    return found


def asked(queries: Queries) -> Bool:
    """(n,) bool: is there anything to be personal about?"""
    interest = queries.histories.by_item
    liked = np.bincount(row_numbers(interest.indptr)[interest.data > 0], minlength=len(queries))
    return np.asarray((liked > 0) | (np.diff(queries.declared.indptr) > 0))


def candidates(
    queries: Queries, scored: Sequence[Scored], allowed: Allowed, most: int
) -> tuple[Int64, Int32]:
    """(m,) query and (m,) item: the `most` best allowed items of each input, in order, once each.

    Few allowed items are all of them candidates.
    """
    few = allowed.indices() if allowed.count() <= 2 * most else None
    rows, items = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for row in np.flatnonzero(asked(queries)).tolist():
        own = allowed.take(np.array([row])) if len(queries) > 1 else allowed
        if few is not None:
            free = few[own.among(few)]
            chosen = free[speaks(scored, row, free)]
        else:
            best = [one.opinions[row].top(most, own)[0] for one in scored]
            chosen = np.unique(np.concatenate(best))
        rows.append(np.full(chosen.size, row, dtype=np.int64))
        items.append(chosen)
    return np.concatenate(rows), np.concatenate(items)


def parts_of(rows: int) -> list[Int64]:
    """Row numbers, a few queries at a time."""
    return [np.arange(start, min(start + _AT_ONCE, rows)) for start in range(0, rows, _AT_ONCE)]
