"""The mailings of one shop under one policy, by the code that `feeds mail` runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from benchmarks.mailings.shops import PLACES, Week
from features.config import Config
from features.home import Home
from serving.desk import Desk
from serving.mailing import run
from serving.mailing.opening import Shop, mailer_of, opened
from serving.mailing.parts import Record, parts
from training.bundle import Bundle

POLICIES = {"bestsellers": "the same bestsellers", "one_to_one": "always one-to-one",
            "evidence": "by evidence"}  # fmt: skip


async def sent(
    base: Path, policy: str, learned: tuple[Config, Bundle], moments: Sequence[int],
    weeks: Sequence[Week],
) -> pd.DataFrame:  # fmt: skip
    """All blocks of all mailings as they were written, each with its moment."""
    config, bundle = under(policy, *learned)
    shop = Shop(config, base / "feeds.yaml", Home(base / policy))
    written: list[pd.DataFrame] = []
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
            tables = [pq.read_table(part).to_pandas() for part in parts(out)]
            written.append(pd.concat(tables).assign(at_us=at_us))
    return pd.concat(written, ignore_index=True)


def under(policy: str, config: Config, bundle: Bundle) -> tuple[Config, Bundle]:
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
