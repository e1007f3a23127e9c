"""Metrics worked out by hand, and intervals that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score, precision_score, recall_score

from features.types import Ragged
from training.evaluation import metrics, protocol

FEEDS = np.array([[4, 2, 7], [1, 0, -1], [5, 6, 8]], dtype=np.int32)
TRUTH = Ragged.of([[2, 3], [1], [0, 1, 2, 3]])
WANTED = np.array([2, 1, 4])
HIT = metrics.hits(FEEDS, TRUTH)
VALUE = np.array([6.0, 2, 5, 1, 1, 1, 1])  # of each of them: 6 for the first one's item 2


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


def test_precision_is_the_share_of_the_places_that_were_wanted_empty_ones_included():
    assert metrics.precision(HIT, 2).tolist() == [1 / 2, 1 / 2, 0]
    assert metrics.precision(HIT, 4).tolist() == [1 / 4, 1 / 4, 0]


def test_the_reciprocal_rank_is_that_of_the_first_wanted_item():
    assert metrics.reciprocal_rank(HIT, 3).tolist() == [1 / 2, 1, 0]
    assert metrics.reciprocal_rank(HIT, 1).tolist() == [0, 1, 0]
    twice = metrics.hits(np.array([[9, 3, 2]]), Ragged.of([[2, 3]]))
    assert metrics.reciprocal_rank(twice, 3).tolist() == [1 / 2]


def test_average_precision_is_the_precision_at_each_hit_over_what_could_be_found():
    at_1_and_3 = metrics.hits(np.array([[3, 9, 2]]), Ragged.of([[1, 2, 3]]))
    three = np.array([3])
    assert metrics.average_precision(at_1_and_3, three, 3) == pytest.approx((1 + 2 / 3) / 3)
    assert metrics.average_precision(at_1_and_3, three, 2) == pytest.approx(1 / 2)


def test_average_precision_is_1_for_a_feed_of_wanted_items_however_many_more_were_wanted():
    wanted = metrics.hits(np.array([[1, 2]]), Ragged.of([[0, 1, 2, 3, 4]]))
    assert metrics.average_precision(wanted, np.array([5]), 2).tolist() == [1]


def test_a_short_feed_is_not_scored_as_a_full_one():
    short = metrics.hits(np.array([[2, -1, -1]]), Ragged.of([[2, 3]]))
    two = np.array([2])
    assert metrics.recall(short, two, 3).tolist() == [0.5]
    assert metrics.precision(short, 3).tolist() == [1 / 3]
    assert metrics.average_precision(short, two, 3).tolist() == [0.5]
    assert metrics.ndcg(short, two, 3)[0] < 1


def test_feeds_of_other_people_than_those_of_the_truth_are_refused():
    with pytest.raises(ValueError, match="feeds have 2 rows, truth 3"):
        metrics.hits(FEEDS[:2], TRUTH)


def test_coverage_is_the_share_of_the_catalogue_that_anybody_is_shown():
    assert metrics.coverage(FEEDS, 10, 1) == 3 / 10
    assert metrics.coverage(FEEDS, 10, 3) == 8 / 10


N_ITEMS = 12


def some_people(seed, people=5, size=8):
    """Feeds with gaps at their end, what each person wanted in any order, and its value."""
    random = np.random.default_rng(seed)
    feeds = np.stack([random.permutation(N_ITEMS)[:size] for _ in range(people)]).astype(np.int32)
    feeds[np.arange(size) >= random.integers(0, size + 1, people)[:, None]] = -1
    truth = Ragged.of([random.permutation(N_ITEMS)[: random.integers(1, 6)] for _ in range(people)])
    return feeds, truth, random.exponential(10, truth.values.size) + 0.01


def every(feeds, truth, value, k):
    """Each metric that is a share, by name."""
    hit, wanted = metrics.hits(feeds, truth), np.diff(truth.indptr)
    gain = metrics.gains(feeds, truth, value)
    return {
        "recall": metrics.recall(hit, wanted, k),
        "precision": metrics.precision(hit, k),
        "hit_rate": metrics.hit_rate(hit, k),
        "reciprocal_rank": metrics.reciprocal_rank(hit, k),
        "average_precision": metrics.average_precision(hit, wanted, k),
        "ndcg": metrics.ndcg(hit, wanted, k),
        "value_ndcg": metrics.value_ndcg(gain, truth, value, k),
        "value_share": metrics.value_share(gain, truth, value, k),
    }


def always(test):
    """Whatever the people, and however many places count."""
    return settings(max_examples=50, deadline=None)(
        given(seed=st.integers(0, 10_000), k=st.integers(1, 10))(test)
    )


class TestEveryMetric:
    @always
    def test_agrees_with_a_plain_loop(self, seed, k):
        feeds, truth, value = some_people(seed)
        found, start = every(feeds, truth, value, k), 0
        for row in range(len(feeds)):
            worth = dict(zip(truth.row(row).tolist(), value[start:], strict=False))
            start += len(worth)
            here = [place for place, item in enumerate(feeds[row][:k], 1) if item in worth]
            got = [worth[feeds[row][place - 1]] for place in here]
            discount = [1 / np.log2(place + 1) for place in here]
            best = [1 / np.log2(place + 1) for place in range(1, k + 1)][: len(worth)]
            dearest = sorted(worth.values(), reverse=True)[:k]
            expected = {
                "recall": len(here) / len(worth),
                "precision": len(here) / k,
                "hit_rate": float(bool(here)),
                "reciprocal_rank": 1 / here[0] if here else 0,
                "average_precision": sum(n / place for n, place in enumerate(here, 1)) / len(best),
                "ndcg": sum(discount) / sum(best),
                "value_ndcg": np.dot(got, discount) / np.dot(dearest, best),
                "value_share": sum(got) / sum(worth.values()),
            }
            for name, number in expected.items():
                assert found[name][row] == pytest.approx(number), name

    @always
    def test_lies_between_0_and_1(self, seed, k):
        for name, values in every(*some_people(seed), k).items():
            assert ((values >= 0) & (values <= 1 + 1e-12)).all(), name

    @always
    def test_treats_people_alike(self, seed, k):
        feeds, truth, value = some_people(seed)
        order = np.random.default_rng(seed).permutation(len(feeds))
        each = np.split(value, truth.indptr[1:-1])
        turned = every(feeds[order], truth.take(order), np.concatenate([each[o] for o in order]), k)
        for name, values in every(feeds, truth, value, k).items():
            np.testing.assert_allclose(turned[name], values[order], err_msg=name)

    @always
    def test_is_the_same_for_a_short_feed_and_one_filled_up_with_misses(self, seed, k):
        feeds, truth, value = some_people(seed)
        filled = np.where(feeds >= 0, feeds, N_ITEMS + np.arange(feeds.shape[1])).astype(np.int32)
        for name, values in every(filled, truth, value, k).items():
            np.testing.assert_array_equal(values, every(feeds, truth, value, k)[name], name)

    @always
    def test_is_never_lower_for_a_feed_in_which_a_wanted_item_takes_the_place_of_a_miss(
        self, seed, k
    ):
        feeds, truth, value = some_people(seed)
        better = feeds.copy()
        for row in range(len(feeds)):
            missed = np.setdiff1d(truth.row(row), feeds[row])
            misses = np.flatnonzero(~metrics.hits(feeds, truth)[row])
            if missed.size and misses.size:
                better[row, misses[0]] = missed[0]
        before = every(feeds, truth, value, k)
        for name, values in every(better, truth, value, k).items():
            assert (values >= before[name] - 1e-12).all(), name

    @always
    def test_is_never_lower_for_a_feed_that_has_what_was_wanted_first(self, seed, k):
        feeds, truth, value = some_people(seed)
        first = np.argsort(-metrics.gains(feeds, truth, value), axis=1, kind="stable")
        before = every(feeds, truth, value, k)
        for name, values in every(np.take_along_axis(feeds, first, 1), truth, value, k).items():
            assert (values >= before[name] - 1e-12).all(), name

    @always
    def test_is_what_scikit_learn_says_where_they_mean_the_same(self, seed, k):
        """Scores for all of the catalogue, no two alike; ours see the feed that they make."""
        _, truth, value = some_people(seed)
        random, k = np.random.default_rng(seed), min(k, N_ITEMS)
        scores = random.permuted(np.tile(np.arange(N_ITEMS), (len(truth), 1)), axis=1)
        feeds = np.argsort(-scores, axis=1).astype(np.int32)
        gains = np.zeros(scores.shape)
        gains[np.repeat(np.arange(len(truth)), np.diff(truth.indptr)), truth.values] = value
        wanted, shown = gains > 0, scores >= N_ITEMS - k
        mine, all_of_it = every(feeds, truth, value, k), every(feeds, truth, value, N_ITEMS)
        theirs = {
            "ndcg": ndcg_score(wanted, scores, k=k, ignore_ties=True),
            "value_ndcg": ndcg_score(gains, scores, k=k, ignore_ties=True),
            "precision": precision_score(wanted, shown, average="samples"),
            "recall": recall_score(wanted, shown, average="samples"),
        }
        for name, mean in theirs.items():
            assert mine[name].mean() == pytest.approx(mean), name
        average = average_precision_score(wanted, scores, average="samples")
        assert all_of_it["average_precision"].mean() == pytest.approx(average)


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_every_metric_is_what_trec_eval_says(k):
    """trec_eval's map_cut divides by all that was wanted, ours by the k that could be shown."""
    trec = pytest.importorskip("pytrec_eval")
    feeds, truth, value = some_people(7, people=200)
    wanted = np.diff(truth.indptr)
    run = {
        str(row): {str(item): float(-place) for place, item in enumerate(feed) if item >= 0}
        for row, feed in enumerate(feeds)
        if feed[0] >= 0
    }
    asked = {str(row): {str(i): 1 for i in truth.row(row).tolist()} for row in range(len(truth))}
    names = {f"{m}.{k}" for m in ("P", "recall", "success", "ndcg_cut", "map_cut")}
    theirs = trec.RelevanceEvaluator(asked, names).evaluate(run)
    mine, rows = every(feeds, truth, value, k), [int(row) for row in theirs]
    ours = {"P": "precision", "recall": "recall", "success": "hit_rate", "ndcg_cut": "ndcg"}
    for name, own in ours.items():
        np.testing.assert_allclose([one[f"{name}_{k}"] for one in theirs.values()], mine[own][rows])
    cut = mine["average_precision"] * np.minimum(wanted, k) / wanted
    np.testing.assert_allclose([one[f"map_cut_{k}"] for one in theirs.values()], cut[rows])


