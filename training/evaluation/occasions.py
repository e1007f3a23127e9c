"""Other occasions to ask than one split in time: week after week, everybody's last event, visits.

Each says what may be learned and what is asked after it; how feeds are judged is always the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from features.split import leave_last_out, rolling_weeks, session_next_item
from features.timelines import Timelines
from features.types import DAY_US, Ragged, from_us, row_numbers
from training.bundle import terms
from training.evaluation.protocol import KS, Task
from training.evaluation.visits import queries_at
from training.past import Past
from training.policy import People, kept_away
from training.queries import queries_for
from training.rankers.base import Queries
from training.slices import World, past_at, standing_at, tasks_between

PER_SESSION = 3  # places of a visit at most at which `next in session` asks
WEEK_US = 7 * DAY_US


@dataclass(frozen=True)
class Occasion:
    """What may be learned, and what is asked after it; name: of this one among several."""

    name: str
    past: Past
    tasks: list[Task]

    @property
    def since_us(self) -> int:
        """When the first of them asks; where nobody does, at the end of the past."""
        asked = [task.people.queries.now_us for task in self.tasks]
        return min((int(np.min(one)) for one in asked), default=self.past.as_of_us)


def weeks(world: World, count: int, *, refit: bool = True) -> Iterator[Occasion]:
    """The last `count` weeks of the log, oldest first: before each, all that was is known.

    refit: is a model made anew before each? If not, stages and segments are those of the first
    Raises ValueError where that leaves no past.
    """
    first = None
    for split in rolling_weeks(world.features.timelines, count):
        past = past_at(world, split.cut_us)
        first = first or standing_at(world, split.cut_us)
        stood = None if refit else first
        asked = tasks_between(world, past, split.cut_us + WEEK_US, stood)
        yield Occasion(f"{from_us(split.cut_us):%Y-%m-%d}", past, asked)


def last_left_out(world: World) -> Occasion:
    """Everybody's last event is wanted, all before it is known: only to compare sequence models.

    Each is asked at the moment of that event, as a request would be. Where the config shows nothing
    again that a person had, only the first event of a person on an item counts.
    """
    config = world.config
    split = leave_last_out(_first_ones(world))
    past = Past.plain(
        split.past, split.cut_us, config.signals, world.items, seed=config.training.seed
    )
    asked = np.flatnonzero((np.diff(split.past.indptr) > 0) & (np.diff(split.future.indptr) > 0))
    future, given = split.future.take(asked), split.past.take(asked)
    people = _everybody(queries_at(given, future.occurred_us, config.signals))  # one event a row
    rules = terms(config, world.catalogue, slice(0, len(world)), max(KS))
    truth = Ragged(future.indptr, future.items)
    task = Task("leave one out", people, asked, truth, rules)
    return Occasion(task.name, past, _drawn(world, task))


def next_in_session(world: World, past: Past, until_us: int | None = None) -> Occasion:
    """What came next at a few places of each visit after `past`; nothing else is known of anybody.

    until_us: where the events end that count; None: with the log
    """
    log, config = world.features.timelines, world.config
    if until_us is not None:
        log = log.where(log.occurred_us < until_us)
    found = session_next_item(
        log, past.as_of_us, wanted=np.array(config.label_signals(), dtype=np.bool_),
        per_session=PER_SESSION, seed=past.seed,
    )  # fmt: skip
    begin = log.indptr[found.rows]
    spans = zip(begin + found.session_starts, begin + found.positions, strict=True)
    given = [log.items[a:b] for a, b in spans]
    nobody = np.full(len(given), -1, dtype=np.int32)
    people = _everybody(queries_for(
        past.timelines, nobody, given, past.as_of_us, config.signals, config.session_signal()
    ))  # fmt: skip
    rules = terms(config, world.catalogue, slice(0, len(world)), max(KS))
    truth = Ragged.of(list(found.items[:, None])).minus(kept_away(people, rules))
    asked = np.flatnonzero(np.diff(truth.indptr) > 0)
    task = Task("next", people, found.rows, truth, rules).take(asked)
    return Occasion("next in session", past, _drawn(world, task))


def _drawn(world: World, task: Task) -> list[Task]:
    options = world.config.training
    return [task.drawn(options.test_people, options.seed)] if len(task.people) else []


def _first_ones(world: World) -> Timelines:
    """The positive events; of a person and an item that may not be shown again the first alone."""
    log = world.features.timelines
    liked = np.array([s.weight > 0 for s in world.config.signals.values()])
    log = log.where(liked[log.signals])
    rules = terms(world.config, world.catalogue, slice(0, len(world)), max(KS))
    _, first = np.unique(row_numbers(log.indptr) * log.n_items + log.items, return_index=True)
    never_again = np.atleast_1d(rules.keeps_away.any(axis=0))
    kept = ~never_again[rules.kinds[log.items]]
    kept[first] = True
    return log.where(kept)


def _everybody(queries: Queries) -> People:
    all_of_them = np.ones(len(queries), dtype=np.bool_)
    return People(queries, all_of_them, ~all_of_them)
