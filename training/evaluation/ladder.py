"""Which steps a shop's ladder has: measured on its own past, not assumed.

Within a rung the ranker with the higher ndcg speaks first. A ranker that is worse than recent
popularity on the same people does not speak at all: a more personal feed has to pay. Fewer than
FEWEST people decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.config import Rung
from features.training_options import RANKER_NAMES, RankerName
from training.evaluation import metrics
from training.evaluation.protocol import Outcome
from training.rankers import RANKERS

FLOOR: RankerName = "popularity"
FEWEST = 30  # people; below it a bootstrap interval promises more than it keeps


@dataclass(frozen=True)
class Gain:
    """What a ranker gains over recent popularity on one rung, in ndcg, paired, with 95 %."""

    rung: Rung
    ranker: RankerName
    task: str
    people: int
    gain: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """climb: clearly better; stay: clearly worse; unknown: neither, or too few people."""
        if self.people < FEWEST:
            return "unknown"
        return "climb" if self.low > 0 else "stay" if self.high < 0 else "unknown"


def gains_of(outcomes: Sequence[Outcome], repeat: str, count: int, seed: int) -> list[Gain]:
    """Every ranker that needs a history against the floor, on each rung that was measured.

    repeat: the shop's rule (allow | exclude) decides which task speaks for `one_to_one`
    """
    usual = "all" if repeat == "allow" else "discovery"
    task_of: dict[Rung, str] = {"one_to_one": usual, "segment": usual, "context": "session"}
    found: list[Gain] = []
    for rung, task in task_of.items():
        mine = {one.name: one.decisive for one in outcomes if one.task == task}
        if FLOOR not in mine:
            continue
        drawn = metrics.draws(len(mine[FLOOR]), count, seed)
        for name in RANKER_NAMES:
            if name in mine and name != FLOOR and rung in rungs_of(name):
                values = mine[name]
                gap = metrics.interval(values - mine[FLOOR], drawn)
                people = int((~np.isnan(values)).sum())
                found.append(Gain(rung, name, task, people, gap.mean, gap.low, gap.high))
    return found


def rungs_of(name: RankerName) -> tuple[Rung, ...]:
    """Where a ranker can speak: what it needs to know is known there."""
    kind = RANKERS[name]
    if getattr(kind, "by_segment", False):
        return ("segment",)
    if getattr(kind, "only_had", False):
        return ("one_to_one",)
    return ("one_to_one", "context")


def choose_ladder(
    measured: Sequence[Gain], rankers: Sequence[RankerName]
) -> list[tuple[Rung, RankerName]]:
    """The steps from the highest rung down; popularity, for whom nobody is a stranger, is the last.

    A rung that too few people could be asked about goes by what the other one showed.
    """
    steps: list[tuple[Rung, RankerName]] = []
    rungs: tuple[Rung, ...] = ("one_to_one", "segment", "context")
    for rung in rungs:
        personal = [name for name in rankers if name != FLOOR and rung in rungs_of(name)]
        heard = [gain for gain in measured if gain.people >= FEWEST]
        told = [gain for gain in heard if gain.rung == rung] or heard
        by_name = {gain.ranker: gain for gain in told}
        kept = [n for n in personal if n not in by_name or by_name[n].gain > 0]
        kept.sort(key=lambda n: -by_name[n].gain if n in by_name else 0.0)
        steps += [(rung, name) for name in kept]
    return [*steps, ("one_for_all", FLOOR)]
