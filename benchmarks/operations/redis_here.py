"""A Redis of this machine that can be killed, and a way to it that can be cut."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import redis

from command.demo import free_port
from features.options import STATE


class RedisHere:
    """A server that keeps what it is told in `directory`, started again after `kill`."""

    def __init__(self, directory: Path, fsync: str) -> None:
        self.directory, self.fsync, self.port = directory, fsync, free_port(0)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "yes", "--appendfsync", self.fsync,
                   "--dir", str(self.directory)]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port) as client:
            for _ in range(200):
                with suppress(redis.ConnectionError):
                    client.ping()
                    return process
                time.sleep(0.02)
        raise ValueError("redis-server did not start")

    def kill(self) -> float:
        """End it at once and start it anew; seconds until it answers again."""
        began = time.perf_counter()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = self._start()
        return time.perf_counter() - began

    def lacks(self, event_ids: list[str]) -> int:
        """How many of these it does not have."""
        found = 0
        with redis.Redis(port=self.port) as client:
            for first in range(0, len(event_ids), 1000):
                page = event_ids[first : first + 1000]
                found += sum(client.smismember("feeds:event_ids", page))
        return len(event_ids) - found


@contextmanager
def redis_here(fsync: str = "always") -> Iterator[RedisHere]:
    """A new, empty one."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisHere(Path(directory), fsync)
        try:
            yield server
        finally:
            server.process.kill()
            server.process.wait()


@contextmanager
def state_at(url: str) -> Iterator[None]:
    """What is served in the block keeps its state there."""
    os.environ[STATE] = url
    try:
        yield
    finally:
        del os.environ[STATE]


class Way:
    """To the server at `port`, through a port of its own; `cut` swallows all that is sent."""

    def __init__(self, port: int) -> None:
        self.target, self.port = port, free_port(0)
        self.loop = asyncio.new_event_loop()
        self.flows = asyncio.Event()
        self.flows.set()
        Thread(target=self.loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._open(), self.loop).result(5)

    async def _open(self) -> None:
        await asyncio.start_server(self._joined, "127.0.0.1", self.port)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self._passed(reader, back), self._passed(there, writer))

    async def _passed(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                await self.flows.wait()
                sink.write(data)
                await sink.drain()
        sink.close()

    def cut(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self.loop.call_soon_threadsafe(self.flows.clear)

    def mend(self) -> None:
        """Everything arrives again."""
        self.loop.call_soon_threadsafe(self.flows.set)
