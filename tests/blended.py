"""A small blend for tests: learned from people of two tastes, over three rankers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import worlds

from features.split import time_split
from features.timelines import Timelines
from features.training_options import BlendOptions
from features.types import DAY_US
from training.evaluation import protocol
from training.fitting import fit
from training.fitting.blend import Learned, fit_blend
from training.fitting.blend_lessons import Lessons, Teacher, grades
from training.item_side import item_side
from training.past import Past
from training.rankers.base import Ranker
from training.rankers.blend import BlendForest, BlendRanker
from training.rankers.blend_features import names

INPUTS = ["popularity", "neighbours", "als"]
CUT = worlds.NOW_US - 5 * DAY_US
OPTIONS = BlendOptions(trees=40, leaves=4, min_leaf=5, folds=3)


class Shelf:
    """A catalogue of products."""

    def __init__(self, n_items: int = worlds.N_ITEMS) -> None:
        self.kinds = np.zeros(n_items, dtype=np.int8)

    def __len__(self) -> int:
        return len(self.kinds)


def crowd(people: int = 90, seed: int = 0) -> Timelines:
    """People of two tastes who find, one a day, items of their taste and now and then item 9."""
    random = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        taste = np.arange(5) if person % 2 else np.arange(5, 9)
        own = random.permutation(taste)[:4].tolist()
        rows.append([*own[:2], 9, *own[2:]] if random.random() < 0.5 else own)
    return worlds.timelines(rows, days_apart=2.5)


def lessons(log: Timelines, options: object) -> tuple[Lessons, list[protocol.Task], Past]:
    """What the people of `log` teach who asked at CUT, and the world until then."""
    split = time_split(log, CUT)
    past = worlds.past(split.past, CUT)
    rankers = {name: fit(name, past, options) for name in INPUTS}
    config = worlds.config(repeat={"product": "exclude"})
    tasks = protocol.tasks(split, config, Shelf())
    teacher = Teacher(rankers, INPUTS, item_side(past), 10, grades("clicks", past.items.prices))
    found = [teacher.lessons(task) for task in tasks]
    return Lessons.joined([one for one in found if one is not None]), tasks, past


def learned(options: object) -> Learned:
    """A forest of what the crowd taught."""
    found, _, _ = lessons(crowd(), options)
    return fit_blend(found, names(INPUTS), OPTIONS, seed=0)


def blend(fitted: Mapping[str, Ranker], past: Past, options: object) -> BlendRanker:
    """The forest over `past`, asking the fitted rankers."""
    forest = BlendForest(learned(options).model, item_side(past), INPUTS, OPTIONS.candidates)
    return forest.bound(fitted)
