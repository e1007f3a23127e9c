"""What build and serving compute by the same rule: for a whole log, and for one who asks now.

NumPy only. The numbers of one person are those that `features.person_features` says of everybody; a
test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from features.options import Signal
from features.person_columns import RULE_COLUMNS
from features.types import DAY_US, Bool, Float32, Float64, Int8, Int32, Int64
from features.zones import local_hours

if TYPE_CHECKING:
    from features.config import Shop

DISCOUNTED = 0.95  # of the reference price, or less
DIGITS = 9  # what agrees in so many is equal: the last bits of a sum differ between engines
Known = int | float | str | None


def ages_in_days(occurred_us: Int64, as_of_us: Int64 | int) -> Float32:
    """Age of each event at `as_of_us` (of all, or of each), in days, never below 0."""
    return np.maximum((as_of_us - occurred_us) / DAY_US, 0).astype(np.float32)


def decayed(signal: Int8, age_days: Float32, signals: dict[str, Signal]) -> Float32:
    """Signal weight, halved every half-life; a weight below 0 does not fade: it blocks.

    signal: (m,) index into `signals`, in their order        age_days: (m,)
    """
    weight, rate = signal_rates(signals.values())
    faded: Float32 = weight[signal] * np.exp2(-age_days * rate[signal])
    return faded


def signal_rates(signals: Iterable[Signal]) -> tuple[Float32, Float32]:
    """Weight of each signal, and how often it halves in a day."""
    rows = [(s.weight, 1 / s.half_life_days if s.half_life_days and s.weight > 0 else 0.0)
            for s in signals]  # fmt: skip
    table = np.array(rows, dtype=np.float32)
    return table[:, 0].copy(), table[:, 1].copy()


@dataclass(frozen=True)
class Labels:
    """A text per item, such as its category, as a number.

    codes: (n_items,) int32, index into `names`, -1 unknown        names: (k,) texts, sorted
    """

    codes: Int32
    names: NDArray[np.str_]

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> Self:
        """Build from one text per item; None: unknown."""
        known = np.array([text is not None for text in texts], dtype=bool)
        names, found = np.unique([text for text in texts if text is not None], return_inverse=True)
        codes = np.full(len(texts), -1, dtype=np.int32)
        codes[known] = found
        return cls(codes, names.astype(np.str_))


@dataclass(frozen=True)
class ReferencePrices:
    """What an item costs when it is not reduced, by item and currency.

    currencies: (k,) texts, sorted        keys: (m,) int64, item * k + currency, ascending
    prices:     (m,) float64, for one piece, above 0
    """

    currencies: NDArray[np.str_]
    keys: Int64
    prices: Float64

    @classmethod
    def of(cls, items: Int32, currencies: Sequence[str], prices: Float64) -> Self:
        """Build from the rows of `person_features.reference_prices`, in any order."""
        names, codes = np.unique(np.asarray(currencies, dtype=np.str_), return_inverse=True)
        keys = items.astype(np.int64) * len(names) + codes
        order = np.argsort(keys)
        return cls(names, keys[order], prices[order])

    def find(self, items: Int32, currencies: NDArray[Any]) -> Float64:
        """(m,) the price of each item in the currency beside it, NaN where there is none."""
        found = np.full(len(items), np.nan)
        for code in np.flatnonzero(np.isin(self.currencies, currencies.astype(np.str_))):
            rows = np.flatnonzero(currencies == self.currencies[code])
            wanted = items[rows].astype(np.int64) * len(self.currencies) + code
            places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            found[rows] = np.where(self.keys[places] == wanted, self.prices[places], np.nan)
        return found


@dataclass(frozen=True)
class CatalogueFacts:
    """What the numbers of a person need to know about items."""

    categories: Labels
    brands: Labels
    prices: ReferencePrices


@dataclass(frozen=True)
class PersonEvents:
    """What one person did until now, in time order: columns of the log, each (m,).

    items: int32    signals: int8, -1 none    had: bool, the person has the item since
    occurred_us: int64    sessions: int32, from 0 without gaps    channels: texts, None unknown
    values, quantities: float64, NaN unknown    currencies: texts
    """

    items: Int32
    signals: Int8
    had: Bool
    occurred_us: Int64
    sessions: Int32
    channels: NDArray[np.object_]
    values: Float64
    quantities: Float64
    currencies: NDArray[np.object_]


def features_of(
    events: PersonEvents, facts: CatalogueFacts, as_of_us: int, signals: dict[str, Signal],
    shop: Shop, *, joined_us: int | None = None,
) -> dict[str, Known]:  # fmt: skip
    """The numbers of one person at `as_of_us`: PERSON_FEATURES, in their order; None: unknown.

    joined_us: when the person became a customer, if that is known
    """
    orders = _orders(events, as_of_us)
    begun = [us for us in (joined_us, *events.occurred_us[:1].tolist()) if us is not None]
    return {
        **_activity(events, as_of_us),
        **orders,
        **_money(events, facts.prices, orders["orders"], shop.currency),
        **_favourites(events, facts, interest(events, as_of_us, signals)),
        **_habits(events, shop.timezone),
        "tenure_days": _days(min(begun), as_of_us) if begun else None,
    }


def as_columns(person: Mapping[str, Known]) -> dict[str, NDArray[Any]]:
    """One person as arrays of length 1, as stages, rules and segments want them.

    person: what `features_of` found, and whatever else RULE_COLUMNS names
    """
    dtypes = {"number": np.float64, "truth": np.bool_}
    return {
        name: np.array([value], dtype=dtypes.get(str(RULE_COLUMNS[name]), object))
        for name, value in person.items()
    }


def interest(events: PersonEvents, as_of_us: int, signals: dict[str, Signal]) -> Float64:
    """(m,) what each event says of interest: weights above 0, faded, within the signals' caps."""
    table = np.array([*interest_rates(signals), (0.0, 0.0)])  # the last: no signal, which is -1
    ages = np.maximum((as_of_us - events.occurred_us) / DAY_US, 0)
    amounts: Float64 = table[events.signals, 0] * np.exp2(-ages * table[events.signals, 1])
    caps = np.array([*(s.cap or 0 for s in signals.values()), 0])[events.signals]  # 0: none
    if caps.any():
        piles = events.items.astype(np.int64) * (len(signals) + 1) + events.signals
        amounts[(caps > 0) & (newer_in_pile(piles) >= caps)] = 0
    return amounts


