"""What a config says about mails: where links lead, how they are counted, and how a mail looks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from features.merge_tags import MERGE_TAG
from features.options import Positive, Section

EMAIL = "email"  # the channel of placements that are blocks of mails
Word = Literal["view", "read", "instead_of", "promoted", "web_view", "unsubscribe"]
LINK_FIELDS = ("mailing", "placement", "position", "item_id")  # what UTM parameters may tell
_FIELD = re.compile(r"\{([^{}]*)\}")
_SITE = r"^https?://[^/?#\s\"<>]+/?$"


def _address(text: str) -> str:
    if MERGE_TAG.fullmatch(text) or re.fullmatch(r"(https?://|mailto:)[^\s\"<>]+", text):
        return text
    raise ValueError(
        f"{text!r} is neither an address (https://…, mailto:…) nor a merge tag of an e-mail "
        "service, such as {{ unsubscribe_url }} or *|UNSUB|*"
    )


def _parameters(fields: dict[str, str]) -> dict[str, str]:
    for name, text in fields.items():
        for field in _FIELD.findall(text):
            if field not in LINK_FIELDS:
                raise ValueError(
                    f"{name}: there is no field {{{field}}}; choose from "
                    + ", ".join(f"{{{one}}}" for one in LINK_FIELDS)
                )
    return fields


Parameters = Annotated[dict[str, str], AfterValidator(_parameters)]
Address = Annotated[str, AfterValidator(_address)]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$", to_lower=True)]
Site = Annotated[str, StringConstraints(pattern=_SITE)]
TemplateFile = Annotated[str, StringConstraints(pattern=r"^.+\.html\.j2$")]
PictureUrl = Annotated[str, StringConstraints(pattern=r"^https://[^\s\"<>]+$")]
CategoryPage = Annotated[
    str, StringConstraints(pattern=r"^https?://[^\s\"<>]*\{category\}[^\s\"<>]*$")
]
Ratio = Annotated[float, Field(ge=0.4, le=3)]  # width / height


class Logo(Section):
    """A picture in the place of the shop's name; clients that show none show the name."""

    url: PictureUrl
    width: int = Field(ge=16, le=400)  # px as shown; send twice as many for sharp screens
    height: int = Field(ge=16, le=200)


class MailLook(Section):
    """What the built-in templates can be told; own templates see it as `look`."""

    accent: Colour = "#1f5c8a"  # buttons; their text is white or dark, whichever reads better
    logo: Logo | None = None
    product_picture: Ratio = 1.0  # of the shop's pictures; Outlook stretches what differs
    article_picture: Ratio = 1.5


def _yes_no(value: object) -> object:
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


class Withholding(Section):
    """Who gets no mail, or a less personal one: what is asked before any item is looked at."""

    consent_default: Annotated[Literal["yes", "no"], BeforeValidator(_yes_no)] = "no"
    mails_per_week: Positive | None = None  # of customers who did not say; None: no limit
    just_bought_days: float = Field(default=0, ge=0)  # no mail so soon after an order
    stale_after_days: Positive | None = None  # nothing was done for so long; None: never stale
    stale: Literal["fallback", "suppress"] = "suppress"
    min_events: int = Field(default=0, ge=0)  # fewer: too little is known to be personal
    low_confidence: Literal["fallback", "suppress"] = "fallback"
    min_new_items: int = Field(default=1, ge=0)  # in the whole mail, beside the last one's
    channel_question: str | None = Field(default=None, min_length=1)  # of the preferences
    channel_answers: list[str] = Field(default=["email", "e-mail", "mail"], min_length=1)


class MailOptions(Section):
    """The section `mail`."""

    withhold: Withholding = Withholding()
    echo_after_hours: float = Field(default=12, ge=0)  # what was just looked at is not shown back
    bought_again_after_days: float = Field(
        default=30, ge=0
    )  # of items without a rhythm of their own
    repeats_site: bool = False  # may a mail repeat what the site has shown of late?
    click_event: str = Field(default="email_click", min_length=1)  # what a click is filed as
    category_page: CategoryPage | None = None  # where a link of an item that is gone leads
    shop_name: str = Field(default="", max_length=200)  # stands on top
    site: Site | None = None  # https://shop.example: relative addresses of the catalogue are its
    links: Site | None = None  # https://feeds.shop.example, which answers /r/…; None: straight on
    link_days: Positive = 90.0  # a link is refused when it is older
    utm: Parameters = Field(default={"utm_source": "feeds", "utm_medium": "email"})
    unsubscribe: Address | None = None
    web_view: Address | None = None
    footer: list[str] = Field(default=[])  # lines of text: who sends this, from where, and why
    look: MailLook = MailLook()
    templates: dict[str, TemplateFile] = Field(default={})  # name -> path beside the config
    words: dict[str, dict[Word, str]] = Field(default={})  # language -> word -> text


def check_mail(
    mail: MailOptions, placements: Mapping[str, Any], signals: Mapping[str, Any],
    experiments: Sequence[Any] = (),
) -> None:  # fmt: skip
    """Refuse what only the whole config can judge: a ValueError names the key.

    placements: name -> Placement     signals: event type -> Signal     experiments: of Experiment
    """
    known = {"products", "articles", *mail.templates} - {"frame"}
    for name, place in placements.items():
        if place.template is not None and place.template not in known:
            raise ValueError(
                f"placements.{name}.template: there is no mail template {place.template!r}; "
                f"choose from {', '.join(sorted(known))}, or give its file under mail.templates"
            )
    if mail.links and mail.click_event not in signals:
        raise ValueError(
            f"mail.click_event: {mail.click_event!r} is none of the signals, so no click would "
            "count; add it there, or name one of " + ", ".join(signals)
        )
    for place, one in enumerate(experiments):
        if all(arm.mail for arm in one.dealt.values()):
            continue
        where = one.placements or [""]
        if any(name not in placements or placements[name].channel != EMAIL for name in where):
            raise ValueError(
                f"experiments.{place}.placements: an arm with `mail: no` withholds mails, so name "
                f"placements whose channel is {EMAIL}, and only such"
            )
