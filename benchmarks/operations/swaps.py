"""`make bench-swaps`: a new model under load, again and again; and three that must not be served.

Two versions differ in their factors and in every price: so each answer tells by its items and by
its cards whose it is, and can be compared with the two known answers to the same question.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import httpx
import numpy as np
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.serving.asks import known
from benchmarks.serving.load import prepared
from benchmarks.serving.place import PLACE
from benchmarks.serving.servers import serving
from benchmarks.serving.shops import Shop, home_of
from features import arrays
from features.home import Home, write_json
from training.bundle import PROBES, Bundle
from training.leases import MANIFEST
from training.probes import probed
from training.sealing import FILES, SEAL, broken, sealed

ASKED = 64  # different questions
WORKERS, GIVE_UP = 2, 60.0  # seconds until all workers have another version
REFUSAL = 3.0  # seconds after which a bad bundle has been looked at
FACTORS, PRICES = "rankers/als/factors.npy", "catalogue/prices.npy"
console = Console(width=140)
_LOGGED = re.compile(r"instead of v\d, after ([\d.]+) s")


@dataclass
class Seen:
    """What the callers saw.

    failed: answers that were no 200, and connections that ended
    mixed:  answers that are neither the one nor the other version's
    """

    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    mixed: int = 0
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def quantiles(self) -> tuple[float, float]:
        """The median and the 99th percentile, milliseconds."""
        p50, p99 = np.quantile(self.latencies, [0.5, 0.99]) * 1000
        return float(p50), float(p99)


@dataclass(frozen=True)
class Answers:
    """The known answers: per version and question the ids of the items."""

    requests: list[bytes]
    known: Mapping[str, list[list[str]]]

    def fits(self, question: int, answer: Mapping[str, Any]) -> bool:
        """Are items and cards those of the version that the answer names?"""
        version = answer["model_version"]
        prices = {one["price"] for one in answer["items"]}
        items = [one["item_id"] for one in answer["items"]]
        return prices == {float(version[1:])} and items == self.known[version][question]


def main(
    items: Annotated[int, typer.Option(help="of the shop")] = 10_000,
    swaps: Annotated[int, typer.Option(min=2)] = 20,
    connections: Annotated[int, typer.Option(min=1)] = 8,
    out: Annotated[Path, typer.Option(help="all numbers")] = PLACE / "swaps.json",
) -> None:
    """Swaps under load: failures, mixed answers, p99, seconds; then what must be refused."""
    shop = Shop(items)
    with tempfile.TemporaryDirectory(dir=_made(PLACE)) as scratch:
        home = two_versions(shop, Path(scratch))
        found: dict[str, Any] = {"items": items, "connections": connections, **checks(home)}
        with serving(home, workers=WORKERS) as server:
            answers = ask_both(home, server.url, shop)
            with load(server.port, answers, connections) as calm:
                time.sleep(1.5 * swaps / 2)
            with load(server.port, answers, connections) as busy:
                turns = [("v2", "v1")[turn % 2] for turn in range(swaps)]
                seconds = [swap(home, server.url, version) for version in turns]
            found |= {"calm": _told(calm), "busy": _told(busy), "seconds per swap": seconds}
            log = home.scratch() / f"benchmark-{server.port}.log"
            found["seconds by the log"] = [float(one) for one in _LOGGED.findall(log.read_text())]
            found["refused"] = [asdict(one) for one in refusals(home, server.url, log)]
    show(found)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)


def two_versions(shop: Shop, base: Path) -> Home:
    """A home with versions 1, which is served, and 2."""
    home = Home(base / "home")
    shutil.copytree(home_of(shop, PLACE / "shops").root, home.root)
    shutil.copytree(home.bundles / "v1", home.bundles / "v2")
    for name, moved in (("v1", 0), ("v2", 1)):
        directory = home.bundles / name
        price = float(name[1:])
        _change(directory / PRICES, lambda old, price=price: np.full_like(old, price))
        _change(directory / FACTORS, lambda old, moved=moved: np.roll(old, moved, axis=0))
        shutil.rmtree(directory / PROBES)
        arrays.save(probed(Bundle.open(directory)), directory / PROBES)
        _reseal(directory)
    home.pointer.write_text("v1\n")
    return home


def _change(file: Path, change: Any) -> None:
    new = change(np.load(file))
    file.unlink()
    np.save(file, new)


def _reseal(directory: Path, **keys: Any) -> None:
    manifest = json.loads((directory / MANIFEST).read_text())
    plain = {name: value for name, value in manifest.items() if name not in (FILES, SEAL)}
    write_json(directory / MANIFEST, sealed(directory, {**plain, **keys}))


def checks(home: Home) -> dict[str, float]:
    """What the checks of a bundle cost: its size, the seal, the probes."""
    directory = home.bundles / "v1"
    bundle = Bundle.open(directory)
    size = sum(told["bytes"] for told in bundle.manifest[FILES].values()) / 2**20
    begun = time.perf_counter()
    assert not broken(directory, bundle.manifest)
    seal = time.perf_counter() - begun
    probed(bundle)
    return {"bundle_mb": size, "seal_seconds": seal,
            "probe_seconds": time.perf_counter() - begun - seal}  # fmt: skip


def ask_both(home: Home, url: str, shop: Shop) -> Answers:
    """What each version answers when nothing moves."""
    random = np.random.default_rng(0)
    bodies = [known(shop, random) for _ in range(ASKED)]
    found: dict[str, list[list[str]]] = {}
    for version in ("v2", "v1"):
        swap(home, url, version)
        answers = [httpx.post(f"{url}/feed", json=body).json() for body in bodies]
        found[version] = [[one["item_id"] for one in answer["items"]] for answer in answers]
    assert found["v1"] != found["v2"]
    return Answers(prepared("/feed", bodies), found)


def swap(home: Home, url: str, version: str) -> float:
    """Move the pointer; the seconds until every worker answers with that version."""
    beside = home.pointer.with_suffix(".new")
    beside.write_text(f"{version}\n")
    begun = time.perf_counter()
    beside.replace(home.pointer)
    there: set[str] = set()
    while len(there) < WORKERS:
        if time.perf_counter() - begun > GIVE_UP:
            raise ValueError(f"{version} is served by {len(there)} of {WORKERS} workers only")
        answer = httpx.post(f"{url}/feed", json={"placement": "home"})  # a connection of its own
        if answer.status_code == 200 and answer.json()["model_version"] == version:
            there.add(answer.headers["x-feeds-worker"])
        time.sleep(0.005)
    return time.perf_counter() - begun


@contextmanager
def load(port: int, answers: Answers, connections: int) -> Iterator[Seen]:
    """Closed-loop load while the block runs."""
    seen, over = Seen(), [False]

    async def together() -> None:
        await asyncio.gather(*(_caller(port, answers, seen, (one, connections), over)
                               for one in range(connections)))  # fmt: skip

    thread = Thread(target=lambda: uvloop.run(together()))
    thread.start()
    try:
        yield seen
    finally:
        over[0] = True
        thread.join()


async def _caller(
    port: int, answers: Answers, seen: Seen, mine: tuple[int, int], over: Sequence[bool]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    question, step = mine
    while not over[0]:
        question = (question + step) % ASKED
        begun = time.perf_counter()
        try:
            writer.write(answers.requests[question])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            seen.failed += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        seen.latencies.append(time.perf_counter() - begun)
        if not head.startswith(b"HTTP/1.1 200"):
            seen.failed += 1
            continue
        answer = json.loads(body)
        version = answer["model_version"]
        seen.versions[version] = seen.versions.get(version, 0) + 1
        seen.mixed += not answers.fits(question, answer)
    writer.close()


@dataclass(frozen=True)
class Refusal:
    """A bundle that must not be served, what served meanwhile, and what the log says of it."""

    what: str
    served: list[str]
    log: str


def refusals(home: Home, url: str, log: Path) -> Iterator[Refusal]:
    """A flipped byte, a foreign format, and factors of another training under a sound seal."""
    for number, what in enumerate(("a flipped byte", "another format", "wrong answers"), 3):
        directory = home.bundles / f"v{number}"
        shutil.copytree(home.bundles / "v1", directory)
        if number == 3:
            _change(directory / FACTORS, lambda old: _flipped(old))
        elif number == 4:
            _reseal(directory, format_version=99)
        else:
            _change(directory / FACTORS, lambda old: np.roll(old, 1, axis=0))
            _reseal(directory)
        home.pointer.write_text(f"v{number}\n")
        time.sleep(REFUSAL)
        answers = [httpx.post(f"{url}/feed", json={"placement": "home"}) for _ in range(20)]
        served = sorted({one.json()["model_version"] for one in answers})
        told = [line for line in log.read_text().splitlines() if f"cannot serve v{number}" in line]
        yield Refusal(what, served, told[0] if told else "nothing")


def _flipped(old: Any) -> Any:
    """One bit of one number is another."""
    new = old.copy()
    new.view(np.uint8).reshape(-1)[0] ^= 1
    return new


def _told(seen: Seen) -> dict[str, Any]:
    p50, p99 = seen.quantiles
    return {"requests": len(seen.latencies), "failed": seen.failed, "mixed": seen.mixed,
            "p50_ms": p50, "p99_ms": p99, "most_ms": max(seen.latencies) * 1000,
            "versions": seen.versions}  # fmt: skip


def show(found: Mapping[str, Any]) -> None:
    """As tables."""
    table = Table(title=f"{found['items']:,} items, {found['connections']} connections")
    for heading in ("", "requests", "failed", "mixed", "p50 ms", "p99 ms", "most ms"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, words in (("calm", "no swap"), ("busy", f"{len(found['seconds per swap'])} swaps")):
        one = found[name]
        table.add_row(words, f"{one['requests']:,}", str(one["failed"]), str(one["mixed"]),
                      *(f"{one[key]:.1f}" for key in ("p50_ms", "p99_ms", "most_ms")))  # fmt: skip
    console.print(table)
    spent = found["seconds per swap"]
    console.print(
        f"a swap: {np.median(spent):.2f} s (most {max(spent):.2f}) from the pointer to all "
        f"workers, of which a worker takes {np.median(found['seconds by the log']):.2f} s; checks "
        f"of {found['bundle_mb']:.0f} MB: seal {found['seal_seconds']:.3f} s, probes "
        f"{found['probe_seconds']:.3f} s"
    )
    for one in found["refused"]:
        console.print(f"{one['what']}: {', '.join(one['served'])} serves; {one['log']}")


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


if __name__ == "__main__":
    typer.run(main)
