"""The catalogue as serving sees it: arrays by item index, in the order that feature sets give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from features.config import KINDS, Kind
from features.feature_set import FeatureSet
from features.types import Bool, Float32, IdTable, Int8, Int32, Int64, Texts
from training.item_facts import born_us
from training.rankers.base import Items


@dataclass(frozen=True)
class Catalogue:
    """What an item is, by index.

    folded: the ids in lower case, for callers who spell them otherwise
    kinds: (n,) int8, index into KINDS       available: (n,) bool, at the feature set's moment
    prices: (n,) float32, NaN where unknown, each in its currency
    born_us: (n,) int64, published, else first seen; UNBORN where neither is known
    """

    ids: IdTable
    folded: IdTable
    kinds: Int8
    available: Bool
    prices: Float32
    born_us: Int64
    currencies: Texts
    titles: Texts
    categories: Texts
    brands: Texts
    urls: Texts
    image_urls: Texts

    @classmethod
    def of(cls, features: FeatureSet, currency: str) -> Self:
        """The catalogue of a feature set; a price without a currency is in the shop's."""
        table = features.item_table()
        texts = table.astype(object).where(table.notna(), None)

        def column(name: str) -> Texts:
            return Texts.of(texts[name].tolist())

        return cls(
            ids=IdTable.of(table["item_id"].tolist()),
            folded=IdTable.of(table["item_id"].str.lower().tolist()),
            kinds=np.array([KINDS.index(kind) for kind in table["kind"]], dtype=np.int8),
            available=table["available"].to_numpy(np.bool_),
            prices=table["price"].to_numpy(np.float32),
            born_us=born_us(table),
            currencies=Texts.of(table["currency"].fillna(currency).tolist()),
            titles=column("title"), categories=column("category"), brands=column("brand"),
            urls=column("url"), image_urls=column("image_url"),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, item_ids: Sequence[str]) -> Int32:
        """(len(item_ids),) index of each item, whatever the case of its id; -1 if there is none."""
        found = self.ids.indices(item_ids)
        if (found < 0).any():
            other = self.folded.indices([item_id.lower() for item_id in item_ids])
            return np.where(found < 0, other, found)
        return found

    def shown(self, kind: Kind | None) -> Items:
        """Available items of a kind (None: of all): a slice where they lie together."""
        chosen = np.asarray(self.available)
        if kind is not None:
            chosen = chosen & (self.kinds == KINDS.index(kind))
        indices = np.flatnonzero(chosen).astype(np.int32)
        if indices.size and indices[-1] - indices[0] + 1 == indices.size:
            return slice(int(indices[0]), int(indices[-1]) + 1)
        return indices

    def name(self, index: int) -> str:
        """What to call an item before a reader: its title, else its id."""
        return self.titles[index] or self.ids.text(index)
