"""What a mail is made of: blocks, each a key message and the items that go with it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import msgspec

_WEB = ("https://", "http://")


class BlockItem(msgspec.Struct, frozen=True, gc=False):
    """One item as a template sees it; an unknown text is empty, an unknown price None.

    url, image_url:    absolute, else a ValueError
    price, list_price: in `currency`; the second is shown, struck through, where it is higher
    reason:            in words that the reader may read, `because you bought …`
    label:             a word of `serving.mail_words` such as `promoted`, or any text
    position:          from 1
    """

    item_id: str
    position: int
    title: str
    url: str
    image_url: str = ""
    price: float | None = None
    list_price: float | None = None
    currency: str = ""
    brand: str = ""
    category: str = ""
    text: str = ""
    reason: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        """Refuse addresses that a mail may not hold, such as javascript: ones."""
        for url in (self.url, self.image_url):
            if url and not url.startswith(_WEB):
                raise ValueError(
                    f"item {self.item_id!r}: {url!r} begins with neither https:// nor "
                    "http://; `serving.links.address` makes an address whole"
                )


@dataclass(frozen=True, slots=True)
class Block:
    """A key message and its items.

    template: a name of `serving.templating.Templates`
    headline: plain text, merge fields filled; may be empty
    """

    placement: str
    template: str
    headline: str
    items: Sequence[BlockItem]


@dataclass(frozen=True, slots=True)
class Mail:
    """All blocks of one mail to one reader.

    language:  as in HTML, `de-AT`; where nobody knows it, the shop's
    preheader: what a mailbox shows beside the subject; empty: the first titles
    web_view_url, unsubscribe_url: an address, or a merge tag of the e-mail service, which stays as
        it is; take it from the config, never from data
    """

    blocks: Sequence[Block]
    language: str
    subject: str = ""
    preheader: str = ""
    web_view_url: str = ""
    unsubscribe_url: str = ""


ITEM_FIELDS = BlockItem.__struct_fields__


def lacks(item: BlockItem, needs: Set[str]) -> str | None:
    """The first field, by name, that a template needs and that the item has not; None: none."""
    for name in needs:
        if getattr(item, name) in ("", None):
            return name
    return None
