"""Items at the end of a past, as the blend looks at them."""

from __future__ import annotations

import numpy as np

from features.live import Counters, Trails
from features.types import DAY_US, Float32
from training.past import Past
from training.rankers.blend_features import WINDOWS_DAYS, ItemSide

_YEAR_US, _SEASON_US = int(365.25 * DAY_US), 15 * DAY_US


def item_side(past: Past) -> ItemSide:
    """What is known of every item at `past.as_of_us`."""
    trails = Trails.of(past.timelines, past.signals)
    counters = Counters.empty(np.array(WINDOWS_DAYS), past.timelines.n_items, past.as_of_us)
    counters.add(trails.items, trails.weights, trails.occurred_us)
    facts = past.items
    with np.errstate(divide="ignore", invalid="ignore"):
        log_price = np.where(facts.prices > 0, np.log(facts.prices), np.nan).astype(np.float32)
    return ItemSide(
        counters, _season(past), facts.category, facts.branch,
        facts.brands, facts.kinds, log_price, facts.price_relative, facts.born_us,
    )  # fmt: skip


def _season(past: Past) -> Float32:
    """(n_items,) share of an item's events that fell within 15 days of this day in earlier years.

    Over the share of all events that did: 1 is an item without a season; NaN in the first year.
    """
    log = past.timelines
    ago = past.as_of_us - log.occurred_us
    from_day = np.abs((ago + _YEAR_US // 2) % _YEAR_US - _YEAR_US // 2)
    then = (from_day <= _SEASON_US) & (ago > _YEAR_US // 2)
    if not then.any():
        return np.full(log.n_items, np.nan, dtype=np.float32)
    mine = np.bincount(log.items[then], minlength=log.n_items)
    all_mine = np.bincount(log.items, minlength=log.n_items)
    usual = then.mean()
    found: Float32 = ((mine + 1) / (all_mine * usual + 1)).astype(np.float32)
    return found
