"""Whether the blocks of a mailing have anything to show, before anybody is decided for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from features.types import Int32
from serving.mail_blocks import lacks
from serving.mailing.dressing import template_of
from serving.mailing.mailer import Mailer

_ADDRESSES = ("url", "image_url")


def check_suiting(mailer: Mailer, placements: Sequence[str]) -> None:
    """Refuse a mailing with a block that has items and can show none: each lacks what it needs.

    Raises ValueError, which names the field that most of them lack and says what to do.
    """
    for name in placements:
        place = mailer.desk.bundle.config.placements[name]
        template = template_of(place)
        items = np.flatnonzero(mailer.allowed(mailer.desk.shelf(name).open)).astype(np.int32)
        lacking = _lacking(mailer, items, template)
        if not lacking:
            continue
        field, many = max(lacking.items(), key=lambda one: (one[1], one[0]))
        raise ValueError(
            f"{many:,} of {items.size:,} items that {name} could show lack {field}, which its "
            f"template {template!r} needs: {_remedy(mailer, items, field)}"
        )


def _lacking(mailer: Mailer, items: Int32, template: str) -> Counter[str]:
    """How many lack each field that the template needs; none as soon as one item lacks nothing."""
    needs, found = mailer.templates.required_by(template), Counter[str]()
    for card in mailer.dressing.cards(items):
        missing = [name for name in needs if lacks(card, {name})]
        if not missing:
            return Counter()
        found.update(missing)
    return found


def _remedy(mailer: Mailer, items: Int32, field: str) -> str:
    catalogue = mailer.dressing.catalogue
    if field not in _ADDRESSES or not any(catalogue.details(i)[field] for i in items.tolist()):
        return f"map {field} in the items' source, or give the placement another template"
    if mailer.dressing.mail.site is None:
        return "relative addresses need mail.site"
    return "a mail can only have addresses that begin with https:// or http://"
