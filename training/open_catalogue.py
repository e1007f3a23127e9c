"""A catalogue that goes on: items appear, prices move, things sell out, between two trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from features.config import KINDS
from features.types import Int32
from training.catalogue import Catalogue, amount, folded
from training.item_facts import UNBORN

_TEXTS = ("title", "category", "brand", "currency", "url", "image_url")


class NoRoom(ValueError):
    """More items have appeared than there is room for; make it anew with more."""


@dataclass(frozen=True)
class OpenCatalogue(Catalogue):
    """A catalogue with `room` for items that a model has never seen; they come after its own.

    Arrays that may change are copies of its own, as long as the catalogue and its room: kinds,
    available (False in the room), prices, list_prices, born_us (UNBORN), sensitive, people,
    repurchase_days, category and brand (-1). The texts of the model's items stay mapped.

    room:    how many items can be added        currency: of a price that comes without one
    told:    index -> what was told since: the fields of `details`
    places:  id in lower case -> index, of what was added
    moved:   items of the model that are of another kind or category now: they lie elsewhere
    """

    room: int
    currency: str
    told: dict[int, dict[str, Any]]
    places: dict[str, int]
    moved: set[int]

    @classmethod
    def opened(cls, catalogue: Catalogue, room: int, currency: str) -> Self:
        """The same items, and room for others."""
        parts = {one.name: getattr(catalogue, one.name) for one in fields(Catalogue)}
        filling = {"kinds": 0, "available": False, "prices": np.nan, "list_prices": np.nan,
                   "born_us": UNBORN, "sensitive": False, "people": 0, "repurchase_days": np.nan,
                   "category": -1, "brand": -1}  # fmt: skip
        for name, value in filling.items():
            own = parts[name]
            parts[name] = np.concatenate([own, np.full(room, value, own.dtype)])
        return cls(**parts, room=room, currency=currency, told={}, places={}, moved=set())

    @property
    def known(self) -> int:
        """How many items are the model's own."""
        return len(self.ids)

    def __len__(self) -> int:
        """Items and room: the width of everything that is counted by item."""
        return len(self.ids) + self.room

    def find(self, item_ids: Sequence[str]) -> Int32:
        """As `Catalogue.find`, of the added ones too."""
        found = super().find(item_ids)
        if self.places and (found < 0).any():
            found = found.copy()
            for place in np.flatnonzero(found < 0).tolist():
                found[place] = self.places.get(item_ids[place].lower(), -1)
        return found

    def add(self, item_id: str) -> int:
        """The index of an item that is not here yet; it is available, and of the shop's one kind.

        Where the shop has both kinds it counts as a product until somebody says otherwise.
        Raises NoRoom.
        """
        index = self.known + len(self.places)
        if index >= len(self):
            raise NoRoom(f"{self.room} items have appeared since the model was trained")
        kinds = np.unique(self.kinds[: self.known])
        self.kinds[index] = kinds[0] if kinds.size == 1 else 0
        self.available[index] = True
        self.places[item_id.lower()] = index
        self.told[index] = {"item_id": item_id, "currency": self.currency}
        return index

    def tell(self, index: int, **facts: Any) -> None:
        """What is known of an item now: any of `details`, and available, born_us, sensitive.

        A list price stays what it was, unless the currency is another one.
        """
        for name in ("available", "born_us", "sensitive"):
            if name in facts:
                getattr(self, name)[index] = facts.pop(name)
        for derived in ("sensitive_categories", "_has_sensitive"):
            self.__dict__.pop(derived, None)  # they may be others now
        self._price(index, facts)
        if index < self.known and {"kind", "category"} & facts.keys():
            self.moved.add(index)
        if "kind" in facts:
            self.kinds[index] = KINDS.index(facts.pop("kind"))
        if "category" in facts:
            self.category[index] = self.nearest(facts["category"])
        if "brand" in facts:
            self.brand[index] = self.brand_codes.get(facts["brand"].lower(), [-1])[0]
        if facts:
            self.told.setdefault(index, {}).update(facts)

    def _price(self, index: int, facts: dict[str, Any]) -> None:
        """Take out what is told of the price."""
        if facts.get("currency", self._currency(index)) != self._currency(index):
            self.list_prices[index] = np.nan
        if "price" in facts:
            price = facts.pop("price")
            self.prices[index] = np.nan if price is None else price

    def nearest(self, path: str) -> int:
        """The category of a path; of one that the model does not know the nearest one above it."""
        left = folded(path)
        while left and left not in self.category_codes:
            left = left.rpartition("/")[0]
        return self.category_codes.get(left, -1)

    def texts(self, indices: Int32) -> list[str]:
        """As `Catalogue.texts`, of the added ones too."""
        if indices.max(initial=-1) < self.known:
            return super().texts(indices)
        return [self._id(index) for index in indices.tolist()]

    def details(self, index: int) -> dict[str, Any]:
        """As `Catalogue.details`, with what was told since."""
        told: Mapping[str, Any] = self.told.get(index, {})
        if index < self.known:
            return {**super().details(index), **told} if told else super().details(index)
        return {
            "kind": KINDS[self.kinds[index]],
            "price": amount(self.prices[index]),
            **dict.fromkeys(_TEXTS, ""),
            **told,
        }

    def more(self, index: int) -> dict[str, Any]:
        """As `Catalogue.more`; of an added item nobody has told either."""
        if index < self.known:
            return super().more(index)
        return {"list_price": None, "text": ""}

    def name(self, index: int) -> str:
        """As `Catalogue.name`."""
        told = self.told.get(index, {})
        if index < self.known and "title" not in told:
            return super().name(index)
        return str(told.get("title") or self._id(index))

    def _currency(self, index: int) -> str:
        told = self.told.get(index, {})
        return str(told["currency"]) if "currency" in told else self.currencies[index]

    def _id(self, index: int) -> str:
        return self.ids.text(index) if index < self.known else str(self.told[index]["item_id"])
