"""The columns that filters over items may ask for, from a catalogue as it is now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.config import KINDS
from features.types import DAY_US, Float64, Int32, Texts
from training.catalogue import Catalogue
from training.item_facts import UNBORN
from training.open_catalogue import OpenCatalogue

Column = NDArray[Any]
At = slice | Int32


def item_columns(
    catalogue: Catalogue, names: Collection[str], now_us: int, items: Int32 | None = None
) -> dict[str, Column]:
    """The named columns of `items` (None: of all), as `features.rules` wants them.

    An unknown number is NaN, an unknown text None. Each distinct text is decoded once.
    """
    at: At = slice(None) if items is None else items
    numbers = {name: _NUMBERS[name](catalogue, at, now_us) for name in names if name in _NUMBERS}
    texts = [name for name in names if name in _WHOLE]
    if items is not None:
        return numbers | _told(catalogue, texts, items)
    found = {name: _WHOLE[name](catalogue) for name in texts}
    if isinstance(catalogue, OpenCatalogue) and catalogue.told:
        told = np.array(sorted(catalogue.told), dtype=np.int32)
        for name, values in _told(catalogue, texts, told).items():
            found[name][told] = values
    return numbers | found


def ancestry(tree: Texts) -> Int32:
    """(n_categories + 1, depth) the category and those above it, topmost first; -1: no more.

    The last row, where -1 points, is of no category. depth: of the deepest, at least 1
    """
    paths = [tree[place].split("/") for place in range(len(tree))]
    places = {"/".join(path): place for place, path in enumerate(paths)}
    depth = max(map(len, paths), default=1)
    found = np.full((len(paths) + 1, depth), -1, dtype=np.int32)
    for row, path in enumerate(paths):
        for level in range(len(path)):
            found[row, level] = places.get("/".join(path[: level + 1]), row)
    return found


def _told(catalogue: Catalogue, names: Sequence[str], items: Int32) -> dict[str, Column]:
    """The texts of a few items as they are now."""
    details = [catalogue.details(index) for index in items.tolist()] if names else []
    return {name: _texts([one[name] or None for one in details]) for name in names}


def _texts(values: list[str | None]) -> Column:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _filled(catalogue: Catalogue, values: Column) -> Column:
    """Unknown in the room for items that have not appeared."""
    return np.concatenate([values, np.full(len(catalogue) - len(values), None, dtype=object)])


def _named(codes: Int32, names: Texts) -> Column:
    """The text of each code; of -1 None."""
    return _texts([*(names[place] or None for place in range(len(names))), None])[codes]


def _distinct(texts: Texts) -> Column:
    """A column of texts in which a text that occurs often is decoded once."""
    raw, decoded, found = texts.blob.tobytes(), dict[bytes, str | None](), list[str | None]()
    for begin, end in pairwise(texts.offsets.tolist()):
        part = raw[begin:end]
        if part not in decoded:
            decoded[part] = part.decode() or None
        found.append(decoded[part])
    return _texts(found)


def _age_days(catalogue: Catalogue, at: At, now_us: int) -> Float64:
    born = catalogue.born_us[at]
    return np.where(born == UNBORN, np.nan, (now_us - born.astype(np.float64)) / DAY_US)


_NUMBERS: dict[str, Callable[[Catalogue, At, int], Column]] = {
    "price": lambda shelf, at, _: shelf.prices[at].astype(np.float64),
    "age_days": _age_days,
    "available": lambda shelf, at, _: np.array(shelf.available[at]),
}
_WHOLE: dict[str, Callable[[Catalogue], Column]] = {
    "item_id": lambda shelf: _filled(shelf, _texts([i.decode() for i in shelf.ids.ids.tolist()])),
    "kind": lambda shelf: _texts(list(KINDS))[shelf.kinds],
    "category": lambda shelf: _named(shelf.category, shelf.tree),
    "brand": lambda shelf: _named(shelf.brand, shelf.brand_names),
    "title": lambda shelf: _filled(shelf, _distinct(shelf.titles)),
    "currency": lambda shelf: _filled(shelf, _distinct(shelf.currencies)),
}
