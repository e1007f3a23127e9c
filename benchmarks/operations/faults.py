"""`make bench-faults`: kill -9 under load, again and again, and a disk that is full.

worker: one of two workers, while feeds are asked and events told
writer: the same while large batches of events are told: in the middle of a commit
master: the process that watches the workers; a supervisor starts the service anew, as systemd does
disk:   the home on a small tmpfs (needs root), filled up and freed again

Of every acknowledged event it is asked afterwards whether the state has it, and of every call that
was not answered whether it is there as a whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

import httpx
import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.operations.load import Ask, Tally, under_load
from benchmarks.serving.place import PLACE
from benchmarks.serving.servers import ROOT, workers_of
from benchmarks.serving.shops import Shop, home_of, item_id, person_id
from command.demo import free_port, serve_command
from features.home import Home

SHOP = Shop(2_000, people=2_000, live=True)
SETTLE, BETWEEN = 3.0, 14.0  # seconds before the first fault, and from one to the next
console = Console()


@dataclass(frozen=True)
class Told:
    """What one kind of fault did, over all its rounds; seconds from a kill to the last failure."""

    fault: str
    rounds: int
    requests: int
    failed: int
    of_these: dict[str, int]
    seconds_p50: float
    seconds_most: float
    acknowledged: int
    lost: int
    torn: int  # calls without an answer of which a part was kept


def feeds(number: int) -> tuple[str, Mapping[str, Any]]:
    """A feed of a known customer."""
    return "/feed", {"placement": "home", "user_id": person_id(number % SHOP.people)}


def events(size: int, run: str) -> Ask:
    """Batches of `size` events, each with an id that no other has."""

    def ask(number: int) -> tuple[str, Mapping[str, Any]]:
        return "/events", {"events": [
            {"item_id": item_id((number + place) % SHOP.items), "event_type": "view",
             "user_id": person_id(number % SHOP.people), "event_id": f"{run}-{number}-{place}"}
            for place in range(size)
        ]}  # fmt: skip

    return ask


class Supervised:
    """The service, started again whenever it ends, until `stop`."""

    def __init__(self, home: Home, workers: int = 2) -> None:
        self.home, self.port = home, free_port(0)
        self.command, self.environment = serve_command(home, self.port, workers)
        self.log = (home.root / "faults.log").open("ab")
        self.stopping = Event()
        self.process = self._start()
        self.thread = Thread(target=self._watch, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[psutil.Process]:
        """Those that answer now."""
        return workers_of(self.process.pid, 2)

    def ready(self, seconds: float = 60.0) -> None:
        """Wait until it answers."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            time.sleep(0.05)
        raise ValueError(f"the service did not start; see {self.log.name}")

    def stop(self) -> None:
        """End it, and start it no more."""
        self.stopping.set()
        self.process.terminate()
        self.process.wait(30)
        self.thread.join(5)
        self.log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command, env=self.environment, cwd=ROOT, stdout=self.log,
                                stderr=subprocess.STDOUT)  # fmt: skip

    def _watch(self) -> None:
        while not self.stopping.wait(0.2):
            if self.process.poll() is not None:
                self.process = self._start()


@contextmanager
def supervised(home: Home) -> Iterator[Supervised]:
    """The service with somebody who watches it."""
    service = Supervised(home)
    try:
        service.ready()
        service.workers()
        yield service
    finally:
        service.stop()


def kill_worker(service: Supervised, round_: int) -> None:
    """The first and the second in turn."""
    workers = sorted(service.workers(), key=lambda one: one.pid)
    workers[round_ % 2].send_signal(signal.SIGKILL)


def kill_master(service: Supervised, _round: int) -> None:
    """The process that was started."""
    service.process.send_signal(signal.SIGKILL)


FAULTS = {
    "worker": (kill_worker, {"feeds": 6, "events": (2, 20)}),
    "writer": (kill_worker, {"feeds": 2, "events": (4, 1000)}),
    "master": (kill_master, {"feeds": 6, "events": (2, 20)}),
}


def killed(fault: str, home: Home, rounds: int) -> Told:
    """So many kills of one kind under load."""
    kill, load = FAULTS[fault]
    lanes, size = load["events"]
    asks: dict[Ask, int] = {feeds: load["feeds"], events(size, fault): lanes}
    spans, moments = [], []
    with supervised(home) as service, under_load(service.url, asks) as tally:
        time.sleep(SETTLE)
        for round_ in range(rounds):
            kill(service, round_)
            moments.append(time.perf_counter())
            time.sleep(BETWEEN)
            service.ready()
    for begin in moments:
        span = [when - begin for when, _ in tally.between(begin, begin + BETWEEN)]
        spans.append(max(span, default=0.0))
    return _told(fault, rounds, (tally, spans), home.state)


