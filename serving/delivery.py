"""The desk of a worker: follow pointer, store and rules; what is new is swapped in at once."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from features.arrays import touch
from features.decided import salt
from features.experiments import models_of
from features.home import Home
from features.mail_options import MailOptions
from features.types import from_us
from serving import telemetry
from serving.api import FeedRequest
from serving.borrowed import Borrowed
from serving.dealing import unfit
from serving.decisions import DecisionLog
from serving.desk import Desk
from serving.following import again
from serving.living import ROOM, Living
from serving.mailing.opening import equipped
from serving.rulebook import Rulebook
from serving.state import State, StateUnavailable
from serving.states import state_of
from serving.todays_mail import TodaysMail
from serving.warming import KEPT, replayed, usual
from training.bundle import Bundle
from training.leases import MANIFEST
from training.open_catalogue import NoRoom
from training.probes import checked, kept
from training.retrieval import with_indexes

POINTER_SECONDS, STORE_SECONDS, RULES_SECONDS = 0.5, 0.1, 1.0
SWITCH_SECONDS = 0.0005  # that a request waits for a thread which makes the next desk
LEAVING_SECONDS = 1.0  # after a swap: until then the last answers of the old desk are given
Stamp = tuple[int, int] | None  # which manifest lies there; None: there is none
_NEVER = (-1, -1)
_log = logging.getLogger("feeds.delivery")


@dataclass
class Holder:
    """The one mutable place of a worker: the desk that answers now.

    config: the feeds.yaml whose rules are followed; None: those that the model was trained with
    worker: a name that no other worker of the home has, the same after a restart
    recent: the newest requests for feeds that were answered, to warm the next desk with
    absent: versions that arms name and that cannot be served: nobody is in their experiments
    """

    home: Home
    config: Path | None = None
    worker: str = "w1"
    desk: Desk | None = None
    state: State | None = None
    log: DecisionLog | None = None
    refused: str | None = None  # the version that could not be served
    recent: deque[FeedRequest] = field(default_factory=lambda: deque(maxlen=KEPT))
    absent: dict[str, Stamp] = field(default_factory=dict)
    _mail: TodaysMail = field(init=False)
    _refused_at: Stamp = _NEVER
    _following: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Follow the mails of the same config."""
        self._mail = TodaysMail(self.config)

    def mail(self, desk: Desk) -> MailOptions:
        """The section `mail` of today's config, else of the desk's model."""
        return self._mail.of(desk.bundle.config).mail

    async def open(self) -> None:
        """Open the promoted bundle, then follow what moves."""
        sys.setswitchinterval(SWITCH_SECONDS)
        await self.refresh()
        for every, step in (
            (POINTER_SECONDS, self.refresh),
            (STORE_SECONDS, self.catch_up),
            (RULES_SECONDS, self.reread),
        ):
            self._following.append(asyncio.create_task(again(every, step)))

    async def close(self) -> None:
        """Put on disk what is still in memory."""
        for task in self._following:
            task.cancel()
        for desk in self._desks():
            desk.introduce()
        if self.log is not None:
            await asyncio.to_thread(self.log.close)
        if self.state is not None:
            await self.state.close()

    def remember(self, request: FeedRequest) -> None:
        """The next model is warmed with this request; whose it was is not kept."""
        self.recent.append(request.model_copy(update={"user_id": None, "visitor_id": None}))

    async def refresh(self) -> None:
        """Serve what the pointer names, and what its arms name beside it.

        What fails its checks leaves the old one in place; it is not tried again as it is. While the
        store is away the old one stays: it knows what happened since its model's moment.
        """
        if self.desk is not None and self.desk.living.away:
            return
        wanted, served = self.home.current(), self.desk.bundle.version if self.desk else None
        if wanted == served:
            self.refused = None
        elif wanted and (wanted, self._stamp(wanted)) != (self.refused, self._refused_at):
            await self._swap(wanted, served)
        if self.desk is not None:
            await self._complete(self.desk)

    async def catch_up(self) -> None:
        """Take in what other workers have been told; with more room if new items need it.

        Raises StateUnavailable.
        """
        away: StateUnavailable | None = None
        for desk in self._desks():
            desk.introduce()
            try:
                await desk.living.catch_up(desk.state)
            except NoRoom:
                base, room = desk.living.base, 4 * desk.living.catalogue.room
                self._replace(desk, await self._made(base, room))
            except StateUnavailable as error:
                away = error
        if away is not None:
            raise away

    async def reread(self) -> None:
        """Follow the merchant's rules, and what the config says of mails."""
        for desk in self._desks():
            await asyncio.to_thread(desk.rulebook.refresh)
            await asyncio.to_thread(self._equip, desk)

    def _desks(self) -> list[Desk]:
        return [] if self.desk is None else self.desk.together

    async def _swap(self, wanted: str, served: str | None) -> None:
        """Make the desk beside the one that answers; when it is warm, one reference moves."""
        begun = time.perf_counter()
        try:
            desk = await self._desk_of(wanted)
        except ValueError as error:
            _log.error("cannot serve %s; %s stays: %s", wanted, served or "nothing", error)
            self.refused, self._refused_at = wanted, self._stamp(wanted)
            telemetry.swapped("refused", time.perf_counter() - begun)
            return
        self.absent.clear()
        await self._complete(desk)
        for one in self._desks():
            one.introduce()
            asyncio.get_running_loop().call_later(LEAVING_SECONDS, one.introduce)
        self.desk, self.refused = desk, None
        gc.collect()
        gc.freeze()  # what a bundle holds lives as long as it does: no need to look at it again
        seconds = time.perf_counter() - begun
        telemetry.swapped("served", seconds)
        _log.info("serving %s instead of %s, after %.2f s", wanted, served or "nothing", seconds)

    async def _complete(self, desk: Desk) -> None:
        """Open the versions that arms of the champion's config name."""
        config, own = desk.bundle.config, desk.bundle.version
        now = from_us(desk.bundle.now_us())
        for version in models_of(config.experiments, now):
            stamp = self._stamp(version)
            if version in (own, *desk.others) or self.absent.get(version, _NEVER) == stamp:
                continue
            try:
                other = await self._desk_of(version)
                if why := unfit(config, version, other.bundle.config):
                    raise ValueError(why)
            except ValueError as error:
                self.absent[version] = stamp
                _log.error("nobody is in the experiments on %s: %s", version, error)
            else:
                self.absent.pop(version, None)
                desk.join(other)
                _log.info("serving %s to those in its arms, beside %s", version, own)

    async def _desk_of(self, version: str) -> Desk:
        """A warm desk for this version. Raises ValueError for what fails its checks."""
        for one in self._desks():
            if one.bundle.version == version:  # it follows the store already
                same = Desk(one.living, one.state, one.rulebook, one.log, one.salt)
                await asyncio.to_thread(self._equip, same)
                return same
        directory = self.home.bundles / version
        bundle = await asyncio.to_thread(_opened, directory)
        requests = [*usual(bundle, kept(directory)), *self.recent]
        return await self._made(bundle, ROOM, requests)

    async def _made(self, bundle: Bundle, room: int, requests: Sequence[FeedRequest] = ()) -> Desk:
        """A desk for this bundle, made off the event loop: the old one goes on answering."""
        key = salt(self.home.salt)
        if self.state is None:
            self.state = state_of(self.home, bundle.config, self.config, serves=True)
        if self.log is None:
            self.log = DecisionLog(self.home.decisions, self.worker)
        state, log = self.state, self.log
        borrowed, alone = Borrowed(state, asyncio.get_running_loop()), self.desk is None

        async def made() -> Desk:
            living = await Living.of(bundle, borrowed, room, alone=alone)
            desk = Desk(living, state, Rulebook.of(self.config, living), log, key)
            self._equip(desk)
            await replayed(desk, requests, borrowed)
            return desk

        return await asyncio.to_thread(lambda: asyncio.run(made()))

    def _equip(self, desk: Desk) -> None:
        """Let it write mails as the config has them today."""
        today = self._mail.of(desk.bundle.config)
        if desk.equipped != self._mail.reading:
            desk.equipped = self._mail.reading
            equipped(desk, self.config.parent if self.config else Path(), self.home, today)

    def _replace(self, old: Desk, new: Desk) -> None:
        """Put a desk of the same version where `old` is, unless that is gone meanwhile."""
        old.introduce()
        asyncio.get_running_loop().call_later(LEAVING_SECONDS, old.introduce)
        if self.desk is old:
            for other in old.others.values():
                new.join(other)
            self.desk = new
        elif self.desk is not None and self.desk.others.get(old.bundle.version) is old:
            self.desk.join(new)

    def _stamp(self, version: str) -> Stamp:
        try:
            found = (self.home.bundles / version / MANIFEST).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino


def _opened(directory: Path) -> Bundle:
    """The bundle that has passed its checks, with an index where that is the faster way."""
    bundle, choices = with_indexes(checked(directory), directory)
    for one in choices:
        _log.info("%s", one)
    touch(bundle)
    return bundle
