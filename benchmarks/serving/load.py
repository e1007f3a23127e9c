"""Closed-loop load over loopback: each of c connections sends its next request when answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, cast

import numpy as np
import uvloop

from benchmarks.serving.servers import Server


@dataclass(frozen=True)
class Sample:
    """One round of one request.

    cpu_us: of the workers, per request        p50_ms, p99_ms: as the caller sees it
    """

    requests: int
    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


@dataclass
class _Shared:
    """What the connections of a round share; `failed` holds the first bad answer."""

    requests: Iterator[bytes]
    until: float
    latencies: list[float] = field(default_factory=list)
    failed: str = ""


def prepared(path: str, bodies: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Whole HTTP requests, ready to send."""
    return [_request(path, json.dumps(body).encode()) for body in bodies]


def _request(path: str, body: bytes) -> bytes:
    head = (f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n")  # fmt: skip
    return head.encode() + body


def round_of(server: Server, requests: Sequence[bytes], connections: int, seconds: float) -> Sample:
    """Ask for some seconds, again and again through `requests`.

    Raises ValueError at an answer that is not 200.
    """
    before, start = server.cpu_seconds(), time.perf_counter()
    latencies = uvloop.run(_load(server.port, requests, connections, seconds))
    passed, used = time.perf_counter() - start, server.cpu_seconds() - before
    p50, p99 = np.quantile(latencies, [0.5, 0.99]) * 1000
    n = len(latencies)
    return Sample(n, n / passed, used / n * 1e6, float(p50), float(p99))


async def _load(
    port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> list[float]:
    shared = _Shared(cycle(requests), time.perf_counter() + seconds)
    loop = asyncio.get_running_loop()
    callers = [_Caller(shared, loop.create_future()) for _ in range(connections)]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(caller.done for caller in callers))
    if shared.failed:
        raise ValueError(f"the service answered:\n{shared.failed}")
    return shared.latencies


class _Caller(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, shared: _Shared, done: asyncio.Future[None]) -> None:
        self.shared, self.done = shared, done
        self.answer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """An end that nobody asked for is a failure."""
        if not self.done.done():
            self.shared.failed = self.shared.failed or f"it closed the connection ({exc})"
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Send the next request when the answer is whole."""
        self.answer += data
        if not _whole(self.answer):
            return
        self.shared.latencies.append(time.perf_counter() - self.asked_at)
        if not self.answer.startswith(b"HTTP/1.1 20"):
            self.shared.failed = self.answer.decode(errors="replace")[:2000]
        if self.shared.failed or time.perf_counter() >= self.shared.until:
            self.done.set_result(None)
            self.transport.close()
            return
        self.answer.clear()
        self._ask()

    def _ask(self) -> None:
        self.asked_at = time.perf_counter()
        self.transport.write(next(self.shared.requests))


def _whole(answer: bytearray) -> bool:
    """Is all of it there? The service always says how long an answer is."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    begin = answer.find(b"content-length:", 0, head) + len(b"content-length:")
    return len(answer) >= head + 4 + int(answer[begin : answer.find(b"\r\n", begin)])
