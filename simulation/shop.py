"""The tables besides the log: items with pictures, customers, links, answers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from simulation.catalogue import NEVER_US, Catalogue
from simulation.config import DAY_US, HOUR_US, SimulationConfig, Stage
from simulation.log import Log
from simulation.names import item_ids, user_ids, visitor_ids
from simulation.people import EMAIL_FREQUENCIES, People
from simulation.pictures import draw_item
from simulation.tables import times, write_table
from simulation.wording import Wording

FIRST_NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hannah", "Ivan", "Jonas", "Julia",
    "Karim", "Laura", "Leon", "Maria", "Mia", "Nina", "Noah", "Olga", "Paul", "Priya", "Sara",
    "Sofia", "Thomas", "Tim", "Yasmin",
)  # fmt: skip
COUNTRIES = {"DE": 0.62, "AT": 0.12, "CH": 0.09, "NL": 0.09, "GB": 0.08}
LANGUAGES = {"en": 0.92, "de": 0.08}


def write_items(out: Path, config: SimulationConfig, catalogue: Catalogue, words: Wording) -> None:
    """Write items.parquet and the pictures it points to."""
    ids, paths = item_ids(catalogue), [leaf.path for leaf in catalogue.leaves]
    category = [paths[leaf] for leaf in catalogue.leaf]
    pictures = _write_pictures(out, config, catalogue, words)
    pages = zip(catalogue.article.tolist(), ids, strict=True)
    sensitive = np.array([leaf.sensitive for leaf in catalogue.leaves])[catalogue.leaf]
    until = np.where(catalogue.ends_us == NEVER_US, -1, catalogue.ends_us)
    write_table(
        out / "items.parquet",
        {
            "item_id": pa.array(ids),
            "kind": pa.array(np.where(catalogue.article, "article", "product")),
            "title": pa.array(words.titles),
            "text": pa.array(words.texts),
            "category": pa.array(category),
            "brand": pa.array(words.brands),
            "price": pa.array(catalogue.price, from_pandas=True),
            "list_price": pa.array(catalogue.list_price, from_pandas=True),
            "currency": pa.array(np.full(len(ids), "EUR"), mask=catalogue.article),
            "url": pa.array([f"/{'magazine' if a else 'shop'}/{i.lower()}" for a, i in pages]),
            "image_url": pa.array(pictures),
            "language": pa.array(np.full(len(ids), "en")),
            "published_at": times(catalogue.published_us),
            "available": pa.array(~catalogue.sold_out),
            "available_until": times(until),
            "sensitive": pa.array(sensitive),
        },
    )


def write_customers(out: Path, config: SimulationConfig, people: People) -> None:
    """Write customers.parquet."""
    rng, n = config.rng(Stage.TABLES), people.customers
    weekly = people.newsletters_per_week[:n].astype(np.float64)
    offered = rng.choice(np.array(EMAIL_FREQUENCIES), n)
    write_table(
        out / "customers.parquet",
        {
            "user_id": user_ids(np.arange(n)),
            "first_name": pa.array(rng.choice(np.array(FIRST_NAMES), n)),
            "language": pa.array(_one_of(rng, LANGUAGES, n)),
            "joined_at": times(people.joined_us[:n]),
            "country": pa.array(_one_of(rng, COUNTRIES, n)),
            "consent_personalise": pa.array(rng.random(n) < 0.85),
            "consent_email": pa.array(weekly > 0),
            "email_frequency_per_week": pa.array(np.where(weekly > 0, weekly, offered)),
        },
    )


def write_preferences(
    out: Path, config: SimulationConfig, people: People, catalogue: Catalogue
) -> None:
    """Write preferences.parquet: the favourite branch, mostly the true one."""
    rng, n = config.rng(Stage.TABLES, 1), len(people)
    eager = np.where(np.arange(n) < people.customers, 1.0, 0.2)
    who = np.flatnonzero(rng.random(n) < config.answering_share * eager)
    names = list(dict.fromkeys(leaf.branch.name for leaf in catalogue.leaves))
    true = favourite_branch(people, catalogue)[who]
    honest = rng.random(len(who)) < config.honest_share
    answer = np.where(honest, true, rng.integers(0, len(names), len(who)))
    begin = np.where(who < people.customers, people.joined_us[who], config.start_us)
    begin = np.clip(begin, config.start_us, config.end_us - HOUR_US)
    customer = who < people.customers
    write_table(
        out / "preferences.parquet",
        {
            "user_id": pa.array(user_ids(who).to_numpy(zero_copy_only=False), mask=~customer),
            "visitor_id": pa.array(
                visitor_ids(people.device[who, 0]).to_numpy(zero_copy_only=False), mask=customer
            ),
            "question": pa.array(np.full(len(who), "favourite_topic")),
            "answer": pa.array([names[row] for row in answer]),
            "answered_at": times(rng.integers(begin, config.end_us)),
        },
    )


def favourite_branch(people: People, catalogue: Catalogue) -> NDArray[np.int64]:
    """(n,) the branch each person truly likes best, in order of the tree."""
    names = [leaf.branch.name for leaf in catalogue.leaves]
    starts = [names.index(name) for name in dict.fromkeys(names)]
    return np.asarray(np.add.reduceat(people.taste, starts, axis=1).argmax(axis=1))


def links(log: Log, rng: np.random.Generator, end_us: int) -> dict[str, object]:
    """Who was seen logged in on which device, first and, for some that ended, last."""
    both = log[(log["user"] >= 0) & (log["visitor"] >= 0)]
    both = both[np.lexsort((both["occurred_us"], both["visitor"], both["user"]))]
    change = (np.diff(both["user"]) != 0) | (np.diff(both["visitor"]) != 0)
    first = np.r_[True, change][: len(both)]
    last = np.r_[change, True][: len(both)]
    over_us = both["occurred_us"][last] + DAY_US
    ended = (rng.random(len(over_us)) < 0.05) & (over_us < end_us)
    return {
        "visitor_id": visitor_ids(both["visitor"][first].astype(np.int64)),
        "user_id": user_ids(both["user"][first].astype(np.int64)),
        "linked_at": times(both["occurred_us"][first]),
        "unlinked_at": times(np.where(ended, over_us, -1)),
    }


def _one_of(rng: np.random.Generator, shares: dict[str, float], n: int) -> NDArray[np.str_]:
    return rng.choice(np.array(list(shares)), n, p=list(shares.values()))


def _write_pictures(
    out: Path, config: SimulationConfig, catalogue: Catalogue, words: Wording
) -> list[str]:
    """One picture per item, or per category and kind where there are too many; their paths."""
    (out / "images").mkdir(exist_ok=True)
    rng = config.rng(Stage.TABLES, 2)
    if len(catalogue) > config.pictures:
        return _share_pictures(out, catalogue)
    names = [f"images/{item}.svg" for item in item_ids(catalogue)]
    tints = rng.random(len(catalogue))
    for row, (name, title) in enumerate(zip(names, words.titles, strict=True)):
        leaf, article = catalogue.leaves[catalogue.leaf[row]], bool(catalogue.article[row])
        svg = draw_item(leaf, title, article=article, tint=tints[row])
        (out / name).write_text(svg, encoding="utf-8")
    return names


def _share_pictures(out: Path, catalogue: Catalogue) -> list[str]:
    names = {}
    for row, leaf in enumerate(catalogue.leaves):
        for kind in (False, True):
            slug = f"{'article' if kind else 'product'}-{leaf.path.replace('/', '-')}"
            names[row, kind] = f"images/{slug}.svg"
            title = leaf.path.rsplit("/", 1)[-1]
            svg = draw_item(leaf, title, article=kind, tint=0.5)
            (out / names[row, kind]).write_text(svg, encoding="utf-8")
    pairs = zip(catalogue.leaf.tolist(), catalogue.article.tolist(), strict=True)
    return [names[leaf, article] for leaf, article in pairs]
