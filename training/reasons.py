"""Why an item is in a feed, in words that a customer may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from features.config import Rung
from features.types import Int32

if TYPE_CHECKING:
    from training.bundle import Bundle
    from training.rankers.base import Queries

_DID = {  # event type -> what the person did with {}
    "purchase": "bought {}",
    "buy": "bought {}",
    "order": "bought {}",
    "cart": "put {} in your basket",
    "read": "read {}",
    "like": "liked {}",
    "bookmark": "bookmarked {}",
    "comment": "commented on {}",
    "follow": "followed {}",
    "view": "looked at {}",
    "click": "looked at {}",
    "email_click": "looked at {}",
}


def reason_text(
    bundle: Bundle, rung: Rung, queries: Queries, person: int, *, item: int, anchor: int
) -> str:
    """One sentence on why `item` is shown; anchor: the history item that spoke most, -1 if none."""
    if rung == "one_for_all":
        return "popular right now"
    if (before := _did(bundle, queries, person, item)) is not None:
        return f"you {before.format('this')} before"
    if item in _session(queries, person):
        return "you chose this a moment ago"
    if anchor < 0:
        return "goes with this visit" if rung == "context" else "fits what you like"
    did, name = _did(bundle, queries, person, anchor), bundle.catalogue.name(anchor)
    return f"because you {did.format(name)}" if did else f"goes with {name}"


def _session(queries: Queries, person: int) -> Int32:
    """The items of the current session."""
    histories = queries.histories
    start = histories.indptr[person] + queries.session_start[person]
    return histories.items[start : histories.indptr[person + 1]]


def _did(bundle: Bundle, queries: Queries, person: int, item: int) -> str | None:
    """What the person last did with an item, as a verb; None if nothing before this session.

    Of the current session only the item is known, not what was done with it.
    """
    histories = queries.histories
    start = histories.indptr[person]
    past = slice(start, start + queries.session_start[person])
    entries = np.flatnonzero(histories.items[past] == item)
    if not entries.size:
        return None
    signal = int(histories.signals[start + entries[-1]])
    return _DID.get(list(bundle.config.signals)[signal].lower().split()[0], "chose {}")
