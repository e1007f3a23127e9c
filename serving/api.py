"""What the service is asked and what it answers: the types behind the API docs and the SDK."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from features.config import Kind, Rung
from features.training_options import RankerName
from features.types import MAX_ID

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
MAX_RECENT = 500


class FeedRequest(BaseModel):
    """Who asks for which feed; give what is known and leave out the rest."""

    model_config = ConfigDict(
        title="FeedRequest",
        extra="forbid",
        strict=True,
        json_schema_extra={  # one: BentoML's docs know no list of examples
            "example": {"placement": "home", "visitor_id": "b7c1", "recent": ["85123A", "22423"]}
        },
    )

    placement: str = Field(description="a placement of the config")
    user_id: Id | None = Field(default=None, description="a known customer")
    visitor_id: Id | None = Field(default=None, description="a browser or device")
    recent: list[Id] = Field(
        default=[], max_length=MAX_RECENT,
        description="item ids of the current session, oldest first; unknown ones are left out",
    )  # fmt: skip
    size: int | None = Field(default=None, ge=1, le=200, description="default: the placement's")
    highest_rung: Rung | None = Field(default=None, description="ask for a less personal feed")


class FeedItem(BaseModel):
    """One place of a feed."""

    model_config = ConfigDict(extra="forbid")

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
    ranker: RankerName
    score: float = Field(description="of its ranker; comparable within one ranker only")
    reason: str = Field(description="why, in words that a customer may read")


class FeedResponse(BaseModel):
    """A decision, and the feed that follows from it."""

    model_config = ConfigDict(extra="forbid")

    decision_id: str = Field(description="send it back with events that follow from this feed")
    decision: Literal["show", "fallback", "suppress"]
    reason: str = Field(description="why this decision: a code of docs/api.md")
    rung: Rung = Field(description="the highest rung that this person can have here")
    placement: str
    model_version: str
    as_of: str = Field(description="the moment up to which the model has learnt")
    unknown_items: list[str] = Field(description="of `recent`: ids that the catalogue lacks")
    items: list[FeedItem]
