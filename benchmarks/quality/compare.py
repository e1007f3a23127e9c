"""Contestants on the same questions: means with intervals, and the gap to the best peer.

The best peer of a task is known only from the test slice itself: the highest of many noisy means is
picked as the one to beat. That flatters the peers, not us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.quality.field import Entry
from training.evaluation import metrics
from training.evaluation.metrics import Interval
from training.evaluation.protocol import Outcome, Task, judge

METRIC, BESIDE, COVERED = "ndcg_at_20", "recall_at_20", "coverage_at_20"
Verdict = Literal["above", "level", "below", ""]


@dataclass(frozen=True)
class Row:
    """One contestant on one task of one log.

    gap: its ndcg less that of the best peer, on the same people, in the same bootstrap draws
    verdict: above or below where the whole 95 % interval of the gap is; peers have none
    """

    log: str
    task: str
    name: str
    ours: bool
    people: int
    ndcg: Interval
    recall: Interval
    coverage: float
    gap: Interval
    verdict: Verdict
    fit_seconds: float


@dataclass(frozen=True)
class Rules:
    """How intervals are made."""

    draws: int = 2000
    seed: int = 0


def compare(
    log: str, task: Task, ours: Sequence[Entry], peers: Sequence[Entry], rules: Rules
) -> list[Row]:
    """Rows of everybody who answered the task: peers first, the best of them at the top."""
    heard, mine = ([one for one in side if task.name in one.feeds] for side in (peers, ours))
    if not heard:
        return []
    best = max((_judged(one, task).values[METRIC] for one in heard), key=np.mean)
    drawn = metrics.draws(len(task.people), rules.draws, rules.seed)

    def row(one: Entry, is_ours: bool) -> Row:
        found = _judged(one, task)
        values = found.values[METRIC]
        gap = metrics.interval(values - best, drawn)
        return Row(
            log, task.name, one.name, is_ours, len(values), metrics.interval(values, drawn),
            metrics.interval(found.values[BESIDE], drawn), found.coverage[COVERED], gap,
            verdict(gap) if is_ours else "", one.fit_seconds,
        )  # fmt: skip

    rows = [row(one, False) for one in heard]
    rows += [row(one, True) for one in mine]
    return sorted(rows, key=lambda r: (r.ours, -r.ndcg.mean))


def verdict(gap: Interval) -> Verdict:
    """Above or below only where the interval of the gap is clear of 0."""
    return "above" if gap.low > 0 else "below" if gap.high < 0 else "level"


@dataclass(frozen=True)
class Summary:
    """How often one of ours is at or above the best peer."""

    name: str
    asked: int
    at_or_above: int
    clearly_above: int
    clearly_below: int

    def __str__(self) -> str:
        return (
            f"{self.name}: at or above the best peer on {self.at_or_above} of {self.asked}, "
            f"clearly above on {self.clearly_above}, clearly below on {self.clearly_below}"
        )


def summarise(rows: Sequence[Row], name: str) -> Summary:
    """The summary of one contestant over logs and tasks."""
    own = [row for row in rows if row.name == name]
    return Summary(
        name, len(own), sum(row.gap.mean >= 0 for row in own),
        sum(row.verdict == "above" for row in own), sum(row.verdict == "below" for row in own),
    )  # fmt: skip


def _judged(entry: Entry, task: Task) -> Outcome:
    n_items = task.people.queries.histories.n_items
    name: Any = entry.name  # peers have names of their own
    return judge(entry.feeds[task.name], task.truth, name=name, task=task.name, n_items=n_items)
