"""Judge rankers and the policy on one time split, through the policy, over the full catalogue.

Three tasks, each a batch of people and what they went on to want:

all        people with a past: every item of the test slice; nothing but blocked items is kept away
discovery  the same people: only items that they had not had before, and only such are shown
session    anybody, as if nothing were known before: the first half of what each did is taken for
           the session, the rest is wanted; the shop's own rules keep away what they keep away

What the rules keep away from a feed is not wanted of it either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from features.config import Config
from features.split import Split
from features.timelines import Timelines
from features.types import Bool, Float64, Int32, Int64, Ragged, gather, row_numbers
from training.bundle import terms
from training.catalogue import Catalogue
from training.evaluation import metrics
from training.evaluation.feed_measures import decision_shares
from training.policy import People, Step, Terms, decide, kept_away
from training.queries import Standing, queries_for

KS = (10, 20)
METRIC = "ndcg_at_20"
Repeat = Literal["allow", "exclude"]
CHUNK = 512  # people scored at once: bounds memory to CHUNK x n_items floats


@dataclass(frozen=True)
class Priced:
    """What people went on to want of what is worth anything: a row a person, who may have none.

    value: (len(truth.values),) float64, money or seconds, above 0
    """

    truth: Ragged
    value: Float64

    def take(self, rows: Int64) -> Priced:
        """Of the named people."""
        indptr, entries = gather(self.truth.indptr, rows)
        return Priced(Ragged(indptr, self.truth.values[entries]), self.value[entries])

    def minus(self, away: Ragged) -> Priced:
        """Row by row without the items that the row of `away` has."""
        kept = ~self.truth.within(away)
        return Priced(self.truth.minus(away), self.value[kept])


@dataclass(frozen=True)
class Task:
    """People asking, the terms of their feeds, and what they went on to want."""

    name: str
    people: People
    rows: Int64  # of the log, who each of them is
    truth: Ragged
    terms: Terms
    priced: Priced | None = None  # None: no value is known
    by_value: bool = False  # is it by value that a feed is judged here?

    def take(self, rows: Int64) -> Task:
        """The same task for the named people of it."""
        return replace(self, people=self.people.take(rows), rows=self.rows[rows],
                       truth=self.truth.take(rows),
                       priced=self.priced and self.priced.take(rows))  # fmt: skip

    def drawn(self, most: int, seed: int) -> Task:
        """At most `most` of its people, drawn by the seed, in their order."""
        if len(self.people) <= most:
            return self
        random = np.random.default_rng(seed)
        return self.take(np.sort(random.choice(len(self.people), most, replace=False)))


@dataclass(frozen=True)
class Outcome:
    """How one ladder did on one task.

    name:     of a ranker, or `policy`
    values:   by metric (n,) per person, NaN where it says nothing of that person
    coverage: and what else is one number for all feeds together
    feeds:    (n, size) int32, best first, -1 where a feed is over
    by_value: does value decide, as the objective says? Else what people wanted, all alike
    """

    task: str
    name: str
    values: dict[str, Float64]
    coverage: dict[str, float]
    feeds: Int32
    by_value: bool = False

    @property
    def decisive(self) -> Float64:
        """(n,) by what rankers are chosen and models pass the gate: ndcg@20, or that by value."""
        return self.values[f"value_{METRIC}" if self.by_value else METRIC]


def tasks(
    split: Split, config: Config, catalogue: Catalogue, standing: Standing | None = None
) -> list[Task]:
    """The tasks that this log can answer; one that nobody can be asked is left out.

    standing: of everybody at the cut, besides what they did; None: nothing of that is known
    """
    wanted = np.array(config.label_signals(), dtype=np.bool_)
    known, visiting = _asked(split, wanted, config)
    past = _people(split, known, config, standing=standing)
    future = split.future.take(known)
    chosen = _distinct(future, wanted[future.signals])
    visitors, rest = _half_sessions(split, visiting, config)
    found = _distinct(rest, wanted[rest.signals])
    everything = slice(0, len(catalogue))  # what was available then is not known
    repeats: dict[str, Repeat | None] = {"all": "allow", "discovery": "exclude", "session": None}
    made = []
    for name, repeat in repeats.items():
        people, truth = (visitors, found) if name == "session" else (past, chosen)
        rules = terms(config, catalogue, everything, max(KS), repeat=repeat)
        left = truth.minus(kept_away(people, rules))
        asked = np.flatnonzero(np.diff(left.indptr) > 0)
        who = (visiting if name == "session" else known)[asked]
        made.append(Task(name, people.take(asked), who, left.take(asked), rules))
    return [task for task in made if len(task.people)]


def evaluate(ladder: Sequence[Step], name: str, task: Task, n_items: int) -> Outcome:
    """Feeds for everybody in the task, judged."""
    parts = [
        decide(ladder, task.people.take(rows), task.terms)
        for rows in np.array_split(np.arange(len(task.people)), -(-len(task.people) // CHUNK))
    ]
    found = judged(np.concatenate([part.items for part in parts]), name, task, n_items)
    shares = decision_shares(np.concatenate([part.decisions for part in parts]))
    found.coverage.update({f"{one}_share": shares[one] for one in ("fallback", "suppress")})
    return found


def judged(feeds: Int32, name: str, task: Task, n_items: int) -> Outcome:
    """Given feeds (n, size) of everybody in the task, by all that is known of what they wanted."""
    found = judge(feeds, task.truth, name=name, task=task.name, n_items=n_items)
    if task.priced is not None:
        found.values.update(captured(feeds, task.priced))
    return replace(found, by_value=task.by_value)


def judge(feeds: Int32, truth: Ragged, *, name: str, task: str, n_items: int) -> Outcome:
    """Metrics of given feeds (n, size) against `truth`."""
    hit, wanted = metrics.hits(feeds, truth), np.diff(truth.indptr)
    values: dict[str, Float64] = {}
    for k in KS:
        values[f"recall_at_{k}"] = metrics.recall(hit, wanted, k)
        values[f"precision_at_{k}"] = metrics.precision(hit, k)
        values[f"ndcg_at_{k}"] = metrics.ndcg(hit, wanted, k)
        values[f"mrr_at_{k}"] = metrics.reciprocal_rank(hit, k)
        values[f"map_at_{k}"] = metrics.average_precision(hit, wanted, k)
        values[f"hit_rate_at_{k}"] = metrics.hit_rate(hit, k)
    covered = {f"coverage_at_{k}": metrics.coverage(feeds, n_items, k) for k in KS}
    return Outcome(task, name, values, covered, feeds)


def captured(feeds: Int32, priced: Priced) -> dict[str, Float64]:
    """By metric (n,): what the feeds would have caught of it; NaN for who wanted nothing priced."""
    some = np.flatnonzero(np.diff(priced.truth.indptr) > 0)
    part = priced.take(some)
    gain = metrics.gains(feeds[some], part.truth, part.value)
    values: dict[str, Float64] = {}
    for k in KS:
        found = {
            f"value_ndcg_at_{k}": metrics.value_ndcg(gain, part.truth, part.value, k),
            f"value_share_at_{k}": metrics.value_share(gain, part.truth, part.value, k),
            f"value_at_{k}": metrics.value_captured(gain, k),
        }
        for name, own in found.items():
            values[name] = np.full(len(feeds), np.nan)
            values[name][some] = own
    return values


def summary(outcomes: Sequence[Outcome], count: int, seed: int) -> list[dict[str, object]]:
    """One row per outcome and metric: task, name, metric, people, mean, low, high (95 %)."""
    rows: list[dict[str, object]] = []
    drawn: dict[str, Int64] = {}
    for one in outcomes:
        people = len(next(iter(one.values.values())))
        if one.task not in drawn:
            drawn[one.task] = metrics.draws(people, count, seed)
        about = {"task": one.task, "name": one.name, "people": people}
        for metric, values in one.values.items():
            if np.isnan(values).all():
                continue
            found = metrics.interval(values, drawn[one.task])
            rows.append({**about, "metric": metric, "mean": found.mean, "low": found.low,
                         "high": found.high})  # fmt: skip
        for metric, value in one.coverage.items():
            if np.isnan(value):
                continue
            rows.append({**about, "metric": metric, "mean": value, "low": None, "high": None})
    return rows


def _asked(split: Split, wanted: Bool, config: Config) -> tuple[Int64, Int64]:
    """People with a past and something to want, and people with some events after the cut."""
    past, future = np.diff(split.past.indptr), split.future
    labels = np.bincount(row_numbers(future.indptr)[wanted[future.signals]], minlength=len(future))
    random = np.random.default_rng(config.training.seed)

    def some(rows: Int64) -> Int64:
        limit = config.training.test_people
        return rows if rows.size <= limit else np.sort(random.choice(rows, limit, replace=False))

    known = np.flatnonzero((past > 0) & (labels > 0))
    visiting = np.flatnonzero((np.diff(future.indptr) > 1) & (labels > 0))
    return some(known), some(visiting)


def _half_sessions(split: Split, rows: Int64, config: Config) -> tuple[People, Timelines]:
    """People half-way through all that they do after the cut, their past hidden; the other half."""
    future = split.future.take(rows)
    lengths = np.diff(future.indptr)
    place = np.arange(future.items.size) - future.indptr[:-1].repeat(lengths)
    first = place < (lengths // 2).repeat(lengths)
    liked = np.array([s.weight > 0 for s in config.signals.values()])[future.signals]
    given, rest = future.where(first & liked), future.where(~first)
    recent = np.split(given.items, given.indptr[1:-1]) if rows.size else []
    return _people(split, np.full(rows.size, -1, dtype=np.int64), config, recent), rest


def _people(
    split: Split, rows: Int64, config: Config, recent: Sequence[Int32] | None = None,
    standing: Standing | None = None,
) -> People:  # fmt: skip
    sessions = recent if recent is not None else [np.empty(0, dtype=np.int32)] * rows.size
    queries = queries_for(
        split.past,
        rows.astype(np.int32),
        sessions,
        split.cut_us,
        config.signals,
        config.session_signal(),
        standing,
    )
    everybody = np.ones(len(queries), dtype=np.bool_)  # measuring asks nobody for consent to serve
    return People(queries, everybody, ~everybody)


def _distinct(timelines: Timelines, kept: Bool) -> Ragged:
    """Each person's distinct items, sorted."""
    chosen = timelines.where(kept)
    keys = np.unique(row_numbers(chosen.indptr) * chosen.n_items + chosen.items)
    return _ragged(keys, len(chosen), chosen.n_items)


def _ragged(keys: Int64, rows: int, n_items: int) -> Ragged:
    counts = np.bincount(keys // n_items, minlength=rows)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Ragged(indptr, (keys % n_items).astype(np.int32))
