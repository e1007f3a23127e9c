"""The contract: what a row must have, and what is told of every row that has not."""

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.config import ConfigError
from features.reading import TooManyRejects, stop_if_too_many

EVENT = {"occurred_at": "2024-01-01 10:00:00", "event_type": "view", "item_id": "a", "user_id": "u"}
ITEM = {"item_id": "a", "kind": "product"}
SOUND = {
    "events": EVENT,
    "items": ITEM,
    "customers": {"user_id": "u"},
    "identities": {"visitor_id": "v", "user_id": "u", "linked_at": "2024-01-01"},
    "preferences": {
        "user_id": "u", "question": "topic", "answer": "books", "answered_at": "2024-01-01",
    },
}  # fmt: skip
NOBODY = "user_id, visitor_id, session_id are all missing"
AGAIN = "item_id was given before; its first row counts"


def read(shop, table, rows):
    """`rows` as a table of the contract beside one sound event."""
    sources = {"events": shop.file("events.parquet", [EVENT])}
    sources[table] = shop.file(f"{table}.parquet", rows)
    return shop.read(sources, table)


@pytest.mark.parametrize("table", SOUND)
def test_a_row_with_what_is_required_and_no_more_is_accepted(shop, table):
    assert read(shop, table, [SOUND[table]]).report.accepted == 1


BROKEN = [
    ("events", {"occurred_at": None}, "occurred_at is missing"),
    ("events", {"occurred_at": "soon"}, "occurred_at is no time"),
    ("events", {"event_type": "  "}, "event_type is missing"),
    ("events", {"item_id": None}, "item_id is missing"),
    ("events", {"item_id": "a\0b"}, "item_id is neither a whole number nor plain text"),
    ("events", {"item_id": "a" * 257}, "item_id is longer than 256 characters"),
    ("events", {"user_id": ""}, NOBODY),
    ("events", {"sequence": "1.5"}, "sequence is no whole number"),
    ("events", {"value": -0.01}, "value is negative"),
    ("events", {"value": float("inf")}, "value is no finite number"),
    ("events", {"value": "1,50"}, "value is no finite number"),
    ("events", {"currency": "eur"}, "currency is no code of three capitals, like EUR"),
    ("events", {"quantity": 0}, "quantity is not above 0"),
    ("events", {"duration_seconds": -1}, "duration_seconds is negative"),
    ("events", {"position": -1}, "position is negative"),
    ("events", {"propensity": 0.0}, "propensity is not above 0 and at most 1"),
    ("events", {"propensity": 1.5}, "propensity is not above 0 and at most 1"),
    ("items", {"kind": "video"}, "kind is neither product nor article"),
    ("items", {"price": -1}, "price is negative"),
    ("items", {"list_price": -1}, "list_price is negative"),
    ("items", {"available": "maybe"}, "available is neither yes nor no"),
    ("items", {"published_at": "soon"}, "published_at is no time"),
    ("customers", {"user_id": None}, "user_id is missing"),
    ("customers", {"email_frequency_per_week": -1}, "email_frequency_per_week is negative"),
    ("identities", {"linked_at": ""}, "linked_at is missing"),
    ("preferences", {"user_id": None}, "user_id, visitor_id are all missing"),
    ("preferences", {"answer": None}, "answer is missing"),
]


@pytest.mark.parametrize(("table", "change", "reason"), BROKEN,
                         ids=[f"{t}: {r}" for t, _, r in BROKEN])  # fmt: skip
def test_a_row_that_breaks_a_rule_is_rejected_with_its_reason(shop, table, change, reason):
    found = read(
        shop, table, [SOUND[table], SOUND[table] | {"user_id": "w", "item_id": "b"} | change]
    )
    assert found.reasons() == {2: [reason]}
    assert found.report.reasons == {reason: 1}


def test_a_row_keeps_all_its_reasons_and_its_text(shop):
    row = {"occurred_at": "x", "event_type": None, "item_id": "", "user_id": None, "quantity": -1}
    found = read(shop, "events", [EVENT | {"quantity": 1}, row])
    assert found.reasons()[2] == [
        "occurred_at is no time", "event_type is missing", "item_id is missing",
        "quantity is not above 0", NOBODY,
    ]  # fmt: skip
    assert found.rejected[0]["row"] == (
        '{"occurred_at":"x","event_type":null,"item_id":"","user_id":null,"quantity":-1}'
    )


class TestOneRowPerItem:
    def test_the_first_of_several_rows_counts(self, shop):
        found = read(shop, "items", [ITEM | {"title": "one"}, ITEM | {"title": "two"}, ITEM])
        assert found.column("title") == ["one"]
        assert found.reasons() == {2: [AGAIN], 3: [AGAIN]}

    def test_a_broken_row_does_not_take_the_place_of_a_sound_one(self, shop):
        rows = [ITEM | {"kind": "video"}, ITEM | {"title": "sound"}, ITEM | {"kind": "film"}]
        found = read(shop, "items", [{"title": None} | row for row in rows])
        assert found.column("title") == ["sound"]
        assert found.reasons() == {
            1: ["kind is neither product nor article"],
            3: ["kind is neither product nor article", AGAIN],
        }


