"""What the blend looks at: per candidate the inputs' scores, the item, the person, and their fit.

One row per (query, item). The same code makes the rows that the blend learns from and those that it
scores, so nothing it has learned means something else when it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from features.live import Counters, Trails
from features.types import DAY_US, Float32, Float64, Int8, Int32, Int64, row_numbers
from training.item_facts import UNBORN
from training.rankers.base import Queries

MISSING = np.float32(-99)  # LightGBM's own way with NaN does not survive as a graph
DEPTH = 200  # places of each input that are told apart
_TOLERANCE = 1e-5  # scores this near are equal: the last bits differ between batches


@dataclass(frozen=True)
class ItemSide:
    """Items as they stand, as arrays by item index.

    counters: decayed interest, from the shortest half-life up
    live:     do they follow every event? Then what is wanted next counts more than what will be
    season:   (n_items,) float32, share of an item's interest that fell into this time of year
    category, branch, brands: (n_items,) int32, -1 unknown      kinds: (n_items,) int8
    log_price, price_relative: (n_items,) float32, NaN unknown
    born_us:  (n_items,) int64
    """

    counters: Counters
    season: Float32
    category: Int32
    branch: Int32
    brands: Int32
    kinds: Int8
    log_price: Float32
    price_relative: Float32
    born_us: Int64
    live: bool = False

    def follower(self, n_items: int) -> ItemSide:
        """A copy that follows events, with room for new items of which nothing is known yet."""
        more = n_items - len(self.kinds)
        none, nan = np.full(more, -1, np.int32), np.full(more, np.nan, np.float32)
        return ItemSide(
            self.counters.grown(n_items),
            np.append(self.season, nan),
            np.append(self.category, none),
            np.append(self.branch, none),
            np.append(self.brands, none),
            np.append(self.kinds, np.zeros(more, np.int8)),
            np.append(self.log_price, nan),
            np.append(self.price_relative, nan),
            np.append(self.born_us, np.full(more, UNBORN)),
            live=True,
        )

    def observe(self, trails: Trails) -> None:
        """Count new events; an item of unknown age is as old as its first one."""
        new = trails.fresh
        self.counters.add(trails.items[new], trails.weights[new], trails.occurred_us[new])
        unborn = new & (self.born_us[trails.items] == UNBORN)
        np.minimum.at(self.born_us, trails.items[unborn], trails.occurred_us[unborn])

    @cached_property
    def groups(self) -> list[sp.csr_matrix]:
        """Items by category, branch and brand: (n_items, n_groups) with a 1 each, where known."""
        found = []
        for codes in (self.category, self.branch, self.brands):
            known = codes >= 0
            indptr = np.concatenate([[0], np.cumsum(known)])
            ones = np.ones(int(indptr[-1]), dtype=np.float32)
            width = int(codes.max(initial=-1)) + 1
            found.append(sp.csr_matrix((ones, codes[known], indptr), shape=(len(codes), width)))
        return found


@dataclass(frozen=True)
class Scored:
    """One input's scores of the whole catalogue, and the places that they amount to.

    scores: (n, n_items) float32, NaN no opinion        best: (n, d) float32, highest first
    """

    scores: Float32
    best: Float32

    @classmethod
    def of(cls, scores: Float32) -> Scored:
        """Sort the best of each row."""
        known = np.where(np.isnan(scores), -np.inf, scores)
        depth = min(DEPTH, scores.shape[1])
        top = -np.partition(-known, depth - 1, axis=1)[:, :depth]
        return cls(scores, -np.sort(-top, axis=1))

    def columns(self, rows: Int64, items: Int32) -> list[Float32]:
        """Score, distance to the best in units of the best few's spread, and place."""
        own = self.scores[rows, items]
        first = self.best[:, 0]
        last = np.where(np.isfinite(self.best), self.best, np.inf).min(axis=1)
        with np.errstate(invalid="ignore"):
            spread = np.maximum(first - last, 1e-9)
            gap = np.clip((own - first[rows]) / spread[rows], -5, 0)
        place = np.full(len(rows), DEPTH + 1, dtype=np.float32)
        near = _TOLERANCE * np.abs(np.where(np.isfinite(first), first, 0))
        bounds = np.searchsorted(rows, np.arange(len(self.scores) + 1))
        for row in np.unique(rows).tolist():
            here = slice(bounds[row], bounds[row + 1])
            place[here] = np.searchsorted(-self.best[row], -(own[here] + near[row])) + 1
        place[np.isnan(own)] = DEPTH + 1
        return [_filled(own), _filled(gap), place]


WINDOWS_DAYS = (0.02, 0.125, 1.0, 7.0, 30.0, 365.0)  # half-lives of the counters


def names(inputs: Sequence[str]) -> list[str]:
    """The columns of `rows_of`, in their order."""
    scored = [f"{name}: {what}" for name in inputs for what in ("score", "gap", "place")]
    windows = [f"interest, halved in {days:g} days" for days in WINDOWS_DAYS]
    return [*scored, *windows, *_ITEM, *_PERSON, *_BOTH, SHOWN_AT]


_ITEM = ["live", "rise", "season", "age", "kind", "price", "price against its like"]
_PERSON = ["events", "items", "items per event", "days since", "days known", "in session", "stage",
           "usual price"]  # fmt: skip
_BOTH = ["times before", "days since this", "in this session", "share of category",
         "share of branch", "share of brand", "price fit"]  # fmt: skip
