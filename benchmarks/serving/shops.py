"""Shops of any size, written as promoted bundles without training: the shapes of a real one.

Items lie in 300 categories of 20 branches; factors are clustered by category and skewed in norm as
those of ALS on real logs are (median 0.03, 99th percentile 0.3, a few far above). Customers have a
few favourite categories and 5 to 60 events. Everything has a seed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from features.config import Config, Kind
from features.declared import Declared
from features.feature_set import Devices, FeatureSet
from features.home import Home, written_beside
from features.lifecycle import ACTIVE
from features.timelines import Timelines
from features.training_options import Training
from features.types import DAY_US, Float32, Float64, IdTable, Int32, Int64, from_us
from training.bundle import FORMAT_VERSION, save
from training.item_facts import ItemFacts
from training.past import Past
from training.recipe import Ladder, Recipe

Top = Literal["als", "sequence", "blend"]
TOPS: tuple[Top, ...] = ("als", "sequence", "blend")
BRANCHES, LEAVES = 20, 15
AS_OF_US = 1_767_225_600_000_000  # 2026-01-01
DAYS = 90  # of the log


@dataclass(frozen=True)
class Shop:
    """What is wanted: the ladder's top ranker, how many items, how many customers.

    live: the wall's clock is the present; else the moment that the model describes
    """

    items: int
    top: Top = "als"
    people: int = 20_000
    factors: int = 64
    kind: Kind = "product"
    live: bool = False

    @property
    def name(self) -> str:
        """Of its directory."""
        clock = "-live" if self.live else ""
        return f"{self.items}x{self.factors}-{self.top}-{self.people}-{self.kind}{clock}"


TINY = Shop(100, people=100)  # for what does not look at the shop


@dataclass(frozen=True)
class World:
    """Items and what people did with them.

    category: (n_items,) int32, ascending      popularity: (n_items,) float64, how much is wanted
    factors:  (n_items, f) float32
    """

    category: Int32
    popularity: Float64
    factors: Float32
    timelines: Timelines
    as_of_us: int


def home_of(shop: Shop, base: Path) -> Home:
    """The home of a shop under `base`, written when it is not there."""
    place = base / f"{shop.name}-format{FORMAT_VERSION}"
    if not (place / ".feeds" / "CURRENT").exists():
        shutil.rmtree(place, ignore_errors=True)
        write(shop, place, base / "graphs")
    return Home(place / ".feeds")


def write(shop: Shop, place: Path, graphs: Path) -> None:
    """Write `shop` as the new directory `place`: a config, and a home with a promoted bundle.

    graphs: where ONNX graphs are kept for all shops
    """
    from benchmarks.serving.models import rankers_of  # it loads torch

    config = config_of(shop)
    world = world_of(shop)
    with written_beside(place) as beside:
        home = Home(beside / ".feeds")
        features = _feature_set(shop, world, beside / "features")
        past = Past.plain(world.timelines, world.as_of_us, config.signals, ItemFacts.of(features))
        rankers = rankers_of(shop.top, world, past, graphs)
        recipe = Recipe(Training(), list(rankers), ladder_of(shop.top))
        told = {"evidence": "this shop was not trained"}
        save(home.bundles / "v1", features, config, rankers, recipe, told)
        shutil.rmtree(features.directory)
        text = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False)
        (beside / "feeds.yaml").write_text(text)
        home.pointer.write_text("v1\n")


def config_of(shop: Shop) -> Config:
    """One placement, called home, of 20 items; views, carts and purchases."""
    return Config.model_validate(
        {
            "shop": {"clock": "now" if shop.live else "as_of", "consent_default": "yes"},
            "sources": {"events": {"path": "events.parquet"}},
            "signals": {
                "view": {"weight": 1, "half_life_days": 14},
                "cart": {"weight": 3, "half_life_days": 30},
                "purchase": {"weight": 5, "half_life_days": 90},
            },
            "repeat": {"product": "exclude", "article": "exclude"},
            "placements": {"home": {"channel": "site", "kind": shop.kind, "size": 20}},
        }
    )


def ladder_of(top: Top) -> Ladder:
    """The top ranker for whoever has a history or a session; popularity for the rest."""
    return [("one_to_one", top), ("context", top), ("one_for_all", "popularity")]


def world_of(shop: Shop, seed: int = 0) -> World:
    """Items, factors and histories."""
    random = np.random.default_rng(seed)
    n_categories = BRANCHES * LEAVES
    shares = random.dirichlet(np.full(n_categories, 3.0))
    category = np.sort(random.choice(n_categories, shop.items, p=shares)).astype(np.int32)
    fame = random.standard_normal(shop.items)
    popularity = np.exp(1.5 * fame)
    factors = _factors(random, category, fame, shop.factors)
    as_of_us = time.time_ns() // 1000 if shop.live else AS_OF_US
    timelines = _timelines(random, category, popularity, shop.people, as_of_us)
    return World(category, popularity, factors, timelines, as_of_us)


def _factors(random: np.random.Generator, category: Int32, fame: Float64, width: int) -> Float32:
    """(n_items, width) clustered, with log-normal norms that go with how well known an item is."""
    branches = random.standard_normal((BRANCHES, width), dtype=np.float32)
    leaves = random.standard_normal((BRANCHES * LEAVES, width), dtype=np.float32)
    centres = branches.repeat(LEAVES, axis=0) + 0.7 * leaves
    found = centres[category] + 0.8 * random.standard_normal(
        (category.size, width), dtype=np.float32
    )
    luck = random.standard_normal(category.size)
    norms = np.minimum(0.031 * np.exp(0.97 * (0.8 * fame + 0.6 * luck)), 1.7)
    found *= (norms / np.linalg.norm(found, axis=1))[:, None].astype(np.float32)
    return np.asarray(found, dtype=np.float32)


def _timelines(
    random: np.random.Generator, category: Int32, popularity: Float64, people: int, as_of_us: int
) -> Timelines:
    """Everybody's 5 to 60 events, in three favourite categories, a visit a day."""
    lengths = random.integers(5, 61, people)
    indptr = np.append(0, np.cumsum(lengths))
    present = np.unique(category)
    favourites = random.choice(present, (people, 3))
    rows = np.repeat(np.arange(people), lengths)
    wanted = favourites[rows, random.integers(0, 3, rows.size)]
    so_far = np.append(0, np.cumsum(popularity))
    begin, end = (np.searchsorted(category, wanted, side=s) for s in ("left", "right"))
    at = so_far[begin] + random.random(rows.size) * (so_far[end] - so_far[begin])
    items = np.clip(np.searchsorted(so_far, at, side="right") - 1, begin, end - 1)
    times = as_of_us - (random.random(rows.size) * DAYS * DAY_US).astype(np.int64) - 1
    times = times[np.lexsort((times, rows))]
    signals = random.choice(3, rows.size, p=[0.8, 0.15, 0.05]).astype(np.int8)
    return Timelines(
        indptr, items.astype(np.int32), signals, times, _visits(rows, times), category.size
    )


