"""A share of a placement's slots shows any item that it may: what nobody sees, nobody can judge."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from features.types import Bool, Float64, Ragged
from training.arranging import Mark
from training.exploration import explore
from training.policy import Decision, Feeds, People, Terms, kept_away
from training.rankers.base import Allowed

_FIXED = Mark.pinned | Mark.promoted


class Chance(NamedTuple):
    """A feed of one in which some slots may have been drawn.

    drawn:      (size,) bool, these
    propensity: (size,) float64, how likely the item was in its slot; NaN where nothing could be
                drawn, None: nowhere
    """

    feeds: Feeds
    drawn: Bool
    propensity: Float64 | None


def explored(
    feeds: Feeds, people: People, terms: Terms, share: float, random: np.random.Generator
) -> Chance:
    """Draw `share` of the slots; what the shop has placed itself, pinned or promoted, stays.

    A drawn item may break the shop's limits (max_per): it is one of all that may be shown.
    """
    size = feeds.items.shape[1]
    nothing = np.zeros(size, np.bool_)
    if not share or feeds.decisions[0] == Decision.suppress:
        return Chance(feeds, nothing, None)
    fixed = nothing if feeds.marks is None else (feeds.marks[0] & _FIXED) > 0
    free = np.flatnonzero(~fixed)
    away = kept_away(people, terms).joined(Ragged.of([feeds.items[0, fixed]]))
    allowed = Allowed(terms.items, away, terms.open)
    found = explore(replace(feeds, items=feeds.items[:, free]), allowed, share, random)
    items, propensity = feeds.items.copy(), np.full(size, np.nan)
    items[0, free], propensity[free] = found.feeds.items[0], found.propensity[0]
    drawn = nothing.copy()
    drawn[free] = found.explored[0]
    return Chance(replace(feeds, items=items), drawn, propensity)
