"""The one policy: (people, what they may be shown, a ladder of rankers) -> decisions and feeds.

Pure: the evaluation, `feeds rank` and the service all call `decide`, so what is measured is what
is served. A rung is how much knowledge a feed uses; each step of the ladder sees only what its rung
may know, and the feed is filled from the top step down with one exclude set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.config import RUNGS, Rung
from features.types import Bool, Float32, Histories, Int8, Int32, Int64, Ragged, only_rows
from training.arranging import Arrangement
from training.filling import Filling, Request
from training.filling import Step as Step
from training.filling import seen_by as seen_by
from training.rankers.base import Allowed, Items, Queries
from training.ruled import Ruled, Shop, under_rules

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
    degraded = 13  # the service cannot ask its store, so no more than the request may be used
    no_email_consent = 14  # from here on: why a mail was not sent, or is less personal
    frequency_reached = 15  # they had as many mails of late as they want
    other_channel = 16  # they said that they would rather hear elsewhere
    nothing_new = 17  # nothing that the last mail did not show
    just_bought = 18
    stale_profile = 19  # nothing was done for so long that what is known says little
    low_confidence = 20  # too little is known
    holdout = 21  # an experiment's, who get none so that the effect can be measured
    forgotten = 22


@dataclass(frozen=True)
class People:
    """A batch of people at the door.

    queries: what we know of them          consent: (n,) bool, may we use it?
    unknown: (n,) bool, an id was given that the model does not know
    away:    items kept from each for reasons of their own, such as a brand they muted; whatever
             is consented to; None: nothing is
    tired:   items that rules keep from each for a while: seen too often, bought lately; a pin may
             show them, and so may a feed that would be too short; None: there are none
    seeds:   (n,) of `arranging.turn_seed`, for orders that vary; None: all alike
    """

    queries: Queries
    consent: Bool
    unknown: Bool
    away: Ragged | None = None
    tired: Ragged | None = None
    seeds: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def known(self) -> Queries:
        """What may be used: without consent only the current session."""
        queries = self.queries
        if self.consent.all():
            return queries
        starts = np.where(self.consent, 0, queries.session_start)
        without = replace(
            queries,
            histories=queries.histories.since(starts),
            session_start=queries.session_start - starts,
        )
        return _silenced(without, ~self.consent)

    def take(self, rows: Int64) -> People:
        """The named rows."""
        away = None if self.away is None else self.away.take(rows)
        tired = None if self.tired is None else self.tired.take(rows)
        seeds = None if self.seeds is None else self.seeds[rows]
        return People(self.queries.take(rows), self.consent[rows], self.unknown[rows], away,
                      tired, seeds)  # fmt: skip


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
    open:       (n_items,) bool over the whole catalogue, False: not now (sold out, hidden, too
                dear), whoever asks; None: all of `items` are
    arrangement: the merchant's order; None: as the rankers say
    offset:     places that earlier pages of the feed had
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
    open: Bool | None = None
    arrangement: Arrangement | None = None
    offset: int = 0


@dataclass(frozen=True)
class Feeds:
    """Decisions and feeds, a row per person.

    items:    (n, size) int32, best first, -1 where the feed is over
    scores:   (n, size) float32, of the ranker that spoke
    steps:    (n, size) int8, index in the ladder, -1 where the feed is over
    rungs:    (n,) int8, the rung that the person could have
    decisions, reasons: (n,) int8
    marks, moved: as in `ruled.Ruled`; None: no rule orders these feeds. What a rule put there that
              no ranker named has step len(ladder) and no score
    """

    items: Int32
    scores: Float32
    steps: Int8
    rungs: Int8
    decisions: Int8
    reasons: Int8
    marks: Int64 | None = None
    moved: Int32 | None = None


def decide(ladder: Sequence[Step], people: People, terms: Terms) -> Feeds:
    """Rank `terms.items` for `people` by the highest steps of `ladder` that each may have."""
    request, reasons = request_of(ladder, people, terms)
    ruled = None
    if terms.arrangement is None:
        feeds = Filling.empty(len(people), terms.size)
        feeds.fill(request)
    else:
        seeds = np.zeros(len(people), np.uint64) if people.seeds is None else people.seeds
        shop = Shop(terms.arrangement, terms.offset, seeds, refused(people))
        feeds, ruled = under_rules(request, terms.size, shop)
    if terms.on_too_few == "pad":
        blocked = Allowed(terms.items, refused(people), terms.open)
        feeds.fill(replace(request, allowed=blocked), below=terms.min_items)
    return decided(feeds, request, reasons, terms, ruled)


def request_of(ladder: Sequence[Step], people: People, terms: Terms) -> tuple[Request, Int8]:
    """What the ladder is asked; (n,) why each person can have the rung that they can have."""
    queries = people.known
    rungs, reasons = entitled(people, terms.highest_rung, ladder, _ceiling(queries, terms))
    allowed = Allowed(terms.items, kept_away(people, terms), terms.open)
    return Request(ladder, queries, rungs, allowed), reasons


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
    ends, answers = queries.histories.indptr, queries.declared.indptr
    session = ends[1:] - ends[:-1] > queries.session_start
    past = queries.session_start > 0
    told = answers[1:] > answers[:-1]
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
    reasons = _either(people.unknown, Reason.unknown_user, Reason.stranger)
    highest, there = RUNGS.index(limit), {step.rung for step in ladder}
    for rung, known in knowledge.items():
        if not known.any():
            continue
        if rung > highest:
            reasons[known] = Reason.limit
        elif RUNGS[rung] not in there:
            reasons[known] = Reason.not_on_ladder
        else:
            pays = known & (rung <= ceiling)
            rungs[pays], reasons[pays] = rung, why[rung]
            reasons[known & ~pays] = Reason.does_not_pay
    reasons[(reasons == int(Reason.known_history)) & ~past] = Reason.told_us
    reasons[past & ~people.consent] = Reason.no_consent
    return rungs, reasons


def _either(which: Bool, yes: IntEnum, no: IntEnum) -> Int8:
    """(n,) one code or the other."""
    return np.where(which, np.int8(yes), np.int8(no))


def kept_away(people: People, terms: Terms) -> Ragged:
    """The items that each person's feed may not show: blocked ones, and had ones by the rules."""
    away = refused(people).joined(_had(people.known, terms))
    return away if people.tired is None else away.joined(people.tired)


