"""A real Redis for the tests, on a port of its own, that can be killed and stopped."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from tools import need


class RedisServer:
    """One server that keeps what it is told in `directory`."""

    def __init__(self, directory: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.directory, self.options = directory, options
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        told = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
                "yes", "--dir", str(self.directory), *self.options]  # fmt: skip
        self.process = subprocess.Popen(["redis-server", *told], stdout=subprocess.DEVNULL)
        with self.client() as client:
            for _ in range(100):
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.05)
        raise RuntimeError(f"redis-server did not start: {told}")

    def client(self) -> redis.Redis:
        """To look at what is there."""
        return redis.Redis(port=self.port, decode_responses=True)

    def send(self, what: signal.Signals) -> None:
        """SIGKILL ends it at once, SIGSTOP freezes it, SIGCONT lets it go on."""
        assert self.process is not None
        self.process.send_signal(what)
        if what == signal.SIGKILL:
            self.process.wait()

    def files(self) -> bytes:
        """Every byte that it keeps."""
        return b"".join(one.read_bytes() for one in self.directory.rglob("*") if one.is_file())


@pytest.fixture(scope="session")
def redis_started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers: `redis_started(*options)`; they end with the tests."""
    need("redis-server")
    servers: list[RedisServer] = []

    def started(*options: str) -> RedisServer:
        servers.append(RedisServer(tmp_path_factory.mktemp("redis"), *options))
        servers[-1].start()
        return servers[-1]

    yield started
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            server.send(signal.SIGKILL)


@pytest.fixture(scope="session")
def redis_server(redis_started: Callable[..., RedisServer]) -> RedisServer:
    """One that all tests share; each takes a prefix of its own."""
    return redis_started()
