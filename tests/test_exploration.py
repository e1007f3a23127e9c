"""Exploration: any allowed item in a share of the slots, and its propensity known exactly."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.types import Ragged
from training.exploration import Chances, explore
from training.policy import Decision, Feeds
from training.rankers.base import Allowed


def feeds(rows):
    items = np.array(rows, dtype=np.int32)
    n = len(items)
    return Feeds(
        items, np.where(items >= 0, 1, np.nan).astype(np.float32),
        np.where(items >= 0, 0, -1).astype(np.int8), np.zeros(n, np.int8),
        np.full(n, Decision.show, np.int8), np.zeros(n, np.int8),
    )  # fmt: skip


def allowed(items, *excluded):
    return Allowed(slice(0, items), Ragged.of(list(excluded)))


def random(seed=0):
    return np.random.default_rng(seed)


def test_without_a_share_nothing_changes_and_all_is_certain():
    found = explore(feeds([[3, 1, -1]]), allowed(6, []), 0.0, random())
    assert found.feeds.items.tolist() == [[3, 1, -1]]
    assert not found.explored.any()
    np.testing.assert_array_equal(found.propensity, [[1, 1, np.nan]])


def test_where_everything_is_explored_every_item_is_as_likely():
    chances = Chances.of(1.0, 3, 5)
    assert (chances.own, chances.moved, chances.other) == pytest.approx((0.2, 0.2, 0.2))


@given(st.floats(0, 1), st.integers(1, 8), st.integers(0, 20))
def test_the_chances_of_all_items_in_a_slot_sum_to_one(share, slots, more):
    chances = Chances.of(share, slots, slots + more)
    total = chances.own + (slots - 1) * chances.moved + more * chances.other
    assert total == pytest.approx(1)


def test_the_propensities_are_how_often_items_are_shown():
    """Two slots of four items, the fourth excluded; each slot explored every second time."""
    times, seen, told = 20_000, Counter(), {}
    ranked = feeds([[0, 1]] * times)
    found = explore(ranked, Allowed(slice(0, 4), Ragged.of([[3]] * times)), 0.5, random())
    for row, chance in zip(found.feeds.items, found.propensity, strict=True):
        for slot in (0, 1):
            seen[slot, int(row[slot])] += 1
            told[slot, int(row[slot])] = chance[slot]
    for key, chance in told.items():
        assert seen[key] / times == pytest.approx(chance, abs=0.015), key
    assert set(told) == {(slot, item) for slot in (0, 1) for item in (0, 1, 2)}


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_feed_never_has_an_item_twice_nor_one_that_is_kept_away(seed, share):
    found = explore(feeds([[5, 2, 7], [1, -1, -1]]), allowed(9, [0, 3], [4]), share, random(seed))
    first, second = found.feeds.items.tolist()
    assert len(set(first)) == 3
    assert not set(first) & {0, 3}
    assert second[0] not in (4, -1)
    assert second[1:] == [-1, -1], "what the feed lacks is not filled by chance"
    assert (found.propensity[found.feeds.items >= 0] > 0).all()


def test_the_same_seed_explores_the_same():
    ranked, shelf = feeds([[0, 1, 2]] * 20), allowed(50, *[[]] * 20)
    one, two = (explore(ranked, shelf, 0.3, random(7)) for _ in range(2))
    assert one.feeds.items.tolist() == two.feeds.items.tolist()
    assert one.explored.any()


def test_an_impossible_share_is_refused():
    with pytest.raises(ValueError, match=r"exploration_share is 1\.5"):
        explore(feeds([[0]]), allowed(3, []), 1.5, random())
