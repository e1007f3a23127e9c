"""`make bench-hostile`: the service among people who mean it no good.

bodies:        10,000 hostile requests over all endpoints, each with a mark in it
chunked:       a body of 100 MB in chunks, sent as fast as it is taken
slow:          bodies that come a byte at a time, many at once
schemathesis:  what the service's own API page allows and forbids, made by chance

Wanted: no answer of 500 or above, none after more than 5 s, no mark and no traceback in the log.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.operations.attacks import MARK, MOST_SECONDS, Outcome, attacks, mended, send
from benchmarks.serving.place import PLACE
from benchmarks.serving.servers import workers_of
from benchmarks.serving.shops import Shop, home_of
from command.demo import free_port, serve_command
from features.home import Home
from serving.keys import add_key

SHOP = Shop(2_000, people=2_000, live=True)
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
MB = 2**20
console = Console()


@dataclass(frozen=True)
class Target:
    """A service with one worker, and a key that may do everything."""

    url: str
    key: str
    log: Path
    worker: psutil.Process

    def rss_mb(self) -> float:
        """Memory of the worker."""
        return float(self.worker.memory_info().rss / MB)


@contextmanager
def target() -> Iterator[Target]:
    """A service on a shop of its own, and with a home of its own."""
    made = home_of(SHOP, PLACE / "shops")
    with tempfile.TemporaryDirectory(prefix="feeds-hostile-") as base:
        home = Home(Path(base) / ".feeds")
        home.bundles.mkdir(parents=True)
        version = str(made.current())
        (home.bundles / version).symlink_to((made.bundles / version).resolve())
        home.pointer.write_text(f"{version}\n")
        key, port = add_key(home, "boss", ["admin"]), free_port(0)
        command, environment = serve_command(home, port, 1)
        log = Path(base) / "service.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            try:
                url = f"http://127.0.0.1:{port}"
                _await_ready(process, url)
                yield Target(url, key, log, workers_of(process.pid, 1)[0])
            finally:
                process.terminate()
                process.wait()


def _await_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise ValueError("the service did not start")


def bodies(to: Target, count: int, seed: int) -> bool:
    """Send them all; a row per kind of attack. True: it went as wanted."""
    before, found = to.rss_mb(), defaultdict[str, list[Outcome]](list)
    for one in send(to.url, to.key, attacks(count, seed)):
        found[one.attack.kind].append(Outcome(one.attack, one.status, one.body[:300], one.seconds))
    everything = [one for many in found.values() for one in many]
    statuses = sorted({one.status for one in everything})
    table = Table("attack", "requests", *map(str, statuses), "slowest, s", title="hostile bodies")
    for kind, many in [*sorted(found.items()), ("all", everything)]:
        by_status = Counter(one.status for one in many)
        table.add_row(kind, f"{len(many):,}", *(f"{by_status[one]:,}" for one in statuses),
                      f"{max(one.seconds for one in many):.2f}")  # fmt: skip
    console.print(table)
    wrong = [one for one in everything
             if one.status >= 500 or not one.status or one.seconds > MOST_SECONDS]  # fmt: skip
    for one in wrong[:10]:
        console.print(
            f"{one.status} after {one.seconds:.1f} s: {one.attack.kind} {one.attack.path[:60]} "
            f"{one.attack.body[:150]!r} → {one.body!r}"
        )
    memory = f"memory {before:.0f} → {to.rss_mb():.0f} MB"
    console.print(f"5xx, unanswered or slow: {len(wrong)}; {memory}")
    return not wrong


def chunked(to: Target, megabytes: int = 100) -> bool:
    """Send a body without a length; how much of it is taken, and after how long it is refused."""
    with _talk(to, "transfer-encoding: chunked") as line:
        began, sent = time.perf_counter(), 0
        with suppress(OSError):
            while sent < megabytes * 1e6:
                line.sendall(CHUNK)
                sent += len(CHUNK)
        hung_up = time.perf_counter() - began
        answer = b""
        with suppress(OSError):
            answer = line.recv(4096)
    status = answer.split(b"\r\n")[0].decode() or "no answer: hung up"
    console.print(f"chunked {megabytes} MB: {status}; {sent / MB:.1f} MB had left the sender after "
                  f"{hung_up * 1000:.0f} ms; the worker has {to.rss_mb():.0f} MB")  # fmt: skip
    return sent < megabytes * 1e6 / 2


def slow(to: Target, connections: int = 200) -> bool:
    """Bodies that never end, while somebody else asks for feeds."""
    lines = [_talk(to, "content-length: 1000") for _ in range(connections)]
    began, worst = time.perf_counter(), 0.0
    with httpx.Client(base_url=to.url, headers={"x-api-key": to.key}) as client:
        while time.perf_counter() - began < 3:
            asked = time.perf_counter()
            client.post("/feed", json={"placement": "home"}).raise_for_status()
            worst = max(worst, time.perf_counter() - asked)
    told = Counter(line.recv(4096).split(b"\r\n")[0].decode() for line in lines)
    for line in lines:
        line.close()
    took = time.perf_counter() - began
    console.print(
        f"{connections} bodies that do not come: {dict(told)} after {took:.1f} s; "
        f"feeds meanwhile at worst {worst:.3f} s"
    )
    return set(told) == {"HTTP/1.1 408 Request Timeout"}


def _talk(to: Target, length: str) -> socket.socket:
    """A connection on which all but the body has been said."""
    where = urlsplit(to.url)
    line = socket.create_connection((str(where.hostname), int(where.port or 80)), timeout=10)
    line.sendall(
        f"POST /events HTTP/1.1\r\nhost: x\r\n{length}\r\nauthorization: Bearer {to.key}\r\n"
        "content-type: application/json\r\n\r\n".encode()
    )
    return line


def by_the_page(to: Target, seconds: int, seed: int) -> bool:
    """Schemathesis over the service's own page of its API, for so long."""
    page = to.log.with_name("docs.json")
    told = httpx.get(f"{to.url}/docs.json", headers={"x-api-key": to.key}).json()
    page.write_text(json.dumps(mended(told)))
    run = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run", str(page), "--url", to.url,
         "-H", f"x-api-key: {to.key}", "--seed", str(seed), "--max-time", str(seconds),
         "--request-timeout", str(MOST_SECONDS), "--phases", "examples,coverage,fuzzing",
         "--checks", "not_a_server_error,negative_data_rejection,unsupported_method",
         "--include-path-regex", "^/[a-z]+$", "--exclude-path-regex", "z$|metrics"],
        capture_output=True, text=True, check=False, cwd=to.log.parent,
    )  # fmt: skip
    summary = run.stdout[run.stdout.find("= SUMMARY") :]
    console.print(run.stdout[-6000:] if run.returncode else re.sub(r"\n\n+", "\n", summary))
    return run.returncode == 0


def traces(to: Target) -> bool:
    """What all this has left in the log of the service."""
    text = to.log.read_text(errors="replace")
    marks, traced = text.count(MARK), text.count("Traceback")
    console.print(f"log: {len(text.splitlines())} lines, {marks} marks, {traced} tracebacks, "
                  f"{text.count('incident')} incidents")  # fmt: skip
    for line in [one for one in text.splitlines() if "incident" in one][:5]:
        console.print(line)
    return not (marks or traced)


def main(
    count: Annotated[int, typer.Option(help="hostile bodies")] = 10_000,
    seconds: Annotated[int, typer.Option(help="for schemathesis")] = 120,
    seed: int = 0,
) -> None:
    """Everything in turn; exit code 1 where anything was not as wanted."""
    with target() as to:
        good = [bodies(to, count, seed), chunked(to), slow(to), by_the_page(to, seconds, seed),
                traces(to)]  # fmt: skip
    raise typer.Exit(int(not all(good)))


if __name__ == "__main__":
    typer.run(main)
