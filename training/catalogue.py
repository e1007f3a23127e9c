"""The catalogue as serving sees it: arrays by item index, in the order that feature sets give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import shorten
from typing import Any, Self

import numpy as np

from features.config import KINDS, Kind
from features.feature_set import FeatureSet
from features.types import Bool, Float32, IdTable, Int8, Int32, Int64, Texts, row_numbers
from training.item_facts import born_us
from training.rankers.base import Items

MOST_TEXT = 1000  # characters of an item's text that a bundle has


@dataclass(frozen=True)
class Catalogue:
    """What an item is, by index.

    folded: the ids in lower case, for callers who spell them otherwise
    descriptions: the beginnings of their texts, MOST_TEXT characters at most
    kinds: (n,) int8, index into KINDS       available: (n,) bool, at the feature set's moment
    prices, list_prices: (n,) float32, NaN where unknown, each in its currency
    born_us: (n,) int64, published, else first seen; UNBORN where neither is known
    sensitive: (n,) bool, never a reason for another item
    people: (n,) int32, how many different people showed interest in it
    repurchase_days: (n,) float32, the median days until it is bought again, NaN unknown
    category: (n,) int32, index into `tree`, -1 none        brand: (n,) int32, into `brand_names`
    tree: paths of all categories, each right before those below it

    Items lie sorted by kind, availability and category.
    """

    ids: IdTable
    folded: IdTable
    kinds: Int8
    available: Bool
    prices: Float32
    list_prices: Float32
    born_us: Int64
    currencies: Texts
    titles: Texts
    categories: Texts
    brands: Texts
    urls: Texts
    image_urls: Texts
    descriptions: Texts
    sensitive: Bool
    people: Int32
    repurchase_days: Float32
    category: Int32
    tree: Texts
    brand: Int32
    brand_names: Texts

    @classmethod
    def of(cls, features: FeatureSet, currency: str) -> Self:
        """The catalogue of a feature set; a price without a currency is in the shop's."""
        table, tree = features.item_table(), features.table("categories")["path"].tolist()
        texts = table.astype(object).where(table.notna(), None)
        brands = sorted({one for one in texts["brand"].tolist() if one is not None})

        def column(name: str) -> Texts:
            return Texts.of(texts[name].tolist())

        return cls(
            ids=IdTable.of(table["item_id"].tolist()),
            folded=IdTable.of(table["item_id"].str.lower().tolist()),
            kinds=np.array([KINDS.index(kind) for kind in table["kind"]], dtype=np.int8),
            available=table["available"].to_numpy(np.bool_),
            prices=table["price"].to_numpy(np.float32),
            list_prices=table["list_price"].to_numpy(np.float32),
            born_us=born_us(table),
            currencies=Texts.of(table["currency"].fillna(currency).tolist()),
            titles=column("title"), categories=column("category"), brands=column("brand"),
            urls=column("url"), image_urls=column("image_url"),
            descriptions=Texts.of([_beginning(text) for text in texts["text"].tolist()]),
            sensitive=table["sensitive"].to_numpy(np.bool_),
            people=_people(features, len(table)),
            repurchase_days=_repurchase_days(features, len(table)),
            category=_codes(texts["category"].tolist(), tree), tree=Texts.of(tree),
            brand=_codes(texts["brand"].tolist(), brands), brand_names=Texts.of(brands),
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

    def below(self, path: str) -> tuple[int, int]:
        """The codes in `tree` of a category and all below it: from, until before; equal: none."""
        return self._ranges.get(path, (0, 0))

    @cached_property
    def _ranges(self) -> dict[str, tuple[int, int]]:
        """Of every category the codes of itself and all below it."""
        found: dict[str, tuple[int, int]] = {}
        for code in range(len(self.tree)):
            path = self.tree[code]
            while path:
                found[path] = (found.get(path, (code, 0))[0], code + 1)
                path = path.rpartition("/")[0]
        return found

    @cached_property
    def sensitive_categories(self) -> Bool:
        """(n_categories,) does a sensitive item lie in it, or in one above it?"""
        codes, found = self.category[self.sensitive], np.zeros(len(self.tree), np.bool_)
        for code in np.unique(codes[codes >= 0]).tolist():
            begin, end = self.below(self.tree[code])
            found[begin:end] = True
        return found

    @cached_property
    def _has_sensitive(self) -> bool:
        return bool(self.sensitive.any())

    def may_be_named(self, item: int) -> bool:
        """Neither the item nor its category is sensitive: it may be told as a reason."""
        if not self._has_sensitive:
            return True
        code = int(self.category[item])
        return not (self.sensitive[item] or (code >= 0 and self.sensitive_categories[code]))

    @cached_property
    def brand_codes(self) -> dict[str, list[int]]:
        """Brand in lower case -> its codes: one, unless the catalogue spells it in several ways."""
        found: dict[str, list[int]] = {}
        for code in range(len(self.brand_names)):
            found.setdefault(self.brand_names[code].lower(), []).append(code)
        return found

    @cached_property
    def category_codes(self) -> dict[str, int]:
        """Folded path of a category -> its code."""
        return {folded(self.tree[code]): code for code in range(len(self.tree))}

    @cached_property
    def category_names(self) -> dict[str, int]:
        """What can be said for a category, folded -> its code: its path, or its last part.

        As in `features.answers`: a last part of several paths, or that is a path, names no other.
        """
        found: dict[str, list[int]] = {}
        for path, code in self.category_codes.items():
            found.setdefault(path.rpartition("/")[2], []).append(code)
        alone = {name: codes[0] for name, codes in found.items() if len(codes) == 1}
        return alone | self.category_codes

    def texts(self, indices: Int32) -> list[str]:
        """The ids of these items."""
        return self.ids.texts(indices)

    def details(self, index: int) -> dict[str, Any]:
        """What a page shows of an item; an unknown text is empty, an unknown price None."""
        return {
            "item_id": self.ids.text(index),
            "kind": KINDS[self.kinds[index]],
            "title": self.titles[index],
            "category": self.categories[index],
            "brand": self.brands[index],
            "price": amount(self.prices[index]),
            "currency": self.currencies[index],
            "url": self.urls[index],
            "image_url": self.image_urls[index],
        }

    def more(self, index: int) -> dict[str, Any]:
        """What a mail shows besides `details`: `list_price` (None unknown) and `text`."""
        return {
            "list_price": amount(self.list_prices[index]),
            "text": self.descriptions[index],
        }

    def name(self, index: int) -> str:
        """What to call an item before a reader: its title, else its id."""
        return self.titles[index] or self.ids.text(index)


def amount(value: np.float32) -> float | None:
    """An amount of money as people write it; None: unknown."""
    exact = float(value)
    return None if exact != exact else round(exact, 4)


def folded(path: str) -> str:
    """A category path as it is compared: any case, any blanks around its parts, no empty parts."""
    return "/".join(part for one in path.lower().split("/") if (part := one.strip()))


def _beginning(text: str | None) -> str | None:
    """So much of a text as a mail may show: a magazine's are long, and every worker maps them."""
    if text is None or len(text) <= MOST_TEXT:
        return text
    return shorten(text, MOST_TEXT, placeholder=" …")


def _codes(texts: Sequence[str | None], names: Sequence[str]) -> Int32:
    """(n,) the place of each text in `names`, -1 where there is none."""
    places: dict[str | None, int] = {name: place for place, name in enumerate(names)}
    return np.array([places.get(text, -1) for text in texts], dtype=np.int32)


def _people(features: FeatureSet, n_items: int) -> Int32:
    """(n_items,) how many different people have an event of each item in their timelines."""
    log = features.timelines
    cells = np.unique(row_numbers(log.indptr) * n_items + log.items)
    return np.bincount(cells % max(n_items, 1), minlength=n_items).astype(np.int32)


def _repurchase_days(features: FeatureSet, n_items: int) -> Float32:
    table, days = features.table("repurchase"), np.full(n_items, np.nan, dtype=np.float32)
    days[table["item_index"].to_numpy(np.int64)] = table["median_days"].to_numpy(np.float32)
    return days
