"""What the content towers learn from: who wanted what, when, given what else they like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse as sp

from features.timelines import Timelines
from features.types import Bool, Float32, Float64, Int32, Int64, row_numbers
from training.past import Past
from training.rankers.content import SESSION_DECAY, Layer, squashed

_HELD_OUT = 0.1  # of the items: what an item without events is judged on
_FEW_ITEMS = 100  # too few to hold any out
_JUDGES = 2000  # people, at most
_REACH = 8  # items before, in the session
_SMALL = 1e-12


@dataclass(frozen=True)
class Batch:
    """Examples that are each other's negatives; places point into `items`.

    items:     (u,) int32, all that occur, once each
    histories: (b, u) CSR float32, what else each person is interested in; rows sum to 1
    sessions:  (b, u) CSR float32, what came right before; rows sum to 1, or are empty
    wanted:    (b,) int64, place of what each person wanted at `now_us` (b,) int64
    log_share: (b,) float32, log of how often that item is drawn
    apart:     (b, b) bool, columns that are no negatives of a row: the person has them too
    """

    items: Int32
    histories: sp.csr_matrix
    sessions: sp.csr_matrix
    wanted: Int64
    now_us: Int64
    log_share: Float32
    apart: Bool

    def __len__(self) -> int:
        return len(self.wanted)


@dataclass(frozen=True)
class Lessons:
    """Events to draw examples from, of people with two items at least.

    interest: (n_persons, n_items) CSR float32, in logarithms, without the items held out
    persons, items, times: (m,) int64, int32, int64 of each event
    before:    (m, _REACH) int32, the items before it in the same session, newest first; -1 none
    until:     (m,) float64, cumulative share with which the events are drawn
    log_share: (n_items,) float32, log of the share with which an item is drawn
    held_out:  (n_items,) bool, items with events that nothing is learned from
    """

    interest: sp.csr_matrix
    persons: Int64
    items: Int32
    times: Int64
    before: Int32
    until: Float64
    log_share: Float32
    held_out: Bool
    scale: float
    seed: int

    @classmethod
    def of(cls, past: Past, described: Bool) -> Self:
        """All events with interest in the `described` (n_items,) items, some held out.

        A person is drawn in proportion to the square root of how many items they like, so that the
        busiest do not speak for all; their events by what these weigh.
        """
        held_out = _held_out(past, described)
        kept, scale = described & ~held_out, float(past.interest.data.mean())
        interest = _within(past.interest, kept, scale)
        lengths = np.diff(interest.indptr)
        log, rows = past.timelines, row_numbers(past.timelines.indptr)
        weights = log.histories(past.as_of_us, past.signals).weights
        used = np.flatnonzero((weights > 0) & kept[log.items] & (lengths[rows] > 1))
        persons, items = rows[used], log.items[used]
        share = weights[used].astype(np.float64)
        share *= (np.sqrt(lengths) / _total(persons, share, len(log)))[persons]
        drawn = np.bincount(items, share / max(share.sum(), _SMALL), minlength=log.n_items)
        log_share = np.log(np.maximum(drawn, _SMALL)).astype(np.float32)
        return cls(
            interest, persons, items, log.occurred_us[used], _before(log, used, weights, kept),
            np.cumsum(share), log_share, held_out, scale, past.seed,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.items)

    def touched(self) -> Bool:
        """(n_items,) bool, what is learned from."""
        found = np.zeros(self.interest.shape[1], dtype=np.bool_)
        found[self.interest.indices] = True
        return found

    def draw(self, count: int, random: np.random.Generator) -> Int64:
        """(count,) events, drawn by their share."""
        found = np.searchsorted(self.until, random.random(count) * self.until[-1], side="right")
        return np.asarray(np.minimum(found, len(self) - 1), dtype=np.int64)

    def batch(self, events: Int64, random: np.random.Generator) -> Batch:
        """The examples of some events; of each history the wanted item is left out.

        Half of the sessions are left out too: people are also asked for when they are not here.
        """
        persons, wanted, n = self.persons[events], self.items[events], len(events)
        histories = sp.csr_matrix(self.interest[persons])
        apart = histories[:, wanted].toarray() > 0
        np.fill_diagonal(apart, False)
        rows = row_numbers(histories.indptr.astype(np.int64))
        weights = np.where(histories.indices == wanted[rows], 0, histories.data)
        before = self.before[events]
        told = (before >= 0) & (before != wanted[:, None]) & (random.random((n, 1)) < 0.5)
        seats, steps = np.nonzero(told)
        items, places = np.unique(
            np.concatenate([histories.indices, before[told], wanted]), return_inverse=True
        )
        whole, session, own = np.split(places, [rows.size, rows.size + seats.size])
        return Batch(
            items, _means(rows, whole, weights, (n, items.size)),
            _means(seats, session, SESSION_DECAY**steps, (n, items.size)), own,
            self.times[events], self.log_share[wanted], apart,
        )  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """People who want items that nothing was learned from.

    histories: (q, n_items) CSR float32, what else they are interested in; rows sum to 1
    wanted:    (q, h) bool, of the items held out, whose numbers are `items` (h,) int64
    """

    histories: sp.csr_matrix
    wanted: Bool
    items: Int64

    @classmethod
    def of(cls, past: Past, lessons: Lessons) -> Judge | None:
        """Some of those people; None where nothing was held out, or nobody wants it."""
        items = np.flatnonzero(lessons.held_out)
        wanted = past.interest[:, items]
        asked = np.flatnonzero(
            (np.diff(wanted.indptr) > 0) & (np.diff(lessons.interest.indptr) > 0)
        )
        if not asked.size:
            return None
        if asked.size > _JUDGES:
            random = np.random.default_rng(past.seed)
            asked = np.sort(random.choice(asked, _JUDGES, replace=False))
        histories = lessons.interest[asked]
        lengths = np.maximum(np.asarray(histories.sum(axis=1)).ravel(), _SMALL)
        histories = sp.diags(1 / lengths, format="csr") @ histories
        return cls(histories.astype(np.float32), wanted[asked].toarray() > 0, items)

    def quality(self, vectors: Float32, people: Layer) -> float:
        """Mean over people of the mean 1 / log2(1 + place) of what they want among these items."""
        scores = people.corrected(self.histories @ vectors) @ vectors[self.items].T
        order = np.argsort(-scores, axis=1, kind="stable")
        found = np.take_along_axis(self.wanted, order, axis=1)
        gains = 1 / np.log2(2 + np.arange(self.items.size))
        return float(((found @ gains) / found.sum(axis=1)).mean())


def _held_out(past: Past, described: Bool) -> Bool:
    held_out = np.zeros(described.size, dtype=np.bool_)
    usable = np.flatnonzero(past.touched & described)
    if usable.size >= _FEW_ITEMS:
        random = np.random.default_rng(past.seed)
        held_out[random.choice(usable, int(_HELD_OUT * usable.size), replace=False)] = True
    return held_out


def _within(interest: sp.csr_matrix, kept: Bool, scale: float) -> sp.csr_matrix:
    """Interest in the `kept` items alone, in logarithms."""
    within = sp.csr_matrix(interest @ sp.diags(kept.astype(np.float32), format="csr"))
    within.data = squashed(within.data, scale)
    within.eliminate_zeros()
    return within


def _before(log: Timelines, used: Int64, weights: Float32, kept: Bool) -> Int32:
    """(m, _REACH) int32, see `Lessons.before`; of `kept` items, and what weighs above 0."""
    rows, shown = row_numbers(log.indptr), np.full((used.size, _REACH), -1, dtype=np.int32)
    liked = (weights > 0) & kept[log.items]
    for step in range(_REACH):
        earlier = np.maximum(used - step - 1, 0)
        same = (rows[earlier] == rows[used]) & (log.sessions[earlier] == log.sessions[used])
        there = same & liked[earlier] & (used > step)
        shown[there, step] = log.items[earlier[there]]
    return shown


def _means(
    rows: Int64, places: Int64, weights: Float64 | Float32, shape: tuple[int, int]
) -> sp.csr_matrix:
    """A matrix whose rows sum to 1, or are empty; `rows` (m,) rise."""
    shares = (weights / _total(rows, weights, shape[0])[rows]).astype(np.float32)
    begins = np.searchsorted(rows, np.arange(shape[0] + 1))
    return sp.csr_matrix((shares, places, begins), shape=shape)


def _total(rows: Int64, weights: Float64 | Float32, n: int) -> Float64:
    """(n,) the sum of the weights of each row; never 0."""
    return np.asarray(np.maximum(np.bincount(rows, weights, minlength=n), _SMALL), dtype=np.float64)
