"""Evidence against a truth that is known: shops with cells where personalisation pays, or does not.

Three groups of people, told apart by an answer that they gave: `tastes` have one of a few tastes
each and a long past; `crowd` want what is popular, everybody the same; `fresh` have tastes, but
hardly a past. All look at products and at articles. Evidence asks a small draw of the requests of
the test slice; the truth of a cell is the mean over all others, for the same fitted rankers.

Reported: verdicts of `one_to_one` over `one_for_all` against the sign of the truth, as a table; how
often the 95 % intervals of the cells hold the truth, shrunken and plain; how far off the means are.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from features.build import build
from features.config import RUNGS, load_config
from features.home import Home
from features.training_options import EvidenceOptions
from features.types import Int64
from training.cooking import cook
from training.evaluation.evidence import KIND, Requests, names_of, weigh
from training.jobs import learn
from training.rungs import Compared, compare_rungs
from training.slices import World, cuts, past_at

GROUPS = ("tastes", "crowd", "fresh")
PEOPLE = {"tastes": 500, "crowd": 500, "fresh": 500}
TASTES, ITEMS, DAYS, TEST_DAYS = 12, 120, 60, 20
START = datetime(2026, 1, 1, tzinfo=UTC)
EVERYTHING = 10**9
TOP = len(RUNGS) - 1
CONFIG: dict[str, Any] = {
    "shop": {"consent_default": "yes"},
    "sources": {
        "events": {"path": "events.parquet"},
        "items": {"path": "items.parquet"},
        "preferences": {"path": "preferences.parquet"},
    },
    "signals": {"view": {"weight": 1, "half_life_days": 60}},
    "repeat": {"product": "allow", "article": "allow"},
    "segments": [{"name": "group", "declared": "group"}],
    "training": {"rankers": ["popularity", "segment_popularity", "ease"], "test_days": TEST_DAYS},
}
console = Console(width=120)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="shops")] = 20,
    requests: Annotated[int, typer.Option(min=50, help="of each kind that are asked")] = 600,
    out: Annotated[Path | None, typer.Option(help="a JSON file with every cell")] = None,
) -> None:
    """Verdicts and intervals of small draws against what all other requests say."""
    rows: list[dict[str, Any]] = []
    for seed in track(range(seeds), "shops", console=Console(stderr=True)):
        rows += judged(seed, requests)
    cells = pd.DataFrame(rows)
    console.print(_verdicts(cells))
    console.print(_intervals(cells, seeds, requests))
    if out is not None:
        out.write_text(json.dumps(rows, indent=1))


def judged(seed: int, requests: int) -> list[dict[str, Any]]:
    """Every finest cell of one shop: what a draw says of it, and what is true."""
    base = Path(tempfile.mkdtemp(prefix="feeds-evidence-"))
    try:
        everything, names = _asked(base, seed)
    finally:
        shutil.rmtree(base)
    random = np.random.default_rng(seed)
    drawn = [
        random.choice(own, min(requests, own.size), replace=False)
        for kind in (0, 1)
        if (own := np.flatnonzero(everything.codes[KIND] == kind)).size
    ]
    chosen = np.sort(np.concatenate(drawn))
    some = everything.take(chosen)
    others = everything.take(np.setdiff1d(np.arange(len(everything.persons)), chosen))
    gained = some.worth[:, TOP] - some.worth[:, 0]
    truth = others.cells(others.worth[:, TOP] - others.worth[:, 0])  # the drawn ones say nothing
    told = {cell.key: cell for cell in weigh(some, names, EvidenceOptions(), "parent")}
    rows = []
    for key, cell in some.cells(gained).items():
        if None in key or key not in truth:
            continue
        (low, high), (plain_low, plain_high) = cell.interval(), cell.plain()
        true = truth[key].mean
        name = tuple(names[level][code] if code >= 0 else "unknown"
                     for level, code in zip(names, key, strict=True))  # fmt: skip
        rows.append({
            "seed": seed, "cell": " / ".join(name), "group": name[-1].removeprefix("group: "),
            "kind": name[1], "visit": name[0], "people": cell.people, "truth": true,
            "true_people": truth[key].people, "shrunk": cell.shrunk, "plain": cell.mean,
            "holds": low <= true <= high, "plain_holds": plain_low <= true <= plain_high,
            "width": high - low, "plain_width": plain_high - plain_low,
            "verdict": "climb" if low > 0 else "stay" if high <= 0 else "unknown",
            "served": told[name].rung,
        })  # fmt: skip
    return rows


def _asked(base: Path, seed: int) -> tuple[Requests, Any]:
    """All requests of the test slice of a shop, asked of all rungs."""
    _write(base, seed)
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    world = World.of(config, build(config, base, home), home)
    parts = cuts(config, world.features)
    recipe = learn(world, config.training.rankers, parts).recipe
    cooked = cook(recipe, past_at(world, parts.test_us), home)
    survey = compare_rungs(world, cooked, parts.test_us, EVERYTHING)
    if survey is None:
        raise typer.BadParameter("nobody asked in the test slice; give more people")
    found: Compared = survey.compared
    codes = (found.browsing, found.kinds, found.channels, found.stages, found.segments)
    requests = Requests(
        found.ndcg,
        0 * found.ndcg,
        found.persons,
        tuple(c.astype(np.int64) for c in codes),
        found.at_us,
    )
    return requests, names_of(survey.segments, survey.channels)


def _write(base: Path, seed: int) -> None:
    """A shop's log, catalogue and answers."""
    random = np.random.default_rng(seed)
    taste = random.integers(TASTES, size=ITEMS)
    fame = random.permutation(1 / np.arange(1, ITEMS + 1) ** 0.8)
    events, answers = [], []
    for group, people in PEOPLE.items():
        for number in range(people):
            person = f"{group}-{number}"
            own = random.integers(TASTES)
            answers.append((person, "group", group, START))
            for day in _days(group, random):
                events += _visit(
                    person, own if group != "crowd" else -1, day, (taste, fame, random)
                )
    columns = ["occurred_at", "event_type", "item_id", "user_id", "session_id", "channel"]
    pd.DataFrame(events, columns=columns).to_parquet(base / "events.parquet")
    items = [(f"{kind[0]}{n}", kind, f"c{t}") for kind in ("product", "article")
             for n, t in enumerate(taste)]  # fmt: skip
    pd.DataFrame(items, columns=["item_id", "kind", "category"]).to_parquet(base / "items.parquet")
    columns = ["user_id", "question", "answer", "answered_at"]
    pd.DataFrame(answers, columns=columns).to_parquet(base / "preferences.parquet")
    (base / "feeds.yaml").write_text(yaml.safe_dump(CONFIG))


