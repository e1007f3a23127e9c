"""The desk of a worker: follow pointer, store and rules; what is new is swapped in at once."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from features.decided import salt
from features.home import Home
from serving.decisions import DecisionLog
from serving.desk import Desk
from serving.living import ROOM, Living
from serving.rulebook import Rulebook
from serving.sqlite_state import SqliteState
from serving.state import State
from training.bundle import Bundle
from training.open_catalogue import NoRoom
from training.retrieval import with_indexes

POINTER_SECONDS, STORE_SECONDS, RULES_SECONDS = 0.5, 0.1, 1.0
_log = logging.getLogger("feeds.delivery")


@dataclass
class Holder:
    """The one mutable place of a worker: the desk that answers now.

    config: the feeds.yaml whose rules are followed; None: those that the model was trained with
    worker: a name that no other worker of the home has, the same after a restart
    """

    home: Home
    config: Path | None = None
    worker: str = "w1"
    desk: Desk | None = None
    state: State | None = None
    log: DecisionLog | None = None
    refused: str | None = None  # the version that could not be opened
    _following: list[asyncio.Task[None]] = field(default_factory=list)

    async def open(self) -> None:
        """Open the promoted bundle, then follow what moves."""
        await self.refresh()
        for every, step in (
            (POINTER_SECONDS, self.refresh),
            (STORE_SECONDS, self.catch_up),
            (RULES_SECONDS, self.reread),
        ):
            self._following.append(asyncio.create_task(_again(every, step)))

    async def close(self) -> None:
        """Put on disk what is still in memory."""
        for task in self._following:
            task.cancel()
        if self.desk is not None:
            self.desk.introduce()
        if self.log is not None:
            await asyncio.to_thread(self.log.close)
        if self.state is not None:
            await self.state.close()

    async def refresh(self) -> None:
        """Open what the pointer names; what cannot be opened leaves the old one in place."""
        wanted = self.home.current()
        served = self.desk and self.desk.bundle.version
        if wanted == served:
            self.refused = None
        if wanted in (None, served, self.refused):  # what could not be opened is not tried again
            return
        try:
            bundle = await asyncio.to_thread(_opened, self.home.bundles / wanted)
            desk = await self._desk(bundle, ROOM)
            if self.desk is not None:
                self.desk.introduce()
            self.desk = desk
        except ValueError as error:
            _log.error("cannot serve %s; %s stays: %s", wanted, served, error)
            self.refused = wanted
            return
        self.refused = None
        gc.collect()
        gc.freeze()  # what a bundle holds lives as long as it does: no need to look at it again
        _log.info("serving %s", wanted)

    async def catch_up(self) -> None:
        """Take in what other workers have been told; with more room if new items need it."""
        if self.desk is None or self.state is None:
            return
        desk = self.desk
        desk.introduce()
        try:
            await desk.living.catch_up(self.state)
        except NoRoom:
            roomy = await self._desk(desk.living.base, 4 * desk.living.catalogue.room)
            if self.desk is desk:  # else another model has come meanwhile
                self.desk = roomy

    async def reread(self) -> None:
        """Follow the merchant's rules."""
        if self.desk is not None:
            await asyncio.to_thread(self.desk.rulebook.refresh)

    async def _desk(self, bundle: Bundle, room: int) -> Desk:
        """A desk for this bundle, made off the event loop: the old one goes on answering."""
        if self.state is None:
            key = salt(self.home.salt)
            self.state = SqliteState(self.home.state, key, bundle.config.identity)
        if self.log is None:
            self.log = DecisionLog(self.home.decisions, self.worker)
        state, log = self.state, self.log

        def made() -> Desk:
            living = asyncio.run(Living.of(bundle, state, room))
            return Desk(living, state, Rulebook.of(self.config, living), log, salt(self.home.salt))

        return await asyncio.to_thread(made)


def _opened(directory: Path) -> Bundle:
    """The bundle, with an index where that is the faster way; says which way each ranker goes."""
    bundle, choices = with_indexes(Bundle.open(directory), directory)
    for one in choices:
        _log.info("%s", one)
    return bundle


async def _again(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Do it for ever; what goes wrong is told, and tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except Exception:
            _log.exception("%s failed; trying again", getattr(step, "__name__", step))
