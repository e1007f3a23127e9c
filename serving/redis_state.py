"""The state in a Redis that several hosts share; docs/state.md tells of it.

What several requests of a worker want at the same moment goes in one trip. A trip has little time:
when it fails, nobody asks for half a second, so that a feed does not wait for a store that is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TooLate

from features.decided import pseudonym
from features.options import Identity
from features.redis_place import parsed, stamp, why_foreign
from serving import redis_facts as facts_of
from serving.notes import Dropped
from serving.redis_facts import Row
from serving.redis_filing import FILE
from serving.redis_mails import ONCE, SAID, WHOSE
from serving.redis_reads import AFTER, RECALL, SINCE, TAIL
from serving.state import (
    Event,
    Fact,
    Filed,
    ForeignState,
    Forget,
    Met,
    Recalled,
    Shown,
    StateUnavailable,
)  # fmt: skip
from serving.trips import Breaker, Trips

ANSWER_SECONDS = 0.25  # that one attempt to connect, or to ask, may take
READ_SECONDS = 2 * ANSWER_SECONDS  # with the second attempt of a read
WRITE_SECONDS = 2.0  # a disk may be slow; there is no second attempt: the first may have been kept
PATIENCE = 0.5  # for which a request leaves it to the follower to find out that all is well again
NOTE_SECONDS = 0.25  # what nobody waits for may wait for so long
REWRITE_SECONDS = 60.0  # at most one wish for a new append-only file in so long
IDLE_SECONDS = 10  # after which a connection is tried before it is used
MOST_TOGETHER = 1000  # facts of one trip, or a little more
MOST_ASKED = 32  # people of one trip
MOST_RECALLED = 200  # customers of one trip of `recall_all`: a few milliseconds of Redis
MOST_WAITING = 10_000  # calls, and notes; beyond it the store is too slow for what comes in

_FOLLOWER = (SINCE, AFTER, TAIL)  # no request waits for these
_log = logging.getLogger("feeds.state")
_pack = msgspec.msgpack.Encoder().encode


class RedisState:
    """The `State` of docs/state.md in the Redis at `url`; belongs to the event loop that uses it.

    key: of the pseudonyms by which the forgotten are remembered: the same on all hosts
    """

    def __init__(self, url: str, key: bytes, identity: Identity | None = None) -> None:
        place, self._prefix = parsed(url)
        self._reading, self._writing = _client(place, attempts=2), _client(place, attempts=1)
        self._key, self._identity = key, identity or Identity()
        self._stamp = stamp(key)
        self._breaker = Breaker()
        self._scripts = {
            text: client.register_script(text)
            for client, texts in ((self._reading, (RECALL, SINCE, AFTER, TAIL, WHOSE, SAID)),
                                  (self._writing, (FILE, ONCE)))
            for text in texts
        }  # fmt: skip
        self._recalls = Trips[Row, Any](self._recall, MOST_ASKED)
        self._writes = Trips[list[Row], list[int]](self._file, MOST_TOGETHER, len)
        self._notes: list[Row] = []
        self._dropped = Dropped()
        self._seen = 0  # the highest seq: a store that has lost some facts goes on above it
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._rewriting: asyncio.Task[None] | None = None
        self._leftovers = self._flushing = self._looked = False

    async def write(self, facts: Sequence[Fact]) -> list[bool]:
        """See State."""
        if self._closing.is_set():
            raise StateUnavailable("the state is closed")
        if len(self._writes) > MOST_WAITING:
            raise StateUnavailable("more is coming in than can be kept; send it again later")
        told = await self._writes.ask([facts_of.row(fact, self._key) for fact in facts])
        if any(isinstance(fact, Forget) for fact in facts):
            self._leftovers = True
            if self._rewriting is None or self._rewriting.done():
                self._rewriting = self._later(self._rewrite())
        return [bool(new) for new in told]

    def note(self, seen: Shown | Met) -> None:
        """See State."""
        if self._closing.is_set():
            return
        try:
            rows = self._rows(seen)
        except OverflowError as error:
            self._dropped.add(1, error)
            return
        if len(self._notes) + len(rows) > MOST_WAITING:
            self._dropped.add(1, "more is coming in than can be kept")
            return
        self._notes += rows
        if not self._flushing:
            self._flushing = True
            self._later(self._flush())

    def _rows(self, seen: Shown | Met) -> list[Row]:
        if isinstance(seen, Shown):
            return [facts_of.row(seen, self._key)]
        return facts_of.met_rows(seen, self._key)

    async def keep(self, seen: Sequence[Shown | Met]) -> None:
        """See State; a long list goes in several trips, so that nobody else waits for all of it."""
        if self._closing.is_set():
            raise StateUnavailable("the state is closed")
        rows = [row for one in seen for row in self._rows(one)]
        for first in range(0, len(rows), MOST_TOGETHER):
            await self._writes.ask(rows[first : first + MOST_TOGETHER])

    async def recall(self, user_id: str | None, visitor_id: str | None) -> Recalled:
        """See State."""
        if user_id is None and visitor_id is None:
            return Recalled()
        asked = facts_of.asked(self._key, user_id, visitor_id)
        return facts_of.recalled(await self._recalls.ask(asked), user_id)

    async def recall_all(self, user_ids: Sequence[str]) -> list[Recalled]:
        """See State."""
        told: list[Recalled] = []
        for first in range(0, len(user_ids), MOST_RECALLED):
            some = user_ids[first : first + MOST_RECALLED]
            found = await self._recall([facts_of.asked(self._key, one, None) for one in some])
            told += map(facts_of.recalled, found, some)
        return told

    async def whose(self, pseudonym: str) -> str | None:
        """See State."""
        found: bytes | None = await self._do(WHOSE, pseudonym)
        return None if found is None else found.decode()

    async def once(self, name: str, mailing: str, answer: bytes, seconds: float) -> bytes:
        """See State."""
        hidden = pseudonym(self._key, name)
        asked = (name, mailing, round(seconds * 1e6), answer, hidden)
        return await self._do(ONCE, *asked)  # type: ignore[no-any-return]

    async def said_before(self, name: str, mailing: str, seconds: float) -> bytes | None:
        """See State."""
        return await self._do(SAID, name, mailing, round(seconds * 1e6))  # type: ignore[no-any-return]

    async def since(self, seq: int, most: int = 1000) -> list[Filed]:
        """See State."""
        filed = list(facts_of.filed(await self._do(SINCE, seq, most)))
        self._seen = max(self._seen, seq, filed[-1].seq if filed else 0)
        return filed

    async def first_after(self, moment_us: int) -> int:
        """See State."""
        return int(await self._do(AFTER, moment_us))

    async def tail(self, names: Sequence[str], before: int, most: int) -> dict[str, list[Event]]:
        """See State."""
        found = await self._do(TAIL, before, most, *names)
        return {name: facts_of.events(one) for name, one in zip(names, found, strict=True)}

    async def close(self) -> None:
        """See State."""
        self._closing.set()
        await asyncio.gather(*self._tasks)
        await self._writes.done()
        await self._recalls.done()
        await self._reading.aclose()
        await self._writing.aclose()

    async def _recall(self, people: Sequence[Row]) -> Sequence[Any]:
        return await self._do(RECALL, _pack(people))  # type: ignore[no-any-return]

    async def _file(self, calls: Sequence[list[Row]]) -> Sequence[list[int]]:
        """Keep what was noted, and then the calls; what cannot be kept takes the notes along."""
        notes, self._notes = self._notes, []
        try:
            told = await self._do(
                FILE, self._seen, self._identity.max_customers,
                int(self._identity.links_from_events), _pack([notes, *calls]),
            )  # fmt: skip
        except StateUnavailable as error:
            self._dropped.add(len(notes), error)
            raise
        return told[1:]  # type: ignore[no-any-return]

    async def _do(self, text: str, *arguments: str | int | bytes) -> Any:
        """Run one of our scripts, in one trip. Raises StateUnavailable."""
        if not self._breaker.allows(0.0 if text in _FOLLOWER else PATIENCE):
            raise StateUnavailable("the store did not answer a moment ago; send it again later")
        script: AsyncScript = self._scripts[text]
        try:
            async with asyncio.timeout(WRITE_SECONDS if text in (FILE, ONCE) else READ_SECONDS):
                found = await script(keys=[self._prefix], args=[self._stamp, *arguments])
        except (Unreachable, TooLate, OSError, TimeoutError) as error:
            self._breaker.failed()
            await self._hang_up()
            raise _unavailable(error) from error
        except RedisError as error:
            self._breaker.worked()
            raise _refused(error) from error
        self._breaker.worked()
        if not self._looked:
            self._looked = True
            self._later(self._look())
            self._later(self._call_all())
        return found

    async def _hang_up(self) -> None:
        """Whatever else is open is of no use, either; a write would find that out too late."""
        for client in (self._reading, self._writing):
            with suppress(RedisError, OSError, TimeoutError):
                await client.connection_pool.disconnect(inuse_connections=False)

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _pause(self, seconds: float) -> None:
        """For so long, or until it is time to close."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _flush(self) -> None:
        """Keep what was noted, where no call takes it along."""
        await self._pause(NOTE_SECONDS)
        self._flushing = False
        if self._notes:
            with suppress(StateUnavailable):  # they have been counted
                await self._writes.ask([])

    async def _look(self) -> None:
        """Say what is wrong with a Redis that should keep things."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                told: dict[str, Any] = await self._reading.info()
        except (RedisError, OSError, TimeoutError) as error:
            _log.info("this Redis does not say how it keeps things: %s", error)
            return
        if not told.get("aof_enabled"):
            _log.warning("this Redis may lose everything when it ends: set `appendonly yes`")
        if told.get("maxmemory") and told.get("maxmemory_policy") != "noeviction":
            _log.error(
                "this Redis throws away what people said when it is full: "
                "set `maxmemory-policy noeviction`"
            )

    async def _call_all(self) -> None:
        """Let those who were met before there was `called` be found by their pseudonyms, too."""
        done = f"{self._prefix}called_all"
        try:
            if await self._reading.exists(done):
                return
            rows: list[Row] = []
            async for name, salts in self._reading.hscan_iter(f"{self._prefix}met", count=1000):
                rows += facts_of.called_rows(name.decode(), salts.decode(), self._key)
                if self._closing.is_set():
                    return
                if len(rows) >= MOST_TOGETHER:
                    await self._writes.ask(rows)
                    rows = []
            await self._writes.ask(rows)
            await self._writing.set(done, 1)
        except (StateUnavailable, RedisError, OSError, TimeoutError) as error:
            _log.info("whose links of before are is not known yet: %s", error)

    async def _rewrite(self) -> None:
        """What was forgotten is in the append-only file until that is written anew."""
        while self._leftovers:
            self._leftovers = False
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    if (await self._writing.info("persistence")).get("aof_enabled"):
                        await self._writing.bgrewriteaof()
            except (RedisError, OSError, TimeoutError) as error:
                self._leftovers = "in progress" in str(error)  # that one may have begun before
                if not self._leftovers:
                    _log.warning(
                        "the append-only file holds what was forgotten until it is written anew, "
                        "which Redis did not begin (%s): run BGREWRITEAOF", error,
                    )  # fmt: skip
            if self._closing.is_set():
                return
            await self._pause(REWRITE_SECONDS)


def _client(place: str, *, attempts: int) -> Redis:
    return Redis.from_url(
        place,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=ANSWER_SECONDS if attempts > 1 else WRITE_SECONDS,
        socket_keepalive=True,
        health_check_interval=IDLE_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.05, base=0.01), attempts - 1),
    )


def _unavailable(error: Exception) -> StateUnavailable:
    """It names the kind of trouble, not the place: any caller may read it."""
    return StateUnavailable(
        f"the store cannot be reached now ({type(error).__name__}); send it again later"
    )


def _refused(error: RedisError) -> StateUnavailable:
    """Redis has answered, and does not do it."""
    told = str(error)
    if not (isinstance(error, ResponseError) and "FOREIGN " in told):
        return StateUnavailable(f"the store does not do this now: {told}; send it again later")
    return ForeignState(why_foreign(told.split("FOREIGN ")[1]))
