"""What is known about each person at one moment: recency, frequency, value, favourites, habits.

Pure functions over Ibis tables. The meaning of every column is in `person_columns.PERSON_FEATURES`;
`features.online` says the same numbers of one person at request time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.engine import number
from features.online import DIGITS, DISCOUNTED, interest_rates
from features.options import Signal
from features.person_columns import PERSON_FEATURES
from features.types import DAY_US, HOUR_US
from features.zones import changes

if TYPE_CHECKING:
    from features.config import Shop

_PERSON = "person_index"
_COUNTS = ("events", "sessions", "items", "orders", "other_currency")  # 0 for who did nothing


def person_features(
    log: ir.Table, items: ir.Table, persons: ir.Table, as_of_us: int, signals: dict[str, Signal],
    shop: Shop, *, prices: ir.Table | None = None,
) -> ir.Table:  # fmt: skip
    """One row per person, also of those without events: person_index and PERSON_FEATURES.

    log:    coded events up to `as_of_us`        items: the catalogue
    prices: `reference_prices`, if they were kept; else they are computed here
    """
    if prices is None:
        prices = reference_prices(log, items, shop.currency)
    touched = _touched(log, as_of_us, signals)
    parts = (
        _activity(log, shop.currency),
        _orders(log),
        touched.group_by(_PERSON).agg(items=touched.count()),
        _discounts(log, prices),
        _favourite(touched, items, "category"),
        _favourite(touched, items, "brand"),
        _most(_channels(log), "channel", "preferred_channel"),
        _hours(log, shop.timezone, as_of_us),
    )
    joined = persons.select(_PERSON, "joined_us")
    for part in parts:
        joined = joined.left_join(part, _PERSON).drop(f"{_PERSON}_right")
    return _described(joined, as_of_us)


def reference_prices(log: ir.Table, items: ir.Table, currency: str) -> ir.Table:
    """What one piece costs when it is not reduced: item_index, currency, price (above 0).

    The list price; where there is none in a currency, the median price at which the item was had.
    A list price without a currency is in the shop's `currency`.
    """
    listed = items.filter(items.list_price > 0)
    listed = listed.select(
        "item_index", currency=ibis.coalesce(listed.currency, currency), price="list_price"
    )
    sold = _sold(log).anti_join(listed, ["item_index", "currency"])
    usual = sold.group_by(["item_index", "currency"]).agg(price=sold.unit.median())
    return ibis.union(listed, usual)


def local_hour(occurred_us: ir.IntegerValue, zone: str, as_of_us: int) -> ir.IntegerValue:
    """Hour of the day, 0 to 23, on the clocks of `zone`, of moments up to `as_of_us`.

    Whole numbers only: engines agree neither on zones nor on what a timestamp is.
    """
    (_, first), *later = changes(zone)
    newest_first = [  # logs are young: most rows stop at the first branches
        (occurred_us >= start, ibis.literal(offset, "int64"))
        for start, offset in reversed(later) if start <= as_of_us
    ]  # fmt: skip
    offset = ibis.literal(first, "int64")
    if newest_first:
        offset = ibis.cases(*newest_first, else_=offset)
    hours = ((occurred_us + offset) // HOUR_US).cast("int64")
    hour: ir.IntegerValue = (hours % 24 + 24) % 24  # SQL keeps the sign of what is before 1970
    return hour


def people_columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    """Columns as stages, rules and segments want them: an unknown number is NaN, a text None."""
    return {name: _as_array(table[name].combine_chunks()) for name in table.column_names}


def _as_array(column: pa.Array) -> NDArray[Any]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        coded = column.dictionary_encode()  # few distinct texts: one object for each
        texts = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
        found: NDArray[Any] = texts[np.asarray(coded.indices.fill_null(len(texts) - 1))]
        return found
    numbers = column if pa.types.is_boolean(column.type) else column.cast(pa.float64())
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _activity(log: ir.Table, currency: str) -> ir.Table:
    """Events, sessions and value. Sessions are numbered from 0 without gaps: none is looked for."""
    paid = log.had & log.value.notnull()
    ours = paid & (log.currency == currency)
    return log.group_by(_PERSON).agg(
        events=log.count(),
        sessions=log.session.max().cast("int64") + 1,
        first_us=log.occurred_us.min(),
        last_us=log.occurred_us.max(),
        value=ibis.ifelse(ours, log.value, ibis.null("float64")).sum(),
        other_currency=(paid & ~ours).cast("int64").sum(),
    )


def _orders(log: ir.Table) -> ir.Table:
    had = log.filter(log.had)
    orders = had.group_by([_PERSON, "session"]).agg(order_us=had.occurred_us.min())
    return orders.group_by(_PERSON).agg(
        orders=orders.count(),
        first_order_us=orders.order_us.min(),
        last_order_us=orders.order_us.max(),
    )


def _sold(log: ir.Table) -> ir.Table:
    """person_index, item_index, currency, unit: the price of one piece, where it is known."""
    sold = log.filter(log.had & (log.value > 0))
    unit = sold.value / ibis.coalesce(sold.quantity, number(1)).nullif(number(0))
    return sold.select(_PERSON, "item_index", "currency", unit=unit)


def _discounts(log: ir.Table, prices: ir.Table) -> ir.Table:
    compared = _sold(log).join(prices, ["item_index", "currency"])
    low = (compared.unit / compared.price).round(DIGITS) <= number(DISCOUNTED)
    return compared.group_by(_PERSON).agg(share_discounted=low.cast("float64").mean())


def _touched(log: ir.Table, as_of_us: int, signals: dict[str, Signal]) -> ir.Table:
    """person_index, item_index, amount: the interest of each person in each item they touched."""
    caps = {place: s.cap for place, s in enumerate(signals.values()) if s.cap and s.weight > 0}
    amount = _interest(log, as_of_us, signals)
    if caps:
        amount = ibis.ifelse(_over_cap(log, caps), number(0), amount)
    weighed = log.select(_PERSON, "item_index", amount=amount)
    return weighed.group_by([_PERSON, "item_index"]).agg(amount=weighed.amount.sum())


def _interest(log: ir.Table, as_of_us: int, signals: dict[str, Signal]) -> ir.FloatingValue:
    """What each event says of interest: weights above 0, halved every half-life."""
    age = _not_negative((ibis.literal(as_of_us, "int64") - log.occurred_us).cast("float64"))
    branches = []
    for place, (weight, halvings) in enumerate(interest_rates(signals)):
        if weight > 0:
            faded = (age * number(-halvings * math.log(2) / DAY_US)).exp() * number(weight)
            branches.append((log.signal == place, faded if halvings else number(weight)))
    return ibis.cases(*branches, else_=number(0))


def _over_cap(log: ir.Table, caps: dict[int, int]) -> ir.BooleanValue:
    """Whether a person has as many newer events of the signal on the item as count."""
    newest = ibis.window(
        group_by=[_PERSON, "item_index", "signal"],
        order_by=[ibis.desc("occurred_us"), ibis.desc("row")],
    )
    cap = ibis.cases(*((log.signal == place, most) for place, most in caps.items()), else_=None)
    return ibis.coalesce(ibis.row_number().over(newest) >= cap, False)


def _favourite(touched: ir.Table, items: ir.Table, column: str) -> ir.Table:
    """The category or brand of most interest.

    Until the last step numbers in the order of the texts stand for them: less to group and to keep.
    """
    known = items.filter(items[column].notnull())
    rank = ibis.dense_rank().over(ibis.window(order_by=known[column].asc()))
    known = known.select("item_index", column, code=rank)
    liked = touched.filter(touched.amount > 0).join(known.drop(column), "item_index")
    summed = liked.group_by([_PERSON, "code"]).agg(amount=liked.amount.sum())
    names = known.select("code", column).distinct()
    best = _most(summed, "code", "favourite").join(names, [("favourite", "code")])
    return best.select(_PERSON, **{f"favourite_{column}": column,
                                   f"favourite_{column}_share": "favourite_share"})  # fmt: skip


def _channels(log: ir.Table) -> ir.Table:
    known = log.filter(log.channel.notnull())
    return known.group_by([_PERSON, "channel"]).agg(amount=known.count().cast("float64"))


def _hours(log: ir.Table, zone: str, as_of_us: int) -> ir.Table:
    """The hour with most events, of equals the earlier: both in one number, the greatest of all."""
    hours = log.select(_PERSON, hour=local_hour(log.occurred_us, zone, as_of_us))
    counted = hours.group_by([_PERSON, "hour"]).agg(events=hours.count())
    place = (counted.events * 24 + (23 - counted.hour)).max()
    return counted.group_by(_PERSON).agg(preferred_hour=23 - place % 24)


def _most(amounts: ir.Table, column: str, name: str) -> ir.Table:
    """Per person the `column` with most of `amount`, of equals the first, and its share."""
    sums = amounts.group_by(_PERSON).agg(most=amounts.amount.max(), total=amounts.amount.sum())
    joined = amounts.join(sums, _PERSON)
    best = joined.filter((joined.amount / joined.most).round(DIGITS) >= number(1))
    share = (best.most / best.total).max()
    return best.group_by(_PERSON).agg(**{name: best[column].min(), f"{name}_share": share})


def _described(joined: ir.Table, as_of_us: int) -> ir.Table:
    """The columns of PERSON_FEATURES out of what was counted."""
    moment = ibis.literal(as_of_us, "int64")
    zero = {name: ibis.coalesce(joined[name], 0) for name in _COUNTS}
    gaps = (joined.orders - 1).nullif(0).cast("float64")
    begun = ibis.least(
        ibis.coalesce(joined.first_us, joined.joined_us),
        ibis.coalesce(joined.joined_us, joined.first_us),
    )
    described = joined.mutate(
        **zero,
        recency_days=_days(moment - joined.last_us),
        days_since_order=_days(moment - joined.last_order_us),
        days_between_orders=(
            (joined.last_order_us - joined.first_order_us).cast("float64") / gaps / number(DAY_US)
        ),
        value=ibis.coalesce(joined.value, number(0)),
        order_value=joined.value / joined.orders.nullif(0).cast("float64"),
        tenure_days=_days(moment - begun),
    )
    typed = {name: described[name].cast(one.type) for name, one in PERSON_FEATURES.items()}
    return described.select(_PERSON, **typed)


def _days(microseconds: ir.IntegerValue) -> ir.FloatingValue:
    return _not_negative(microseconds.cast("float64") / number(DAY_US))


def _not_negative(value: ir.FloatingValue) -> ir.FloatingValue:
    """A null stays null: of two engines' `greatest` each thinks its own of nulls."""
    return ibis.ifelse(value < number(0), number(0), value)
