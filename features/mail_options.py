"""What a config says about mails: where links lead, how they are counted, and how a mail looks."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from features.options import Positive, Section

Word = Literal["view", "read", "instead_of", "promoted", "web_view", "unsubscribe"]
LINK_FIELDS = ("mailing", "placement", "position", "item_id")  # what UTM parameters may tell
# What an e-mail service provider fills in: {{ url }}, {% url %}, *|URL|*, %%url%%, [url], <%url%>.
MERGE_TAG = re.compile(
    r"\{+[^{}\"<>]+\}+|\*\|[^\"<>|]+\|\*|%%[^\"<>%]+%%|\[+[^\[\]\"<>]+\]+|<%[^\"<>]+%>|\$[^\"<>$]+\$"
)
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


class MailOptions(Section):
    """The section `mail`."""

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
