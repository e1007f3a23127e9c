"""A state that belongs to another event loop, asked from a thread that has one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from serving.state import Event, Fact, Filed, Met, Recalled, Shown, State

T = TypeVar("T")


@dataclass(frozen=True)
class Borrowed:
    """As `state`; every call is made on `loop`, where its connections live."""

    state: State
    loop: asyncio.AbstractEventLoop

    async def _there(self, call: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self.loop))

    async def write(self, facts: Sequence[Fact]) -> list[bool]:
        """See State."""
        return await self._there(self.state.write(facts))

    def note(self, seen: Shown | Met) -> None:
        """See State."""
        self.loop.call_soon_threadsafe(self.state.note, seen)

    async def keep(self, seen: Sequence[Shown | Met]) -> None:
        """See State."""
        await self._there(self.state.keep(seen))

    async def recall(self, user_id: str | None, visitor_id: str | None) -> Recalled:
        """See State."""
        return await self._there(self.state.recall(user_id, visitor_id))

    async def recall_all(self, user_ids: Sequence[str]) -> list[Recalled]:
        """See State."""
        return await self._there(self.state.recall_all(user_ids))

    async def whose(self, pseudonym: str) -> str | None:
        """See State."""
        return await self._there(self.state.whose(pseudonym))

    async def once(self, name: str, mailing: str, answer: bytes, seconds: float) -> bytes:
        """See State."""
        return await self._there(self.state.once(name, mailing, answer, seconds))

    async def said_before(self, name: str, mailing: str, seconds: float) -> bytes | None:
        """See State."""
        return await self._there(self.state.said_before(name, mailing, seconds))

    async def since(self, seq: int, most: int = 1000) -> list[Filed]:
        """See State."""
        return await self._there(self.state.since(seq, most))

    async def first_after(self, moment_us: int) -> int:
        """See State."""
        return await self._there(self.state.first_after(moment_us))

    async def tail(self, names: Sequence[str], before: int, most: int) -> dict[str, list[Event]]:
        """See State."""
        return await self._there(self.state.tail(names, before, most))

    async def close(self) -> None:
        """The state is its loop's to close."""
