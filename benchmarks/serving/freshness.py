"""`make bench-freshness`: from an acknowledged event to a feed of the other worker that knows it.

history:    a new visitor looks at an item: until the other worker's feed is of this session
popularity: 50 people buy an item that is nowhere near the top: until strangers are shown it
a new article: 50 people read it within a minute: when, and at which click, strangers are shown it
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.serving import report
from benchmarks.serving.callers import Caller, one_of_each
from benchmarks.serving.place import PLACE
from benchmarks.serving.servers import serving
from benchmarks.serving.shops import Shop, item_id, world_of
from benchmarks.serving.shops import write as write_shop
from features.home import Home

CLICKS, MINUTE = 50, 60.0
STRANGER = {"placement": "home"}
_GIVE_UP, _PAUSE = 30.0, 0.2  # seconds
console = Console()


@dataclass(frozen=True)
class Waits:
    """Milliseconds from the answer to the event until the first feed that knows of it."""

    what: str
    ms: list[float]

    def as_json(self) -> dict[str, Any]:
        """For a file, with its quantiles."""
        p50, p99 = np.quantile(self.ms, [0.5, 0.99])
        return {"events": len(self.ms), "p50_ms": float(p50), "p99_ms": float(p99),
                "most_ms": max(self.ms)}  # fmt: skip


@dataclass(frozen=True)
class Debut:
    """When strangers were first shown a new article; None: not within the minute.

    clicks: so many had been acknowledged by then        position: in that feed
    """

    seconds: float | None
    clicks: int
    position: int | None


def in_history(pairs: Iterator[tuple[Caller, Caller]], shop: Shop, events: int) -> Waits:
    """A visitor's first event, told to one worker, in the feed of the other."""
    ms = []
    for number in range(events):
        told, asked = next(pairs)
        visitor = f"new-{time.time_ns()}"
        body = {"item_id": item_id(number % shop.items), "event_type": "view",
                "visitor_id": visitor}  # fmt: skip
        told.ask("/events", {"events": [body]})
        ms.append(waited(asked, {**STRANGER, "visitor_id": visitor}, _of_a_session))
    return Waits("history", ms)


def _of_a_session(feed: dict[str, Any]) -> bool:
    return bool(feed["reason"] == "current_session")


def in_popularity(
    pairs: Iterator[tuple[Caller, Caller]], items: Sequence[str], events: int
) -> Waits:
    """A rush for an item, told to one worker, in a stranger's feed of the other."""
    ms = []
    for number in range(events):
        told, asked = next(pairs)
        wanted = items[number]
        crowd = [{"item_id": wanted, "event_type": "purchase", "visitor_id": f"r{number}-{who}"}
                 for who in range(CLICKS)]  # fmt: skip
        told.ask("/events", {"events": crowd})
        ms.append(waited(asked, STRANGER, lambda feed, wanted=wanted: shown(feed, wanted)))  # type: ignore[misc]
    return Waits("popularity", ms)


def shown(feed: dict[str, Any], item: str) -> bool:
    """Is the item in it?"""
    return any(one["item_id"] == item for one in feed["items"])


def waited(caller: Caller, body: dict[str, Any], knows: Callable[[dict[str, Any]], bool]) -> float:
    """Ask again and again: milliseconds until the feed knows. Raises ValueError after 30 s."""
    start = time.perf_counter()
    while not knows(caller.ask("/feed", body)):
        if time.perf_counter() - start > _GIVE_UP:
            raise ValueError(f"after {_GIVE_UP:.0f} s the other worker still does not know of it")
    return (time.perf_counter() - start) * 1000


def debut(told: Caller, asked: Caller, number: int, seconds: float = MINUTE) -> Debut:
    """Publish an article, let it be read 50 times over `seconds`, and watch strangers' feeds."""
    item = f"fresh-{time.time_ns()}"
    told.ask("/catalogue", {"items": [{"item_id": item, "kind": "article", "title": item,
                                       "category": "b00/l00"}]})  # fmt: skip
    start, clicks = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds + 1:
        if clicks < CLICKS and passed >= clicks * seconds / CLICKS:
            told.ask("/events", {"events": [{"item_id": item, "event_type": "view",
                                             "visitor_id": f"d{number}-{clicks}"}]})  # fmt: skip
            clicks += 1
        feed = asked.ask("/feed", STRANGER)
        if shown(feed, item):
            position = next(one["position"] for one in feed["items"] if one["item_id"] == item)
            return Debut(time.perf_counter() - start, clicks, position)
        time.sleep(0.02)
    return Debut(None, clicks, None)


def fresh_home(shop: Shop, base: Path) -> Home:
    """A new home of `shop`: its present is now, and nobody has told it anything."""
    place = base / f"{shop.name}-{time.time_ns()}"
    write_shop(shop, place, base / "graphs")
    return Home(place / ".feeds")


def unpopular(shop: Shop, wanted: int) -> list[str]:
    """The ids of the items that least was done with, distinct."""
    world = world_of(shop)
    counts = np.bincount(world.timelines.items, minlength=shop.items)
    return [item_id(number) for number in np.argsort(counts, kind="stable")[:wanted].tolist()]


def alternating(callers: Sequence[Caller]) -> Iterator[tuple[Caller, Caller]]:
    """Who is told and who is asked, in turn, after a pause.

    Without it each event would come right after a worker has looked into the store.
    """
    random, pair = np.random.default_rng(0), (callers[0], callers[1])
    while True:
        time.sleep(random.uniform(0, _PAUSE))
        yield pair
        pair = pair[1], pair[0]


def main(
    events: Annotated[int, typer.Option(min=1, help="of each kind")] = 250,
    articles: Annotated[int, typer.Option(help="new ones, a minute each")] = 3,
    items: Annotated[int, typer.Option(help="of the shop")] = 10_000,
    place: Annotated[Path, typer.Option(help="where shops are written")] = PLACE / "shops",
    out: Annotated[Path, typer.Option(help="all numbers")] = PLACE / "freshness.json",
) -> None:
    """How soon the other worker of a service knows."""
    shop = Shop(items, "als", kind="article", live=True)
    with serving(fresh_home(shop, place), workers=2) as server:
        callers = one_of_each(server)
        pairs = alternating(callers)
        debuts = [debut(*next(pairs), number) for number in range(articles)]
        waits = [in_history(pairs, shop, events),
                 in_popularity(pairs, unpopular(shop, events), events)]  # fmt: skip
    table = Table(title="from the acknowledged event to the other worker's feed")
    for heading in ("in", "events", "p50 ms", "p99 ms", "most ms"):
        table.add_column(heading, justify="left" if heading == "in" else "right")
    for one in waits:
        told = one.as_json()
        table.add_row(one.what, str(told["events"]),
                      *(f"{told[k]:.1f}" for k in ("p50_ms", "p99_ms", "most_ms")))  # fmt: skip
    console.print(table)
    for one_debut in debuts:
        console.print(_words(one_debut))
    report.write(out, {"waits": {one.what: one.as_json() for one in waits},
                       "debuts": [asdict(one) for one in debuts]})  # fmt: skip


def _words(one: Debut) -> str:
    if one.seconds is None:
        return f"a new article of {one.clicks} clicks in a minute: not shown to strangers"
    return (f"a new article of {CLICKS} clicks in a minute: shown to a stranger after "
            f"{one.seconds:.1f} s, at click {one.clicks}, in place {one.position}")  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
