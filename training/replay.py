"""Requests in time order, each asked with all that had happened before it, and nothing after it.

A stream of events is taken in as the service would take it in: histories grow, live counters count,
items that nobody had seen become rankable with their first event. Rankers that were fitted before
have no opinion on these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from features.live import LOOK_BACK, Trails
from features.timelines import Timelines
from features.types import Bool, Int32, Int64, row_numbers
from training.bundle import Bundle
from training.item_facts import UNBORN
from training.open_catalogue import OpenCatalogue
from training.policy import People, Step
from training.queries import with_present
from training.rankers.base import Queries
from training.rankers.live import followers
from training.stream import Stream

_AT_ONCE = 512  # requests


@dataclass(frozen=True)
class Asked:
    """Who asks when, each (n,).

    names:  marked ids, such as u:7; empty: a stranger
    recent: ids of the items of the current session, oldest first; what the stream tells of it comes
            before them
    at_us:  int64, microseconds since 1970 UTC
    """

    names: Sequence[str]
    recent: Sequence[Sequence[str]]
    at_us: Int64


@dataclass(frozen=True)
class Moment:
    """Requests with no event between them, and the world as it is then.

    rows:  (k,) int64, which of the requests            shown: (s,) int32, items that exist by then
    world: its rankers have taken in what came before, and will take in more after this moment
    """

    rows: Int64
    people: People
    shown: Int32
    world: World


@dataclass(frozen=True)
class World:
    """A bundle that lives on; a stream goes through it once.

    bundle:  its catalogue, people and timelines with all that the stream brings, its rankers
             followers. Look at timelines and catalogue through `moments` only: they know the future
    arrival: (m,) int64 per entry of the timelines, its place in the stream, -1: from the log
    """

    bundle: Bundle
    stream: Stream
    arrival: Int64
    known: int  # items of the catalogue before the stream
    unknown_from: int  # the first row of `bundle.timelines` that the model does not know

    @classmethod
    def of(cls, bundle: Bundle, stream: Stream) -> Self:
        """The world of `bundle` before the first event of `stream`."""
        known, n_items = len(bundle.catalogue), len(bundle.catalogue) + len(stream.new_items)
        shop = bundle.config.shop.model_copy(update={"clock": "as_of"})  # no wall clock in here
        timelines, arrival = _merged(bundle.timelines, len(bundle.persons), stream, n_items)
        rankers = followers(bundle.rankers, known, n_items)
        catalogue = OpenCatalogue.opened(bundle.catalogue, len(stream.new_items), shop.currency)
        for item_id in stream.new_items:
            catalogue.add(item_id)
        lived = replace(
            bundle,
            config=bundle.config.model_copy(update={"shop": shop}),
            catalogue=catalogue,
            timelines=timelines,
            rankers=rankers,
            ladder=[Step(step.rung, step.name, rankers[step.name]) for step in bundle.ladder],
        )
        return cls(lived, stream, arrival, known, len(bundle.persons))

    def moments(self, asked: Asked) -> Iterator[Moment]:
        """The requests in time order; strictly earlier events have been taken in before each."""
        order = np.argsort(asked.at_us, kind="stable")
        at = asked.at_us[order]
        seen = np.searchsorted(self.stream.occurred_us, at)
        born = np.searchsorted(self._births, at, side="right")
        same = (np.diff(seen, prepend=-1) == 0) & (np.diff(born, prepend=-1) == 0)
        begins = np.flatnonzero(~same)
        taken = 0
        for rows in np.split(order, begins[1:]):
            now = int(np.searchsorted(self.stream.occurred_us, asked.at_us[rows[0]]))
            self._take_in(taken, now)
            taken, shown = now, self._shown(now, int(asked.at_us[rows[0]]))
            for start in range(0, rows.size, _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                yield Moment(part, self._people(asked, part), shown, self)

    def _take_in(self, begin: int, end: int) -> None:
        """Tell the followers the events of the stream from `begin` to `end`."""
        if begin == end:
            return
        trails = self._trails(begin, end)
        for ranker in self.bundle.rankers.values():
            if ranker.learns_live:
                ranker.observe(trails)

    def _trails(self, begin: int, end: int) -> Trails:
        """These events, each person's after what came before them."""
        log, places = self.bundle.timelines, self._places[begin:end]
        people, first = np.unique(self.stream.people[begin:end], return_index=True)
        earliest = places[first]  # of each person, as the stream is in time order
        latest = np.zeros(people.size, np.int64)
        np.maximum.at(latest, np.searchsorted(people, self.stream.people[begin:end]), places)
        starts = np.maximum(log.indptr[people], earliest - LOOK_BACK)
        part, entries = log.between(starts, latest + 1)
        return Trails.of(part, self.bundle.config.signals, self.arrival[entries] >= begin)

    @cached_property
    def _places(self) -> Int64:
        """(m,) where in the timelines each event of the stream is."""
        found = np.empty(len(self.stream), np.int64)
        entries = np.flatnonzero(self.arrival >= 0)
        found[self.arrival[entries]] = entries
        return found

    @cached_property
    def _born_us(self) -> Int64:
        """(known,) when each item of the model's catalogue was published, else first seen."""
        return np.asarray(self.bundle.catalogue.born_us[: self.known])

    @cached_property
    def _births(self) -> Int64:
        """The moments at which what may be shown changes without an event, ascending."""
        return np.sort(self._born_us[self._born_us < UNBORN])

    @cached_property
    def _debuts(self) -> Int64:
        """(new items,) the place in the stream of each one's first event, ascending."""
        new = np.flatnonzero(self.stream.items >= self.known)
        return new[np.unique(self.stream.items[new], return_index=True)[1]]

    def _shown(self, taken: int, now_us: int) -> Int32:
        """Items that may be shown after `taken` events: available, published and seen by then."""
        born, as_of = self._born_us, self.bundle.as_of_us
        since = (born > as_of) & (born <= now_us)  # announced then, published since
        later = (born > now_us) & (born < UNBORN)
        old = (self.bundle.catalogue.available[: self.known] | since) & ~later
        debuts = int(np.searchsorted(self._debuts, taken))
        new = np.arange(self.known, self.known + debuts)
        return np.concatenate([np.flatnonzero(old), new]).astype(np.int32)

    def _people(self, asked: Asked, rows: Int64) -> People:
        """Who asks, with what they had done until then."""
        bundle = self.bundle
        persons = self._rows_of([asked.names[row] for row in rows.tolist()])
        past, starts = self._pasts(persons, asked.at_us[rows])
        ref = int(asked.at_us[rows].max())  # times are moved so that all are asked at one moment
        moved = past.occurred_us + np.repeat(ref - asked.at_us[rows], np.diff(past.indptr))
        recent = [self._items_of(asked.recent[row]) for row in rows.tolist()]
        now = with_present(
            replace(past, occurred_us=moved), recent, ref, bundle.config.session_signal()
        )
        histories = now.histories(ref, bundle.config.signals)
        queries = Queries.plain(histories, starts, asked.at_us[rows])
        weights = np.bincount(row_numbers(histories.indptr), np.maximum(histories.weights, 0),
                              minlength=rows.size)  # fmt: skip
        trained = np.where(persons < self.unknown_from, persons, -1).astype(np.int32)
        own = bundle.standing(trained, weights.astype(np.float32), ref)
        queries = replace(queries, segment=own.segments, stage=own.stages, declared=own.declared)
        default = bundle.config.shop.consent_default == "yes"
        consent = np.full(rows.size, default)
        consent[trained >= 0] = bundle.consent[trained[trained >= 0]]
        named = np.array([asked.names[row].startswith("u:") for row in rows.tolist()], np.bool_)
        return People(queries, consent, named & (np.diff(past.indptr) == 0) & (trained < 0))

    def _rows_of(self, names: list[str]) -> Int64:
        """(n,) rows of the timelines, -1 for people of whom nothing is known at any time."""
        found = self.bundle.rows(names).astype(np.int64)
        new = self.stream.new_people.indices(names)
        return np.where((found < 0) & (new >= 0), self.unknown_from + new, found)

    def _items_of(self, ids: Sequence[str]) -> Int32:
        found = self.bundle.catalogue.find(ids)
        return found[found >= 0]

    def _pasts(self, persons: Int64, at_us: Int64) -> tuple[Timelines, Int64]:
        """What each person (-1: nobody) did before the moment, and where their open visit begins.

        A visit is open as long as the silence since its last event could be one within it.
        """
        log, gap_us = self.bundle.timelines, self.bundle.config.sessions.gap_us
        begins, ends = np.zeros(persons.size, np.int64), np.zeros(persons.size, np.int64)
        starts = begins.copy()
        for n, (row, now) in enumerate(zip(persons.tolist(), at_us.tolist(), strict=True)):
            if row >= 0:
                begin, end = log.indptr[row], log.indptr[row + 1]
                begins[n], ends[n] = begin, begin + np.searchsorted(log.occurred_us[begin:end], now)
                starts[n] = ends[n] - begin
                if starts[n] and now - log.occurred_us[ends[n] - 1] <= gap_us:
                    visits = log.sessions[begin : ends[n]]
                    starts[n] = np.max(np.flatnonzero(visits != visits[-1]), initial=-1) + 1
        return log.between(begins, ends)[0], starts


