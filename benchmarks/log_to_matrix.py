"""From a log to the user-item matrix: ours, straightforward pandas, and the limit of the engine.

Every run is a process of its own, so that its peak memory is its own; rounds alternate. The limit
is what DuckDB needs to scan the file and count its distinct people, items and types.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

WAYS = ("limit", "ours", "pandas")
HALF_LIFE_DAYS, WEIGHTS = 30.0, {"view": 1.0, "cart": 3.0, "purchase": 5.0}
AS_OF_US = 1_767_225_600_000_000  # the end of 2025
console = Console()


def limit(file: Path) -> tuple[int, float]:
    """DuckDB's scan and distinct counts."""
    import duckdb

    found = (
        duckdb.connect()
        .sql(
            "SELECT count(*), count(DISTINCT user_id), count(DISTINCT item_id), "
            f"count(DISTINCT event_type), epoch_us(max(occurred_at)) FROM '{file}'"
        )
        .fetchone()
    )
    return int(found[0]) if found else 0, 0.0


def ours(file: Path) -> tuple[int, float]:
    """The project's way: coded by the engine, summed by SciPy."""
    from features.engine import engine, microseconds
    from features.histories import matrix
    from features.options import EngineOptions, Signal

    signals = {name: Signal(weight=weight, half_life_days=HALF_LIFE_DAYS)
               for name, weight in WEIGHTS.items()}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        options = EngineOptions(memory_limit_mb=1000)
        with engine(Path(scratch), options) as tables:
            log = tables.read([file])
            events = log.select("item_id", "event_type", person=log.user_id,
                                occurred_us=microseconds(log.occurred_at))  # fmt: skip
            found = matrix(tables, events, signals, AS_OF_US)
    return found.weights.nnz, float(found.weights.data.sum(dtype="float64"))


def pandas(file: Path) -> tuple[int, float]:
    """Straightforward pandas: category codes, a weight per row, SciPy sums."""
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    events = pd.read_parquet(file)
    users, items = (events[c].astype("category") for c in ("user_id", "item_id"))
    age = (pd.Timestamp(AS_OF_US, unit="us", tz="UTC") - events.occurred_at) / pd.Timedelta(days=1)
    weight = events.event_type.map(WEIGHTS) * 0.5 ** (age / HALF_LIFE_DAYS)
    cells = (weight.to_numpy(np.float32), (users.cat.codes, items.cat.codes))
    found = sp.csr_matrix(cells, shape=(users.cat.categories.size, items.cat.categories.size))
    return found.nnz, float(found.data.sum(dtype="float64"))


def measure(way: str, file: Path) -> dict[str, float]:
    """Run one way in a process of its own: seconds with imports, peak memory in MB, what it got."""
    run = subprocess.run(
        [sys.executable, __file__, "--one", way, "--log", str(file)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def main(
    events: Annotated[list[int] | None, typer.Option(help="sizes of the logs")] = None,
    rounds: Annotated[int, typer.Option(help="up to 10 million events; one beyond")] = 3,
    data: Annotated[Path | None, typer.Option(help="where the logs are kept")] = None,
    one: Annotated[str | None, typer.Option(hidden=True)] = None,
    log: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure log to matrix at every size, all ways in turn."""
    if one is not None and log is not None:
        start = time.perf_counter()
        nnz, total = globals()[one](log)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "mb": peak, "nnz": nnz, "sum": total}))  # noqa: T201
        return
    from power_law import write_log

    place = data or Path(tempfile.gettempdir()) / "feeds-benchmarks"
    place.mkdir(parents=True, exist_ok=True)
    for size in events or [1_000_000, 10_000_000, 50_000_000]:
        file = place / f"log-{size}.parquet"
        if not file.exists():
            write_log(file, size)
        ways = [way for way in WAYS if way != "pandas" or size <= 10_000_000]  # 10 GB beyond
        again = rounds if size <= 10_000_000 else 1
        runs = [{way: measure(way, file) for way in ways} for _ in range(again)]
        show(size, ways, runs)


def show(size: int, ways: list[str], runs: list[dict[str, dict[str, float]]]) -> None:
    """One table per size; ratios are medians of the rounds' own ratios."""
    table = Table(title=f"{size:,} events, {len(runs)} rounds")
    for heading in ("way", "seconds (all)", "× limit", "peak MB", "÷ pandas", "cells", "sum"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for way in ways:
        mine = [run[way] for run in runs]
        times = median(run[way]["seconds"] / run["limit"]["seconds"] for run in runs)
        memory = max(one["mb"] for one in mine)
        share = memory / max(run["pandas"]["mb"] for run in runs) if "pandas" in ways else None
        seconds = " ".join(f"{one['seconds']:.1f}" for one in mine)
        table.add_row(
            way, seconds, f"{times:.2f}", f"{memory:,.0f}",
            "" if share is None else f"{share:.2f}",
            "" if way == "limit" else f"{mine[0]['nnz']:,.0f}",
            "" if way == "limit" else f"{mine[0]['sum']:.6g}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
