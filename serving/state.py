"""What the service is told and must remember between trainings: the facts, and where they go.

Times are int64 microseconds since 1970 UTC; a *marked name* is `u:<user_id>`, `v:<visitor_id>` or
`s:<session_id>`. What each store promises, and what a crash can lose: docs/state.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

MOST_EVENTS = 2000  # of one person that `recall` gives, the newest
MOST_SHOWN = 200  # feeds of one person that `recall` gives, the newest; as many blocks of mails


class StateUnavailable(RuntimeError):
    """The store cannot be asked or told now. Ask again later."""


class ForeignState(StateUnavailable, ValueError):
    """The store is another home's, or of another version: this program must not use it."""


class _Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


class Event(_Fact, frozen=True, kw_only=True):
    """Somebody did something with an item; the optional fields are the contract's columns."""

    item_id: str
    event_type: str
    occurred_us: int
    user_id: str | None = None
    visitor_id: str | None = None
    session_id: str | None = None
    event_id: str | None = None  # the sender's own: the same one twice is one event
    channel: str | None = None
    value: float | None = None
    currency: str | None = None
    quantity: float | None = None
    duration_seconds: float | None = None
    placement: str | None = None
    decision_id: str | None = None
    position: int | None = None
    propensity: float | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody did."""
        if self.user_id is None and self.visitor_id is None and self.session_id is None:
            raise ValueError("an event needs user_id, visitor_id or session_id; give one of them")


class Link(_Fact, frozen=True, kw_only=True):
    """From now on this device is this customer's, or (`linked` False) no longer."""

    visitor_id: str
    user_id: str
    at_us: int
    linked: bool = True