# What stands high is clicked more, whatever it is; the trees learn how much from what was shown.
# All that is scored has MISSING here, which lies below 1: as if all stood in the first place.
SHOWN_AT = "shown at place"


def rows_of(
    queries: Queries, scored: Sequence[Scored], side: ItemSide, rows: Int64, items: Int32,
    places: Float32 | None = None,
) -> Float32:  # fmt: skip
    """(m, p) float32, p = len(names(inputs)), without NaN.

    rows:   (m,) query of each candidate, ascending        items: (m,) its item
    places: (m,) where it stood when it was shown, from 1; None: all alike, as when serving
    """
    about = _About(queries, side)
    columns = [column for one in scored for column in one.columns(rows, items)]
    columns += _item_columns(queries, side, rows, items)
    columns += [_filled(column)[rows] for column in about.person()]
    columns += [_filled(column) for column in about.fit(rows, items)]
    columns.append(np.full(len(rows), MISSING) if places is None else _filled(places))
    return np.stack([column.astype(np.float32) for column in columns], axis=1)


def _item_columns(queries: Queries, side: ItemSide, rows: Int64, items: Int32) -> list[Float32]:
    counters = side.counters
    # counters that take no events in say what was wanted when they stood still, not nothing
    stopped = max(counters.landmark_us, int(counters.newest_us[0]))
    read_us = queries.now_us if side.live else np.minimum(queries.now_us, stopped)
    passed = (read_us[rows] - counters.landmark_us) / DAY_US
    logs = counters.sums[:, items] - passed / counters.half_life_days[:, None]
    counts = np.log1p(np.exp2(logs))
    live = np.full(len(rows), float(side.live))
    age = np.maximum(queries.now_us[rows] - side.born_us[items], 0) / DAY_US
    age = np.where(side.born_us[items] > queries.now_us[rows], np.nan, age)
    rise = counts[0] - counts[-1]
    kinds = side.kinds[items].astype(np.float32)
    found = [*counts, live, rise, side.season[items], np.log1p(age), kinds,
             side.log_price[items], side.price_relative[items]]  # fmt: skip
    return [_filled(column) for column in found]


@dataclass(frozen=True)
class _About:
    """What the queries' histories say, once per batch."""

    queries: Queries
    side: ItemSide

    @cached_property
    def row(self) -> Int64:
        return row_numbers(self.queries.histories.indptr)

    @cached_property
    def interest(self) -> sp.csr_matrix:
        return self.queries.histories.interest()

    @cached_property
    def usual_price(self) -> Float64:
        """(n,) log price that a person's interest is at, on average; NaN unknown."""
        known = ~np.isnan(self.side.log_price)
        prices = np.where(known, self.side.log_price, 0)
        weight = self.interest @ known.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(weight > 0, (self.interest @ prices) / weight, np.nan)

    def person(self) -> list[Float64]:
        """(n,) columns, as in _PERSON."""
        history, n = self.queries.histories, len(self.queries)
        events = np.diff(history.indptr).astype(np.float64)
        different = np.diff(self.interest.indptr).astype(np.float64)
        last, first = np.full(n, np.nan), np.full(n, np.nan)
        some = events > 0
        last[some] = history.ages_days[history.indptr[1:][some] - 1]
        first[some] = history.ages_days[history.indptr[:-1][some]]
        with np.errstate(invalid="ignore", divide="ignore"):
            per_event = np.where(some, different / events, np.nan)
        session = np.maximum(events - self.queries.session_start, 0)
        return [
            np.log1p(events), np.log1p(different), per_event, np.log1p(last), np.log1p(first),
            session, self.queries.stage.astype(np.float64), self.usual_price,
        ]  # fmt: skip

    def fit(self, rows: Int64, items: Int32) -> list[Float64]:
        """(m,) columns, as in _BOTH."""
        found = [*self._before(rows, items)]
        total = np.maximum(np.asarray(self.interest.sum(axis=1)).ravel(), 1e-9)
        codes = (self.side.category, self.side.branch, self.side.brands)
        for group, code in zip(self.side.groups, codes, strict=True):
            own, known = code[items], code[items] >= 0
            share = np.full(len(items), np.nan)
            if known.any():
                sums = sp.csr_matrix(self.interest @ group)
                share[known] = np.asarray(sums[rows[known], own[known]]).ravel()
                share[known] /= total[rows[known]]
            found.append(share)
        found.append(np.abs(self.side.log_price[items] - self.usual_price[rows]))
        return found

    def _before(self, rows: Int64, items: Int32) -> list[Float64]:
        """How often the person had to do with the item, when last, and whether just now."""
        history = self.queries.histories
        if not history.items.size:
            return [np.zeros(len(rows)), np.full(len(rows), np.nan), np.zeros(len(rows))]
        keys = self.row * history.n_items + history.items
        different, newest, times = np.unique(keys[::-1], return_index=True, return_counts=True)
        newest = keys.size - 1 - newest  # entries are in time order: the last is the newest
        wanted = rows * history.n_items + items
        place = np.minimum(np.searchsorted(different, wanted), different.size - 1)
        there = different[place] == wanted
        entry = newest[place]
        offset = entry - history.indptr[self.row[entry]]
        session = offset >= self.queries.session_start[self.row[entry]]
        return [
            np.where(there, np.log1p(times[place]), 0),
            np.where(there, np.log1p(history.ages_days[entry]), np.nan),
            (there & session).astype(np.float64),
        ]


def _filled(column: Float32 | Float64) -> Float32:
    found: Float32 = np.where(np.isfinite(column), column, MISSING).astype(np.float32)
    return found
