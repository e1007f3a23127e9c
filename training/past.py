"""What a fit may look at: the world until one moment, and nothing after it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from features.options import Signal
from features.timelines import Timelines
from features.types import Bool, Int8, Int16, nothing
from training.item_facts import ItemFacts
from training.queries import Standing


@dataclass(frozen=True)
class Past:
    """The log until `as_of_us` (microseconds since 1970 UTC), and whom and what it is about.

    segments: (n_persons,) int16, as they stood at that moment, -1 in none
    stages:   (n_persons,) int8, index into STAGES, as they stood at that moment
    declared: (n_persons, n_categories) CSR float32, what they had told us, decayed to that moment
    """

    timelines: Timelines
    as_of_us: int
    signals: dict[str, Signal]
    items: ItemFacts
    segments: Int16
    stages: Int8
    declared: sp.csr_matrix
    n_segments: int = 0
    seed: int = 0
    device: str = "cpu"
    key: str = ""  # names this past among others of the home; empty: fits on it are not kept

    @classmethod
    def plain(
        cls, timelines: Timelines, as_of_us: int, signals: dict[str, Signal], items: ItemFacts,
        *, seed: int = 0, device: str = "cpu",
    ) -> Past:  # fmt: skip
        """People in no segment, who told us nothing."""
        n = len(timelines)
        return cls(
            timelines, as_of_us, signals, items, np.full(n, -1, np.int16), np.full(n, -1, np.int8),
            nothing(n, items.n_categories), seed=seed, device=device,
        )  # fmt: skip

    @property
    def standing(self) -> Standing:
        """What was known of people besides what they did."""
        return Standing(self.segments, self.stages, self.declared)

    @cached_property
    def interest(self) -> sp.csr_matrix:
        """(n_persons, n_items) CSR float32: decayed interest, above 0."""
        return self.timelines.histories(self.as_of_us, self.signals).interest()

    @cached_property
    def touched(self) -> Bool:
        """(n_items,) bool: has anybody any interest in the item?"""
        found = np.zeros(self.timelines.n_items, dtype=np.bool_)
        found[self.interest.indices] = True
        return found
