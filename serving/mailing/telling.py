"""Decided mails as columns: what a part of a mailing holds, and what the endpoint answers from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from features.config import RUNGS
from features.decided import own_salt, pseudonym
from features.lifecycle import STAGES
from features.messages import Message, chosen, filled
from features.types import Int64, from_us
from serving.desk import Desk
from serving.mailing.blocks import Blocks, Decided, Mailing
from serving.mailing.deciding import Mails
from serving.mailing.mailer import Mailer
from serving.mailing.recipients import Recipients
from serving.marks import names_of
from training.policy import Feeds, Reason
from training.reasons import reasons

_RULES = "rules"  # who put an item there that no ranker named
_DECISIONS: list[Decided] = ["show", "fallback", "suppress"]  # by `policy.Decision`
_REASONS = [one.name for one in Reason]
T = TypeVar("T")


@dataclass(frozen=True)
class Names:
    """What recipients are called where nobody is to be known.

    pseudonyms: as in the decisions
    salts:      marked name -> the salt of those who are met for the first time; the store is told
                of them before anything with these pseudonyms leaves the house
    """

    pseudonyms: list[str]
    salts: dict[str, str]


def names_for(desk: Desk, recipients: Recipients) -> Names:
    """The pseudonyms of a batch."""
    found, salts = [], {}
    for user_id, known in zip(recipients.user_ids, recipients.recalled, strict=True):
        name, own = f"u:{user_id}", known.salt
        if own is None:
            own = own_salt()
            if not known.forgotten:  # whoever is forgotten stays without: nobody can tell them
                salts[name] = own
        found.append(pseudonym(desk.salt, name, own))
    return Names(found, salts)


@dataclass(frozen=True)
class _Column:
    """The items of one block of everybody, in lists of equal length."""

    item_ids: list[list[str]]
    rungs: list[list[str]]
    rankers: list[list[str]]
    reasons: list[list[str]]
    marks: list[list[list[str]]]

    @classmethod
    def empty(cls, rows: int) -> _Column:
        """Nothing for anybody."""

        def each() -> list[list[str]]:
            return [[] for _ in range(rows)]

        return cls(each(), each(), each(), each(), [[] for _ in range(rows)])


def told(mailer: Mailer, mails: Mails, mailing: Mailing, names: Names) -> Blocks:
    """All blocks of all recipients."""
    who, n, feeds = mails.recipients, len(mails.placements), mails.feeds
    columns = [_column(mailer, mails, place) for place in range(n)]
    known = who.people.known
    groups, stages = [*mailer.desk.bundle.manifest["segments"], ""], [*STAGES, ""]  # -1: the last
    segments = [groups[one] for one in known.segment.tolist()]
    staged = [stages[one] for one in known.stage.tolist()]
    words = _Words(mailer, who)
    said = [
        words.of(row, placement, segments[row], staged[row])
        if columns[place].item_ids[row] else ("", "")
        for row in range(len(who)) for place, placement in enumerate(mails.placements)
    ]  # fmt: skip

    def each(values: Sequence[T]) -> list[T]:
        return [value for value in values for _ in range(n)]

    return Blocks(
        user_ids=each(who.user_ids), pseudonyms=each(names.pseudonyms),
        placements=list(mails.placements) * len(who),
        decisions=[_DECISIONS[one] for one in _dealt([f.decisions.tolist() for f in feeds])],
        reasons=[_REASONS[one] for one in _dealt([feed.reasons.tolist() for feed in feeds])],
        rungs=[RUNGS[one] for one in _dealt([feed.rungs.tolist() for feed in feeds])],
        decision_ids=_decision_ids(mailer.desk, mailing, who.user_ids),
        segments=each(segments), stages=each(staged), languages=each(who.languages),
        messages=[name for name, _ in said], headlines=[text for _, text in said],
        arms=_dealt([[arms for arms, _ in deal] for deal in mails.deals]),
        item_ids=_dealt([one.item_ids for one in columns]),
        item_rungs=_dealt([one.rungs for one in columns]),
        rankers=_dealt([one.rankers for one in columns]),
        item_reasons=_dealt([one.reasons for one in columns]),
        marks=_dealt([one.marks for one in columns]),
    )  # fmt: skip


def _dealt(columns: Sequence[Sequence[T]]) -> list[T]:
    """A column per placement -> entries recipient by recipient."""
    return [one for row in zip(*columns, strict=True) for one in row]


def _decision_ids(desk: Desk, mailing: Mailing, user_ids: Sequence[str]) -> list[str]:
    """24 hexadecimal characters each: those of a mailing that is decided again are the same."""
    begun = hashlib.blake2b(f"{mailing.name}\0{mailing.at_us}\0".encode(), key=desk.salt,
                            digest_size=12)  # fmt: skip
    found = []
    for user_id in user_ids:
        for placement in mailing.placements:
            one = begun.copy()
            one.update(f"{user_id}\0{placement}".encode())
            found.append(one.hexdigest())
    return found


def _column(mailer: Mailer, mails: Mails, place: int) -> _Column:
    desk, feeds = mailer.desk, mails.feeds[place]
    column = _Column.empty(len(feeds.items))
    rows = np.flatnonzero(feeds.items[:, 0] >= 0)
    if not rows.size:
        return column
    own, people = _taken(feeds, rows), mails.recipients.people.take(rows)
    ladder = desk.ladder
    rungs = [*(step.rung for step in ladder), "one_for_all"]
    rankers = [*(step.name for step in ladder), _RULES]
    because = reasons(desk.bundle, ladder, people, own)
    counts = (own.items >= 0).sum(axis=1).tolist()
    ids = iter(desk.living.catalogue.texts(own.items[own.items >= 0]))
    marked = own.marks is not None and bool(own.marks.any())
    steps = own.steps.tolist()
    for at, (row, count) in enumerate(zip(rows.tolist(), counts, strict=True)):
        mine = steps[at][:count]
        column.item_ids[row] = list(islice(ids, count))
        column.rungs[row] = [rungs[step] for step in mine]
        column.rankers[row] = [rankers[step] for step in mine]
        column.reasons[row] = because[at]
        column.marks[row] = _marks(own, at, count) if marked else [[]] * count
    return column


def _marks(feeds: Feeds, row: int, count: int) -> list[list[str]]:
    assert feeds.marks is not None
    assert feeds.moved is not None
    pairs = zip(feeds.marks[row, :count].tolist(), feeds.moved[row, :count].tolist(), strict=True)
    return [names_of(mark, moved) for mark, moved in pairs]


def _taken(feeds: Feeds, rows: Int64) -> Feeds:
    return replace(
        feeds, items=feeds.items[rows], scores=feeds.scores[rows], steps=feeds.steps[rows],
        rungs=feeds.rungs[rows], decisions=feeds.decisions[rows], reasons=feeds.reasons[rows],
        marks=None if feeds.marks is None else feeds.marks[rows],
        moved=None if feeds.moved is None else feeds.moved[rows],
    )  # fmt: skip


class _Words:
    """The key message of everybody, chosen once for all who are alike."""

    def __init__(self, mailer: Mailer, recipients: Recipients) -> None:
        self._messages, self._who = mailer.messages, recipients
        self._now = from_us(recipients.now_us)
        self._chosen: dict[tuple[str, str, str, str], Message | None] = {}

    def of(self, row: int, placement: str, segment: str, stage: str) -> tuple[str, str]:
        """Name and text, with merge fields filled; two empty texts where no message fits."""
        key = placement, segment, stage, self._who.languages[row]
        if key not in self._chosen:
            self._chosen[key] = chosen(
                self._messages, self._now, segment or None, stage or None, key[3], placement
            )
        one = self._chosen[key]
        if one is None:
            return "", ""
        return one.called, filled(one.text, {"first_name": self._who.first_names[row]})
