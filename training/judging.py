"""Rankers and the policy, judged on the tasks of an occasion, and by how much one beats another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from features.config import RUNGS
from features.home import Progress, part_of, silent
from features.training_options import RankerName
from features.types import Float64, Int64, to_us
from training.bundle import Bundle, alone
from training.cooking import Cooked, cook
from training.evaluation import feed_measures, metrics, protocol
from training.evaluation.occasions import Occasion
from training.evaluation.protocol import Outcome, Task
from training.past import Past
from training.policy import Step
from training.rankers.base import Ranker
from training.rankers.blend import BlendForest, BlendRanker
from training.rankers.live import followers
from training.recipe import FLOOR, Recipe
from training.slices import World, take_in

POLICY = "policy"


def judge_all(asked: Sequence[Task], cooked: Cooked, n_items: int) -> list[Outcome]:
    """Every ranker on every task, its feeds filled by recent popularity as they would be served."""
    return [
        protocol.evaluate(filled(name, cooked.rankers), name, task, n_items)
        for task in asked
        for name in cooked.rankers
    ]


def describe_feeds(
    outcomes: Sequence[Outcome], asked: Sequence[Task], past: Past,
    names: Sequence[str] = (POLICY, FLOOR),
) -> None:  # fmt: skip
    """Add to the outcomes of `names` what their feeds are like, whoever wanted what."""
    by_name = {task.name: task for task in asked}
    counts = np.bincount(past.timelines.items, minlength=len(past.items))
    popular = {one.task: one.feeds for one in outcomes if one.name == FLOOR}
    for one in (one for one in outcomes if one.name in names):
        task = by_name[one.task]
        one.values.update(
            feed_measures.per_person(one.feeds, task.people.queries, past.items, counts)
        )
        if one.task in popular:
            one.values["serendipity"] = feed_measures.serendipity(
                one.feeds, task.truth, popular[one.task]
            )
        one.coverage["gini"] = feed_measures.gini(
            feed_measures.exposure(one.feeds, len(past.items))
        )
        one.coverage["short_share"] = feed_measures.short_share(one.feeds)


def filled(name: RankerName, fitted: Mapping[RankerName, Ranker]) -> list[Step]:
    """A ladder for one ranker, filled by the floor as it would be when served."""
    rest = [] if name == FLOOR else alone(FLOOR, fitted[FLOOR])
    return alone(name, fitted[name]) + rest


@dataclass(frozen=True)
class Contender:
    """A model as it is judged: its recipe is fitted on the past of each occasion.

    forest: of its blend        learned_us: what came before that moment taught forest and ladder
    """

    name: str
    recipe: Recipe
    forest: BlendForest | None
    learned_us: int

    @classmethod
    def of(cls, bundle: Bundle) -> Contender:
        """The recipe of a stored model."""
        blend = bundle.rankers.get("blend")
        forest = blend.forest if isinstance(blend, BlendRanker) else None
        learned = to_us(datetime.fromisoformat(bundle.manifest["test_from"]))
        return cls(bundle.version, bundle.recipe, forest, learned)

    def fitted(
        self, world: World, past: Past, progress: Progress = silent, *, since_us: int | None = None
    ) -> Cooked:
        """On this past; a blend that has learned from what came after it is left out.

        since_us: when the first asks; if that is before the past's end, the blend, which looks at
        what is live, is left out as well
        """
        known = past.as_of_us >= self.learned_us and (since_us or past.as_of_us) >= past.as_of_us
        return cook(self.recipe, past, world.home, progress, self.forest if known else None)

    def judged(
        self, world: World, occasions: Sequence[Occasion], *, refit: bool = True,
        progress: Progress = silent,
    ) -> Iterator[list[Outcome]]:  # fmt: skip
        """Per occasion every ranker, the policy, and the policy up to each lower rung.

        refit: fitted anew before each; else once, before the first: then only what learns live
        follows the log, as it does between two trainings
        """
        cooked, since_us = None, 0
        for place, occasion in enumerate(occasions):
            told = part_of(progress, place / len(occasions), (place + 1) / len(occasions))
            if cooked is None or refit:
                cooked = self.fitted(world, occasion.past, told, since_us=occasion.since_us)
                if len(occasions) > 1:
                    cooked = _followed(cooked, len(world))
            else:
                learners = [one for one in cooked.rankers.values() if one.learns_live]
                take_in(learners, world, since_us, occasion.past.as_of_us)
            since_us = occasion.past.as_of_us
            told(f"judging {occasion.name}", 0.9)
            found = judge_all(occasion.tasks, cooked, len(world))
            found += [one for task in occasion.tasks for one in _by_rung(cooked, task, len(world))]
            describe_feeds(found, occasion.tasks, occasion.past)
            yield found


def _followed(cooked: Cooked, n_items: int) -> Cooked:
    lived = followers(cooked.rankers, n_items, n_items)
    steps = [replace(step, ranker=lived[step.name]) for step in cooked.steps]
    return replace(cooked, rankers=lived, steps=steps)


def _by_rung(cooked: Cooked, task: Task, n_items: int) -> Iterator[Outcome]:
    """The policy, and what it would show if it might know less."""
    yield protocol.evaluate(cooked.steps, POLICY, task, n_items)
    for rung in RUNGS[:-1]:
        limited = replace(task, terms=replace(task.terms, highest_rung=rung))
        yield protocol.evaluate(cooked.steps, f"{POLICY} up to {rung}", limited, n_items)


def pooled(parts: Sequence[Sequence[Outcome]], occasions: Sequence[Occasion]) -> list[Outcome]:
    """All occasions as one: each person's mean over those in which they were asked.

    So that people are draws of their own, however often each of them came.
    """
    rows = [{task.name: task.rows for task in one.tasks} for one in occasions]
    found = []
    for task, name in dict.fromkeys((one.task, one.name) for part in parts for one in part):
        mine = [(one, rows[at][task]) for at, part in enumerate(parts) for one in part
                if (one.task, one.name) == (task, name)]  # fmt: skip
        people, row = np.unique(np.concatenate([own for _, own in mine]), return_inverse=True)
        metric_names = [m for m in mine[0][0].values if all(m in one.values for one, _ in mine)]
        values = {
            m: _means(np.concatenate([one.values[m] for one, _ in mine]), row, len(people))
            for m in metric_names
        }
        found.append(Outcome(task, name, values, {}, np.empty((len(people), 0), np.int32)))
    return found


def _means(values: Float64, rows: Int64, n: int) -> Float64:
    """(n,) the mean of each row's values, without those that say nothing; NaN where none does."""
    known = ~np.isnan(values)
    count = np.bincount(rows[known], minlength=n)
    total = np.bincount(rows[known], values[known], minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def paired(
    outcomes: Sequence[Outcome], against: str, count: int, seed: int
) -> list[dict[str, Any]]:
    """What each gains over `against` on the same people: the same draws for both, 95 %.

    returns: rows of task, name, against, metric, people, gain, low, high
    Raises ValueError where nobody has that name.
    """
    if against not in (names := dict.fromkeys(one.name for one in outcomes)):
        raise ValueError(f"there is no {against!r} to compare with; there are {list(names)}")
    found: list[dict[str, Any]] = []
    for task in dict.fromkeys(one.task for one in outcomes):
        mine = {one.name: one for one in outcomes if one.task == task}
        if against not in mine:
            continue
        base = mine.pop(against).values
        drawn = metrics.draws(len(next(iter(base.values()))), count, seed)
        for name, one in mine.items():
            for metric in (m for m in one.values if m in base):
                gap = metrics.interval(one.values[metric] - base[metric], drawn)
                if not np.isnan(gap.mean):
                    found.append({"task": task, "name": name, "against": against, "metric": metric,
                                  "people": len(base[metric]), "gain": gap.mean, "low": gap.low,
                                  "high": gap.high})  # fmt: skip
    return found
