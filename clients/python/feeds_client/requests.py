"""What the service can be asked and told: the keyword arguments of the client's methods.

Names, limits and meanings are those of docs/api.md. Ids are text. A moment is a `datetime` with a
time zone, or text such as `2026-12-01T08:30:00Z`.
"""

# No `from __future__ import annotations`: a TypedDict could not tell what is Required.
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Required, TypedDict

Moment = datetime | str
Rung = Literal["one_for_all", "context", "segment", "one_to_one"]


class Asking(TypedDict, total=False):
    """Who asks, and where; give what is known and leave out the rest."""

    placement: Required[str]
    user_id: str | None
    visitor_id: str | None
    recent: Sequence[str]
    highest_rung: Rung | None
    at: Moment | None
    explain: bool


class FeedRequest(Asking, total=False):
    """Who asks for which feed."""

    item_id: str | None
    category: str | None
    exclude: Sequence[str]
    size: int | None
    cursor: str | None


class SortRequest(Asking, total=False):
    """Which items a listing page has."""

    item_ids: Required[Sequence[str]]
    sort_by: Literal["price", "newest", "popularity", "title"] | None
    descending: bool


class SimilarRequest(TypedDict, total=False):
    """What goes with which item."""

    placement: Required[str]
    item_id: Required[str]
    size: int | None
    exclude: Sequence[str]
    at: Moment | None
    explain: bool


class BlockRequest(TypedDict, total=False):
    """For whom a triggered mail is, and which blocks it is to have.

    format: without the blocks as HTML and plain text, or with them; the whole mail as a page is no
            JSON, and asked for by plain HTTP
    """

    user_id: Required[str]
    mailing: Required[str]
    placements: Sequence[str] | None
    first_name: str | None
    language: str | None
    consent_email: bool | None
    format: Literal["json", "blocks"]
    at: Moment | None


class QuestionsRequest(TypedDict, total=False):
    """Who could be asked something now."""

    user_id: str | None
    visitor_id: str | None
    recent: Sequence[str]
    at: Moment | None


class ProfileRequest(TypedDict, total=False):
    """Of whom; one of `user_id` and `visitor_id` at least."""

    user_id: str | None
    visitor_id: str | None
    placement: str | None
    at: Moment | None


class ValidateRequest(TypedDict):
    """A request that shall only be tried."""

    endpoint: str
    request: dict[str, Any]


class EventIn(TypedDict, total=False):
    """Somebody did something with an item; `user_id`, `visitor_id` or `session_id` at least."""

    item_id: Required[str]
    event_type: Required[str]
    occurred_at: Moment | None
    user_id: str | None
    visitor_id: str | None
    session_id: str | None
    event_id: str | None
    channel: str | None
    value: float | None
    currency: str | None
    quantity: float | None
    duration_seconds: float | None
    placement: str | None
    decision_id: str | None
    position: int | None
    propensity: float | None


class EventsRequest(TypedDict):
    """Up to 1,000 events: all of them are kept, or none."""

    events: Sequence[EventIn]


class DeviceRequest(TypedDict):
    """A device and a customer, to be linked or parted."""

    visitor_id: str
    user_id: str


class AnswerIn(TypedDict):
    """An answer to a question of the shop."""

    question: str
    answer: str


class PreferencesRequest(TypedDict, total=False):
    """What a person tells us; one of `user_id` and `visitor_id` at least."""

    user_id: str | None
    visitor_id: str | None
    answers: Sequence[AnswerIn]
    less_of_items: Sequence[str]
    less_of_categories: Sequence[str]
    mute_categories: Sequence[str]
    mute_brands: Sequence[str]
    unmute_items: Sequence[str]
    unmute_categories: Sequence[str]
    unmute_brands: Sequence[str]
    personalise: bool | None


class ForgetRequest(TypedDict, total=False):
    """Who wants to be forgotten; one of the two at least."""

    user_id: str | None
    visitor_id: str | None


class ItemIn(TypedDict, total=False):
    """What is new about an item; what is left out stays as it was."""

    item_id: Required[str]
    available: bool | None
    price: float | None
    currency: str | None
    kind: Literal["product", "article"] | None
    title: str | None
    category: str | None
    brand: str | None
    url: str | None
    image_url: str | None
    language: str | None
    published_at: Moment | None
    sensitive: bool | None


class CatalogueRequest(TypedDict):
    """Up to 1,000 items."""

    items: Sequence[ItemIn]
