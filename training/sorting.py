"""A given list in the merchant's and the shopper's order: nothing is lost, nothing is added."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from features.types import Float32, Float64, Int32, Int64
from training.arranging import Arrangement, Mark, Turn, pins_of

_NO_END = int(np.iinfo(np.int64).max)  # of a list: what nobody knows does not make it longer


@dataclass(frozen=True)
class Sorted:
    """A list in its order.

    order: (n,) int64, a permutation: which of the given comes first, second, …
    marks: (n,) int64, in that order, a sum of `Mark`; none under a sort of the shopper's own
    """

    order: Int64
    marks: Int64


def sort(
    items: Int32, relevance: Float32, arrangement: Arrangement | None, turn: Turn,
    explicit: Float64 | None = None,
) -> Sorted:  # fmt: skip
    """Order `items` (n,) int32, -1 for ids that nobody knows: those stay behind all others.

    relevance: (n,) float32, higher is better, NaN no opinion
    explicit:  (n,) float64, the key that the shopper sorts by, the lowest first, NaN last

    What may not be shown is not taken away: it stands behind what may. Within each part the
    shopper's key decides; among equals the pins, then boosts and burials, then relevance, then the
    order that was given. A pin beyond the end of what may be shown stands at that end.
    """
    moved = np.zeros(len(items), dtype=np.int32)
    last = (items < 0) * 2
    slots: dict[int, int] = {}
    if arrangement is not None:
        known = np.maximum(items, 0)
        last += (items >= 0) & (~arrangement.open[known] | np.isin(items, turn.barred))
        if arrangement.places is not None:
            moved = np.where(last == 0, arrangement.places[known], 0)
        slots = _slots(items, arrangement, turn)
    order = _moved(np.lexsort((-np.nan_to_num(relevance, nan=-np.inf), last)), moved, last)
    marks = (moved > 0) * Mark.boosted.value | (moved < 0) * Mark.buried.value
    if slots:
        order = _pinned(order, slots, last)
        marks[list(slots.values())] = Mark.pinned
    if explicit is None:
        return Sorted(order, marks[order])
    sought = np.where(items < 0, np.nan, explicit)
    return Sorted(order[np.lexsort((sought[order], last[order]))], np.zeros_like(order))


def _slots(items: Int32, arrangement: Arrangement, turn: Turn) -> dict[int, int]:
    """Slot -> place in the list of the pinned that it has."""
    first = {item: place for place, item in reversed(list(enumerate(items.tolist())))}
    here = tuple(pin for pin in arrangement.pins if pin.item in first)
    slots = pins_of(replace(arrangement, pins=here), turn, _NO_END)
    return {slot: first[item] for slot, item in slots.items()}


def _pinned(order: Int64, slots: dict[int, int], last: Int64) -> Int64:
    """The order with the pinned in their slots, counted among those that may be shown."""
    free = order[~np.isin(order, list(slots.values()))]
    first = free[last[free] == 0].tolist()
    for slot in sorted(slots):
        first.insert(slot, slots[slot])  # beyond the end it is the end
    return np.concatenate([np.array(first, dtype=np.int64), free[last[free] > 0]])


def _moved(order: Int64, moved: Int32, last: Int64) -> Int64:
    """The order with every item moved by its places, among those that may be shown."""
    if not moved.any():
        return order
    own = moved[order]
    keys = np.arange(len(order)) - own - 0.5 * np.sign(own)
    return order[np.lexsort((keys, last[order]))]