class _Said(_Fact, frozen=True):
    """By a customer or a visitor; where both are given, by the customer."""

    user_id: str | None = None
    visitor_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody said."""
        if self.user_id is None and self.visitor_id is None:
            raise ValueError(f"{type(self).__name__} needs user_id or visitor_id; give one")


class Answer(_Said, frozen=True, kw_only=True):
    """What a person told us: an answer to a question, or less of a category."""

    question: str
    answer: str
    answered_us: int


class Consent(_Said, frozen=True, kw_only=True):
    """May feeds use what we know of this person?"""

    personalise: bool
    at_us: int


class Forget(_Said, frozen=True, kw_only=True):
    """Everything of this person goes, under all of its names; that it went is remembered.

    It is remembered by pseudonyms; an event of before that comes late is not kept.
    """

    at_us: int


class ItemChange(_Fact, frozen=True, kw_only=True):
    """What is new about an item; None: as it was. An unknown item needs `kind`."""

    item_id: str
    at_us: int
    available: bool | None = None
    price: float | None = None
    kind: str | None = None
    title: str | None = None
    category: str | None = None
    brand: str | None = None
    url: str | None = None
    image_url: str | None = None
    currency: str | None = None
    published_us: int | None = None
    language: str | None = None
    sensitive: bool | None = None


class Shown(_Fact, frozen=True, kw_only=True):
    """A feed that a person got, or a block of a mail.

    Mails are few and far between: they are kept apart, so that no number of feeds drives them out.
    """

    decision_id: str
    name: str  # marked
    placement: str
    item_ids: list[str]
    at_us: int
    mail: bool = False  # in a mail; whatever `feed` answered is none


class Met(_Fact, frozen=True, kw_only=True):
    """Some people got feeds: a build can tell whose decisions these are, if nothing else is kept.

    The log of decisions has pseudonyms; they can be made of names and salts, and no name can be
    made of them.
    """

    salts: dict[str, str]  # marked name -> the salt of its pseudonym, see features.decided


Fact = Event | Link | Answer | Consent | ItemChange | Forget


class Filed(msgspec.Struct, frozen=True):
    """A committed fact in the order of commits: a greater seq was committed later."""

    seq: int
    name: str  # marked: under whom an event is filed now (a link may have moved it); "": none
    fact: Event | ItemChange


class Recalled(msgspec.Struct, frozen=True):
    """What is remembered of whoever asks.

    customer:  the user_id that was asked for, or that the visitor is linked with now
    visitors:  those linked with that customer now
    shared:    the visitor belongs to more customers than `identity.max_customers`: to nobody
    unlinked:  the visitor was unlinked here: an older link of the bundle must not count
    events:    (item_id, event_type, occurred_us, session_id), oldest first, the newest 2,000
    answers:   (question, answer, answered_us), oldest first
    consent:   the newest word under any of the names; of two words of one moment the refusal. Who
               was forgotten and has said nothing since refuses; None: nothing was said here
    shown:     feeds: (at_us, placement, item_ids), oldest first, the newest 200
    mailed:    blocks of mails: the same
    forgotten_us: the newest moment at which any of the names was forgotten: what the bundle knows
               up to then must not be used; None: none was
    salt:      of the name that events are filed under: the first in order of those it was met with
    """

    customer: str | None = None
    visitors: list[str] = []
    shared: bool = False
    unlinked: bool = False
    events: list[tuple[str, str, int, str | None]] = []
    answers: list[tuple[str, str, int]] = []
    consent: bool | None = None
    shown: list[tuple[int, str, list[str]]] = []
    mailed: list[tuple[int, str, list[str]]] = []
    forgotten_us: int | None = None
    salt: str | None = None

    @property
    def forgotten(self) -> bool:
        """Was any of the names ever forgotten?"""
        return self.forgotten_us is not None

    @property
    def stays_forgotten(self) -> bool:
        """Forgotten, and has agreed to nothing since."""
        return self.forgotten and not self.consent


class State(Protocol):
    """A store that all workers share; every method is one round trip.

    An event is filed under its user_id; else under the customer that its visitor is linked with
    at that moment; else under the visitor; else under the session. A link brings along what the
    visitor did under no customer's name; an unlink moves nothing.
    """

    async def write(self, facts: Sequence[Fact]) -> list[bool]:
        """Keep all of `facts`, in their order, or none; they are kept when this returns.

        returns: per fact: is it new? False: an event with this event_id was there before
        raises:  StateUnavailable: nothing of this call was kept; over a network it may be that all
                 of it was, and the answer was lost
        """

    def note(self, seen: Shown | Met) -> None:
        """Keep what was shown, or to whom, soon: not awaited, lost if the process dies first."""

    async def keep(self, seen: Sequence[Shown | Met]) -> None:
        """As `note`, but kept when this returns.

        The same Shown again (name, moment, placement, decision) is one, so who does not know
        whether it was kept keeps it again. Raises StateUnavailable: some of it may have been kept.
        """

    async def recall(self, user_id: str | None, visitor_id: str | None) -> Recalled:
        """All that is remembered of one person, under all of its names."""

    async def recall_all(self, user_ids: Sequence[str]) -> list[Recalled]:
        """What `recall(user_id, None)` gives for each of these customers, in their order."""

    async def whose(self, pseudonym: str) -> str | None:
        """The marked customer whose decisions have this pseudonym.

        It is filed with the Met of a customer and goes with the person. None: nobody is known by
        it, or whoever was is forgotten.
        """

    async def once(self, name: str, mailing: str, answer: bytes, seconds: float) -> bytes:
        """Keep `answer` for this marked name and mailing unless one not older than this stands.

        returns: the one that stands: of all that ask within these seconds (by the wall clock) each
                 gets the same, whichever worker they ask. It goes with the person; of who was
                 forgotten and has told nothing since nothing is kept, and `answer` comes back
        """

    async def said_before(self, name: str, mailing: str, seconds: float) -> bytes | None:
        """The answer that stands, not older than this; None: there is none."""

    async def since(self, seq: int, most: int = 1000) -> list[Filed]:
        """The first `most` events and changes of items after `seq` (0: from the beginning)."""

    async def first_after(self, moment_us: int) -> int:
        """The seq to follow from (`since`) for what happened after a moment.

        It is right before the first event that occurred after it, or the first change of an item
        told at it or after it (where the clock stands still, changes are of the model's own
        moment). Where there is none: the newest seq.
        """

    async def tail(self, names: Sequence[str], before: int, most: int) -> dict[str, list[Event]]:
        """The newest `most` events of each marked name with a seq below `before`, oldest first."""

    async def close(self) -> None:
        """Commit what was noted and let go; the store stays."""


def newest_word(said: Sequence[tuple[int | None, int | None]], gone_us: int | None) -> bool | None:
    """The newest word on consent, of (word, said at) per name; at one moment a refusal.

    gone_us: when they were forgotten. That is to refuse, but what was said at that moment was said
    after it: what was said before is gone.
    """
    words = [(at, True, not word) for word, at in said if word is not None and at is not None]
    words += [] if gone_us is None else [(gone_us, False, True)]
    return not max(words)[2] if words else None
