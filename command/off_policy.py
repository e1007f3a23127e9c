"""`feeds evaluate --logged`: what a model's policy would have earned where slots were shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from command import show
from features.build import build
from features.config import Config
from features.home import Home, part_of
from training.bundle import open_bundle
from training.evaluation.logged_decisions import Shown, logged
from training.evaluation.off_policy import Estimate, Logged, TooLittleOverlap, bounds, judge
from training.judging import Contender
from training.slices import World, past_at

_NAMES = {"ips": "inverse propensity", "snips": "the same, self-normalised",
          "doubly_robust": "doubly robust"}  # fmt: skip


def evaluate_logged(config: Config, base: Path, home: Home, model: str | None) -> None:
    """Judge the recipe of a model, fitted on what came before the first shown slot."""
    bundle = open_bundle(home, model)
    with show.progress_bar() as progress:
        world = World.of(
            config, build(config, base, home, progress=part_of(progress, 0, 0.1)), home
        )
        shown = Shown.of(world)
        past = past_at(world, int(shown.at_us[0]))
        if not past.timelines.items.size:
            raise ValueError(
                "the log shows its first slot before anything else happened: there is no past to "
                "fit the model on; give the events of the weeks before as well"
            )
        one = Contender.of(bundle)
        cooked = one.fitted(world, past, part_of(progress, 0.1, 0.5))
        told = logged(world, cooked, shown, part_of(progress, 0.5, 1.0))
    show.console.print(
        f"model {bundle.version}: its recipe, fitted on what came before the first of "
        f"{len(shown.items):,} shown slots ({int(shown.decisions.max()) + 1:,} decisions)"
    )
    try:
        show.console.print(_table(told, judge(told)))
    except TooLittleOverlap as why:
        raise ValueError(f"no estimate: {why}") from None


def _table(told: Logged, estimates: list[Estimate]) -> Table:
    """What ran, and every estimate of what the policy would have earned."""
    table = Table(title="What came of a slot: share of the shown items that were then wanted, 95 %",
                  title_justify="left", box=SIMPLE_HEAD)  # fmt: skip
    for heading in ("", "share", "from", "to", "effective people"):
        table.add_column(heading, justify="right" if heading else "left")
    ran = float(told.reward.mean())
    low, high = bounds(ran, told.by_cluster(told.reward - ran) / len(told))
    people = np.unique(told.cluster).size
    table.add_row("what ran", f"{ran:.4f}", f"{low:.4f}", f"{high:.4f}", f"{people:,}")
    for one in estimates:
        figures = (f"{value:.4f}" for value in (one.value, one.low, one.high))
        table.add_row(f"the policy, {_NAMES[one.name]}", *figures, f"{one.effective_sample:,.0f}")
    return table
