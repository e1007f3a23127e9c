"""`make bench-hosts`: two hosts with one Redis; one is cut off; Redis is killed; what it costs.

across: an event told to one host, until the feed of the other knows of it
cut:    for ten seconds nothing of one host reaches Redis: what its clients see, and for how long
killed: kill -9 of Redis under load, by how often it writes to the disk
cost:   a person recalled, and events written, beside the SQLite state in the same run
"""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
import typer
from rich.console import Console

from benchmarks.operations.faults import events, feeds
from benchmarks.operations.load import under_load
from benchmarks.operations.redis_here import RedisHere, Way, redis_here, state_at
from benchmarks.serving.callers import Caller
from benchmarks.serving.freshness import waited
from benchmarks.serving.place import PLACE
from benchmarks.serving.servers import Server, serving
from benchmarks.serving.shops import Shop, home_of, item_id, person_id
from features.decided import salt
from features.home import Home
from serving.redis_state import RedisState
from serving.sqlite_state import SqliteState
from serving.state import Event, Shown, State

SHOP = Shop(2_000, people=2_000, live=True)
CUT_SECONDS, BETWEEN = 10.0, 4.0
console = Console()


@contextmanager
def hosts(*urls: str) -> Iterator[list[Server]]:
    """A service for each address of the state, each with a copy of one home: bundle and salt."""
    base = home_of(SHOP, PLACE / "shops")
    salt(base.salt)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
        found = []
        for number, url in enumerate(urls):
            home = Home(Path(scratch) / str(number))
            shutil.copytree(base.root, home.root, ignore=shutil.ignore_patterns("state.db*"))
            with state_at(url):
                found.append(running.enter_context(serving(home)))
        yield found


def across(one: Server, other: Server, rounds: int) -> dict[str, Any]:
    """Milliseconds from the answer to an event to the other host's feed that knows of it."""
    told, asked, ms = Caller.of(one.port), Caller.of(other.port), []
    for number in range(rounds):
        visitor = f"across-{uuid4().hex}"
        body = {"item_id": item_id(number % SHOP.items), "event_type": "view",
                "visitor_id": visitor}  # fmt: skip
        told.ask("/events", {"events": [body]})
        ms.append(waited(asked, {"placement": "home", "visitor_id": visitor},
                         lambda feed: feed["reason"] == "current_session"))  # fmt: skip
    return {"events": rounds, **_quantiles(ms)}


