"""A worker's world between two trainings: the bundle, and all that has happened since.

Every worker follows the store's events, so histories, popularity and transitions, prices and stock
are those of this second, and an item that has just appeared can be shown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from features.live import LOOK_BACK, Trails
from features.timelines import Timelines
from features.types import Bool, Int32, Int64
from serving.state import Event, Filed, ForeignState, ItemChange, State, StateUnavailable
from training.bundle import Bundle
from training.item_facts import UNBORN
from training.open_catalogue import NoRoom, OpenCatalogue
from training.policy import Step
from training.rankers.live import followers

_log = logging.getLogger("feeds.living")
ROOM = 1000  # items that may appear before the world is made anew with more room
MOST_ROOM = 64 * ROOM  # and no more until the next training: any caller can name an item
_FACTS = ("kind", "title", "category", "brand", "price", "currency", "url", "image_url",
          "sensitive")  # fmt: skip


@dataclass
class Living:
    """A bundle that lives on in this worker.

    base:    as it was trained; its arrays are mapped, and other workers map the same
    bundle:  the same with an open catalogue and followers of the live rankers
    opened:  (n_items,) bool, what is there now: available, and published by now
    seq:     up to which fact of the store everything has been taken in
    newest_us: the newest event that was taken in, else the model's moment
    caught_up: when the worker had taken in all that the store had; seconds of `time.monotonic`
    begun:   is it known where in the store to begin?
    away:    the store did not answer the last time
    version: goes up whenever `opened` or a price may have changed
    """

    base: Bundle
    bundle: Bundle
    opened: Bool
    births: Int64  # items announced for later, by the moment
    signals: Mapping[str, int]
    seq: int = 0
    newest_us: int = 0
    caught_up: float = field(default_factory=time.monotonic)
    version: int = 0
    unlisted: set[int] = field(default_factory=set)  # known by an event, and to be listed first
    withheld: set[int] = field(default_factory=set)  # told to be sold out: birth opens them not
    changed: set[int] = field(default_factory=set)  # items whose details are others than before
    begun: bool = False
    away: bool = False
    crowded: bool = False  # items that appear now are left out
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    async def of(cls, base: Bundle, state: State, room: int = ROOM, *, alone: bool = False) -> Self:
        """The world of `base` with all that the store knows, with more room if it takes more.

        alone: where the store is away, begin without it; `catch_up` goes on when it is there
        """
        while True:
            living = cls._fresh(base, room)
            try:
                await living.catch_up(state)
            except NoRoom:
                room *= 4
                continue
            except StateUnavailable as error:
                if isinstance(error, ForeignState) or not alone:
                    raise
                _log.error("begins with what the model knows: %s", error)
            return living

    @classmethod
    def _fresh(cls, base: Bundle, room: int) -> Self:
        catalogue = OpenCatalogue.opened(base.catalogue, room, base.config.shop.currency)
        rankers = followers(base.rankers, catalogue.known, len(catalogue))
        ladder = [Step(step.rung, step.name, rankers[step.name]) for step in base.ladder]
        bundle = replace(base, catalogue=catalogue, rankers=rankers, ladder=ladder)
        born = catalogue.born_us
        later = np.flatnonzero((born > base.as_of_us) & (born < UNBORN))
        opened = catalogue.available.copy()
        opened[later] = False
        births = later[np.argsort(born[later], kind="stable")]
        signals = {name: place for place, name in enumerate(base.config.signals)}
        return cls(base, bundle, opened, births, signals, newest_us=base.as_of_us)

    @property
    def catalogue(self) -> OpenCatalogue:
        """Of the living bundle."""
        assert isinstance(self.bundle.catalogue, OpenCatalogue)
        return self.bundle.catalogue

    def of_brand(self, name: str) -> Int32:
        """The items of a brand, in any case."""
        codes = self.catalogue.brand_codes.get(name.lower(), [])
        return np.flatnonzero(np.isin(self.catalogue.brand, codes)).astype(np.int32)

    async def catch_up(self, state: State) -> None:
        """Take in what has been committed since the last time. Raises NoRoom."""
        async with self._one_at_a_time:  # else what comes between two reads would count twice
            try:
                if not self.begun:  # the model knows what came before
                    self.seq, self.begun = await state.first_after(self.base.as_of_us), True
                while filed := await state.since(self.seq):
                    names = list(dict.fromkeys(one.name for one in filed if one.name))
                    tails = await state.tail(names, filed[0].seq, LOOK_BACK) if names else {}
                    self.take_in(filed, tails)
            except StateUnavailable:
                self.away = True
                raise
            self.away, self.caught_up = False, time.monotonic()

    def take_in(self, filed: Sequence[Filed], tails: Mapping[str, Sequence[Event]]) -> None:
        """Facts in the order of commits; tails: what each person had done before the first one.

        Raises NoRoom; nothing has been counted then, and the same facts are taken in anew.
        """
        try:
            self._take_in(filed, tails)
        except NoRoom:
            raise
        except Exception:  # one odd fact must not stop a worker from following all others
            _log.exception("left out what came with facts %d to %d", filed[0].seq, filed[-1].seq)
        self.seq = filed[-1].seq

    def _take_in(self, filed: Sequence[Filed], tails: Mapping[str, Sequence[Event]]) -> None:
        fresh = []
        for one in filed:
            if isinstance(one.fact, ItemChange):
                self._change(one.fact)
            elif self._counts(one.fact):
                fresh.append((one.name, one.fact))
        if not fresh:
            return
        trails = self._trails(fresh, tails)
        for ranker in self.bundle.rankers.values():
            if ranker.learns_live:
                ranker.observe(trails)
        self.newest_us = max(self.newest_us, *(event.occurred_us for _, event in fresh))

    def advance(self, now_us: int) -> None:
        """Open what has been published by now."""
        times = self.catalogue.born_us
        while self.births.size and times[self.births[0]] <= now_us:
            born = int(self.births[0])
            if born not in self.withheld:
                self.opened[born] = self.catalogue.available[born] = True
            self.changed.add(born)
            self.births = self.births[1:]
            self.version += 1

    def _counts(self, event: Event) -> bool:
        """Does a live counter take this event in? The log has what came before the model."""
        return event.event_type in self.signals and event.occurred_us > self.base.as_of_us

    def _change(self, change: ItemChange) -> None:
        catalogue = self.catalogue
        index = int(catalogue.find([change.item_id])[0])
        if index < 0 and (index := self._added(change.item_id)) < 0:
            return
        if index in self.unlisted:
            self.unlisted.discard(index)
            catalogue.available[index] = True
        told = {name: value for name in _FACTS if (value := getattr(change, name)) is not None}
        catalogue.tell(index, **told)
        if change.available is not None:
            catalogue.tell(index, available=change.available)
            (self.withheld.discard if change.available else self.withheld.add)(index)
        if change.published_us is not None:
            catalogue.tell(index, born_us=change.published_us)
            waits = change.published_us > max(self.newest_us, change.at_us)
            others = self.births[self.births != index]
            self.births = np.append(others, index) if waits else others
            self.births = self.births[np.argsort(catalogue.born_us[self.births], kind="stable")]
        self.opened[index] = catalogue.available[index] and index not in self.births
        self.changed.add(index)
        self.version += 1

    def _index(self, item_id: str) -> int:
        """An item that nobody has listed is shown only where the shop lists none."""
        catalogue = self.catalogue
        index = int(catalogue.find([item_id])[0])
        if index < 0 and (index := self._added(item_id)) >= 0:
            shown = self.base.config.shows_unlisted()
            self.opened[index] = catalogue.available[index] = shown
            if not shown:
                self.unlisted.add(index)
            self.changed.add(index)
            self.version += 1
        return index

    def _added(self, item_id: str) -> int:
        """An item that is new here; -1 where too many have appeared. Raises NoRoom."""
        try:
            return self.catalogue.add(item_id)
        except NoRoom:
            if self.catalogue.room < MOST_ROOM:
                raise
        if not self.crowded:
            self.crowded = True
            _log.error("%d items have appeared since the model was trained: others are left out "
                       "until the next training", self.catalogue.room)  # fmt: skip
        return -1

    def _trails(
        self, fresh: Sequence[tuple[str, Event]], tails: Mapping[str, Sequence[Event]]
    ) -> Trails:
        """The fresh events, each person's after what came before them, in the order of time."""
        people = {name: row for row, name in enumerate(dict.fromkeys(name for name, _ in fresh))}
        log = self.base.timelines
        rows = self.base.persons.indices(list(people)).astype(np.int64)
        ends = np.where(rows >= 0, log.indptr[rows + 1], 0)
        begins = np.maximum(np.where(rows >= 0, log.indptr[rows], 0), ends - LOOK_BACK)
        past, _ = log.between(begins, ends)
        before = [(name, one) for name in people for one in tails.get(name, ())
                  if self._counts(one)]  # fmt: skip
        every = [*before, *fresh]
        items = [self._index(event.item_id) for _, event in every]
        since = [one for one, item in zip(every, items, strict=True) if item >= 0]
        newer = [place >= len(before) for place, item in enumerate(items) if item >= 0]
        who = np.array([people[name] for name, _ in since], dtype=np.int64)
        times = np.array([event.occurred_us for _, event in since], dtype=np.int64)
        order = np.lexsort((times, who))  # stable: equal times stay in the order of commits
        lengths = np.bincount(who, minlength=len(people))
        events = Timelines(
            np.append(0, np.cumsum(lengths)),
            np.array([item for item in items if item >= 0], dtype=np.int32)[order],
            np.array([self.signals[e.event_type] for _, e in since], dtype=np.int8)[order],
            times[order], np.zeros(who.size, np.int32), len(self.catalogue),
        )  # fmt: skip
        new = np.array(newer, dtype=np.bool_)[order]
        joined, origin = past.followed_by(events)
        fresh_ones = np.concatenate([np.zeros(len(past.items), np.bool_), new])[origin]
        return Trails.of(joined, self.base.config.signals, fresh_ones)
