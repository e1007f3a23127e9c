"""A log at a cut: what may be learned from it, and what is asked right after it.

Tasks, each a batch of people and what they went on to want:

all        people with a past: everything that they wanted after the cut
discovery  the same people, only what they had not had
session    the second half of a basket or visit after the cut, the customer hidden
next       the next item at a few places of a visit; only where nobody is known (no `all`)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.timelines import Timelines
from features.types import Bool, Int32, Int64, Ragged, row_numbers
from training.bundle import terms
from training.evaluation.occasions import next_in_session
from training.evaluation.protocol import KS, Task
from training.past import Past
from training.policy import People, kept_away
from training.queries import queries_for
from training.slices import World, past_at, tasks_between


@dataclass(frozen=True)
class Moment:
    """What was known at `cut_us`, and what was wanted from then on until `until_us`.

    learned, asked: where they are not the usual ones
    """

    world: World
    cut_us: int
    until_us: int
    learned: Past | None = None
    asked: dict[str, Task] | None = None

    def earlier(self) -> Moment:
        """The moment one slice of the same length earlier."""
        return Moment(self.world, 2 * self.cut_us - self.until_us, self.cut_us)

    @cached_property
    def past(self) -> Past:
        """What may be learned."""
        return self.learned or past_at(self.world, self.cut_us)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """What is asked, by name."""
        if self.asked is not None:
            return self.asked
        until = self.until_us if self.until_us <= self._last_us else None
        usual = tasks_between(self.world, self.past, until)
        made = {task.name: task for task in usual if task.name != "session"}
        made["session"] = self._task("session", *self._halves())
        if "all" not in made:
            found = next_in_session(self.world, self.past, self.until_us)
            made |= {task.name: task for task in found.tasks}
        return {name: task for name, task in made.items() if len(task.people)}

    @property
    def _last_us(self) -> int:
        return int(self._log.occurred_us.max())

    @property
    def _log(self) -> Timelines:
        return self.world.features.timelines

    @cached_property
    def _liked(self) -> Bool:
        return np.array([s.weight > 0 for s in self.world.config.signals.values()])

    @cached_property
    def _wanted(self) -> Bool:
        return np.array(self.world.config.label_signals(), dtype=np.bool_)

    @cached_property
    def _until(self) -> Timelines:
        """Everybody's events until the end of what is asked."""
        return self._log.where(self._log.occurred_us < self.until_us)

    def _halves(self) -> tuple[list[Int32], list[Int32]]:
        """First halves of the visits that began in the slice, and what was wanted in the rest."""
        log = self._until
        given, rest = [], []
        for begin, end in _visits(log, self.cut_us):
            middle = (begin + end) // 2
            known, later = slice(begin, middle), slice(middle, end)
            given.append(log.items[known][self._liked[log.signals[known]]])
            rest.append(np.unique(log.items[later][self._wanted[log.signals[later]]]))
        return given, rest

    def _task(self, name: str, given: list[Int32], rest: list[Int32]) -> Task:
        """Strangers with a session, and what they want that may be shown to them."""
        config, world = self.world.config, self.world
        rules = terms(config, world.catalogue, slice(0, len(world)), max(KS))
        people = _strangers(self, given)
        truth = Ragged.of(rest).minus(kept_away(people, rules))
        asked = np.flatnonzero(np.diff(truth.indptr) > 0)
        asked = _some(asked, config.training.test_people, config.training.seed)
        who = np.full(asked.size, -1, dtype=np.int64)
        return Task(name, people.take(asked), who, truth.take(asked), rules)


def _strangers(moment: Moment, given: list[Int32]) -> People:
    """People of whom nothing is known but the session `given`."""
    config = moment.world.config
    nobody = np.full(len(given), -1, dtype=np.int32)
    queries = queries_for(
        moment.past.timelines, nobody, given, moment.cut_us, config.signals,
        config.session_signal(),
    )  # fmt: skip
    everybody = np.ones(len(given), dtype=np.bool_)
    return People(queries, everybody, ~everybody)


def _visits(log: Timelines, cut_us: int) -> list[tuple[int, int]]:
    """Begin and end of every visit of two events or more that began at or after `cut_us`."""
    rows = row_numbers(log.indptr)
    opens = np.ones(len(rows), dtype=np.bool_)
    opens[1:] = (rows[1:] != rows[:-1]) | (log.sessions[1:] != log.sessions[:-1])
    begin = np.flatnonzero(opens)
    end = np.append(begin[1:], len(rows))
    kept = (log.occurred_us[begin] >= cut_us) & (end - begin > 1)
    return list(zip(begin[kept].tolist(), end[kept].tolist(), strict=True))


def _some(rows: Int64, limit: int, seed: int) -> Int64:
    """At most `limit` of the rows, drawn by the seed."""
    if rows.size <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