def interest_rates(signals: dict[str, Signal]) -> list[tuple[float, float]]:
    """Per signal its weight, 0 for one that blocks, and how often it halves in a day."""
    return [
        (max(s.weight, 0.0), 1 / s.half_life_days if s.half_life_days else 0.0)
        for s in signals.values()
    ]


def newer_in_pile(piles: Int64) -> Int64:
    """(m,) how many later entries have the same number in `piles` (m,)."""
    order = np.argsort(piles, kind="stable")
    ends = np.searchsorted(piles[order], piles[order], side="right")
    newer = np.empty(len(piles), dtype=np.int64)
    newer[order] = ends - np.arange(len(piles)) - 1
    return newer


def _activity(events: PersonEvents, as_of_us: int) -> dict[str, Known]:
    times = events.occurred_us
    first, last = (int(times[0]), int(times[-1])) if len(times) else (None, None)
    return {
        "first_us": first,
        "last_us": last,
        "recency_days": None if last is None else _days(last, as_of_us),
        "events": len(times),
        "sessions": int(events.sessions.max(initial=-1)) + 1,
        "items": len(np.unique(events.items)),
    }


def _orders(events: PersonEvents, as_of_us: int) -> dict[str, Known]:
    _, begins = np.unique(events.sessions[events.had], return_index=True)
    times = events.occurred_us[events.had][begins]
    orders = len(times)
    first, last = (int(times.min()), int(times.max())) if orders else (None, None)
    return {
        "orders": orders,
        "first_order_us": first,
        "last_order_us": last,
        "days_since_order": None if last is None else _days(last, as_of_us),
        "days_between_orders": (
            (last - first) / (orders - 1) / DAY_US if first is not None and last is not None
            and orders > 1 else None
        ),
    }  # fmt: skip


def _money(
    events: PersonEvents, prices: ReferencePrices, orders: Known, currency: str
) -> dict[str, Known]:
    paid = events.had & ~np.isnan(events.values)
    ours = paid & (events.currencies == currency)
    value = float(events.values[ours].sum())
    sold = events.had & (events.values > 0)
    quantities = np.where(np.isnan(events.quantities), 1.0, events.quantities)[sold]
    unit = events.values[sold] / quantities
    share = unit / prices.find(events.items[sold], events.currencies[sold])
    share = share[~np.isnan(share)]
    return {
        "value": value,
        "other_currency": int((paid & ~ours).sum()),
        "order_value": value / float(orders) if ours.any() and orders else None,
        "share_discounted": (
            float((share.round(DIGITS) <= DISCOUNTED).mean()) if len(share) else None
        ),
    }


def _favourites(events: PersonEvents, facts: CatalogueFacts, amounts: Float64) -> dict[str, Known]:
    found: dict[str, Known] = {}
    for name, labels in {"category": facts.categories, "brand": facts.brands}.items():
        codes = labels.codes[events.items]
        best, share = _most(codes, amounts * (codes >= 0))
        found[f"favourite_{name}"] = None if best is None else str(labels.names[best])
        found[f"favourite_{name}_share"] = share
    return found


def _habits(events: PersonEvents, zone: str) -> dict[str, Known]:
    known = np.array([channel is not None for channel in events.channels], dtype=bool)
    channel, share = _most(events.channels[known], np.ones(known.sum()))
    hours = local_hours(events.occurred_us, zone)
    hour, _ = _most(hours, np.ones(len(hours)))
    return {
        "preferred_channel": channel,
        "preferred_channel_share": share,
        "preferred_hour": hour,
    }


def _most(labels: NDArray[Any], amounts: Float64) -> tuple[Any, float | None]:
    """The label with most of `amounts`, of equals the first, and its share; None without any."""
    there = amounts > 0
    if not there.any():
        return None, None
    names, places = np.unique(labels[there], return_inverse=True)
    sums = np.bincount(places, amounts[there])
    best = np.flatnonzero((sums / sums.max()).round(DIGITS) >= 1)[0]
    return names.tolist()[best], float(sums.max() / sums.sum())


def _days(since_us: int, as_of_us: int) -> float:
    return max((as_of_us - since_us) / DAY_US, 0.0)
