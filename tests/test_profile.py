"""The profile of a log: what is counted, over which days, and what is left out of it."""

import json
from datetime import UTC, datetime
from typing import ClassVar

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import TABLES, TYPES
from features.engine import materialise
from features.profile import OPTIONAL, REST, day_number, gaps, iso_day, profile, profile_catalogue
from features.types import DAY_US, to_us

NOON = to_us(datetime(2024, 6, 10, 12, tzinfo=UTC))
TODAY = "2024-06-10"
SCHEMA = ibis.schema(
    {"occurred_us": "int64"}
    | {c.name: TYPES[c.kind] for c in TABLES["events"] if c.name != "occurred_at"}
)


@pytest.fixture
def profiled(engine):
    """The profile of a log of which only what matters is written; the rest is a view at noon."""

    def _profiled(*rows, as_of=NOON):
        full = [
            dict.fromkeys(SCHEMA.names)
            | {"occurred_us": NOON, "event_type": "view", "item_id": "a", "user_id": "u"} | row
            for row in rows
        ]  # fmt: skip
        table = ibis.memtable(pa.Table.from_pylist(full, SCHEMA.to_pyarrow()), schema=SCHEMA)
        return profile(materialise(engine, "profiled", table), as_of, engine.to_pyarrow)

    return _profiled


def ago(days, **row):
    return {"occurred_us": NOON - round(days * DAY_US), **row}


class TestCounts:
    def test_event_types_and_channels_come_the_most_frequent_first(self, profiled):
        found = profiled({"event_type": "b", "channel": "site"}, {"event_type": "c"},
                         {"event_type": "a", "channel": "email"}, {"channel": "email"},
                         {"event_type": "c"})  # fmt: skip
        assert list(found["event_types"].items()) == [("c", 2), ("a", 1), ("b", 1), ("view", 1)]
        assert list(found["channels"].items()) == [("email", 2), ("site", 1)]

    @pytest.mark.parametrize("column", [name for name in OPTIONAL if name != "user_id"])
    def test_a_column_that_one_of_four_events_has_is_null_in_three_quarters(self, profiled, column):
        given = {"string": "x", "int64": 1, "float64": 1.0}[str(SCHEMA[column])]
        found = profiled({column: given}, {}, {}, {})
        shares = found["null_shares"]
        assert shares.pop(column) == 0.75
        assert shares.pop("user_id") == 0
        assert set(shares.values()) == {1.0}

    def test_without_a_customer_an_event_is_anonymous_by_its_device_or_its_visit(self, profiled):
        found = profiled({}, {"visitor_id": "v"}, {"user_id": None, "visitor_id": "v"},
                         {"user_id": None, "session_id": "s"},
                         {"user_id": None, "visitor_id": "v", "session_id": "s"})  # fmt: skip
        assert found["anonymous_share"] == 3 / 5
        assert found["visitor_share"] == 2 / 5
        assert found["session_only_share"] == 1 / 5

    def test_a_log_without_channels_names_none(self, profiled):
        found = profiled({}, {})
        assert found["channels"] == {}
        assert found["null_shares"]["channel"] == 1.0

    def test_of_very_many_event_types_the_rarest_are_counted_together(self, profiled):
        rows = [{"event_type": f"t{n:03}"} for n in range(501)]
        found = profiled(*rows, {"event_type": "t500"})["event_types"]
        assert len(found) == 501
        assert found["t500"] == 2
        assert found[REST] == 1


class TestDays:
    @pytest.mark.parametrize(
        ("moment", "day"),
        [(0, "1970-01-01"), (-1, "1969-12-31"), (DAY_US - 1, "1970-01-01"),
         (DAY_US, "1970-01-02"), (84_000 * DAY_US - 1, iso_day(83_999))],
    )  # fmt: skip
    def test_are_utc_days_to_the_microsecond(self, profiled, moment, day):
        assert profiled({"occurred_us": moment}, as_of=moment)["days"] == [(day, 1)]

    def test_without_an_event_are_gaps_between_the_first_and_the_last(self, profiled):
        found = profiled(ago(9), ago(9), ago(8), ago(5), as_of=NOON)
        assert found["days"] == [("2024-06-01", 2), ("2024-06-02", 1), ("2024-06-05", 1)]
        assert found["gaps"] == [("2024-06-03", "2024-06-04", 2)]
        assert (found["first_us"], found["last_us"]) == (NOON - 9 * DAY_US, NOON - 5 * DAY_US)
        assert found["as_of_us"] == NOON

    def test_have_a_count_per_type_for_the_most_frequent_types(self, profiled):
        rows = [ago(day, event_type=f"t{n}") for n in range(300) for day in (0, 2)]
        found = profiled(*rows, *[ago(2, event_type="t9")] * 5)
        assert found["daily_types"]["t9"] == [6, 1]
        assert len(found["daily_types"]) == 8
        assert found["daily_types"][REST] == [293, 293]
        assert len(found["event_types"]) == 300

    def test_of_one_moment_are_one_day(self, profiled):
        found = profiled({}, {}, {})
        assert found["days"] == [(TODAY, 3)]
        assert found["gaps"] == []
        assert found["first_us"] == found["last_us"] == NOON

    def test_are_numbered_and_named_the_same_way_back(self):
        assert [iso_day(day_number(day)) for day in (TODAY, "1969-12-31")] == [TODAY, "1969-12-31"]

    def test_next_to_one_another_leave_no_gap(self):
        assert gaps([1, 2, 3]) == gaps([7]) == gaps([]) == []


