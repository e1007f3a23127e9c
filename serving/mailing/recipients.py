"""Who a mail could go to: what the model, the store and the list know of many customers at once.

Of whoever the store knows nothing since the model's moment everything is looked up together, in
arrays; the others are looked at one by one, as if they asked for a feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.config import Config
from features.mail_options import MailOptions
from features.options import SKIP
from features.types import DAY_US, Bool, Int32, Int64, Ragged, row_numbers
from serving.asking import customer_of
from serving.asking import people_of as asking
from serving.desk import Desk
from serving.state import Recalled
from training.people import people_of, stacked
from training.policy import People
from training.rankers.base import Queries
from training.withholding import NEVER_US, Standing

_NOBODY: list[Int32] = [np.empty(0, np.int32)]
_ENOUGH = np.iinfo(np.int64).max  # events of whoever may not be known: that is no lack of them


@dataclass(frozen=True)
class Given:
    """What a list or a request says of a recipient itself; None: the model's word counts.

    On consent and frequency the more restrictive of both words counts.
    """

    first_name: str | None = None
    language: str | None = None
    consent_email: bool | None = None
    mails_per_week: float | None = None


@dataclass(frozen=True)
class Seen:
    """What people were shown, entry by entry, an item each.

    rows:  (m,) of the recipients       items: (m,) int32       at_us: (m,) int64
    mails: (m,) bool, in a mail; else on the site
    """

    rows: Int64
    items: Int32
    at_us: Int64
    mails: Bool


@dataclass(frozen=True)
class Recipients:
    """A batch of n customers, and what is known of each.

    people:   as the policy wants them; nobody is in a visit; `away`: what they muted
    standing: what is asked before any item is looked at
    seen:     what they were shown until this moment, not only lately
    """

    user_ids: Sequence[str]
    recalled: Sequence[Recalled]
    people: People
    standing: Standing
    seen: Seen
    first_names: Sequence[str]
    languages: Sequence[str]
    now_us: int

    def __len__(self) -> int:
        return len(self.user_ids)


async def recipients_of(
    desk: Desk, mail: MailOptions, user_ids: Sequence[str], now_us: int,
    given: Sequence[Given] | None = None,
) -> Recipients:  # fmt: skip
    """Find out about customers by their ids. Raises StateUnavailable: who said no is not known.

    given: of each, as the caller has it
    """
    recalled = await desk.state.recall_all(user_ids)
    people = _people(desk, user_ids, recalled, now_us)
    listed = [Given()] * len(user_ids) if given is None else given
    contacts, rows = desk.living.base.contacts, _rows(desk, user_ids, recalled)
    places = zip(listed, rows.tolist(), strict=True)
    texts = [
        (
            contacts.first_names[row] if one.first_name is None and row >= 0 else one.first_name,
            contacts.languages[row] if not one.language and row >= 0 else one.language,
        )
        for one, row in places
    ]
    return Recipients(
        user_ids, recalled, people,
        _standing(desk, mail, (rows, listed), (people, recalled), now_us),
        _seen(desk, recalled, now_us),
        [name or "" for name, _ in texts],
        [language or desk.bundle.config.shop.language for _, language in texts],
        now_us,
    )  # fmt: skip


def _rows(desk: Desk, user_ids: Sequence[str], recalled: Sequence[Recalled]) -> Int32:
    """(n,) of the model's people; -1: it does not know them, or must not any more."""
    base = desk.living.base
    found = base.persons.indices([f"u:{user_id}" for user_id in user_ids])
    gone = [one.forgotten_us is not None and one.forgotten_us >= base.as_of_us for one in recalled]
    return np.where(gone, np.int32(-1), found)


def _people(
    desk: Desk, user_ids: Sequence[str], recalled: Sequence[Recalled], now_us: int
) -> People:
    living = desk.living
    told = [place for place, one in enumerate(recalled) if _says_something(one)]
    quiet = np.setdiff1d(np.arange(len(user_ids)), told)
    parts = []
    if quiet.size:
        names = [[f"u:{user_ids[place]}"] for place in quiet.tolist()]
        parts.append(people_of(living.base, names, _NOBODY * quiet.size, now_us))
    for place in told:
        asker = customer_of(living, user_ids[place], recalled[place], now_us)
        one = asking(living, asker, _NOBODY[0])
        parts.append(replace(one, queries=_over(one)))
    people = stacked(parts)
    histories = replace(people.queries.histories, n_items=len(living.catalogue))
    people = replace(people, queries=replace(people.queries, histories=histories))
    order = np.empty(len(user_ids), np.int64)
    order[np.concatenate([quiet, np.array(told, np.int64)])] = np.arange(len(user_ids))
    return people if not told else people.take(order)


def _says_something(one: Recalled) -> bool:
    """Does the store know more of somebody than what was shown to them?"""
    said = one.events or one.answers or one.visitors or one.forgotten
    return bool(said) or one.consent is not None


