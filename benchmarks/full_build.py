"""A whole feature set out of a large simulated log: seconds per step and peak memory."""

from __future__ import annotations

import resource
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from features.build import build
from features.config import load_config
from features.home import Home
from simulation import SimulationConfig, simulate

SEGMENTS = [
    {"name": "bargain hunters", "rule": "share_discounted > 0.6 AND orders >= 2"},
    {"name": "readers", "declared": "favourite_topic"},
    {"learned": 6},
]


def main(
    events: Annotated[int, typer.Option(help="events to simulate")] = 10_000_000,
    data: Annotated[Path | None, typer.Option(help="where the log is kept")] = None,
) -> None:
    """Simulate once, build from nothing, and say what every step took."""
    shop = data or Path(tempfile.gettempdir()) / "feeds-benchmarks" / f"shop-{events}"
    if not (shop / "feeds.yaml").exists():
        scale = events // 100
        sizes = SimulationConfig(events=events, customers=scale, items=20_000, days=180)
        simulate(sizes, shop)
    text = yaml.safe_load((shop / "feeds.yaml").read_text()) | {"segments": SEGMENTS}
    (shop / "bench.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    config, home = load_config(shop / "bench.yaml"), Home(shop / "home")
    shutil.rmtree(home.root, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    manifest = build(config, shop, home).manifest
    table = Table(title=f"{manifest['rows']['read']:,} events to a feature set")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    for step, seconds in manifest["seconds"].items():
        table.add_row(step, f"{seconds:.1f}")
    table.add_row("all", f"{sum(manifest['seconds'].values()):.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    Console().print(table)
    Console().print(f"peak memory {peak:,} MB (before the build {before:,} MB)", manifest["rows"])


if __name__ == "__main__":
    typer.run(main)
