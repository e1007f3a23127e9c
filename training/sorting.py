"""A given list in the merchant's and the shopper's order: nothing is lost, nothing is added."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from features.types import Float32, Float64, Int32, Int64
from training.arranging import Arrangement, Mark, Turn, pins_of


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

    The shopper's key decides; among equals the pins, then boosts and burials, then relevance, then
    the order that was given. What may not be shown is not taken away: it stands behind what may.
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
        rest = order[~np.isin(order, list(slots.values()))].tolist()
        for slot in sorted(slots):
            rest.insert(slot, slots[slot])
        order = np.array(rest, dtype=np.int64)
        marks[list(slots.values())] = Mark.pinned
    if explicit is None:
        return Sorted(order, marks[order])
    sought = np.where(items < 0, np.nan, explicit)
    return Sorted(order[np.argsort(sought[order], kind="stable")], np.zeros_like(order))


def _slots(items: Int32, arrangement: Arrangement, turn: Turn) -> dict[int, int]:
    """Slot -> place in the list of the pinned that it has."""
    first = {item: place for place, item in reversed(list(enumerate(items.tolist())))}
    here = tuple(pin for pin in arrangement.pins if pin.item in first)
    slots, _ = pins_of(replace(arrangement, pins=here), turn, len(items))
    return {slot: first[item] for slot, item in slots.items()}


def _moved(order: Int64, moved: Int32, last: Int64) -> Int64:
    """The order with every item moved by its places, among those that may be shown."""
    if not moved.any():
        return order
    own = moved[order]
    keys = np.arange(len(order)) - own - 0.5 * np.sign(own)
    return order[np.lexsort((keys, last[order]))]