def _over(one: People) -> Queries:
    """Their queries, every visit over: a mail is read later."""
    return replace(one.queries, session_start=np.diff(one.queries.histories.indptr))


def _standing(
    desk: Desk, mail: MailOptions, listed: tuple[Int32, Sequence[Given]],
    known: tuple[People, Sequence[Recalled]], now_us: int,
) -> Standing:  # fmt: skip
    rows, given = listed
    people, recalled = known
    contacts, place = desk.living.base.contacts, np.maximum(rows, 0)
    there = rows >= 0
    default = mail.withhold.consent_default == "yes"
    said = np.where(there, contacts.consent_email[place] if there.any() else -1, -1)
    consent = np.where(said < 0, default, said == 1)
    often = np.where(there, contacts.mails_per_week[place] if there.any() else np.nan, np.nan)
    for row, one in enumerate(given):
        if one.consent_email is not None:  # a no stands, whoever said it
            consent[row] = one.consent_email and (said[row] < 0 or bool(consent[row]))
        if one.mails_per_week is not None:
            often[row] = np.fmin(often[row], one.mails_per_week)
    last, ordered, events = _lately(desk, people, now_us)
    return Standing(
        forgotten=np.array([one.stays_forgotten for one in recalled], np.bool_),
        consent_email=consent.astype(np.bool_),
        other_channel=_elsewhere(desk, mail, rows, recalled),
        mails_per_week=often.astype(np.float32),
        mailed_us=_mailed(recalled, now_us),
        last_event_us=last, last_order_us=ordered, events=events,
    )  # fmt: skip


def _lately(desk: Desk, people: People, now_us: int) -> tuple[Int64, Int64, Int64]:
    """(n,) each: the last event, the last order, and how many events there are."""
    histories = people.known.histories
    n, rows = len(histories), row_numbers(histories.indptr)
    times = now_us - (histories.ages_days.astype(np.float64) * DAY_US).astype(np.int64)
    last, ordered = np.full(n, NEVER_US), np.full(n, NEVER_US)
    np.maximum.at(last, rows, times)
    had = ordering(desk.bundle.config)[histories.signals]
    np.maximum.at(ordered, rows[had], times[had])
    return last, ordered, np.where(people.consent, np.diff(histories.indptr), _ENOUGH)


def _elsewhere(
    desk: Desk, mail: MailOptions, rows: Int32, recalled: Sequence[Recalled]
) -> Bool:  # fmt: skip
    """(n,) did they answer that they want to hear from us on another channel?"""
    question = mail.withhold.channel_question
    found = np.zeros(len(rows), np.bool_)
    if question is None:
        return found
    ours = {one.strip().lower() for one in mail.withhold.channel_answers}
    channels = desk.living.base.contacts.channels
    for place, (row, one) in enumerate(zip(rows.tolist(), recalled, strict=True)):
        answers = [answer for asked, answer, _ in one.answers if asked == question]
        answer = answers[-1] if answers else channels[row] if row >= 0 else ""
        said = answer.strip().lower()
        found[place] = bool(said) and said != SKIP and said not in ours
    return found


def _mailed(recalled: Sequence[Recalled], now_us: int) -> tuple[Int64, Int64]:
    """When each got a mail: as `Standing.mailed_us`."""
    times = [sorted({at for at, *_ in one.mailed if at <= now_us}) for one in recalled]
    ends = np.cumsum([0, *map(len, times)], dtype=np.int64)
    return ends, np.array([at for own in times for at in own], dtype=np.int64)


def _seen(desk: Desk, recalled: Sequence[Recalled], now_us: int) -> Seen:
    rows, at_us, where, ids = [], [], [], []
    for row, one in enumerate(recalled):
        told = [(False, feed) for feed in one.shown] + [(True, block) for block in one.mailed]
        for mail, (at, _, shown) in told:
            if at <= now_us:
                rows += [row] * len(shown)
                at_us += [at] * len(shown)
                where += [mail] * len(shown)
                ids += shown
    items = desk.living.catalogue.find(ids) if ids else np.empty(0, np.int32)
    there = items >= 0
    return Seen(
        np.array(rows, np.int64)[there], items[there], np.array(at_us, np.int64)[there],
        np.array(where, np.bool_)[there],
    )  # fmt: skip


def ordering(config: Config) -> Bool:
    """(n_signals,) bool: is it an order? Where no signal is marked so, the weightiest is."""
    orders = config.purchase_types()
    return np.array([name in orders for name in config.signals], np.bool_)


def by_row(rows: Int64, items: Int32, n: int) -> Ragged:
    """Items that belong to rows, as rows of a Ragged."""
    order = np.argsort(rows, kind="stable")
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=n))])
    return Ragged(ends, items[order].astype(np.int32))
