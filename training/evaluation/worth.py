"""What events were worth: money where the log has any, else seconds of reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from features.types import DAY_US, Float64, gather
from training.evaluation import metrics
from training.evaluation.protocol import Priced, Task
from training.policy import kept_away

if TYPE_CHECKING:
    from features.config import Config
    from features.feature_set import FeatureSet

SECONDS = "seconds"


@dataclass(frozen=True)
class Worth:
    """(m,) float64 of the entries of the timelines, NaN where an event is worth nothing.

    unit: the shop's currency, or seconds
    """

    values: Float64
    unit: str

    @classmethod
    def of(cls, features: FeatureSet, config: Config) -> Worth | None:
        """The money of orders (`had: true`) in the shop's currency; if none has any, seconds.

        None where no event has either.
        """
        table = features.beside(["value", "currency", "duration_seconds"])
        signals = features.timelines.signals
        home = table["currency"].fill_null(config.shop.currency).to_numpy() == config.shop.currency
        orders = np.array(config.had_signals(), dtype=np.bool_)[signals]
        liked = np.array([s.weight > 0 for s in config.signals.values()])[signals]
        for column, counts, unit in (
            ("value", orders & home, config.shop.currency), ("duration_seconds", liked, SECONDS)
        ):  # fmt: skip
            values = table[column].to_numpy().astype(np.float64)
            values = np.where(counts & (values > 0), values, np.nan)
            if not np.isnan(values).all():
                return cls(values, unit)
        return None

    def priced(self, task: Task, features: FeatureSet, asked_us: int, until_us: int) -> Priced:
        """What the people of `task` were worth from `asked_us` on and before `until_us`.

        What the terms of the task keep away is left out, as it is of its truth.
        """
        log = features.timelines
        _, entries = gather(log.indptr, task.rows)
        days = (until_us - asked_us) / DAY_US
        own = log.take(task.rows)
        found = Priced(*metrics.value_after(own, self.values[entries], asked_us, days))
        return found.minus(kept_away(task.people, task.terms))
