"""Counters that move with every event: how much an item is wanted of late, and what follows what.

Forward decay (Cormode, Shkapenyuk, Srivastava & Xu 2009, sec. 3): an event at time t weighs
2^((t - landmark) / half-life), and what is read at some moment is divided by that moment's own
factor. So an event touches its own item only, all sums can be compared as they are, and it does not
matter whether events come all at once, one by one or in batches, in whatever order. The paper
renormalises before the factors overflow; here the sums are kept as logarithms to base 2, which
neither overflow nor lose what is old. Builds, replays and serving use this same code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np
import scipy.sparse as sp

from features.online import signal_rates
from features.options import Signal
from features.timelines import Timelines
from features.types import DAY_US, Bool, Float64, Int32, Int64, nothing, row_numbers, stretches

LOOK_BACK = 500  # events of a person before a new one that live counters are told
BASKET = 20  # items of one moment that are paired with each other, at most so many apart


@dataclass(frozen=True)
class Trails:
    """Events person by person, each person's in time order, and which of them are new.

    items:       (m,) int32
    weights:     (m,) float64, above 0: what an event of its type says, not faded
    occurred_us: (m,) int64, microseconds since 1970 UTC
    people:      (m,) int64, the same number for all events of a person
    fresh:       (m,) bool; the others came before and have been counted
    """

    items: Int32
    weights: Float64
    occurred_us: Int64
    people: Int64
    fresh: Bool

    @classmethod
    def of(
        cls, timelines: Timelines, signals: dict[str, Signal], fresh: Bool | None = None
    ) -> Self:
        """All that `timelines` hold but for signals of no interest; fresh: (m,), None: all are."""
        weights = np.maximum(signal_rates(signals.values())[0], 0)[timelines.signals]
        liked = weights > 0
        new = np.ones(liked.size, np.bool_) if fresh is None else fresh
        return cls(
            timelines.items[liked], weights[liked].astype(np.float64),
            timelines.occurred_us[liked], row_numbers(timelines.indptr)[liked], new[liked],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Counters:
    """How much each item is wanted, by several half-lives; `add` changes the arrays in place.

    half_life_days: (h,) float64
    sums:           (h, n_items) float64, log2 of the decayed sum as it was at `landmark_us`;
                    -inf: nothing was counted
    newest_us:      (1,) int64, the newest event that was counted, else the landmark
    """

    half_life_days: Float64
    landmark_us: int
    sums: Float64
    newest_us: Int64

    @classmethod
    def empty(cls, half_life_days: Float64, n_items: int, landmark_us: int) -> Self:
        """Nothing counted yet; a landmark near the events keeps the logarithms small."""
        sums = np.full((len(half_life_days), n_items), -np.inf)
        newest = np.full(1, landmark_us, dtype=np.int64)
        return cls(np.asarray(half_life_days, np.float64), landmark_us, sums, newest)

    def add(self, items: Int32, weights: Float64, occurred_us: Int64) -> None:
        """Count events, (m,) each; weights above 0."""
        if not items.size:
            return
        touched, places = np.unique(items, return_inverse=True)
        self.newest_us[0] = max(self.newest_us[0], occurred_us.max())
        passed, said = (occurred_us - self.landmark_us) / DAY_US, np.log2(weights)
        for row, days in zip(self.sums, self.half_life_days, strict=True):
            row[touched] = np.logaddexp2(
                row[touched], log2_sums(places, said + passed / days, touched.size)
            )

    def at(self, moment_us: int, items: slice | Int32 = slice(None)) -> Float64:
        """(h, m) log2 of the decayed sums of `items` at a moment; -inf: nothing was counted."""
        passed: Float64 = (moment_us - self.landmark_us) / DAY_US / self.half_life_days
        return self.sums[:, items] - passed[:, None]

    def grown(self, n_items: int) -> Self:
        """A copy of its own to count on in, with room for `n_items` items."""
        room = np.full((len(self.sums), n_items - self.sums.shape[1]), -np.inf)
        sums = np.concatenate([self.sums, room], axis=1)
        return replace(self, sums=sums, newest_us=self.newest_us.copy())


def log2_sums(places: Int64, logs: Float64, n: int) -> Float64:
    """(n,) log2 of the sum of 2^`logs` (m,) per place (m,); -inf where there is none."""
    most = np.full(n, -np.inf)
    np.maximum.at(most, places, logs)
    sums = np.bincount(places, np.exp2(logs - most[places]), minlength=n)
    with np.errstate(divide="ignore"):
        return np.where(sums > 0, most + np.log2(sums), -np.inf)


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of items, each (m,): what was followed by what, how much it says, and when."""

    sources: Int32
    targets: Int32
    weights: Float64
    occurred_us: Int64


