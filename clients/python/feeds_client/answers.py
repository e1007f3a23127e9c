"""What the service answers. A field that a newer service has and this client does not is left out.

Names and meanings are those of docs/api.md. Codes (rungs, reasons, marks) are plain text, so that a
newer service may have more of them.
"""

from __future__ import annotations

from msgspec import Struct


class Answer(Struct, frozen=True, kw_only=True):
    """What every answer has in common: it cannot be changed."""


class Contribution(Answer, frozen=True, kw_only=True):
    """What puts an item where it is."""

    of: str
    item_id: str | None
    text: str


class FeedItem(Answer, frozen=True, kw_only=True):
    """One place of a feed; without details where the client had to fall back."""

    item_id: str
    position: int
    kind: str = ""
    title: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    currency: str = ""
    url: str = ""
    image_url: str = ""
    rung: str = "one_for_all"
    ranker: str = "fallback"
    score: float | None = None
    reason: str = ""
    marks: tuple[str, ...] = ()
    because: tuple[Contribution, ...] | None = None


class KeyMessage(Answer, frozen=True, kw_only=True):
    """The text that goes with a feed."""

    name: str
    text: str


class Decided(Answer, frozen=True, kw_only=True):
    """A decision: what was asked, what was decided, and by what.

    degraded: the service's state was away: what this person did and said could not be asked
    """

    decision_id: str
    decision: str
    reason: str
    rung: str
    placement: str
    arms: dict[str, str]
    model_version: str
    rules_version: str
    as_of: str
    unknown_items: tuple[str, ...]
    degraded: bool = False
    excluded: dict[str, int] | None = None


class FeedResponse(Decided, frozen=True, kw_only=True):
    """A decision, and the feed that follows from it.

    from_fallback: the service could not be asked, and these are the items that the caller gave
                   instead; there is no `decision_id` to send back
    """

    message: KeyMessage | None
    next_cursor: str | None
    items: tuple[FeedItem, ...]
    from_fallback: bool = False


class Placed(Answer, frozen=True, kw_only=True):
    """Why an item of a listing page stands where it does."""

    item_id: str
    position: int
    rung: str | None
    ranker: str
    marks: tuple[str, ...]


class SortResponse(Decided, frozen=True, kw_only=True):
    """The given ids in their new order, none lost and none invented."""

    item_ids: tuple[str, ...]
    unavailable_items: tuple[str, ...]
    placed: tuple[Placed, ...] | None = None


class MailItem(Answer, frozen=True, kw_only=True):
    """One item of a block of a mail."""

    item_id: str
    position: int
    title: str
    url: str
    image_url: str
    price: float | None
    list_price: float | None
    currency: str
    brand: str
    category: str
    text: str
    reason: str
    label: str


class MailBlock(Answer, frozen=True, kw_only=True):
    """One block of a mail, with its decision."""

    placement: str
    decision_id: str
    decision: str
    reason: str
    rung: str
    message: str
    headline: str
    items: tuple[MailItem, ...]


class BlockResponse(Answer, frozen=True, kw_only=True):
    """The blocks of one mail; `decision` is `suppress` where nothing is to be sent.

    again: this answer was given before, within the hour
    """

    mailing: str
    decision: str
    reason: str
    again: bool
    subject: str
    language: str
    blocks: tuple[MailBlock, ...]
    html: str | None
    text: str | None
    model_version: str
    rules_version: str
    as_of: str


class EventsResponse(Answer, frozen=True, kw_only=True):
    """What became of events."""

    accepted: int
    duplicates: int
    without_signal: int


class Done(Answer, frozen=True, kw_only=True):
    """It is kept."""

    kept: int
    notes: tuple[str, ...] = ()


class Choice(Answer, frozen=True, kw_only=True):
    """An answer to choose."""

    answer: str
    text: str


class Asked(Answer, frozen=True, kw_only=True):
    """A question to a person."""

    name: str
    text: str
    answers: tuple[Choice, ...]


class QuestionsResponse(Answer, frozen=True, kw_only=True):
    """The question whose answer would tell most, or none."""

    question: Asked | None
    why: str
    expected_bits: float | None


class KnownAs(Answer, frozen=True, kw_only=True):
    """The names that a person is known by."""

    user_id: str | None
    visitor_id: str | None
    customer: bool
    devices: int


class ConsentTold(Answer, frozen=True, kw_only=True):
    """May feeds use what is known?"""

    personalise: bool
    said_by: str


class Share(Answer, frozen=True, kw_only=True):
    """How much of all interest a category has."""

    category: str
    share: float


class GivenAnswer(Answer, frozen=True, kw_only=True):
    """Something that a person told the shop."""

    question: str | None
    answer: str
    answered_at: str


class Muted(Answer, frozen=True, kw_only=True):
    """What a person does not want to see."""

    categories: tuple[str, ...]
    brands: tuple[str, ...]
    items: tuple[str, ...]


class FeedWords(Answer, frozen=True, kw_only=True):
    """What the feed of a placement may be for a person, and why."""

    placement: str
    decision: str
    rung: str
    reason: str
    arms: dict[str, str]
    words: str


class ProfileResponse(Answer, frozen=True, kw_only=True):
    """All that is known of a person."""

    known: bool
    ids: KnownAs
    since: str | None
    consent: ConsentTold
    segment: str | None
    stage: str | None
    done: dict[str, int]
    favourites: tuple[Share, ...]
    answers: tuple[GivenAnswer, ...]
    muted: Muted
    not_named: int
    feeds: tuple[FeedWords, ...]
    words: tuple[str, ...]


class Fault(Answer, frozen=True, kw_only=True):
    """What is wrong with a field of a request."""

    field: str
    message: str


class ValidateResponse(Answer, frozen=True, kw_only=True):
    """What would happen; nothing has."""

    valid: bool
    faults: tuple[Fault, ...]
    would: tuple[str, ...]
    decision: str | None = None
    reason: str | None = None
    rung: str | None = None
    excluded: dict[str, int] | None = None
