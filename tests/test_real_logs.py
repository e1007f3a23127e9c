"""The main job on parts of real logs, where they lie on this machine: what must be true of any log.

FEEDS_DATA names the directory that holds them; without it, `../shared/data` is looked at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from features.build import build
from features.config import RUNGS, Config, load_config
from features.feature_set import FeatureSet
from features.home import Home
from features.training_options import RankerName
from training.batch import Wish, rank_file
from training.bundle import Bundle, open_bundle
from training.jobs import train

ROOT = Path(__file__).parents[1]
LOGS = Path(os.environ.get("FEEDS_DATA") or ROOT.parent / "shared" / "data")
SIZE = 20


@dataclass(frozen=True)
class Log:
    """A real log: which part of it is read, and how its people, sessions and items are called."""

    files: str
    part: str  # name that the example's config looks for
    rows: str  # the part: what stands between SELECT * FROM log and the end
    person: str | None
    session: str
    item: str
    order: str


KNOWN = {
    "online_retail": Log(
        "online_retail/*.parquet", "online_retail_part.parquet",
        "WHERE InvoiceDate >= TIMESTAMP '2011-09-12'", "CustomerID::BIGINT::VARCHAR",
        "InvoiceNo", "StockCode", "InvoiceDate",
    ),
    "deskdrop": Log(
        "deskdrop/*.parquet", "users_interactions_part.parquet",
        "ORDER BY timestamp DESC LIMIT 15000", "personId::VARCHAR",
        "sessionId::VARCHAR", "contentId::VARCHAR", "timestamp",
    ),
}  # fmt: skip
ALL = KNOWN | {
    "eshop_clothing": Log(
        "eshop_clothing_clicks/*.parquet", "clicks_part.parquet",
        "WHERE month = 6 AND day >= 15 ORDER BY hash(price, \"order\", \"session ID\")", None,
        '"session ID"::VARCHAR', '"page 2 (clothing model)"', '"order"',
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Shop:
    """A log with all that was made from it."""

    log: Log
    file: Path
    config: Config
    home: Home
    features: FeatureSet
    bundle: Bundle

    def ask(self, sql: str) -> pd.DataFrame:
        """Ask the part of the log, called `log`, in SQL."""
        with duckdb.connect() as connection:
            connection.execute(f"CREATE VIEW log AS SELECT * FROM read_parquet('{self.file}')")
            return connection.sql(sql).df()

    def customers(self, count: int = 200) -> list[str]:
        """Some of the people that the model knows."""
        ids = [str(i, "utf-8") for i in self.bundle.persons.ids if i.startswith(b"u:")]
        return [i.removeprefix("u:") for i in ids[:count]]

    def sessions(self, count: int = 100) -> pd.DataFrame:
        """The first half of some visits, as people that nobody knows."""
        log = self.log
        return self.ask(
            f"SELECT 'visit ' || {log.session} AS person_id, "
            f"list({log.item} ORDER BY {log.order})[:(count(*) + 1) // 2] AS recent "
            f"FROM log GROUP BY {log.session} ORDER BY 1 LIMIT {count}"
        )


class Shops(dict[str, Shop]):
    """Every shop that has been asked for: each is built and trained once."""

    def __init__(self, base: Callable[[str], Path]) -> None:
        self.base = base

    def __missing__(self, name: str) -> Shop:
        self[name] = _run(name, self.base(name))
        return self[name]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Shops:
    return Shops(tmp_path_factory.mktemp)


QUICK: list[RankerName] = ["popularity", "transitions", "neighbours", "als"]


def _run(name: str, base: Path) -> Shop:
    """The main job: log, config, build, train; nothing is promoted."""
    log = ALL[name]
    if not any(LOGS.glob(log.files)):
        pytest.skip(f"no {log.files} under {LOGS}; set FEEDS_DATA to where the logs lie")
    shutil.copy(ROOT / "examples" / name / "feeds.yaml", base)
    (base / "data").mkdir()
    file = base / "data" / log.part
    duckdb.sql(f"COPY (SELECT * FROM read_parquet('{LOGS / log.files}') {log.rows}) TO '{file}'")
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    features = build(config, base, home)
    train(config, base, home, rankers=QUICK)
    return Shop(log, file, config, home, features, open_bundle(home, None))


def _ranked(shop: Shop, people: pd.DataFrame, **wish: Any) -> pd.DataFrame:
    asked, answer = shop.home.root / "people.parquet", shop.home.root / "ranked.parquet"
    people.to_parquet(asked)
    rank_file(shop.bundle, asked, answer, Wish(SIZE, **wish))
    return pd.read_parquet(answer)


def _is_a_full_feed_for_each(ranked: pd.DataFrame, people: list[str]) -> None:
    assert ranked["person_id"].drop_duplicates().tolist() == people
    for _, feed in ranked.groupby("person_id"):
        assert feed["rank"].tolist() == list(range(1, SIZE + 1))
        assert feed["item_id"].is_unique


def _first(ranked: pd.DataFrame, rung: str) -> float:
    """Share of the people whose first item is of `rung`; a few have done nothing that counts."""
    return float((ranked.query("rank == 1")["rung"] == rung).mean())


def _top(shop: Shop, *rungs: str) -> str:
    """The first of `rungs` that paid on this log, so that its ladder has it."""
    return next(rung for rung in rungs if any(step.rung == rung for step in shop.bundle.ladder))


@pytest.mark.parametrize("name", ALL)
def test_every_row_is_left_out_accepted_or_rejected(shops, name):
    shop = shops[name]
    (rows,) = shop.ask("SELECT count(*) AS rows FROM log")["rows"]
    rejects = pd.read_parquet(shop.home.rejects)
    for table in shop.features.manifest["tables"]:
        assert table["left_out"] + table["accepted"] + table["rejected"] == rows
        assert (rejects["table_name"] == table["name"]).sum() == table["rejected"]


@pytest.mark.parametrize("name", ALL)
def test_the_model_reads_every_event_as_the_log_meant_it(shops, name):
    shop = shops[name]
    assert list(shop.bundle.config.signals) == list(shop.config.signals)
    found = np.bincount(shop.features.timelines.signals, minlength=len(shop.config.signals))
    kept = shop.features.manifest["event_types"]
    assert found.tolist() == [kept.get(signal, 0) for signal in shop.config.signals]


@pytest.mark.parametrize("name", KNOWN)
def test_known_customers_get_full_feeds(shops, name):
    shop = shops[name]
    people = shop.customers()
    ranked = _ranked(shop, pd.DataFrame({"person_id": people}))
    _is_a_full_feed_for_each(ranked, people)
    assert _first(ranked, _top(shop, "one_to_one", "one_for_all")) > 0.9  # no session
    personal = _ranked(shop, pd.DataFrame({"person_id": people}), ranker="als")
    assert _first(personal, "one_to_one") > 0.9


@pytest.mark.parametrize("name", ALL)
def test_sessions_get_full_feeds_by_what_they_looked_at(shops, name):
    shop = shops[name]
    people = shop.sessions()
    ranked = _ranked(shop, people, repeat="exclude")
    _is_a_full_feed_for_each(ranked, people["person_id"].tolist())
    ceiling = shop.bundle.ceiling(None, None)  # of strangers who have seen something: does it pay?
    pays = ceiling is None or ceiling[1, -1, -1] >= RUNGS.index("context")
    assert _first(ranked, _top(shop, "context", "one_for_all") if pays else "one_for_all") > 0.9
    seen = {(p, item) for p, recent in people.itertuples(index=False) for item in recent}
    assert not seen & set(zip(ranked["person_id"], ranked["item_id"], strict=True))


@pytest.mark.parametrize("name", ALL)
def test_strangers_get_what_is_popular(shops, name):
    ranked = _ranked(shops[name], pd.DataFrame({"person_id": ["nobody", "nobody else"]}))
    _is_a_full_feed_for_each(ranked, ["nobody", "nobody else"])
    assert set(ranked["rung"]) == {"one_for_all"}
    assert set(ranked["ranker"]) == {"popularity"}
    one, other = (feed["item_id"].tolist() for _, feed in ranked.groupby("person_id"))
    assert one == other
    assert (ranked["score"].groupby(ranked["person_id"]).diff().dropna() <= 0).all()


def test_an_article_is_not_shown_to_those_who_read_it(shops):
    shop = shops["deskdrop"]
    ranked = _ranked(shop, pd.DataFrame({"person_id": shop.customers(1000)}))
    read = shop.ask(
        "SELECT DISTINCT personId::VARCHAR AS person_id, contentId::VARCHAR AS item_id FROM log"
    )
    assert ranked.merge(read, on=["person_id", "item_id"]).empty


def test_negative_64_bit_ids_survive_as_text(shops):
    shop = shops["deskdrop"]
    articles = set(shop.ask("SELECT DISTINCT contentId::VARCHAR AS id FROM log")["id"])
    assert {item.decode() for item in shop.bundle.catalogue.ids.ids} == articles
    people = shop.ask("SELECT DISTINCT personId AS person_id FROM log WHERE personId < 0 LIMIT 20")
    ranked = _ranked(shop, people)  # asked for by number, answered by text
    assert set(ranked["person_id"]) == set(people["person_id"].astype(str))
    assert set(ranked["item_id"]) <= articles
    assert ranked["item_id"].str.startswith("-").any()


def test_clicks_without_a_time_of_day_keep_their_order(shops):
    """The part is written in disorder, so that the file's order cannot help."""
    shop = shops["eshop_clothing"]
    visits = shop.ask(
        "SELECT 's:' || \"session ID\" AS person, "
        'list("page 2 (clothing model)" ORDER BY "order") AS clicks FROM log GROUP BY 1 LIMIT 300'
    )
    timelines, rows = shop.features.timelines, shop.features.persons.indices(list(visits["person"]))
    for row, clicks in zip(rows.tolist(), visits["clicks"], strict=True):
        items = timelines.items[timelines.indptr[row] : timelines.indptr[row + 1]]
        assert shop.features.items.texts(items) == list(clicks)


def test_gift_ware_feeds_hold_products_only(shops):
    shop = shops["online_retail"]
    ranked = _ranked(shop, pd.DataFrame({"person_id": shop.customers(1000)}))
    assert ranked["item_id"].str.match("^[0-9]{5}").all()
    catalogue = shop.bundle.catalogue
    assert all(catalogue.titles[item].strip() for item in range(len(catalogue)))


def test_who_sent_everything_back_is_a_stranger(shops):
    shop = shops["online_retail"]
    gone = shop.ask(
        "SELECT CustomerID AS person_id FROM log WHERE CustomerID IS NOT NULL GROUP BY 1 "
        "HAVING bool_and(starts_with(InvoiceNo, 'C'))"
    )
    assert len(gone)
    assert set(_ranked(shop, gone)["rung"]) == {"one_for_all"}
