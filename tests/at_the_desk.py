"""A worker's desk without a server: a bundle, a store and a log of its own in a directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from serving.api import FeedRequest
from serving.decisions import DecisionLog
from serving.desk import Desk
from serving.feed import feed
from serving.living import Living
from serving.rulebook import Rulebook
from serving.sqlite_state import SqliteState
from training.bundle import Bundle


@asynccontextmanager
async def opened(
    bundle: Bundle, directory: Path, config: Path | None = None
) -> AsyncIterator[Desk]:
    """A desk on `bundle` with the state that lies in `directory`, if any."""
    state = SqliteState(directory / "state.db", b"key", bundle.config.identity)
    log = DecisionLog(directory / "decisions", "test")
    try:
        living = await Living.of(bundle, state)
        yield Desk(living, state, Rulebook.of(config, living), log, b"salt")
    finally:
        log.close()
        await state.close()


def at_the_desk(
    bundle: Bundle, directory: Path, work: Callable[[Desk], Awaitable[Any]], **more: Any
) -> Any:
    """What `work` returns, done at a desk that is closed afterwards."""

    async def done() -> Any:
        async with opened(bundle, directory, **more) as desk:
            return await work(desk)

    return asyncio.run(done())


def ask_all(
    bundle: Bundle, directory: Path, requests: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The answers to requests for feeds, one after the other."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        return [await feed(desk, FeedRequest(**one)) for one in requests]

    found: list[dict[str, Any]] = at_the_desk(bundle, directory, work)
    return found


def ask(bundle: Bundle, directory: Path, **request: Any) -> dict[str, Any]:
    """The answer to one request for a feed."""
    return ask_all(bundle, directory, [request])[0]
