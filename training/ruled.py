"""Feeds under the merchant's rules: enough candidates of the ladder, put into the shop's order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.types import Int32, Int64, Ragged
from training.arranging import Arrangement, Turn, arrange
from training.filling import Filling, Request

_DEEPER = 4  # times as many candidates are looked at where limits left a feed short
_DEEPEST = 2000


class Ruled(NamedTuple):
    """What the rules did, a row per person.

    marks: (n, size) int64, a sum of `arranging.Mark`
    moved: (n, size) int32, places that an item was moved up (below 0: down)
    """

    marks: Int64
    moved: Int32


@dataclass(frozen=True)
class Shop:
    """The shop's order, and what it asks of the moment.

    offset: places that earlier pages had        seeds: (n,) of `turn_seed`, only rotation asks
    barred: what not even a pin shows to each: refused, muted, on the page already
    """

    arrangement: Arrangement
    offset: int
    seeds: NDArray[np.uint64]
    barred: Ragged


def under_rules(request: Request, size: int, shop: Shop) -> tuple[Filling, Ruled]:
    """Fill feeds of `size` places; what a rule put there that no step named has step len(ladder).

    A feed that the limits leave short looks at more candidates.
    """
    n = len(request.queries)
    feeds = Filling.empty(n, size)
    done = Ruled(np.zeros((n, size), np.int64), np.zeros((n, size), np.int32))
    depth = shop.arrangement.depth(size)
    wide = _candidates(request, size, depth, shop.arrangement)
    for row in range(n):
        _put(feeds, done, wide, (row, row), request, shop)
        if feeds.counts[row] < size and wide.counts[row] >= depth and depth < _DEEPEST:
            one = request.row(row)
            deeper = _candidates(one, size, min(_DEEPER * depth, _DEEPEST), shop.arrangement)
            _put(feeds, done, deeper, (row, 0), request, shop)
    return feeds, done


def _candidates(request: Request, size: int, depth: int, arrangement: Arrangement) -> Filling:
    """The first `depth` of the ladder, and what rules still miss among them."""
    needs = (*arrangement.promotions, *arrangement.sought)
    wide = Filling.empty(len(request.queries), depth + sum(one.due(size) for one in needs))
    wide.fill(request, below=depth)
    if not needs:
        return wide
    for row in range(len(request.queries)):
        own = wide.row(row)
        for wanted, missing in arrangement.lacking(own.items[0, : own.counts[0]], size):
            own.fill(request.row(row).among(wanted), below=int(own.counts[0]) + missing)
    return wide


def _put(
    feeds: Filling, done: Ruled, wide: Filling, rows: tuple[int, int], request: Request, shop: Shop
) -> None:
    """Write the feed of one person; rows: its row in the feeds, and among the candidates."""
    row, source = rows
    count, size = int(wide.counts[source]), feeds.items.shape[1]
    turn = Turn(
        int(request.queries.now_us[row]), int(shop.seeds[row]), shop.barred.row(row), shop.offset
    )
    found = arrange(wide.items[source, :count], size, shop.arrangement, turn)
    k, own = len(found.items), found.places >= 0
    feeds.items[row, :k] = found.items
    feeds.scores[row, :k] = np.where(own, wide.scores[source, found.places], np.nan)
    feeds.steps[row, :k] = np.where(own, wide.steps[source, found.places], len(request.ladder))
    feeds.counts[row] = k
    done.marks[row, :k], done.moved[row, :k] = found.marks, found.moved