def _merged(
    log: Timelines, n_persons: int, stream: Stream, n_items: int
) -> tuple[Timelines, Int64]:
    """The timelines with the stream's events at the end of each row, and where each came from."""
    n = n_persons + len(stream.new_people)
    rows = np.concatenate([row_numbers(log.indptr), stream.people])
    order = np.argsort(rows, kind="stable")
    arrival = np.concatenate([np.full(len(log.items), -1), np.arange(len(stream))])[order]
    indptr = np.append(0, np.cumsum(np.bincount(rows, minlength=n)))
    opens = np.concatenate([np.zeros(len(log.items), np.bool_), stream.opens])[order]
    old = np.concatenate([log.sessions, np.zeros(len(stream), np.int32)])[order]
    return Timelines(
        indptr, np.concatenate([log.items, stream.items])[order],
        np.concatenate([log.signals, stream.signals])[order],
        np.concatenate([log.occurred_us, stream.occurred_us])[order],
        _visits(indptr, old, arrival, opens), n_items,
    ), arrival  # fmt: skip


def _visits(indptr: Int64, old: Int32, arrival: Int64, opens: Bool) -> Int32:
    """(m,) the number of each entry's visit: the stream's go on counting where the log's end."""
    rows, new = row_numbers(indptr), arrival >= 0
    last = np.full(len(indptr) - 1, 0, np.int64)
    np.maximum.at(last, rows[~new], old[~new])
    so_far = np.cumsum(opens & new)
    before = np.concatenate([np.zeros(1, np.int64), so_far])[indptr[:-1]]
    return np.where(new, last[rows] + so_far - before[rows], old).astype(np.int32)
