"""Fit repeat purchase: how often items are bought again, and after how long a wait."""

from __future__ import annotations

import numpy as np

from features.home import Progress, silent
from features.options import had_signals
from features.training_options import RepeatOptions
from features.types import Float32, Float64
from training.fitting import CannotFit
from training.past import Past
from training.rankers.repeat import EDGES, Purchases, RepeatRanker, posterior, purchases, waited

_PRIOR_OF_CURVE = 100.0  # repurchases that would be as expected, in each bin of the due curve


def fit_repeat(past: Past, options: RepeatOptions, progress: Progress = silent) -> RepeatRanker:
    """Count repurchases and the days in which they could have been, item by item."""
    del progress
    had = np.array(had_signals(past.signals))
    bought = purchases(past.timelines.histories(past.as_of_us, past.signals), had)
    if bought.newest.all():
        raise CannotFit("repeat: nobody has bought anything again yet")
    until = _until(bought)
    rates = _rates(bought, until, past.timelines.n_items, options)
    return RepeatRanker(rates, _due(bought, until, rates), had)


def _until(bought: Purchases) -> Float64:
    """(m,) age of what ended the wait after each purchase: the next one, or now."""
    return np.where(bought.newest, 0, np.append(bought.age_days[1:], 0))


def _rates(bought: Purchases, until: Float64, n_items: int, options: RepeatOptions) -> Float32:
    """(n_items,) repurchases a day, leaning on the catalogue's where an item has few.

    What is old counts less: repurchases and days alike halve every half-life.
    """
    rate = np.log(2) / options.half_life_days
    began, ended = np.exp(-rate * bought.age_days), np.exp(-rate * until)
    items = bought.pairs % n_items
    again = np.bincount(items, np.where(bought.newest, 0, ended), minlength=n_items)
    days = np.bincount(items, (ended - began) / rate, minlength=n_items)
    everywhere = again.sum() / days.sum()
    return np.asarray((again + options.prior) / (days + options.prior / everywhere), np.float32)


def _due(bought: Purchases, until: Float64, rates: Float32) -> Float32:
    """(b,) repurchases by what was expected of them, by how much had been waited for."""
    items = bought.pairs % rates.size
    shape, days = posterior(bought.before, bought.first_days - bought.age_days, rates[items])
    wait = waited(shape, days, bought.age_days - until)
    bins = np.searchsorted(EDGES, wait, side="right") - 1
    found = np.bincount(bins[~bought.newest], minlength=EDGES.size)
    passed = np.cumsum(np.bincount(bins, minlength=EDGES.size)[::-1])[::-1][1:]  # whole bins
    expected = np.bincount(bins, wait - EDGES[bins], minlength=EDGES.size)
    expected[:-1] += passed * np.diff(EDGES)
    return ((found + _PRIOR_OF_CURVE) / (expected + _PRIOR_OF_CURVE)).astype(np.float32)
