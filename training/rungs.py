"""Every rung asked on the same requests: what evidence rests on.

The rankers stand as they were fitted before the first request; the live ones have taken in all that
happened until shortly before each, as a service would have. People are what they were at the fit,
for that is what a bundle knows of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from features import arrays
from features.config import KINDS, RUNGS
from features.home import Progress, silent
from features.people_at import people_at
from features.types import DAY_US, Bool, Float64, Int8, Int16, Int64
from training.cooking import Cooked
from training.evaluation import metrics
from training.evaluation.protocol import KS, Task
from training.evaluation.visits import Channels, Shelf, Visits
from training.evaluation.worth import SECONDS
from training.policy import Step, decide
from training.rankers.live import followers
from training.slices import World, standing_at, take_in

STEP_US = DAY_US // 8  # at the end of each the live rankers take in what happened in it
STEPS = (32, 240)  # at least and at most
CHUNK = 512  # people asking at once: bounds memory to CHUNK x n_items floats
KEPT = "survey"  # directory of a bundle


@dataclass(frozen=True)
class Compared:
    """How each rung did on the same requests, a row per request and kind.

    ndcg:    (q, 4) float64, of the first 20, by rung in the order of RUNGS
    hits:    (q, 4) float64, wanted items among them      paid: (q, 4) float64, money paid for them
    rungs:   (q, 4) int8, the rung that the person could have under each limit
    persons: (q,) int64        segments: (q,) int16, -1 none       stages: (q,) int8, -1 unknown
    channels: (q,) int16, -1 unknown      kinds: (q,) int8 into KINDS
    browsing: (q,) bool, had they seen anything in this visit?
    at_us:   (q,) int64
    """

    ndcg: Float64
    hits: Float64
    paid: Float64
    rungs: Int8
    persons: Int64
    segments: Int16
    stages: Int8
    channels: Int16
    kinds: Int8
    browsing: Bool
    at_us: Int64

    def __len__(self) -> int:
        return len(self.persons)

    def take(self, rows: Int64) -> Compared:
        """The named rows."""
        return Compared(**{name: value[rows] for name, value in vars(self).items()})

    @classmethod
    def joined(cls, parts: Sequence[Compared]) -> Compared:
        """All of them, one after the other."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


@dataclass(frozen=True)
class Survey:
    """What was asked of the rungs, and how many such requests there were in all.

    visits: how many there were in `days`        wanted: kind -> the share that wanted any of it;
    some of these were asked
    channels, segments: their names by code
    """

    compared: Compared
    segments: list[str]
    channels: list[str]
    visits: int
    wanted: dict[str, float]
    days: float
    begin_us: int
    end_us: int

    def save(self, bundle: Path) -> None:
        """Keep it with a bundle, so that evidence can be weighed again by other options."""
        arrays.save(self, bundle / KEPT)


def survey_of(bundle: Path) -> Survey | None:
    """What was asked when the bundle in this directory was trained; None: nobody asked.

    Raises ValueError where an older version kept it.
    """
    if not (bundle / KEPT).exists():
        return None
    try:
        return arrays.load(Survey, bundle / KEPT)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{bundle / KEPT} was kept by another version of this code (it lacks {error}); "
            "run `feeds train`"
        ) from error