class Watching:
    """Asks one path again and again: (moment, status, degraded, milliseconds) of each answer."""

    def __init__(self, server: Server, path: str, body: dict[str, Any]) -> None:
        self.server, self.path, self.body = server, path, json.dumps(body)
        self.seen: list[tuple[float, int, bool, float]] = []
        self.stop = Flag()
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        while not self.stop.wait(0.01):
            began = time.perf_counter()
            connection.request("POST", self.path, self.body, {"content-type": "application/json"})
            answer = connection.getresponse()
            told, ms = answer.read(), (time.perf_counter() - began) * 1000
            self.seen.append((began, answer.status, b'"degraded":true' in told, ms))

    def told(self, begin: float, end: float) -> dict[str, Any]:
        """What was seen of what was asked in a span of time."""
        seen = [one for one in self.seen if begin <= one[0] < end]
        return {"statuses": dict(Counter(one[1] for one in seen)),
                "degraded": sum(one[2] for one in seen),
                **_quantiles([one[3] for one in seen])}  # fmt: skip

    def last(self, begin: float) -> float:
        """Seconds from `begin` to the last answer that was degraded, or no success."""
        bad = [one[0] - begin for one in self.seen if one[0] >= begin
               and (one[2] or one[1] // 100 != 2)]  # fmt: skip
        return max(bad, default=0.0)


def cut(way: Way, off: Server, on: Server) -> dict[str, Any]:
    """What is seen at the host that is cut off, and at the other, before, meanwhile and after."""
    ask, tell = {"placement": "home", "user_id": person_id(1)}, events(1, uuid4().hex)(0)[1]
    watched = {"cut off: feeds": Watching(off, "/feed", ask),
               "cut off: events": Watching(off, "/events", dict(tell)),
               "the other: feeds": Watching(on, "/feed", ask),
               "the other: events": Watching(on, "/events", dict(tell))}  # fmt: skip
    moments = [time.perf_counter()]
    for step in (lambda: None, way.cut, way.mend):
        step()
        moments.append(time.perf_counter())
        time.sleep(CUT_SECONDS if step == way.cut else 3)
    moments.append(time.perf_counter())
    for one in watched.values():
        one.stop.set()
        one.thread.join(15)
    spans = zip(("before", "meanwhile", "after"), moments[1:], moments[2:], strict=False)
    return {
        **{when: {name: one.told(begin, end) for name, one in watched.items()}
           for when, begin, end in spans},
        "seconds until all is well again": {name: one.last(moments[3])
                                            for name, one in watched.items()},
    }  # fmt: skip


def killed(fsync: str, rounds: int) -> dict[str, Any]:
    """So many kills of Redis while two hosts are asked and told."""
    with redis_here(fsync) as store, hosts(store.url, store.url) as pair, ExitStack() as running:
        runs = [uuid4().hex for _ in pair]
        tallies = [
            running.enter_context(under_load(server.url, {feeds: 3, events(5, run): 2}, 50))
            for server, run in zip(pair, runs, strict=True)
        ]
        time.sleep(2)
        moments, away = [], []
        for _ in range(rounds):
            moments.append(time.perf_counter())
            away.append(store.kill())
            time.sleep(BETWEEN)
        running.close()
        return {"fsync": fsync, "kills": rounds, **_kills(store, tallies, (moments, away))}


def _kills(
    store: RedisHere, tallies: list[Any], when: tuple[list[float], list[float]]
) -> dict[str, Any]:
    moments, away = when
    failures = [one for tally in tallies for one in tally.failures]
    spans = [max((at - begin for at, _ in failures if begin <= at < begin + BETWEEN), default=0.0)
             for begin in moments]  # fmt: skip
    ids = [one["event_id"] for tally in tallies
           for body in tally.acknowledged for one in body["events"]]  # fmt: skip
    return {
        "requests": sum(tally.statuses.total() for tally in tallies),
        "feeds that failed": sum(what.startswith("/feed") for _, what in failures),
        "events calls refused": sum(what.startswith("/events") for _, what in failures),
        "kinds": dict(Counter(what[:120] for _, what in failures).most_common(4)),
        "seconds from a kill to the last refusal": _quantiles(spans),
        "seconds until Redis answers again": _quantiles(away),
        "acknowledged events": len(ids),
        "acknowledged and lost": store.lacks(ids),
    }


async def _cost(state: State, asks: int) -> dict[str, Any]:
    known = [Event(item_id=f"i{n}", event_type="view", occurred_us=n, user_id="ann")
             for n in range(50)]  # fmt: skip
    for n in range(20):
        state.note(Shown(decision_id=str(n), name="u:ann", placement="home",
                         item_ids=[f"i{k}" for k in range(20)], at_us=n))  # fmt: skip
    await state.write(known)
    found = {}
    for who in ("ann", "nobody"):
        times = []
        for _ in range(asks):
            began = time.perf_counter()
            await state.recall(who, None)
            times.append((time.perf_counter() - began) * 1e6)
        found[f"recall of {who}, us"] = _quantiles(times)
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(state.recall("nobody", None) for _ in range(asks)))
    found["recalls at once, each: us, us of CPU"] = [
        (time.perf_counter() - began) * 1e6 / asks, (time.process_time() - cpu) * 1e6 / asks
    ]  # fmt: skip

    async def sender(number: int) -> None:
        for n in range(asks // 64):
            one = Event(item_id=f"i{n}", event_type="view", occurred_us=n,
                        visitor_id=f"v{number}", event_id=f"{number}-{n}")  # fmt: skip
            await state.write([one])

    began = time.perf_counter()
    await asyncio.gather(*map(sender, range(64)))
    found["events/s of 64 senders"] = asks // 64 * 64 / (time.perf_counter() - began)
    many = [Event(item_id="i", event_type="view", occurred_us=n, visitor_id=f"w{n % 99}")
            for n in range(1000)]  # fmt: skip
    began = time.perf_counter()
    for _ in range(5):
        await state.write(many)
    found["events/s in calls of 1,000"] = 5000 / (time.perf_counter() - began)
    return found


def cost(asks: int) -> dict[str, Any]:
    """The same of both stores, one after the other, in one process on an event loop."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for fsync in ("always", "everysec"):
            with redis_here(fsync) as store:
                found[f"Redis, {fsync}"] = asyncio.run(_costs(store.url, Path(scratch), asks))
        found["SQLite"] = asyncio.run(_costs(None, Path(scratch), asks))
    return found


async def _costs(url: str | None, place: Path, asks: int) -> dict[str, Any]:
    state: State = RedisState(url, b"key") if url else SqliteState(place / "state.db", b"key")
    try:
        return await _cost(state, asks)
    finally:
        await state.close()


def _quantiles(values: list[float]) -> dict[str, float]:
    p50, p99 = np.quantile(values, [0.5, 0.99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3),
            "most": round(max(values), 3)}  # fmt: skip


def main(
    part: Annotated[list[str] | None, typer.Option(help="across | cut | killed | cost")] = None,
    rounds: int = 10,
    out: Annotated[Path | None, typer.Option(help="JSON to write")] = None,
) -> None:
    """Two hosts, one store; and what becomes of them."""
    wanted, found = part or ["cost", "across", "cut", "killed"], dict[str, Any]()
    if "cost" in wanted:
        found["cost"] = cost(asks=2000)
    if {"across", "cut"} & {*wanted}:
        with redis_here("always") as store:
            way = Way(store.port)
            with hosts(store.url, f"redis://127.0.0.1:{way.port}/0") as (one, other):
                if "across" in wanted:
                    found["across"] = across(one, other, 20 * rounds)
                if "cut" in wanted:
                    found["cut"] = cut(way, other, one)
    if "killed" in wanted:
        found["killed"] = [killed(fsync, rounds) for fsync in ("always", "everysec")]
    console.print_json(json.dumps(found))
    if out is not None:
        out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
