"""What a triggered mail is asked for, and what is answered: the types behind the API docs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.api import Answer, Id, Moment, Request, example

MAX_PLACEMENTS = 20


class BlockRequest(Request):
    """For whom a mail is, and which blocks it is to have."""

    model_config = example(
        "BlockRequest", user_id="12346", mailing="basket-reminder", placements=["newsletter_top"]
    )

    user_id: Id = Field(description="a customer; of one whom nobody knows only consent is asked")
    mailing: Id = Field(
        description="names what triggers the mail; asked again within an hour for the same "
        "customer and mailing, the answer is the same"
    )
    placements: list[Id] | None = Field(
        default=None, min_length=1, max_length=MAX_PLACEMENTS,
        description="placements with `channel: email`, in the order of the mail; default: all",
    )  # fmt: skip
    first_name: Id | None = Field(default=None, description="default: as the shop's table has it")
    language: Id | None = Field(default=None, description="such as de-AT; default: the table's")
    consent_email: bool | None = Field(
        default=None, description="what you know of it now; default: as the shop's table has it"
    )
    format: Literal["json", "blocks", "html"] = Field(
        default="json",
        description="json: the items; blocks: with the blocks as HTML and plain text, for a frame "
        "of yours; html: the whole mail as a page, and status 204 where there is none",
    )
    at: Moment | None = Field(
        default=None, description="the moment of asking; only where the shop's clock is as_of"
    )


class MailItem(Answer):
    """One item of a block; an unknown text is empty, an unknown price null."""

    item_id: str
    position: int
    title: str
    url: str = Field(description="counts the click where `mail.links` is set")
    image_url: str
    price: float | None
    list_price: float | None
    currency: str
    brand: str
    category: str
    text: str
    reason: str
    label: str


class MailBlock(Answer):
    """One block, with its decision."""

    placement: str
    decision_id: str
    decision: Literal["show", "fallback", "suppress"]
    reason: str
    rung: str
    message: str = Field(description="the name of the key message")
    headline: str = Field(description="its text, plain, merge fields filled")
    items: list[MailItem]


class BlockResponse(Answer):
    """The blocks of one mail, or why there is none."""

    mailing: str
    decision: Literal["show", "fallback", "suppress"] = Field(
        description="of the whole mail: suppress: send nothing"
    )
    reason: str = Field(description="of the first block that decides it")
    again: bool = Field(description="this answer was given before, within the hour")
    subject: str
    language: str
    blocks: list[MailBlock]
    html: str | None = Field(description="the blocks, with `format: blocks`")
    text: str | None
    model_version: str
    rules_version: str
    as_of: str
