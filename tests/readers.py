"""A small magazine whose readers go from a to b to c, with a model of its log; and its streams."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pyarrow as pa
import pyarrow.parquet as pq
from conftest import SmallShop

from training import bundle as bundles
from training.bundle import Bundle
from training.fitting import fit
from training.item_facts import ItemFacts
from training.past import Past
from training.recipe import Recipe

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY, SECOND, MICROSECOND = timedelta(days=1), timedelta(seconds=1), timedelta(microseconds=1)
NAMES = ("popularity", "transitions", "neighbours")
LADDER = [("one_to_one", "neighbours"), ("context", "transitions"), ("one_for_all", "popularity")]
PARTS = {
    "signals": {"read": {"weight": 1, "half_life_days": 7}},
    "shop": {"timezone": "America/Sao_Paulo", "clock": "as_of", "consent_default": "yes"},
}
ITEMS = [
    {"item_id": one, "kind": "article", "published_at": START - 40 * DAY}
    for one in ("a", "b", "c", "d", "e")
] + [{"item_id": "soon", "kind": "article", "published_at": START + 2 * DAY}]


def read(user, item, moment, **more):
    return {"user_id": user, "item_id": item, "event_type": "read", "occurred_at": moment, **more}


def log():
    """Ten readers go from a to b to c a day; the last one at START. Nobody reads e but one."""
    rows = [
        read(f"r{day}", item, START - day * DAY - (2 - step) * 60 * SECOND)
        for day in range(10)
        for step, item in enumerate("abc")
    ]
    return [*rows, read("r1", "d", START - DAY), read("r2", "e", START - 5 * DAY)]


def built(shop, events):
    """The feature set of a log with the shop's items."""
    sources = {"events": shop.file("log.parquet", events), "items": shop.file("i.parquet", ITEMS)}
    return shop.build(sources, now=START + 99 * DAY, **PARTS), shop.config(sources, **PARTS)


def trained(shop) -> Bundle:
    """The bundle of the magazine, in the shop's directory."""
    shutil.copytree(_magazine(), shop.base, dirs_exist_ok=True)
    return Bundle.open(shop.home.bundles / "v1")


@cache
def _magazine() -> Path:
    """Where the magazine lies with its model, to be copied."""
    shop = SmallShop(Path(mkdtemp()), None)
    trained_on(shop, log())
    return shop.base


def trained_on(shop, events) -> Bundle:
    """The bundle of the magazine with another log, in the shop's directory."""
    features, config = built(shop, events)
    facts = ItemFacts.of(features)
    past = Past.plain(features.timelines, features.as_of_us, config.signals, facts)
    rankers = {name: fit(name, past, config.training) for name in NAMES}
    recipe = Recipe(config.training, list(NAMES), LADDER)
    bundles.save(shop.home.bundles / "v1", features, config, rankers, recipe, {})
    return Bundle.open(shop.home.bundles / "v1")


def written(directory, events):
    names = dict.fromkeys(name for event in events for name in event)
    table = pa.table({name: [event.get(name) for event in events] for name in names})
    pq.write_table(table, directory / "stream.parquet")
    return directory / "stream.parquet"
