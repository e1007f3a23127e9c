"""`make bench-quality`: tune, fit and ask everybody on the same questions, and say who is best."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from benchmarks.quality import logs, report
from benchmarks.quality.compare import Row, Rules, compare, summarise
from benchmarks.quality.field import Entry, Field, settings_of
from benchmarks.quality.moments import Moment
from benchmarks.quality.others import Replay, leave_one_out
from benchmarks.quality.ours import POLICY, Budget, all_names, alone_on, ours
from benchmarks.quality.ours_live import replayed
from benchmarks.quality.peers import rectools_library
from benchmarks.quality.peers.base import Peer
from benchmarks.quality.peers.implicit_library import ALS, BM25, COSINE
from benchmarks.quality.peers.popular import Newest, Popularity, RepeatThenPopular
from benchmarks.quality.peers.two_stage import TwoStage
from features.training_options import RankerName
from training.slices import World, cuts

console = Console(width=150)
PEERS_PYTHON = Path(os.environ.get("FEEDS_PEERS_PYTHON") or logs.ROOT / ".venv-peers/bin/python")
SCRATCH = Path(tempfile.gettempdir()) / "feeds-benchmarks" / "quality"


@dataclass(frozen=True)
class Asked:
    """What the command line asked for."""

    scratch: Path
    python: Path
    budget: Budget
    sasrec_trials: int
    sasrec_minutes: float
    rankers: list[RankerName]


def main(
    log: Annotated[list[str] | None, typer.Option(help="only these logs")] = None,
    data: Annotated[Path, typer.Option(help="where the logs lie")] = logs.DATA,
    scratch: Annotated[Path, typer.Option(help="what a next run need not do again")] = SCRATCH,
    peers_python: Annotated[Path, typer.Option(help="of RecTools' environment")] = PEERS_PYTHON,
    trials: Annotated[
        int, typer.Option(min=1, help="of tuning, for each peer and each ranker")
    ] = 8,
    minutes: Annotated[float, typer.Option(help="of tuning, for all our rankers together")] = 10,
    sasrec_trials: Annotated[int, typer.Option(min=1, help="its fits are long")] = 3,
    sasrec_minutes: Annotated[float, typer.Option(help="one fit of it, at most")] = 4,
    ranker: Annotated[list[str] | None, typer.Option(help="only these of ours")] = None,
    only_peers: Annotated[bool, typer.Option(help="ask nobody of ours")] = False,
    out: Annotated[Path, typer.Option(help="where numbers and picture go")] = SCRATCH / "out",
) -> None:
    """Our rankers and the policy beside what a user would pick instead, on every log there is."""
    found = logs.available(data)
    if not found:
        raise typer.BadParameter(f"no log under {data}; set FEEDS_DATA, or give --data")
    mine = [] if only_peers else cast(list[RankerName], ranker or all_names())
    asked = Asked(scratch, peers_python, Budget(trials, minutes), sasrec_trials, sasrec_minutes,
                  mine)  # fmt: skip
    rows: list[Row] = []
    about: dict[str, Any] = {"trials": trials, "minutes": minutes}
    for name in log or found:
        world = logs.open_log(name, data, scratch)
        own, told = _on_log(name, world, asked)
        rows += own
        about[name] = told
        for table in report.tables(own):
            console.print(table)
        report.write_json(out / "quality.json", rows, about)
        report.plot(out / "quality.png", rows)
    _sum_up(rows, out)


def _on_log(name: str, world: World, asked: Asked) -> tuple[list[Row], dict[str, Any]]:
    """Everybody on all tasks of one log."""
    parts, last = cuts(world.config, world.features), _last_us(world)
    tune = Moment(world, parts.tune_us, parts.blend_us)
    test = Moment(world, parts.test_us, last + 1)
    replay = Replay.of(test) if _articles(world) else None
    peers, field = _peers(name, tune, test, replay, asked)
    mine = ours(test, asked.budget, asked.rankers) if asked.rankers else []
    rules, rows = Rules(seed=world.config.training.seed), list[Row]()
    for task in test.tasks.values():
        rows += compare(name, task, mine, peers, rules)
    if replay:
        live = replayed(replay, asked.budget, asked.rankers) if asked.rankers else []
        rows += compare(name, replay.task, live, peers, rules)
    rows += _sequences(name, field, peers, asked, rules)
    told = {one.name: asdict(one) | {"feeds": None} for one in [*peers, *mine]}
    return rows, told


def _peers(
    name: str, tune: Moment, test: Moment, replay: Replay | None, asked: Asked
) -> tuple[list[Entry], Field]:
    """Everybody that a user could pick instead; a peer without its environment is left out."""
    seven = {"half_life_days": 7.0}
    field = Field(tune, test, replay, asked.scratch / name, asked.budget.trials, seven)
    entries: list[Entry] = []

    def enter(field: Field, peer: Peer) -> None:
        with console.status(f"{name}: {peer.name}"):
            entries.append(field.enter(peer))
        spent = entries[-1].about["tuning_seconds"]
        console.print(f"[dim]{name}: {peer.name}, tuned in {spent:.0f} s")

    enter(field, Popularity())
    usual = next(iter(settings_of(entries, Popularity.name).values()))
    field = field.with_popular(usual)
    enter(field, Newest())
    if test.world.config.repeat.product == "allow" and not _articles(test.world):
        enter(field, RepeatThenPopular())
    for peer in (ALS, BM25, COSINE):
        enter(field, peer)
    tuned = {"als": settings_of(entries, ALS.name), "bm25": settings_of(entries, BM25.name),
             "popularity": settings_of(entries, Popularity.name)}  # fmt: skip
    enter(field, TwoStage(tuned))
    if not asked.python.exists():
        console.print(f"[yellow]no {asked.python}: RecTools is left out; see docs/benchmarks.md")
        return entries, field
    enter(field, rectools_library.ease(asked.python, field.scratch / "jobs"))
    enter(field.with_trials(asked.sasrec_trials), _sasrec(field, asked))
    return entries, field


def _sequences(
    name: str, field: Field, peers: Sequence[Entry], asked: Asked, rules: Rules
) -> list[Row]:
    """Our `sequence` beside RecTools' SASRec: everybody's last event left out, whole catalogue."""
    world = field.test.world
    if not (_articles(world) or "next" in field.test.tasks) or not asked.python.exists():
        return []
    moment, sasrec = leave_one_out(world), _sasrec(field, asked)
    settings = next(iter(settings_of(peers, sasrec.name).values()))
    with console.status(f"{name}: leave one out"):
        entries = [field.showing(sasrec, moment, settings),
                   field.showing(Popularity(), moment, field.popular)]  # fmt: skip
        mine = alone_on(moment, "sequence") if "sequence" in asked.rankers else []
    for one in [*entries[:1], *mine]:
        told = {key: one.about[key] for key in ("epochs", "options") if key in one.about}
        console.print(f"[dim]{name}: {one.name} fitted in {one.fit_seconds:.0f} s, {told}")
    (task,) = moment.tasks.values()
    return compare(name, task, mine, entries, rules)


def _sasrec(field: Field, asked: Asked) -> rectools_library.FromRecTools:
    return rectools_library.sasrec(asked.python, field.scratch / "jobs", asked.sasrec_minutes)


def _articles(world: World) -> bool:
    return bool(world.catalogue.kinds.mean() > 0.5)


def _last_us(world: World) -> int:
    return int(world.features.timelines.occurred_us.max())


def _sum_up(rows: Sequence[Row], out: Path) -> None:
    asked = [row for row in rows if row.task != "leave one out"]
    for name in (POLICY, "blend"):
        console.print(str(summarise(asked, name)))
    one_out = [row for row in rows if row.task == "leave one out"]
    console.print(str(summarise(one_out, "sequence")) + " (leave one out)")
    console.print(
        "The best peer of a task is known from the test slice alone, so the one to beat is the "
        "luckiest of several. Short feeds are filled by recent popularity, everybody's alike. "
        "Equal scores: catalogue order."
    )
    console.print(f"numbers: {out / 'quality.json'}   picture: {out / 'quality.png'}")


if __name__ == "__main__":
    typer.run(main)
