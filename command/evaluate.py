"""`feeds evaluate`: how a model did, on occasions of its own or on people and truth given to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from command import show
from features.build import build
from features.config import Config
from features.home import Home, Progress, part_of, written_beside
from training.batch import judge_people
from training.bundle import Bundle, open_bundle
from training.evaluation import protocol, slices
from training.evaluation.occasions import Occasion, last_left_out, next_in_session, weeks
from training.evaluation.protocol import KS, METRIC, Outcome
from training.judging import POLICY, Contender, paired, pooled
from training.slices import World, past_at, tasks_between

By = Literal["split", "weeks", "leave-last-out", "session-next"]
_SLICED = [f"{metric}_at_{k}" for k in KS
           for metric in ("ndcg", "recall", "precision", "hit_rate", "mrr", "map")]  # fmt: skip
_MODEL = re.compile(r"v?\d+|champion")
_LIKE = {"novelty": "novelty, bits", "category_diversity": "variety", "age_days": "age, days",
         "miscalibration": "calibration gap", "serendipity": "surprise @20", "gini": "Gini",
         "short_share": "short",
         "fallback_share": "fallback", "suppress_share": "suppressed"}  # fmt: skip
_VALUE = ("value_at_20", "value_share_at_20", "value_ndcg_at_20")


@dataclass(frozen=True)
class Asked:
    """What to judge, and beside what.

    weeks:   how many of the last ones, for `weeks`        refit: before each of them?
    against: of the paired differences: a ranker, `policy`, `policy up to RUNG`, or another model
    """

    by: By = "split"
    weeks: int = 4
    refit: bool = False
    against: str = "popularity"
    slices: bool = False
    out: Path | None = None


@dataclass(frozen=True)
class Judged:
    """Per occasion the outcomes, a row a request; `means` and `whole`: a row a person.

    whole: all occasions as one
    """

    occasions: list[Occasion]
    parts: list[list[Outcome]]
    means: list[list[Outcome]]
    whole: list[Outcome]
    rival: Contender | None


def evaluate_stored(home: Home, model: str | None) -> None:
    """What its training said of a model."""
    bundle = open_bundle(home, model)
    show.console.print(f"model {bundle.version}")
    show.split(bundle.manifest["summary"], bundle.manifest["test_from"])


def evaluate_given(home: Home, model: str | None, people: Path, truth: Path) -> None:
    """The feeds of a model for people and truth from outside."""
    bundle = open_bundle(home, model)
    show.console.print(f"model {bundle.version}")
    with show.progress_bar() as progress:
        rows = judge_people(bundle, people, truth, progress)
    show.comparison(rows, "Feeds of this model against the given truth.")


def evaluate_by(asked: Asked, config: Config, base: Path, home: Home, model: str | None) -> None:
    """Judge the recipe of a model, fitted on what came before each occasion."""
    if asked.out is not None and asked.out.suffix not in (".parquet", ".csv"):
        raise ValueError(f"--out {asked.out}: let the name end in .parquet or .csv")
    bundle = open_bundle(home, model)
    with show.progress_bar() as progress:
        features = build(config, base, home, progress=part_of(progress, 0.0, 0.1))
        world = World.of(config, features, home)
        found = judged(asked, world, bundle, part_of(progress, 0.1, 1.0))
    show.console.print(f"model {bundle.version}: its recipe, fitted on what came before")
    if not any(one.tasks for one in found.occasions):
        show.console.print("Nobody could be asked: the log is too short.", style="yellow")
        return
    told = _told(asked, found, bundle, world)
    rows, gaps = summary(asked, found, config), differences(asked, found, config)
    _show(asked, rows, gaps, told, world)
    divided = by_slices(asked, found, world) if asked.slices or asked.out else []
    if asked.slices:
        _show_slices(divided)
    if asked.out is not None:
        _write(asked.out, rows, gaps, divided)
        show.console.print(f"all metrics: {asked.out}")


def judged(asked: Asked, world: World, bundle: Bundle, progress: Progress) -> Judged:
    """Everybody's feeds on every occasion; another model's policy under the model's name."""
    rival = _rival(asked, world, bundle)
    occasions = _occasions(asked, world, bundle, rival)
    share = 0.5 if rival else 1.0
    parts = list(Contender.of(bundle).judged(
        world, occasions, refit=asked.refit, progress=part_of(progress, 0.0, share)
    ))  # fmt: skip
    if rival is not None:
        others = rival.judged(world, occasions, refit=asked.refit,
                              progress=part_of(progress, share, 1.0))  # fmt: skip
        for part, other in zip(parts, others, strict=True):
            part += [replace(one, name=rival.name) for one in other if one.name == POLICY]
    means = [_by_person(*both) for both in zip(parts, occasions, strict=True)]
    whole = pooled(parts, occasions) if len(parts) > 1 else means[0]
    return Judged(occasions, parts, means, whole, rival)


