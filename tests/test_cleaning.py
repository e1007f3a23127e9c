"""Cleaning: what is taken out of the log before anything is counted."""

from datetime import UTC, datetime, timedelta

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import cleaning
from features.contract import TABLES, TYPES

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = {c.name: TYPES[c.kind] for c in TABLES["events"]} | {
    "source_file": "string", "source_row": "int64",
}  # fmt: skip
GIVEN = ["occurred_at", "event_type", "item_id", "user_id", "session_id", "sequence", "quantity",
         "event_id"]  # fmt: skip


def events(*rows):
    """Accepted events, one a minute, with what a row says changed."""
    full = [
        dict.fromkeys(SCHEMA) | {"event_type": "buy", "item_id": "a", "user_id": "u",
        "occurred_at": START + timedelta(minutes=place), "source_file": "log",
        "source_row": place + 1} | row
        for place, row in enumerate(rows)
    ]  # fmt: skip
    schema = ibis.schema(SCHEMA)
    return ibis.memtable(pa.Table.from_pylist(full, schema.to_pyarrow()), schema=schema)


def rows_of(engine, table):
    found = engine.to_pyarrow(table).to_pylist()
    return sorted(found, key=lambda row: row["source_row"])


class TestPerson:
    def test_is_the_customer_else_the_visitor_else_the_session(self, engine):
        table = events({"visitor_id": "v"}, {"user_id": None, "visitor_id": "v", "session_id": "s"},
                       {"user_id": None, "session_id": "s"})  # fmt: skip
        found = rows_of(engine, cleaning.with_person(table))
        assert [row["person"] for row in found] == ["u:u", "v:v", "s:s"]


class TestSpelling:
    def spelled(self, engine, ids, *others):
        tables = [events(*({"item_id": one} for one in part)) for part in (ids, *others)]
        spelling = cleaning.spellings(*tables)
        found = rows_of(engine, cleaning.respelled(tables[0], spelling))
        return [row["item_id"] for row in found]

    def test_variants_in_case_come_out_in_the_most_frequent_spelling(self, engine):
        assert self.spelled(engine, ["ab1", "AB1", "AB1", "c"]) == ["AB1", "AB1", "AB1", "c"]

    def test_equally_frequent_ones_in_the_first_by_byte_order(self, engine):
        assert self.spelled(engine, ["ab", "Ab"]) == ["Ab", "Ab"]

    def test_the_catalogue_has_a_say_too(self, engine):
        assert self.spelled(engine, ["ab", "Ab"], ["ab"]) == ["ab", "ab"]

    def test_ids_without_variants_stay_as_they_are(self, engine):
        assert self.spelled(engine, ["a", "B", "b2"]) == ["a", "B", "b2"]


SAME = {"occurred_at": START}


class TestDuplicates:
    def removed(self, engine, *rows, given=tuple(GIVEN)):
        table = cleaning.with_person(events(*rows))
        marked = cleaning.marked(table, ["^POST$", "gift"], list(given))
        return [row["removed"] for row in rows_of(engine, marked)]

    def test_events_that_agree_in_all_fields_are_one(self, engine):
        assert self.removed(engine, SAME, SAME, SAME) == [
            None, "exact duplicate", "exact duplicate",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "other",
        [{"sequence": 2}, {"quantity": 2}, {"user_id": "w"}, {"session_id": "t"},
         {"occurred_at": START + timedelta(microseconds=1)}],
    )  # fmt: skip
    def test_events_that_differ_in_any_field_are_two(self, engine, other):
        first = SAME | {"sequence": 1, "session_id": "s", "quantity": 1}
        assert self.removed(engine, first, first | other) == [None, None]

    def test_a_visitor_on_two_devices_at_once_has_done_two_things(self, engine):
        given = (*GIVEN, "visitor_id")
        rows = [SAME | {"visitor_id": one} for one in ("v", "w")]
        assert self.removed(engine, *rows, given=given) == [None, None]

    def test_fields_that_the_log_does_not_have_make_no_difference(self, engine):
        rows = [SAME | {"sequence": n} for n in (1, 2)]
        given = [name for name in GIVEN if name != "sequence"]
        assert self.removed(engine, *rows, given=given) == [None, "exact duplicate"]

    def test_where_there_is_an_event_id_it_alone_decides(self, engine):
        rows = [{"event_id": "1"}, {"event_id": "1", "item_id": "b"},
                SAME | {"event_id": "2"}, SAME | {"event_id": "3"}]  # fmt: skip
        assert self.removed(engine, *rows) == [None, "exact duplicate", None, None]

    def test_what_is_no_product_is_told_by_patterns(self, engine):
        rows = [{"item_id": one} for one in ("POST", "POSTER", "a gift 5", "post")]
        assert self.removed(engine, *rows) == ["non-product", None, "non-product", None]


