"""Our side: the same training run as `feeds train`, up to the test cut and not a moment further."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.quality.field import Entry
from benchmarks.quality.moments import Moment
from features.config import Config
from features.training_options import RankerName
from features.types import Int32
from training.cooking import cook
from training.evaluation.protocol import CHUNK, Task
from training.fitting import fit
from training.jobs import learn
from training.judging import filled
from training.policy import Step, decide
from training.rankers import RANKERS
from training.recipe import FLOOR
from training.slices import cuts

POLICY = "policy"


@dataclass(frozen=True)
class Budget:
    """What tuning may take: as many trials as each peer has; minutes for all rankers together."""

    trials: int
    minutes: float


def ours(moment: Moment, budget: Budget, names: Sequence[RankerName]) -> list[Entry]:
    """Every ranker, filled by recent popularity as it would be served, and the policy."""
    start = time.perf_counter()
    world = replace(moment.world, config=with_budget(moment.world.config, budget))
    clock = _Clock()
    learned = learn(world, names, cuts(world.config, world.features))
    cooked = cook(learned.recipe, moment.past, None, clock.progress, learned.forest)
    seconds = clock.seconds()
    told = {"ladder": learned.recipe.ladder, "skipped": learned.skipped | cooked.skipped,
            "seconds": time.perf_counter() - start}  # fmt: skip
    ladders: dict[str, list[Step]] = {str(n): filled(n, cooked.rankers) for n in cooked.rankers}
    ladders[POLICY] = cooked.steps
    return [
        Entry(name, {t: _feeds(ladder, task) for t, task in moment.tasks.items()},
              seconds.get(name, 0.0), told)
        for name, ladder in ladders.items()
    ]  # fmt: skip


def alone_on(moment: Moment, name: RankerName) -> list[Entry]:
    """One ranker fitted on a moment of its own, with the config's options."""
    options, start = moment.world.config.training, time.perf_counter()
    fitted = {n: fit(n, moment.past, options) for n in (FLOOR, name)}
    ladder = filled(name, fitted)
    seconds = time.perf_counter() - start
    feeds = {t: _feeds(ladder, task) for t, task in moment.tasks.items()}
    return [Entry(name, feeds, seconds, {"options": getattr(options, name).model_dump()})]


def all_names() -> list[RankerName]:
    """Every ranker that there is; those that a log has nothing for are left out when fitted."""
    return list(RANKERS)


def with_budget(config: Config, budget: Budget) -> Config:
    """The config with this budget for tuning."""
    told = {"trials": budget.trials, "minutes": budget.minutes}
    tuning = config.training.tuning.model_copy(update=told)
    training = config.training.model_copy(update={"tuning": tuning})
    return config.model_copy(update={"training": training})


def _feeds(ladder: Sequence[Step], task: Task) -> Int32:
    """Feeds for everybody in the task, through the policy."""
    n = len(task.people)
    parts = np.array_split(np.arange(n), -(-n // CHUNK))
    return np.concatenate(
        [decide(ladder, task.people.take(rows), task.terms).items for rows in parts]
    )


class _Clock:
    """Seconds between one "fitting NAME" and the next thing said."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    @property
    def progress(self) -> Callable[[str, float], None]:
        return lambda what, _: self.told.append((what, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        self.told.append(("", time.perf_counter()))
        ends = [at for _, at in self.told[1:]]
        found: dict[str, float] = {}
        for (what, begin), end in zip(self.told, ends, strict=False):
            name = what.removeprefix("fitting ").split(",")[0].split(" ")[0]
            found[name] = found.get(name, 0.0) + end - begin
        return found
