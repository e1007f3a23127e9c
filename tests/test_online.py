"""One person at request time has the numbers that the build would say of them."""

import subprocess
import sys
from datetime import UTC, datetime

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features import arrays
from features.config import Shop
from features.lifecycle import stage, stage_names
from features.online import (
    CatalogueFacts,
    Labels,
    PersonEvents,
    ReferencePrices,
    as_columns,
    features_of,
    interest,
    newer_in_pile,
)
from features.options import Lifecycle, RuleSegment, Signal
from features.person_columns import PERSON_FEATURES, RULE_COLUMNS
from features.person_features import people_columns, person_features, reference_prices
from features.segments import assign
from features.types import DAY_US, to_us

AS_OF = to_us(datetime(2024, 4, 10, 12, tzinfo=UTC))  # the clocks changed ten days ago
SIGNALS = {
    "view": Signal(weight=1, half_life_days=3), "no": Signal(weight=-1),
    "buy": Signal(weight=5, had=True, half_life_days=90), "like": Signal(weight=2, cap=2),
}  # fmt: skip
BUY, N_PEOPLE = 2, 8
SHOP = Shop(timezone="Europe/London", currency="EUR")
CATEGORIES, BRANDS = ["b", "a/x", "a/x", None, "b"], ["Zeta", "Acme", None, "Acme", "Ünal"]
LIST_PRICES, CURRENCIES = [10.0, None, 20.0, None, None], ["EUR", None, None, "GBP", None]
LIFECYCLE = Lifecycle(new_days=5, loyal_min_orders=3, lapsing_after_days=8, lapsed_after_days=20,
                      rhythm_min_orders=2)  # fmt: skip
SEGMENTS = [
    RuleSegment(name="bargains", rule="share_discounted > 0.5 AND stage <> 'lapsed'"),
    RuleSegment(name="a/x", rule="favourite_category LIKE 'a/%' OR preferred_channel IS NULL"),
    RuleSegment(name="rich", rule="order_value >= 9 OR recency_days < 2 AND kind = 'customer'"),
    RuleSegment(name="rest", rule="NOT favourite_brand_share BETWEEN 0.3 AND 0.9"),
]
LOG = {
    "row": "int64", "person_index": "int32", "item_index": "int32", "signal": "int8", "had": "bool",
    "occurred_us": "int64", "session": "int32", "channel": "string", "value": "float64",
    "currency": "string", "quantity": "float64",
}  # fmt: skip

# of seven people, while the eighth does nothing
EVENTS = st.fixed_dictionaries({
    "person_index": st.integers(0, N_PEOPLE - 2), "item_index": st.integers(0, 4),
    "signal": st.integers(-1, 3), "session": st.integers(0, 3),
    "hours": st.integers(0, 40) | st.integers(0, 800), "channel": st.sampled_from([None, "s", "é"]),
    "value": st.none() | st.sampled_from([0.0, 9.0, 9.5, 10.0, 19.0, 20.0]),
    "currency": st.sampled_from(["EUR", "EUR", "GBP"]),
    "quantity": st.sampled_from([None, 1.0, 2.0]),
})  # fmt: skip
PEOPLE = st.fixed_dictionaries({
    "kind": st.sampled_from(["customer", "visitor"]), "consent": st.booleans(),
    "joined_us": st.none() | st.integers(0, 60).map(lambda days: AS_OF - days * DAY_US),
})  # fmt: skip


def coded(events):
    """The log in time order, sessions numbered per person as they begin."""
    rows, numbers = [], {}
    for event in sorted(events, key=lambda one: -one["hours"]):
        own = numbers.setdefault(event["person_index"], {})
        rows.append({
            **{name: value for name, value in event.items() if name != "hours"}, "row": len(rows),
            "occurred_us": AS_OF - event["hours"] * DAY_US // 24, "had": event["signal"] == BUY,
            "session": own.setdefault(event["session"], len(own)),
        })  # fmt: skip
    return rows


def memtable(rows, **types):
    schema = ibis.schema(types)
    return ibis.memtable(pa.Table.from_pylist(rows, schema.to_pyarrow()), schema=schema)


def person_events(rows):
    """The rows of one person as arrays."""

    def column(name, kind):
        missing = np.nan if kind is np.float64 else None
        values = [missing if row[name] is None else row[name] for row in rows]
        return np.array(values, dtype=kind)

    return PersonEvents(
        items=column("item_index", np.int32), signals=column("signal", np.int8),
        had=column("had", np.bool_), occurred_us=column("occurred_us", np.int64),
        sessions=column("session", np.int32), channels=column("channel", object),
        values=column("value", np.float64), quantities=column("quantity", np.float64),
        currencies=column("currency", object),
    )  # fmt: skip


def facts(prices):
    """What a build keeps about the items; prices: the rows of `reference_prices`."""
    columns = prices.to_pydict()
    kept = ReferencePrices.of(
        np.array(columns["item_index"], dtype=np.int32), columns["currency"],
        np.array(columns["price"], dtype=np.float64),
    )  # fmt: skip
    return CatalogueFacts(Labels.of(CATEGORIES), Labels.of(BRANDS), kept)


def belongings(columns):
    """Stage and segment of everybody in `columns`."""
    stages = stage_names(stage(columns, LIFECYCLE))
    found = assign(SEGMENTS, columns | {"stage": stages}, {})
    return [(one, found.name(row)) for row, one in enumerate(stages)]


def near(value):
    return pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value


WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # which would take minutes