def _days(group: str, random: np.random.Generator) -> Any:
    """When a person comes: the fresh ones hardly before the test slice."""
    first = DAYS - TEST_DAYS - 2 if group == "fresh" else 0
    often = 3 if group == "fresh" else 10
    return np.sort(random.uniform(first, DAYS, size=1 + random.poisson(often)))


def _visit(
    person: str, own: int, day: float, shop: tuple[Int64, Any, np.random.Generator]
) -> list[tuple[Any, ...]]:
    """One visit over one channel to one kind: events in time order."""
    taste, fame, random = shop
    weight = fame if own < 0 else np.where(taste == own, fame, 0.03 * fame)
    kind = "p" if random.random() < 0.6 else "a"
    channel = "email" if random.random() < 0.25 else "site"
    chosen = random.choice(ITEMS, 1 + random.integers(4), replace=False, p=weight / weight.sum())
    start = START + timedelta(days=float(day))
    return [(start + timedelta(minutes=n), "view", f"{kind}{item}", person,
             f"{person}-{day:.6f}", channel) for n, item in enumerate(chosen.tolist())]  # fmt: skip


def _verdicts(cells: pd.DataFrame) -> Table:
    """Verdicts against the sign of the truth, planted group by planted group."""
    table = Table(title="one_to_one over one_for_all: cells by verdict", title_justify="left")
    for name in ("group", "truth", "cells", "climb", "unknown", "stay", "true gain, mean"):
        table.add_column(name, justify="left" if name in ("group", "truth") else "right")
    for group in (*GROUPS, "all"):
        of_group = cells if group == "all" else cells[cells.group == group]
        for pays in (True, False):
            own = of_group[(of_group.truth > 0) == pays]
            if len(own):
                counts = [f"{(own.verdict == v).sum()}" for v in ("climb", "unknown", "stay")]
                table.add_row(group, "pays" if pays else "does not", f"{len(own)}", *counts,
                              f"{own.truth.mean():+.3f}")  # fmt: skip
    return table


def _intervals(cells: pd.DataFrame, seeds: int, requests: int) -> Table:
    """Coverage, error and width of the estimates, for all cells and for small ones."""
    title = f"95 % intervals of {len(cells)} cells, {seeds} shops, {requests} requests a kind"
    table = Table(title=title, title_justify="left")
    for name in ("cells of", "how many", "hold, shrunken", "hold, plain", "error, shrunken",
                 "error, plain", "width, shrunken", "width, plain"):  # fmt: skip
        table.add_column(name, justify="left" if name == "cells of" else "right")
    sizes = {"all sizes": (1, 10**9), "1 to 5 people": (1, 5), "6 to 30": (6, 30),
             "31 and more": (31, 10**9)}  # fmt: skip
    for name, (least, most) in sizes.items():
        own = cells[cells.people.between(least, most) & (cells.true_people >= 5 * least)]
        if len(own):
            error = [(((own[w] - own.truth) ** 2).mean() ** 0.5) for w in ("shrunk", "plain")]
            table.add_row(
                name, f"{len(own)}", f"{own.holds.mean():.1%}", f"{own.plain_holds.mean():.1%}",
                *(f"{e:.4f}" for e in error), f"{own.width.mean():.3f}",
                f"{own.plain_width.mean():.3f}",
            )  # fmt: skip
    return table


if __name__ == "__main__":
    typer.run(main)
