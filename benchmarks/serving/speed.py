"""CPU per request of the service beside what its shell and the memory's bandwidth cost anyway.

Server on one core, load from another. The same round asks (a) the service with a `feed` from memory
and every kind of request, and streams the factors once (b); then the next round. What is told are
medians over rounds, of ratios within a round.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np

from benchmarks.serving.asks import ASKS, requests_of
from benchmarks.serving.load import Sample, round_of
from benchmarks.serving.servers import EXACT, PEER, Cores, Server, on_core, serving
from benchmarks.serving.shops import TINY, Shop, home_of, person_id
from features.home import Home, Progress, silent
from features.types import Float32
from training.bundle import Bundle

MEMORY, INDEXED = "(a) memory", "known, index"
_FLOOR_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    """How long is measured: rounds for each number of connections, seconds for each request."""

    rounds: int = 5
    seconds: float = 1.0
    connections: Sequence[int] = (1, 8)
    asks: Sequence[str] = tuple(ASKS)


@dataclass(frozen=True)
class Round:
    """One round on one shop: samples by request, `MEMORY` is one of them; the floor in us."""

    connections: int
    floor_us: float
    samples: dict[str, Sample]


@dataclass(frozen=True)
class Measured:
    """What was measured on a shop; recall: of the index, None where there is none."""

    rows: list[Row]
    recall: float | None


@dataclass(frozen=True)
class Row:
    """A kind of request on a shop, with so many connections: medians over the rounds.

    ratio:  of its CPU to (a)'s         floors: of its CPU to (b)
    added:  in floors, what it costs beyond twice (a)
    """

    items: int
    top: str
    ask: str
    connections: int
    cpu_us: float
    memory_us: float
    floor_us: float
    ratio: float
    floors: float
    added: float
    per_second: float
    p50_ms: float
    p99_ms: float

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def measure(shop: Shop, base: Path, plan: Plan, progress: Progress = silent) -> Measured:
    """Serve `shop` and ask; requests that this service does not answer are left out."""
    home, cores = home_of(shop, base), Cores.here()
    factors = factors_of(home)
    with ExitStack() as running:
        server = running.enter_context(serving(home, cores.server))
        peer = running.enter_context(serving(home_of(TINY, base), cores.server, service=PEER))
        exact = server
        if has_index(home, shop.top):
            exact = running.enter_context(serving(twin_of(home), cores.server, service=EXACT))
        running.enter_context(on_core(cores.load))
        asked = _asked(shop, plan, exact)
        recall = None
        if exact is not server:
            recall = recall_of(shop, exact, server)
            asked[INDEXED] = (server, requests_of(shop, "known"))
        asked = {MEMORY: (peer, requests_of(shop, "known")), **asked}
        rounds = []
        for number, connections in product(range(plan.rounds), plan.connections):
            progress(f"{shop.name}, round {number + 1}", number / plan.rounds)
            floor = floor_us(factors, cores.server)
            samples = {ask: round_of(who, what, connections, plan.seconds)
                       for ask, (who, what) in asked.items()}  # fmt: skip
            rounds.append(Round(connections, floor, samples))
    return Measured(list(_rows(shop, rounds)), recall)


def _asked(shop: Shop, plan: Plan, server: Server) -> dict[str, tuple[Server, list[bytes]]]:
    """Of each kind of request that the server answers, whom and what."""
    bodies = {ask: requests_of(shop, ask) for ask in plan.asks}
    return {ask: (server, one) for ask, one in bodies.items() if answers(server, one[0])}


def has_index(home: Home, top: str) -> bool:
    """Has a worker made an index of what the shop's top ranker knows of its items?"""
    return any(home.bundles.glob(f"*/indexes/{top}.*"))


def twin_of(home: Home) -> Home:
    """A home of its own for a second service of the same bundle."""
    twin = Home(home.root / "twin")
    twin.root.mkdir(exist_ok=True)
    if not twin.bundles.exists():
        twin.bundles.symlink_to(home.bundles.resolve())
    shutil.copy(home.pointer, twin.pointer)
    return twin


def recall_of(shop: Shop, exact: Server, indexed: Server, people: int = 200) -> float:
    """The share of exact feeds that the index finds."""
    found = []
    with httpx.Client(timeout=30) as client:
        for person in range(people):
            body = {"placement": "home", "user_id": person_id(person * shop.people // people)}
            feeds = [client.post(f"{one.url}/feed", json=body).json() for one in (exact, indexed)]
            all_, some = ({item["item_id"] for item in feed["items"]} for feed in feeds)
            found.append(len(all_ & some) / max(len(all_), 1))
    return float(np.mean(found))


def answers(server: Server, request: bytes) -> bool:
    """Does the service know this kind of request? It has to answer it, or say 404 or 400."""
    head, body = request.split(b"\r\n\r\n", 1)
    path = head.split(b" ")[1].decode()
    told = {"content-type": "application/json"}
    found = httpx.post(f"{server.url}{path}", content=body, headers=told, timeout=30)
    if found.status_code not in (200, 400, 404):
        raise ValueError(f"{path} answered {found.status_code}: {found.text[:500]}")
    return found.status_code == 200


def factors_of(home: Home) -> Float32:
    """(n_items, f) float32: what an exact search over the shop's items has to read."""
    version = home.current()
    assert version is not None  # the shop was written with it
    rankers = Bundle.open(home.bundles / version).rankers
    if "als" in rankers:
        return np.array(rankers["als"].item_factors)  # type: ignore[attr-defined]
    return np.array(rankers["sequence"].item_vectors)  # type: ignore[attr-defined]


def floor_us(factors: Float32, core: int) -> float:
    """CPU microseconds that it takes to read all factors once, on the server's core."""
    with on_core(core):
        factors.sum()
        times, begin = list[float](), time.perf_counter()
        while time.perf_counter() - begin < _FLOOR_SECONDS or len(times) < 3:
            start = time.process_time()
            factors.sum()
            times.append(time.process_time() - start)
    return median(times) * 1e6


def _rows(shop: Shop, rounds: Sequence[Round]) -> Iterator[Row]:
    for connections in sorted({one.connections for one in rounds}):
        own = [one for one in rounds if one.connections == connections]
        for ask in own[0].samples:
            yield row_of(shop, ask, own)


def row_of(shop: Shop, ask: str, rounds: Sequence[Round]) -> Row:
    """What the rounds say of one kind of request; all have the same number of connections."""
    samples = [one.samples[ask] for one in rounds]
    cpu, memory = ([one.cpu_us for one in samples],
                   [one.samples[MEMORY].cpu_us for one in rounds])  # fmt: skip
    floors = [one.floor_us for one in rounds]
    together = list(zip(cpu, memory, floors, strict=True))
    return Row(
        shop.items, shop.top, ask, rounds[0].connections,
        median(cpu), median(memory), median(floors),
        ratio=median(c / m for c, m, _ in together),
        floors=median(c / f for c, _, f in together),
        added=median((c - 2 * m) / f for c, m, f in together),
        per_second=median(one.per_second for one in samples),
        p50_ms=median(one.p50_ms for one in samples),
        p99_ms=median(one.p99_ms for one in samples),
    )  # fmt: skip