@settings(max_examples=6, deadline=None, phases=WITHOUT_SHRINKING)
@given(
    events=st.lists(EVENTS, min_size=40, max_size=120),
    people=st.lists(PEOPLE, min_size=N_PEOPLE, max_size=N_PEOPLE),
)
def test_a_person_has_the_same_numbers_at_request_time_as_in_the_build(engine, events, people):
    rows = coded(events)
    log = memtable(rows, **LOG)
    items = memtable(
        [dict(zip(("item_index", "category", "brand", "list_price", "currency"), one, strict=True))
         for one in zip(range(5), CATEGORIES, BRANDS, LIST_PRICES, CURRENCIES, strict=True)],
        item_index="int32", category="string", brand="string", list_price="float64",
        currency="string",
    )  # fmt: skip
    persons = memtable([{"person_index": n} | one for n, one in enumerate(people)],
                       person_index="int32", kind="string", consent="bool",
                       joined_us="int64")  # fmt: skip
    built = person_features(log, items, persons, AS_OF, SIGNALS, SHOP)
    built = built.join(persons.drop("joined_us"), "person_index").order_by("person_index")
    everybody = engine.to_pyarrow(built)
    known = facts(engine.to_pyarrow(reference_prices(log, items, SHOP.currency)))
    of_all = belongings(people_columns(everybody))
    for person, (expected, one) in enumerate(zip(everybody.to_pylist(), people, strict=True)):
        own = person_events([row for row in rows if row["person_index"] == person])
        found = features_of(own, known, AS_OF, SIGNALS, SHOP, joined_us=one["joined_us"])
        assert list(found) == list(PERSON_FEATURES)
        for name, value in found.items():
            assert value == near(expected[name]), name
        columns = as_columns(found | {"kind": one["kind"], "consent": one["consent"]})
        assert belongings(columns) == [of_all[person]]


def test_numbers_come_in_the_documented_types():
    row = {"item_index": 0, "signal": BUY, "had": True, "occurred_us": AS_OF, "session": 0,
           "channel": "s", "value": 9.0, "quantity": 1.0, "currency": "EUR"}  # fmt: skip
    prices = pa.table({"item_index": [0], "currency": ["EUR"], "price": [10.0]})
    rows = [row, row | {"session": 1}]
    found = features_of(person_events(rows), facts(prices), AS_OF, SIGNALS, SHOP)
    kinds = {int: "int64", float: "float64", str: "string"}
    assert {name: kinds[type(value)] for name, value in found.items()} == {
        name: feature.type for name, feature in PERSON_FEATURES.items()
    }
    assert set(as_columns(found)) | {"stage", "kind", "consent"} == set(RULE_COLUMNS)


def test_a_stranger_is_zeros_and_unknowns():
    none = pa.table({"item_index": [], "currency": [], "price": []})
    found = features_of(person_events([]), facts(none), AS_OF, SIGNALS, SHOP)
    assert {name: value for name, value in found.items() if value is not None} == {
        "events": 0, "sessions": 0, "items": 0, "orders": 0, "value": 0, "other_currency": 0,
    }  # fmt: skip
    assert belongings(as_columns(found | {"kind": "visitor", "consent": True})) == [
        ("visitor", "a/x")
    ]


def test_events_later_than_the_moment_of_asking_count_as_now():
    row = {"item_index": 0, "signal": 0, "had": False, "occurred_us": AS_OF + DAY_US, "session": 0,
           "channel": None, "value": None, "quantity": None, "currency": "EUR"}  # fmt: skip
    events = person_events([row])
    assert interest(events, AS_OF, SIGNALS).tolist() == [1]
    none = pa.table({"item_index": [], "currency": [], "price": []})
    assert features_of(events, facts(none), AS_OF, SIGNALS, SHOP)["recency_days"] == 0


def test_newer_in_pile_counts_what_comes_later_with_the_same_number():
    assert newer_in_pile(np.array([7, 3, 7, 7, 3])).tolist() == [2, 1, 1, 0, 0]


class TestReferencePrices:
    PRICES = ReferencePrices.of(
        np.array([5, 2, 2], dtype=np.int32), ["EUR", "GBP", "EUR"], np.array([1.0, 2.0, 3.0])
    )

    def test_are_found_by_item_and_currency(self):
        items = np.array([2, 2, 5, 5, 2, 9], dtype=np.int32)
        asked = np.array(["EUR", "GBP", "EUR", "GBP", "USD", "EUR"], dtype=object)
        expected = [3, 2, 1, np.nan, np.nan, np.nan]
        np.testing.assert_array_equal(self.PRICES.find(items, asked), expected)

    def test_of_nothing_are_unknown(self):
        nothing = ReferencePrices.of(np.empty(0, np.int32), [], np.empty(0))
        found = nothing.find(np.array([1], dtype=np.int32), np.array(["EUR"], dtype=object))
        assert np.isnan(found).all()


def test_facts_about_items_come_back_from_disk(tmp_path):
    prices = pa.table({"item_index": [3, 0], "currency": ["EUR", "EUR"], "price": [5.0, 10.0]})
    arrays.save(facts(prices), tmp_path / "facts")
    back = arrays.load(CatalogueFacts, tmp_path / "facts")
    assert back.categories.codes.tolist() == [1, 0, 0, -1, 1]
    assert back.categories.names.tolist() == ["a/x", "b"]
    asked = np.array([0, 3], dtype=np.int32), np.array(["EUR", "EUR"], dtype=object)
    assert back.prices.find(*asked).tolist() == [10, 5]


def test_serving_loads_nothing_heavy_with_them():
    modules = ["online", "lifecycle", "rules", "segments", "person_columns", "zones"]
    code = f"import sys; from features import {', '.join(modules)}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"ibis", "pandas", "pyarrow", "sqlglot", "duckdb"} & set(run.stdout.split())
