"""Items without a single event: how well the content ranker places them, beside simpler ways.

The items that people liked are dealt into fifths; each fifth in turn is hidden: all its events are
taken out, before and after the cut, from histories and from sessions. Everything is fitted on the
rest, up to the cut. Then people are asked who went on to want a hidden item: those with a past, and
visitors half-way through what they did after the cut. ndcg@20 of the hidden items they wanted,
ranked among the hidden items, and among all items of the catalogue; a person who is asked more than
once counts once, with the mean.

FEEDS_DATA names the directory of the real logs; without it, `../shared/data` is looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.sparse as sp
import typer
from rich.console import Console
from rich.table import Table

from features.build import build
from features.config import Config, load_config
from features.home import Home
from features.split import Split, cut_for_test, time_split
from features.timelines import Timelines
from features.training_options import ContentOptions
from features.types import Bool, Float32, Float64, Int32, Int64, Ragged
from simulation import SimulationConfig, simulate
from training.evaluation.metrics import Interval, draws, hits, interval, ndcg
from training.fitting import CannotFit
from training.fitting.content import fit_content
from training.item_facts import UNBORN, ItemFacts
from training.past import Past
from training.queries import queries_for
from training.rankers.base import Queries

ROOT = Path(__file__).parents[1]
LOGS = Path(os.environ.get("FEEDS_DATA") or ROOT.parent / "shared" / "data")
FILES = {  # the example, and where its log lies under LOGS
    "eshop_clothing": "eshop_clothing_clicks/clicks*.parquet",
    "online_retail": "online_retail/online_retail*.parquet",
    "deskdrop": "deskdrop/users_interactions*.parquet",
}
SHOP = "simulated shop"
FIFTHS, SIZE, CHUNK, DRAWS = 5, 20, 512, 1000
ENOUGH = 50  # people, for a mean that says anything
console = Console(width=110)

Score = Callable[[Queries], Float32 | Float64]  # (n, n_items)
Values = dict[str, list[Float64]]  # way -> (n,) ndcg of each person, turn by turn


@dataclass(frozen=True)
class Asked:
    """People (n,) who ask, and which hidden items they went on to want."""

    people: Int64
    queries: Queries
    truth: Ragged


@dataclass(frozen=True)
class World:
    """A log without the hidden items (n_hidden,), and who is asked, task by task."""

    past: Past
    hidden: Int32
    asked: dict[str, Asked]


@dataclass
class Answers:
    """What came of one task and one list of items."""

    items: int
    people: list[Int64] = field(default_factory=list)
    values: Values = field(default_factory=dict)


def main(
    data: Annotated[Path, typer.Option(help="directory of the real logs")] = LOGS,
    turns: Annotated[int, typer.Option(min=1, max=5, help="fifths hidden in turn")] = 5,
    seed: Annotated[int, typer.Option(help="deals the items")] = 0,
    out: Annotated[Path | None, typer.Option(help="write the numbers here too, as JSON")] = None,
) -> None:
    """Print ndcg@20 on hidden items, log by log, with 95 % intervals over people."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for name, base in _shops(data, Path(directory)):
            try:
                found = measure(name, base, turns, seed)
            except CannotFit as refusal:
                console.print(f"{name}: {refusal}")
                continue
            console.print(_table(name, found) if found else f"{name}: fewer than {ENOUGH} people")
            rows += found
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n")


def measure(name: str, base: Path, turns: int, seed: int) -> list[dict[str, object]]:
    """One row per task, list and way of ranking; raises CannotFit."""
    found: dict[tuple[str, str], Answers] = {}
    for world in _worlds(base, turns, seed):
        ways = {"content": fit_content(world.past, ContentOptions()).score,
                **_simpler(world.past, seed)}  # fmt: skip
        everything = np.arange(world.past.timelines.n_items, dtype=np.int32)
        for task, asked in world.asked.items():
            for among, items in {"hidden": world.hidden, "all": everything}.items():
                answers = found.setdefault((task, among), Answers(len(items)))
                answers.people.append(asked.people)
                for way, score in ways.items():
                    answers.values.setdefault(way, []).append(_ndcg(score, asked, items))
    return [
        {"log": name, "task": task, "among": among, **row}
        for (task, among), answers in found.items()
        for row in _summary(answers, seed)
    ]


