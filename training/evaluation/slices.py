"""Metrics by groups: of people, and of the items that they went on to want.

What is good for everybody may be bad for newcomers, or for all but the best-selling items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from features.config import KINDS
from features.lifecycle import STAGES
from features.people_at import people_at
from features.timelines import Timelines
from features.types import Bool, Int64, Ragged, row_numbers
from training.evaluation.protocol import Outcome, Task, judge

if TYPE_CHECKING:
    from training.past import Past
    from training.slices import World

METRICS = ("ndcg_at_20", "recall_at_20", "hit_rate_at_20")
Masks = dict[str, dict[str, Bool]]  # by what they divide -> name of the group -> who is in it


@dataclass(frozen=True)
class Groups:
    """Ways to divide people and items, as they stood when they were asked.

    people: stage, segment, channel (the one they use most), history (known | new): (n_persons,)
    items:  kind, demand (head | tail | cold): (n_items,)
    """

    people: Masks
    items: Masks

    @classmethod
    def of(cls, world: World, past: Past) -> Groups:
        """The groups of the people and items of `past`."""
        names = people_at(world.config, world.features, past.as_of_us, world.home).names
        channels = world.features.table("persons")["preferred_channel"].astype(object)
        known = np.diff(past.timelines.indptr) > 0
        people: Masks = {
            "stage": {name: past.stages == code for code, name in enumerate(STAGES)},
            "segment": {name: past.segments == code for code, name in enumerate(names)},
            "channel": {
                str(name): (channels == name).to_numpy(np.bool_)
                for name in sorted(channels.dropna().unique())
            },
            "history": {"known": known, "new": ~known},
        }
        kinds: dict[str, Bool] = {
            name: world.items.kinds == code for code, name in enumerate(KINDS)
        }
        return cls(people, {"kind": kinds, "demand": demand(past.timelines)})


def demand(log: Timelines) -> dict[str, Bool]:
    """(n_items,) head: the fewest items that make half of the events; cold: none; tail: the rest.

    Of equally popular items the first in the catalogue count as head.
    """
    counts = np.bincount(log.items, minlength=log.n_items)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # events of all that are more popular
    head = np.zeros(log.n_items, dtype=np.bool_)
    head[order] = (before < counts.sum() / 2) & (counts[order] > 0)
    return {"head": head, "tail": ~head & (counts > 0), "cold": counts == 0}


def rows(
    outcomes: Sequence[Outcome], tasks: Sequence[Task], groups: Groups,
    names: Sequence[str] = ("policy", "popularity"), metrics: Sequence[str] = METRICS,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per task, ranker, group and metric: task, name, slice, value, metric, people, mean.

    names: whose outcomes to divide
    A way to divide that puts everybody into one group is left out.
    """
    by_name = {task.name: task for task in tasks}
    found: list[dict[str, Any]] = []
    for one in outcomes:
        if one.name in names:
            parts = _divided(one, by_name[one.task], groups, metrics)
            found += [{"task": one.task, "name": one.name, **part} for part in parts]
    return found


def _divided(
    outcome: Outcome, task: Task, groups: Groups, metrics: Sequence[str]
) -> Iterator[dict[str, Any]]:
    everybody = len(task.people)
    for what, masks in groups.people.items():
        for value, mask in masks.items():
            asked = mask[task.rows]
            if 0 < asked.sum() < everybody:
                means = {m: outcome.values[m][asked].mean() for m in metrics}
                yield from _rows(what, value, int(asked.sum()), means)
    for what, masks in groups.items.items():
        for value, mask in masks.items():
            left = _only(task.truth, mask)
            asked = np.diff(left.indptr) > 0
            if asked.any() and left.values.size < task.truth.values.size:
                part = _judged(outcome, left, np.flatnonzero(asked), len(mask))
                means = {m: part.values[m].mean() for m in metrics}
                yield from _rows(what, value, int(asked.sum()), means)


def _rows(what: str, value: str, people: int, means: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for metric, mean in means.items():
        yield {"slice": what, "value": value, "metric": metric, "people": people,
               "mean": float(mean)}  # fmt: skip


def _judged(outcome: Outcome, truth: Ragged, asked: Int64, n_items: int) -> Outcome:
    """The same feeds, with less that is wanted of them."""
    return judge(outcome.feeds[asked], truth.take(asked), name=outcome.name, task=outcome.task,
                 n_items=n_items)  # fmt: skip


def _only(truth: Ragged, mask: Bool) -> Ragged:
    """What is wanted, of the items that `mask` names."""
    kept = mask[truth.values]
    counts = np.bincount(row_numbers(truth.indptr)[kept], minlength=len(truth))
    return Ragged(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), truth.values[kept])