class TestValues:
    def values(self, shop, column, values):
        rows = pa.Table.from_pylist([EVENT] * len(values))
        rows = rows.drop_columns([column]) if column in rows.column_names else rows
        return read(shop, "events", rows.append_column(column, values))

    def test_floats_are_ids_as_far_as_they_are_whole_and_exact(self, shop):
        floats = pa.array([17850.0, -3.0, 1.5, 2.0**60, float("nan"), None])
        found = self.values(shop, "item_id", floats)
        assert found.column("item_id") == ["17850", "-3"]
        strange = ["item_id is neither a whole number nor plain text"]
        assert found.reasons() == {
            3: strange, 4: strange, 5: ["item_id is missing"], 6: ["item_id is missing"],
        }  # fmt: skip

    def test_short_floats_are_exact_for_less(self, shop):
        found = self.values(shop, "item_id", pa.array([2.0**24 - 1, 2.0**30], pa.float32()))
        assert found.column("item_id") == ["16777215"]

    def test_decimals_lose_their_zeros_and_texts_keep_them(self, shop):
        decimals = pa.array([1, 20]).cast(pa.decimal128(22, 2))
        assert self.values(shop, "item_id", decimals).column("item_id") == ["1", "20"]
        found = self.values(shop, "item_id", pa.array(["1.0", " 7", "007"]))
        assert found.column("item_id") == ["1.0", " 7", "007"]

    def test_whole_numbers_are_exact_in_any_type(self, shop):
        found = self.values(shop, "sequence", pa.array(["9007199254740993", "7.0", " 8 ", ""]))
        assert found.column("sequence") == [9007199254740993, 7, 8, None]
        found = self.values(shop, "sequence", pa.array([2**64 - 1, 5], pa.uint64()))
        assert found.column("sequence") == [5]
        assert found.reasons() == {1: ["sequence is no whole number"]}

    def test_a_number_that_is_missing_may_be_written_as_nan(self, shop):
        assert self.values(shop, "value", pa.array([float("nan"), 1.5])).column("value") == [
            None, 1.5,
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("values", "meant"),
        [
            (pa.array([True, False, None]), [True, False, None]),
            (pa.array(["Yes", "n", " "]), [True, False, None]),
            (pa.array([1, 0, None]), [True, False, None]),
            (pa.array([1.0, 0.0, float("nan")]), [True, False, None]),
        ],
        ids=["booleans", "words", "numbers", "floats"],
    )
    def test_yes_and_no_have_many_spellings(self, shop, values, meant):
        rows = pa.Table.from_pylist([{"user_id": str(n)} for n in range(3)])
        table = rows.append_column("consent_email", values)
        assert read(shop, "customers", table).column("consent_email") == meant

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_times_of_any_unit_keep_what_a_microsecond_can_hold(self, shop, unit):
        times = pa.array([1704103200], pa.int64()).cast(pa.timestamp("s")).cast(pa.timestamp(unit))
        found = self.values(shop, "occurred_at", times)
        assert str(found.column("occurred_at")[0]) == "2024-01-01 10:00:00+00:00"

    def test_fractions_of_a_second_survive(self, shop):
        found = self.values(shop, "occurred_at", pa.array(["2024-01-01T10:00:00.123456Z"]))
        assert str(found.column("occurred_at")[0]) == "2024-01-01 10:00:00.123456+00:00"

    def test_a_column_of_a_type_that_cannot_be_meant_is_refused(self, shop):
        with pytest.raises(ConfigError, match=r"events\.columns\.item_id: is of type array"):
            self.values(shop, "item_id", pa.array([[1], [2]]))
        with pytest.raises(ConfigError, match=r"events\.columns\.value: is of type timestamp"):
            self.values(shop, "value", pa.array([0], pa.timestamp("us")))


class TestTooManyRejects:
    def test_above_the_limit_the_worst_reason_and_what_to_do_are_told(self, shop):
        rows = [EVENT, EVENT | {"item_id": None}, EVENT | {"item_id": None, "event_type": None}]
        report = read(shop, "events", rows).report
        with pytest.raises(TooManyRejects) as error:
            stop_if_too_many([report], 0.5, shop.base / "rejects.parquet")
        assert "events: 2 of 3 rows (66.7%) break the contract; at most 50.0%" in str(error.value)
        assert "Most often: item_id is missing (2 rows)" in str(error.value)
        assert "rejects.parquet, then mend sources.events" in str(error.value)

    def test_at_the_limit_the_build_goes_on(self, shop):
        report = read(shop, "events", [EVENT, EVENT | {"item_id": None}]).report
        stop_if_too_many([report], 0.5, shop.base / "rejects.parquet")

    def test_no_rows_are_not_too_many(self, shop):
        report = read(shop, "events", pa.Table.from_pylist([EVENT]).slice(0, 0)).report
        stop_if_too_many([report], 0.0, shop.base / "rejects.parquet")


DIRT = st.one_of(
    st.none(), st.text(max_size=6), st.sampled_from(["a", "2024-01-01", "2024-01-01T10:00Z", "1.0"])
)
ROWS = st.lists(
    st.fixed_dictionaries(dict.fromkeys([*EVENT, "sequence", "value", "currency"], DIRT)),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS)
def test_accepted_and_rejected_make_up_what_was_read_whatever_the_dirt(new_shop, rows):
    schema = pa.schema(dict.fromkeys(rows[0], pa.string()))
    shop = new_shop()
    found = shop.read({"events": shop.file("events.parquet", pa.Table.from_pylist(rows, schema))})
    taken = found.column("source_row")
    refused = [row["source_row"] for row in found.rejected]
    assert sorted(taken + refused) == list(range(1, len(rows) + 1))
    assert found.report.read == len(rows)
    assert all(row["reasons"] for row in found.rejected)
    for row in found.accepted:
        source = rows[row["source_row"] - 1]
        assert [row[c] for c in ("event_type", "item_id")] == [source["event_type"],
                                                              source["item_id"]]  # fmt: skip
