"""What the service is told: events, who is who, what people want, and what the shop has."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from features.config import Kind
from serving.api import NO_NUL, Answer, Id, Moment, Request, example

MAX_BATCH = 1000
MOST_AMOUNT = 1e15  # of money, things and seconds: more is a mistake
Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=NO_NUL)]
Link = Annotated[str, Field(min_length=1, max_length=2000, pattern=NO_NUL)]
Amount = Annotated[float, Field(ge=-MOST_AMOUNT, le=MOST_AMOUNT, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=MOST_AMOUNT, allow_inf_nan=False)]


class EventIn(Request):
    """Somebody did something with an item: a line of the log, as docs/contract.md has it."""

    item_id: Id
    event_type: Id
    occurred_at: Moment | None = Field(default=None, description="default: now")
    user_id: Id | None = None
    visitor_id: Id | None = None
    session_id: Id | None = None
    event_id: Id | None = Field(
        default=None, description="unique in the shop: sent again, it is the same event"
    )
    channel: Id | None = None
    value: Amount | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    quantity: Amount | None = None
    duration_seconds: NotNegative | None = None
    placement: Id | None = None
    decision_id: Id | None = Field(default=None, description="of the feed that this follows from")
    position: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    propensity: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _somebody_did_it(self) -> Self:
        if self.user_id is None and self.visitor_id is None and self.session_id is None:
            raise ValueError("give user_id, visitor_id or session_id")
        return self


class EventsRequest(Request):
    """Up to 1,000 events: all of them are kept, or none."""

    model_config = example(
        "EventsRequest",
        events=[{"item_id": "85123A", "event_type": "view", "visitor_id": "b7c1",
                 "event_id": "b7c1-17"}],
    )  # fmt: skip

    events: list[EventIn] = Field(min_length=1, max_length=MAX_BATCH)


class EventsResponse(Answer):
    """What became of them. What was accepted is kept, whatever happens to the process."""

    accepted: int
    duplicates: int = Field(description="their event_id had been accepted before")
    without_signal: int = Field(description="kept, but of a type that says nothing of interest")


class IdentifyRequest(Request):
    """From now on what this device does is this customer's, and what it did under no name."""

    model_config = example("IdentifyRequest", visitor_id="b7c1", user_id="12346")

    visitor_id: Id
    user_id: Id


class UnlinkRequest(Request):
    """This device is nobody's any more; what was done on it stays where it is."""

    model_config = example("UnlinkRequest", visitor_id="b7c1", user_id="12346")

    visitor_id: Id
    user_id: Id


class Person(Request):
    """A customer, or a visitor."""

    user_id: Id | None = None
    visitor_id: Id | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.user_id is None and self.visitor_id is None:
            raise ValueError("give user_id or visitor_id")
        return self


class AnswerIn(Request):
    """An answer to a question of the shop."""

    question: Text
    answer: Text


class PreferencesRequest(Person):
    """What a person tells us; the next feed obeys."""

    model_config = example(
        "PreferencesRequest", visitor_id="b7c1", less_of_items=["22423"], mute_brands=["Acme"]
    )

    answers: list[AnswerIn] = Field(default=[], max_length=50)
    less_of_items: list[Id] = Field(
        default=[], max_length=50, description="not this one again, and less of its category"
    )
    less_of_categories: list[Text] = Field(default=[], max_length=50)
    mute_categories: list[Text] = Field(default=[], max_length=50, description="nothing of it")
    mute_brands: list[Text] = Field(default=[], max_length=50)
    unmute_items: list[Id] = Field(
        default=[], max_length=50, description="show it again; its category stays as it was"
    )
    unmute_categories: list[Text] = Field(default=[], max_length=50)
    unmute_brands: list[Text] = Field(default=[], max_length=50)
    personalise: bool | None = Field(
        default=None, description="may feeds use what we know of this person?"
    )


class ForgetRequest(Person):
    """Everything of this person goes, under all names that are known to be theirs."""

    model_config = example("ForgetRequest", user_id="12346")


class ItemIn(Request):
    """What is new about an item; what is left out stays as it was."""

    item_id: Id
    available: bool | None = None
    price: NotNegative | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    kind: Kind | None = None
    title: Text | None = None
    category: Text | None = None
    brand: Text | None = None
    url: Link | None = None
    image_url: Link | None = None
    language: Annotated[str, Field(min_length=2, max_length=35, pattern=NO_NUL)] | None = None
    published_at: Moment | None = Field(default=None, description="not shown before")
    sensitive: bool | None = Field(default=None, description="never a reason for another item")


class CatalogueRequest(Request):
    """Up to 1,000 items: in effect on every worker within a second."""

    model_config = example(
        "CatalogueRequest", items=[{"item_id": "22423", "available": False, "price": 12.75}]
    )

    items: list[ItemIn] = Field(min_length=1, max_length=MAX_BATCH)


class Done(Answer):
    """It is kept."""

    kept: int = Field(description="facts that were written")
    notes: list[str] = Field(default=[], description="what it means, in words")
