"""Eight weekly mailings of a simulated shop whose tastes are known: is a personal mail worth it?

The shop is learned up to the first mailing as `feeds train --as-of` does. Then every week `feeds
mail`'s own code decides for all customers whether they get a mail and what is in it, under three
policies: everybody the same bestsellers, always one-to-one, and by evidence. Before each mailing
the store of each policy is told the same: what happened on the site, what has sold out, who was
forgotten. Nothing is drawn: of every item shown the true chance of a click at that moment is
known, and what a click brings. So policies are compared on the same people, without noise; what
differs between shops is in the intervals.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import typer
import yaml
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from command.show import progress_bar
from features.config import Config, load_config
from features.home import Home, Progress, part_of, silent
from features.types import DAY_US, HOUR_US, from_us
from serving.desk import Desk
from serving.mailing import run
from serving.mailing.opening import Shop, mailer_of, opened
from serving.mailing.parts import Record, parts
from serving.state import Event, Fact, Forget, ItemChange, Shown
from simulation import SimulationConfig, simulate
from simulation.appeal import click_probability
from simulation.buying import sales_of_a_look
from simulation.names import item_ids
from simulation.world import World, make_world
from training.bundle import Bundle, open_bundle
from training.jobs import train

WEEK_US = 7 * DAY_US
WINDOW_DAYS = 14.0  # `not_repeated_for_days` of both blocks
PLACES = ("newsletter_products", "newsletter_top")
POLICIES = {"bestsellers": "everybody the same bestsellers", "one_to_one": "always one-to-one",
            "evidence": "by evidence"}  # fmt: skip
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
    "min_new_items": 4, "channel_question": "contact", "channel_answers": ["email"],
}  # fmt: skip
console = Console(width=110)


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


@dataclass(frozen=True)
class Found:
    """What all mailings of one shop under one policy came to.

    recipients: times mailings          suppressed: reason -> recipients without a mail
    left_out:   placement: reason -> blocks that mails lack
    fallback:   reason -> blocks that are less personal than they could be
    rungs:      of the items shown
    twice, again, from_site: items that stand twice in a mail, that a mail before it showed within
                the window, or the site
    clicks, sales: of all mails, expected: clicks, and EUR; of each item in `by_place`
    """

    seed: int
    policy: str
    recipients: int
    mails: int
    suppressed: dict[str, int]
    left_out: dict[str, int]
    fallback: dict[str, int]
    rungs: dict[str, int]
    items: int
    twice: int
    again: int
    from_site: int
    clicks: float
    sales: float
    clicks_of: dict[str, float]


def main(
    seeds: Annotated[int, typer.Option(min=1, help="shops")] = 10,
    first: Annotated[int, typer.Option(min=0, help="the first seed")] = 0,
    customers: Annotated[int, typer.Option(min=50, help="of each shop")] = Size.customers,
    items: Annotated[int, typer.Option(min=80, help="of each shop")] = Size.items,
    events: Annotated[int, typer.Option(min=1000, help="of each log")] = Size.events,
    mailings: Annotated[int, typer.Option(min=2, help="a week apart")] = Size.mailings,
    out: Annotated[Path | None, typer.Option(help="a JSON file with all numbers")] = None,
) -> None:
    """Print what each policy sends, withholds, repeats and brings."""
    size, rows = Size(customers, items, events, mailings=mailings), list[Found]()
    with progress_bar() as progress:
        for number in range(seeds):
            share = part_of(progress, number / seeds, (number + 1) / seeds)
            rows += of_seed(first + number, size, share)
            if out is not None:  # after each shop: whatever ends the run, these are kept
                told = {"size": asdict(size), "found": [asdict(one) for one in rows]}
                out.write_text(json.dumps(told, indent=1) + "\n")
    console.print(_brought(rows), _gained(rows), _withheld(rows))


def of_seed(seed: int, size: Size, progress: Progress = silent) -> list[Found]:
    """One shop under all policies."""
    base = Path(tempfile.mkdtemp(prefix="feeds-mailings-"))
    try:
        config = size.config(seed)
        world, moments = make_world(config), size.moments(config)
        simulate(config, base, progress=part_of(progress, 0.0, 0.1))
        _prepare(base, world, moments[0])
        shop, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
        train(shop, base, home, as_of=from_us(moments[0]), progress=part_of(progress, 0.1, 0.4))
        bundle, weeks = open_bundle(home, None), _weeks(base, world, moments)
        found = []
        for number, policy in enumerate(POLICIES):
            progress(POLICIES[policy], 0.4 + 0.2 * number)
            mails = asyncio.run(_sent(base, policy, (shop, bundle), moments, weeks))
            found.append(_judged(seed, policy, mails, world, weeks))
        return found
    finally:
        shutil.rmtree(base)


def _prepare(base: Path, world: World, at_us: int) -> None:
    """Write the tables as they were at the first mailing, and what the config says of mails."""
    items, ends_us = pd.read_parquet(base / "items.parquet"), world.catalogue.ends_us
    items.assign(available=ends_us > at_us).to_parquet(base / "items.parquet")
    told = pd.read_parquet(base / "preferences.parquet")
    random = np.random.default_rng([world.config.seed, 1])
    users = pd.read_parquet(base / "customers.parquet").user_id
    away = users[random.random(len(users)) < ELSEWHERE]
    said = pd.DataFrame({"user_id": away, "visitor_id": None, "question": "contact",
                         "answer": "post", "answered_at": world.config.start})  # fmt: skip
    said["answered_at"] = said.answered_at.astype(told.answered_at.dtype)
    pd.concat([told, said]).to_parquet(base / "preferences.parquet")
    config = yaml.safe_load((base / "feeds.yaml").read_text(encoding="utf-8")) | TOLD
    config["mail"]["withhold"] = WITHHOLD
    text = yaml.safe_dump(json.loads(json.dumps(config)))  # tuples are lists there
    (base / "feeds.yaml").write_text(text, encoding="utf-8")


def _weeks(base: Path, world: World, moments: Sequence[int]) -> list[Week]:
    """What is told before each mailing: of customers who were logged in, without any dirt."""
    log = pd.read_parquet(base / "events.parquet")
    log = log[log.event_type.isin(["view", "read", "cart", "purchase", "dislike"])]
    log = log[log.user_id.fillna("").ne("") & log.item_id.str.match("(?i)SKU|ART").fillna(False)]
    log = log.dropna(subset=["occurred_at"]).drop_duplicates("event_id")
    log["at_us"] = log.occurred_at.astype("datetime64[us, UTC]").astype("int64")
    log["item_id"] = log.item_id.str.upper()
    random = np.random.default_rng([world.config.seed, 2])
    users, ids = pd.read_parquet(base / "customers.parquet").user_id, item_ids(world.catalogue)
    found = [Week([], [])]
    for begin, end in pairwise(moments):
        own = log[(log.at_us > begin) & (log.at_us <= end)].sort_values("at_us")
        facts: list[Fact] = [
            Event(item_id=item, event_type=kind, occurred_us=at, user_id=user, session_id=session,
                  event_id=event)
            for item, kind, at, user, session, event in zip(
                own.item_id, own.event_type, own.at_us, own.user_id, own.session_id, own.event_id,
                strict=True)
        ]  # fmt: skip
        gone = (world.catalogue.ends_us > begin) & (world.catalogue.ends_us <= end)
        facts += [ItemChange(item_id=ids[row], at_us=int(world.catalogue.ends_us[row]),
                             available=False) for row in np.flatnonzero(gone)]  # fmt: skip
        facts += [Forget(user_id=user, at_us=end)
                  for user in users[random.random(len(users)) < FORGOTTEN]]  # fmt: skip
        seen = own[own.placement == "home"].groupby("user_id")
        shown = [Shown(decision_id=f"{end}-{user}", name=f"u:{user}", placement="home",
                       item_ids=list(dict.fromkeys(items.item_id)), at_us=int(items.at_us.max()))
                 for user, items in seen]  # fmt: skip
        found.append(Week(facts, shown))
    return found


async def _sent(
    base: Path, policy: str, learned: tuple[Config, Bundle], moments: Sequence[int],
    weeks: Sequence[Week],
) -> pd.DataFrame:  # fmt: skip
    """All blocks of all mailings as they were written, each with its moment."""
    config, bundle = _under(policy, *learned)
    shop, written = Shop(config, base / "feeds.yaml", Home(base / policy)), []
    async with opened(shop, bundle, moments[0]) as desk:
        mailer, listed = mailer_of(desk, base, shop.home), run.Listed(run.customers_of(desk))
        for number, (at_us, week) in enumerate(zip(moments, weeks, strict=True)):
            await _tell(desk, week, at_us)
            out = shop.home.root / "mailings" / str(number)
            record = Record(
                mailing=str(number), model_version=bundle.version, rules_version="",
                as_of=bundle.manifest["as_of"], at_us=at_us, placements=PLACES,
                recipients=len(listed.user_ids), chunk=512, digest=f"{number:012}",
            )  # fmt: skip
            await run.decide_parts(mailer, record, listed, out)
            await run.remember(desk.state, shop.home, record, out)
            written += [pq.read_table(part).to_pandas().assign(at_us=at_us) for part in parts(out)]
    return pd.concat(written, ignore_index=True)


def _under(policy: str, config: Config, bundle: Bundle) -> tuple[Config, Bundle]:
    """The config and the model that make a policy."""
    told = config.model_dump(mode="json")
    if policy == "bestsellers":
        for place in PLACES:
            told["placements"][place]["highest_rung"] = "one_for_all"
    if policy == "one_to_one":
        told["mail"]["withhold"]["min_events"] = 0
        bundle = replace(bundle, evidence=None)
    return Config.model_validate(told), bundle


async def _tell(desk: Desk, week: Week, now_us: int) -> None:
    """Let the store know, and the desk follow it."""
    if week.facts:
        await desk.state.write(week.facts)
        await desk.state.keep(week.shown)
    await desk.living.catch_up(desk.state)
    desk.living.advance(now_us)


def _judged(
    seed: int, policy: str, blocks: pd.DataFrame, world: World, weeks: Sequence[Week]
) -> Found:
    """What was written, against the truth."""
    each = len(PLACES)
    decisions, reasons = (blocks[name].to_numpy().reshape(-1, each)
                          for name in ("decision", "reason"))  # fmt: skip
    none = (decisions == "suppress").all(axis=1)
    lacking = (decisions == "suppress") & ~none[:, None]
    where = np.broadcast_to(np.array(PLACES), decisions.shape)
    shown = blocks[["user_id", "placement", "at_us", "item_ids", "item_rungs"]]
    shown = shown.explode(["item_ids", "item_rungs"]).dropna(subset=["item_ids"])
    shown = shown.rename(columns={"item_ids": "item_id"})
    clicks, sales = _true(world, shown)
    twice, again, from_site = _repeated(shown, weeks)
    return Found(
        seed, policy, len(none), int((~none).sum()), _counted(reasons[none, 0]),
        _counted([f"{place}: {reason}" for place, reason in
                  zip(where[lacking], reasons[lacking], strict=True)]),
        _counted(reasons[decisions == "fallback"]), _counted(shown.item_rungs),
        len(shown), twice, again, from_site, float(clicks.sum()), float(sales.sum()),
        {place: float(clicks[shown.placement == place].sum()) for place in PLACES},
    )  # fmt: skip


def _counted(names: Any) -> dict[str, int]:
    return {str(name): count for name, count in Counter(names).most_common()}


def _true(world: World, shown: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(n,) each: the chance that the item is clicked, and the EUR that this brings."""
    rows = {name: row for row, name in enumerate(item_ids(world.catalogue))}
    item = shown.item_id.map(rows).to_numpy(np.int64)
    person = shown.user_id.str[1:].astype(np.int64).to_numpy() - 1  # as simulation.names counts
    at_us = shown.at_us.to_numpy(np.int64)
    chance = click_probability(world.shelf, world.people, person, item, at_us)
    return chance.astype(np.float64), chance * sales_of_a_look(world, person, item)