def _by_person(part: list[Outcome], occasion: Occasion) -> list[Outcome]:
    """Requests of one person are not draws of their own: each person's mean, where some ask often.

    What is one number for all feeds together stays.
    """
    if all(len(np.unique(task.rows)) == len(task.rows) for task in occasion.tasks):
        return part
    whole = {(one.task, one.name): one.coverage for one in part}
    found = pooled([part], [occasion])
    return [replace(one, coverage=whole[one.task, one.name]) for one in found]


def _occasions(
    asked: Asked, world: World, bundle: Bundle, rival: Contender | None
) -> list[Occasion]:
    if asked.by == "weeks":
        return list(weeks(world, asked.weeks, refit=asked.refit))
    if asked.by == "leave-last-out":
        return [last_left_out(world)]
    learned = [one.learned_us for one in (Contender.of(bundle), rival) if one is not None]
    past = past_at(world, max(learned))  # neither is asked about what it has learned from
    if asked.by == "session-next":
        return [next_in_session(world, past)]
    return [Occasion("the test slice", past, tasks_between(world, past))]


def _rival(asked: Asked, world: World, bundle: Bundle) -> Contender | None:
    if not _MODEL.fullmatch(asked.against):
        return None
    other = Contender.of(open_bundle(world.home, asked.against))
    if other.name == bundle.version:
        raise ValueError(f"--against {asked.against}: that is the model itself; name another one")
    return other


def _name_of(asked: Asked, found: Judged) -> str:
    """The name of what is compared with: `3` and `champion` are versions."""
    names = {one.name for one in found.whole}
    versions = [name for name in names if _MODEL.fullmatch(name)]
    return versions[0] if _MODEL.fullmatch(asked.against) and versions else asked.against


def summary(asked: Asked, found: Judged, config: Config) -> list[dict[str, Any]]:
    """A row per occasion, task, name and metric; of several occasions also all as one."""
    options = config.training
    named = [(one.name, part) for one, part in zip(found.occasions, found.means, strict=True)]
    if len(found.parts) > 1:
        named.append((f"all {asked.by}", found.whole))
    return [
        {"occasion": name, **row}
        for name, part in named
        for row in protocol.summary(part, options.bootstrap_draws, options.seed)
    ]


def differences(asked: Asked, found: Judged, config: Config) -> list[dict[str, Any]]:
    """Paired gains over what `asked.against` names, over all occasions together."""
    options = config.training
    return paired(found.whole, _name_of(asked, found), options.bootstrap_draws, options.seed)


def by_slices(asked: Asked, found: Judged, world: World) -> list[dict[str, Any]]:
    """The policy and what it is compared with by groups of people and items, per occasion."""
    names = (POLICY, _name_of(asked, found))
    return [
        {"occasion": one.name, **row}
        for one, part in zip(found.occasions, found.parts, strict=True)
        for row in slices.rows(part, one.tasks, slices.Groups.of(world, one.past), names, _SLICED)
    ]


def _told(asked: Asked, found: Judged, bundle: Bundle, world: World) -> list[str]:
    """What a reader of the figures should know."""
    learned, notes = Contender.of(bundle).learned_us, []
    early = [one for one in found.occasions if one.past.as_of_us < learned]
    if early:
        notes.append(
            f"{len(early)} of {len(found.occasions)} occasions lie before "
            f"{bundle.manifest['test_from']}, up to where the ladder was chosen: the blend is left "
            "out there, and what the ladder gains is flattered."
        )
    rival = found.rival
    if rival is not None and rival.learned_us != learned and asked.by != "weeks":
        notes.append(
            "The two models were trained at different times: both are asked about what came after "
            "the later one's choices were made."
        )
    if asked.by == "leave-last-out":
        notes.append(
            "The past holds what others did later: only to compare sequence models. The blend is "
            "left out."
        )
    if asked.by == "weeks":
        notes.append(
            "Fitted anew before each week." if asked.refit else
            "Fitted once, before the first week; what learns live followed the log to each one's "
            "beginning."
        )  # fmt: skip
    if bundle.manifest["feature_digest"] != world.features.digest:
        notes.append("The log or the config has changed since the model was trained.")
    return notes


def _show(
    asked: Asked, rows: list[dict[str, Any]], gaps: list[dict[str, Any]], notes: Sequence[str],
    world: World,
) -> None:  # fmt: skip
    for note in notes:
        show.console.print(note, style="yellow")
    if asked.by == "weeks":
        for task in dict.fromkeys(row["task"] for row in rows):
            show.console.print(_weekly([row for row in rows if row["task"] == task], task))
    else:
        show.comparison(rows, f"Judged: {rows[0]['occasion']}.")
        show.console.print(*_other_tables(rows, world))
    for task in dict.fromkeys(gap["task"] for gap in gaps):
        show.console.print(_gaps([gap for gap in gaps if gap["task"] == task], task))


