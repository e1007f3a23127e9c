"""What is said about people and requests: which question to ask, what is known, what would be."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from features.config import Rung
from serving.api import MAX_RECENT, Answer, Id, Moment, Request, example
from serving.api_told import Person

Endpoint = Literal[
    "feed", "sort", "similar", "block", "events", "identify", "unlink", "preferences", "forget",
    "catalogue", "questions", "profile",
]  # fmt: skip


class QuestionsRequest(Request):
    """Who could be asked something now; of a perfect stranger nothing needs to be given."""

    model_config = example("QuestionsRequest", visitor_id="b7c1", recent=["85123A"])

    user_id: Id | None = None
    visitor_id: Id | None = None
    recent: list[Id] = Field(
        default=[], max_length=MAX_RECENT,
        description="item ids of the current session, oldest first, which no event has told of",
    )  # fmt: skip
    at: Moment | None = Field(
        default=None, description="the moment of asking; only where the shop's clock is as_of"
    )


class Choice(Answer):
    """An answer to choose."""

    answer: str = Field(description="what to send to `preferences`")
    text: str = Field(description="what to show")


class Asked(Answer):
    """A question; its answers go to `preferences`, and `skip` is always one of them."""

    name: str
    text: str
    answers: list[Choice]


class QuestionsResponse(Answer):
    """The question whose answer would tell most, or none."""

    question: Asked | None
    why: str = Field(description="why this one, or why none")
    expected_bits: float | None = Field(
        description="what the answer would tell; without a question what the best would have told"
    )


class ProfileRequest(Person):
    """Of whom, and why their feed on which placement is as it is."""

    model_config = example("ProfileRequest", user_id="12346", placement="home")

    placement: Id | None = Field(default=None, description="default: all of the config")
    at: Moment | None = Field(
        default=None, description="the moment of asking; only where the shop's clock is as_of"
    )


class KnownAs(Answer):
    """The names that this is known by."""

    user_id: str | None = Field(description="as it was given")
    visitor_id: str | None = Field(description="as it was given")
    customer: bool = Field(description="is a customer known, by name or by the device?")
    devices: int = Field(description="linked with the customer now")


class ConsentTold(Answer):
    """May feeds use what is known?"""

    personalise: bool
    said_by: Literal["the person", "the shop's data", "the shop's default", "forgotten"]


class Share(Answer):
    """How much of all interest a category has."""

    category: str
    share: float = Field(ge=0, le=1)


class GivenAnswer(Answer):
    """Something that the person told the shop."""

    question: str | None = Field(description="null: the shop's data say the category only")
    answer: str
    answered_at: str


class Muted(Answer):
    """What the person does not want to see."""

    categories: list[str]
    brands: list[str]
    items: list[str] = Field(description="by title")


class FeedWords(Answer):
    """What the feed of a placement may be for this person, and why."""

    placement: str
    decision: Literal["show", "fallback", "suppress"]
    rung: Rung
    reason: str = Field(description="a code of docs/api.md")
    arms: dict[str, str]
    words: str


class ProfileResponse(Answer):
    """All that is known of a person; what is sensitive is counted and never named."""

    known: bool
    ids: KnownAs
    since: str | None = Field(description="the first thing that is known to have been done")
    consent: ConsentTold
    segment: str | None
    stage: str | None
    done: dict[str, int] = Field(description="how many things, by type of event")
    favourites: list[Share] = Field(description="the largest first")
    answers: list[GivenAnswer]
    muted: Muted
    not_named: int = Field(description="things done or said that are sensitive")
    feeds: list[FeedWords]
    words: list[str] = Field(description="the same, for the person to read")


class ValidateRequest(Request):
    """A request that shall only be tried."""

    model_config = example(
        "ValidateRequest", endpoint="feed", request={"placement": "home", "user_id": "12346"}
    )

    endpoint: Endpoint
    request: dict[str, Any]


class Fault(Answer):
    """What is wrong with a field."""

    field: str
    message: str


class ValidateResponse(Answer):
    """What would happen; nothing has."""

    valid: bool
    faults: list[Fault]
    would: list[str] = Field(description="what the request would do, in words")
    decision: Literal["show", "fallback", "suppress"] | None = None
    reason: str | None = Field(default=None, description="of the decision, a code of docs/api.md")
    rung: Rung | None = None
    excluded: dict[str, int] | None = Field(default=None, description="as with `explain`")
