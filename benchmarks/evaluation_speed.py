"""Seconds and memory to evaluate 100,000 people over 50,000 items with 500 bootstrap draws.

A made-up log with a long tail; the ladder is ALS above recent popularity, asked through the policy,
every item scored for everybody. Beside it, on the same factors and in turn with it: the matrix
product and the best 20 of each row alone, which no evaluation over the full catalogue can spare.
Runs in a process of its own, so that the peak memory is its own.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
import scipy.sparse as sp
import typer
from rich.console import Console
from rich.table import Table

from features.options import Signal
from features.timelines import Timelines
from features.types import DAY_US, Float32, Int32, Ragged
from training.bundle import alone
from training.evaluation import feed_measures, protocol
from training.evaluation.protocol import CHUNK, KS, Priced, Task
from training.fitting import fit
from training.fitting.als import fit_als
from training.item_facts import ItemFacts
from training.judging import paired
from training.past import Past
from training.policy import People, Terms
from training.rankers.base import Queries

NOW_US = 1_800_000_000_000_000
SIGNALS = {"view": Signal(weight=1, half_life_days=30)}
console = Console()
took: dict[str, float] = {}


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Note how long the block takes."""
    start = time.perf_counter()
    yield
    took[what] = time.perf_counter() - start
    console.print(f"{what}: {took[what]:,.1f} s", style="dim")


def peak_gb() -> float:
    """The most memory that this process has held, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def log(people: int, items: int, events: int, random: np.random.Generator) -> Timelines:
    """So many events each, on items of a long tail, over 60 days."""
    chance = 1 / np.arange(1, items + 1) ** 0.8
    drawn = random.choice(items, people * events, p=chance / chance.sum()).astype(np.int32)
    times = np.sort(NOW_US - random.integers(0, 60 * DAY_US, (people, events)), axis=1).ravel()
    return Timelines(
        np.arange(people + 1, dtype=np.int64) * events, drawn, np.zeros(drawn.size, np.int8),
        times, np.zeros(drawn.size, np.int32), items,
    )  # fmt: skip


def facts(items: int, random: np.random.Generator) -> ItemFacts:
    """Items of a hundred categories with words."""
    category = random.integers(0, 100, items).astype(np.int32)
    text = random.normal(size=(items, 64)).astype(np.float32)
    tree = sp.csr_matrix((np.ones(items, np.float32), (np.arange(items), category)),
                         shape=(items, 100))  # fmt: skip
    nothing = np.full(items, np.nan, np.float32)
    return ItemFacts(np.zeros(items, np.int8), tree, category, category,
                     np.full(items, -1, np.int32), nothing, nothing,
                     text / np.linalg.norm(text, axis=1, keepdims=True),
                     np.full(items, NOW_US - 60 * DAY_US))  # fmt: skip


def asked(past: Past, random: np.random.Generator) -> Task:
    """Everybody, wanting five items, each worth something."""
    n, items = len(past.timelines), past.timelines.n_items
    histories = past.timelines.histories(NOW_US, SIGNALS)
    queries = Queries.plain(histories, np.diff(histories.indptr), NOW_US)
    all_of_them = np.ones(n, dtype=np.bool_)
    keep = np.zeros((1, 2), dtype=np.bool_)
    rules = Terms(slice(0, items), past.items.kinds, keep, keep, max(KS))
    wanted = np.sort(random.integers(0, items - 5, (n, 5)), axis=1) + np.arange(5)
    truth = Ragged(np.arange(n + 1, dtype=np.int64) * 5, wanted.astype(np.int32).ravel())
    priced = Priced(truth, random.gamma(2, 10, truth.values.size) + 1)
    return Task("all", People(queries, all_of_them, ~all_of_them), np.arange(n), truth, rules,
                priced)  # fmt: skip


def product(people: Float32, items: Float32) -> Int32:
    """(n, 20) the best items by the matrix product alone."""
    best = np.empty((len(people), 20), dtype=np.int32)
    for at in range(0, len(people), CHUNK):
        scores = people[at : at + CHUNK] @ items.T
        first = np.argpartition(scores, -20, axis=1)[:, -20:]
        order = np.argsort(-np.take_along_axis(scores, first, axis=1), axis=1)
        best[at : at + CHUNK] = np.take_along_axis(first, order, axis=1)
    return best


def main(
    people: Annotated[int, typer.Option(help="asked")] = 100_000,
    items: Annotated[int, typer.Option(help="in the catalogue")] = 50_000,
    draws: Annotated[int, typer.Option(help="of the bootstrap")] = 500,
    events: Annotated[int, typer.Option(help="in each history")] = 20,
) -> None:
    """Make the log, fit, and evaluate with every step timed."""
    random = np.random.default_rng(0)
    past = Past.plain(log(people, items, events, random), NOW_US, SIGNALS, facts(items, random))
    from features.training_options import Training

    options = Training()
    with timed("(fit of the two rankers)"):
        als = fit_als(past, options.als.model_copy(update={"sweeps": 2}))
        popular = fit("popularity", past, options)
    task, before = asked(past, random), peak_gb()
    ladder = alone("als", als) + alone("popularity", popular)
    with timed("people folded in, matrix product, best 20"):
        product(als.people(task.people.queries), np.asarray(als.factors[:items]))
    with timed("feeds through the policy, all metrics"):
        mine = protocol.evaluate(ladder, "policy", task, items)
    with timed("the same for popularity"):
        floor = protocol.evaluate(alone("popularity", popular), "popularity", task, items)
    with timed("what the feeds are like"):
        counts = np.bincount(past.timelines.items, minlength=items)
        mine.values.update(
            feed_measures.per_person(mine.feeds, task.people.queries, past.items, counts)
        )
    with timed(f"{draws} bootstrap draws, {len(mine.values)} metrics"):
        protocol.summary([mine, floor], draws, 0)
    with timed("paired differences"):
        paired([mine, floor], "popularity", draws, 0)
    report(people, items, before)


def report(people: int, items: int, before: float) -> None:
    """The table."""
    table = Table(title=f"{people:,} people x {items:,} items")
    table.add_column("step")
    table.add_column("s", justify="right")
    parts: dict[str, Any] = {k: v for k, v in took.items() if not k.startswith("(")}
    floor = parts.pop("people folded in, matrix product, best 20")
    for what, seconds in parts.items():
        table.add_row(what, f"{seconds:,.1f}")
    table.add_section()
    table.add_row("all of it", f"{sum(parts.values()):,.1f}")
    table.add_row("matrix product and best 20 alone", f"{floor:,.1f}")
    feeds = parts["feeds through the policy, all metrics"]
    table.add_row("policy and metrics / that", f"{feeds / floor:.2f}")
    table.add_row("peak memory, GB (before asking)", f"{peak_gb():.2f} ({before:.2f})")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
