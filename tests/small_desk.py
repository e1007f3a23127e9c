"""A shop of thirteen items whose desk can be asked without a server.

Twelve customers `c0` … `c11` looked at r1, then r2, then t1. Two more, `d0` and `d1`, looked at k1,
then k2. `h0` bought h1, which is sensitive, and looked at r1 and r3. `d0` told the shop of
garden/tools, `d1` asked for less of kitchen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from conftest import SmallShop

from features.types import to_us
from serving.decisions import DecisionLog
from serving.desk import Desk
from serving.living import Living
from serving.rulebook import Rulebook
from serving.sqlite_state import SqliteState
from serving.state import Event, Fact
from training import bundle as bundles
from training.bundle import Bundle
from training.fitting import fit
from training.item_facts import ItemFacts
from training.past import Past
from training.recipe import Recipe

END = datetime(2026, 3, 1, 12, tzinfo=UTC)
END_US = to_us(END)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NAMES = ("popularity", "transitions", "neighbours")
LADDER = [("one_to_one", "neighbours"), ("context", "transitions"), ("one_for_all", "popularity")]
PLACES = {
    "r1": "garden/roses", "r2": "garden/roses", "r3": "garden/roses", "t1": "garden/tools",
    "t2": "garden/tools", "k1": "kitchen", "k2": "kitchen", "sold": "kitchen", "soon": "kitchen",
    "h1": "health/care", "h2": "health/care", "h3": "health/care/mild",
}  # fmt: skip
PARTS: dict[str, Any] = {
    "signals": {
        "view": {"weight": 1, "half_life_days": 30},
        "purchase": {"weight": 5, "half_life_days": 90, "had": True},
        "dislike": {"weight": -1},
    },
    "shop": {"clock": "as_of", "consent_default": "yes"},
    "repeat": {"product": "exclude"},
    "placements": {
        "home": {"kind": "product", "size": 4},
        "magazine": {"channel": "app", "kind": "article", "size": 2, "highest_rung": "context"},
    },
}


def _items() -> list[dict[str, Any]]:
    rows = [
        {"item_id": one, "kind": "product", "title": one.upper(), "category": path, "brand": "Own"}
        for one, path in PLACES.items()
    ]
    rows.append({"item_id": "a1", "kind": "article", "title": "A1", "category": "stories"})
    for row in rows:
        row["available"] = row["item_id"] != "sold"
        row["sensitive"] = row["item_id"] in ("h1", "h2")
        row["published_at"] = END + (DAY if row["item_id"] == "soon" else -99 * DAY)
    return rows


def _log() -> list[dict[str, Any]]:
    visits = [(f"c{n}", ("r1", "r2", "t1"), 10 + n) for n in range(12)]
    visits += [(f"d{n}", ("k1", "k2"), 40 + n) for n in range(2)]
    visits += [("h0", ("r1", "r3", "h1"), 5)]
    return [
        {"user_id": who, "item_id": item, "occurred_at": END - ago * DAY - (3 - step) * MINUTE,
         "event_type": "purchase" if item == "h1" else "view"}
        for who, items, ago in visits for step, item in enumerate(items)
    ] + [{"user_id": "c11", "item_id": "a1", "occurred_at": END, "event_type": "view"}]  # fmt: skip


@cache
def model() -> Bundle:
    """The shop's model, made once."""
    return Bundle.open(directory())


@cache
def directory() -> Path:
    """Where the shop's model lies: version 1, to be copied."""
    shop = SmallShop(Path(mkdtemp()), None)
    sources = {
        "events": shop.file("log.parquet", _log()), "items": shop.file("i.parquet", _items()),
        "identities": shop.file("who.parquet", [
            {"visitor_id": "phone", "user_id": "c0", "linked_at": END - 9 * DAY}]),
        "preferences": shop.file("said.parquet", [
            {"user_id": who, "visitor_id": None, "question": question, "answer": answer,
             "answered_at": END - 2 * DAY}
            for who, question, answer in (("d0", "topic", "garden/tools"),
                                          ("d1", "less_of_this", "kitchen"))]),
    }  # fmt: skip
    features = shop.build(sources, now=END + 99 * DAY, **PARTS)
    config = shop.config(sources, **PARTS)
    past = Past.plain(features.timelines, features.as_of_us, config.signals, ItemFacts.of(features))
    rankers = {name: fit(name, past, config.training) for name in NAMES}
    recipe = Recipe(config.training, list(NAMES), LADDER)
    bundles.save(shop.home.bundles / "v1", features, config, rankers, recipe, {})
    return shop.home.bundles / "v1"


def changed(bundle: Bundle, **sections: object) -> Bundle:
    """The same model with other sections in its config."""
    told = {**bundle.config.model_dump(), **sections}
    return replace(bundle, config=type(bundle.config).model_validate(told))


def at_desk(
    path: Path, work: Callable[[Desk], Awaitable[Any]], facts: Sequence[Fact] = (),
    bundle: Bundle | None = None,
) -> Any:  # fmt: skip
    """What `work` gives at a desk whose state, in `path`, has been told `facts`."""

    async def main() -> Any:
        state = SqliteState(path / "state.db", b"key")
        log = DecisionLog(path / "decisions", "worker", flush_seconds=0.01)
        try:
            if facts:
                await state.write(facts)
            living = await Living.of(bundle or model(), state)
            return await work(Desk(living, state, Rulebook.of(None, living), log, b"x" * 32))
        finally:
            log.close()
            await state.close()

    return asyncio.run(main())


def view(item: str, *, after: float = 1, kind: str = "view", **who: str) -> Event:
    """Somebody looked at an item so many minutes after the model's moment."""
    moment = END_US + round(after * 60_000_000)
    return Event(item_id=item, event_type=kind, occurred_us=moment, **who)
