"""Histories: events weighed by signal, age and cap, in the order of the log."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.feature_set import FeatureSet
from features.online import decayed
from features.options import Signal
from features.timelines import Timelines
from features.types import DAY_US, IdTable
from training.queries import queries_for, with_present

NOW = datetime(2024, 6, 1, tzinfo=UTC)
SIGNALS = {
    "view": Signal(weight=1, half_life_days=10),
    "purchase": Signal(weight=5, half_life_days=90),
    "save": Signal(weight=2),
    "dislike": Signal(weight=-1, half_life_days=1),
}


def timelines(*rows, n_items=4):
    """Per person: (item, signal, days ago), a session each."""
    flat = [one for row in rows for one in row]
    names = list(SIGNALS)
    return Timelines(
        np.cumsum([0, *map(len, rows)]),
        np.array([item for item, _, _ in flat], np.int32),
        np.array([names.index(signal) for _, signal, _ in flat], np.int8),
        np.array([int(-ago * DAY_US) for _, _, ago in flat], np.int64),
        np.concatenate([np.arange(len(row), dtype=np.int32) for row in rows]),
        n_items,
    )


class TestWeight:
    @pytest.mark.parametrize(
        ("signal", "days", "weight"),
        [
            ("view", 0, 1), ("view", 10, 0.5), ("view", 20, 0.25), ("view", 5, 0.70711),
            ("purchase", 90, 2.5), ("purchase", 45, 3.53553), ("save", 1000, 2),
            ("dislike", 100, -1), ("view", -3, 1),
        ],
    )  # fmt: skip
    def test_halves_every_half_life_and_what_blocks_does_not_fade(self, signal, days, weight):
        histories = timelines([(0, signal, days)]).histories(0, SIGNALS)
        assert histories.weights[0] == pytest.approx(weight, rel=1e-5)

    @given(days=st.floats(0, 3650), later=st.floats(0, 365))
    def test_fades_alike_for_all_so_that_their_order_stays(self, days, later):
        view = np.zeros(2, np.int8)
        ages = np.array([days, days + 1], np.float32)
        now = decayed(view, ages, SIGNALS)
        then = decayed(view, ages + np.float32(later), SIGNALS)
        assert now[0] >= now[1]
        assert then[0] >= then[1]
        assert (then <= now).all()


def capped(**caps):
    """The signals with some of them capped."""
    return {name: one.model_copy(update={"cap": caps.get(name)}) for name, one in SIGNALS.items()}


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(list(SIGNALS)), st.floats(0, 300)), max_size=12
).map(lambda row: sorted(row, key=lambda event: -event[2]))
CAPS = st.fixed_dictionaries({name: st.none() | st.integers(1, 3) for name in SIGNALS})


class TestCap:
    def test_counts_only_the_newest_of_one_person_on_one_item(self):
        people = timelines(
            [(0, "save", 9), (1, "save", 8), (0, "save", 7), (0, "view", 0), (0, "save", 1)],
            [(0, "save", 2)],
        )
        histories = people.histories(0, capped(save=2))
        assert histories.weights.tolist() == [0, 2, 2, 1, 2, 2]
        assert histories.items.tolist() == people.items.tolist(), "they stay in the history"

    def test_what_blocks_blocks_however_often_it_was_said(self):
        people = timelines([(0, "dislike", 3), (0, "dislike", 2), (0, "dislike", 1)])
        assert people.histories(0, capped(dislike=1)).weights.tolist() == [-1, -1, -1]

    @given(rows=st.lists(EVENTS, min_size=1, max_size=4), caps=CAPS)
    def test_is_what_a_loop_over_the_events_from_the_newest_on_gives(self, rows, caps):
        people, signals = timelines(*rows), capped(**caps)
        expected = people.histories(0, SIGNALS).weights
        for row in range(len(people)):
            counted = dict.fromkeys(np.ndindex(4, len(SIGNALS)), 0)
            for entry in reversed(range(people.indptr[row], people.indptr[row + 1])):
                signal = list(signals.values())[people.signals[entry]]
                counted[people.items[entry], people.signals[entry]] += 1
                seen = counted[people.items[entry], people.signals[entry]]
                if signal.weight > 0 and signal.cap is not None and seen > signal.cap:
                    expected[entry] = 0
        np.testing.assert_array_equal(people.histories(0, signals).weights, expected)

    @given(rows=st.lists(EVENTS, min_size=1, max_size=4), cap=st.integers(1, 4))
    def test_bounds_the_interest_in_an_item(self, rows, cap):
        signals = capped(view=cap, purchase=cap, save=cap)
        most = cap * sum(max(one.weight, 0) for one in SIGNALS.values())
        assert timelines(*rows).histories(0, signals).interest().toarray().max() <= most


class TestPresent:
    RECENT = (np.array([3, 2], np.int32), np.array([1], np.int32), np.empty(0, np.int32))

    def test_is_a_new_session_after_the_past(self):
        past = timelines([(0, "view", 2), (1, "view", 1)], [], [(2, "view", 1)])
        now = with_present(past, self.RECENT, 0, 0)
        assert now.items.tolist() == [0, 1, 3, 2, 1, 2]
        assert now.indptr.tolist() == [0, 4, 5, 6]
        assert now.sessions.tolist() == [0, 1, 2, 2, 0, 0]
        assert now.occurred_us[2:5].tolist() == [0, 0, 0]

    def test_is_above_the_highest_where_sessions_ran_side_by_side(self):
        past = replace(timelines([(0, "view", 2), (1, "view", 1)], [], []),
                       sessions=np.array([1, 0], np.int32))  # fmt: skip
        assert with_present(past, self.RECENT, 0, 0).sessions.tolist() == [1, 0, 2, 2, 0]

    def test_is_weighed_and_capped_together_with_the_past(self):
        past = timelines([(3, "view", 10), (0, "view", 5)], [], [])
        queries = queries_for(past, np.arange(3, dtype=np.int32), self.RECENT, 0, capped(view=1), 0)
        np.testing.assert_allclose(
            queries.histories.weights, [0, 2**-0.5, 1, 1, 1], rtol=1e-6
        )  # fmt: skip
        assert queries.session_start.tolist() == [2, 0, 0]


def test_a_matrix_sums_the_decayed_interest_of_each_person_in_each_item():
    people = timelines(
        [(1, "view", 10), (1, "purchase", 90), (2, "dislike", 0)], [], [(3, "save", 7)]
    )
    needed = {"manifest": {"as_of_us": 0}, "timelines": people,
              "persons": IdTable.of(["u:1", "u:2", "v:3"]),
              "items": IdTable.of(["a", "b", "c", "d"])}  # fmt: skip
    nothing = dict.fromkeys(part.name for part in fields(FeatureSet))
    matrix = FeatureSet(**(nothing | needed)).matrix(SIGNALS)
    dense = [[0, 3.0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2.0]]
    np.testing.assert_allclose(matrix.weights.toarray(), dense, rtol=1e-6)
    assert matrix.weights.dtype == np.float32
    assert matrix.weights[matrix.persons.index("u:1"), matrix.items.index("b")] == pytest.approx(3)


def at(minutes):
    return NOW + timedelta(minutes=minutes)


def event(item, occurred_at, **other):
    return {"item_id": item, "occurred_at": occurred_at, "event_type": "view", "user_id": "u",
            **other}  # fmt: skip


def order(features):
    """The items of the only person, in the order of the timeline."""
    return features.items.texts(features.timelines.items)


class TestOrder:
    def test_equal_times_follow_the_sequence(self, shop):
        rows = [event("a", NOW, sequence=3), event("b", NOW, sequence=1),
                event("c", at(-1), sequence=9), event("d", NOW, sequence=2)]  # fmt: skip
        assert order(shop.build({"events": shop.file("l.parquet", rows)})) == ["c", "b", "d", "a"]

    def test_else_the_files_in_the_order_of_their_names_and_their_rows(self, shop):
        shop.file("log-2.parquet", [event("a", NOW), event("z", at(-1))])
        shop.file("log-1.parquet", [event("d", NOW), event("b", NOW), event("c", NOW)])
        assert order(shop.build({"events": {"path": "log-*.parquet"}})) == ["z", "d", "b", "c", "a"]

    def test_a_sequence_runs_through_all_files(self, shop):
        shop.file("log-2.parquet", [event("a", NOW, sequence=1)])
        shop.file("log-1.parquet", [event("b", NOW, sequence=2)])
        assert order(shop.build({"events": {"path": "log-*.parquet"}})) == ["a", "b"]

    def test_a_microsecond_is_enough_to_come_first(self, shop):
        rows = [event("a", NOW + timedelta(microseconds=1)), event("b", NOW)]
        features = shop.build({"events": shop.file("l.parquet", rows)})
        assert order(features) == ["b", "a"]
        assert np.diff(features.timelines.occurred_us).tolist() == [1]

    def test_events_without_a_signal_are_not_in_a_timeline_but_their_people_and_items_are(
        self, shop
    ):
        rows = [event("a", NOW), event("b", NOW, event_type="search", user_id="w")]
        features = shop.build({"events": shop.file("l.parquet", rows)})
        assert order(features) == ["a"]
        assert features.persons.texts(np.arange(2)) == ["u:u", "u:w"]
        assert len(features.items) == 2

    def test_signals_are_numbered_in_the_order_of_the_config(self, shop):
        rows = [event("a", NOW), event("a", at(1), event_type="purchase")]
        source = shop.file("l.parquet", rows)
        first = shop.build({"events": source}, signals={"view": {"weight": 1}, "purchase":
                                                        {"weight": 5}})  # fmt: skip
        other = shop.build({"events": source}, signals={"purchase": {"weight": 5}, "view":
                                                        {"weight": 1}})  # fmt: skip
        assert first.timelines.signals.tolist() == [0, 1]
        assert other.timelines.signals.tolist() == [1, 0]
