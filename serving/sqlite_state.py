"""The state in one SQLite file that all workers of a machine share; docs/state.md tells of it.

Reads of one person happen on the event loop: they cost less than a hop to a thread. Commits happen
in one thread, several requests at a time: a group waits at most 10 ms, so that a busy worker pays
for a hundred commits a second and not for a thousand.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from features.options import Identity
from serving import sqlite_mails as mails
from serving import telemetry
from serving.notes import Dropped
from serving.sqlite_filing import Filing
from serving.sqlite_many import recall_all
from serving.sqlite_reads import first_after, recall, since, tail, unavailable
from serving.sqlite_tables import connect
from serving.state import Event, Fact, Filed, Met, Recalled, Shown, StateUnavailable

GATHER_SECONDS = 0.005  # with the commit itself an answer waits less than 10 ms
NOTE_SECONDS = 0.25  # what nobody waits for may wait for so long
AGAIN_SECONDS = 1.0  # until what stood in the way of emptying the log is looked at again
MOST_TOGETHER = 1000  # facts of one commit, or a little more
MOST_WAITING = 50_000  # writes; beyond it the disk is too slow for what comes in

_log = logging.getLogger("feeds.state")
T = TypeVar("T")


@dataclass(frozen=True)
class _Waiting:
    """What one call wants to be filed, of how many facts, and whom to tell."""

    work: Callable[[Filing], Any]
    weight: int
    told: asyncio.Future[Any]


class _Writer(threading.Thread):
    """Commits in groups what all requests of this process bring."""

    def __init__(self, filing: Filing) -> None:
        super().__init__(name="feeds-state", daemon=True)
        self.filing = filing
        self._dropped = Dropped()
        self._tried = float("-inf")
        self.waiting: queue.SimpleQueue[_Waiting | Shown | Met | None] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        """Until None comes: gather, commit, tell."""
        going = True
        while going:
            calls, notes, going = self._gather()
            answers: list[Any]
            try:
                answers = self._commit(calls, notes) if calls or notes else []
            except Exception as error:  # whatever it was: this thread must live
                with suppress(sqlite3.Error):
                    self.filing.rollback()
                answers = [unavailable(error)] * len(calls)
                self._dropped.add(len(notes), error)
            _tell(calls, answers)
            self._clear_log()
        until = time.monotonic() + AGAIN_SECONDS
        while self.filing.leftovers and time.monotonic() < until:  # nobody would do it later
            time.sleep(0.05)
            self._clear_log(now=True)

    def _clear_log(self, *, now: bool = False) -> None:
        """Once in a while, or now: a reader may be in the way for long."""
        if self.filing.leftovers and (now or time.monotonic() - self._tried >= AGAIN_SECONDS):
            self._tried = time.monotonic()
            with suppress(sqlite3.Error):
                self.filing.clear_log()

    def _gather(self) -> tuple[list[_Waiting], list[Shown | Met], bool]:
        """What came within the time that the first may wait; False: it was the last."""
        calls: list[_Waiting] = []
        notes: list[Shown | Met] = []
        until, facts = float("inf"), 0
        try:
            one = self.waiting.get(timeout=AGAIN_SECONDS if self.filing.leftovers else None)
        except queue.Empty:
            return calls, notes, True
        while one is not None:
            now = time.monotonic()
            if isinstance(one, Shown | Met):
                notes.append(one)
                until, facts = min(until, now + NOTE_SECONDS), facts + 1
            else:
                calls.append(one)
                until, facts = min(until, now + GATHER_SECONDS), facts + one.weight
            if facts >= MOST_TOGETHER:
                return calls, notes, True
            try:
                one = self.waiting.get(timeout=max(until - now, 0))
            except queue.Empty:
                return calls, notes, True
        return calls, notes, False

    def _commit(self, calls: list[_Waiting], notes: list[Shown | Met]) -> list[Any]:
        """Keep everything in one transaction; what cannot be kept takes nothing else along."""
        answers: list[Any] = []
        self.filing.begin()
        for call in calls:
            try:
                answers.append(call.work(self.filing))
            except (sqlite3.OperationalError, sqlite3.InternalError):
                raise  # of the file, not of these facts
            except Exception as error:
                answers.append(error)
        for note in notes:
            try:
                self.filing.note(note)
            except Exception as error:
                if not self.filing.open:
                    raise  # a full disk has taken the calls along
                self._dropped.add(1, error)
        self.filing.commit()
        return answers


class SqliteState:
    """The `State` of docs/state.md in the file `path`; belongs to one event loop.

    key: of the pseudonyms by which the forgotten are remembered, the home's `salt`

    Raises ValueError for a file that this version cannot read.
    """

    def __init__(self, path: Path, key: bytes, identity: Identity | None = None) -> None:
        self._reader = connect(path, busy_seconds=0.1)
        self._follower = connect(path)
        self._thread = ThreadPoolExecutor(1, "feeds-follower")
        self._writer = _Writer(Filing(connect(path), identity or Identity(), key))
        self._key = key
        self._closed = False

    async def write(self, facts: Sequence[Fact]) -> list[bool]:
        """See State."""
        return await self._filed(lambda filing: filing.file_all(facts), len(facts))

    async def keep(self, seen: Sequence[Shown | Met]) -> None:
        """See State."""
        await self._filed(lambda filing: filing.keep(seen), len(seen))

    async def once(self, name: str, mailing: str, answer: bytes, seconds: float) -> bytes:
        """See State."""
        return await self._filed(lambda filing: filing.once(name, mailing, answer, seconds), 1)

    async def _filed(self, work: Callable[[Filing], T], weight: int) -> T:
        """Have it done within the next transaction."""
        if self._closed or self._writer.waiting.qsize() > MOST_WAITING:
            raise StateUnavailable(
                "the state is closed" if self._closed else "more is coming in than can be kept; "
                "send it again later"
            )  # fmt: skip
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.waiting.put(_Waiting(work, weight, told))
        return await told

    def note(self, seen: Shown | Met) -> None:
        """See State."""
        if not self._closed and self._writer.waiting.qsize() <= MOST_WAITING:
            self._writer.waiting.put(seen)
        else:
            telemetry.dropped("notes", 1)

    async def recall(self, user_id: str | None, visitor_id: str | None) -> Recalled:
        """See State."""
        return self._read(partial(recall, key=self._key, user_id=user_id, visitor_id=visitor_id))

    async def whose(self, pseudonym: str) -> str | None:
        """See State."""
        return self._read(partial(mails.whose, called=pseudonym))

    async def said_before(self, name: str, mailing: str, seconds: float) -> bytes | None:
        """See State."""
        return self._read(partial(mails.said_before, name=name, mailing=mailing, seconds=seconds))

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._reader)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    async def recall_all(self, user_ids: Sequence[str]) -> list[Recalled]:
        """See State."""
        return await self._followed(recall_all, self._key, list(user_ids))

    async def since(self, seq: int, most: int = 1000) -> list[Filed]:
        """See State."""
        return await self._followed(since, seq, most)

    async def first_after(self, moment_us: int) -> int:
        """See State."""
        return await self._followed(first_after, moment_us)

    async def tail(self, names: Sequence[str], before: int, most: int) -> dict[str, list[Event]]:
        """See State."""
        return await self._followed(tail, list(names), (before, most))

    async def _followed(self, work: Callable[..., T], *asked: Any) -> T:
        """What takes its time is read in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, self._follower, *asked)

    async def close(self) -> None:
        """See State."""
        self._closed = True
        self._writer.waiting.put(None)
        await asyncio.to_thread(self._writer.join)
        self._thread.shutdown()
        for connection in (self._reader, self._follower, self._writer.filing.connection):
            connection.close()


def _tell(calls: list[_Waiting], answers: Sequence[Any]) -> None:
    """Wake all that wait, once per event loop."""
    by_loop = defaultdict(list)
    for call, answer in zip(calls, answers, strict=True):
        by_loop[call.told.get_loop()].append((call.told, answer))
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # a loop that was closed has nobody who waits
            loop.call_soon_threadsafe(_settle, told)


def _settle(told: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in told:
        if future.done():  # who gave up waiting
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
