"""Two more ways of asking: requests replayed in time order, and everybody's last event left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.quality.moments import Moment
from benchmarks.quality.peers.base import SIZE, best
from features.types import DAY_US, Float32, Int32, Int64, Ragged, row_numbers
from training.bundle import terms
from training.evaluation.occasions import last_left_out
from training.evaluation.protocol import Task
from training.evaluation.visits import queries_at
from training.policy import People, kept_away
from training.rankers.base import Queries
from training.slices import World


@dataclass(frozen=True)
class Replay:
    """Everybody's first reading of an article in the slice: what was read is what was wanted.

    rows, entries: (n,) person and log entry of each request, in time order
    """

    moment: Moment
    rows: Int64
    entries: Int64

    @classmethod
    def of(cls, moment: Moment) -> Replay:
        """Requests of `moment`'s slice."""
        world = moment.world
        log, wanted = world.features.timelines, np.array(world.config.label_signals())
        rows = row_numbers(log.indptr)
        _, first = np.unique(rows * log.n_items + log.items, return_index=True)
        new = np.zeros(len(rows), dtype=np.bool_)
        new[first] = True
        times = log.occurred_us
        asked = new & wanted[log.signals] & (times >= moment.cut_us) & (times < moment.until_us)
        entries = np.flatnonzero(asked)
        entries = entries[np.argsort(times[entries], kind="stable")]
        return cls(moment, rows[entries], entries)

    @cached_property
    def at_us(self) -> Int64:
        """(n,) when each request was made."""
        return self.moment.world.features.timelines.occurred_us[self.entries]

    @cached_property
    def task(self) -> Task:
        """Histories as they were at the moment of each request: strictly before it."""
        world, log = self.moment.world, self.moment.world.features.timelines
        theirs = log.take(self.rows)
        seen = theirs.where(theirs.occurred_us < np.repeat(self.at_us, np.diff(theirs.indptr)))
        people = _everybody(queries_at(seen, self.at_us, world.config.signals))
        rules = terms(world.config, world.catalogue, slice(0, len(world)), SIZE)
        truth = Ragged.of(list(log.items[self.entries][:, None]))
        return Task("replay", people, self.rows, truth, rules)

    def nights(self) -> Iterator[tuple[Moment, Int64]]:
        """A moment for each day of the slice, and which requests came on that day.

        A peer is fitted again every 24 hours on all that had happened: nobody would serve articles
        from a model of last week.
        """
        day = (self.at_us - self.moment.cut_us) // DAY_US
        for number in np.unique(day):
            cut = self.moment.cut_us + int(number) * DAY_US
            rows = np.flatnonzero(day == number)
            asked = {"replay": self.task.take(rows)}
            yield Moment(self.moment.world, cut, cut + self._length, asked=asked), rows

    @property
    def _length(self) -> int:
        return self.moment.until_us - self.moment.cut_us

    def live(self, half_life_days: float | None) -> Int32:
        """(n, SIZE) what is popular at the moment of each request; None: what is newest."""
        world, log = self.moment.world, self.moment.world.features.timelines
        order = np.argsort(log.occurred_us, kind="stable")
        times, items = log.occurred_us[order], log.items[order]
        liked = np.array([s.weight > 0 for s in world.config.signals.values()])
        value = liked[log.signals[order]].astype(np.float64)
        away = kept_away(self.task.people, self.task.terms)
        feeds = np.empty((len(self.rows), 2 * SIZE), dtype=np.int32)
        for row, at in enumerate(self.at_us):
            end = np.searchsorted(times, at, side="left")
            scores = _popular(items[:end], times[:end], value[:end], int(at), half_life_days)
            scores = np.pad(scores, (0, log.n_items - len(scores)), constant_values=np.nan)
            feeds[row] = best(scores[None, :], away.take(np.array([row])), 2 * SIZE)[0]
        return feeds


def _popular(
    items: Int32, times: Int64, value: np.ndarray, at_us: int, half_life_days: float | None
) -> Float32:
    """Decayed counts until `at_us`, or minus the age of each item; NaN for those not seen yet."""
    if half_life_days is None:
        seen = np.full(int(items.max()) + 1, np.nan)
        seen[items[::-1]] = (times[::-1] - at_us) / DAY_US  # the first event of an item is last
        return seen.astype(np.float32)
    weight = value * np.exp2(-(at_us - times) / DAY_US / half_life_days)
    counts = np.bincount(items, weight)
    return np.where(counts > 0, counts, np.nan).astype(np.float32)


def leave_one_out(world: World) -> Moment:
    """Everybody's last event is wanted, all before it is known."""
    found = last_left_out(world)
    asked = {task.name: task for task in found.tasks}
    return Moment(world, found.past.as_of_us, found.past.as_of_us + 1, found.past, asked)


def _everybody(queries: Queries) -> People:
    all_of_them = np.ones(len(queries), dtype=np.bool_)
    return People(queries, all_of_them, ~all_of_them)
