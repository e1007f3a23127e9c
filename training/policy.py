"""The one policy: (people, what they may be shown, a ladder of rankers) -> decisions and feeds.

Pure: the evaluation, `feeds rank` and the service all call `decide`, so what is measured is what
is served. A rung is how much knowledge a feed uses; each step of the ladder sees only what its rung
may know, and the feed is filled from the top step down with one exclude set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import scipy.sparse as sp

from features.config import RUNGS, Rung
from features.training_options import RankerName
from features.types import Bool, Float32, Histories, Int8, Int32, Int64, Ragged, row_numbers
from training.rankers.base import Allowed, Items, Queries, Ranker

ONE_FOR_ALL, CONTEXT, SEGMENT, ONE_TO_ONE = range(len(RUNGS))


class Decision(IntEnum):
    """What a request got."""

    show = 0  # a feed of the rung that the person can have
    fallback = 1  # that rung had no opinion; a lower one spoke first
    suppress = 2  # nothing


class Reason(IntEnum):
    """Why the decision is what it is."""

    known_history = 0
    current_session = 1
    stranger = 2
    unknown_user = 3
    no_consent = 4
    limit = 5  # the placement or the request allows no higher rung
    not_on_ladder = (
        6  # more is known, but no ranker for it: none fitted, or none paid when measured
    )
    no_opinion = 7
    too_few_items = 8
    nothing_allowed = 9
    known_segment = 10
    told_us = 11  # no history, but answers
    does_not_pay = 12  # more is known, but the evidence says that it does not pay here


@dataclass(frozen=True)
class Step:
    """One step of the ladder: a ranker, and how much it may know."""

    rung: Rung
    name: RankerName
    ranker: Ranker


@dataclass(frozen=True)
class People:
    """A batch of people at the door.

    queries: what we know of them          consent: (n,) bool, may we use it?
    unknown: (n,) bool, an id was given that the model does not know
    """

    queries: Queries
    consent: Bool
    unknown: Bool

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, rows: Int64) -> People:
        """The named rows."""
        return People(self.queries.take(rows), self.consent[rows], self.unknown[rows])


@dataclass(frozen=True)
class Terms:
    """What a feed must be.

    items:      what may be shown at all         highest_rung: the limit of placement and request
    kinds:      (n_items,) int8, index into KINDS
    keeps_away: (n_signals, n_kinds) bool, is an item of the kind not shown after such an event?
    keeps_away_in_session: (n_signals, n_kinds) bool, the same within the current session
    on_too_few: below `min_items`: suppress; pad with what the person has; or leave it shorter
    ceiling:    (2, n_stages + 1, n_segments + 1) int8, the highest rung that pays: by whether they
                have seen anything in this visit, by stage and by segment (the last of these, where
                -1 points, is of the unknown); None: nothing is known of that
    """

    items: Items
    kinds: Int8
    keeps_away: Bool
    keeps_away_in_session: Bool
    size: int
    highest_rung: Rung = "one_to_one"
    min_items: int = 0
    on_too_few: str = "shorter"
    ceiling: Int8 | None = None

    def asking(self, *, size: int, highest_rung: Rung) -> Terms:
        """The same terms for another size and rung."""
        return replace(
            self, size=size, highest_rung=highest_rung, min_items=min(self.min_items, size)
        )


@dataclass(frozen=True)
class Feeds:
    """Decisions and feeds, a row per person.

    items:    (n, size) int32, best first, -1 where the feed is over
    scores:   (n, size) float32, of the ranker that spoke
    steps:    (n, size) int8, index in the ladder, -1 where the feed is over
    rungs:    (n,) int8, the rung that the person could have
    decisions, reasons: (n,) int8
    """

    items: Int32
    scores: Float32
    steps: Int8
    rungs: Int8
    decisions: Int8
    reasons: Int8


def decide(ladder: Sequence[Step], people: People, terms: Terms) -> Feeds:
    """Rank `terms.items` for `people` by the highest steps of `ladder` that each may have."""
    queries = known_of(people)
    rungs, reasons = entitled(people, terms.highest_rung, ladder, _ceiling(queries, terms))
    feeds = _Filling.empty(len(people), terms.size)
    feeds.fill(ladder, queries, rungs, Allowed(terms.items, kept_away(people, terms)))
    if terms.on_too_few == "pad":
        blocked = Allowed(terms.items, _blocked(people.queries.histories))
        feeds.fill(ladder, queries, rungs, blocked, below=terms.min_items)
    return _decided(feeds, ladder, rungs, reasons, terms)


def _ceiling(queries: Queries, terms: Terms) -> Int8:
    """(n,) the highest rung that pays for each, by the visit and what else may be known of them."""
    if terms.ceiling is None:
        return np.full(len(queries), ONE_TO_ONE, dtype=np.int8)
    browsing = np.diff(queries.histories.indptr) > queries.session_start
    return terms.ceiling[browsing.astype(np.int8), queries.stage, queries.segment]


def entitled(
    people: People, limit: Rung, ladder: Sequence[Step], ceiling: Int8
) -> tuple[Int8, Int8]:
    """(n,) the rung each person can have, by knowledge, consent, `limit` and ladder; (n,) why.

    ceiling: (n,) int8, the highest rung that pays for each
    A rung is not on the ladder when no ranker was fitted for it, or none paid when measured.
    """
    queries = people.queries
    session = np.diff(queries.histories.indptr) > queries.session_start
    past = queries.session_start > 0
    told = np.diff(queries.declared.indptr) > 0
    knowledge = {
        CONTEXT: session,
        SEGMENT: (queries.segment >= 0) & people.consent,
        ONE_TO_ONE: (past | told) & people.consent,
    }
    why = {
        CONTEXT: Reason.current_session,
        SEGMENT: Reason.known_segment,
        ONE_TO_ONE: Reason.known_history,
    }
    rungs = np.full(len(people), ONE_FOR_ALL, dtype=np.int8)
    reasons = np.where(people.unknown, Reason.unknown_user, Reason.stranger).astype(np.int8)
    for rung, known in knowledge.items():
        if rung > RUNGS.index(limit):
            reasons[known] = Reason.limit
        elif all(step.rung != RUNGS[rung] for step in ladder):
            reasons[known] = Reason.not_on_ladder
        else:
            pays = known & (rung <= ceiling)
            rungs[pays], reasons[pays] = rung, why[rung]
            reasons[known & ~pays] = Reason.does_not_pay
    reasons[(reasons == Reason.known_history) & ~past] = Reason.told_us
    reasons[past & ~people.consent] = Reason.no_consent
    return rungs, reasons


def kept_away(people: People, terms: Terms) -> Ragged:
    """The items that each person's feed may not show: blocked ones, and had ones by the rules."""
    return _blocked(people.queries.histories).joined(_had(known_of(people), terms))


