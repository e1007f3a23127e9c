"""What came out, as tables, a file of numbers, and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.quality.compare import Row

COLOURS = {"above": "green", "level": "yellow", "below": "red", "": "dim"}


def tables(rows: Sequence[Row]) -> list[Table]:
    """A table per log and task."""
    places = dict.fromkeys((row.log, row.task) for row in rows)
    return [_table([row for row in rows if (row.log, row.task) == place]) for place in places]


def _table(rows: Sequence[Row]) -> Table:
    first = rows[0]
    table = Table(title=f"{first.log}, {first.task}: {first.people:,} asked")
    table.add_column("name")
    for heading in ("ndcg@20 (95 %)", "recall@20", "coverage@20", "to the best peer (95 %)"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    table.add_column("fit s", justify="right")
    for place, row in enumerate(rows):
        gap = f"{row.gap.mean:+.4f} ({row.gap.low:+.4f} to {row.gap.high:+.4f})"
        table.add_row(
            row.name,
            f"{row.ndcg.mean:.4f} ({row.ndcg.low:.4f} to {row.ndcg.high:.4f})",
            f"{row.recall.mean:.4f}", f"{row.coverage:.3f}", gap if place else "the best peer",
            f"[{COLOURS[row.verdict]}]{row.verdict}[/]", f"{row.fit_seconds:.1f}",
            end_section=place + 1 < len(rows) and rows[place + 1].ours and not row.ours,
        )  # fmt: skip
    return table


def write_json(file: Path, rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Everything that the tables say, and how it came about."""
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {"about": about, "rows": [asdict(row) for row in rows]}
    file.write_text(json.dumps(told, indent=1, default=str) + "\n", encoding="utf-8")


def plot(file: Path, rows: Sequence[Row]) -> None:
    """A panel per log and task: dots with intervals, ours in colour, a line at the best peer."""
    from matplotlib.figure import Figure

    places = list(dict.fromkeys((row.log, row.task) for row in rows))
    wide = min(3, len(places))
    high = -(-len(places) // wide)
    figure = Figure(figsize=(5.5 * wide, 4.6 * high), layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False).ravel()
    for axis, place in zip(axes, places, strict=False):
        own = [row for row in rows if (row.log, row.task) == place]
        own.sort(key=lambda row: row.ndcg.mean)
        for y, row in enumerate(own):
            colour = "#c44e52" if row.name in ("policy", "blend") else (
                "#4c72b0" if row.ours else "#888888")  # fmt: skip
            axis.plot([row.ndcg.low, row.ndcg.high], [y, y], color=colour, linewidth=1.5)
            axis.plot(row.ndcg.mean, y, "o", color=colour, markersize=5)
        best = max(row.ndcg.mean for row in own if not row.ours)
        axis.axvline(best, color="#888888", linewidth=0.8, linestyle=":")
        axis.set_yticks(range(len(own)), [row.name for row in own], fontsize=8)
        axis.set_title(f"{place[0]}, {place[1]}", fontsize=10)
        axis.set_xlabel("ndcg@20, 95 % interval", fontsize=8)
        axis.grid(axis="x", alpha=0.3)
    for axis in axes[len(places) :]:
        axis.remove()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
