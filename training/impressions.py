"""What the shop showed: what was seen and not wanted teaches more than what nobody saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from features.feature_set import FeatureSet
from features.types import Float32, Int32, Int64, Ragged, gather, row_numbers

_COLUMNS = ["person_index", "item_index", "occurred_us", "position"]


@dataclass(frozen=True)
class Shown:
    """Items that some people saw: a row per person, each item once, where it stood highest.

    items: of each row, ascending        places: (len(items.values),) float32 from 1, NaN unknown
    """

    items: Ragged
    places: Float32

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Int64) -> Shown:
        """What the people of these rows saw."""
        indptr, entries = gather(self.items.indptr, rows)
        return Shown(Ragged(indptr, self.items.values[entries]), self.places[entries])

    def without(self, away: Ragged) -> tuple[Int64, Int32, Float32]:
        """(m,) row, item and place of all that is not in the person's row of `away`."""
        rows, items = row_numbers(self.items.indptr), self.items.values
        kept = ~self.items.within(away)
        return rows[kept], items[kept], self.places[kept]


@dataclass(frozen=True)
class Impressions:
    """Every time that an item was shown, in time order.

    persons, items: (m,) int32        at_us: (m,) int64        places: (m,) float32 from 1, or NaN
    """

    persons: Int32
    items: Int32
    at_us: Int64
    places: Float32

    @classmethod
    def of(cls, features: FeatureSet, types: list[str]) -> Self | None:
        """The events of these types in a feature set's clean log; None: there are none."""
        if not types:
            return None
        import pyarrow.parquet as pq  # here: a serving worker does without

        table = pq.read_table(features.directory / "events.parquet", columns=_COLUMNS,
                              filters=[("event_type", "in", types)])  # fmt: skip
        if not len(table):
            return None
        table = table.sort_by("occurred_us")
        persons, items, at_us = (table[name].to_numpy() for name in _COLUMNS[:3])
        places = table["position"].to_numpy(zero_copy_only=False).astype(np.float32)
        return cls(persons.astype(np.int32), items.astype(np.int32), at_us, places)

    def to(self, persons: Int64, begin_us: int, end_us: int) -> Shown:
        """What each of `persons` (n,), no one twice, saw from `begin_us` until before `end_us`."""
        first, last = np.searchsorted(self.at_us, [begin_us, end_us])
        order = np.argsort(persons)
        own = self.persons[first:last]
        place = np.minimum(np.searchsorted(persons[order], own), max(len(persons) - 1, 0))
        asked = np.flatnonzero(persons[order][place] == own) if len(persons) else place[:0]
        rows, items = order[place[asked]], self.items[first:last][asked]
        places = self.places[first:last][asked]
        sort = np.lexsort((places, items, rows))  # NaN comes last
        rows, items, places = rows[sort], items[sort], places[sort]
        new = np.ones(len(rows), dtype=np.bool_)
        new[1:] = (rows[1:] != rows[:-1]) | (items[1:] != items[:-1])
        counts = np.bincount(rows[new], minlength=len(persons))
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return Shown(Ragged(indptr, items[new]), places[new])
