"""What may be shown: a part of the catalogue, less what is closed, less what one row excludes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.types import Bool, Int32, Int64, Ragged, row_numbers

Items = slice | NDArray[np.int32]  # a contiguous part of the catalogue, or sorted indices into it
GATHER_BELOW = 4096  # fewer items: score only these; more: score all, then choose (it is cheaper)


@dataclass(frozen=True)
class Allowed:
    """What may be shown: `items` to everybody of the batch, less `excluded` of each row.

    open: (n_items,) over the whole catalogue, False: not now, whoever asks; None: all are open.
          So `items` can stay a slice, which costs no copy of any array, when a few are sold out.
    """

    items: Items
    excluded: Ragged
    open: Bool | None = None

    def take(self, rows: Int64) -> Allowed:
        """The same for the named rows."""
        return Allowed(self.items, self.excluded.take(rows), self.open)

    def without(self, shown: Ragged) -> Allowed:
        """Also exclude what each row has been given already."""
        return Allowed(self.items, self.excluded.joined(shown), self.open)

    def below(self, limit: int) -> Allowed:
        """The same among the first `limit` items of the catalogue."""
        items, open_ = self.items, self.open
        if isinstance(items, slice):
            begin = min(items.start, limit)
            items = slice(begin, max(begin, min(items.stop, limit)))
        elif items.size and items[-1] >= limit:
            items = items[: np.searchsorted(items, limit)]
        kept = self.excluded.values < limit
        excluded = self.excluded if kept.all() else self.excluded.where(kept)
        return Allowed(items, excluded, None if open_ is None else open_[:limit])

    def indices(self) -> Int32:
        """`items` that are open, as sorted indices."""
        found = as_indices(self.items)
        return found if self.open is None else found[self.open[found]]

    def count(self) -> int:
        """How many of `items` are open."""
        if self.open is None:
            return sized(self.items)
        return int(np.count_nonzero(self.open[self.items]))

    def narrowed(self) -> tuple[Items, Bool | None]:
        """`items`, without what is closed where few are left; and (len(items),) which are open."""
        if self.open is None:
            return self.items, None
        open_ = self.open[self.items]
        if isinstance(self.items, slice) and np.count_nonzero(open_) > GATHER_BELOW:
            return self.items, open_
        return self.indices(), None

    def among(self, candidates: Int32) -> Int64:
        """Places of those `candidates` (m,) that the only row may be shown, in their order."""
        if isinstance(self.items, slice):
            kept = (candidates >= self.items.start) & (candidates < self.items.stop)
        else:
            kept = holds(self.items, candidates)
        if self.open is not None:
            kept &= self.open[candidates]
        if self.excluded.values.size:
            kept &= ~holds(np.sort(self.excluded.values), candidates)
        return np.flatnonzero(kept)


def holds(ordered: NDArray[np.integer], values: NDArray[np.integer]) -> Bool:
    """(m,) is each of `values` in `ordered`, which ascends?"""
    if not ordered.size:
        return np.zeros(values.size, np.bool_)
    place = np.minimum(np.searchsorted(ordered, values), ordered.size - 1)
    return np.asarray(ordered[place] == values)


def as_indices(items: Items) -> Int32:
    """`items` as sorted indices."""
    if isinstance(items, slice):
        return np.arange(items.start, items.stop, dtype=np.int32)
    return items


def sized(items: Items) -> int:
    """How many items these are."""
    return items.stop - items.start if isinstance(items, slice) else items.size


def items_at(items: Items, places: Int64) -> Int64 | Int32:
    """The items at these places of `items`."""
    return places + items.start if isinstance(items, slice) else items[places]


def cells(ragged: Ragged, items: Items) -> Int64:
    """(m,) sorted, row * len(items) + place in `items` of the values that are among them."""
    width, values = sized(items), ragged.values
    if not values.size or not width:
        return np.empty(0, np.int64)
    if isinstance(items, slice):
        place: Int64 = values.astype(np.int64) - items.start
        found = (place >= 0) & (place < width)
    else:
        place = np.minimum(np.searchsorted(items, values), width - 1)
        found = items[place] == values
    if len(ragged) > 1:
        place = place + row_numbers(ragged.indptr) * width
    return np.sort(place[found])