def _told(fault: str, rounds: int, came: tuple[Tally, Sequence[float]], state: Path) -> Told:
    tally, spans = came
    kept = _kept(state)
    acknowledged = [_ids(body) for body in tally.acknowledged]
    parts = [sum(one in kept for one in ids) / len(ids) for ids in map(_ids, tally.unanswered)]
    return Told(
        fault, rounds, tally.statuses.total(), len(tally.failures),
        dict(Counter(what for _, what in tally.failures).most_common(8)),
        float(np.median(spans)), float(np.max(spans)), sum(map(len, acknowledged)),
        sum(one not in kept for ids in acknowledged for one in ids),
        sum(0 < part < 1 for part in parts),
    )  # fmt: skip


def _ids(body: Mapping[str, Any]) -> list[str]:
    return [one["event_id"] for one in body["events"]]


def _kept(state: Path) -> set[str]:
    with closing(sqlite3.connect(state)) as file:
        return {one for (one,) in file.execute("SELECT event_id FROM events")}


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own, in memory."""
    place = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)],
                   check=True)  # fmt: skip
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def full_disk(home: Home) -> dict[str, Any]:
    """Statuses of feeds and events before, while and after the disk is full, and what is told."""
    found: dict[str, Any] = {}
    size = sum(one.stat().st_size for one in home.root.rglob("*") if one.is_file()) >> 20
    with small_disk(size + 20) as place:
        shutil.copytree(home.root, place / "home")
        there = Home(place / "home")
        filler = place / "filler"
        with supervised(there) as service, httpx.Client(base_url=service.url) as client:
            for when in ("before", "full", "freed"):
                if when == "full":
                    _fill(filler)
                elif when == "freed":
                    filler.unlink()
                    time.sleep(1)
                found[when] = _asked(client, when)
            lost = set(found["before"].pop("ids") + found["freed"].pop("ids")) - _kept(there.state)
        found["full"].pop("ids")
        found["acknowledged and lost"] = len(lost)
    return found


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as handle, suppress(OSError):
        while True:
            handle.write(b"\0" * 4096)


def _asked(client: httpx.Client, when: str) -> dict[str, Any]:
    """A hundred feeds, and a hundred calls with 50 events each."""
    statuses: dict[str, Counter[int]] = {"feed": Counter(), "events": Counter()}
    words, ids = "", []
    for number in range(100):
        for name, (path, body) in (("feed", feeds(number)), ("events", events(50, when)(number))):
            answer = client.post(path, json=body)
            statuses[name][answer.status_code] += 1
            if name == "events" and answer.status_code == 202:
                ids += _ids(body)
            elif answer.status_code >= 500:
                words = answer.text[:300]
    return {**{name: dict(counts) for name, counts in statuses.items()}, "words": words, "ids": ids}


def shown(found: Sequence[Told]) -> Table:
    """A row for each kind of fault."""
    table = Table(title="kill -9 under load")
    for heading in ("fault", "times", "requests", "failed", "seconds p50", "most",
                    "acknowledged events", "lost", "torn calls"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for one in found:
        table.add_row(
            one.fault, str(one.rounds), f"{one.requests:,}", str(one.failed),
            f"{one.seconds_p50:.2f}", f"{one.seconds_most:.2f}", f"{one.acknowledged:,}",
            str(one.lost), str(one.torn),
        )  # fmt: skip
    return table


def main(
    fault: Annotated[list[str] | None, typer.Option(help="worker | writer | master | disk")] = None,
    rounds: int = 10,
    out: Annotated[Path | None, typer.Option(help="JSON to write")] = None,
) -> None:
    """Break it, and tell what its callers saw."""
    wanted = fault or [*FAULTS, "disk"]
    base = home_of(SHOP, PLACE / "shops")
    found, disk = [], None
    with tempfile.TemporaryDirectory() as scratch:
        for name in wanted:
            home = Home(Path(scratch) / name)
            shutil.copytree(base.root, home.root, ignore=shutil.ignore_patterns("state.db*"))
            if name == "disk":
                disk = full_disk(home) if os.geteuid() == 0 else "needs root, to mount a tmpfs"
                continue
            with console.status(f"{name}: {rounds} kills"):
                found.append(killed(name, home, rounds))
            console.print(f"{name}: {found[-1].of_these}")
    if found:
        console.print(shown(found))
    if disk is not None:
        console.print_json(json.dumps(disk))
    if out is not None:
        told = {"kills": [asdict(one) for one in found], "disk": disk}
        out.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    typer.run(main)