def known_of(people: People) -> Queries:
    """What may be used: without consent only the current session."""
    queries = people.queries
    if people.consent.all():
        return queries
    starts = np.where(people.consent, 0, queries.session_start)
    without = replace(
        queries,
        histories=queries.histories.since(starts),
        session_start=queries.session_start - starts,
    )
    return _silenced(without, ~people.consent)


def _silenced(queries: Queries, rows: Bool) -> Queries:
    """Of the named rows neither segment nor stage nor what they told us is known."""
    if not rows.any():
        return queries
    kept = sp.diags((~rows).astype(np.float32))
    return replace(
        queries,
        segment=np.where(rows, -1, queries.segment).astype(np.int16),
        stage=np.where(rows, -1, queries.stage).astype(np.int8),
        declared=sp.csr_matrix(kept @ queries.declared, dtype=np.float32),
    )


def _blocked(histories: Histories) -> Ragged:
    """Items that a negative signal keeps away, whatever else is known or allowed."""
    return _chosen(histories, histories.weights < 0)


def _had(queries: Queries, terms: Terms) -> Ragged:
    """Items that the person has and that may not be shown again."""
    histories = queries.histories
    event = (histories.signals, terms.kinds[histories.items])
    away = terms.keeps_away[event]
    if terms.keeps_away_in_session.any():
        session = np.arange(len(histories.items)) - histories.indptr[:-1].repeat(
            np.diff(histories.indptr)
        ) >= queries.session_start.repeat(np.diff(histories.indptr))
        away = away | (session & terms.keeps_away_in_session[event])
    return _chosen(histories, away)


