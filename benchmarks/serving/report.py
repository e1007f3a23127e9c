"""What was wanted, beside what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.serving.speed import INDEXED, MEMORY, Row


@dataclass(frozen=True)
class Bar:
    """What a row should be: `value` of it is at most `most`."""

    words: str
    most: float
    value: Callable[[Row], float]

    def met(self, rows: Iterable[Row]) -> bool:
        """By all of them: one connection and several."""
        return all(self.value(row) <= self.most for row in rows)


_TWICE = Bar("2 (a)", 2.0, lambda row: row.ratio)
_FOUR = Bar("4 (a)", 4.0, lambda row: row.ratio)
_ADDED = Bar("2 (a) + 1.3 (b)", 1.3, lambda row: row.added)
_FLOOR = Bar("1.4 (b)", 1.4, lambda row: row.floors)
_EIGHTY = Bar("80/s on a core", 1e6 / 80, lambda row: row.cpu_us)
_HEADINGS = ("items", "top", "request", "CPU µs", "in (a)", "in (b)", "requests/s", "p50 ms",
             "p99 ms", "at most", "")  # fmt: skip
_WORDS = ("top", "request", "at most", "")


def bar_of(row: Row) -> Bar | None:
    """What is wanted of a kind of request on a shop; None: nothing was promised."""
    if row.ask in (MEMORY, "sort 500"):
        return None
    if row.ask == INDEXED:
        return _EIGHTY if row.top == "als" else None
    if row.top == "als":
        return {10_000: _TWICE, 100_000: _ADDED, 1_000_000: _FLOOR}.get(row.items)
    return _FOUR if row.items == 10_000 else None


def table(rows: Sequence[Row]) -> Table:
    """A row for each shop and request; a number for each number of connections."""
    told = " / ".join(str(c) for c in sorted({row.connections for row in rows}))
    shown = Table(title=f"CPU per request, {told} connections; (a): from memory, (b): floor")
    for heading in _HEADINGS:
        shown.add_column(heading, justify="left" if heading in _WORDS else "right", no_wrap=True)
    before: tuple[int, str] | None = None
    for group in groups(rows):
        first = group[0]
        if before != (first.items, first.top):
            before = (first.items, first.top)
            shown.add_section()
            shown.add_row(f"{first.items:,}", first.top, "(b) floor", f"{first.floor_us:,.0f}")
        shown.add_row("", "", *_cells(group))
    return shown


def groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows of one shop and request, by their connections."""
    keys = dict.fromkeys((row.items, row.top, row.ask) for row in rows)
    for key in keys:
        own = [row for row in rows if (row.items, row.top, row.ask) == key]
        yield sorted(own, key=lambda row: row.connections)


def _cells(group: Sequence[Row]) -> list[str]:
    def all_of(value: Callable[[Row], float], digits: int) -> str:
        return " / ".join(f"{value(row):,.{digits}f}" for row in group)

    bar = bar_of(group[0])
    verdict = "" if bar is None else "[green]met[/]" if bar.met(group) else "[red]missed[/]"
    return [
        group[0].ask, all_of(lambda row: row.cpu_us, 0), all_of(lambda row: row.ratio, 2),
        all_of(lambda row: row.floors, 2), all_of(lambda row: row.per_second, 0),
        all_of(lambda row: row.p50_ms, 1), all_of(lambda row: row.p99_ms, 1),
        bar.words if bar else "", verdict,
    ]  # fmt: skip


def write(out: Path, found: dict[str, Any]) -> None:
    """The numbers as JSON."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")


def judged(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every row, with what was wanted of it and whether it is met."""
    found = []
    for row in rows:
        bar = bar_of(row)
        met = None if bar is None else bar.met([row])
        found.append({**row.as_json(), "wanted": bar and bar.words, "met": met})
    return found
