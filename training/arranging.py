"""The merchant's order: the ranked candidates of one person -> the feed that is shown. Pure.

Every item has a key, its place among the candidates; boosts, burials and rotation move the key by
places, so a rule means the same whatever ranker spoke. Then slot by slot: the pin, else the best
that the limits leave, from the promoted ones where a promotion is behind its share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from features.types import HOUR_US, Bool, Float64, Int32, Int64
from training.race import Mark, Race

__all__ = [
    "END", "TOP", "Arranged", "Arrangement", "Limit", "Mark", "Pin", "Promotion", "Turn", "arrange",
    "pins_of", "turn_seed",
]  # fmt: skip

TOP, END = 1_000_000, -1_000_000  # places: before all others, after all others
_DEEPEST = 5  # times the size: how many candidates limits and diversity look at, at most
_NOBODY = np.empty(0, dtype=np.int32)


@dataclass(frozen=True)
class Pin:
    """An item that has a slot (from 0) from `starts_us` on and before `until_us`."""

    item: int
    slot: int
    starts_us: int = np.iinfo(np.int64).min
    until_us: int = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Promotion:
    """At least `share` of the slots are for `wanted`: (n_items,) bool, open ones only."""

    wanted: Bool
    share: float

    def due(self, slots: int) -> int:
        """How many of the first `slots` it is owed: the nearest whole number, a half rounds up."""
        return int(self.share * slots + 0.5 + 1e-9)


@dataclass(frozen=True)
class Limit:
    """At most `most` items of a group: `codes` is (n_items,) int32, -1 in none."""

    codes: Int32
    most: int


@dataclass(frozen=True)
class Arrangement:
    """What the rules make of an order; the arrays are shared by all requests.

    open:    (n_items,) bool, what may be shown now; pins ask it, candidates are open already
    places:  (n_items,) int32, how many places an item goes up (below 0: down), TOP or END
    farthest: the most places that any item goes up, and down; TOP and END apart
    sought:  what the candidates need enough of besides the promoted: items boosted to the top, and
             items that are not buried at the end
    parts:   (n_items, n_parts) int32, what an item is: a code for each category above it, and its
             brand; -1 none. Codes of one column are of one thing
    diversity, rotation: the dials, 0 to 1
    """

    open: Bool
    pins: tuple[Pin, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    places: Int32 | None = None
    farthest: tuple[int, int] = (0, 0)
    sought: tuple[Promotion, ...] = ()
    limits: tuple[Limit, ...] = ()
    parts: Int32 | None = None
    diversity: float = 0.0
    rotation: float = 0.0

    def depth(self, size: int) -> int:
        """How many candidates `arrange` wants to see for `size` places.

        What lies deeper cannot come in by rotation, by moves (up to five feeds of places), or by
        diversity up to 0.8: beyond size / (1 - diversity) an item loses to the best that is left,
        even where that one is quite like another. Limits look at five feeds.
        """
        diverse = size / (1 - self.diversity) if self.diversity < 1 else np.inf
        wide = _DEEPEST * size if self.limits else min(_DEEPEST * size, diverse)
        moved = min(sum(self.farthest), _DEEPEST * size) + self.rotation * size
        return int(np.ceil(wide + moved)) + len(self.pins)

    def lacking(self, items: Int32, size: int) -> list[tuple[Bool, int]]:
        """What the candidates have too few of: (n_items,) what to ask a ranker for, and how many.

        Append what it finds to the candidates.
        """
        needs = [(one.wanted, one.due(size)) for one in (*self.promotions, *self.sought)]
        short = [(wanted, due - int(wanted[items].sum())) for wanted, due in needs]
        return [(wanted, missing) for wanted, missing in short if missing > 0]


@dataclass(frozen=True)
class Turn:
    """One request.

    seed:   of `turn_seed`; only rotation asks it
    barred: (m,) int32, what not even a pin may show: disliked, muted, on an earlier page
    offset: how many places earlier pages had; positions of pins count from the first page
    """

    now_us: int
    seed: int = 0
    barred: Int32 = field(default_factory=lambda: _NOBODY)
    offset: int = 0


@dataclass(frozen=True)
class Arranged:
    """A feed of k <= size items; fewer: limits or too few candidates are in the way.

    items:  (k,) int32, best first
    places: (k,) int64, where each lies among the candidates, -1: it is pinned and was not there
    marks:  (k,) int64, what the rules did: a sum of `Mark`
    moved:  (k,) int32, places it was boosted by (below 0: buried), TOP or END
    """

    items: Int32
    places: Int64
    marks: Int64
    moved: Int32


def turn_seed(person: str, now_us: int) -> int:
    """The same number for a person (a marked name, "" for a stranger) through one hour."""
    told = f"{person}\0{now_us // HOUR_US}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(told, digest_size=8).digest(), "big")


def arrange(items: Int32, size: int, arrangement: Arrangement, turn: Turn) -> Arranged:
    """The `size` best of the candidates `items` (d,) int32, best first, as the rules want them.

    The candidates are distinct and may all be shown to this person; ask for
    `arrangement.depth(size)` of them, and for what they then lack. Fewer than `size` come back
    where limits are in the way: more candidates may help.
    """
    pool, slots = _pooled(items, pins_of(arrangement, turn, size))
    moved, keys, rotated = _keys(pool, size, arrangement, turn)
    race = Race.of(pool, keys / size, arrangement, slots)
    order, marks = _filled(race, slots, size)
    free = marks != Mark.pinned
    shifts = np.where(free, moved[order], 0).astype(np.int32)
    marks |= (shifts > 0) * Mark.boosted.value | (shifts < 0) * Mark.buried.value
    if rotated is not None:
        marks |= (rotated[order] & free) * Mark.rotated.value
    places = np.where(order < len(items), order, -1)
    return Arranged(pool[order], places, marks, shifts)


def pins_of(arrangement: Arrangement, turn: Turn, size: int) -> dict[int, int]:
    """Slot -> item of the pins that hold now and may be shown.

    The first in the file has its slot; another one takes the next free slot.
    """
    slots: dict[int, int] = {}
    for pin in arrangement.pins:
        slot = pin.slot - turn.offset
        held = pin.starts_us <= turn.now_us < pin.until_us and pin.item not in slots.values()
        if slot < 0 or not held:
            continue
        if not arrangement.open[pin.item] or (turn.barred == pin.item).any():
            continue
        while slot in slots:
            slot += 1
        if slot < size:
            slots[slot] = pin.item
    return slots


def _pooled(items: Int32, slots: dict[int, int]) -> tuple[Int32, dict[int, int]]:
    """The candidates, followed by the pinned that are not among them; slot -> place in that."""
    if not slots:
        return items, slots
    places: dict[int, int] = {}
    added: list[int] = []
    for slot, item in slots.items():
        found = np.flatnonzero(items == item)
        places[slot] = int(found[0]) if found.size else len(items) + len(added)
        added += [] if found.size else [item]
    return np.concatenate([items, np.array(added, dtype=np.int32)]), places


def _keys(
    pool: Int32, size: int, arrangement: Arrangement, turn: Turn
) -> tuple[Int32, Float64, Bool | None]:
    """(m,) places moved, (m,) keys, lower is better, and which stand elsewhere by rotation."""
    keys = np.arange(len(pool), dtype=np.float64)
    moved = np.zeros(len(pool), dtype=np.int32)
    if arrangement.places is not None:
        moved = arrangement.places[pool]
        keys -= moved + 0.5 * np.sign(moved)  # a half: so it lands right before, or after, another
    if not arrangement.rotation:
        return moved, keys, None
    turned = keys + arrangement.rotation * size * _noise(pool, turn.seed)
    return moved, turned, _ranks(turned) != _ranks(keys)


def _noise(items: Int32, seed: int) -> Float64:
    """(m,) in [0, 1), the same for an item and a seed: splitmix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        bits = items.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: Float64 = ((bits ^ (bits >> np.uint64(31))) >> np.uint64(11)) / 2.0**53
    return found


def _ranks(keys: Float64) -> Int64:
    order = keys.argsort(kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks


def _filled(race: Race, slots: dict[int, int], size: int) -> tuple[Int64, Int64]:
    """(k,) places in the pool, slot by slot, and (k,) their marks."""
    taken: list[int] = []
    marks: list[int] = []
    for slot in range(size):
        place, mark = (slots.pop(slot), Mark.pinned.value) if slot in slots else race.next(slot)
        if place < 0:
            if not slots:
                break
            place, mark = slots.pop(min(slots)), Mark.pinned.value  # those further down move up
        race.take(place)
        taken.append(place)
        marks.append(mark)
    return np.array(taken, dtype=np.int64), np.array(marks, dtype=np.int64)
