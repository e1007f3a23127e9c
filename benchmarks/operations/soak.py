"""`make bench-soak`: half an hour at half load; is the memory flat?

First it is measured how much the service answers at most; then it gets half of that: feeds of
known customers and of strangers, pages to sort, events. Memory is that of the workers: PSS (their
own pages, and their share of the common ones) and the anonymous part, which nobody shares.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.operations.load import Ask, Tally, under_load
from benchmarks.serving.place import PLACE
from benchmarks.serving.servers import Server, serving
from benchmarks.serving.shops import Shop, home_of, item_id, person_id
from features.home import Home

SHOP = Shop(10_000, live=True)
FASTEST = 20.0  # seconds of the measurement before
EVERY = 60.0  # seconds between two looks at the memory
console = Console()


@dataclass(frozen=True)
class Look:
    """What was seen at one moment; megabytes of all workers together.

    state_mb: the store's file and its log        p99_ms: of the answers since the look before
    """

    minute: float
    pss_mb: float
    anonymous_mb: float
    state_mb: float
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float


def known(number: int) -> tuple[str, Mapping[str, Any]]:
    """A customer's feed."""
    return "/feed", {"placement": "home", "user_id": person_id(number % SHOP.people)}


def stranger(number: int) -> tuple[str, Mapping[str, Any]]:
    """A visitor nobody has met, a new one each time."""
    seen = [item_id((number * 7 + place) % SHOP.items) for place in range(3)]
    return "/feed", {"placement": "home", "visitor_id": f"soak-{number}", "recent": seen}


def page(number: int) -> tuple[str, Mapping[str, Any]]:
    """A listing page of 100 items."""
    ids = [item_id((number * 13 + place) % SHOP.items) for place in range(100)]
    return "/sort", {"placement": "home", "user_id": person_id(number % SHOP.people),
                     "item_ids": ids}  # fmt: skip


def events(number: int) -> tuple[str, Mapping[str, Any]]:
    """Ten of one person, each with an id."""
    return "/events", {"events": [
        {"item_id": item_id((number * 11 + place) % SHOP.items), "event_type": "view",
         "user_id": person_id(number % SHOP.people), "event_id": f"soak-{number}-{place}"}
        for place in range(10)
    ]}  # fmt: skip


ASKS: dict[Ask, int] = {known: 4, stranger: 2, page: 1, events: 1}


def looked(server: Server, home: Home, tally: Tally, begin: float, since: float) -> Look:
    """How things are now."""
    maps = [worker.memory_full_info() for worker in server.workers]
    late = [seconds for when, seconds in tally.latencies if when >= since] or [float("nan")]
    p50, p99 = np.quantile(late, [0.5, 0.99]) * 1000
    state = sum(one.stat().st_size for one in home.root.glob("state.db*"))
    return Look(
        round((time.perf_counter() - begin) / 60, 1),
        sum(one.pss for one in maps) / 2**20,
        sum(one.uss for one in maps) / 2**20,
        state / 2**20, tally.statuses.total(), len(tally.failures), float(p50), float(p99),
    )  # fmt: skip


def soaked(server: Server, home: Home, minutes: float) -> list[Look]:
    """A look a minute, at half of what was possible just before."""
    with under_load(server.url, ASKS) as fastest:
        time.sleep(FASTEST)
    most = fastest.statuses.total() / FASTEST
    console.print(f"{most:.0f} requests a second at most; {most / 2:.0f} from now on")
    begin = since = time.perf_counter()
    looks = []
    with under_load(server.url, ASKS, most / 2 / sum(ASKS.values())) as tally:
        while time.perf_counter() - begin < minutes * 60:
            time.sleep(EVERY)
            looks.append(looked(server, home, tally, begin, since))
            since = time.perf_counter()
            tally.latencies.clear()
            tally.acknowledged.clear()  # it is the service that must not grow
            told = looks[-1]
            console.print(f"{told.minute:5.1f} min  {told.pss_mb:.1f} MB  p99 {told.p99_ms:.0f} ms")
    return looks


def shown(looks: Sequence[Look]) -> Table:
    """Every fifth minute."""
    table = Table(title="half an hour at half load, two workers")
    for heading in ("minute", "PSS MB", "own MB", "state MB", "requests", "failed", "p50 ms",
                    "p99 ms"):  # fmt: skip
        table.add_column(heading, justify="right")
    for one in (look for place, look in enumerate(looks, 1) if place % 5 == 0):
        table.add_row(
            f"{one.minute:.0f}", f"{one.pss_mb:.1f}", f"{one.anonymous_mb:.1f}",
            f"{one.state_mb:.0f}", f"{one.requests:,}", str(one.failed), f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
        )  # fmt: skip
    return table


def main(
    minutes: float = 30.0,
    out: Annotated[Path | None, typer.Option(help="JSON to write")] = None,
) -> None:
    """Let it run, and look at its memory."""
    base = home_of(SHOP, PLACE / "shops")
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home")
        shutil.copytree(base.root, home.root, ignore=shutil.ignore_patterns("state.db*"))
        with serving(home, workers=2) as server:
            looks = soaked(server, home, minutes)
    console.print(shown(looks))
    if out is not None:
        out.write_text(json.dumps([asdict(one) for one in looks], indent=1))


if __name__ == "__main__":
    typer.run(main)