def netted(engine, *rows, returns=("return",)):
    """(removed, quantity, value) of each row."""
    table = cleaning.with_person(events(*rows)).mutate(removed=ibis.null("string"))
    found = rows_of(engine, cleaning.net_returns(table, ["buy"], list(returns)))
    return [(row["removed"], row["quantity"], row["value"]) for row in found]


def buy(quantity, value=None, **other):
    return {"quantity": quantity, "value": value, **other}


def back(quantity, **other):
    return {"event_type": "return", "quantity": quantity, **other}


BACK, GONE = "return", "purchase returned in full"


class TestReturns:
    def fates(self, engine, *rows):
        return [fate for fate, _, _ in netted(engine, *rows)]

    def test_take_the_newest_purchase_first(self, engine):
        assert self.fates(engine, buy(1), buy(1), back(1)) == [None, GONE, BACK]

    def test_leave_the_rest_of_a_purchase_with_its_share_of_the_value(self, engine):
        assert netted(engine, buy(4, 20.0), back(1))[0] == (None, 3.0, 15.0)

    def test_go_on_to_the_purchase_before(self, engine):
        found = netted(engine, buy(4, 8.0), buy(2, 6.0), back(3))
        assert found[:2] == [(None, 3.0, 6.0), (GONE, 2.0, 6.0)]

    def test_without_a_purchase_take_nothing(self, engine):
        assert self.fates(engine, back(1), buy(1, item_id="b")) == [BACK, None]

    def test_before_a_purchase_do_not_take_it(self, engine):
        assert self.fates(engine, back(1), buy(1)) == [BACK, None]

    def test_of_more_than_was_bought_take_nothing_from_what_is_bought_later(self, engine):
        found = netted(engine, buy(1), back(5), buy(4, 8.0), back(1))
        assert found[0][0] == GONE
        assert found[2] == (None, 3.0, 6.0)

    def test_concern_the_same_person_and_item_only(self, engine):
        rows = [buy(1), buy(1, user_id="w"), buy(1, item_id="b"), back(1)]
        assert self.fates(engine, *rows) == [GONE, None, None, BACK]

    def test_leave_what_is_no_purchase_alone(self, engine):
        assert self.fates(engine, buy(1), {"event_type": "view"}, back(1)) == [GONE, None, BACK]

    def test_count_one_where_no_quantity_is_given(self, engine):
        assert netted(engine, buy(None), buy(None), back(None)) == [
            (None, None, None), (GONE, None, None), (BACK, None, None),
        ]  # fmt: skip

    def test_at_the_moment_of_the_purchase_follow_the_order_of_the_file(self, engine):
        at = {"occurred_at": START}
        assert self.fates(engine, buy(1, **at), back(1, **at)) == [GONE, BACK]
        assert self.fates(engine, back(1, **at), buy(1, **at)) == [BACK, None]

    @settings(max_examples=20, deadline=None)
    @given(moves=st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=1, max_size=12))
    def test_do_what_a_pile_of_purchases_would_do(self, engine, moves):
        rows = [back(n) if is_return else buy(n) for is_return, n in moves]
        found = netted(engine, *rows)
        left = [0 if fate else quantity for fate, quantity, _ in found]
        assert left == pile(moves)


def pile(moves):
    """What is left of each move when returns take from the top of a pile."""
    left = [0 if is_return else n for is_return, n in moves]
    for place, (is_return, n) in enumerate(moves):
        for top in range(place - 1, -1, -1) if is_return else ():
            taken = min(n, left[top])
            left[top], n = left[top] - taken, n - taken
    return left
