"""`make bench-serving`: what a request costs, and what two workers hold."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from benchmarks.serving import memory, report
from benchmarks.serving.place import PLACE
from benchmarks.serving.shops import TOPS, Shop, Top
from benchmarks.serving.speed import Plan, Row, measure
from command.show import progress_bar

SIZES = [10_000, 100_000, 1_000_000]
console = Console(width=170)


def main(
    items: Annotated[list[int] | None, typer.Option(help="sizes of the shops")] = None,
    top: Annotated[list[str] | None, typer.Option(help="als, sequence, blend")] = None,
    ask: Annotated[list[str] | None, typer.Option(help="only these kinds of requests")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="of each request in each round")] = 1.0,
    memory_items: Annotated[int, typer.Option(help="0: leave the memory out")] = 1_000_000,
    shops: Annotated[Path, typer.Option(help="where they are kept")] = PLACE / "shops",
    out: Annotated[Path, typer.Option(help="all numbers")] = PLACE / "serving.json",
) -> None:
    """CPU per request at several sizes and ladders, then the memory of two workers."""
    plan = Plan(rounds, seconds, asks=ask or Plan.asks)
    rows: list[Row] = []
    found: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(),
                             "rounds": rounds, "seconds": seconds}  # fmt: skip
    for size in items or SIZES:
        for name in cast(list[Top], top or list(TOPS)):
            with progress_bar() as progress:
                one = measure(Shop(size, name), shops, plan, progress)
            rows += one.rows
            if one.recall is not None:
                found.setdefault("recall of the index", {})[f"{name}, {size}"] = one.recall
            report.write(out, {**found, "speed": report.judged(rows)})
    console.print(report.table(rows))
    for what, recall in found.get("recall of the index", {}).items():
        console.print(f"the index of {what} finds {recall:.4f} of the exact feeds")
    if memory_items:
        held = memory.measure(Shop(memory_items), shops)
        found["memory"] = held.as_json()
        console.print(
            f"two workers at {memory_items:,} x 64: {held.loaded_mb:,.0f} MB, of which "
            f"{held.base_mb:,.0f} MB base; arrays {held.arrays_mb:,.0f} MB, held "
            f"{held.copies:.2f} times (wanted: at most {memory.MOST})"
        )
    report.write(out, {**found, "speed": report.judged(rows)})


if __name__ == "__main__":
    typer.run(main)
