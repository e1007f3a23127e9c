"""Metrics by value (money, seconds of reading), and what people wanted in a time that followed."""

from __future__ import annotations

import numpy as np
import pytest

from features.timelines import Timelines
from features.types import DAY_US, Ragged
from training.evaluation import metrics

FEEDS = np.array([[4, 2, 7], [1, 0, -1], [5, 6, 8]], dtype=np.int32)
TRUTH = Ragged.of([[2, 3], [1], [0, 1, 2, 3]])
VALUE = np.array([6.0, 2, 5, 1, 1, 1, 1])


class TestValue:
    """The first person's items 2 and 3 are worth 6 and 2, the second's item 1 five."""

    gain = metrics.gains(FEEDS, TRUTH, VALUE)

    def test_a_hit_gains_what_it_was_worth(self):
        assert self.gain.tolist() == [[0, 6, 0], [5, 0, 0], [0, 0, 0]]

    def test_the_order_in_which_items_were_wanted_does_not_matter(self):
        other = Ragged.of([[3, 2], [1], [3, 2, 1, 0]])
        value = np.array([2.0, 6, 5, 1, 1, 1, 1])
        assert metrics.gains(FEEDS, other, value).tolist() == self.gain.tolist()
        for k in (1, 3):
            same = metrics.value_ndcg(self.gain, other, value, k)
            assert same.tolist() == metrics.value_ndcg(self.gain, TRUTH, VALUE, k).tolist()

    def test_captured_is_the_money_and_its_share_of_all_that_was_spent(self):
        assert metrics.value_captured(self.gain, 1).tolist() == [0, 5, 0]
        assert metrics.value_captured(self.gain, 3).tolist() == [6, 5, 0]
        assert metrics.value_share(self.gain, TRUTH, VALUE, 3).tolist() == [6 / 8, 1, 0]

    def test_ndcg_by_value_is_measured_by_the_feed_with_the_dearest_first(self):
        second, best = 1 / np.log2(3), 6 + 2 / np.log2(3)
        found = metrics.value_ndcg(self.gain, TRUTH, VALUE, 3)
        np.testing.assert_allclose(found, [6 * second / best, 1, 0])
        np.testing.assert_allclose(metrics.value_ndcg(self.gain, TRUTH, VALUE, 1), [0, 1, 0])

    def test_the_dearest_first_is_worth_more_than_the_dearest_second(self):
        truth, value = Ragged.of([[2, 3], [2, 3]]), np.array([6.0, 2, 6, 2])
        gain = metrics.gains(np.array([[2, 3], [3, 2]], np.int32), truth, value)
        better, worse = metrics.value_ndcg(gain, truth, value, 2)
        assert better == pytest.approx(1)
        assert worse == pytest.approx((2 + 6 / np.log2(3)) / (6 + 2 / np.log2(3)))

    @pytest.mark.parametrize("worth", [0.0, -1.0, np.nan, np.inf])
    def test_what_is_worth_nothing_cannot_be_wanted(self, worth):
        value = VALUE.copy()
        value[2] = worth
        with pytest.raises(ValueError, match=r"value\[2\] is .*leave items"):
            metrics.gains(FEEDS, TRUTH, value)

    def test_a_value_is_needed_for_each_wanted_item(self):
        with pytest.raises(ValueError, match="value has 6 entries, truth 7"):
            metrics.gains(FEEDS, TRUTH, VALUE[:6])

    def test_an_item_wanted_twice_is_refused(self):
        with pytest.raises(ValueError, match="truth row 1 has item 4 twice"):
            metrics.gains(FEEDS[:2], Ragged.of([[2], [4, 1, 4]]), np.ones(4))

    def test_nobody_and_nothing_wanted_gain_nothing(self):
        assert not metrics.gains(FEEDS, Ragged.empty(3), np.empty(0)).any()
        assert metrics.gains(FEEDS[:0], Ragged.empty(0), np.empty(0)).shape == (0, 3)


class TestValueAfter:
    """Two people, asked at noon of day 10; (item, days from then, value)."""

    asked_us = 10 * DAY_US

    def after(self, *rows, days=7.0, asked_us=asked_us):
        flat = [event for row in rows for event in row]
        items, when, value = (np.array(c, dtype=np.float64) for c in zip(*flat, strict=True))
        log = Timelines(
            np.cumsum([0, *map(len, rows)]), items.astype(np.int32), np.zeros(len(flat), np.int8),
            (self.asked_us + when * DAY_US).astype(np.int64), np.zeros(len(flat), np.int32), 10,
        )  # fmt: skip
        truth, worth = metrics.value_after(log, value, asked_us, days)
        each = np.split(worth, truth.indptr[1:-1])
        return [
            dict(zip(truth.row(n).tolist(), w.tolist(), strict=True)) for n, w in enumerate(each)
        ]

    def test_what_is_bought_again_in_the_window_adds_up(self):
        assert self.after([(3, 1, 5), (1, 2, 4), (3, 6, 5)], [(3, 0, 2)]) == [{1: 4, 3: 10}, {3: 2}]

    def test_the_window_has_its_first_moment_and_not_its_last(self):
        row = [(1, -0.001, 1), (2, 0, 1), (3, 6.999, 1), (4, 7, 1)]
        assert self.after(row) == [{2: 1, 3: 1}]

    def test_everybody_can_be_asked_at_a_moment_of_their_own(self):
        moments = np.array([self.asked_us, self.asked_us + DAY_US])
        assert self.after([(1, 0, 1)], [(1, 0, 1), (2, 1, 1)], asked_us=moments) == [{1: 1}, {2: 1}]

    def test_what_was_brought_back_or_has_no_value_was_not_wanted(self):
        row = [(1, 1, 5), (1, 2, -5), (2, 1, np.nan), (3, 1, 4), (3, 2, -1), (4, 1, -2)]
        assert self.after(row, [(1, 1, np.nan)]) == [{3: 3}, {}]

    def test_an_item_keeps_its_value_when_it_was_also_only_looked_at(self):
        assert self.after([(1, 1, np.nan), (1, 2, 5), (1, 3, np.nan)]) == [{1: 5}]

    def test_a_value_is_needed_for_each_event(self):
        empty = np.empty(0, np.int32)
        log = Timelines(np.array([0, 0]), empty, empty.astype(np.int8), empty.astype(np.int64),
                        empty, 10)  # fmt: skip
        with pytest.raises(ValueError, match="value has 2 entries, the log 0 events"):
            metrics.value_after(log, np.ones(2), 0, 1.0)
