"""Several feeds for the same people in one go, as in the blocks of a mail: no item in two of them.

Feeds that may show the same items are ranked in one pass, and the places are dealt out: the first
feed has the best ones, the next one those that follow; what a feed is too short for is the next
one's. That is what asking one after the other would give, for the price of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from features.types import Int32, Int64, Ragged
from training.filling import Filling
from training.policy import Feeds, People, Step, Terms, decide, decided, refused, request_of
from training.rankers.base import Allowed

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Wanted:
    """One of the feeds.

    away: items that this feed keeps from each person, not even a pin or padding shows them
    """

    terms: Terms
    away: Ragged


def decide_several(ladder: Sequence[Step], people: People, wanted: Sequence[Wanted]) -> list[Feeds]:
    """A feed for each of `wanted`, in their order, as `policy.decide` would fill them in turn."""
    found: dict[int, Feeds] = {}
    given = Ragged.empty(len(people))
    for places in _together(wanted):
        first = wanted[places[0]]
        own = replace(people, away=_joined(people.away, first.away, given))
        terms = [wanted[place].terms for place in places]
        feeds = [decide(ladder, own, terms[0])] if len(terms) == 1 else _dealt(ladder, own, terms)
        for place, feed in zip(places, feeds, strict=True):
            found[place] = feed
            given = given.joined(shown(feed.items))
    return [found[place] for place in range(len(wanted))]


def shown(items: Int32) -> Ragged:
    """The items of feeds (n, size), -1 where a feed is over."""
    there = items >= 0
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(there.sum(axis=1))])
    return Ragged(indptr, items[there])


def _joined(away: Ragged | None, *more: Ragged) -> Ragged:
    whole, *rest = more if away is None else (away, *more)
    for one in rest:
        whole = whole.joined(one)
    return whole


def _together(wanted: Sequence[Wanted]) -> list[list[int]]:
    """Places of `wanted` that one pass can serve, in the order of the first of each.

    A place joins an earlier one where all that it overtakes show other items: else it would take
    what is theirs.
    """
    groups: list[list[int]] = []
    for place, one in enumerate(wanted):
        for group in groups:
            between = set(range(group[0], place)) - set(group)
            if _alike(wanted[group[0]], one) and all(_apart(wanted[at], one) for at in between):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def _alike(one: Wanted, other: Wanted) -> bool:
    """May both show the same people the same items, for the same reasons, in no order of a shop?"""
    a, b = one.terms, other.terms
    return (
        a.arrangement is None and b.arrangement is None
        and one.away is other.away and a.highest_rung == b.highest_rung
        and _same(a.items, b.items) and _same(a.open, b.open) and _same(a.ceiling, b.ceiling)
        and _same(a.keeps_away, b.keeps_away)
        and _same(a.keeps_away_in_session, b.keeps_away_in_session)
    )  # fmt: skip


def _apart(one: Wanted, other: Wanted) -> bool:
    """Is there no item that both may show?"""
    a, b = one.terms.open, other.terms.open
    return a is not None and b is not None and not (a & b).any()


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one is other or np.array_equal(one, other)
    return type(one) is type(other) and one == other


def _dealt(ladder: Sequence[Step], people: People, terms: Sequence[Terms]) -> list[Feeds]:
    """The feeds of one pass."""
    whole = replace(terms[0], size=sum(one.size for one in terms))
    request, reasons = request_of(ladder, people, whole)
    filling = Filling.empty(len(people), whole.size)
    filling.fill(request)
    feeds, begin, given = [], np.zeros(len(people), np.int64), Ragged.empty(len(people))
    for one in terms:
        own = _part(filling, begin, one.size)
        if one.on_too_few == "pad":  # with what people have, but not what another feed shows
            blocked = Allowed(one.items, refused(people).joined(given), one.open)
            own.fill(replace(request, allowed=blocked), below=one.min_items)
        feeds.append(decided(own, request, reasons, one))
        begin += (own.items >= 0).sum(axis=1)
        given = given.joined(shown(own.items))
    return feeds


def _part(filling: Filling, begin: Int64, size: int) -> Filling:
    """Of every row `size` places from its `begin` (n,) on, as feeds of their own."""
    counts = np.clip(filling.counts - begin, 0, size)
    places, there = begin[:, None] + np.arange(size), np.arange(size) < counts[:, None]
    places = np.minimum(places, filling.items.shape[1] - 1)

    def part(values: NDArray[T], none: float) -> NDArray[T]:
        return np.where(there, np.take_along_axis(values, places, axis=1), values.dtype.type(none))

    return Filling(part(filling.items, -1), part(filling.scores, np.nan), part(filling.steps, -1),
                   counts)  # fmt: skip