class TestAsOf:
    def test_nothing_later_is_counted(self, profiled):
        later = ago(-1 / DAY_US, event_type="buy", channel="site", user_id=None)
        assert profiled({}, later) == profiled({})

    def test_recent_are_its_day_and_the_27_before(self, profiled):
        found = profiled({"event_type": "now"}, ago(27.5, event_type="first"),
                         ago(27.6, event_type="old", user_id=None, channel="site"))  # fmt: skip
        assert found["recent"]["event_types"] == {"first": 1, "now": 1}
        assert found["recent"]["events"] == 2
        assert found["recent"]["channels"] == {}
        assert found["recent"]["anonymous_share"] == 0
        assert found["anonymous_share"] == 1 / 3

    def test_nothing_is_recent_when_the_log_has_long_ended(self, profiled):
        assert profiled(ago(28.5))["recent"] is None

    def test_before_the_first_event_there_is_nothing_to_profile(self, profiled):
        with pytest.raises(ValueError, match="no event up to"):
            profiled({}, as_of=NOON - 1)


LOGS = st.lists(
    st.builds(
        lambda days, kind, user, visitor, channel: ago(
            days, event_type=kind, user_id=user, visitor_id=visitor, session_id="s", channel=channel
        ),
        st.integers(0, 70), st.sampled_from("abcdefghij"), st.sampled_from(["u", None]),
        st.sampled_from(["v", None]), st.sampled_from(["site", "email", None]),
    ),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(rows=LOGS)
def test_its_parts_add_up_and_it_fits_into_a_manifest(rows, engine):
    full = [dict.fromkeys(SCHEMA.names) | {"item_id": "a"} | row for row in rows]
    table = ibis.memtable(pa.Table.from_pylist(full, SCHEMA.to_pyarrow()), schema=SCHEMA)
    found = profile(materialise(engine, "profiled", table), NOON, engine.to_pyarrow)
    counts = [events for _, events in found["days"]]
    assert sum(counts) == sum(found["event_types"].values()) == found["events"] == len(rows)
    assert [sum(day) for day in zip(*found["daily_types"].values(), strict=True)] == counts
    named = sum(found["channels"].values())
    assert named == pytest.approx(len(rows) * (1 - found["null_shares"]["channel"]))
    assert found["anonymous_share"] == found["null_shares"]["user_id"]
    parts = found["visitor_share"] + found["session_only_share"]
    assert parts == pytest.approx(found["anonymous_share"])
    span = day_number(found["days"][-1][0]) - day_number(found["days"][0][0]) + 1
    assert len(counts) + sum(days for *_, days in found["gaps"]) == span
    assert json.loads(json.dumps(found))["events"] == len(rows)


class TestCatalogue:
    ROWS = (
        {"kind": "product", "available": True, "price": 1.0, "currency": "EUR", "title": "x"},
        {"kind": "product", "available": False, "price": 3.0, "currency": "EUR", "title": None},
        {"kind": "product", "available": True, "price": 9.0, "currency": None, "title": "z"},
        {"kind": "article", "available": True, "price": None, "currency": None, "title": "z"},
    )
    KINDS: ClassVar = {"kind": "string", "available": "boolean", "price": "float64",
                       "currency": "string", "title": "string"}  # fmt: skip

    def profiled(self, engine, rows):
        schema = ibis.schema(self.KINDS)
        table = pa.Table.from_pylist(list(rows), schema.to_pyarrow())
        items = materialise(engine, "profiled_items", ibis.memtable(table, schema=schema))
        return profile_catalogue(items, engine.to_pyarrow)

    def test_is_counted_by_kind_with_its_nulls_and_median_prices(self, engine):
        assert self.profiled(engine, self.ROWS) == {
            "items": 4, "available": 3, "kinds": {"product": 3, "article": 1},
            "null_shares": {"title": 0.25, "price": 0.25, "currency": 0.5},
            "median_prices": {REST: 9.0, "EUR": 2.0},
        }  # fmt: skip

    def test_may_be_empty(self, engine):
        found = self.profiled(engine, [])
        assert (found["items"], found["available"], found["kinds"]) == (0, 0, {})
