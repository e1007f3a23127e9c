"""Four slices of time: fit the rankers, tune them, teach the blend, and test, each once.

| fit ............... | tune | blend | test |  -> what is served learns from all of it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from features.config import Config
from features.feature_set import FeatureSet
from features.home import Home
from features.live import Trails
from features.people_at import declared_at, people_at
from features.split import cut_for_test, time_split
from features.types import row_numbers
from training.catalogue import Catalogue
from training.evaluation import protocol
from training.evaluation.worth import Worth
from training.fitting.device import device_named
from training.item_facts import ItemFacts
from training.past import Past
from training.queries import Standing

_PAST = 0.4  # of the log before the test slice at least is for fitting alone


@dataclass(frozen=True)
class Cuts:
    """Where the slices begin, microseconds since 1970 UTC; the test slice ends with the log."""

    tune_us: int
    blend_us: int
    test_us: int


@dataclass(frozen=True)
class World:
    """A feature set with all that judging and fitting read of it again and again."""

    config: Config
    features: FeatureSet
    home: Home
    items: ItemFacts
    catalogue: Catalogue

    @classmethod
    def of(cls, config: Config, features: FeatureSet, home: Home) -> World:
        """Read the catalogue once."""
        catalogue = Catalogue.of(features, config.shop.currency)
        return cls(config, features, home, ItemFacts.of(features), catalogue)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def worth(self) -> Worth | None:
        """What every event was worth, if the log says so of any."""
        return Worth.of(self.features, self.config)


def cuts(config: Config, features: FeatureSet) -> Cuts:
    """The slices for tuning and blending are as long as the test slice, where the log allows it."""
    log = features.timelines
    test_us = cut_for_test(log, config.training.test_days)
    first, last = int(log.occurred_us.min()), int(log.occurred_us.max())
    most = int((test_us - first) * (1 - _PAST) / 2)
    length = min(last - test_us, most)
    return Cuts(test_us - 2 * length, test_us - length, test_us)


def past_at(world: World, cut_us: int, *, people_us: int | None = None) -> Past:
    """The world as it stood at a cut; at the feature set's own moment: all of it.

    people_us: of which moment stages, segments and answers are; None: of the cut
    """
    config, features = world.config, world.features
    log, stood = features.timelines, people_us or cut_us
    everything = cut_us >= features.as_of_us
    who = people_at(config, features, stood, world.home)
    return Past(
        log if everything else log.where(log.occurred_us < cut_us), cut_us, config.signals,
        world.items, who.segments, who.stages, declared_at(config, features, stood),
        n_segments=len(who.names), seed=config.training.seed,
        device=device_named(config.training.device),
        key=f"{features.digest[:16]}/{cut_us}" if stood == cut_us else "",
    )  # fmt: skip


def standing_at(world: World, moment_us: int) -> Standing:
    """What a bundle of that moment knows of everybody; of those who came later nothing."""
    past = past_at(world, moment_us)
    known = np.diff(past.timelines.indptr) > 0
    return past.standing.of(np.where(known, np.arange(len(known)), -1).astype(np.int32))


def tasks_between(
    world: World, past: Past, until_us: int | None = None, standing: Standing | None = None
) -> list[protocol.Task]:
    """The tasks of those who asked right after `past`, and what they wanted before `until_us`.

    until_us: None is the end of the log
    standing: what is known of everybody besides what they did; None: as it was at the end of `past`
    """
    log = world.features.timelines
    split = time_split(log, past.as_of_us)
    end_us = int(log.occurred_us.max(initial=0)) + 1
    if until_us is not None:
        future, end_us = split.future, until_us
        split = replace(split, future=future.where(future.occurred_us < until_us))
    found = protocol.tasks(split, world.config, world.catalogue, standing or past.standing)
    return [_priced(world, task, past.as_of_us, end_us) for task in found]


def _priced(world: World, task: protocol.Task, begin_us: int, end_us: int) -> protocol.Task:
    """The task with what came of it in money or seconds; of people within a visit nothing is."""
    if world.worth is None or task.name == "session":
        return task
    priced = world.worth.priced(task, world.features, begin_us, end_us)
    by_value = world.config.objective == "value" and priced.value.size > 0
    return replace(task, priced=priced, by_value=by_value)


def usual_repeat(world: World) -> str:
    """The repeat rule of the kind that most of the catalogue is of."""
    kinds = world.catalogue.kinds
    articles = float(kinds.mean()) > 0.5 if len(kinds) else False
    return world.config.repeat.article if articles else world.config.repeat.product


def take_in(learners: Sequence[Any], world: World, begin_us: int, end_us: int) -> None:
    """Tell all who learn live the events from `begin_us` on and before `end_us`."""
    log = world.features.timelines
    during = (log.occurred_us >= begin_us) & (log.occurred_us < end_us)
    people = np.unique(row_numbers(log.indptr)[during])
    own = log.take(people)
    own = own.where(own.occurred_us < end_us)
    trails = Trails.of(own, world.config.signals, own.occurred_us >= begin_us)
    for one in learners:
        one.observe(trails)