@dataclass(frozen=True)
class Reach:
    """Which events of a person make a pair, and how much of one.

    window:  how many items back, this visit or earlier; several looks on end at an item are one
    decay:   per item of distance
    ordered: False: items of the same moment, such as the lines of a bill, have no order; each
             follows each other (up to BASKET apart in the log) as if there were no distance
    """

    window: int
    decay: float
    ordered: bool

    def pairs(self, trails: Trails) -> Iterator[Pairs]:
        """The pairs that the fresh events make with what came before them, distance by distance."""
        looks, first_look, ends = _looks(trails)
        for distance in range(1, (self.window if self.ordered else max(self.window, BASKET)) + 1):
            entries = np.flatnonzero(trails.fresh & (looks - distance >= first_look))
            if not entries.size:
                return
            before = ends[looks[entries] - distance]
            other = trails.items[before] != trails.items[entries]
            at_once = trails.occurred_us[before] == trails.occurred_us[entries]
            same = other & at_once & (not self.ordered)
            after = other & ~same & (distance <= self.window)
            faded = np.repeat([self.decay ** (distance - 1), 1.0, 1.0],
                              [after.sum(), same.sum(), same.sum()])  # fmt: skip
            sources = np.concatenate([before[after], before[same], entries[same]])
            targets = np.concatenate([entries[after], entries[same], before[same]])
            moments = np.maximum(trails.occurred_us[sources], trails.occurred_us[targets])
            yield Pairs(trails.items[sources], trails.items[targets],
                        trails.weights[targets] * faded, moments)  # fmt: skip


def _looks(trails: Trails) -> tuple[Int64, Int64, Int64]:
    """(m,) look that an event is part of, (m,) first of its person's, (k,) last event of a look."""
    begins = np.ones(len(trails), dtype=np.bool_)
    begins[1:] = trails.people[1:] != trails.people[:-1]
    opens = begins.copy()
    opens[1:] |= trails.items[1:] != trails.items[:-1]
    looks = np.cumsum(opens) - 1
    starts = np.flatnonzero(begins)
    first_look = np.repeat(looks[starts], np.diff(np.append(starts, len(trails))))
    return looks, first_look, np.append(np.flatnonzero(opens)[1:], len(trails)) - 1


MOST_SINCE = 250_000  # pairs that came since a fit; about 100 bytes each


