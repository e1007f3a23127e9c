"""What the service is asked for, and what it answers: the types behind the API docs and the SDK.

What the service is told (events, answers, consent) has its types in `serving.api_told`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from features.config import Kind, Rung
from features.training_options import RankerName
from features.types import MAX_ID
from serving.faults import without_values

NO_NUL = r"^[^\x00]*$"  # what is fixed in width drops it: two ids would be one
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=NO_NUL)]
MAX_RECENT, MAX_SORTED, MAX_SIZE, MAX_CURSOR = 500, 2000, 200, 40_000


def _moment(value: object) -> object:
    """A moment comes as text with a time zone; strict models would want an object."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:  # its words repeat what was sent
        found = None
    if not isinstance(found, datetime) or found.tzinfo is None:
        raise ValueError("write a moment with a time zone, such as 2026-12-01T08:30:00Z")
    if not 1 < found.year < datetime.max.year:  # in another zone it might have no date
        raise ValueError("write a moment of a year from 2 to 9998")
    return found


Moment = Annotated[datetime, BeforeValidator(_moment)]


class Request(BaseModel):
    """What every request has in common: unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's; what is wrong is told without what was sent."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise without_values(error) from None


class Answer(BaseModel):
    """What every answer has in common."""

    model_config = ConfigDict(extra="forbid")


def example(title: str, **body: Any) -> ConfigDict:
    """One example: BentoML's docs know no list of them."""
    return ConfigDict(extra="forbid", strict=True, title=title, json_schema_extra={"example": body})


class Asking(Request):
    """Who asks, and where; give what is known and leave out the rest."""

    placement: Id = Field(description="a placement of the config")
    user_id: Id | None = Field(default=None, description="a known customer")
    visitor_id: Id | None = Field(default=None, description="a browser or device")
    recent: list[Id] = Field(
        default=[], max_length=MAX_RECENT,
        description="item ids of the current session, oldest first, which no event has told of; "
        "unknown ones are left out",
    )  # fmt: skip
    highest_rung: Rung | None = Field(default=None, description="ask for a less personal feed")
    at: Moment | None = Field(
        default=None, description="the moment of asking; only where the shop's clock is as_of"
    )
    explain: bool = Field(default=False, description="say what each item and each gap is due to")


class FeedRequest(Asking):
    """Who asks for which feed."""

    model_config = example(
        "FeedRequest", placement="home", visitor_id="b7c1", recent=["85123A", "22423"]
    )

    item_id: Id | None = Field(
        default=None, description="the item of the page: it counts as the last of the session"
    )
    category: Id | None = Field(
        default=None, description="only this category and what is below it, as a path"
    )
    exclude: list[Id] = Field(
        default=[], max_length=MAX_RECENT, description="what the page shows already"
    )
    size: int | None = Field(
        default=None, ge=1, le=MAX_SIZE, description="default: the placement's"
    )
    cursor: str | None = Field(
        default=None, max_length=MAX_CURSOR, description="`next_cursor` of the page before"
    )


class SortRequest(Asking):
    """Which items a listing page has; they come back in another order, all of them."""

    model_config = example(
        "SortRequest", placement="category_page", user_id="12346", item_ids=["85123A", "22423"]
    )

    item_ids: list[Id] = Field(min_length=1, max_length=MAX_SORTED)
    sort_by: Literal["price", "newest", "popularity", "title"] | None = Field(
        default=None, description="what the shopper chose; it goes before everything"
    )
    descending: bool = False


class SimilarRequest(Request):
    """What goes with an item, whoever looks at it."""

    model_config = example("SimilarRequest", placement="home", item_id="85123A", size=6)

    placement: Id = Field(description="a placement of the config: its kind, size and rules")
    item_id: Id
    size: int | None = Field(default=None, ge=1, le=MAX_SIZE)
    exclude: list[Id] = Field(default=[], max_length=MAX_RECENT)
    at: Moment | None = None
    explain: bool = False


class Contribution(Answer):
    """What puts an item here."""

    of: str = Field(
        description="history, session, answer, segment, popularity, rule, chance, or the shop"
    )
    item_id: str | None = None
    text: str


class FeedItem(Answer):
    """One place of a feed."""

    item_id: str
    position: int = Field(ge=1)
    kind: Kind
    title: str
    category: str
    brand: str
    price: float | None
    currency: str
    url: str
    image_url: str
    rung: Rung = Field(description="how much knowledge put it here")
    ranker: RankerName | Literal["rules", "chance"]
    score: float | None = Field(description="of its ranker; comparable within one ranker only")
    reason: str = Field(description="why, in words that a customer may read")
    marks: list[str] = Field(description="what the shop's rules did: pinned, promoted, boosted …")
    because: list[Contribution] | None = Field(default=None, description="with `explain`")


class KeyMessage(Answer):
    """The text that goes with the feed."""

    name: str
    text: str = Field(description="merge fields are filled with their defaults")


class Decided(Answer):
    """A decision: what was asked, what was decided, and by what."""

    decision_id: str = Field(description="send it back with events that follow from this feed")
    decision: Literal["show", "fallback", "suppress"]
    reason: str = Field(description="why this decision: a code of docs/api.md")
    rung: Rung = Field(description="the highest rung that this person can have here")
    degraded: bool = Field(
        description="the service cannot ask its store now: what it was told of late is left out"
    )
    placement: str
    arms: dict[str, str] = Field(description="the arm of every experiment that this belongs to")
    model_version: str
    rules_version: str
    as_of: str = Field(description="the moment up to which the model has learnt")
    unknown_items: list[str] = Field(description="ids of the request that the catalogue lacks")
    excluded: dict[str, int] | None = Field(
        default=None, description="with `explain`: how many items were not shown, by reason"
    )


class FeedResponse(Decided):
    """A decision, and the feed that follows from it."""

    message: KeyMessage | None = Field(description="the shop's words for people like this")
    next_cursor: str | None = Field(description="asks for the next page; null: there is no more")
    items: list[FeedItem]


class Placed(Answer):
    """Why an item of a listing page stands where it does."""

    item_id: str
    position: int = Field(ge=1)
    rung: Rung | None
    ranker: RankerName | Literal["rules", "shopper", "none"]
    marks: list[str]


class SortResponse(Decided):
    """The given ids in their new order, none lost and none invented."""

    item_ids: list[str]
    unavailable_items: list[str] = Field(
        description="known items that may not be shown here now (sold out, not published yet, "
        "hidden by a rule, of another kind); behind the rest"
    )
    placed: list[Placed] | None = Field(default=None, description="with `explain`, item by item")
