"""Why an item is in a feed, in words that a customer may read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from features.types import Int32
from training.policy import Feeds, People, Step, anchors, known_of, seen_by

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


def reasons(
    bundle: Bundle, ladder: Sequence[Step], people: People, feeds: Feeds
) -> list[list[str]]:
    """Per person one sentence for each item of the feed, from no more than its rung may know."""
    because = anchors(ladder, people, feeds)
    views = [seen_by(step.rung, known_of(people)) for step in ladder]
    told: list[list[str]] = [[] for _ in range(len(people))]
    for person, place in np.argwhere(feeds.items >= 0).tolist():
        step = int(feeds.steps[person, place])
        if ladder[step].rung == "one_for_all":
            liked = feeds.scores[person, place] > 0
            told[person].append("popular right now" if liked else "from our range")
        else:
            item, anchor = int(feeds.items[person, place]), int(because[person, place])
            told[person].append(_because(bundle, views[step], person, item=item, anchor=anchor))
    return told


def _because(bundle: Bundle, queries: Queries, person: int, *, item: int, anchor: int) -> str:
    """anchor: the history item that spoke most, -1 if none."""
    if (before := _did(bundle, queries, person, item)) is not None:
        return f"you {before.format('this')} before"
    if item in _session(queries, person):
        return "you chose this a moment ago"
    if anchor < 0:
        return "fits what you like"
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