def _silenced(queries: Queries, rows: Bool) -> Queries:
    """Of the named rows neither segment nor stage nor what they told us is known."""
    if not rows.any():
        return queries
    return replace(
        queries,
        segment=np.where(rows, np.int16(-1), queries.segment),
        stage=np.where(rows, np.int8(-1), queries.stage),
        declared=only_rows(queries.declared, ~rows),
    )


def refused(people: People) -> Ragged:
    """Items that a negative signal or `away` keeps away, whatever else is known or allowed."""
    histories = people.queries.histories
    blocked = _chosen(histories, histories.weights < 0)
    return blocked if people.away is None else blocked.joined(people.away)


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
    return Ragged(histories.indptr, histories.items).where(entries)


def decided(
    filled: Filling, request: Request, reasons: Int8, terms: Terms, ruled: Ruled | None = None
) -> Feeds:
    """What filled feeds come to: shown, a fallback, or nothing."""
    rungs, counts = request.rungs, filled.counts
    first = _first(filled, request, ruled is not None)
    decisions = _either(first == rungs, Decision.show, Decision.fallback)
    reasons = np.where(first == rungs, reasons, np.int8(Reason.no_opinion))
    few = (counts < terms.min_items) & (terms.on_too_few == "suppress")
    stopped = few | (counts == 0)
    if stopped.any():
        reasons[few], reasons[counts == 0] = Reason.too_few_items, Reason.nothing_allowed
        decisions[stopped] = Decision.suppress
        filled.items[stopped], filled.steps[stopped], filled.scores[stopped] = -1, -1, np.nan
    return Feeds(
        filled.items, filled.scores, filled.steps, rungs, decisions, reasons,
        None if ruled is None else ruled.marks, None if ruled is None else ruled.moved,
    )  # fmt: skip


def _first(filled: Filling, request: Request, ruled: bool) -> Int8:
    """(n,) the rung of the step that spoke first; where only rules did, the person's own."""
    levels = np.array([RUNGS.index(step.rung) for step in request.ladder] + [-1], dtype=np.int8)
    if not ruled:
        return levels[filled.steps[:, 0]]
    placed = filled.steps == len(request.ladder)
    spoke = ~placed & (filled.steps >= 0)
    steps = np.take_along_axis(filled.steps, spoke.argmax(axis=1)[:, None], axis=1)[:, 0]
    alone = ~spoke.any(axis=1)
    return np.where(alone, np.where(placed.any(axis=1), request.rungs, -1),
                    levels[np.where(alone, -1, steps)]).astype(np.int8)  # fmt: skip


def anchors(ladder: Sequence[Step], people: People, feeds: Feeds) -> Int32:
    """(n, size) the history item that speaks most for each shown item, -1 where none does."""
    found = np.full(feeds.items.shape, -1, dtype=np.int32)
    for place in sorted(set(feeds.steps.ravel().tolist()) - {-1, len(ladder)}):
        step, mine = ladder[place], feeds.steps == place
        if step.rung == "one_for_all":
            continue  # it knows of no history
        rows = np.flatnonzero(mine.any(axis=1))
        shown = np.where(mine[rows], feeds.items[rows], -1)
        spoken = step.ranker.anchors(seen_by(step.rung, people.known).take(rows), shown)
        found[rows] = np.where(mine[rows], spoken, found[rows])
    return found
