"""Who asks: one person, from what the model knows and what the service has been told since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from msgspec import structs

from features.declared import declared_weights
from features.timelines import Timelines
from features.types import Int32, Int64, Ragged
from serving.answers import joined, muted, told_of
from serving.living import Living
from serving.state import Recalled, State
from training.people import devices_of
from training.policy import People
from training.queries import Standing
from training.rankers.base import Queries

Done = tuple[str, str, int, str | None]  # item, event type, when, session


@dataclass(frozen=True)
class Asker:
    """Who asks, and what is known of them; a stranger has no name.

    name:  marked, the customer's if one is known, else the visitor's, else empty
    consent: may more than the current session be used?
    known: a user_id was given that is in the model's log or has done or said something since
    rows:  of the model's people, those that this is
    recalled: what the service has been told; `now_us`: the moment of asking
    unheard: the store could not be asked who this is and what they said
    """

    name: str
    known: bool
    rows: Int64
    consent: bool
    recalled: Recalled
    now_us: int
    unheard: bool = False

    @property
    def user_id(self) -> str | None:
        """The customer, if one is known."""
        return self.name[2:] if self.name.startswith("u:") else None


async def who(
    living: Living, state: State, user_id: str | None, visitor_id: str | None, now_us: int
) -> Asker:
    """Find out who this is.

    A visitor is the customer that it is linked with, unless the request says who it is: on a device
    that passes from hand to hand nobody gets another's history, nor what nobody's name is on.
    """
    if user_id is None and visitor_id is None:
        return nobody(living, now_us)
    recalled = await state.recall(user_id, visitor_id)
    customer = user_id or recalled.customer
    if customer is None and not recalled.unlinked and not recalled.shared:
        customer = linked_in(living, str(visitor_id))
        if customer is not None:
            recalled = await state.recall(customer, visitor_id)
    name = f"u:{customer}" if customer is not None else f"v:{visitor_id}"
    rows = _rows(living, customer, visitor_id, recalled)
    if user_id is not None and visitor_id is not None and not _has_done(living, rows, recalled):
        lent, events = await _lent(living, state, visitor_id)
        rows, recalled = np.append(rows, lent), structs.replace(recalled, events=events)
    if recalled.shared and customer is None:  # what was said on it was said by somebody else
        recalled = structs.replace(recalled, answers=[], shown=[])
    known = user_id is None or bool(rows.size) or bool(recalled.events or recalled.answers)
    return Asker(name, known, rows, _consent(living, rows, recalled), recalled, now_us)


def customer_of(living: Living, user_id: str, recalled: Recalled, now_us: int) -> Asker:
    """A customer of whom the store has been asked already."""
    rows = _rows(living, user_id, None, recalled)
    known = bool(rows.size) or bool(recalled.events or recalled.answers)
    consent = _consent(living, rows, recalled)
    return Asker(f"u:{user_id}", known, rows, consent, recalled, now_us)


def nobody(living: Living, now_us: int) -> Asker:
    """A perfect stranger."""
    rows, recalled = np.empty(0, np.int64), Recalled()
    return Asker("", True, rows, _consent(living, rows, recalled), recalled, now_us)


def unheard(living: Living, now_us: int) -> Asker:
    """Somebody of whom the store cannot be asked.

    They may have withdrawn their consent, been forgotten, or muted things, so nothing of before
    this request may be used: not what the model knows of them, either.
    """
    return replace(nobody(living, now_us), consent=False, unheard=True)


def linked_in(living: Living, visitor_id: str) -> str | None:
    """The customer whose device the log says that this is."""
    base, device = living.base, [f"v:{visitor_id}"]
    if base.shared.indices(device)[0] >= 0:
        return None
    row = int(base.devices.find(device)[0])
    return base.persons.text(row).removeprefix("u:") if row >= 0 else None


def devices_in(living: Living, customer: str) -> list[str]:
    """The visitors that the log links with a customer, and with nobody else."""
    return devices_of(living.base, customer)


def _rows(
    living: Living, customer: str | None, visitor_id: str | None, recalled: Recalled
) -> Int64:
    """The model's rows of this person: of the customer and their devices, or of the visitor."""
    if recalled.forgotten_us is not None and recalled.forgotten_us >= living.base.as_of_us:
        return np.empty(0, np.int64)
    names = [] if customer is None else [f"u:{customer}"]
    names += [f"v:{visitor}" for visitor in recalled.visitors]
    if customer is None and not recalled.shared:
        names.append(f"v:{visitor_id}")
    found = living.base.persons.indices(names)
    alone = living.base.shared.indices(names) < 0
    return found[(found >= 0) & alone].astype(np.int64)


def _has_done(living: Living, rows: Int64, recalled: Recalled) -> bool:
    """Is there anything that this person did, or wants nobody to know?"""
    log = living.base.timelines.indptr
    return bool(recalled.events) or recalled.forgotten or bool((log[rows + 1] > log[rows]).any())


async def _lent(living: Living, state: State, visitor_id: str) -> tuple[Int64, list[Done]]:
    """What was done on a device that is nobody's: it speaks for who signs in there."""
    device = await state.recall(None, visitor_id)
    if device.customer is not None or device.unlinked or device.shared:
        return np.empty(0, np.int64), []
    return _rows(living, None, visitor_id, device), device.events


