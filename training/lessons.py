"""How the blend comes about: lessons from slices that its inputs have not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from features.home import Progress, part_of, silent
from features.training_options import RankerName
from features.types import Float64
from training.cooking import Cooked
from training.evaluation import protocol
from training.evaluation.protocol import Outcome
from training.evaluation.visits import Shelf, Visits
from training.fitting import CannotFit
from training.fitting.blend_lessons import Lessons, Teacher, grades
from training.impressions import Impressions
from training.item_side import item_side
from training.rankers.base import Ranker
from training.rankers.blend import BlendForest
from training.rankers.blend_features import ItemSide, names
from training.rankers.live import followers
from training.recipe import Recipe
from training.slices import (
    Cuts,
    World,
    past_at,
    standing_at,
    take_in,
    tasks_between,
    usual_repeat,
)

ENOUGH = 3000  # requests to learn from; where fewer asked, they are asked at more moments
MOMENTS = 6  # at most
STEPS = 336  # of the slice: at the end of each, the live rankers take in what happened in it
INTERVALS = 42  # of the slice: what people want in each, and of what they see in it


@dataclass(frozen=True)
class Blended:
    """A learned blend.

    outcomes: how forests that did not know the person did on the blend slice
    importance: column -> share of the gain of all splits
    """

    forest: BlendForest
    outcomes: list[Outcome]
    importance: dict[str, float]
    trees: int


def learn_blend(
    world: World, recipe: Recipe, parts: Cuts, cooked: Cooked, asked: Sequence[protocol.Task],
    progress: Progress = silent,
) -> Blended | str:  # fmt: skip
    """Learn the blend on the blend slice, or say why there is too little to learn from.

    cooked: the recipe on what came before the slice        asked: the tasks of the slice
    """
    from training.fitting.blend import fit_blend  # here: LightGBM brings pandas

    options, seed = recipe.options.blend, recipe.options.seed
    past, inputs = past_at(world, parts.blend_us), list(cooked.rankers)
    teacher = _teacher(world, cooked.rankers, item_side(past), recipe)
    mine = [teacher.lessons(task) for task in asked]
    told = part_of(progress, 0.0, 0.5)
    taught = [one for one in (*mine, *_along(world, recipe, parts, cooked, asked, told)) if one]
    if not taught:
        return "blend: nobody in its slice wanted what the other rankers show"
    columns = names(inputs)
    try:
        found = fit_blend(Lessons.joined(taught), columns, options, seed,
                          part_of(progress, 0.5, 1.0))  # fmt: skip
    except CannotFit as error:
        return str(error)
    forest = BlendForest(found.model, item_side(past), inputs, options.candidates)
    outcomes = _held_out(asked, mine, found.held_out, len(world))
    return Blended(forest, outcomes, found.importance, found.trees)


def _along(
    world: World, recipe: Recipe, parts: Cuts, cooked: Cooked, asked: Sequence[protocol.Task],
    progress: Progress,
) -> Iterator[Lessons | None]:  # fmt: skip
    """Lessons along the slice, the live rankers having taken in what came before each step.

    At every step those ask who asked then, as a site is asked: with all that they had done until
    that moment, this visit included. At every interval: what people want in it, and where the log
    has impressions, what of the items that they see. At some of them what they want until the slice
    ends, as a mailing asks, so that a small shop has more to learn from.
    """
    shown = Impressions.of(world.features, world.config.impressions)
    live = followers(cooked.rankers, len(world), len(world))
    side = item_side(past_at(world, parts.blend_us)).follower(len(world))
    few = min(-(-ENOUGH // max(sum(len(task.people) for task in asked), 1)), MOMENTS)
    visits = _visits(world, recipe, parts)
    shelf = Shelf(world.catalogue, standing_at(world, parts.blend_us))
    bounds = np.linspace(parts.blend_us, parts.test_us, STEPS + 1).astype(np.int64).tolist()
    for number, (begin, end) in enumerate(pairwise(bounds)):
        progress("collecting lessons", number / STEPS)
        teacher = _teacher(world, live, side, recipe)
        now = visits.take((visits.at_us >= begin) & (visits.at_us < end))
        task, _ = now.task(None, world.features.timelines, world.config, shelf)
        yield teacher.lessons(task)
        if number % (STEPS // INTERVALS) == 0:
            until = bounds[min(number + STEPS // INTERVALS, STEPS)]
            yield from _soon(world, recipe, teacher, shown, (begin, until, parts.blend_us))
        if number and few > 1 and number % (STEPS // few) == 0:
            mailing = _teacher(world, live, replace(side, live=False), recipe)
            past = past_at(world, begin, people_us=parts.blend_us)
            for task in tasks_between(world, past, parts.test_us):
                yield mailing.lessons(task)
        learning = [one for one in live.values() if one.learns_live]
        take_in([*learning, side], world, begin, end)


def _visits(world: World, recipe: Recipe, parts: Cuts) -> Visits:
    """Some of the visits of the slice, drawn by the seed."""
    seed = recipe.options.seed
    every = Visits.between(world.features.timelines, parts.blend_us, parts.test_us, seed)
    most = max(recipe.options.blend.people // 3, 1)
    if len(every) <= most:
        return every
    return every.take(np.sort(np.random.default_rng(seed).choice(len(every), most, replace=False)))


def _soon(
    world: World, recipe: Recipe, teacher: Teacher, shown: Impressions | None,
    times: tuple[int, int, int],
) -> Iterator[Lessons | None]:  # fmt: skip
    """What people wanted between two moments, and what of the items that they saw."""
    begin, end, people_us = times
    past = past_at(world, begin, people_us=people_us)
    usual = "all" if usual_repeat(world) == "allow" else "discovery"
    most = max(recipe.options.blend.people // 3 // INTERVALS, 1)
    for task in tasks_between(world, past, end):
        if task.name == usual:
            asking = task.drawn(most, recipe.options.seed)
            yield teacher.lessons(asking)
            if shown is not None:
                yield teacher.lessons(asking, shown.to(asking.rows, begin, end))


def _teacher(
    world: World, rankers: Mapping[RankerName, Ranker], side: ItemSide, recipe: Recipe
) -> Teacher:
    objective = world.config.objective
    return Teacher(rankers, list(rankers), side, recipe.options.blend.candidates,
                   grades(objective, world.items.prices), again=objective == "repeat")  # fmt: skip


def _held_out(
    asked: Sequence[protocol.Task], lessons: Sequence[Lessons | None], judged: Float64, n_items: int
) -> list[Outcome]:
    """How the lessons' items in the order of `judged` do; who wanted no candidate got nothing."""
    outcomes, start, size = [], 0, max(protocol.KS)
    for task, own in zip(asked, lessons, strict=True):
        feeds = np.full((len(task.people), size), -1, dtype=np.int32)
        if own is not None:
            scores = judged[start : start + len(own)]
            order = np.lexsort((-scores, own.query))
            begins = np.searchsorted(own.query, np.arange(len(own.person)))
            rank = np.arange(len(own)) - begins[own.query[order]]
            shown = rank < size
            feeds[own.place[own.query[order][shown]], rank[shown]] = own.items[order][shown]
            start += len(own)
        outcomes.append(protocol.judged(feeds, "blend", task, n_items))
    return outcomes
