"""What the command line shows: tables and progress, drawn by Rich."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from features.config import Config
from features.home import Progress as Tell
from features.options import DeclaredSegment
from features.parts import TableReport

if TYPE_CHECKING:
    from training.evaluation.evidence import Evidence
    from training.evaluation.ladder import Gain
    from training.tuning import Tried

console = Console(width=None if sys.stdout.isatty() else 110)  # a file has no width of its own
errors = Console(stderr=True)
_METRICS = ("ndcg_at_10", "ndcg_at_20", "recall_at_20", "hit_rate_at_20", "coverage_at_20")
_ABOUT = {
    "all": "all: everything people with a past went on to choose",
    "discovery": "discovery: only what they had not had before",
    "session": "session: the past hidden; half of what each did seen, the rest to be found",
    "next": "next: the past hidden; what came next at a few places of each visit",
    "leave one out": "leave one out: everybody's last event, all before it known",
}


@contextmanager
def progress_bar() -> Iterator[Tell]:
    """A bar with what is being done, for how long, and how long it may yet take; gone when done."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)


def reports(found: Sequence[TableReport]) -> None:
    """What was read, and what became of it."""
    table = Table(title="What was read", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("table", "files", "left out", "read", "accepted", "rejected", "share"):
        table.add_column(heading, justify="left" if heading in ("table", "files") else "right")
    for one in found:
        files = ", ".join(one.files[:2]) + (f" +{len(one.files) - 2}" if len(one.files) > 2 else "")
        row = [f"{n:,}" for n in (one.left_out, one.read, one.accepted, one.rejected)]
        table.add_row(one.name, files or "derived from events", *row, f"{one.rejected_share:.2%}")
    console.print(table)
    _rejections(found)
    for one in found:
        if one.naive_times_in:
            console.print(f"{one.name}: times without a zone were read as {one.naive_times_in}")
    _unused(found)


def _rejections(found: Sequence[TableReport]) -> None:
    reasons = [(one.name, why, rows) for one in found for why, rows in one.reasons.items()]
    if reasons:
        table = Table(title="Why rows were rejected", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("table")
        table.add_column("reason (a row may have several)")
        table.add_column("rows", justify="right")
        for name, why, rows in reasons:
            table.add_row(name, why, f"{rows:,}")
        console.print(table)


def _unused(found: Sequence[TableReport]) -> None:
    """Columns that no mapping reads; a log that is its own catalogue is read by two."""
    derived = [one for one in found if not one.files]
    for one in found:
        read_elsewhere = derived if one.name == "events" else []
        left = [c for c in one.unused if all(c in other.unused for other in read_elsewhere)]
        if left and one not in derived:
            console.print(f"{one.name}: not used: {', '.join(left)}", style="dim")


def event_types(types: Mapping[str, int], config: Config) -> None:
    """Each event type, how often it comes, and what it says."""
    table = Table(title="What people did", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("event type", "rows", "weight", "half-life"):
        table.add_column(heading, justify="left" if heading == "event type" else "right")
    for name, rows in sorted(types.items(), key=lambda pair: -pair[1]):
        signal = config.signals.get(name)
        if signal is None:
            how = "taken off the purchase" if name in config.cleaning.returns else "no signal"
            table.add_row(name, f"{rows:,}", how, "", style="dim")
        else:
            days = f"{signal.half_life_days:g} days" if signal.half_life_days else "never fades"
            table.add_row(name, f"{rows:,}", f"{signal.weight:g}", days)
    console.print(table)
    if lost := [name for name in config.signals if name not in types]:
        console.print(f"signals without a single event: {', '.join(lost)}", style="yellow")


def removed(counts: Mapping[str, int], respelled: int) -> None:
    """What cleaning took out."""
    parts = [f"{rows:,} {why}" for why, rows in counts.items()]
    parts += [f"{respelled:,} spellings of items joined"] if respelled else []
    console.print("cleaning took out: " + ("; ".join(parts) or "nothing"))


def forgotten(manifest: Mapping[str, Any]) -> None:
    """How much was left out because its people are forgotten."""
    if rows := manifest.get("forgotten_rows"):
        console.print(f"{rows:,} rows of forgotten people left out")


def everybody(manifest: Mapping[str, Any], config: Config) -> None:
    """Who the people are: links, stages, segments, robots."""
    links, robots = manifest["links"], manifest["robots"]
    found = (f"{people:,} {name}" for name, people in manifest["stages"].items() if people)
    console.print(f"stages: {', '.join(found)}")
    for name in manifest["segments"]:
        console.print(f"segment [bold]{name}[/bold]: {manifest['segment_lines'][name]}")
    for spec in config.segments:
        if isinstance(spec, DeclaredSegment) and spec.declared not in manifest["questions"]:
            known = ", ".join(manifest["questions"]) or "none"
            console.print(
                f"segment {spec.name}: nobody answers {spec.declared!r}; questions with answers: "
                f"{known}", style="yellow",
            )  # fmt: skip
    if links["links_in_force"]:
        console.print(
            f"links: {links['merged_devices']:,} devices joined with their customers, "
            f"{links['shared_devices']:,} shared by several and left alone"
        )
    if robots:
        names = ", ".join(f"{one['person'][2:]} ({one['rule']})" for one in robots[:3])
        console.print(f"robots: {names}" + (f" and {len(robots) - 3} more" * (len(robots) > 3)))


def split(rows: Sequence[Mapping[str, object]], cut: datetime | str) -> None:
    """How a model did on its time split."""
    if rows:
        moment = f"{cut:%Y-%m-%d %H:%M} UTC" if isinstance(cut, datetime) else cut
        comparison(rows, f"Fitted on everything before {moment}, judged on what came after.")
    else:
        console.print("Nobody could be asked: the log is too short to be split.", style="yellow")


def comparison(rows: Sequence[Mapping[str, object]], heading: str) -> None:
    """Rankers and the policy beside one another, one table per task."""
    console.print(f"\n{heading} Full catalogue; means with 95 % intervals.")
    for task in dict.fromkeys(str(row["task"]) for row in rows):
        own = [row for row in rows if row["task"] == task]
        table = Table(title=f"{_ABOUT.get(task, task)} ({own[0]['people']:,} people)",
                      title_justify="left", box=SIMPLE_HEAD)  # fmt: skip
        table.add_column("ranker")
        for metric in _METRICS:
            table.add_column(metric.replace("_at_", "@"), justify="right")
        for name in dict.fromkeys(str(row["name"]) for row in own):
            mine = {str(row["metric"]): row for row in own if row["name"] == name}
            table.add_row(name, *(_cell(mine[metric]) for metric in _METRICS))
        console.print(table)


def _cell(row: Mapping[str, object]) -> str:
    if row["low"] is None:
        return f"{row['mean']:.3f}"
    return f"{row['mean']:.3f} [dim]{row['low']:.3f}–{row['high']:.3f}[/dim]"


def gains(found: Sequence[Gain], ladder: Sequence[tuple[str, str]]) -> None:
    """What a more personal feed gained over recent popularity, and what follows from it."""
    table = Table(title="Gain over recent popularity, in ndcg@20", title_justify="left",
                  caption="on the slice before the test, same people; 95 %",
                  caption_justify="left", box=SIMPLE_HEAD)  # fmt: skip
    for heading in ("rung", "ranker", "gain", "from", "to", "people", "verdict"):
        left = heading in ("rung", "ranker", "verdict")
        table.add_column(heading, justify="left" if left else "right")
    for one in sorted(found, key=lambda gain: (gain.rung, -gain.gain)):
        figures = (f"{value:+.3f}" for value in (one.gain, one.low, one.high))
        table.add_row(one.rung, one.ranker, *figures, f"{one.people:,}", one.verdict)
    console.print(table)
    for rung in dict.fromkeys(step for step, _ in ladder):
        names = ", then ".join(name for step, name in ladder if step == rung)
        console.print(f"{rung}: {names}")


def evidence(found: Evidence | str) -> None:
    """Whether a more personal feed pays, in a sentence per kind of item."""
    if isinstance(found, str):
        console.print(found, style="yellow")
        return
    for line in found.bottom:
        console.print(str(line["says"]))
    console.print("for whom, and where: feeds report evidence", style="dim")


def tried(trials: Sequence[Tried]) -> None:
    """What tuning found, per ranker: the config's own settings are the first trial."""
    if not trials:
        return
    table = Table(title="Tuning: ndcg@20 over that of recent popularity", title_justify="left",
                  box=SIMPLE_HEAD)  # fmt: skip
    for heading in ("ranker", "trials", "seconds", "config's own", "best", "with"):
        table.add_column(heading, justify="left" if heading in ("ranker", "with") else "right")
    for name in dict.fromkeys(one.ranker for one in trials):
        own = [one for one in trials if one.ranker == name]
        done = [one for one in own if one.state == "complete"]
        best = max(done, key=lambda one: one.value, default=None)
        first = next((f"{one.value:.3f}" for one in done if one.number == 0), "-")
        found = "-" if best is None else f"{best.value:.3f}"
        settings = {} if best is None else best.params
        told = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in settings.items()
        )
        seconds = sum(one.seconds for one in own)
        table.add_row(name, str(len(own)), f"{seconds:.0f}", first, found, told or "as it was")
    console.print(table)


def feed(title: str, answer: Mapping[str, object], rows: int = 5) -> None:
    """One feed as a table."""
    table = Table(
        title=f"{title}: {answer['decision']} ({answer['reason']}), up to {answer['rung']}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for heading in ("", "title", "price", "rung", "ranker", "why"):
        table.add_column(heading, justify="right" if heading in ("", "price") else "left")
    items = answer["items"]
    assert isinstance(items, list)
    for item in items[:rows]:
        price = "" if item["price"] is None else f"{item['price']:.2f} {item['currency']}"
        name = item["title"] or item["item_id"]
        table.add_row(
            str(item["position"]), name, price, item["rung"], item["ranker"], item["reason"]
        )
    console.print(table)
