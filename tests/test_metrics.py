"""Metrics worked out by hand, and intervals that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.types import Ragged
from training.evaluation import metrics

FEEDS = np.array([[4, 2, 7], [1, 0, -1], [5, 6, 8]], dtype=np.int32)
TRUTH = Ragged.of([[2, 3], [1], [0, 1, 2, 3]])
WANTED = np.array([2, 1, 4])
HIT = metrics.hits(FEEDS, TRUTH)


def test_a_hit_is_an_item_that_its_own_person_wanted():
    assert HIT.tolist() == [[False, True, False], [True, False, False], [False] * 3]


def test_a_place_without_an_item_is_never_a_hit():
    nothing = np.full((1, 4), -1, dtype=np.int32)
    assert not metrics.hits(nothing, Ragged.of([[0]])).any()


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [0, 1, 0]), (2, [1 / 2, 1, 0]), (3, [1 / 2, 1, 0])]
)
def test_recall_is_the_share_of_what_was_wanted(k, expected):
    assert metrics.recall(HIT, WANTED, k).tolist() == expected


def test_hit_rate_asks_only_whether_there_was_one():
    assert metrics.hit_rate(HIT, 1).tolist() == [0, 1, 0]
    assert metrics.hit_rate(HIT, 3).tolist() == [1, 1, 0]


def test_ndcg_discounts_by_place_and_is_1_for_the_best_feed_there_could_be():
    second = 1 / np.log2(3)
    np.testing.assert_allclose(metrics.ndcg(HIT, WANTED, 3), [second / (1 + second), 1, 0])
    np.testing.assert_allclose(metrics.ndcg(HIT, WANTED, 1), [0, 1, 0])
    perfect = metrics.hits(np.array([[3, 2, 9]]), Ragged.of([[2, 3]]))
    np.testing.assert_allclose(metrics.ndcg(perfect, np.array([2]), 3), [1])


def test_a_short_feed_is_not_scored_as_a_full_one():
    short = metrics.hits(np.array([[2, -1, -1]]), Ragged.of([[2, 3]]))
    assert metrics.recall(short, np.array([2]), 3).tolist() == [0.5]
    assert metrics.ndcg(short, np.array([2]), 3)[0] < 1


def test_coverage_is_the_share_of_the_catalogue_that_anybody_is_shown():
    assert metrics.coverage(FEEDS, 10, 1) == 3 / 10
    assert metrics.coverage(FEEDS, 10, 3) == 8 / 10


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_every_metric_agrees_with_a_plain_loop(seed, k):
    random = np.random.default_rng(seed)
    feeds = np.stack([random.permutation(12)[:8] for _ in range(5)]).astype(np.int32)
    feeds[random.random(feeds.shape) < 0.1] = -1
    wanted = [random.permutation(12)[: random.integers(1, 6)] for _ in range(5)]
    hit, counts = metrics.hits(feeds, Ragged.of(wanted)), np.array([len(w) for w in wanted])
    for row in range(5):
        found = [place for place, item in enumerate(feeds[row][:k]) if item in set(wanted[row])]
        best = sum(1 / np.log2(place + 2) for place in range(min(k, counts[row])))
        gained = sum(1 / np.log2(place + 2) for place in found)
        assert metrics.recall(hit, counts, k)[row] == pytest.approx(len(found) / counts[row])
        assert metrics.hit_rate(hit, k)[row] == (len(found) > 0)
        assert metrics.ndcg(hit, counts, k)[row] == pytest.approx(gained / best)


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = metrics.interval(values, metrics.draws(400, 2000, seed=1))
    error = values.std() / np.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_the_same_seed_draws_the_same_people():
    assert (metrics.draws(10, 5, seed=3) == metrics.draws(10, 5, seed=3)).all()
    assert (metrics.draws(10, 5, seed=3).sum(axis=1) == 10).all()
