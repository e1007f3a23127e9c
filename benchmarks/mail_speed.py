"""A mailing of three blocks to many, beside the matrix product and the best of each row alone.

Everything that a mailing asks is on: consent, frequency, orders and looks of late, stale and thin
profiles, sensitive categories, what the template needs, what was shown in the last two weeks, and
the reasons of every item. It is the second mailing to these people: the first one lies in the
store. The peer ranks the same people, on the same factors, for as many places as a mail has, and
asks nothing. Sizes run in processes of their own, so that the peak memory is their own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
import yaml
from implicit.cpu.topk import topk
from rich.console import Console
from rich.table import Table

from benchmarks.serving.place import PLACE
from benchmarks.serving.shops import Shop, home_of
from features import arrays
from features.config import Config
from features.home import Home
from features.types import DAY_US, Float32, Texts
from serving.mailing import opening, run, writing
from serving.mailing.mailer import Mailer
from serving.mailing.parts import Record, parts
from serving.mailing.recipients import recipients_of
from serving.mailing.workers import Work, decide_all
from training.bundle import Bundle, open_bundle
from training.contacts import Contacts

ITEMS, SIZES, MOST = 20_000, (10_000, 100_000, 300_000), 300_000
BLOCKS, PLACES, CHUNK = ("top", "more", "last"), 4, 2048
console = Console(width=150)


def main(
    people: Annotated[list[int] | None, typer.Option(help="sizes of the list")] = None,
    rules: Annotated[bool, typer.Option(help="also at most two items of a category")] = False,
    one: Annotated[Path | None, typer.Option(hidden=True)] = None,
    out: Annotated[Path, typer.Option(help="all numbers")] = PLACE / "mail_speed.json",
) -> None:
    """Recipients a second, beside the peer's, and the memory that it takes."""
    if one is not None and people:
        one.write_text(json.dumps(asyncio.run(_measured(people[0], rules))))
        return
    found = [_in_a_process(size, rules) for size in people or SIZES]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1))
    console.print(_table(found))


def _in_a_process(size: int, rules: bool) -> dict[str, Any]:
    with TemporaryDirectory() as place:
        told = Path(place) / "told.json"
        words = [sys.executable, "-m", "benchmarks.mail_speed", "--people", str(size)]
        words += ["--one", str(told), *(["--rules"] if rules else [])]
        subprocess.run(words, check=True)
        found: dict[str, Any] = json.loads(told.read_text())
    return found


async def _measured(size: int, rules: bool) -> dict[str, Any]:
    with TemporaryDirectory() as place:
        base = Path(place)
        shop = _shop(size, rules, base)
        bundle = open_bundle(shop.home, None)
        async with opening.opened(shop, bundle, None) as desk:
            mailer = opening.mailer_of(desk, base, shop.home)
            listed = run.Listed(run.customers_of(desk)[:size])
            now_us = opening.now_us(desk.living, None)
            first = await _mailed(mailer, shop, listed, base / "first", now_us)
            factors = await _factors(mailer, bundle, listed, now_us)
            before = _peer(mailer, factors)
            second = await _mailed(mailer, shop, listed, base / "second", now_us + 7 * DAY_US)
            after = _peer(mailer, factors)
    peak = [resource.getrusage(who).ru_maxrss / 1024**2
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]  # fmt: skip
    peers = {name: (before[name] + after[name]) / 2 for name in before}
    return {"recipients": size, "rules": rules, **peers, "peak_gb": peak, "first": first,
            **second}  # fmt: skip


async def _mailed(
    mailer: Mailer, shop: opening.Shop, listed: run.Listed, out: Path, at_us: int
) -> dict[str, Any]:
    """Seconds of each step of one mailing, and what it came to."""
    record = Record(
        mailing=out.name, model_version="v1", rules_version="none", as_of="", at_us=at_us,
        placements=BLOCKS, recipients=len(listed.user_ids), chunk=CHUNK, digest=out.name,
        written_us=time.time_ns() // 1000,
    )  # fmt: skip
    record.write(out)
    begun = time.perf_counter()
    await decide_all(Work(shop, shop.file.parent, record, out), mailer, listed)
    decided = time.perf_counter()
    dressing = mailer.dressing_of(record.mailing, record.written_us)
    summary = writing.write(out, dressing, mailer.desk.bundle.config)
    written = time.perf_counter()
    await run.remember(mailer.desk.state, shop.home, record, out)
    columns = [pq.read_table(file, columns=["reason"])["reason"] for file in parts(out)]
    reasons = Counter(one for column in columns for one in column.to_pylist())
    return {"decide_seconds": decided - begun, "write_seconds": written - decided,
            "remember_seconds": time.perf_counter() - written, "mails": summary.mails,
            "reasons": dict(reasons)}  # fmt: skip


