"""From what was decided to what is shown: items with their words, pictures and links."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec.structs import replace

from features.mail_options import MailOptions
from features.types import Bool, Int32
from serving.links import Link, LinkKey, address, parameters, signed, with_parameters
from serving.mail_blocks import Block, BlockItem, Mail, lacks
from serving.mailing.blocks import Blocks, Decided
from training.catalogue import Catalogue

if TYPE_CHECKING:
    from features.config import Config, Placement

_READY = 200_000  # items, and slots of items, at most, that are kept ready
_Slot = tuple[str, str, int]  # placement, item, position
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
    _slots: dict[_Slot, str] = field(default_factory=dict, init=False, repr=False)

    def of(self, mailing: str, expires: int) -> Dressing:
        """The same for another mailing; what is kept of items is shared."""
        return Dressing(self.catalogue, self.mail, self.key, mailing, expires, self._cards)

    def changed(self) -> None:
        """The catalogue has moved: look at every item anew."""
        self._cards.clear()

    def items(
        self, pseudonym: str, decision_id: str, placement: str, item_ids: Sequence[str],
        reasons: Sequence[str], marks: Sequence[Sequence[str]],
    ) -> list[BlockItem]:  # fmt: skip
        """The items of one block in their order, with links for this recipient alone.

        reasons, marks: of each item. An item without an address of its own has no link.
        Raises ValueError for an item that the catalogue does not have.
        """
        found = []
        rows = zip(item_ids, reasons, marks, strict=True)
        for position, (item_id, reason, marked) in enumerate(rows, start=1):
            card = self._cards.get(item_id) or self._card(item_id)
            url = card.url
            if url and self.key and self.mail.links:
                slot = placement, card.item_id, position
                token = self._token(self.key, pseudonym, decision_id, slot)
                url = f"{self.mail.links.rstrip('/')}/r/{token}"
            elif url:
                slot = placement, card.item_id if self._tells_item else "", position
                told = self._slots.get(slot) or self._parameters(slot)
                url = with_parameters(url, self.mail.utm, told)
            label = _PROMOTED if _PROMOTED in marked else ""
            found.append(replace(card, position=position, url=url, reason=reason, label=label))
        return found

    def dressed(self, blocks: Blocks, rows: range) -> DressedMail:
        """The mail of one recipient, whose blocks lie in these rows."""
        own = [self._dressed(blocks, row) for row in rows]
        decisions = {block.decision for block in own}
        return DressedMail(
            blocks.user_ids[rows[0]], blocks.pseudonyms[rows[0]], blocks.languages[rows[0]],
            next((block.headline for block in own if block.items and block.headline), ""),
            whole(decisions), own,
        )  # fmt: skip

    def lacking(self, items: Int32, needs: Set[str]) -> Bool:
        """(len(items),) which items lack a field of BlockItem: no such item can be shown.

        needs: as `serving.templating.Templates.required_by` says
        """
        ids = self.catalogue.texts(items)
        cards = (self._cards.get(one) or self._card(one) for one in ids)
        return np.array([lacks(card, needs) is not None for card in cards], dtype=np.bool_)

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
        """An item as all see it; at position 0, with its own address."""
        index = int(self.catalogue.find([item_id])[0])
        if index < 0:
            raise ValueError(
                f"the catalogue has no item {item_id!r}: the mailing was decided with another "
                "model; decide it anew, into an empty directory"
            )
        told = {**self.catalogue.details(index), **self.catalogue.more(index)}
        del told["kind"]
        for name in ("url", "image_url"):
            told[name] = address(told[name], self.mail.site)
        if len(self._cards) >= _READY:
            self._cards.clear()
        card = self._cards[item_id] = BlockItem(position=0, **told)
        return card

    def _token(self, key: LinkKey, pseudonym: str, decision_id: str, slot: _Slot) -> str:
        placement, item_id, position = slot
        link = Link(
            recipient=pseudonym, decision_id=decision_id, placement=placement, item_id=item_id,
            position=position, expires=self.expires, mailing=self.mailing,
        )  # fmt: skip
        return signed(key, link)

    @cached_property
    def _tells_item(self) -> bool:
        """Does a UTM parameter name the item? Else a slot has the same ones for all items."""
        return any("{item_id}" in text for text in self.mail.utm.values())

    def _parameters(self, slot: _Slot) -> str:
        placement, item_id, position = slot
        if len(self._slots) >= _READY:
            self._slots.clear()
        values = {"mailing": self.mailing, "placement": placement, "position": position,
                  "item_id": item_id}  # fmt: skip
        found = self._slots[slot] = parameters(self.mail.utm, values)
        return found


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
