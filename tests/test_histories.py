"""Histories: events weighed by signal and age, recent popularity, and the split in time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import split
from features.feature_set import FeatureSet
from features.online import decayed
from features.options import Signal
from features.popularity import recent_popularity
from features.timelines import Timelines
from features.types import DAY_US, IdTable

NOW = datetime(2024, 6, 1, tzinfo=UTC)
SIGNALS = {
    "view": Signal(weight=1, half_life_days=10),
    "purchase": Signal(weight=5, half_life_days=90),
    "save": Signal(weight=2),
    "dislike": Signal(weight=-1, half_life_days=1),
}


def timelines(*rows, n_items=4):
    """Per person: (item, signal, days ago)."""
    flat = [one for row in rows for one in row]
    names = list(SIGNALS)
    return Timelines(
        np.cumsum([0, *map(len, rows)]),
        np.array([item for item, _, _ in flat], np.int32),
        np.array([names.index(signal) for _, signal, _ in flat], np.int8),
        np.array([int(-ago * DAY_US) for _, _, ago in flat], np.int64),
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


def test_a_matrix_sums_the_decayed_interest_of_each_person_in_each_item():
    people = timelines(
        [(1, "view", 10), (1, "purchase", 90), (2, "dislike", 0)], [], [(3, "save", 7)]
    )
    ids = IdTable.of(["u:1", "u:2", "v:3"]), IdTable.of(["a", "b", "c", "d"])
    built = FeatureSet(Path(), {"as_of_us": 0}, people, *ids, np.ones(3, dtype=bool))
    matrix = built.matrix(SIGNALS)
    dense = [[0, 3.0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2.0]]
    np.testing.assert_allclose(matrix.weights.toarray(), dense, rtol=1e-6)
    assert matrix.weights.dtype == np.float32
    assert matrix.weights[matrix.persons.index("u:1"), matrix.items.index("b")] == pytest.approx(3)


def test_recent_popularity_counts_everybody_with_one_half_life():
    log = timelines([(0, "view", 2), (1, "purchase", 4)], [(0, "view", 0), (2, "dislike", 0)])
    popularity = recent_popularity(log, 0, 2.0, SIGNALS)
    np.testing.assert_allclose(popularity, [1.5, 1.25, 0, 0])


class TestSplit:
    LOG = timelines([(0, "view", 30), (1, "view", 5), (2, "view", 0)], [(3, "view", 10)])

    def test_leaves_the_same_people_on_both_sides_of_the_cut(self):
        cut = -10 * DAY_US
        parts = split.time_split(self.LOG, cut)
        assert parts.past.items.tolist() == [0]
        assert parts.future.items.tolist() == [1, 2, 3]
        assert parts.future.indptr.tolist() == [0, 2, 3]
        assert (parts.past.occurred_us < cut).all()

    def test_cuts_off_a_tenth_of_the_log_between_a_day_and_four_weeks(self):
        assert split.cut_for_test(self.LOG, None) == -3 * DAY_US
        short = timelines([(0, "view", 1), (0, "view", 0)])
        assert split.cut_for_test(short, None) == -DAY_US // 2, "never more than half of it"
        long = timelines([(0, "view", 1000), (0, "view", 0)])
        assert split.cut_for_test(long, None) == -28 * DAY_US

    def test_cuts_off_as_many_days_as_the_config_says(self):
        assert split.cut_for_test(self.LOG, 0.5) == -DAY_US // 2

    def test_needs_an_event_with_a_signal(self):
        with pytest.raises(ValueError, match="no event that carries a signal; see `signals:`"):
            split.cut_for_test(timelines([]), None)


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
