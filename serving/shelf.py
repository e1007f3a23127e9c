"""What may be shown at this moment, by kind and category: slices of the catalogue if they can be.

Items lie sorted by kind, availability and category, so what a placement may show is one slice, and
a category in it another; what has changed since the training is a mask over the slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from features.config import KINDS, Kind
from features.types import Bool, Int32
from serving.living import Living
from training.rankers.base import Items


class Block(NamedTuple):
    """A kind in the catalogue: its items from `begin`; those that were to be had until `sold`."""

    begin: int
    sold: int
    end: int


@dataclass(frozen=True)
class Shelf:
    """The items of one kind (None: of all) as they are at one version of a living catalogue.

    blocks: of the kinds        items: all that can be meant, one slice
    open:   (n_items,) bool over the whole catalogue: of the kind, and to be had now
    late:   items that are open and that the slices of categories leave out, ascending
    """

    blocks: list[Block]
    items: slice
    open: Bool
    late: Int32

    @classmethod
    def of(cls, living: Living, kind: Kind | None) -> Self:
        """As things are now."""
        catalogue = living.catalogue
        blocks = sorted(_block(living, code) for code in _codes(kind))  # as they lie
        last = catalogue.known + len(catalogue.places)
        added = catalogue.kinds[catalogue.known : last]
        grown = kind is None or (added == KINDS.index(kind)).any()
        begin, end = blocks[0].begin, last if grown else blocks[-1].end
        if catalogue.moved:  # some lie where their kind does not: look everywhere
            begin, end = 0, last
        open_ = living.opened.copy()
        if kind is not None:
            open_ &= catalogue.kinds == KINDS.index(kind)
        late = open_.copy()
        for block in blocks:
            late[block.begin : block.sold] = False
        return cls(blocks, slice(begin, end), open_, np.flatnonzero(late).astype(np.int32))

    def within(self, living: Living, path: str) -> Items:
        """The items of a category and all below it; empty for one that nobody knows."""
        catalogue = living.catalogue
        begin, end = catalogue.below(path)
        if catalogue.moved:  # they do not lie in order any more
            every = np.flatnonzero((catalogue.category >= begin) & (catalogue.category < end))
            return every[self.open[every]].astype(np.int32)
        parts = []
        for block in self.blocks:
            codes = catalogue.category[block.begin : block.sold]
            first, last = np.searchsorted(codes, [begin, end]) + block.begin
            parts.append((int(first), int(last)))
        codes = catalogue.category[self.late]
        late = self.late[(codes >= begin) & (codes < end)]
        parts = [one for one in parts if one[1] > one[0]]
        if len(parts) == 1 and not late.size:
            return slice(*parts[0])
        ranges = [np.arange(*one, dtype=np.int32) for one in parts]
        return np.unique(np.concatenate([np.empty(0, np.int32), *ranges, late]))


def _codes(kind: Kind | None) -> list[int]:
    return list(range(len(KINDS))) if kind is None else [KINDS.index(kind)]


def _block(living: Living, code: int) -> Block:
    """Where a kind lies; the kinds lie in the order of their names."""
    shelf = living.base.catalogue
    own = np.flatnonzero(np.asarray(shelf.kinds) == code)
    if not own.size:
        return Block(0, 0, 0)
    there = int(np.count_nonzero(shelf.available[own]))
    return Block(int(own[0]), int(own[0]) + there, int(own[-1]) + 1)
