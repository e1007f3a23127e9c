"""One feature set on disk: everything that training knows about the world at one moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from features import arrays
from features.declared import Declared
from features.options import Signal
from features.timelines import Timelines
from features.types import Bool, Float32, IdTable, Int8, Int16, Int32, UserItemMatrix

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SCHEMA_VERSION = 4


@dataclass(frozen=True)
class Devices:
    """The visitors whose events belong to a customer.

    ids: marked visitor ids        rows: (n,) int32, the customer's row among the persons
    """

    ids: IdTable
    rows: Int32

    def find(self, texts: Sequence[str]) -> Int32:
        """(len(texts),) the row of each visitor's customer, -1 for a visitor without one."""
        found = self.ids.indices(texts)
        if not len(self.rows):
            return found
        return np.where(found < 0, -1, self.rows[found]).astype(np.int32)


@dataclass(frozen=True)
class FeatureSet:
    """A built feature set, its arrays mapped from disk.

    consent:  (n_persons,) bool, may we use what we know of them?
    stages:   (n_persons,) int8, index into `lifecycle.STAGES`
    segments: (n_persons,) int16, index into the manifest's `segments`, -1: in none
    declared: what people told us, not yet decayed
    text:     (n_items, d) float32, the words of each item as a vector of length 1
    """

    directory: Path
    manifest: dict[str, Any]
    timelines: Timelines
    persons: IdTable
    devices: Devices
    items: IdTable
    consent: Bool
    stages: Int8
    segments: Int16
    declared: Declared
    text: Float32

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open what `build` wrote."""
        manifest = json.loads((directory / "manifest.json").read_text())

        def array(name: str) -> Any:
            return arrays.load_array(directory / f"{name}.npy")

        return cls(
            directory=directory,
            manifest=manifest,
            timelines=arrays.load(Timelines, directory / "timelines"),
            persons=arrays.load(IdTable, directory / "person_ids"),
            devices=arrays.load(Devices, directory / "devices"),
            items=arrays.load(IdTable, directory / "item_ids"),
            consent=array("consent"),
            stages=array("stages"),
            segments=array("segments"),
            declared=arrays.load(Declared, directory / "declared"),
            text=array("text"),
        )

    @property
    def digest(self) -> str:
        """What it was built from: the same inputs and config give the same digest."""
        return str(self.manifest["digest"])

    @property
    def as_of_us(self) -> int:
        """The moment it describes, microseconds since 1970 UTC."""
        return int(self.manifest["as_of_us"])

    def matrix(self, signals: dict[str, Signal]) -> UserItemMatrix:
        """The decayed interest of each person in each item at `as_of`, with the ids of both."""
        histories = self.timelines.histories(self.as_of_us, signals)
        return UserItemMatrix(histories.interest(), self.persons, self.items)

    def item_table(self) -> pd.DataFrame:
        """The catalogue in item order."""
        return self.table("items")

    def beside(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the events behind `timelines`, entry by entry."""
        import pyarrow.parquet as pq  # here: a serving worker does without

        found = pq.read_table(
            self.directory / "events.parquet", columns=[*columns, "item_index"],
            filters=[("signal", ">=", 0)],
        )  # fmt: skip
        if not np.array_equal(found["item_index"].to_numpy(), self.timelines.items):
            raise ValueError(f"{self.directory}: events and timelines differ; build it again")
        return found

    def table(self, name: str) -> pd.DataFrame:
        """items, categories, persons, contacts, events, links, popularity, repurchase, …"""
        import pandas as pd

        return pd.read_parquet(self.directory / f"{name}.parquet")