def compare_rungs(
    world: World, cooked: Cooked, begin_us: int, most: int, progress: Progress = silent
) -> Survey | None:
    """Ask every rung for the visits from `begin_us` to the end of the log, at most `most` a kind.

    cooked: fitted on what came before `begin_us`        returns: None where nobody asked
    """
    log, end_us = world.features.timelines, int(world.features.timelines.occurred_us.max()) + 1
    channels, consent = Channels.of(world.features), np.asarray(world.features.consent)
    values = None if world.worth is None or world.worth.unit == SECONDS else world.worth.values
    shelf = Shelf(world.catalogue, standing_at(world, begin_us), consent, values)
    every = Visits.between(log, begin_us, end_us, world.config.training.seed)
    some = max(len(every), 1)
    wanted = {str(kind): float(_wanting(every, world, n).sum()) / some
              for n, kind in enumerate(KINDS)}  # fmt: skip
    drawn = _drawn(every, world, most)
    lived = followers(cooked.rankers, len(world), len(world))
    ladder = [replace(step, ranker=lived[step.name]) for step in cooked.steps]
    learners = [one for one in lived.values() if one.learns_live]
    steps = int(np.clip((end_us - begin_us) / STEP_US, *STEPS))
    bounds = np.linspace(begin_us, end_us, steps + 1).astype(np.int64).tolist()
    parts: list[Compared] = []
    asked = dict.fromkeys(wanted, 0)
    for number, (begin, end) in enumerate(pairwise(bounds)):
        progress("asking every rung", number / steps)
        for kind, visits in drawn.items():
            now = visits.take((visits.at_us >= begin) & (visits.at_us < end))
            task, rows = now.task(kind, log, world.config, shelf)
            asked[KINDS[kind]] += len(rows)
            if len(rows):
                asking = now.take(rows)
                codes = channels.codes[log.indptr[asking.rows] + asking.asked]
                parts += [
                    _asked(task.take(part), asking.take(part), ladder, codes[part])
                    for part in np.array_split(np.arange(len(rows)), -(-len(rows) // CHUNK))
                ]
        take_in(learners, world, begin, end)
    if not parts:
        return None
    for code, name in enumerate(KINDS):  # what the rules keep away is not wanted of a feed
        wanted[name] *= asked[name] / max(len(drawn[code]), 1)
    days = (end_us - begin_us) / DAY_US
    names = people_at(world.config, world.features, begin_us, world.home).names
    return Survey(Compared.joined(parts), names, channels.names, len(every), wanted, days,
                  begin_us, end_us)  # fmt: skip


def _drawn(every: Visits, world: World, most: int) -> dict[int, Visits]:
    """Kind -> at most `most` of the visits in which something of the kind was wanted."""
    random = np.random.default_rng(world.config.training.seed)
    found = {}
    for kind in range(len(KINDS)):
        some = np.flatnonzero(_wanting(every, world, kind))
        if some.size > most:
            some = np.sort(random.choice(some, most, replace=False))
        found[kind] = every.take(some)
    return found


def _wanting(visits: Visits, world: World, kind: int) -> Bool:
    label = np.array(world.config.label_signals(), dtype=np.bool_)
    truth = visits.wanted(world.features.timelines, label, world.catalogue.kinds == kind)
    return np.diff(truth.indptr) > 0


def _asked(task: Task, visits: Visits, ladder: Sequence[Step], channels: Int16) -> Compared:
    """All rungs on one task; a rung without a step of its own shows what the one below shows."""
    there = {step.rung for step in ladder}
    size, wanted = max(KS), np.diff(task.truth.indptr)
    rungs = np.zeros((len(visits), len(RUNGS)), dtype=np.int8)
    ndcg, hits, paid = (np.zeros((len(visits), len(RUNGS))) for _ in range(3))
    for place, rung in enumerate(RUNGS):
        if place and rung not in there:
            for one in (ndcg, hits, paid, rungs):
                one[:, place] = one[:, place - 1]
            continue
        feeds = decide(ladder, task.people, replace(task.terms, highest_rung=rung))
        rungs[:, place] = feeds.rungs
        hit = metrics.hits(feeds.items, task.truth)
        ndcg[:, place] = metrics.ndcg(hit, wanted, size)
        hits[:, place] = hit.sum(axis=1)
        if task.priced is not None:
            gain = metrics.gains(feeds.items, task.priced.truth, task.priced.value)
            paid[:, place] = metrics.value_captured(gain, size)
    queries = task.people.known  # what the policy may look a cell up by
    kind = np.full(len(visits), KINDS.index(task.name), dtype=np.int8)
    return Compared(
        ndcg, hits, paid, rungs, visits.rows, queries.segment, queries.stage, channels, kind,
        visits.asked > visits.starts, visits.at_us,
    )  # fmt: skip
