"""Load that goes on through faults: every answer counted, every failure with its moment."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import httpx

Ask = Callable[[int], tuple[str, Mapping[str, Any]]]  # number of the request -> path and body
TIMEOUT = 5.0  # seconds for an answer
PAUSE = 0.02  # seconds after a failure


@dataclass
class Tally:
    """What came of a load.

    statuses: how many answers of each; 0: no answer at all
    failures: (when, what) in seconds of the performance counter, of all that was no success
    latencies: (when, seconds) of all answers
    acknowledged: bodies of writes that were answered with 2xx
    unanswered: bodies of writes that were not
    """

    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    acknowledged: list[Mapping[str, Any]] = field(default_factory=list)
    unanswered: list[Mapping[str, Any]] = field(default_factory=list)

    def between(self, begin: float, end: float) -> list[tuple[float, str]]:
        """The failures of a span of time."""
        return [one for one in self.failures if begin <= one[0] < end]


@contextmanager
def under_load(
    url: str,
    asks: Mapping[Ask, int],
    per_second: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Tally]:
    """Ask while the block runs: each ask by so many connections, in a thread of its own.

    per_second: of each connection at most; None: the next as soon as one is answered
    """
    tally, stop = Tally(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def all_of_them() -> None:
        await asyncio.gather(*(
            _caller(url, ask, tally, stop, (lane, lanes, per_second, dict(headers or {})))
            for ask, lanes in asks.items() for lane in range(lanes)
        ))  # fmt: skip

    thread = Thread(target=loop.run_until_complete, args=(all_of_them(),), daemon=True)
    thread.start()
    try:
        yield tally
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT + 5)
        loop.close()


async def _caller(
    url: str, ask: Ask, tally: Tally, stop: asyncio.Event,
    how: tuple[int, int, float | None, dict[str, str]],
) -> None:  # fmt: skip
    number, step, per_second, headers = how
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, headers=headers) as client:
        while not stop.is_set():
            path, body = ask(number)
            number += step
            began = time.perf_counter()
            status, told = await _answer(client, path, body)
            now = time.perf_counter()
            _count(tally, (path, body), (status, told), (began, now))
            if status // 100 != 2:
                await asyncio.sleep(PAUSE)
            elif per_second:
                await asyncio.sleep(max(1 / per_second - (now - began), 0))


async def _answer(client: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
    try:
        answer = await client.post(path, content=json.dumps(body),
                                   headers={"content-type": "application/json"})  # fmt: skip
    except httpx.HTTPError as error:
        return 0, type(error).__name__
    return answer.status_code, answer.text


def _count(
    tally: Tally, asked: tuple[str, Mapping[str, Any]], answer: tuple[int, str],
    when: tuple[float, float],
) -> None:  # fmt: skip
    (path, body), (status, told), (began, now) = asked, answer, when
    tally.statuses[status] += 1
    if status // 100 == 2:
        tally.latencies.append((now, now - began))
    else:
        tally.failures.append((now, f"{path} {status or told}"))
    if path == "/events":
        (tally.acknowledged if status // 100 == 2 else tally.unanswered).append(body)