def test_judging_gives_every_metric_for_each_person_and_value_where_it_is_known():
    plain = protocol.judge(FEEDS, TRUTH, name="als", task="all", n_items=10).values
    valued = plain | protocol.captured(FEEDS, protocol.Priced(TRUTH, VALUE))
    names = {"recall", "precision", "ndcg", "mrr", "map", "hit_rate"}
    more = {"value_ndcg", "value_share", "value"}
    assert set(plain) == {f"{name}_at_{k}" for name in names for k in (10, 20)}
    assert set(valued) == {f"{name}_at_{k}" for name in names | more for k in (10, 20)}
    assert plain["mrr_at_10"].tolist() == [1 / 2, 1, 0]
    assert plain["map_at_20"].tolist() == [1 / 4, 1, 0]
    assert plain["precision_at_10"].tolist() == [1 / 10, 1 / 10, 0]
    assert valued["value_at_10"].tolist() == [6, 5, 0]


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


def test_people_of_whom_a_measure_says_nothing_are_left_out_of_its_mean():
    random = np.random.default_rng(0)
    some, drawn = random.normal(3, 2, 50), metrics.draws(50, 200, seed=1)
    some[::2] = np.nan
    found, known = metrics.interval(some, drawn), ~np.isnan(some)
    means = [np.repeat(some, times)[np.repeat(known, times)].mean() for times in drawn]
    assert found.mean == pytest.approx(some[known].mean())
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]).tolist())


def test_a_measure_that_says_nothing_of_anybody_has_no_mean():
    found = metrics.interval(np.full(3, np.nan), metrics.draws(3, 10, seed=1))
    assert np.isnan([found.mean, found.low, found.high]).all()
