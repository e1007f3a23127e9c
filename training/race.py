"""The race for the slots of one feed: the best that limits, promotions and diversity leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import TYPE_CHECKING

import numpy as np

from features.types import Bool, Float64, Int32

if TYPE_CHECKING:
    from training.arranging import Arrangement, Limit, Promotion


_OUT = -np.inf  # the worth of what is no longer in the running


class Mark(IntFlag):
    """What the rules did to an item of a feed."""

    pinned = 1
    promoted = 2  # lifted by a promotion; what is there on its own merit has no mark
    boosted = 4
    buried = 8
    diversified = 16  # went before a better one that is too much like what stands above
    rotated = 32  # stands elsewhere this hour


def likeness(parts: Int32) -> Float64:
    """(m, m) how alike items are, 0 to 1: the share of what both are made of (Dice 1945).

    parts: (m, n_parts) int32 as in `Arrangement`; an item of which nothing is known is like nothing
    """
    columns = np.ascontiguousarray(parts.T)
    known = columns >= 0
    sought = np.where(known, columns, -2)  # what is unknown equals nothing, not even an unknown
    same = np.empty((len(parts), len(parts)), dtype=np.bool_)
    shared = np.zeros(same.shape, dtype=np.uint8)
    for own, theirs in zip(columns, sought, strict=True):
        np.equal(own[:, None], theirs, out=same)
        shared += same.view(np.uint8)
    counts = np.maximum(known.sum(axis=0), 0.5) * 0.5  # at least a half: never 0 / 0
    alike: Float64 = shared / np.add.outer(counts, counts)
    return alike


@dataclass
class Group:
    """A limit among the candidates.

    codes: (m,) int32, and as a list: one by one that is quicker
    have:  how many of each code are shown
    """

    codes: Int32
    listed: list[int]
    most: int
    have: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, limit: Limit, pool: Int32) -> Group:
        """Nothing is shown yet."""
        codes = limit.codes[pool]
        return cls(codes, codes.tolist(), limit.most)

    def filled_by(self, place: int) -> Bool | None:
        """(m,) who is of the group that `place` has just filled; None: there is room."""
        code = self.listed[place]
        if code < 0:
            return None
        self.have[code] = have = self.have.get(code, 0) + 1
        return self.codes == code if have == self.most else None


@dataclass
class Owed:
    """A promotion among the candidates. wanted: (m,) bool; have: how many of them are shown."""

    promotion: Promotion
    wanted: Bool
    have: int = 0


@dataclass
class Race:
    """What is still in the running for the next slot.

    base:  (m,) float64, higher is better; -inf: taken, pinned, or of a full group
    worth: `base`, less the likeness to what is taken; `base` itself without diversity
    like:  (m, m) likeness times the dial, and (m,) the most to anything that is taken
    """

    base: Float64
    worth: Float64
    groups: list[Group]
    owed: list[Owed]
    like: tuple[Float64, Float64] | None = None

    @classmethod
    def of(
        cls, pool: Int32, keys: Float64, arrangement: Arrangement, slots: dict[int, int]
    ) -> Race:
        """keys: (m,) in feeds: 1 is `size` places; slots: slot -> place in `pool` of the pinned.

        Maximal marginal relevance (Carbonell & Goldstein 1998) over places: at a dial of 0.5 an
        item quite like one above it falls by a whole feed.
        """
        dial = arrangement.diversity if arrangement.parts is not None else 0.0
        base = keys * min(dial - 1, -1e-9)  # at a dial of 1 the places still break ties
        groups = [Group.of(limit, pool) for limit in arrangement.limits]
        owed = [Owed(one, one.wanted[pool]) for one in arrangement.promotions]
        race = cls(base, base, groups, owed)
        if dial and arrangement.parts is not None:
            race.worth = base.copy()
            race.like = likeness(arrangement.parts[pool]) * dial, np.zeros(len(pool))
        for place in slots.values():  # their slots are theirs, and they count in their groups
            race.leave(place)
        return race

    def next(self, slot: int) -> tuple[int, int]:
        """The place of the best for a slot, -1 if none is left, and its mark."""
        if not len(self.worth):
            return -1, 0
        best = int(self.worth.argmax())
        if self.base[best] == _OUT:
            return -1, 0
        for one in self.owed:
            if one.have < one.promotion.due(slot + 1) and not one.wanted[best]:
                lifted = int(np.where(one.wanted, self.worth, _OUT).argmax())
                if one.wanted[lifted] and self.base[lifted] > _OUT:
                    return lifted, Mark.promoted.value
        ahead = self.like is not None and best != self.base.argmax()
        return best, Mark.diversified.value if ahead else 0

    def take(self, place: int) -> None:
        """Put it into the next slot."""
        if self.base[place] > _OUT:  # a pinned one left the race before it began
            self.leave(place)
        for one in self.owed:
            one.have += bool(one.wanted[place])
        if self.like is not None:
            like, most = self.like
            np.maximum(most, like[place], out=most)
            np.subtract(self.base, most, out=self.worth)

    def leave(self, place: int) -> None:
        """Take it out of the running, and with it those whose group it fills."""
        self.base[place] = self.worth[place] = _OUT
        for group in self.groups:
            full = group.filled_by(place)
            if full is not None:
                self.base[full] = self.worth[full] = _OUT
