"""`make bench-proxy`: two services behind deploy/nginx.conf; one is killed, or hangs; who notices.

killed: kill -9 of a service's worker and its master
hangs:  its worker is stopped (SIGSTOP), so that connections are taken and nothing is answered
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.operations.faults import SHOP, events, feeds
from benchmarks.operations.load import Tally, under_load
from benchmarks.serving.place import PLACE
from benchmarks.serving.servers import ROOT, Server, serving
from benchmarks.serving.shops import home_of
from command.demo import free_port
from features.decided import salt
from features.home import Home, write_json

BEFORE, AFTER = 4.0, 6.0  # seconds of load before and after the fault
console = Console()


def main(
    rounds: Annotated[int, typer.Option(min=1, help="of each fault")] = 5,
    out: Annotated[Path, typer.Option(help="all numbers")] = PLACE / "proxy.json",
) -> None:
    """What clients see through nginx while one of two hosts fails."""
    table = Table("fault", "requests", "failed", "of these", "slowest ms", "last failure after s")
    found: dict[str, list[dict[str, Any]]] = {"killed": [], "hangs": []}
    for fault, seen in found.items():
        for _ in range(rounds):
            seen.append(one_round(fault))
            table.add_row(fault, *(str(value) for value in seen[-1].values()))
    console.print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)


def one_round(fault: str) -> dict[str, Any]:
    """Load through nginx on two services, and the fault in the midst of it."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
        servers = [running.enter_context(serving(home)) for home in homes(Path(scratch))]
        url = running.enter_context(nginx(servers, Path(scratch)))
        with under_load(url, {feeds: 2, events(1, fault): 2}) as tally:
            time.sleep(BEFORE)
            when = time.perf_counter()
            with failing(servers[1], fault):
                time.sleep(AFTER)
        return told(tally, when)


def homes(scratch: Path) -> Iterator[Home]:
    """Two homes with the same model and salt."""
    base = home_of(SHOP, PLACE / "shops")
    salt(base.salt)
    for name in ("one", "other"):
        home = Home(scratch / name)
        shutil.copytree(base.root, home.root, ignore=shutil.ignore_patterns("state.db*"))
        yield home


@contextmanager
def nginx(servers: Sequence[Server], place: Path) -> Iterator[str]:
    """deploy/nginx.conf before these services, without TLS and without limits; yields the URL."""
    port, text = free_port(0), (ROOT / "deploy" / "nginx.conf").read_text()
    changes = {
        "10.0.0.11:3000": f"127.0.0.1:{servers[0].port}",
        "10.0.0.12:3000": f"127.0.0.1:{servers[1].port}",
        "listen 443 ssl": f"listen 127.0.0.1:{port}",
        "ssl_": "# ssl_", "/var/log/nginx": str(place), "/run/nginx.pid": str(place / "nginx.pid"),
        "limit_req zone": "# limit_req zone",
    }  # fmt: skip
    for old, new in changes.items():
        text = text.replace(old, new)
    config = place / "nginx.conf"
    config.write_text(text)
    with subprocess.Popen(["nginx", "-c", config, "-g", "daemon off;"]) as process:
        try:
            _await(f"http://127.0.0.1:{port}/feed")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _await(url: str) -> None:
    for _ in range(100):
        with suppress(httpx.TransportError):
            httpx.get(url)
            return
        time.sleep(0.05)
    raise ValueError("nginx did not start")


@contextmanager
def failing(server: Server, fault: str) -> Iterator[None]:
    """Do it to this service while the block runs; what hung goes on afterwards."""
    worker = server.workers[0]
    if fault == "hangs":
        os.kill(worker.pid, signal.SIGSTOP)
        yield
        os.kill(worker.pid, signal.SIGCONT)
        return
    for one in (worker.parent(), worker):
        with suppress(psutil.NoSuchProcess):
            os.kill(one.pid if one else worker.pid, signal.SIGKILL)
    yield


def told(tally: Tally, when: float) -> dict[str, Any]:
    """Of what came after the fault: how many requests, which failed, how late."""
    later = [seconds for at, seconds in tally.latencies if at >= when]
    failures = tally.between(when - 0.1, np.inf)  # those on their way
    return {
        "requests": len(later) + len(failures),
        "failed": len(failures),
        "of these": dict(Counter(what for _, what in failures)),
        "slowest ms": round(max(later) * 1000),
        "last failure after s": round(max((at - when for at, _ in failures), default=0.0), 2),
    }


if __name__ == "__main__":
    typer.run(main)
