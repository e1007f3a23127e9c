"""A simulated shop as it stood at the first mailing, and what happens there from then on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from features.types import DAY_US, HOUR_US
from serving.state import Event, Fact, Forget, ItemChange, Shown
from simulation import SimulationConfig
from simulation.names import item_ids
from simulation.world import World

WEEK_US = 7 * DAY_US
WINDOW_DAYS = 14.0  # `not_repeated_for_days` of both blocks
PLACES = ("newsletter_products", "newsletter_top")
FORGOTTEN, ELSEWHERE = 0.002, 0.02  # of the customers: each week, and from the start
TOLD: dict[str, Any] = {  # of feeds.yaml, beside what the simulated shop has
    "placements": {
        PLACES[0]: {"channel": "email", "kind": "product", "size": 4, "min_items": 2,
                    "not_repeated_for_days": WINDOW_DAYS, "on_too_few": "suppress"},
        PLACES[1]: {"channel": "email", "kind": "article", "size": 3, "min_items": 3,
                    "not_repeated_for_days": WINDOW_DAYS, "on_too_few": "suppress"},
    },
    "messages": [],
    "experiments": [
        {"name": "mails", "arms": {"none": {"share": 0.05, "mail": False}}, "placements": PLACES}
    ],
    "training": {
        "rankers": ["popularity", "segment_popularity", "repeat", "transitions", "als", "ease"]
    },
}  # fmt: skip
WITHHOLD = {
    "mails_per_week": 1, "just_bought_days": 2, "stale_after_days": 60, "min_events": 3,
    "channel_question": "contact", "channel_answers": ["email"],
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large a shop is; `learning_days` come before the first mailing."""

    customers: int = 1500
    items: int = 600
    events: int = 120_000
    learning_days: int = 84
    mailings: int = 8

    def config(self, seed: int) -> SimulationConfig:
        """The shop of a seed; its log ends a day after the last mailing."""
        days = self.learning_days + 7 * (self.mailings - 1) + 1
        return SimulationConfig(
            customers=self.customers, items=self.items, events=self.events, days=days, seed=seed,
            pictures=0, truth_cells=1,  # nobody looks at them here
        )  # fmt: skip

    def moments(self, config: SimulationConfig) -> list[int]:
        """When the mailings go out, at seven in the morning UTC; microseconds since 1970."""
        first = config.start_us + self.learning_days * DAY_US + 7 * HOUR_US
        return [first + number * WEEK_US for number in range(self.mailings)]


@dataclass(frozen=True)
class Week:
    """What the store is told before a mailing."""

    facts: list[Fact]
    shown: list[Shown]


def prepare(base: Path, world: World, at_us: int) -> None:
    """Write the tables as they were at the first mailing, and what the config says of mails."""
    items = pd.read_parquet(base / "items.parquet")  # in the order of the catalogue
    available = world.catalogue.ends_us > at_us
    items.assign(available=available).to_parquet(base / "items.parquet")
    random = np.random.default_rng([world.config.seed, 1])
    users = pd.read_parquet(base / "customers.parquet").user_id
    away = users[random.random(len(users)) < ELSEWHERE]
    told = pd.read_parquet(base / "preferences.parquet")
    post = pd.DataFrame({"user_id": away, "question": "contact", "answer": "post"})
    post["answered_at"] = pd.Series(world.config.start, post.index, told.answered_at.dtype)
    pd.concat([told, post]).to_parquet(base / "preferences.parquet")
    config = yaml.safe_load((base / "feeds.yaml").read_text(encoding="utf-8")) | TOLD
    config["mail"]["withhold"] = WITHHOLD
    text = yaml.safe_dump(json.loads(json.dumps(config)))  # tuples are lists there
    (base / "feeds.yaml").write_text(text, encoding="utf-8")


def weeks_of(base: Path, world: World, moments: Sequence[int]) -> list[Week]:
    """What is told before each mailing; nothing before the first: the model knows that."""
    log, catalogue, ids = _log(base), world.catalogue, item_ids(world.catalogue)
    users = pd.read_parquet(base / "customers.parquet").user_id
    random, found = np.random.default_rng([world.config.seed, 2]), [Week([], [])]
    for begin, end in pairwise(moments):
        own = log[(log.occurred_us > begin) & (log.occurred_us <= end)]
        gone = np.flatnonzero((catalogue.ends_us > begin) & (catalogue.ends_us <= end))
        facts: list[Fact] = [Event(**one) for one in _rows(own)]
        facts += [ItemChange(item_id=ids[row], at_us=int(catalogue.ends_us[row]), available=False)
                  for row in gone.tolist()]  # fmt: skip
        facts += [Forget(user_id=user, at_us=end)
                  for user in users[random.random(len(users)) < FORGOTTEN]]  # fmt: skip
        found.append(Week(facts, _seen(own[own.placement == "home"])))
    return found


def _rows(log: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(_FIELDS, row, strict=True)) for row in log[_FIELDS].itertuples(index=False)]


_FIELDS = ["item_id", "event_type", "occurred_us", "user_id", "session_id", "event_id"]
_TYPES = ["view", "read", "cart", "purchase", "dislike"]  # what clicks on mails did is not told


def _log(base: Path) -> pd.DataFrame:
    """What customers did on the site while they were logged in, in order of time, without dirt."""
    log = pd.read_parquet(base / "events.parquet").dropna(subset=["occurred_at", "user_id"])
    log = log[log.event_type.isin(_TYPES) & log.user_id.ne("")].drop_duplicates("event_id")
    log = log.assign(
        item_id=log.item_id.str.upper(),
        occurred_us=log.occurred_at.astype("datetime64[us, UTC]").astype(np.int64),
        session_id=log.session_id.astype(object).where(log.session_id.notna(), None),
    )
    return log[log.item_id.str.match("SKU|ART", na=False)].sort_values("occurred_us")


def _seen(home: pd.DataFrame) -> list[Shown]:
    """What people looked at on the front page must have stood there: a feed for each of them."""
    return [
        Shown(decision_id=f"{own.occurred_us.max()}-{user}", name=f"u:{user}", placement="home",
              item_ids=own.item_id.unique().tolist(), at_us=int(own.occurred_us.max()))
        for user, own in home.groupby("user_id")
    ]  # fmt: skip
