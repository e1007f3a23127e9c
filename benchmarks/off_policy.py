"""Off-policy estimates against a truth that is known, and on real logs with true propensities.

The simulation: people of four segments come back a few times; every slot of their feed shows the
one ranking for all, but a share of the slots, drawn one by one, shows any item at random. Judged is
a ranking of its own for each segment. Clicks depend on segment, item, slot and person, so the truth
is a sum; every seed draws a new shop.

The open bandit sample: what Bernoulli Thompson sampling would earn, from the logs of the random
policy, beside what it did earn in its own logs of the same week; and the other way round. The logs
name nobody, so every row is a cluster.

FEEDS_DATA names the directory of the real logs; without it, `../shared/data` is looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from features.types import Float64, Int64
from training.evaluation.off_policy import (
    Estimate,
    Limits,
    Logged,
    TooLittleOverlap,
    action_means,
    ips,
    judge,
    refusal,
)

ROOT = Path(__file__).parents[1]
LOGS = Path(os.environ.get("FEEDS_DATA") or ROOT.parent / "shared" / "data")
SAMPLE = "open_bandit_sample"
CAMPAIGNS = ("men", "women")
SEGMENTS, ITEMS, SLOTS = 4, 30, 4
WORLDS = ((0.02, 6_000), (0.02, 60_000), (0.1, 6_000), (0.5, 6_000))  # share explored, people
NOTHING_REFUSED = Limits(effective_sample=0, rewards=0, weight_level=1)
console = Console(width=120)
Row = dict[str, Any]


@dataclass(frozen=True)
class Shop:
    """What people like, what runs, and what is to be judged.

    click:  (SEGMENTS, SLOTS, ITEMS) float64, probability of a click by the average person
    ran:    (SEGMENTS, SLOTS) int64, item of the ranking that ran: the same for all segments
    wanted: (SEGMENTS, SLOTS) int64, item of the ranking to be judged
    """

    click: Float64
    ran: Int64
    wanted: Int64

    @property
    def truth(self) -> float:
        """Clicks a slot that the ranking to be judged would earn."""
        return float(np.take_along_axis(self.click, self.wanted[:, :, None], axis=2).mean())


def main(
    seeds: Annotated[int, typer.Option(min=2, help="simulated shops")] = 50,
    data: Annotated[Path, typer.Option(help="directory of the real logs")] = LOGS,
    out: Annotated[Path | None, typer.Option(help="write the numbers here too, as JSON")] = None,
) -> None:
    """Print bias, error and coverage where the truth is known, and the estimates of real logs."""
    simulated = [row for share, people in WORLDS for row in measure(share, people, seeds)]
    console.print(_simulated_table(simulated, seeds))
    real = list(real_logs(data / SAMPLE)) if (data / SAMPLE).is_dir() else []
    console.print(_real_table(real) if real else f"{data / SAMPLE} is not there: left out")
    if out:
        out.write_text(json.dumps({"simulated": simulated, "real": real}, indent=1) + "\n")


def measure(share: float, people: int, seeds: int) -> Iterator[Row]:
    """One row for each estimator, and for taking the click rate of what ran for the answer."""
    found: dict[str, list[tuple[Estimate, float, bool]]] = {}
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        shop = drawn_shop(random)
        logged = drawn_logs(shop, share, people, random)
        answered = refusal(logged) is None
        plain = replace(ips(replace(logged, target=logged.propensity)), effective_sample=np.nan)
        found.setdefault("what ran", []).append((plain, shop.truth, answered))
        for one in judge(logged, NOTHING_REFUSED):
            found.setdefault(one.name, []).append((one, shop.truth, answered))
    for name, each in found.items():
        yield {
            "explored": share, "people": people, "estimator": name,
            "refused": sum(not answered for *_, answered in each),
            "answered": _errors([one[:2] for one in each if one[2]]),
            "all": _errors([one[:2] for one in each]),
        }  # fmt: skip


def _errors(each: list[tuple[Estimate, float]]) -> dict[str, float] | None:
    """Truth, bias, RMSE, coverage and effective sample, over the seeds; None of none."""
    if not each:
        return None
    error = np.array([one.value - truth for one, truth in each])
    return {
        "seeds": len(each),
        "truth": float(np.mean([truth for _, truth in each])),
        "bias": float(error.mean()),
        "bias_standard_error": float(error.std(ddof=1) / np.sqrt(len(each))),
        "rmse": float(np.sqrt((error**2).mean())),
        "coverage": float(np.mean([one.low <= truth <= one.high for one, truth in each])),
        "effective_sample": float(np.median([one.effective_sample for one, _ in each])),
    }


def drawn_shop(random: np.random.Generator) -> Shop:
    """A shop whose segments differ; both rankings know its people only roughly."""
    popular = random.gamma(2.0, 0.5, ITEMS)
    taste = random.gamma(1.0, 1.0, (SEGMENTS, ITEMS))
    click = np.clip(0.04 * popular * (0.5 + 0.5 * taste), 0.002, 0.5)
    guessed = click * random.lognormal(0, 0.3, click.shape)
    for_all = np.argsort(-popular * random.lognormal(0, 0.3, ITEMS))[:SLOTS]
    seen = 1 / np.log2(np.arange(SLOTS) + 2)
    return Shop(
        click=click[:, None, :] * seen[:, None],
        ran=np.tile(for_all, (SEGMENTS, 1)),
        wanted=np.argsort(-guessed, axis=1)[:, :SLOTS],
    )


def drawn_logs(shop: Shop, share: float, people: int, random: np.random.Generator) -> Logged:
    """What was shown and clicked, with predictions by item, slot and segment."""
    requests = 1 + random.poisson(2, people)
    person = np.repeat(np.arange(people), requests * SLOTS)
    slot = np.tile(np.arange(SLOTS), requests.sum())
    segment = random.integers(SEGMENTS, size=people)[person]
    eager = random.choice([0.5, 1.5], people)[person]  # 1 on average: the truth stays as it is
    ran, wanted = shop.ran[segment, slot], shop.wanted[segment, slot]
    anything = random.integers(ITEMS, size=person.size)
    item = np.where(random.random(person.size) < share, anything, ran)
    clicked = random.random(person.size) < shop.click[segment, slot, item] * eager
    logged = Logged(
        reward=clicked.astype(np.float64),
        propensity=share / ITEMS + (1 - share) * (item == ran),
        target=(item == wanted).astype(np.float64),
        cluster=person,
    )
    place = (segment * SLOTS + slot) * ITEMS
    model = action_means(logged, place + item, SEGMENTS * SLOTS * ITEMS)
    return replace(
        logged, predicted_shown=model.of(place + item), predicted_target=model.of(place + wanted)
    )


def real_logs(place: Path) -> Iterator[Row]:
    """Both policies of both campaigns, each judged by its own logs and by the other's."""
    for campaign in CAMPAIGNS:
        logs = {name: pd.read_parquet(place / f"{name}_{campaign}.parquet")
                for name in ("random", "bts")}  # fmt: skip
        for judged, by in (("bts", "random"), ("random", "bts")):
            about = {"campaign": campaign, "judged": judged}
            own = ips(_bandit_logs(logs[judged], logs[judged].propensity_score.to_numpy()))
            yield {**about, "by": judged, **asdict(own), "name": "click rate",
                   "clicks": int(logs[judged].click.sum())}  # fmt: skip
            clicks = int(logs[by].click.sum())
            try:
                for one in judge(_judged_by(logs, judged, by)):
                    yield {**about, "by": by, **asdict(one), "clicks": clicks}
            except TooLittleOverlap as why:
                yield {**about, "by": by, "name": "refused", "why": str(why), "clicks": clicks}


