"""Which store remembers what the service is told: one Redis for several hosts, or a file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from features.config import Config, ConfigError, load_config
from features.decided import salt
from features.home import Home
from features.options import ServiceOptions
from features.stores import keep_store, require_store
from serving.notes import Dropped
from serving.sqlite_state import SqliteState
from serving.state import Event, Fact, Filed, Met, Recalled, Shown, State, StateUnavailable

AGAIN_SECONDS = 0.5  # between two attempts to open a file
_log = logging.getLogger("feeds.state")


def state_of(
    home: Home, config: Config | None = None, file: Path | None = None, *, serves: bool = False
) -> State:
    """The store that the environment's FEEDS_STATE names, else the config, else the home's file.

    config: of the model that is served        file: the feeds.yaml of today, if there is one
    serves: a service asks: the home says from now on that this is its store

    It need not be there yet: until it is, it raises StateUnavailable whatever it is asked.
    Raises ValueError for one that this program cannot use, for a Redis without its library, and for
    another than the service uses.
    """
    url = _options(config, file).state_url
    if not serves:
        require_store(home, url)
    state = _opened(home, config, url)
    if serves:
        keep_store(home, url)
    return state


def _opened(home: Home, config: Config | None, url: str | None) -> State:
    key, identity = salt(home.salt), None if config is None else config.identity
    if url:
        try:
            from serving.redis_state import RedisState
        except ImportError as error:
            raise ValueError(
                f"the state is to be kept in Redis, but {error}; "
                "run pip install 'purposeful-feeds[redis]'"
            ) from None
        return RedisState(url, key, identity)
    try:
        return SqliteState(home.state, key, identity)
    except (sqlite3.Error, OSError) as error:
        return Absent(lambda: SqliteState(home.state, key, identity), str(error))


def _options(config: Config | None, file: Path | None) -> ServiceOptions:
    """Those of today, where they can be read."""
    known = ServiceOptions() if config is None else config.service
    try:
        return known if file is None else load_config(file).service
    except (ConfigError, OSError) as error:
        _log.error("the state is where it was when the model was trained: %s", error)
        return known


@dataclass
class Absent:
    """A store that could not be opened; every call tries again, now and then.

    why: what went wrong the last time
    """

    opened: Callable[[], State]
    why: str
    _state: State | None = None
    _tried: float = field(default_factory=time.monotonic)
    _dropped: Dropped = field(default_factory=Dropped)

    async def _there(self) -> State:
        if self._state is None and time.monotonic() - self._tried >= AGAIN_SECONDS:
            self._tried = float("inf")  # one at a time
            try:
                self._state = await asyncio.to_thread(self.opened)
            except (sqlite3.Error, OSError, ValueError) as error:
                self.why = str(error)
            finally:
                self._tried = time.monotonic()
        if self._state is None:
            raise StateUnavailable(
                f"the state cannot be opened now: {self.why}; mend that, and send it again"
            )
        return self._state

    async def write(self, facts: Sequence[Fact]) -> list[bool]:
        """See State."""
        return await (await self._there()).write(facts)

    def note(self, seen: Shown | Met) -> None:
        """See State."""
        if self._state is None:
            self._dropped.add(1, self.why)
        else:
            self._state.note(seen)

    async def keep(self, seen: Sequence[Shown | Met]) -> None:
        """See State."""
        await (await self._there()).keep(seen)

    async def recall(self, user_id: str | None, visitor_id: str | None) -> Recalled:
        """See State."""
        return await (await self._there()).recall(user_id, visitor_id)

    async def recall_all(self, user_ids: Sequence[str]) -> list[Recalled]:
        """See State."""
        return await (await self._there()).recall_all(user_ids)

    async def whose(self, pseudonym: str) -> str | None:
        """See State."""
        return await (await self._there()).whose(pseudonym)

    async def once(self, name: str, mailing: str, answer: bytes, seconds: float) -> bytes:
        """See State."""
        return await (await self._there()).once(name, mailing, answer, seconds)

    async def said_before(self, name: str, mailing: str, seconds: float) -> bytes | None:
        """See State."""
        return await (await self._there()).said_before(name, mailing, seconds)

    async def since(self, seq: int, most: int = 1000) -> list[Filed]:
        """See State."""
        return await (await self._there()).since(seq, most)

    async def first_after(self, moment_us: int) -> int:
        """See State."""
        return await (await self._there()).first_after(moment_us)

    async def tail(self, names: Sequence[str], before: int, most: int) -> dict[str, list[Event]]:
        """See State."""
        return await (await self._there()).tail(names, before, most)

    async def close(self) -> None:
        """See State."""
        if self._state is not None:
            await self._state.close()