def _summary(answers: Answers, seed: int) -> Iterator[dict[str, object]]:
    """A row per way: the mean over people, and what content gains over it, paired."""
    people, rows = np.unique(np.concatenate(answers.people), return_inverse=True)
    drawn, times = draws(people.size, DRAWS, seed), np.bincount(rows)
    each = {
        way: np.bincount(rows, np.concatenate(values)) / times
        for way, values in answers.values.items()
    }
    for way, values in each.items():
        yield {
            "people": people.size, "items": answers.items, "way": way,
            **_three("ndcg", interval(values, drawn)),
            **_three("content_gains", interval(each["content"] - values, drawn)),
        }  # fmt: skip


def _shops(data: Path, directory: Path) -> Iterator[tuple[str, Path]]:
    """Each shop that there is, as a directory with a config and its log."""
    for name, pattern in FILES.items():
        if not (files := sorted(data.glob(pattern))):
            console.print(f"{name}: no {pattern} under {data}; left out")
            continue
        base = directory / name
        (base / "data").mkdir(parents=True)
        for file in files:
            (base / "data" / file.name).symlink_to(file.resolve())
        shutil.copy(ROOT / "examples" / name / "feeds.yaml", base)
        yield name, base
    simulate(SimulationConfig(), directory / "shop")
    yield SHOP, directory / "shop"


def _worlds(base: Path, turns: int, seed: int) -> Iterator[World]:
    """Build the shop, and take the events of one fifth of the items after the other out of it."""
    config = load_config(base / "feeds.yaml")
    features = build(config, base, Home(base / ".feeds"))
    cut = cut_for_test(features.timelines, config.training.test_days)
    split, facts = time_split(features.timelines, cut), ItemFacts.of(features)
    plain = Past.plain(split.past, cut, config.signals, facts, seed=seed)
    dealt = np.random.default_rng(seed).permutation(np.flatnonzero(plain.touched))
    published = features.item_table()["published_us"].notna().to_numpy()
    for drawn in np.array_split(dealt, FIFTHS)[:turns]:
        hidden = np.zeros(len(facts), dtype=np.bool_)
        hidden[drawn] = True
        # what the log tells of an item's age goes with its events; what the catalogue tells stays
        born = np.where(hidden & ~published, UNBORN, facts.born_us)
        seen = split.past.where(~hidden[split.past.items])
        past = replace(plain, timelines=seen, items=replace(facts, born_us=born))
        asked = dict(_asked(replace(split, past=seen), hidden, config))
        yield World(past, np.sort(drawn).astype(np.int32), asked)


