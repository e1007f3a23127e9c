"""Lifecycle stage: how a person stands to the shop. NumPy only: build and serving use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.options import Lifecycle
from features.types import Float64, Int8

STAGES = ("visitor", "new", "active", "loyal", "lapsing", "lapsed")
VISITOR, NEW, ACTIVE, LOYAL, LAPSING, LAPSED = range(len(STAGES))
RHYTHM_FLOOR = 0.25  # of the config's days: a quick rhythm makes nobody lapse sooner than that


def stage(people: Mapping[str, NDArray[Any]], options: Lifecycle) -> Int8:
    """(n,) index into STAGES of each person; the first row that fits decides.

    | stage   | who                                                                            |
    |---------|--------------------------------------------------------------------------------|
    | visitor | no customer, and no orders                                                     |
    | lapsed  | quiet for longer than `lapsed_after_days`, or than `lapsed_after_rhythms`      |
    | lapsing | quiet for longer than `lapsing_after_days`, or than `lapsing_after_rhythms`    |
    | loyal   | `loyal_min_orders` orders or more                                              |
    | new     | first order (no orders: first event or joining) within the last `new_days`     |
    | active  | everybody else                                                                 |

    Quiet is the time since the last order; without orders since the last event; without events
    since the joining. Of whom nothing is known at all is lapsed. Who has `rhythm_min_orders` is
    judged by the mean days between their own orders instead of the config's days, but never sooner
    than a quarter of these: four orders in one afternoon are no rhythm.

    people: (n,) arrays, NaN where unknown: orders, days_since_order, days_between_orders,
            recency_days, tenure_days (days), kind (texts: customer, visitor, session)
    """
    orders, tenure = people["orders"], people["tenure_days"]
    recency, since, between = (
        people[name] for name in ("recency_days", "days_since_order", "days_between_orders")
    )
    bought = orders > 0
    quiet = np.where(bought, since, np.where(np.isnan(recency), tenure, recency))
    quiet = np.where(np.isnan(quiet), np.inf, quiet)
    first = since + (orders - 1) * np.where(orders > 1, between, 0)  # days since the first order
    rhythm = np.where(orders >= options.rhythm_min_orders, between, np.nan)
    lapsing = _limit(rhythm * options.lapsing_after_rhythms, options.lapsing_after_days)
    lapsed = _limit(rhythm * options.lapsed_after_rhythms, options.lapsed_after_days)
    return np.select(
        [
            (people["kind"] != "customer") & ~bought,
            quiet > lapsed,
            quiet > lapsing,
            orders >= options.loyal_min_orders,
            np.where(bought, first, tenure) <= options.new_days,
        ],
        [VISITOR, LAPSED, LAPSING, LOYAL, NEW],
        ACTIVE,
    ).astype(np.int8)


def stage_names(stages: Int8) -> NDArray[np.object_]:
    """(n,) the stages as texts."""
    return np.array(STAGES, dtype=object)[stages]


def _limit(own: Float64, days: float) -> Float64:
    """From when on a person is quiet for too long: by their own rhythm, else by the config."""
    return np.where(np.isnan(own), days, np.maximum(own, days * RHYTHM_FLOOR))
