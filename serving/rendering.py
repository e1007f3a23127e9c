"""Mails as HTML and as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup

from features.mail_options import MailOptions
from features.merge_tags import MERGE_TAG
from serving.mail_blocks import Block, BlockItem, Mail, lacks
from serving.templating import Template, Templates, filled

_TITLES = 3  # that are told where a mail has no preheader; mailboxes show about 100 characters


@dataclass(frozen=True, slots=True)
class Rendered:
    """One mail in both forms; they have the same items and links."""

    html: str
    text: str


def load_templates(options: MailOptions, base: Path, language: str) -> Templates:
    """The templates of a shop, each tried on sample items: a fault is told now, not in a mailing.

    Arguments and errors as of `Templates`.
    """
    templates = Templates(options, base, language)
    for name in templates.names:
        for item in _samples(templates.required_by(name)):
            rendered(Mail([Block("sample", name, "Sample", [item])], language), templates)
    return templates


def rendered(mail: Mail, templates: Templates) -> Rendered:
    """The whole mail, a document of its own.

    Raises ValueError for a mail without blocks, a block without items, and an item that lacks what
    its template needs; TemplateFault for a template that cannot be filled.
    """
    if not mail.blocks:
        raise ValueError("a mail without blocks is not sent: nothing to render")
    values = _values(mail, templates)
    parts = list(_parts(mail, templates, values))
    around = {**values, "blocks": [Markup(html) for html, _ in parts]}
    text = {**values, "blocks": [text for _, text in parts]}
    return Rendered(filled(templates.frame.html, around), filled(templates.frame.text, text))


def fragment(mail: Mail, templates: Templates) -> Rendered:
    """The blocks alone, for mails whose frame is the e-mail service's; errors as of `rendered`."""
    parts = list(_parts(mail, templates, _values(mail, templates)))
    return Rendered("\n".join(html for html, _ in parts), "\n".join(text for _, text in parts))


def _values(mail: Mail, templates: Templates) -> dict[str, Any]:
    titles = (item.title for block in mail.blocks for item in block.items)
    return {
        **templates.shared(mail.language),
        "subject": mail.subject,
        "preheader": mail.preheader or " · ".join(islice(titles, _TITLES)),
        "web_view_url": _verbatim(mail.web_view_url),
        "unsubscribe_url": _verbatim(mail.unsubscribe_url),
    }


def _parts(
    mail: Mail, templates: Templates, values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Every block in both forms."""
    for block in mail.blocks:
        template = templates.of(block.template)
        _check(block, template)
        known = {**values, "block": block, "items": block.items}
        yield filled(template.html, known), filled(template.text, known)


def _check(block: Block, template: Template) -> None:
    if not block.items:
        raise ValueError(f"the block of {block.placement!r} has no items; leave it out")
    for item in block.items:
        if missing := lacks(item, template.needs):
            raise ValueError(
                f"item {item.item_id!r} has no {missing}, which the template {block.template!r} "
                "needs; leave out such items (`serving.mail_blocks.lacks`)"
            )


def _verbatim(url: str) -> str:
    """A merge tag of an e-mail service as it is; an address will be escaped like any text."""
    return Markup(url) if MERGE_TAG.fullmatch(url) else url


def _samples(needs: frozenset[str]) -> Iterator[BlockItem]:
    """An item with everything, and one with no more than a template needs."""
    everything: dict[str, Any] = {
        "title": "A title", "url": "https://shop.example/a", "brand": "A brand",
        "image_url": "https://shop.example/a.png", "price": 9.5, "list_price": 12.0,
        "currency": "EUR", "category": "a/b", "text": "A text.", "reason": "a reason",
        "label": "promoted",
    }  # fmt: skip
    least = {name: value for name, value in everything.items() if name in needs}
    least = {"title": "", "url": "", **least}
    yield BlockItem(item_id="a", position=1, **everything)
    yield BlockItem(item_id="a", position=1, **least)
