"""Large catalogues: every item is scored as long as that is the fastest way to be exact.

Beyond that an index (faiss, the extra `[faiss]`) looks at a byte per factor instead of four. It
names a short list, and the list is scored exactly. Which of the two a ranker gets is measured when
a bundle is opened, on this machine and on this model's own people.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from features.home import written_beside
from features.training_options import RankerName
from features.types import Bool, Float32, Int32, Ragged
from training.bundle import Bundle
from training.filling import Step
from training.rankers.around import Around
from training.rankers.base import Allowed, Queries, Ranker, Ranking
from training.rankers.topk import best

EXACT_BELOW = 200_000  # items: so many take about 2 ms, and an index saves nothing
SHORTLIST = 300  # items that are scored exactly, for a feed of SIZE
SIZE = 20
RECALL = 0.99  # of an exact feed that the index must find, on average
PEOPLE = 24  # whose feeds are compared, and timed
MOST_FILTERED = 0.5  # of the catalogue: with less left, what is left is scored


@runtime_checkable
class Factored(Ranker, Protocol):
    """A ranker whose score is a product of a person's factors and an item's."""

    @property
    def touched(self) -> Bool:
        """(n_items,) has it an opinion on the item?"""

    @property
    def item_factors(self) -> Float32:
        """(n_items, f) float32."""

    def people(self, queries: Queries) -> Float32:
        """(n, f) float32, 0 where it has no opinion."""


@dataclass(frozen=True)
class Choice:
    """How a ranker finds the best of a large catalogue, and why.

    exact_ms, index_ms: a feed of SIZE for one person, the median; NaN where it was not measured
    recall: share of the exact feeds that the index found, NaN where it was not measured
    """

    ranker: RankerName
    items: int
    indexed: bool
    why: str
    exact_ms: float = np.nan
    index_ms: float = np.nan
    recall: float = np.nan

    def __str__(self) -> str:
        """One line for the log."""
        way = "an index" if self.indexed else "every item is scored"
        line = f"{self.ranker}, {self.items:,} items: {way} ({self.why})"
        if self.exact_ms != self.exact_ms:
            return line
        return (
            f"{line}; exact {self.exact_ms:.1f} ms, index {self.index_ms:.1f} ms, "
            f"recall {self.recall:.3f}"
        )


@dataclass(frozen=True)
class Indexed(Around):
    """A ranker that asks an index first, where little of the catalogue is filtered.

    index: of faiss, over the ranker's item factors
    """

    ranker: Factored
    index: Any

    def top(self, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """The k best of the index's short list; exactly, where the list is no help."""
        depth = self._depth(k, allowed)
        if len(queries) == 1 and depth:
            found = self._listed(self.ranker.people(queries), k, depth, allowed)
            if found is not None:
                return found
        return self.ranker.top(queries, k, allowed)

    def _depth(self, k: int, allowed: Allowed) -> int:
        """How long a short list must be; 0: none would do."""
        share = allowed.count() / max(len(self.ranker.touched), 1)
        if not isinstance(allowed.items, slice) or share < MOST_FILTERED:
            return 0
        return int(max(SHORTLIST, SHORTLIST // SIZE * k) / share) + allowed.excluded.values.size

    def _listed(self, person: Float32, k: int, depth: int, allowed: Allowed) -> Ranking | None:
        """The best of a list of `depth` items; None where it holds too few that may be shown."""
        if not person.any():
            return None
        listed = self.index.search(person, depth)[1][0]
        items = np.sort(listed[listed >= 0]).astype(np.int32)
        items = items[allowed.among(items)]
        items = items[self.ranker.touched[items]]
        if items.size < k:
            return None
        scores = self.ranker.item_factors[items] @ person[0]
        places = best(scores, k)
        return Ranking.of_one(items[places], scores[places], k)


def with_indexes(bundle: Bundle, directory: Path) -> tuple[Bundle, list[Choice]]:
    """The same bundle, with an index wherever that is faster; and what was chosen for whom.

    directory: of the bundle; an index is kept there, so that workers share its pages
    """
    rankers, choices = dict(bundle.rankers), []
    for name, ranker in bundle.rankers.items():
        if isinstance(ranker, Factored):
            path = directory / "indexes" / f"{name}.faiss"
            rankers[name], choice = chosen(name, ranker, people_of(bundle), path)
            choices.append(choice)
    ladder = [Step(step.rung, step.name, rankers[step.name]) for step in bundle.ladder]
    return replace(bundle, rankers=rankers, ladder=ladder), choices


def chosen(
    name: RankerName, ranker: Factored, people: Queries, path: Path
) -> tuple[Ranker, Choice]:
    """The ranker, with an index at `path` if that is faster and finds RECALL of what is best."""
    n = len(ranker.touched)
    if n < EXACT_BELOW:
        return ranker, Choice(name, n, False, f"fewer than {EXACT_BELOW:,}")
    if find_spec("faiss") is None:
        return ranker, Choice(name, n, False, "faiss is not installed: pip install '.[faiss]'")
    if not len(people):
        return ranker, Choice(name, n, False, "nobody to measure it with")
    try:
        index = index_at(path, ranker.item_factors)
    except (OSError, RuntimeError) as error:  # the second is faiss's
        return ranker, Choice(name, n, False, f"the index cannot be kept: {error}")
    return compared(name, ranker, Indexed(ranker, index), people)


def compared(
    name: RankerName, exact: Factored, indexed: Indexed, people: Queries
) -> tuple[Ranker, Choice]:
    """The faster of the two, by the feeds of `people`, if the index finds RECALL of them."""
    n = len(exact.touched)
    everything = Allowed(slice(0, n), Ragged.empty(1))
    asking = [people.take(np.array([row])) for row in range(len(people))]
    exact_ms, shown = _timed(lambda one: exact.top(one, SIZE, everything), asking)
    index_ms, listed = _timed(lambda one: indexed.top(one, SIZE, everything), asking)
    hits = [np.isin(all_, some).sum() for all_, some in zip(shown, listed, strict=True)]
    recall = float(np.sum(hits)) / max(sum(one.size for one in shown), 1)
    choice = judged(name, n, exact_ms, index_ms, recall)
    return indexed if choice.indexed else exact, choice


def judged(name: RankerName, items: int, exact_ms: float, index_ms: float, recall: float) -> Choice:
    """What these measurements speak for."""
    good, faster = recall >= RECALL, index_ms < exact_ms
    worse = "be no faster" if good else "miss too much"
    why = "faster here" if good and faster else f"an index would {worse}"
    return Choice(name, items, good and faster, why, exact_ms, index_ms, recall)


def index_at(path: Path, factors: Float32) -> Any:
    """The index kept at `path`, made and kept there if it is not: a byte per factor.

    Pages of the file are shared among workers. An index of other factors has no place in a
    bundle, which never changes.
    """
    import faiss

    if not path.exists():
        made = faiss.IndexScalarQuantizer(
            factors.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        whole = np.ascontiguousarray(factors)
        made.train(whole)
        made.add(whole)
        with written_beside(path) as beside:
            faiss.write_index(made, str(beside))
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def people_of(bundle: Bundle) -> Queries:
    """Some of a bundle's people with a history, as they would ask at the model's moment."""
    log = bundle.timelines
    known = np.flatnonzero(np.diff(log.indptr) > 0)
    rows = known[:: max(known.size // PEOPLE, 1)][:PEOPLE]
    past = log.take(rows)
    histories = past.histories(bundle.as_of_us, bundle.config.signals)
    return Queries.plain(histories, np.diff(past.indptr), bundle.as_of_us)


def _timed(ask: Callable[[Queries], Ranking], asking: list[Queries]) -> tuple[float, list[Int32]]:
    """Milliseconds of one question, the median; the items that each was answered with."""
    ask(asking[0])  # the first brings the pages in
    spent, found = [], []
    for one in asking:
        begun = time.perf_counter()
        items = ask(one).items[0]
        spent.append(time.perf_counter() - begun)
        found.append(items[items >= 0])
    return float(np.median(spent)) * 1000, found
