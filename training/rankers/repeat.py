"""Repeat purchase: what a person buys again, and when it is due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.types import Bool, Float32, Float64, Histories, Int64, row_numbers
from training.rankers.base import Items, Queries, SparseRanker
from training.rankers.opinion import Few

ONE_VISIT_DAYS = 0.5  # purchases of an item that are closer than this are one
SHAPE = 1.0  # of the prior of a person's rate: as much as one repurchase says
EDGES = np.concatenate([np.zeros(1), 2.0 ** np.arange(-6, 3.1, 0.5)])  # of the bins of `due`


@dataclass(frozen=True)
class RepeatRanker(SparseRanker):
    """A Poisson-Gamma model with a due curve (after Bhagat et al. 2018, "Buy It Again").

    rates: (n_items,) float32, repurchases a day by who has the item
    due:   (b,) float32, how many times as many repurchases there are as the rate says, by bin of
           the time waited (`EDGES`): low right after a purchase, high around the usual interval
    had:   (n_signals,) bool, the person has the item after such an event

    A person's own rate of an item is Gamma distributed with mean `rates` before the first
    repurchase. k - 1 repurchases in E days make the mean (k - 1 + SHAPE) / (E + SHAPE / rate). The
    time waited since is measured by what this model expects of it, so that all items and people
    share one curve (`waited`). The paper bends the rate by a formula where we look at the log.
    """

    rates: Float32
    due: Float32
    had: Bool
    knows_strangers: ClassVar[bool] = False
    only_had: ClassVar[bool] = True

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """Repurchases to be expected a day; no opinion on what the person never had."""
        scores = np.full((len(queries), self.rates.size), np.nan, dtype=np.float32)
        pairs, expected = self._expected(queries.histories)
        scores[np.divmod(pairs, queries.histories.n_items)] = expected
        return scores if items is None else scores[:, items]

    def opinion(self, queries: Queries) -> Few:
        """As `score`."""
        items, expected = self._expected(queries.histories)
        return Few(items.astype(np.int32), expected.astype(np.float32))

    def _expected(self, histories: Histories) -> tuple[Int64, Float64]:
        """(m,) person * n_items + item, ascending, of all that people have; (m,) its score."""
        bought = purchases(histories, self.had)
        newest = np.flatnonzero(bought.newest)
        pairs, rates = bought.pairs[newest], self.rates[bought.pairs[newest] % histories.n_items]
        first, age = bought.first_days[newest], bought.age_days[newest]
        shape, days = posterior(bought.before[newest], first - age, rates)
        curve = np.interp(waited(shape, days, age), _MIDDLES, self.due)
        return pairs, shape / (days + age) * curve


@dataclass(frozen=True)
class Purchases:
    """What people got, by person and item and then in time order; each (m,).

    pairs:      int64, person * n_items + item
    age_days:   float64        first_days: float64, age of the first one of the pair
    before:     int64, earlier ones of the pair        newest: bool, the last one of the pair
    """

    pairs: Int64
    age_days: Float64
    first_days: Float64
    before: Int64
    newest: Bool


def purchases(histories: Histories, had: Bool) -> Purchases:
    """The events after which people have an item; several of one visit are one."""
    kept = np.flatnonzero(had[histories.signals])
    pairs = row_numbers(histories.indptr)[kept] * histories.n_items + histories.items[kept]
    order = np.argsort(pairs, kind="stable")  # each pair in time order, as histories are
    pairs, ages = pairs[order], histories.ages_days[kept[order]].astype(np.float64)
    fresh = np.ones(pairs.size, dtype=np.bool_)
    fresh[1:] = (pairs[1:] != pairs[:-1]) | (ages[:-1] - ages[1:] >= ONE_VISIT_DAYS)
    pairs, ages = pairs[fresh], ages[fresh]
    opens = np.flatnonzero(np.diff(pairs, prepend=-1))
    counts = np.diff(np.append(opens, pairs.size))
    before = np.arange(pairs.size) - np.repeat(opens, counts)
    newest = np.zeros(pairs.size, dtype=np.bool_)
    newest[opens + counts - 1] = True
    return Purchases(pairs, ages, np.repeat(ages[opens], counts), before, newest)


def posterior(before: Int64, days: Float64, rates: Float32) -> tuple[Float64, Float64]:
    """(m,) shape and (m,) days of the Gamma of a rate, after `before` repurchases in `days`."""
    return np.asarray(before + SHAPE), np.asarray(days + SHAPE / rates.astype(np.float64))


def waited(shape: Float64, days: Float64, since: Float64) -> Float64:
    """(m,) the time since the last purchase, as the repurchases the model expects of it.

    The integral of shape / (days + t) over t from 0 to `since`: if the model were true, it would be
    exponential with mean 1 at the next purchase (Daley & Vere-Jones 2003, sec. 7.4).
    """
    return np.asarray(shape * np.log1p(since / days))


_MIDDLES = np.append((EDGES[1:] + EDGES[:-1]) / 2, EDGES[-1])  # where the bins of `due` lie
