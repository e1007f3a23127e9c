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
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.mailings import report
from benchmarks.mailings.sending import POLICIES, sent
from benchmarks.mailings.shops import Size, prepare, weeks_of
from benchmarks.mailings.truth import Found, Truth, judged
from command.show import progress_bar
from features.config import load_config
from features.home import Home, Progress, part_of, silent
from features.types import from_us
from simulation import simulate
from simulation.world import make_world
from training.bundle import open_bundle
from training.jobs import train

console = Console(width=120)


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
    for table in report.tables(rows):
        console.print(table)


def of_seed(seed: int, size: Size, progress: Progress = silent) -> list[Found]:
    """One shop under all policies: the same world, the same model, a store for each."""
    base = Path(tempfile.mkdtemp(prefix="feeds-mailings-"))
    try:
        config = size.config(seed)
        world, moments = make_world(config), size.moments(config)
        simulate(config, base, progress=part_of(progress, 0.0, 0.1))
        prepare(base, world, moments[0])
        shop, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
        train(shop, base, home, as_of=from_us(moments[0]), progress=part_of(progress, 0.1, 0.4))
        bundle, weeks = open_bundle(home, None), weeks_of(base, world, moments)
        found, truth = [], Truth.of(base, world, weeks)
        for number, policy in enumerate(POLICIES):
            progress(POLICIES[policy], 0.4 + 0.2 * number)
            mails = asyncio.run(sent(base, policy, (shop, bundle), moments, weeks))
            found.append(judged(seed, policy, mails, truth))
        return found
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    typer.run(main)
