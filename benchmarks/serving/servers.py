"""Servers under measurement: started on a core of their own, and what their workers use."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from command.demo import free_port, serve_command
from features.home import Home

ROOT = Path(__file__).parents[2]
SERVICE = "serving.service:Feeds"
PEER, EXACT = "benchmarks.serving.peer:Peer", "benchmarks.serving.exact:Exact"
START_SECONDS = 120


@dataclass(frozen=True)
class Cores:
    """Where servers and load run; the same core where there is no other."""

    server: int
    load: int

    @classmethod
    def here(cls) -> Cores:
        """The first and the last core that this process may use."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[-1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run the block, and whatever it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Server:
    """A running service; `workers` answer, its other processes only watch them."""

    port: int
    workers: list[psutil.Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """What the workers have used so far, in user and system mode."""
        used = [worker.cpu_times() for worker in self.workers]
        return float(sum(one.user + one.system for one in used))

    def pss_mb(self) -> list[float]:
        """Memory of each worker in MB: its own pages, and its share of the common ones."""
        return [worker.memory_full_info().pss / 2**20 for worker in self.workers]


@contextmanager
def serving(
    home: Home, core: int | None = None, workers: int = 1, service: str = SERVICE
) -> Iterator[Server]:
    """Serve `home` while the block runs; core: of all its processes, None: any."""
    port = free_port(0)
    command, environment = serve_command(home, port, workers)
    environment["FEEDS_OPEN"] = "1"  # without keys also through a proxy
    command = [service if word == SERVICE else word for word in command]
    log = home.scratch() / f"benchmark-{port}.log"
    with log.open("wb") as output, on_core(core) if core is not None else _anywhere():
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _await_ready(process, port, log)
        yield Server(port, workers_of(process.pid, workers))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _anywhere() -> Iterator[None]:
    yield


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise ValueError(f"the service did not start; the end of {log}:\n{log.read_text()[-2000:]}")


def workers_of(pid: int, wanted: int) -> list[psutil.Process]:
    """The processes that answer, once there are as many as wanted."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = [one for one in psutil.Process(pid).children(recursive=True) if _answers(one)]
        if len(found) >= wanted:
            return found
        time.sleep(0.2)
    raise ValueError(f"fewer than {wanted} workers came up; see the service's log")


def _answers(process: psutil.Process) -> bool:
    try:
        return any("worker.service" in word for word in process.cmdline())
    except psutil.Error:
        return False