def _weekly(rows: Sequence[dict[str, Any]], task: str) -> Table:
    """A ranker a row, a week a column, in ndcg@20."""
    own = [row for row in rows if row["metric"] == METRIC]
    occasions = list(dict.fromkeys(row["occasion"] for row in own))
    table = Table(
        title=f"{task}: ndcg@20 by week from; all weeks: each person's mean",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("ranker")
    for one in occasions:
        table.add_column(one, justify="right")
    for name in dict.fromkeys(row["name"] for row in own):
        mine = {row["occasion"]: row for row in own if row["name"] == name}
        cells = [f"{mine[one]['mean']:.3f}" if one in mine else "-" for one in occasions[:-1]]
        last = mine[occasions[-1]]
        cells.append(f"{last['mean']:.3f} [dim]{last['low']:.3f}–{last['high']:.3f}[/dim]")
        table.add_row(name, *cells)
    people = {row["occasion"]: row["people"] for row in own}
    table.add_row("people", *(f"{people[one]:,}" for one in occasions), style="dim")
    return table


def _other_tables(rows: Sequence[dict[str, Any]], world: World) -> list[Table]:
    """What the feeds are like, and what they would have caught, where that is known."""
    unit = world.worth.unit if world.worth else ""
    value = dict(zip(_VALUE, (f"{unit} caught@20", "of all@20", "ndcg by value@20"), strict=True))
    return [
        table
        for title, columns in (("What feeds are like", _LIKE), ("What they were worth", value))
        if (table := _metrics(title, rows, columns)).row_count
    ]


def _metrics(title: str, rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> Table:
    there = [m for m in columns if any(row["metric"] == m for row in rows)]
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("task")
    table.add_column("ranker")
    for metric in there:
        table.add_column(columns[metric], justify="right")
    keys = dict.fromkeys((r["task"], r["name"]) for r in rows if r["metric"] in there)
    for task, name in keys:
        mine = {r["metric"]: r["mean"] for r in rows if (r["task"], r["name"]) == (task, name)}
        table.add_row(task, name, *(f"{mine[m]:,.3f}" if m in mine else "" for m in there))
    return table


def _gaps(gaps: Sequence[dict[str, Any]], task: str) -> Table:
    own = [gap for gap in gaps if gap["metric"] == METRIC]
    table = Table(title=f"{task}: gain in ndcg@20 over {own[0]['against']}, same people, 95 %",
                  title_justify="left", box=SIMPLE_HEAD)  # fmt: skip
    for heading in ("", "gain", "from", "to", "people"):
        table.add_column(heading, justify="right" if heading else "left")
    for gap in sorted(own, key=lambda gap: -gap["gain"]):
        figures = (f"{gap[part]:+.4f}" for part in ("gain", "low", "high"))
        table.add_row(gap["name"], *figures, f"{gap['people']:,}")
    return table


def _show_slices(rows: Sequence[dict[str, Any]]) -> None:
    own = [row for row in rows if row["metric"] == METRIC]
    names = list(dict.fromkeys(row["name"] for row in own))
    table = Table(title="ndcg@20 by group", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("occasion", "task", "by", "group", "people", *names):
        left = heading in ("occasion", "task", "by", "group")
        table.add_column(heading, justify="left" if left else "right")
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in own:
        key = tuple(row[part] for part in ("occasion", "task", "slice", "value", "people"))
        found.setdefault(key, {})[row["name"]] = row["mean"]
    for (*about, people), means in found.items():
        cells = (f"{means[name]:.3f}" if name in means else "" for name in names)
        table.add_row(*map(str, about), f"{people:,}", *cells)
    show.console.print(table)


def _write(
    out: Path, rows: Sequence[dict[str, Any]], gaps: Sequence[dict[str, Any]],
    divided: Sequence[dict[str, Any]],
) -> None:  # fmt: skip
    """One table of all: means, paired gains (`against` says over what) and groups (`slice`)."""
    whole = {"occasion": rows[-1]["occasion"]}
    table = pd.DataFrame(
        [*rows, *({**gap, "mean": gap["gain"], **whole} for gap in gaps), *divided],
        columns=["occasion", "task", "name", "against", "slice", "value", "metric", "people",
                 "mean", "low", "high"],
    )  # fmt: skip
    with written_beside(out) as beside:
        if out.suffix == ".csv":
            table.to_csv(beside, index=False)
        else:
            table.to_parquet(beside, index=False)
