"""People features: one row per person, the numbers that a small log makes obvious."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import ibis
import numpy as np
import pyarrow as pa
import pytest

from features.config import Shop
from features.options import Signal
from features.person_columns import PERSON_FEATURES
from features.person_features import (
    local_hour,
    people_columns,
    person_features,
    reference_prices,
)
from features.types import DAY_US, HOUR_US, from_us, to_us
from features.zones import changes, local_hours, offset_us, transitions

AS_OF = to_us(datetime(2024, 7, 1, 12, tzinfo=UTC))
SIGNALS = {"view": Signal(weight=1, half_life_days=10), "buy": Signal(weight=4, had=True),
           "no": Signal(weight=-1)}  # fmt: skip
VIEW, BUY, NO = range(3)
LOG = {
    "row": "int64", "person_index": "int32", "item_index": "int32", "signal": "int8", "had": "bool",
    "occurred_us": "int64", "session": "int32", "channel": "string", "value": "float64",
    "currency": "string", "quantity": "float64",
}  # fmt: skip
ITEMS = {"item_index": "int32", "category": "string", "brand": "string", "list_price": "float64",
         "currency": "string"}  # fmt: skip
PERSONS = {"person_index": "int32", "joined_us": "int64"}
CATALOGUE = (  # item 4 is unknown but for its number
    {"category": "women/shoes", "brand": "Acme", "list_price": 10.0, "currency": "EUR"},
    {"category": "women/shoes", "brand": "Zeta", "list_price": 20.0, "currency": None},
    {"category": "men", "brand": "Acme"}, {"category": "men"}, {},
)  # fmt: skip


def table(schema, rows):
    full = [dict.fromkeys(schema) | row for row in rows]
    typed = ibis.schema(schema)
    return ibis.memtable(pa.Table.from_pylist(full, typed.to_pyarrow()), schema=typed)


def log_of(*rows):
    """Coded events of person 0 on item 0, 10 days ago, with what a row says changed."""
    usual = {"person_index": 0, "item_index": 0, "signal": VIEW, "occurred_us": ago(10),
             "session": 0, "currency": "EUR"}  # fmt: skip
    full = [usual | {"row": place, "had": row.get("signal") == BUY} | row
            for place, row in enumerate(rows)]  # fmt: skip
    return table(LOG, full)


def catalogue(items=CATALOGUE):
    return table(ITEMS, [{"item_index": place} | item for place, item in enumerate(items)])


def ago(days):
    return AS_OF - round(days * DAY_US)


def features(engine, people, *, joined=(), shop=None, signals=SIGNALS, **options):
    """The features of everybody; people: the rows of each."""
    rows = [row | {"person_index": n} for n, own in enumerate(people) for row in own]
    persons = table(PERSONS, [
        {"person_index": n, "joined_us": dict(enumerate(joined)).get(n)} for n in range(len(people))
    ])  # fmt: skip
    found = person_features(
        log_of(*rows), catalogue(), persons, AS_OF, signals, shop or Shop(), **options
    )
    return engine.to_pyarrow(found.order_by("person_index")).to_pylist()


def buy(days_ago=1, session=0, **changes):
    return {"signal": BUY, "occurred_us": ago(days_ago), "session": session, **changes}


def view(days_ago, **changes):
    return {"occurred_us": ago(days_ago), **changes}


def at(day, hour):
    return {"occurred_us": to_us(datetime(2024, 6, day, hour, 59, tzinfo=UTC))}


CASES = {  # what a person did (and when they joined), and what is then known
    "events, sessions and items are counted, whatever the type": (
        [view(10), view(9), view(4, session=1), view(4, session=1, item_index=2, signal=-1)], None,
        {"events": 4, "sessions": 2, "items": 2, "first_us": ago(10), "last_us": ago(4),
         "recency_days": 4},
    ),
    "an order is a session with something had, at its first such moment": (
        [view(20), buy(19.5), buy(19), buy(9.5, 1), view(1, session=2)], None,
        {"orders": 2, "first_order_us": ago(19.5), "last_order_us": ago(9.5),
         "days_since_order": 9.5, "days_between_orders": 10},
    ),
    "one order has no rhythm": ([buy(3)], None, {"orders": 1, "days_between_orders": None}),
    "days between orders are their mean": (
        [buy(30, 0), buy(29, 1), buy(10, 2)], None, {"days_between_orders": 10},
    ),
    "tenure is since the first event": ([view(10), view(1)], None, {"tenure_days": 10}),
    "or since the joining when that is earlier": ([view(10)], ago(40), {"tenure_days": 40}),
    "and not when it is later": ([view(10)], ago(2), {"tenure_days": 10}),
    "tenure of who did nothing is since the joining": ([], ago(40), {"tenure_days": 40}),
    "and never below zero": ([], ago(-5), {"tenure_days": 0}),
    "who did nothing is zeros and nulls": (
        [], None, dict.fromkeys(PERSON_FEATURES)
        | dict.fromkeys(("events", "sessions", "items", "orders", "other_currency", "value"), 0),
    ),
    "value is what was had in the currency of the shop": (
        [buy(9, 0, value=10.0), buy(8, 1, value=5.0), buy(7, 2), view(7, value=99.0),
         buy(6, 3, value=7.0, currency="GBP"), buy(6, 3, currency="GBP")], None,
        {"value": 15, "order_value": 3.75, "other_currency": 1},
    ),
    "the value of an order is unknown where no value is": (
        [buy(), buy(1, 1, value=5.0, currency="GBP")], None,
        {"value": 0, "order_value": None, "other_currency": 1},
    ),
    "95 % of the list price is discounted": ([buy(value=9.5)], None, {"share_discounted": 1}),
    "and more is not": ([buy(value=9.51)], None, {"share_discounted": 0}),
    "it is the price of one piece": ([buy(value=19.0, quantity=2.0)], None,
                                     {"share_discounted": 1}),
    "a list price without a currency is in the shop's": (
        [buy(value=18.0, item_index=1)], None, {"share_discounted": 1},
    ),
    "a price in another currency has the median of the log": (
        [buy(value=5.0, currency="GBP")], None, {"share_discounted": 0},
    ),
    "a price of nothing is none": ([buy(value=0.0)], None, {"share_discounted": None}),
    "what is not had is not bought at a discount": (
        [view(1, value=1.0)], None, {"share_discounted": None},
    ),
    "the share is of what has a known price": (
        [buy(value=5.0), buy(value=5.0), buy(value=10.0), buy()], None, {"share_discounted": 2 / 3},
    ),
    "favourites are by interest that fades": (  # a view halves in 10 days: 2 / 4 against 1
        [view(20), view(20), view(0, item_index=3)], None,
        {"favourite_category": "men", "favourite_category_share": 1 / 1.5},
    ),
    "signals have weights, and what is unknown or unwanted has none": (
        [buy(300, item_index=2), view(0, item_index=1), view(1, item_index=3, signal=NO),
         view(1, item_index=1, signal=-1), buy(item_index=4)], None,
        {"favourite_category": "men", "favourite_category_share": 0.8,
         "favourite_brand": "Acme", "favourite_brand_share": 0.8},
    ),
    "of equal favourites the first by name": (
        [view(1, item_index=n) for n in (1, 0, 2, 3)], None,
        {"favourite_category": "men", "favourite_category_share": 0.5, "favourite_brand": "Acme"},
    ),
    "without interest there is no favourite": (
        [view(1, signal=NO), view(1, item_index=4)], None,
        {"favourite_category": None, "favourite_category_share": None, "favourite_brand": None},
    ),
    "the channel with most events is preferred": (
        [view(1, channel=one) for one in ("site", "email", "site", None, None, None)], None,
        {"preferred_channel": "site", "preferred_channel_share": 2 / 3},
    ),
    "of equal channels the first by name": (
        [view(1, channel=one) for one in ("site", "email")], None,
        {"preferred_channel": "email", "preferred_channel_share": 0.5},
    ),
    "the hour with most events is preferred": (
        [at(1, 23), at(2, 23), at(3, 9)], None, {"preferred_hour": 23},
    ),
    "of equal hours the earlier": ([at(2, 23), at(3, 9)], None, {"preferred_hour": 9}),
}  # fmt: skip


@pytest.fixture(scope="module")
def found(engine):
    """The features of all CASES, each of which is a person."""
    people, joined, _ = zip(*CASES.values(), strict=True)
    return dict(zip(CASES, features(engine, people, joined=joined), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_of_each_person_is_known(name, found):
    expected = CASES[name][2]
    assert {key: found[name][key] for key in expected} == {
        key: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
        for key, value in expected.items()
    }


def test_columns_have_the_documented_types(engine):
    persons = table(PERSONS, [{"person_index": 0}])
    found = person_features(log_of({}), catalogue(), persons, AS_OF, SIGNALS, Shop())
    names = {name: str(kind) for name, kind in found.schema().items()}
    assert names == {"person_index": "int32"} | {n: f.type for n, f in PERSON_FEATURES.items()}
    assert list(names) == ["person_index", *PERSON_FEATURES]
    assert {field.name: str(field.type) for field in engine.to_pyarrow(found).schema} == {
        name: kind.replace("float64", "double") for name, kind in names.items()
    }


def test_the_hour_is_that_of_the_clocks_of_the_shop(engine):
    (one,) = features(engine, [[at(1, 23)]], shop=Shop(timezone="Europe/London"))
    assert one["preferred_hour"] == 0


def test_without_a_list_price_the_median_of_the_log_is_the_reference(engine):
    people = [[buy(item_index=3, value=2 * one, quantity=2.0)] for one in (8.0, 10.0, 12.0)]
    assert [one["share_discounted"] for one in features(engine, people)] == [1, 0, 0]


def test_reference_prices_can_be_kept_and_used_again(engine):
    rows = [buy(value=8.0), buy(item_index=3, value=3.0)]
    kept = reference_prices(log_of(*rows), catalogue(), "EUR")
    found = engine.to_pyarrow(kept.order_by("item_index")).to_pylist()
    assert [(one["item_index"], one["currency"], one["price"]) for one in found] == [
        (0, "EUR", 10), (1, "EUR", 20), (3, "EUR", 3),
    ]  # fmt: skip
    dearer = kept.mutate(price=kept.price * 2)
    assert features(engine, [rows], prices=dearer)[0]["share_discounted"] == 1


def test_of_a_signal_only_the_newest_up_to_its_cap_count_for_favourites(engine):
    capped = {"view": Signal(weight=1, half_life_days=10, cap=2)}
    rows = [view(20), view(0), view(10), view(30)]
    rows += [view(0, item_index=2), view(0, item_index=3)]
    (one,) = features(engine, [rows], signals=capped)
    assert (one["favourite_category"], one["items"]) == ("men", 3)
    assert one["favourite_category_share"] == pytest.approx(2 / (2 + 1.5))


ZONES = ["UTC", "Europe/London", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe",
         "Africa/Casablanca", "Pacific/Apia"]  # fmt: skip


def around_changes(zone):
    """Every change of the clock of some years, to the microsecond, and moments in between."""
    found = transitions(zone, to_us(datetime(2009, 1, 1, tzinfo=UTC)), AS_OF)
    return [start + step for start, _ in found for step in (-HOUR_US, -1, 0, 1, HOUR_US)]


@pytest.mark.parametrize("zone", ZONES)
def test_local_hours_are_those_of_the_clocks_also_when_they_change(zone):
    moments = around_changes(zone)
    expected = [from_us(us).astimezone(ZoneInfo(zone)).hour for us in moments]
    assert local_hours(np.array(moments), zone).tolist() == expected


def test_local_hours_are_the_same_in_a_table(engine):
    moments = sorted({us for zone in ZONES for us in around_changes(zone) if us <= AS_OF})
    moments = [-30 * HOUR_US - 1, -1, 0, *moments]  # before 1970 too
    rows = table({"us": "int64"}, [{"us": us} for us in moments])
    hours = {zone: local_hour(rows.us, zone, AS_OF) for zone in ZONES}
    found = engine.to_pyarrow(rows.mutate(**hours).order_by("us"))
    for zone in ZONES:
        assert found[zone].to_pylist() == local_hours(np.array(moments), zone).tolist(), zone


def test_a_zone_changes_when_its_clocks_do():
    start, end = (to_us(datetime(2024, month, 1, tzinfo=UTC)) for month in (1, 12))
    spring, autumn = (to_us(datetime(2024, month, day, 1, tzinfo=UTC))
                      for month, day in ((3, 31), (10, 27)))  # fmt: skip
    assert transitions("Europe/London", start, end) == (
        (start, 0), (spring, HOUR_US), (autumn, 0),
    )  # fmt: skip
    assert transitions("UTC", start, end) == ((start, 0),)
    assert offset_us("America/St_Johns", start) == -3.5 * HOUR_US
    assert len(changes("Europe/London")) > 2 * 100


def test_columns_for_rules_have_nan_and_none_for_what_is_unknown():
    found = people_columns(
        pa.table({
            "orders": pa.array([1, None], pa.int64()), "value": [None, 2.5],
            "favourite_brand": ["a", None], "consent": [True, False],
        })
    )  # fmt: skip
    np.testing.assert_array_equal(found["orders"], [1, np.nan])
    np.testing.assert_array_equal(found["value"], [np.nan, 2.5])
    assert found["favourite_brand"].tolist() == ["a", None]
    assert found["consent"].dtype == np.bool_
