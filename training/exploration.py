"""A share of the slots shows any allowed item by chance, and says how likely what is shown was.

Without this a log knows nothing of what its own ranking never shows, and no off-policy estimate can
be made from it (`training.evaluation.off_policy`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb

import numpy as np

from features.types import Bool, Float64, Int32
from training.policy import Feeds
from training.rankers.base import Allowed


@dataclass(frozen=True)
class Explored:
    """Feeds of which some slots were drawn by chance.

    explored:   (n, size) bool, these
    propensity: (n, size) float64, how likely the shown item was in its slot, NaN without one
    """

    feeds: Feeds
    explored: Bool
    propensity: Float64


@dataclass(frozen=True)
class Chances:
    """How likely an item is in a slot.

    own:   of the item that the ranking has there      moved: of one that it has in another slot
    other: of any other allowed item
    """

    own: float
    moved: float
    other: float

    @classmethod
    def of(cls, share: float, slots: int, items: int) -> Chances:
        """Each of `slots` is explored with chance `share`, out of `items` allowed ones.

        What is drawn is none of the items that stay: of M other slots that stay, M is binomial, and
        each of the items - M that are left is as likely. A ranked item can only appear in another
        slot if its own is explored, too.
        """
        return cls(
            1 - share + share * _one_of(share, slots - 1, items),
            share**2 * _one_of(share, slots - 2, items) if slots > 1 else 0.0,
            share * _one_of(share, slots - 1, items),
        )


def explore(feeds: Feeds, allowed: Allowed, share: float, random: np.random.Generator) -> Explored:
    """Each slot is explored with chance `share`: any allowed item, all alike, none twice.

    allowed: what each row may be shown; all that its feed shows must be in it
    Raises ValueError for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"exploration_share is {share}; it lies between 0 and 1")
    shown = feeds.items >= 0
    items, explored = feeds.items.copy(), shown & (random.random(shown.shape) < share)
    propensity = np.full(shown.shape, np.nan)
    among = allowed.indices()
    for row in np.flatnonzero(shown.any(axis=1)).tolist():
        away = np.intersect1d(allowed.excluded.row(row), among)
        ranked, drawn = feeds.items[row], explored[row]
        chances = Chances.of(share, int(shown[row].sum()), among.size - away.size)
        if drawn.any():
            taken = np.concatenate([away, ranked[shown[row] & ~drawn]])
            items[row, drawn] = _drawn(among, taken, int(drawn.sum()), random)
        propensity[row] = _propensity(items[row], ranked, shown[row], chances)
    return Explored(replace(feeds, items=items), explored, propensity)


def _propensity(items: Int32, ranked: Int32, shown: Bool, chances: Chances) -> Float64:
    """(size,) of one feed."""
    other = np.where(np.isin(items, ranked[shown]), chances.moved, chances.other)
    found = np.where(items == ranked, chances.own, other)
    return np.where(shown, found, np.nan)


def _drawn(among: Int32, taken: Int32, count: int, random: np.random.Generator) -> Int32:
    """`count` distinct items of `among` that are not `taken`, all alike; (count,)."""
    left = np.setdiff1d(among, taken, assume_unique=False)
    return np.asarray(random.choice(left, count, replace=False), dtype=np.int32)


def _one_of(share: float, others: int, items: int) -> float:
    """The mean of 1 / (items - M), M of `others` slots staying, each with chance 1 - share."""
    return sum(
        comb(others, stay) * (1 - share) ** stay * share ** (others - stay) / (items - stay)
        for stay in range(others + 1)
    )
