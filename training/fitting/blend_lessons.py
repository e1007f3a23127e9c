"""What the blend learns from: candidates of people who asked, and which of them they wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.training_options import RankerName
from features.types import Bool, Float32, Int8, Int32, Int64, Ragged
from training.evaluation.protocol import Task
from training.impressions import Shown
from training.policy import kept_away
from training.rankers.base import Allowed, Queries, Ranker
from training.rankers.blend import candidates, parts_of, score_all
from training.rankers.blend_features import ItemSide, rows_of


@dataclass(frozen=True)
class Lessons:
    """Rows in the order of their queries.

    rows:   (m, p) float32, as `blend_features.rows_of` has them      labels: (m,) int8, 0 unwanted
    query:  (m,) int64, ascending        person: (q,) int64, who each query is of
    items:  (m,) int32                   place: (q,) int64, of each query in its task
    """

    rows: Float32
    labels: Int8
    items: Int32
    query: Int64
    person: Int64
    place: Int64

    def __len__(self) -> int:
        return len(self.labels)

    def useful(self) -> Lessons:
        """Without the queries in which nothing was wanted."""
        some = np.bincount(self.query, self.labels > 0, minlength=len(self.person)) > 0
        kept, number = some[self.query], np.cumsum(some) - 1
        return Lessons(
            self.rows[kept], self.labels[kept], self.items[kept], number[self.query[kept]],
            self.person[some], self.place[some],
        )  # fmt: skip

    def thinned(self, most: int, seed: int) -> Bool:
        """(m,) which rows to learn from: all that was wanted, and `most` others of each query."""
        luck = np.random.default_rng(seed).random(len(self))
        luck[self.labels > 0] = -1
        order = np.lexsort((luck, self.query))
        begins = np.searchsorted(self.query, np.arange(len(self.person)))
        wanted = np.bincount(self.query, self.labels > 0, minlength=len(self.person))
        rank = np.empty(len(self), dtype=np.int64)
        rank[order] = np.arange(len(self)) - begins[self.query[order]]
        return np.asarray(rank < wanted[self.query] + most)

    @classmethod
    def joined(cls, parts: Sequence[Lessons]) -> Lessons:
        """All of them, queries renumbered."""
        before = np.cumsum([0, *(len(part.person) for part in parts)])
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.query + n for part, n in zip(parts, before, strict=False)]),
            np.concatenate([part.person for part in parts]),
            np.concatenate([part.place for part in parts]),
        )


@dataclass(frozen=True)
class Teacher:
    """What it takes to turn a task into lessons.

    most: candidates of each input        grades: (n_items,) int8, what each item is worth if wanted
    """

    rankers: Mapping[RankerName, Ranker]
    inputs: list[RankerName]
    side: ItemSide
    most: int
    grades: Int8
    again: bool = False  # what the person had before is worth twice

    def lessons(self, task: Task, shown: Shown | None = None) -> Lessons | None:
        """The lessons of a task; who wanted no candidate teaches nothing, None: nobody did.

        shown: what each person of the task saw, and nothing else is a candidate; None: what the
        inputs would show
        """
        queries, away = task.people.known, kept_away(task.people, task.terms)
        parts = []
        for part in parts_of(len(task.people)):
            view = queries.take(part)
            scored = score_all(self.rankers, self.inputs, view)
            if shown is None:
                allowed, places = Allowed(task.terms.items, away.take(part)), None
                row, item = candidates(view, scored, allowed, self.most)
            else:
                row, item, places = shown.take(part).without(away.take(part))
            if not row.size:
                continue
            labels = self._labels(view, task.truth.take(part), row, item)
            rows = rows_of(view, scored, self.side, row, item, places)
            parts.append(Lessons(rows, labels, item, row, task.rows[part], part).useful())
        parts = [one for one in parts if len(one)]
        return Lessons.joined(parts) if parts else None

    def _labels(self, view: Queries, truth: Ragged, row: Int64, item: Int32) -> Int8:
        width = view.histories.n_items
        wanted = _keys(truth, width)
        labels = np.where(np.isin(row * width + item, wanted), self.grades[item], 0)
        if self.again:
            had = np.isin(row * width + item, _keys(_items_of(view), width))
            labels = np.where(had, labels * 2, labels)
        return labels.astype(np.int8)


def grades(objective: str, prices: Float32) -> Int8:
    """(n_items,) what an item is worth if wanted: 1, or by its price (1 to 4) for `value`."""
    if objective != "value" or np.isnan(prices).all():
        return np.ones(len(prices), dtype=np.int8)
    edges = np.nanquantile(prices, [0.25, 0.5, 0.75])
    found: Int8 = (1 + np.searchsorted(edges, np.nan_to_num(prices, nan=0.0))).astype(np.int8)
    return found


def _keys(ragged: Ragged, width: int) -> Int64:
    rows = np.repeat(np.arange(len(ragged)), np.diff(ragged.indptr))
    return rows * width + ragged.values


def _items_of(view: Queries) -> Ragged:
    return Ragged(view.histories.indptr, view.histories.items)
