"""Facts as the Redis state keeps them, and what its scripts give as the callers know it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from features.decided import pseudonym
from serving.state import (
    MOST_SHOWN,
    Answer,
    Consent,
    Event,
    Fact,
    Filed,
    Forget,
    ItemChange,
    Link,
    Met,
    Recalled,
    Shown,
    newest_word,
)  # fmt: skip

_NUMBER = 15  # digits before what keeps the order in which it came
_event, _change = msgspec.json.Decoder(Event), msgspec.json.Decoder(ItemChange)
_answer = msgspec.json.Decoder(tuple[str, str, int])
_shown = msgspec.json.Decoder(tuple[int, str, list[str], str])


class _Past(msgspec.Struct):
    """What `recall` wants of an event."""

    item_id: str
    event_type: str
    occurred_us: int
    session_id: str | None = None


_past = msgspec.json.Decoder(_Past)
Row = list[Any]  # of MessagePack: the name of the rule in `redis_filing.FILE`, then its arguments


def row(fact: Fact | Shown, key: bytes) -> Row:
    """A fact as the script files it; `key`: of the pseudonyms.

    Raises OverflowError for a number that no store can keep.
    """

    def names(user_id: str | None, visitor_id: str | None) -> Row:
        return [*_name(key, "u:", user_id), *_name(key, "v:", visitor_id)]

    def whose(one: Answer | Consent) -> Row:
        name = f"v:{one.visitor_id}" if one.user_id is None else f"u:{one.user_id}"
        return [name, pseudonym(key, name)]

    match fact:
        case Event():
            ids = [*names(fact.user_id, fact.visitor_id), _or(fact.session_id), _or(fact.event_id)]
            return ["event", _json(fact), _us(fact.occurred_us), *ids]
        case Link():
            known = [*_name(key, "v:", fact.visitor_id), *_name(key, "u:", fact.user_id)]
            return ["link", *known, _us(fact.at_us), bool(fact.linked)]
        case Answer():
            told = (fact.question, fact.answer, _us(fact.answered_us))
            return ["answer", _json(told), *whose(fact)]
        case Consent():
            return ["consent", *whose(fact), bool(fact.personalise), _us(fact.at_us)]
        case ItemChange():
            return ["change", _json(fact), _us(fact.at_us)]
        case Forget():
            return ["forget", _us(fact.at_us), *names(fact.user_id, fact.visitor_id)]
        case Shown():
            feed = (_us(fact.at_us), fact.placement, fact.item_ids, fact.decision_id)
            where = "mailed" if fact.mail else "shown"
            return ["shown", _json(feed), fact.at_us, fact.name, pseudonym(key, fact.name), where]


def met_rows(met: Met, key: bytes) -> list[Row]:
    """The same for everybody who was met."""
    return [["met", *_met(name, own, key)] for name, own in met.salts.items()]


def called_rows(name: str, salts: str, key: bytes) -> list[Row]:
    """What a name that was met is called in decisions; `salts`: as `met` has them."""
    return [["call", *_met(name, own, key)] for own in salts.split()]


def _met(name: str, own: str, key: bytes) -> Row:
    """Visitors get no mails: nobody asks whose their pseudonyms are."""
    called = pseudonym(key, name, own) if name[0] == "u" else False
    return [name, pseudonym(key, name), own, called]


def asked(key: bytes, user_id: str | None, visitor_id: str | None) -> Row:
    """Who is asked for, as `redis_reads.RECALL` wants it."""
    return [*_name(key, "u:", user_id), *_name(key, "v:", visitor_id)]


def _name(key: bytes, mark: str, one: str | None) -> Row:
    return [False, False] if one is None else [one, pseudonym(key, mark + one)]


def _json(one: object) -> str:
    return msgspec.json.encode(one).decode()  # Redis reads no bytes in MessagePack


def _or(one: str | None) -> str | bool:
    return False if one is None else one


def _us(moment: int) -> int:
    if not -(2**63) <= moment < 2**63:
        raise OverflowError(f"{moment} is no moment that can be kept: it has more than 64 bits")
    return moment


def recalled(found: Sequence[Any], user_id: str | None) -> Recalled:
    """What a script found of one person."""
    salt = _text(found[0]) if found else None
    if len(found) < 2:
        return Recalled(customer=user_id, salt=salt)
    _, names, rows, shared, unlinked, gone, events, answers, shown, mailed = found
    marked = [name.decode() for name in names]
    order = sorted(range(len(marked)), key=marked.__getitem__)
    past = [_past.decode(one) for one in reversed(events)]
    gone_us = None if gone is None else int(gone)
    words = [(_whole(word), _whole(said)) for _, word, said in rows]
    return Recalled(
        customer=marked[0][2:] if marked[0][0] == "u" else None,
        visitors=[marked[n][2:] for n in order if rows[n][0] is not None],
        shared=bool(shared),
        unlinked=bool(unlinked),
        events=[(one.item_id, one.event_type, one.occurred_us, one.session_id) for one in past],
        answers=_merged([answers[n] for n in order], _answer.decode, lambda one: one[2]),
        consent=newest_word(words, gone_us),
        shown=_newest([shown[n] for n in order]),
        mailed=_newest([mailed[n] for n in order]),
        forgotten_us=gone_us,
        salt=salt,
    )


def _newest(lists: Sequence[Sequence[bytes]]) -> list[tuple[int, str, list[str]]]:
    """The newest feeds, or blocks of mails, of several names, oldest first."""
    feeds = _merged([some[::-1] for some in lists], _shown.decode, lambda one: one[0])
    return [(at, placement, ids) for at, placement, ids, _ in feeds[-MOST_SHOWN:]]


def _merged(
    lists: Sequence[Sequence[bytes]], decode: Callable[[bytes], Any], moment: Callable[[Any], int]
) -> list[Any]:
    """What is kept under several names in the order of time, of one moment as it came."""
    return sorted((decode(one[_NUMBER:]) for some in lists for one in some), key=moment)


def filed(found: Sequence[bytes]) -> Iterator[Filed]:
    """The facts of `redis_reads.SINCE`."""
    for seq, name, fact in zip(found[::3], found[1::3], found[2::3], strict=True):
        told: Event | ItemChange = _event.decode(fact) if name else _change.decode(fact)
        yield Filed(int(seq), name.decode(), told)


def events(found: Sequence[bytes]) -> list[Event]:
    """The events of one name, as `redis_reads.TAIL` has them, oldest first."""
    return [_event.decode(one) for one in reversed(found)]


def _text(one: bytes | None) -> str | None:
    return None if one is None else one.decode()


def _whole(one: bytes | None) -> int | None:
    return None if one is None else int(one)