def _chosen(histories: Histories, entries: Bool) -> Ragged:
    if not entries.any():
        return Ragged.empty(len(histories))
    lengths = np.bincount(row_numbers(histories.indptr)[entries], minlength=len(histories))
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Ragged(indptr, histories.items[entries])


def seen_by(rung: Rung, queries: Queries) -> Queries:
    """What a step of `rung` may look at."""
    if rung == "one_to_one":
        return queries
    if rung == "context":
        return queries.session_only()
    if rung == "segment":
        return queries.session_and_segment()
    return Queries.of_strangers(len(queries), queries.histories.n_items, queries.now_us)


@dataclass(frozen=True)
class _Filling:
    """Feeds that are being filled; the arrays change in place."""

    items: Int32
    scores: Float32
    steps: Int8

    @classmethod
    def empty(cls, rows: int, size: int) -> _Filling:
        return cls(
            np.full((rows, size), -1, dtype=np.int32),
            np.full((rows, size), np.nan, dtype=np.float32),
            np.full((rows, size), -1, dtype=np.int8),
        )

    def fill(
        self, ladder: Sequence[Step], queries: Queries, rungs: Int8, allowed: Allowed,
        below: int | None = None,
    ) -> None:  # fmt: skip
        """Go down the ladder until every row is full (or has `below` items)."""
        size = self.items.shape[1] if below is None else below
        for place, step in enumerate(ladder):
            reach = rungs >= RUNGS.index(step.rung)
            rows = np.flatnonzero(reach & ((self.items >= 0).sum(axis=1) < size))
            if rows.size:
                view = seen_by(step.rung, queries).take(rows)
                own = allowed.take(rows).without(self._shown(rows))
                ranking = step.ranker.top(view, size, own)
                self._append(rows, place, ranking.items, ranking.scores, size)

    def _shown(self, rows: Int64) -> Ragged:
        items = self.items[rows]
        lengths = (items >= 0).sum(axis=1)
        return Ragged(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), items[items >= 0]
        )

    def _append(self, rows: Int64, step: int, items: Int32, scores: Float32, size: int) -> None:
        filled = (self.items[rows] >= 0).sum(axis=1)
        wanted = np.minimum((items >= 0).sum(axis=1), size - filled)
        source = np.arange(items.shape[1]) < wanted[:, None]
        row, column = np.nonzero(source)
        target = (rows[row], filled[row] + column)
        self.items[target] = items[row, column]
        self.scores[target] = scores[row, column]
        self.steps[target] = step


def _decided(
    filled: _Filling, ladder: Sequence[Step], rungs: Int8, reasons: Int8, terms: Terms
) -> Feeds:
    levels = np.array([RUNGS.index(step.rung) for step in ladder] + [-1], dtype=np.int8)
    first = levels[filled.steps[:, 0]]
    counts = (filled.items >= 0).sum(axis=1)
    decisions = np.where(first == rungs, Decision.show, Decision.fallback).astype(np.int8)
    reasons = np.where(first == rungs, reasons, Reason.no_opinion).astype(np.int8)
    few = (counts < terms.min_items) & (terms.on_too_few == "suppress")
    reasons[few], reasons[counts == 0] = Reason.too_few_items, Reason.nothing_allowed
    stopped = few | (counts == 0)
    decisions[stopped] = Decision.suppress
    filled.items[stopped], filled.steps[stopped], filled.scores[stopped] = -1, -1, np.nan
    return Feeds(filled.items, filled.scores, filled.steps, rungs, decisions, reasons)


def anchors(ladder: Sequence[Step], people: People, feeds: Feeds) -> Int32:
    """(n, size) the history item that speaks most for each shown item, -1 where none does."""
    found = np.full(feeds.items.shape, -1, dtype=np.int32)
    queries = known_of(people)
    for place, step in enumerate(ladder):
        mine = feeds.steps == place
        rows = np.flatnonzero(mine.any(axis=1))
        if rows.size:
            shown = np.where(mine[rows], feeds.items[rows], -1)
            spoken = step.ranker.anchors(seen_by(step.rung, queries).take(rows), shown)
            found[rows] = np.where(mine[rows], spoken, found[rows])
    return found