@dataclass(frozen=True)
class Transitions:
    """How often one item followed another of late: what a fit found, and what came since.

    reach:   which events make a pair            half_life_days, landmark_us: as in Counters
    indptr:  (n_items + 1,) int64; row i has what followed item i when this was fitted
    targets: (m,) int32, ascending in a row      sums: (m,) float64, log2 as in Counters
    given, taken: sums of all pairs, also of those not kept, by the item before and after

    What came since lies beside it, item by item, and is not stored with it; of more than MOST_SINCE
    pairs the weaker half is let go.
    """

    reach: Reach
    half_life_days: float
    landmark_us: int
    indptr: Int64
    targets: Int32
    sums: Float64
    given: Counters
    taken: Counters

    @classmethod
    def of(
        cls, trails: Trails, n_items: int, reach: Reach, half_life_days: float, landmark_us: int,
        keep: int,
    ) -> Self:  # fmt: skip
        """Count all of `trails`; of what followed an item only the `keep` most are kept."""
        newest = int(trails.occurred_us.max(initial=landmark_us))
        found = nothing(n_items, n_items).astype(np.float64)
        for pairs in reach.pairs(trails):
            sums = np.exp2(_logs(pairs, half_life_days, newest))  # at most the weights
            cells = (sums, (pairs.sources, pairs.targets))
            found = sp.csr_matrix(found + sp.csr_matrix(cells, shape=found.shape))
        totals = [np.asarray(found.sum(axis=axis)).reshape(1, n_items) for axis in (1, 0)]
        shift = (newest - landmark_us) / DAY_US / half_life_days
        with np.errstate(divide="ignore"):
            given, taken = (
                Counters(np.array([half_life_days]), landmark_us, np.log2(one) + shift,
                         np.full(1, newest)) for one in totals
            )  # fmt: skip
        indptr, kept = _strongest(found, keep)
        targets, sums = found.indices[kept].astype(np.int32), np.log2(found.data[kept]) + shift
        return cls(reach, half_life_days, landmark_us, indptr, targets, sums, given, taken)

    @cached_property
    def since(self) -> dict[int, dict[int, float]]:
        """What came since the fit: item -> what followed -> log2 of the decayed sum."""
        return {}

    def add(self, trails: Trails) -> None:
        """Count what the fresh events follow; the trails go back as far as the reach does."""
        found = list(self.reach.pairs(trails))
        if not found:
            return
        pairs = Pairs(*(np.concatenate([getattr(one, part.name) for one in found])
                        for part in fields(Pairs)))  # fmt: skip
        self.given.add(pairs.sources, pairs.weights, pairs.occurred_us)
        self.taken.add(pairs.targets, pairs.weights, pairs.occurred_us)
        logs = _logs(pairs, self.half_life_days, self.landmark_us)
        triples = zip(pairs.sources.tolist(), pairs.targets.tolist(), logs, strict=True)
        for source, target, log in triples:
            row = self.since.setdefault(source, {})
            row[target] = float(np.logaddexp2(row.get(target, -np.inf), log))
        self._told[0] += len(logs)
        if self._told[0] > MOST_SINCE // 4:  # to count is cheap, but not for every event
            self._told[0] = 0
            self._let_go()

    @cached_property
    def _told(self) -> list[int]:
        """How many pairs were added since they were counted: one number."""
        return [0]

    def _let_go(self) -> None:
        """Keep the stronger half of too many pairs: one of once, long ago, says next to nothing."""
        sums = np.fromiter((s for row in self.since.values() for s in row.values()), np.float64)
        if sums.size <= MOST_SINCE:
            return
        least = np.partition(sums, sums.size // 2)[sums.size // 2]
        for source, row in [*self.since.items()]:
            kept = {target: one for target, one in row.items() if one > least}
            if kept:
                self.since[source] = kept
            else:
                del self.since[source]

    def rows(self, items: Int32, moment_us: Int64) -> tuple[Int64, Int32, Float64]:
        """What followed each of `items` (k,), as it weighs at `moment_us` (k,): ragged, flat.

        returns: (m,) place in `items`, (m,) int32 what followed, (m,) its decayed sum. A pair of
        before and since the fit comes twice: the parts add up.
        """
        lengths, targets, sums = stretches(self.indptr, items, self.targets, self.sums)
        places = np.repeat(np.arange(items.size), lengths)
        fresh = [(place, self.since[item]) for place, item in enumerate(items.tolist())
                 if item in self.since] if self.since else []  # fmt: skip
        if fresh:
            since = [len(row) for _, row in fresh]
            places = np.concatenate([places, np.repeat([place for place, _ in fresh], since)])
            targets = np.concatenate([targets, *(np.fromiter(r, np.int32) for _, r in fresh)])
            sums = np.concatenate([sums, *(np.fromiter(r.values(), np.float64) for _, r in fresh)])
        return places, targets, np.exp2(sums - spread(self.passed(moment_us), places))

    def passed(self, moment_us: Int64) -> Float64:
        """Half-lives between the landmark and each moment."""
        return np.asarray((moment_us - self.landmark_us) / DAY_US / self.half_life_days)

    def grown(self, n_items: int) -> Self:
        """A copy of its own to count on in, with room for `n_items` items."""
        room = np.full(n_items + 1 - self.indptr.size, self.indptr[-1])
        copy = replace(
            self, indptr=np.concatenate([self.indptr, room]),
            given=self.given.grown(n_items), taken=self.taken.grown(n_items),
        )  # fmt: skip
        copy.since.update({item: dict(row) for item, row in self.since.items()})
        return copy


def spread(values: Float64, places: Int64) -> Float64 | np.float64:
    """The value of each place; one number where all are alike, as for one who asks."""
    return values[places] if values.size and (values != values[0]).any() else values[:1].sum()


def _logs(pairs: Pairs, half_life_days: float, landmark_us: int) -> Float64:
    """log2 of what each pair weighs at the landmark."""
    passed = (pairs.occurred_us - landmark_us) / DAY_US / half_life_days
    return np.asarray(np.log2(pairs.weights) + passed)


def _strongest(matrix: sp.csr_matrix, keep: int) -> tuple[Int64, Int64]:
    """A new indptr and the entries to keep: of every row the `keep` highest above 0."""
    matrix.sort_indices()
    rows = row_numbers(matrix.indptr.astype(np.int64))
    order = np.lexsort((-matrix.data, rows))
    place = np.arange(rows.size) - matrix.indptr[rows]
    kept = np.sort(order[(place < keep) & (matrix.data[order] > 0)])
    lengths = np.bincount(rows[kept], minlength=matrix.shape[0])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), kept