def _asked(split: Split, hidden: Bool, config: Config) -> Iterator[tuple[str, Asked]]:
    """People with a past, and visitors half-way, who went on to want a hidden item."""
    future, wanted = split.future, np.array(config.label_signals(), dtype=np.bool_)
    lengths = np.diff(future.indptr)
    place = np.arange(future.items.size) - np.repeat(future.indptr[:-1], lengths)
    first = place < np.repeat(lengths // 2, lengths)
    liked = np.array([signal.weight > 0 for signal in config.signals.values()])[future.signals]
    given = future.where(first & liked & ~hidden[future.items])
    target = wanted[future.signals] & hidden[future.items]
    known = np.arange(len(future))
    for task, rows, session, truth, able in (
        ("people with a past", known, given.where(given.items < 0), future.where(target),
         np.diff(split.past.indptr) > 0),
        ("visitors half-way", np.full_like(known, -1), given, future.where(target & ~first),
         np.diff(given.indptr) > 0),
    ):  # fmt: skip
        people = np.flatnonzero(able & (np.diff(truth.indptr) > 0))
        if people.size >= ENOUGH:
            recent = np.split(session.items, session.indptr[1:-1])
            queries = queries_for(
                split.past, rows[people].astype(np.int32), [recent[one] for one in people],
                split.cut_us, config.signals, config.session_signal(),
            )  # fmt: skip
            yield task, Asked(people, queries, _distinct(truth.take(people)))


def _distinct(timelines: Timelines) -> Ragged:
    return Ragged.of([
        np.unique(timelines.items[slice(*timelines.indptr[[row, row + 1]])])
        for row in range(len(timelines))
    ])  # fmt: skip


def _simpler(past: Past, seed: int) -> dict[str, Score]:
    """What needs no training, as far as the log has what it goes by."""
    facts, luck = past.items, np.random.default_rng(seed)

    def words(queries: Queries) -> Float32:
        mean = queries.histories.interest() @ facts.text
        return np.asarray(mean @ facts.text.T, dtype=np.float32)

    ways: dict[str, Score] = {}
    for name, codes in {"category": facts.category, "brand": facts.brands}.items():
        if (codes >= 0).any():
            ways[f"{name} popularity"] = _favourites(past, codes, luck)
    if facts.text.any():
        ways["words of the past"] = words
    return {**ways, "random": lambda queries: luck.random((len(queries), len(facts)))}


def _favourites(past: Past, codes: Int32, luck: np.random.Generator) -> Score:
    """By the person's interest in the item's group, then by everybody's, then at random.

    codes: (n_items,) int32 group of each item, -1 in none: these come last
    """
    grouped = np.flatnonzero(codes >= 0)
    ones = np.ones(grouped.size)
    shape = (codes.size, int(codes.max()) + 1)
    groups = sp.csr_matrix((ones, (grouped, codes[grouped])), shape=shape)
    popular = np.asarray(groups.T @ np.asarray(past.interest.sum(axis=0)).ravel())
    popular = 1 + popular / popular.max()

    def score(queries: Queries) -> Float64:
        own = np.asarray((queries.histories.interest() @ groups).todense(), dtype=np.float64)
        own = own / np.maximum(own.max(axis=1, keepdims=True), 1e-9) + 1e-3 * popular
        scores: Float64 = own @ groups.T.toarray() + 1e-6 * luck.random((len(queries), codes.size))
        return scores

    return score


def _ndcg(score: Score, asked: Asked, items: Int32) -> Float64:
    """(n,) ndcg@20 of each person over `items`."""
    feeds = np.full((asked.people.size, SIZE), -1, dtype=np.int32)
    for begin in range(0, asked.people.size, CHUNK):
        rows = np.arange(begin, min(begin + CHUNK, asked.people.size))
        for row, own in zip(rows, score(asked.queries.take(rows))[:, items], strict=True):
            order = np.argsort(-own, kind="stable")[: min(SIZE, np.count_nonzero(~np.isnan(own)))]
            feeds[row, : order.size] = items[order]  # those without an opinion are last
    return ndcg(hits(feeds, asked.truth), np.diff(asked.truth.indptr), SIZE)


def _three(name: str, found: Interval) -> dict[str, float]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _table(name: str, rows: list[dict[str, object]]) -> Table:
    table = Table(title=f"{name}: ndcg@{SIZE} on items without a single event")
    for column in ("task", "among", "way"):
        table.add_column(column)
    for column in ("ndcg", "95 %", "content gains", "95 %"):
        table.add_column(column, justify="right")
    before = None
    for row in rows:
        head = (f"{row['task']} ({row['people']})", f"{row['among']} ({row['items']})")
        shown = head if head != before else ("", "")
        if head != before and before:
            table.add_section()
        before = head
        numbers = [
            text
            for part in ("ndcg", "content_gains")
            for text in (
                f"{row[part]:.3f}",
                f"{row[f'{part}_low']:.3f} to {row[f'{part}_high']:.3f}",
            )
        ]
        table.add_row(
            *shown, str(row["way"]), *(numbers[:2] if row["way"] == "content" else numbers)
        )
    return table


if __name__ == "__main__":
    typer.run(main)
