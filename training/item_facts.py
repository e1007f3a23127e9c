"""What an item is, as numbers by item index: what rankers fitted on content and age look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import scipy.sparse as sp

from features.config import KINDS
from features.feature_set import FeatureSet
from features.online import Labels
from features.types import Float32, Int8, Int32, Int64, nothing

if TYPE_CHECKING:
    import pandas as pd

UNBORN = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class ItemFacts:
    """Facts about items that do not move with the log.

    kinds:      (n,) int8, index into KINDS
    categories: (n, n_categories) CSR float32, 1 for the item's category and each above it
    category, branch: (n,) int32, the deepest and the topmost of them, -1 none
    brands:     (n,) int32, -1 unknown
    prices:     (n,) float32, NaN unknown        price_relative: the same / what its like cost
    text:       (n, d) float32, its words as a vector of length 1
    born_us:    (n,) int64, published, else first seen in the log; UNBORN where neither is known
    """

    kinds: Int8
    categories: sp.csr_matrix
    category: Int32
    branch: Int32
    brands: Int32
    prices: Float32
    price_relative: Float32
    text: Float32
    born_us: Int64

    @classmethod
    def of(cls, features: FeatureSet) -> Self:
        """The facts of a feature set's catalogue."""
        items, tree = features.item_table(), features.table("categories")
        places = {path: place for place, path in enumerate(tree["path"])}
        rows, columns = [], []
        category = np.full(len(items), -1, dtype=np.int32)
        branch = category.copy()
        for row, path in enumerate(items["category"].astype(object)):
            if isinstance(path, str):
                parts = path.split("/")
                above = [places["/".join(parts[:depth])] for depth in range(1, len(parts) + 1)]
                rows += [row] * len(above)
                columns += above
                branch[row], category[row] = above[0], above[-1]
        brands = [b if isinstance(b, str) else None for b in items["brand"].astype(object)]
        ones = np.ones(len(rows), dtype=np.float32)
        return cls(
            kinds=np.array([KINDS.index(kind) for kind in items["kind"]], dtype=np.int8),
            categories=sp.csr_matrix((ones, (rows, columns)), shape=(len(items), len(tree))),
            category=category, branch=branch, brands=Labels.of(brands).codes,
            prices=items["price"].to_numpy(np.float32),
            price_relative=items["price_relative"].to_numpy(np.float32),
            text=np.asarray(features.text),
            born_us=born_us(items),
        )  # fmt: skip

    @classmethod
    def unknown(cls, n_items: int) -> Self:
        """`n_items` items of which nothing is known."""
        none = np.full(n_items, -1, dtype=np.int32)
        nan = np.full(n_items, np.nan, dtype=np.float32)
        return cls(
            np.zeros(n_items, np.int8), nothing(n_items, 0), none, none,
            none, nan, nan, np.zeros((n_items, 0), np.float32),
            np.full(n_items, UNBORN, dtype=np.int64),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def n_categories(self) -> int:
        """Categories of the tree, at whatever depth."""
        return int(self.categories.shape[1])


def born_us(items: pd.DataFrame) -> Int64:
    """(n,) int64 when each row of the item table was published, else first seen, else UNBORN."""
    published, seen = (items[name].astype("Int64") for name in ("published_us", "first_seen_us"))
    return np.asarray(published.fillna(seen).fillna(UNBORN).to_numpy(np.int64))
