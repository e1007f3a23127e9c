"""Why an item is in a feed, in words that a customer may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from features.config import Rung
from features.types import Histories

if TYPE_CHECKING:
    from training.bundle import Bundle

_DID = {
    "purchase": "bought", "buy": "bought", "order": "bought", "cart": "put in your basket",
    "read": "read", "like": "liked", "bookmark": "bookmarked", "comment": "commented on",
    "follow": "followed", "view": "looked at", "click": "looked at", "email_click": "looked at",
}  # fmt: skip


def reason_text(bundle: Bundle, rung: Rung, histories: Histories, person: int, anchor: int) -> str:
    """One sentence; anchor: the history item that spoke most, -1 where none did."""
    if rung == "one_for_all":
        return "popular right now"
    if anchor < 0:
        return "fits what you looked at" if rung == "context" else "fits what you like"
    start, end = histories.indptr[person], histories.indptr[person + 1]
    entries = histories.items[start:end] == anchor
    signal = int(histories.signals[start:end][entries][-1])
    name = list(bundle.config.signals)[signal].lower().split()[0]
    return f"because you {_DID.get(name, 'chose')} {bundle.catalogue.name(anchor)}"
