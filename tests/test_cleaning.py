"""Cleaning: what is taken out of the log before anything is counted."""

import pytest
from dirty_log import DAY, ITEMS, LOG, MINUTE, SECOND, START, answers, events, full, struck_out
from hypothesis import given, settings
from hypothesis import strategies as st

from features import cleaning, impossible_times, returns, robots
from features.options import Robots

GIVEN = ("occurred_at", "event_type", "item_id", "user_id", "session_id", "sequence", "quantity",
         "event_id")  # fmt: skip


class TestSpelling:
    def spelled(self, engine, ids, *others):
        tables = [events(*({"item_id": one} for one in part)) for part in (ids, *others)]
        spelling = cleaning.spellings(*tables)
        found = cleaning.respelled(tables[0], spelling).order_by("row")
        return engine.to_pyarrow(found)["item_id"].to_pylist()

    def test_variants_in_case_come_out_in_the_most_frequent_spelling(self, engine):
        assert self.spelled(engine, ["ab1", "AB1", "AB1", "c"]) == ["AB1", "AB1", "AB1", "c"]

    def test_equally_frequent_ones_in_the_first_by_byte_order(self, engine):
        assert self.spelled(engine, ["ab", "Ab"]) == ["Ab", "Ab"]

    def test_the_catalogue_has_a_say_too(self, engine):
        assert self.spelled(engine, ["ab", "Ab"], ["ab"]) == ["ab", "ab"]

    def test_ids_without_variants_stay_as_they_are(self, engine):
        assert self.spelled(engine, ["a", "B", "b2"]) == ["a", "B", "b2"]

    def test_only_ids_that_change_are_named(self, engine):
        table = events(*({"item_id": one} for one in ("ab", "AB", "Ab", "AB", "c")))
        found = cleaning.spellings(table).order_by("item_id")
        assert engine.to_pyarrow(found).to_pylist() == [
            {"item_id": "Ab", "spelling": "AB"}, {"item_id": "ab", "spelling": "AB"},
        ]  # fmt: skip

    def test_the_columns_keep_their_order(self, engine):
        table = events({"item_id": "ab"}, {"item_id": "AB"})
        assert cleaning.respelled(table, cleaning.spellings(table)).columns == table.columns


class TestNonProducts:
    def test_are_told_by_patterns_anywhere_in_the_id(self, engine):
        rows = [{"item_id": one} for one in ("POST", "POSTER", "a gift 5", "post")]
        found = struck_out(engine, cleaning.non_products, rows, ("^POST$", "gift"))
        assert found == {0: "non-product", 2: "non-product"}

    def test_without_patterns_there_are_none(self, engine):
        assert struck_out(engine, cleaning.non_products, [{}, {}], ()) == {}


SAME = {"occurred_us": START}
TWICE = "exact duplicate"


class TestExactDuplicates:
    def removed(self, engine, *rows, given=GIVEN):
        return struck_out(engine, cleaning.exact_duplicates, rows, given)

    def test_events_that_agree_in_all_fields_are_one(self, engine):
        assert self.removed(engine, SAME, SAME, SAME) == {1: TWICE, 2: TWICE}

    @pytest.mark.parametrize(
        "other",
        [{"sequence": 2}, {"quantity": 2}, {"quantity": None}, {"user_id": "w"},
         {"user_id": None, "session_id": "u"}, {"session_id": "t"}, {"event_type": "view"},
         {"item_id": "b"}, {"occurred_us": START + 1}],
    )  # fmt: skip
    def test_events_that_differ_in_any_field_are_two(self, engine, other):
        first = SAME | {"sequence": 1, "session_id": "s", "quantity": 1}
        assert self.removed(engine, first, first | other) == {}

    def test_a_visitor_on_two_devices_at_once_has_done_two_things(self, engine):
        rows = [SAME | {"visitor_id": one} for one in ("v", "w")]
        assert self.removed(engine, *rows, given=(*GIVEN, "visitor_id")) == {}

    def test_fields_that_the_log_does_not_have_make_no_difference(self, engine):
        rows = [SAME | {"placement": one} for one in ("home", "search")]
        assert self.removed(engine, *rows) == {1: TWICE}

    def test_where_there_is_an_event_id_it_alone_decides(self, engine):
        rows = [{"event_id": "1"}, {"event_id": "1", "item_id": "b"},
                SAME | {"event_id": "2"}, SAME | {"event_id": "3"}]  # fmt: skip
        assert self.removed(engine, *rows) == {1: TWICE}

    def test_an_event_id_is_no_other_field_of_the_same_text(self, engine):
        assert self.removed(engine, SAME | {"event_id": "a"}, SAME) == {}

    def test_the_earliest_stays(self, engine):
        rows = [{"event_id": "1", "occurred_us": START + 1}, {"event_id": "1", **SAME}]
        assert self.removed(engine, *rows) == {0: TWICE}


