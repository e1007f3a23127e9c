"""One feature set on disk: everything that training knows about the world at one moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from features import arrays
from features.options import Signal
from features.timelines import Timelines
from features.types import Bool, IdTable, UserItemMatrix

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class FeatureSet:
    """A built feature set, its arrays mapped from disk.

    consent: (n_persons,) bool, may we use what we know of them?
    """

    directory: Path
    manifest: dict[str, Any]
    timelines: Timelines
    persons: IdTable
    items: IdTable
    consent: Bool

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open what `build` wrote."""
        manifest = json.loads((directory / "manifest.json").read_text())
        return cls(
            directory,
            manifest,
            arrays.load(Timelines, directory / "timelines"),
            arrays.load(IdTable, directory / "person_ids"),
            arrays.load(IdTable, directory / "item_ids"),
            np.load(directory / "consent.npy", mmap_mode="r"),
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
        import pandas as pd

        return pd.read_parquet(self.directory / "items.parquet")
