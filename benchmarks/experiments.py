"""Looking at an experiment every day: false alarms, power, and days saved.

Each world is 500 experiments over 28 days. People enter evenly; most of them order nothing, the
others log-normally much, and who ordered much before does so again. Without an effect every alarm
is a false one; with an effect every order of the treated grows by the same share. Each experiment
is read on all 28 days, with the interval that is made for it and with a plain t-test.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from features.types import DAY_US, Float64
from training.evaluation.observed import Observed
from training.evaluation.uplift import Daily, Design, daily

DAYS = 28
console = Console(width=110)


@dataclass(frozen=True)
class World:
    """What is simulated: people an experiment, the control's share, how many buy, the effect.

    buyers: log-odds that a person of middling habits orders    effect: growth of every order
    """

    name: str
    people: int = 4000
    control: float = 0.5
    buyers: float = -1.0
    effect: float = 0.0

    def design(self) -> Design:
        """Two arms."""
        return Design(
            ("control", "new"), (self.control, 1 - self.control), "control", planned=self.people
        )


WORLDS = (
    World("no effect, half and half"),
    World("no effect, 5 % control", control=0.05),
    World("no effect, few buy", buyers=-4.0),
    World("no effect, 5 % control, few buy", people=12_000, control=0.05, buyers=-4.0),
    World("orders 20 % larger", effect=0.2),
    World("orders 40 % larger", effect=0.4),
    World("orders 40 % larger, 5 % control", control=0.05, effect=0.4),
)


@dataclass(frozen=True)
class Found:
    """What came of a world; shares of its experiments, and days from the start.

    ever: said that there is a difference on some day    end: on the last day
    day: mean of the first such day, of those that ever did
    covered: the interval of the last day holds the truth
    """

    world: str
    cuped: bool
    ever_t: float
    ever_always: float
    end_t: float
    day_always: float
    covered_t: float
    covered_always: float


def main(
    experiments: Annotated[int, typer.Option(min=10, help="of each world")] = 500,
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    out: Annotated[Path | None, typer.Option(help="write the numbers here too, as JSON")] = None,
) -> None:
    """Print, world by world, how often each way of reading says that there is a difference."""
    found = [one for world in WORLDS for one in measure(world, experiments, seed)]
    console.print(_table(found, experiments))
    if out:
        out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")


def measure(world: World, experiments: int, seed: int) -> list[Found]:
    """One world, with and without CUPED on the same experiments."""
    random = np.random.default_rng(seed)
    observed = [simulated(world, random) for _ in range(experiments)]
    usual = np.concatenate([one.outcome[one.arm == 0] for one in observed])
    truth, design = world.effect * float(usual.mean()), world.design()
    found = []
    for cuped in (False, True):
        seen = [
            one if cuped else replace(one, before=np.full(len(one), np.nan)) for one in observed
        ]
        found.append(_found(world, cuped, [daily(one, design, "new") for one in seen], truth))
    return found


def simulated(world: World, random: np.random.Generator) -> Observed:
    """One experiment: who is in which arm, when they entered, and what they spent."""
    n = world.people
    arm = (random.random(n) >= world.control).astype(np.int64)
    habit = random.normal(size=n)
    outcome = _spent(habit, world.buyers, random) * (1 + world.effect * arm)
    first = random.integers(0, DAYS * DAY_US, size=n)
    return Observed(arm, first, outcome, _spent(habit, world.buyers, random))


def _spent(habit: Float64, buyers: float, random: np.random.Generator) -> Float64:
    """(n,) money in one window; a stronger habit buys more often, and more."""
    buys = random.random(len(habit)) < 1 / (1 + np.exp(-buyers - 1.5 * habit))
    spent = np.exp(3 + 0.7 * habit + 0.4 * random.normal(size=len(habit)))
    return np.where(buys, spent, 0.0)


def _found(world: World, cuped: bool, days: list[Daily], truth: float) -> Found:
    ever: dict[str, Float64] = {}
    covered: dict[str, float] = {}
    for way in ("fixed", "always"):
        low, high = (
            np.stack([getattr(d, f"{way}_{end}") for d in days]) for end in ("low", "high")
        )
        ever[way] = ((low > 0) | (high < 0)).astype(np.float64)  # (experiments, days)
        covered[way] = float(((low[:, -1] <= truth) & (truth <= high[:, -1])).mean())
    some = ever["always"].any(axis=1)
    first = ever["always"][some].argmax(axis=1) + 1
    return Found(
        world.name, cuped, float(ever["fixed"].any(axis=1).mean()), float(some.mean()),
        float(ever["fixed"][:, -1].mean()), float(first.mean()) if some.any() else float("nan"),
        covered["fixed"], covered["always"],
    )  # fmt: skip


def _table(found: list[Found], experiments: int) -> Table:
    table = Table(title=f"{experiments} experiments a world, read on each of {DAYS} days, 95 %")
    table.add_column("world", no_wrap=True)
    for name in ("CUPED", "t-test,\nany day", "always,\nany day", "always,\nfirst day",
                 "t-test,\nlast day", "covered\nby t", "covered\nby always"):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        shares = (one.ever_t, one.ever_always, one.end_t, one.covered_t, one.covered_always)
        cells = [f"{100 * share:.1f} %" for share in shares]
        cells.insert(2, "–" if np.isnan(one.day_always) else f"{one.day_always:.1f}")
        table.add_row(one.world, "yes" if one.cuped else "no", *cells)
    return table


if __name__ == "__main__":
    typer.run(main)