def people_of(living: Living, asker: Asker, recent: Int32) -> People:
    """The asker as the policy wants people: a batch of one.

    recent: item indices of the current session, oldest first; those that the service has been told
            of in this visit are left out
    """
    base, now_us = living.base, asker.now_us
    if not (asker.name or recent.size):
        return _stranger(living, asker)
    away = muted(living, asker.recalled.answers)
    timeline, start = _timeline(living, asker, recent)
    if asker.recalled.shared and asker.user_id is None:  # hand to hand: nothing before this visit
        timeline, start = timeline.where(np.arange(timeline.items.size) >= start), 0
    if away.size:  # what they do not want to see does not speak for other items, either
        kept = ~np.isin(timeline.items, away)
        timeline, start = timeline.where(kept), int(np.count_nonzero(kept[:start]))
    histories = timeline.histories(now_us, base.config.signals)
    queries = Queries.plain(histories, np.array([start]), now_us)
    standing = _standing(living, asker, float(np.maximum(histories.weights, 0).sum()))
    queries = replace(
        queries, segment=standing.segments, stage=standing.stages, declared=standing.declared
    )
    return People(
        queries, np.array([asker.consent]), np.array([not asker.known]),
        Ragged.of([away]) if away.size else None,
    )  # fmt: skip


def _stranger(living: Living, asker: Asker) -> People:
    queries = Queries.of_strangers(1, len(living.catalogue), asker.now_us)
    return People(queries, np.array([asker.consent]), np.zeros(1, np.bool_))


def _consent(living: Living, rows: Int64, recalled: Recalled) -> bool:
    if recalled.consent is not None:
        return recalled.consent
    if rows.size:
        return bool(living.base.consent[rows].all())
    return living.base.config.shop.consent_default == "yes"


def _timeline(living: Living, asker: Asker, recent: Int32) -> tuple[Timelines, int]:
    """What the person did, the present session last; where in it the current session begins."""
    base, past = living.base, _past(living.base.timelines, asker.rows)
    if asker.recalled.forgotten_us is not None:  # they came back: what was before stays forgotten
        past = past.where(past.occurred_us > asker.recalled.forgotten_us)
    since = [one for one in asker.recalled.events
             if base.as_of_us < one[2] <= asker.now_us and one[1] in living.signals]  # fmt: skip
    items = living.catalogue.find([one[0] for one in since])
    if (items < 0).any():  # not taken in here yet
        since = [one for one, item in zip(since, items.tolist(), strict=True) if item >= 0]
        items = items[items >= 0]
    times = np.array([one[2] for one in since], dtype=np.int64)
    start = _visit(living, past, since, asker.now_us)
    visit = np.concatenate([past.items, items])[start:]
    fresh = recent[~np.isin(recent, visit)] if visit.size else recent
    codes = [living.signals[one[1]] for one in since]
    codes += [base.config.session_signal()] * fresh.size
    n = past.items.size + items.size + fresh.size
    whole = Timelines(
        np.array([0, n]),
        np.concatenate([past.items, items, fresh]),
        np.concatenate([past.signals, np.array(codes, dtype=np.int8)]),
        np.concatenate([past.occurred_us, times, np.full(fresh.size, asker.now_us)]),
        np.zeros(n, np.int32), len(living.catalogue),
    )  # fmt: skip
    return whole, start


def _past(log: Timelines, rows: Int64) -> Timelines:
    """What the model's log says of the rows together, in time order."""
    if rows.size == 1:
        begin, end = log.indptr[rows[0]], log.indptr[rows[0] + 1]
        return Timelines(
            np.array([0, end - begin]), log.items[begin:end], log.signals[begin:end],
            log.occurred_us[begin:end], log.sessions[begin:end], log.n_items,
        )  # fmt: skip
    taken = log.take(rows)
    order = np.argsort(taken.occurred_us, kind="stable")
    return Timelines(
        np.array([0, order.size]), taken.items[order], taken.signals[order],
        taken.occurred_us[order], taken.sessions[order], log.n_items,
    )  # fmt: skip


def _visit(living: Living, past: Timelines, since: Sequence[Done], now_us: int) -> int:
    """Where the visit that is still open begins; the end, where the last one is over.

    A visit goes on while the session id stays; without ids until a silence of `gap_minutes`.
    """
    gap_us, end = living.base.config.sessions.gap_us, past.items.size + len(since)
    last = since[-1][2] if since else int(past.occurred_us[-1]) if past.items.size else None
    if last is None or now_us - last > gap_us:
        return end
    for place in range(len(since) - 1, 0, -1):
        (_, _, before, other), (_, _, when, session) = since[place - 1], since[place]
        if session != other or (session is None and when - before > gap_us):
            return past.items.size + place
    if not past.items.size or (since and since[0][2] - int(past.occurred_us[-1]) > gap_us):
        return past.items.size
    visits = past.sessions
    return int(np.max(np.flatnonzero(visits != visits[-1]), initial=-1)) + 1


def _standing(living: Living, asker: Asker, interest: float) -> Standing:
    """Segment and stage are those of the model's moment; what they told us is of this second."""
    base = living.base
    own = asker.rows.size and asker.recalled.forgotten_us is None
    row = np.array([asker.rows[0] if own else -1], dtype=np.int32)
    sums = np.array([interest], dtype=np.float32)
    plain = base.standing(row, sums, asker.now_us)
    told = told_of(living, asker.recalled.answers)
    if told is None:
        return plain
    weights = declared_weights(joined(base.declared, int(row[0]), told), sums, asker.now_us,
                               base.config.preferences)  # fmt: skip
    return replace(plain, declared=weights)
