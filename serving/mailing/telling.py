"""Decided mails as columns: what a part of a mailing holds, and what the endpoint answers from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

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
            if not known.stays_forgotten:  # who does stays without a salt: nobody can tell them
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
        """Nothing for anybody: one and the same empty list."""
        return cls([[]] * rows, [[]] * rows, [[]] * rows, [[]] * rows, [[]] * rows)


def told(mailer: Mailer, mails: Mails, mailing: Mailing, names: Names) -> Blocks:
    """All blocks of all recipients."""
    who, n, feeds = mails.recipients, len(mails.placements), mails.feeds
    columns = _columns(mailer, mails)
    known = who.people.known
    groups, stages = [*mailer.desk.bundle.manifest["segments"], ""], [*STAGES, ""]  # -1: the last
    segments = [groups[one] for one in known.segment.tolist()]
    staged = [stages[one] for one in known.stage.tolist()]
    said = list(_said(_Words(mailer, who), mails.placements, columns, (segments, staged)))

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


def _columns(mailer: Mailer, mails: Mails) -> list[_Column]:
    """The items of every block; of each mail as one row, so that its reasons are found at once."""
    desk, ladder = mailer.desk, mailer.desk.ladder
    columns = [_Column.empty(len(mails.recipients)) for _ in mails.placements]
    ends = np.cumsum([(one.items >= 0).sum(axis=1) for one in mails.feeds], axis=0).T
    rows = np.flatnonzero(ends[:, -1])
    if not rows.size:
        return columns
    own, people = _in_a_row(mails.feeds, rows), mails.recipients.people.take(rows)
    rungs = [*(step.rung for step in ladder), "one_for_all"]
    rankers = [*(step.name for step in ladder), _RULES]
    because = reasons(desk.bundle, ladder, people, own)
    ids, steps = iter(desk.living.catalogue.texts(own.items[own.items >= 0])), own.steps.tolist()
    marked = _marks(own)
    for at, row in enumerate(rows.tolist()):
        begin = 0
        for column, end in zip(columns, ends[row].tolist(), strict=True):
            mine = steps[at][begin:end]
            column.item_ids[row] = list(islice(ids, end - begin))
            column.rungs[row] = [rungs[step] for step in mine]
            column.rankers[row] = [rankers[step] for step in mine]
            column.reasons[row] = because[at][begin:end]
            column.marks[row] = marked[at][begin:end] if marked else [[]] * len(mine)
            begin = end
    return columns


def _in_a_row(feeds: Sequence[Feeds], rows: Int64) -> Feeds:
    """All items of these mails, block after block without gaps; -1 after the last."""
    items = np.concatenate([one.items[rows] for one in feeds], axis=1)
    order = np.argsort(items < 0, axis=1, kind="stable")

    def packed(name: str) -> Any:
        parts = [getattr(one, name) for one in feeds]
        return np.take_along_axis(np.concatenate([one[rows] for one in parts], axis=1), order, 1)

    first = feeds[0]
    return Feeds(
        np.take_along_axis(items, order, 1), packed("scores"), packed("steps"), first.rungs[rows],
        first.decisions[rows], first.reasons[rows], packed("marks"), packed("moved"),
    )  # fmt: skip


def _marks(feeds: Feeds) -> list[list[list[str]]]:
    """What the rules did to every item; empty where they did nothing to any."""
    assert feeds.marks is not None
    assert feeds.moved is not None
    if not feeds.marks.any():
        return []
    rows = zip(feeds.marks.tolist(), feeds.moved.tolist(), strict=True)
    return [[names_of(*one) for one in zip(marks, moved, strict=True)] for marks, moved in rows]


def _said(
    words: _Words, placements: Sequence[str], columns: Sequence[_Column],
    kinds: tuple[Sequence[str], Sequence[str]],
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """Name and text of the message of every block, recipient by recipient.

    What a mail has said in one block it does not say again in the next.
    kinds: the segment and the stage of each recipient
    """
    for row, (segment, stage) in enumerate(zip(*kinds, strict=True)):
        used: tuple[str, ...] = ()
        for placement, column in zip(placements, columns, strict=True):
            if not column.item_ids[row]:
                yield "", ""
                continue
            name, text = words.of(row, (placement, segment, stage), used)
            used = (*used, name) if name else used
            yield name, text


class _Words:
    """The key message of everybody, chosen once for all who are alike."""

    def __init__(self, mailer: Mailer, recipients: Recipients) -> None:
        self._messages, self._who = mailer.messages, recipients
        self._now = from_us(recipients.now_us)
        self._chosen: dict[tuple[object, ...], Message | None] = {}

    def of(self, row: int, kind: tuple[str, str, str], used: tuple[str, ...]) -> tuple[str, str]:
        """Name and text, with merge fields filled; two empty texts where no other message fits.

        kind: placement, segment and stage        used: names of what this mail has said already
        """
        language = self._who.languages[row]
        key = *kind, language, used
        if key not in self._chosen:
            placement, segment, stage = kind
            left = [one for one in self._messages if one.called not in used]
            self._chosen[key] = chosen(
                left, self._now, segment or None, stage or None, language, placement
            )
        one = self._chosen[key]
        if one is None:
            return "", ""
        return one.called, filled(one.text, {"first_name": self._who.first_names[row]})
