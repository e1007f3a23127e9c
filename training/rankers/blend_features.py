"""What the blend looks at: per candidate the inputs' scores, the item, the person, and their fit.

One row per (query, item). The same code makes the rows that the blend learns from and those that it
scores, so nothing it has learned means something else when it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.live import Counters, Trails
from features.types import DAY_US, Float32, Float64, Int8, Int32, Int64, row_numbers, summed
from training.item_facts import UNBORN
from training.rankers.base import Queries
from training.rankers.opinion import Few, Opinion, Whole
from training.rankers.sparse import sums_at

MISSING = np.float32(-99)  # LightGBM's own way with NaN does not survive as a graph
DEPTH = 200  # places of each input that are told apart
UNKNOWN = np.float32(-1)  # popularity's score of what nobody knows anything of
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


@dataclass(frozen=True)
class Scored:
    """What one input says to each query, and the places that it amounts to. opinions: n of them."""

    opinions: Sequence[Opinion]

    @classmethod
    def of(cls, scores: Float32) -> Scored:
        """From scores of the whole catalogue, (n, n_items) float32, NaN no opinion."""
        return cls([Whole(row) for row in scores])

    @classmethod
    def silent(cls, queries: int) -> Scored:
        """No opinion on anything."""
        return cls([Few.nothing()] * queries)

    def columns(self, rows: Int64, items: Int32) -> Float32:
        """(3, m) score, distance to the best in units of the best few's spread, and place."""
        if len(self.opinions) == 1:
            return _placed(self.opinions[0], items)
        found = np.full((3, len(rows)), np.nan, dtype=np.float32)
        bounds = np.searchsorted(rows, np.arange(len(self.opinions) + 1))
        for row in np.unique(rows).tolist():
            here = slice(bounds[row], bounds[row + 1])
            found[:, here] = _placed(self.opinions[row], items[here])
        return found


def _placed(opinion: Opinion, items: Int32) -> Float32:
    """`Scored.columns` of one query."""
    found = np.full((3, items.size), np.nan, dtype=np.float32)
    found[2] = DEPTH + 1
    best = opinion.best(DEPTH)
    best = best[best != UNKNOWN]  # a service's room for new items must not stretch the spread
    if not best.size:
        return found
    own = opinion.at(items)
    known = np.flatnonzero(own == own)  # not NaN
    own = own[known]
    spread = max(best[0] - best[-1], np.float32(1e-9))
    found[0, known] = own
    found[1, known] = np.minimum(np.maximum((own - best[0]) / spread, -5), 0)
    near = np.float32(_TOLERANCE) * abs(best[0])
    found[2, known] = np.searchsorted(-best, -(own + near)) + 1
    return found


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
    columns = np.concatenate([
        *(one.columns(rows, items) for one in scored),
        _item_columns(queries, side, rows, items),
        about.person()[:, rows],
        about.fit(rows, items),
        np.full((1, len(rows)), np.nan) if places is None else places[None],
    ], dtype=np.float32, casting="same_kind")  # fmt: skip
    columns[~np.isfinite(columns)] = MISSING
    return np.ascontiguousarray(columns.T)


def _item_columns(queries: Queries, side: ItemSide, rows: Int64, items: Int32) -> Float64:
    """(windows + len(_ITEM), m) what is true of the item, whoever asks."""
    counters, now_us, born_us = side.counters, queries.now_us[rows], side.born_us[items]
    # counters that take no events in say what was wanted when they stood still, not nothing
    stopped = max(counters.landmark_us, int(counters.newest_us[0]))
    read_us = now_us if side.live else np.minimum(now_us, stopped)
    passed = (read_us - counters.landmark_us) / DAY_US
    logs = counters.sums[:, items] - passed / counters.half_life_days[:, None]
    counts = np.log1p(np.exp2(logs))
    age = np.where(born_us > now_us, np.nan, np.log1p(np.maximum(now_us - born_us, 0) / DAY_US))
    rest = [
        np.full(len(rows), float(side.live)), counts[0] - counts[-1], side.season[items], age,
        side.kinds[items], side.log_price[items], side.price_relative[items],
    ]  # fmt: skip
    return np.concatenate([counts, rest])


@dataclass(frozen=True)
class _About:
    """What the queries' histories say, once per batch."""

    queries: Queries
    side: ItemSide

    @cached_property
    def row(self) -> Int64:
        """(m,) the query of every event."""
        return row_numbers(self.queries.histories.indptr)

    @cached_property
    def interest(self) -> tuple[Int64, Int32, Float32]:
        """(k,) query, item and how much, of all distinct items of interest."""
        own = self.queries.histories.by_item
        return row_numbers(own.indptr), own.indices, own.data

    @cached_property
    def usual_price(self) -> Float64:
        """(n,) log price that a person's interest is at, on average; NaN unknown."""
        rows, items, amounts = self.interest
        prices = self.side.log_price[items].astype(np.float64)
        known = ~np.isnan(prices)
        rows, amounts, prices = rows[known], amounts[known], prices[known]
        weight = np.bincount(rows, amounts, len(self.queries))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(rows, amounts * prices, len(self.queries)) / weight
        return np.where(weight > 0, mean, np.nan)

    def person(self) -> Float64:
        """(len(_PERSON), n) what is true of the person, whatever the item."""
        history, n = self.queries.histories, len(self.queries)
        events = np.diff(history.indptr).astype(np.float64)
        different = np.bincount(self.interest[0], minlength=n).astype(np.float64)
        last, first = np.full(n, np.nan), np.full(n, np.nan)
        some = events > 0
        last[some] = history.ages_days[history.indptr[1:][some] - 1]
        first[some] = history.ages_days[history.indptr[:-1][some]]
        per_event = np.divide(different, events, out=np.full(n, np.nan), where=some)
        session = np.maximum(events - self.queries.session_start, 0)
        return np.stack([
            np.log1p(events), np.log1p(different), per_event, np.log1p(last), np.log1p(first),
            session, self.queries.stage, self.usual_price,
        ])  # fmt: skip

    def fit(self, rows: Int64, items: Int32) -> Float64:
        """(len(_BOTH), m) what is true of person and item together."""
        codes = (self.side.category, self.side.branch, self.side.brands)
        price = np.abs(self.side.log_price[items] - self.usual_price[rows])
        shares = [self._share(one, rows, items) for one in codes]
        return np.stack([*self._before(rows, items), *shares, price])

    def _share(self, codes: Int32, rows: Int64, items: Int32) -> Float64:
        """(m,) how much of the person's interest is in items of the same code; NaN unknown."""
        of, liked, amounts = self.interest
        own, other = codes[items], codes[liked]
        width = int(max(own.max(initial=0), other.max(initial=0))) + 2
        sums = sums_at(of * width + other, amounts, rows * width + own)
        return np.where(own >= 0, sums / self.total[rows], np.nan)

    @cached_property
    def total(self) -> Float64:
        """(n,) a person's interest in everything."""
        of, _, amounts = self.interest
        return np.maximum(np.bincount(of, amounts, len(self.queries)), 1e-9)

    def _before(self, rows: Int64, items: Int32) -> list[Float64]:
        """How often the person had to do with the item, when last, and whether just now."""
        history = self.queries.histories
        if not history.items.size:
            return [np.zeros(len(rows)), np.full(len(rows), np.nan), np.zeros(len(rows))]
        keys = self.row * history.n_items + history.items
        order = np.argsort(keys, kind="stable")  # of each pair in time order: the last is newest
        different, times = summed(keys, np.ones(keys.size))
        newest = order[np.cumsum(times).astype(np.int64) - 1]
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