def _bandit_logs(log: pd.DataFrame, target: Float64) -> Logged:
    return Logged(
        reward=log.click.to_numpy(np.float64),
        propensity=log.propensity_score.to_numpy(np.float64),
        target=target,
        cluster=np.arange(len(log)),
    )


def _judged_by(logs: dict[str, pd.DataFrame], judged: str, by: str) -> Logged:
    """The logs of one policy, with the other's probabilities: how often it showed what, and when.

    Thompson sampling moves from day to day: its shares are taken by day and slot.
    """
    both = pd.concat([logs[judged], logs[by]])
    context, _ = pd.factorize(both.timestamp.dt.strftime("%F ") + both.position.astype(str))
    n_items, split = int(both.item_id.max()) + 1, len(logs[judged])
    items, shares = both.item_id.to_numpy(), np.full((context.max() + 1, n_items), 1 / n_items)
    if judged == "bts":
        shares[:] = 0
        np.add.at(shares, (context[:split], items[:split]), 1)
        shares /= shares.sum(axis=1, keepdims=True)
    context, items = context[split:], items[split:]
    logged = _bandit_logs(logs[by], shares[context, items])
    model = action_means(logged, items, n_items)
    return replace(
        logged, predicted_shown=model.of(items), predicted_target=model.under(shares, context)
    )


def _simulated_table(rows: list[Row], seeds: int) -> Table:
    table = Table(title=f"clicks per 1,000 slots, {seeds} simulated shops; numbers of the answered")
    for column in ("explored", "people", "estimator"):
        table.add_column(column)
    for column in ("refused", "truth", "bias", "RMSE", "95 % covers", "of all", "effective"):
        table.add_column(column, justify="right")
    before = None
    for row in rows:
        head = (f"{row['explored']:.0%}", f"{row['people']:,}")
        if before not in (None, head):
            table.add_section()
        table.add_row(*(head if head != before else ("", "")), row["estimator"],
                      str(row["refused"]), *_numbers(row["answered"], row["all"]))  # fmt: skip
        before = head
    return table


def _numbers(answered: dict[str, float] | None, every: dict[str, float]) -> list[str]:
    size = every["effective_sample"]
    last = [f"{every['coverage']:.0%}", "" if np.isnan(size) else f"{size:,.0f}"]
    if answered is None:
        return ["", "", "", "", *last]
    return [
        f"{1000 * answered['truth']:.1f}",
        f"{1000 * answered['bias']:+.1f} ± {1000 * answered['bias_standard_error']:.1f}",
        f"{1000 * answered['rmse']:.1f}",
        f"{answered['coverage']:.0%}",
        *last,
    ]


def _real_table(rows: list[Row]) -> Table:
    table = Table(title="open bandit sample: clicks per 1,000 slots")
    for column in ("campaign", "policy", "logs of", "how"):
        table.add_column(column)
    for column in ("clicks there", "value", "95 %", "effective"):
        table.add_column(column, justify="right")
    for place, row in enumerate(rows):
        if row["name"] == "click rate" and place:
            table.add_section()
        head = [row["campaign"], row["judged"], row["by"], row["name"], str(row["clicks"])]
        if "why" in row:
            table.add_row(*head[:3], f"refused: {row['why']}", head[4], "", "", "")
            continue
        value, low, high = (1000 * row[key] for key in ("value", "low", "high"))
        table.add_row(*head, f"{value:.1f}", f"{low:.1f} to {high:.1f}",
                      f"{row['effective_sample']:,.0f}")  # fmt: skip
    return table


if __name__ == "__main__":
    typer.run(main)