AGAIN = "near duplicate"


class TestNearDuplicates:
    def removed(self, engine, *rows, seconds=1.0):
        return struck_out(engine, cleaning.near_duplicates, rows, seconds)

    def at(self, *seconds, **other):
        return [{"occurred_us": START + round(one * SECOND)} | other for one in seconds]

    def test_the_same_act_again_within_a_second_is_one(self, engine):
        assert self.removed(engine, *self.at(0, 1, 2.000001)) == {1: AGAIN}

    def test_a_chain_of_them_collapses_onto_the_first(self, engine):
        assert self.removed(engine, *self.at(3, 0, 0.9, 1.8, 2.7)) == dict.fromkeys(
            (0, 2, 3, 4), AGAIN
        )

    def test_the_log_says_which_of_equal_times_is_first(self, engine):
        rows = [SAME | {"sequence": 2}, SAME | {"sequence": 1}]
        assert self.removed(engine, *rows) == {0: AGAIN}

    @pytest.mark.parametrize(
        "other",
        [{"user_id": "w"}, {"item_id": "b"}, {"event_type": "view"}, {"quantity": 2.0},
         {"quantity": None}, {"value": 5.0}, {"value": None}],
    )  # fmt: skip
    def test_another_act_at_the_same_time_stays(self, engine, other):
        first = SAME | {"quantity": 1.0, "value": 9.0}
        assert self.removed(engine, first, first | other) == {}

    def test_another_device_of_the_same_person_makes_no_difference(self, engine):
        rows = [SAME | {"visitor_id": one, "session_id": one, "event_id": one} for one in "vw"]
        assert self.removed(engine, *rows) == {1: AGAIN}

    def test_other_acts_in_between_make_no_difference(self, engine):
        rows = [{}, {"item_id": "b"}, {"event_type": "view"}, {}]
        timed = [row | at for row, at in zip(rows, self.at(0, 0.1, 0.2, 0.3), strict=True)]
        assert self.removed(engine, *timed) == {3: AGAIN}

    def test_no_seconds_take_nothing_out(self, engine):
        assert self.removed(engine, SAME, SAME, seconds=0) == {}

    @pytest.mark.parametrize(
        ("clock", "seconds", "gone"),
        [(SECOND, 1, True), (MINUTE, 1, False), (MINUTE, 60, True), (DAY, 60, False),
         (DAY, 86_400, True), (SECOND, 0.5, False)],
    )  # fmt: skip
    def test_a_clock_too_coarse_to_tell_leaves_them(self, engine, clock, seconds, gone):
        rounded = {"occurred_us": START // DAY * DAY + 5 * clock}
        assert bool(self.removed(engine, rounded, rounded, seconds=seconds)) is gone

    def test_every_event_type_has_a_clock_of_its_own(self, engine):
        noon = {"occurred_us": START // MINUTE * MINUTE}
        bought, seen = noon | {"event_type": "buy"}, noon | {"event_type": "view"}
        other = SAME | {"event_type": "view", "item_id": "b"}
        assert self.removed(engine, bought, bought, seen, seen, other) == {3: AGAIN}


STEPS = {
    "non-products": lambda log: cleaning.non_products(log, ["^POST$"]),
    "exact duplicates": lambda log: cleaning.exact_duplicates(log, GIVEN),
    "near duplicates": lambda log: cleaning.near_duplicates(log, 1.0),
    "the future": lambda log: impossible_times.in_the_future(log, START + 400 * DAY),
    "before published": lambda log: impossible_times.before_published(log, ITEMS, 0.0),
    "stragglers": lambda log: impossible_times.stragglers(log, 30, 0.02),
    "robots": lambda log: robots.removals(log, robots.find_robots(log, EAGER)),
    "returns": lambda log: returns.net_returns(log, ["buy"], ["return"])[0],
}
EAGER = Robots(min_moments=5, moments_per_hour=8, beat_variation=0.3, items_per_day=2)
MOMENTS = st.one_of(
    st.integers(0, 60).map(lambda n: START + n * SECOND // 2),
    st.sampled_from([START + days * DAY for days in (-900, -200, 40, 41, 300, 5000)]),
)
DIRTY = st.lists(
    st.fixed_dictionaries(
        {
            "occurred_us": MOMENTS,
            "event_type": st.sampled_from(["view", "buy", "return"]),
            "item_id": st.sampled_from(["a", "B", "POST"]),
            "user_id": st.sampled_from(["u", "u", "u", "w"]),
            "quantity": st.sampled_from([None, 1.0, 2.0]),
            "event_id": st.sampled_from([None, None, "1", "2"]),
        }
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip


PUBLISHED = {"a": START + 20 * SECOND, "B": None}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
class TestEveryStep:
    def test_says_which_rows_and_why(self, step):
        types = {name: str(kind) for name, kind in step(LOG).schema().items()}
        assert types == {"row": "int64", "reason": "string"}

    @settings(max_examples=8, deadline=None)
    @given(rows=DIRTY)
    def test_takes_out_some_rows_and_finds_no_more_in_the_rest(self, engine, step, rows):
        log = full(*rows)
        gone = answers(engine, step, log, published=PUBLISHED)
        out = dict(gone)
        kept = [row for row in log if row["row"] not in out]
        assert len(kept) + len(gone) == len(log)
        assert all(out.values())
        assert answers(engine, step, kept, published=PUBLISHED) == []

    def test_takes_nothing_out_of_an_empty_log(self, engine, step):
        assert struck_out(engine, step, [], published=PUBLISHED) == {}


@settings(max_examples=20, deadline=None)
@given(rows=DIRTY)
def test_near_duplicates_are_what_a_reader_of_the_log_would_strike_out(engine, rows):
    finer = [{"occurred_us": START, "event_type": one} for one in ("view", "buy", "return")]
    rows = [*finer, *rows]
    last, expected = {}, {}
    for row in sorted(full(*rows), key=lambda row: (row["occurred_us"], row["row"])):
        act = tuple(row[name] for name in ("person", "item_id", "event_type", "quantity", "value"))
        if act in last and row["occurred_us"] - last[act] <= SECOND:
            expected[row["row"]] = AGAIN
        last[act] = row["occurred_us"]
    assert struck_out(engine, cleaning.near_duplicates, rows, 1.0) == expected


@settings(max_examples=20, deadline=None)
@given(rows=DIRTY)
def test_exact_duplicates_are_all_but_the_first_of_those_that_say_the_same(engine, rows):
    seen, expected = set(), {}
    for row in sorted(full(*rows), key=lambda row: (row["occurred_us"], row["row"])):
        said = row["event_id"] or tuple(
            row[name] for name in ("occurred_us", "event_type", "item_id", "user_id", "quantity")
        )
        if said in seen:
            expected[row["row"]] = TWICE
        seen.add(said)
    assert struck_out(engine, cleaning.exact_duplicates, rows, GIVEN) == expected