def _shop(size: int, rules: bool, base: Path) -> opening.Shop:
    """A shop of 20,000 items whose customers say what they want; some categories are sensitive."""
    people = max(size, 100_000)
    home = Home(base / "home")
    made = home_of(Shop(ITEMS, people=people), PLACE / "shops")
    shutil.copytree(made.root, home.root)
    random = np.random.default_rng(0)
    contacts = Contacts(
        np.where(random.random(people) < 0.95, 1, 0).astype(np.int8),
        random.choice([np.nan, 0.5, 1, 2], people, p=[0.5, 0.05, 0.4, 0.05]).astype(np.float32),
        Texts.of([f"Name {n % 1000}" for n in range(people)]), Texts.of(["en"] * people),
        Texts.of([""] * people),
    )  # fmt: skip
    directory = home.bundles / "v1"
    shutil.rmtree(directory / "contacts")
    arrays.save(contacts, directory / "contacts")
    np.save(directory / "catalogue" / "sensitive.npy",
            open_bundle(home, None).catalogue.category % 50 == 0)  # fmt: skip
    config = _config(open_bundle(home, None), rules)
    told = config.model_dump(mode="json", exclude_unset=True)
    (base / "feeds.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    return opening.Shop(config, base / "feeds.yaml", home)


def _config(bundle: Bundle, rules: bool) -> Config:
    block = {"channel": "email", "kind": "product", "size": PLACES, "not_repeated_for_days": 14}
    told = {
        "placements": {"home": {"kind": "product"}, "top": {**block, "min_items": 2}, "more": block,
                       "last": {**block, "on_too_few": "suppress", "min_items": PLACES}},
        "mail": {"site": "https://shop.example", "links": "https://links.shop.example",
                 "click_event": "view",
                 "withhold": {"mails_per_week": 2, "just_bought_days": 1, "stale_after_days": 80,
                              "min_events": 6}},
        "messages": [{"text": "{first_name|Hello}, this is for you"}],
        "rules": [{"placement": list(BLOCKS), "max_per": {"category": 2}}] if rules else [],
    }  # fmt: skip
    return Config.model_validate({**bundle.config.model_dump(exclude_unset=True), **told})


async def _factors(mailer: Mailer, bundle: Bundle, listed: run.Listed, now_us: int) -> Float32:
    """(n, f) of the first of the list, folded in: what the peer is given."""
    some = listed.part(0, 8 * CHUNK).user_ids
    found = await recipients_of(mailer.desk, mailer.dressing.mail, some, now_us)
    factors: Float32 = bundle.rankers["als"].people(found.people.queries.below(ITEMS))  # type: ignore[attr-defined]
    return factors


def _peer(mailer: Mailer, people: Float32) -> dict[str, float]:
    """People a second: the product with all items, and the best places of each row.

    In two ways: NumPy's product and partition in blocks, and implicit's compiled loop, which keeps
    the best while it goes.
    """
    items, k = mailer.desk.living.base.rankers["als"].item_factors, PLACES * len(BLOCKS)  # type: ignore[attr-defined]
    begun = time.perf_counter()
    for start in range(0, len(people), 512):
        scores = people[start : start + 512] @ items.T
        np.argpartition(scores, -k, axis=1)[:, -k:]
    by_numpy = len(people) / (time.perf_counter() - begun)
    begun = time.perf_counter()
    topk(items, people, k)
    return {"numpy": by_numpy, "implicit": len(people) / (time.perf_counter() - begun)}


def _table(found: list[dict[str, Any]]) -> Table:
    heads = ("recipients", "mails", "decided / s", "NumPy / s", "ratio", "implicit / s", "ratio",
             "written / s", "remembered / s", "peak GB")  # fmt: skip
    table = Table(title=f"{len(BLOCKS)} blocks of {PLACES}, {ITEMS:,} items", title_justify="left")
    for head in heads:
        table.add_column(head, justify="right")
    for one in found:
        n, decided = one["recipients"], one["recipients"] / one["decide_seconds"]
        table.add_row(
            f"{n:,}", f"{one['mails']:,}", f"{decided:,.0f}",
            f"{one['numpy']:,.0f}", f"{decided / one['numpy']:.2f}",
            f"{one['implicit']:,.0f}", f"{decided / one['implicit']:.2f}",
            f"{n / one['write_seconds']:,.0f}", f"{n / one['remember_seconds']:,.0f}",
            " + ".join(f"{gb:.2f}" for gb in one["peak_gb"]),
        )  # fmt: skip
    return table


if __name__ == "__main__":
    typer.run(main)