def _visits(rows: Int64, times: Int64) -> Int32:
    """(m,) the number of each event's visit: a new one every day."""
    opens = np.ones(rows.size, dtype=np.bool_)
    opens[1:] = (np.diff(rows) != 0) | (np.diff(times // DAY_US) != 0)
    so_far = np.cumsum(opens)
    first = np.searchsorted(rows, rows)
    return (so_far - so_far[first]).astype(np.int32)


def item_id(number: int) -> str:
    """The id of an item by its place in the catalogue."""
    return f"i{number:07d}"


def person_id(number: int) -> str:
    """The id of a customer by the place of its timeline."""
    return f"c{number:06d}"


def path_of(branch: int, leaf: int | None = None) -> str:
    """A category's path."""
    return f"b{branch:02d}" if leaf is None else f"b{branch:02d}/l{leaf:02d}"


def _feature_set(shop: Shop, world: World, directory: Path) -> FeatureSet:
    """What `training.bundle.save` reads, in `directory`."""
    directory.mkdir(parents=True)
    for name, table in _tables(shop, world).items():
        table.to_parquet(directory / f"{name}.parquet")
    people, items = shop.people, [item_id(n) for n in range(shop.items)]
    moment = from_us(world.as_of_us).isoformat()
    manifest = {"digest": shop.name, "as_of": moment, "as_of_us": world.as_of_us, "segments": []}
    return FeatureSet(
        directory=directory, manifest=manifest, timelines=world.timelines,
        persons=IdTable.of([f"u:{person_id(n)}" for n in range(people)]),
        devices=Devices(IdTable.of([]), np.empty(0, np.int32)), items=IdTable.of(items),
        consent=np.ones(people, np.bool_), stages=np.full(people, ACTIVE, np.int8),
        segments=np.full(people, -1, np.int16),
        declared=Declared.strangers(people, BRANCHES * (LEAVES + 1)),
        text=np.zeros((shop.items, 0), np.float32),
    )  # fmt: skip


def _tables(shop: Shop, world: World) -> Mapping[str, pd.DataFrame]:
    """items, categories, links and repurchase, as a build writes them."""
    n, random = shop.items, np.random.default_rng(1)
    ids = [item_id(number) for number in range(n)]
    leaves = [path_of(b, leaf) for b in range(BRANCHES) for leaf in range(LEAVES)]
    born = world.as_of_us - (random.random(n) * 700 * DAY_US).astype(np.int64)
    items: dict[str, Any] = {
        "item_id": ids, "kind": shop.kind, "title": [f"Item number {one}" for one in ids],
        "text": None, "category": np.array(leaves, dtype=object)[world.category],
        "brand": np.array([f"Brand {b}" for b in range(200)], dtype=object)[
            random.integers(0, 200, n)
        ],
        "price": np.exp(random.normal(3, 1, n)).round(2), "list_price": np.nan, "currency": "EUR",
        "url": [f"/items/{one}" for one in ids],
        "image_url": [f"/images/{one}.webp" for one in ids],
        "language": "en", "published_us": born, "available": True, "available_until_us": np.nan,
        "sensitive": False, "item_index": np.arange(n, dtype=np.int32), "first_seen_us": born,
        "price_relative": np.exp(random.normal(0, 0.3, n)),
    }  # fmt: skip
    tree = sorted([*leaves, *(path_of(branch) for branch in range(BRANCHES))])
    return {
        "items": pd.DataFrame(items),
        "categories": pd.DataFrame({"category_index": np.arange(len(tree)), "path": tree}),
        "links": pd.DataFrame({"device": pd.Series(dtype=str), "shared": pd.Series(dtype=bool)}),
        "repurchase": pd.DataFrame(
            {"item_index": np.empty(0, np.int64), "median_days": np.empty(0, np.float32)}
        ),
    }