def _repeated(shown: pd.DataFrame, weeks: Sequence[Week]) -> tuple[int, int, int]:
    """Items that stand twice in a mail; that a mail within the window had; that the site had."""
    own = shown[["user_id", "item_id", "at_us"]]
    twice = int(own.duplicated().sum())
    once = own.drop_duplicates().sort_values("at_us")
    since = once.groupby(["user_id", "item_id"]).at_us.diff()
    seen = pd.DataFrame(
        [(feed.name[2:], item, feed.at_us) for week in weeks for feed in week.shown
         for item in feed.item_ids], columns=["user_id", "item_id", "seen_us"],
    )  # fmt: skip
    met = once.merge(seen, on=["user_id", "item_id"])
    ago = met.at_us - met.seen_us
    site = met[(ago > 0) & (ago < WINDOW_DAYS * DAY_US)].drop_duplicates(list(own.columns))
    return twice, int((since < WINDOW_DAYS * DAY_US).sum()), len(site)


MEASURES: dict[str, tuple[str, str]] = {  # of Found: what is divided by what; x 100
    "clicks per 100 mails": ("clicks", "mails"), "clicks per 100 recipients": ("clicks", "recipients"),
    "EUR per 100 mails": ("sales", "mails"), "EUR per 100 recipients": ("sales", "recipients"),
}  # fmt: skip
