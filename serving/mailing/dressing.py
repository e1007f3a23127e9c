"""From what was decided to what is shown: items with their words, pictures and links."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec.structs import replace

from features.mail_options import MailOptions
from features.merge_tags import inert
from features.types import Bool, Int32
from serving.links import Link, LinkKey, address, parameters, signed, with_parameters
from serving.mail_blocks import Block, BlockItem, Mail, lacks
from serving.mailing.blocks import Blocks, Decided
from training.catalogue import Catalogue

if TYPE_CHECKING:
    from features.config import Config, Placement

_READY = 200_000  # items, and slots of items, at most, that are kept ready
_Slot = tuple[str, str, int]  # placement, item, position
_TEXTS = "title", "brand", "category", "text", "currency"  # anybody may have written them
_PROMOTED = "promoted"  # both the mark and the word of `serving.mail_words`


class DressedBlock(msgspec.Struct, frozen=True):
    """One block as it is told outside; a suppressed one has no items."""

    placement: str
    decision_id: str
    decision: Decided
    reason: str
    rung: str
    message: str
    headline: str
    items: list[BlockItem]


class DressedMail(msgspec.Struct, frozen=True, omit_defaults=True):
    """All blocks of one recipient, suppressed ones as well.

    subject:    the first headline of a block that is shown, "" where none has one
    decision:   `show` where a block is; else `fallback` where one is; else `suppress`: no mail
    html, text: files with the rendered mail, where there are some
    """

    user_id: str
    pseudonym: str
    language: str
    subject: str
    decision: Decided
    blocks: list[DressedBlock]
    html: str = ""
    text: str = ""


@dataclass(frozen=True)
class Dressing:
    """Makes items ready for one mailing; all of an item but link, place and reason is kept.

    key:     signs links to `mail.links`; without either, links lead straight to the item, with the
             UTM parameters that else the redirect adds
    expires: seconds since 1970 UTC, the first at which a signed link is refused
    """

    catalogue: Catalogue
    mail: MailOptions
    key: LinkKey | None
    mailing: str
    expires: int
    _cards: dict[str, BlockItem] = field(default_factory=dict, repr=False)
    _parameters: dict[_Slot, str] = field(default_factory=dict, init=False, repr=False)

    def of(self, mailing: str, expires: int) -> Dressing:
        """The same for another mailing; what is kept of items is shared."""
        return Dressing(self.catalogue, self.mail, self.key, mailing, expires, self._cards)

    def changed(self, item_ids: Sequence[str]) -> None:
        """These items are others than before: look at them anew."""
        for one in item_ids:
            self._cards.pop(one, None)

    def items(
        self, pseudonym: str, decision_id: str, placement: str, item_ids: Sequence[str],
        reasons: Sequence[str], marks: Sequence[Sequence[str]],
    ) -> list[BlockItem]:  # fmt: skip
        """The items of one block in their order, with links for this recipient alone.

        reasons, marks: of each item. An item without an address of its own has no link.
        Raises ValueError for an item that the catalogue does not have.
        """
        link = self._straight(placement)
        if self.key is not None and self.mail.links is not None:
            link = self._through_us(self.key, Link(
                recipient=pseudonym, decision_id=decision_id, placement=placement, item_id="",
                position=0, expires=self.expires, mailing=self.mailing,
            ))  # fmt: skip
        found = []
        rows = zip(item_ids, reasons, marks, strict=True)
        for position, (item_id, reason, marked) in enumerate(rows, start=1):
            card = self._cards.get(item_id) or self._card(item_id)
            url = card.url and link(card, position)
            label = _PROMOTED if _PROMOTED in marked else ""
            why = inert(reason)  # it names items
            found.append(replace(card, position=position, url=url, reason=why, label=label))
        return found

    def dressed(self, blocks: Blocks, rows: range) -> DressedMail:
        """The mail of one recipient, whose blocks lie in these rows."""
        own = [self._dressed(blocks, row) for row in rows]
        decisions = {block.decision for block in own}
        return DressedMail(
            blocks.user_ids[rows[0]], blocks.pseudonyms[rows[0]], inert(blocks.languages[rows[0]]),
            next((block.headline for block in own if block.items and block.headline), ""),
            whole(decisions), own,
        )  # fmt: skip

    def lacking(self, items: Int32, needs: Set[str]) -> Bool:
        """(len(items),) which items lack a field of BlockItem: no such item can be shown.

        needs: as `serving.templating.Templates.required_by` says
        """
        cards = self.cards(items)
        return np.array([lacks(card, needs) is not None for card in cards], dtype=np.bool_)

    def cards(self, items: Int32) -> Iterator[BlockItem]:
        """These items as all see them; at position 0, with their own addresses."""
        for item_id, index in zip(self.catalogue.texts(items), items.tolist(), strict=True):
            yield self._cards.get(item_id) or self._made(item_id, index)

    def _dressed(self, blocks: Blocks, row: int) -> DressedBlock:
        decision, decision_id = blocks.decisions[row], blocks.decision_ids[row]
        placement, item_ids = blocks.placements[row], blocks.item_ids[row]
        items = [] if decision == "suppress" else self.items(
            blocks.pseudonyms[row], decision_id, placement, item_ids, blocks.item_reasons[row],
            blocks.marks[row],
        )  # fmt: skip
        return DressedBlock(
            placement, decision_id, decision, blocks.reasons[row], blocks.rungs[row],
            blocks.messages[row], blocks.headlines[row], items,
        )  # fmt: skip

    def _card(self, item_id: str) -> BlockItem:
        index = int(self.catalogue.find([item_id])[0])
        if index < 0:
            raise ValueError(
                f"the catalogue has no item {item_id!r}: the mailing was decided with another "
                "model; decide it anew, into an empty directory"
            )
        return self._made(item_id, index)

    def _made(self, item_id: str, index: int) -> BlockItem:
        """An item as all see it; at position 0, with its own address.

        Its texts hold nothing that an e-mail service would fill in; its id is as it is.
        """
        told = {**self.catalogue.details(index), **self.catalogue.more(index)}
        for name in _TEXTS:
            told[name] = inert(told[name])
        del told["kind"]
        for name in ("url", "image_url"):
            told[name] = address(told[name], self.mail.site)
        if len(self._cards) >= _READY:
            self._cards.clear()
        card = self._cards[item_id] = BlockItem(position=0, **told)
        return card

    def _through_us(self, key: LinkKey, link: Link) -> Callable[[BlockItem, int], str]:
        """Makes links that are counted, from what is the same in all links of a block."""
        base = f"{(self.mail.links or '').rstrip('/')}/r/"
        return lambda card, position: (
            base + signed(key, replace(link, item_id=card.item_id, position=position))
        )

    def _straight(self, placement: str) -> Callable[[BlockItem, int], str]:
        """Makes links to the items themselves; most shops name no item in UTM parameters."""
        fields, kept = self.mail.utm, self._parameters
        one_for_all = not any("{item_id}" in text for text in fields.values())

        def link(card: BlockItem, position: int) -> str:
            slot = placement, "" if one_for_all else card.item_id, position
            if slot not in kept:
                if len(kept) >= _READY:
                    kept.clear()
                kept[slot] = parameters(fields, {
                    "mailing": self.mailing, "placement": placement, "position": position,
                    "item_id": card.item_id,
                })  # fmt: skip
            return with_parameters(card.url, fields, kept[slot])

        return link


def mail_of(dressed: DressedMail, config: Config) -> Mail:
    """What a template is filled with: the blocks that are shown."""
    shown = [
        Block(one.placement, template_of(config.placements[one.placement]), one.headline, one.items)
        for one in dressed.blocks if one.items
    ]  # fmt: skip
    return Mail(
        shown, dressed.language, dressed.subject, web_view_url=config.mail.web_view or "",
        unsubscribe_url=config.mail.unsubscribe or "",
    )  # fmt: skip


def template_of(placement: Placement) -> str:
    """Its own, else the built-in one for what it shows."""
    return placement.template or ("articles" if placement.kind == "article" else "products")


def whole(decisions: Set[str]) -> Decided:
    """What a mail comes to whose blocks got these."""
    if "show" in decisions:
        return "show"
    return "fallback" if "fallback" in decisions else "suppress"
