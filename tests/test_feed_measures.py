"""What feeds are like, worked out by hand on six items, and held against SciPy on many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from features.types import DAY_US, Histories, Ragged
from training.evaluation import feed_measures as measures
from training.item_facts import UNBORN, ItemFacts
from training.policy import Decision
from training.rankers.base import Queries

N_ITEMS = 6
# paths of the six items: a/b, a/b, a/c, d, d/e, and one whose category nobody knows
PATHS = sp.csr_matrix(
    np.array(
        [  # a  a/b a/c d  d/e
            [1, 1, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 0, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 1, 1],
            [0, 0, 0, 0, 0],
        ],
        dtype=np.float32,
    )
)
BRANCH = np.array([0, 0, 0, 1, 1, -1], dtype=np.int32)  # a, a, a, d, d, unknown


def feeds(*rows):
    """Feeds of one length, filled up with -1."""
    size = max(map(len, rows))
    return np.array([[*row, *[-1] * (size - len(row))] for row in rows], dtype=np.int32)


def some_feeds(seed, people=7, size=4, n_items=N_ITEMS):
    """Feeds with gaps at their end, some of them empty."""
    random = np.random.default_rng(seed)
    found = np.stack([random.permutation(n_items)[:size] for _ in range(people)]).astype(np.int32)
    found[np.arange(size) >= random.integers(0, size + 1, people)[:, None]] = -1
    return found


seeds = given(seed=st.integers(0, 10_000))
often = settings(max_examples=40, deadline=None)


class TestExposure:
    def test_counts_the_feeds_of_each_item(self):
        assert measures.exposure(feeds([0, 1], [0]), 3).tolist() == [2, 1, 0]

    def test_is_uneven_by_nothing_when_all_items_are_shown_alike(self):
        assert measures.gini(np.array([3, 3, 3, 3])) == 0

    def test_is_uneven_by_1_when_one_item_is_all_that_is_shown(self):
        assert measures.gini(np.array([0, 0, 7, 0])) == 1

    def test_is_worked_out_by_hand_for_two_of_four_items_shown_once_and_twice(self):
        shares = [0, 0, 1 / 3, 2 / 3]
        by_hand = (-3 * shares[0] - shares[1] + shares[2] + 3 * shares[3]) / 3
        assert measures.gini(np.array([2, 0, 1, 0])) == pytest.approx(by_hand) == 7 / 9

    @pytest.mark.parametrize("counts", [[0, 0], [5], []])
    def test_of_nothing_or_of_one_item_is_neither_even_nor_uneven(self, counts):
        assert np.isnan(measures.gini(np.array(counts, dtype=np.int64)))

    @often
    @given(st.lists(st.integers(0, 20), min_size=2, max_size=9).filter(any))
    def test_is_half_the_mean_difference_of_any_two_items_over_the_mean(self, counts):
        exposed = np.array(counts)
        gaps = np.abs(exposed[:, None] - exposed).sum() / (len(counts) * (len(counts) - 1))
        assert measures.gini(exposed) == pytest.approx(gaps / (2 * exposed.mean()))


class TestNovelty:
    counts = np.array([7, 3, 1, 0])  # with one more each: 8, 4, 2 and 1 of 15

    def test_is_the_mean_information_of_what_is_shown_in_bits(self):
        found = measures.novelty(feeds([0], [0, 1], [3]), self.counts)
        bits = np.log2(15) - np.array([3, 2.5, 0])
        np.testing.assert_allclose(found, bits)

    def test_of_an_item_that_nobody_had_is_finite(self):
        assert np.isfinite(measures.novelty(feeds([0]), np.zeros(1, np.int64))).all()

    def test_of_an_empty_feed_is_not_known(self):
        assert np.isnan(measures.novelty(np.array([[-1]], np.int32), self.counts)).all()

    @often
    @seeds
    def test_is_not_lower_when_a_rarer_item_takes_a_place(self, seed):
        counts = np.array([32, 16, 8, 4, 2, 0])
        shown = some_feeds(seed)
        rarer = np.where(shown >= 0, np.minimum(shown + 1, 5), -1).astype(np.int32)
        known = (shown >= 0).any(axis=1)
        more, less = measures.novelty(rarer, counts)[known], measures.novelty(shown, counts)[known]
        assert (more >= less).all()


class TestDiversity:
    def test_is_0_for_items_alike_and_1_for_items_that_share_nothing(self):
        assert measures.diversity(feeds([0, 1], [0, 3]), PATHS).tolist() == pytest.approx([0, 1])

    def test_by_path_counts_what_two_paths_share(self):
        half_way, up_and_down = measures.diversity(feeds([0, 2], [3, 4]), PATHS)
        assert half_way == pytest.approx(1 - 1 / 2)  # a/b and a/c: a of two
        assert up_and_down == pytest.approx(1 - 1 / np.sqrt(2))  # d and d/e: d of one and of two

    def test_is_the_mean_over_pairs(self):
        assert measures.diversity(feeds([0, 1, 3]), PATHS) == pytest.approx((0 + 1 + 1) / 3)

    def test_leaves_out_what_is_not_known(self):
        found = measures.diversity(feeds([0, 2, 5], [0, 5, -1]), PATHS)
        assert found[0] == pytest.approx(1 / 2)
        assert np.isnan(found[1])

    def test_takes_vectors_of_words_as_well_whatever_their_length(self):
        words = np.array([[1, 0], [0, 3], [-2, 0], [1, 1]], dtype=np.float32)
        found = measures.diversity(feeds([0, 1], [0, 2], [0, 3]), words)
        assert found.tolist() == pytest.approx([1, 2, 1 - np.sqrt(1 / 2)])

    def test_without_any_vectors_is_not_known(self):
        assert np.isnan(measures.diversity(feeds([0, 1]), np.zeros((2, 0), np.float32))).all()

    def test_of_nobody_is_nothing(self):
        assert measures.diversity(feeds([0])[:0], PATHS).shape == (0,)

    @often
    @seeds
    def test_is_the_mean_of_scipys_cosine_distances_dense_or_sparse(self, seed):
        words = np.random.default_rng(seed).normal(size=(N_ITEMS, 3)).astype(np.float32)
        shown = some_feeds(seed)
        dense = measures.diversity(shown, words)
        sparse = measures.diversity(shown, sp.csr_matrix(words))
        for feed, one, other in zip(shown, dense, sparse, strict=True):
            if (feed >= 0).sum() < 2:
                assert np.isnan([one, other]).all()
            else:
                expected = pdist(words[feed[feed >= 0]], "cosine").mean()
                assert [one, other] == pytest.approx([expected, expected], abs=1e-5)

    def test_of_many_people_is_that_of_each(self):
        pair = feeds([0, 1], [0, 2], [0, 3])
        many = measures.diversity(np.tile(pair, (5000, 1)), PATHS)
        np.testing.assert_allclose(many, np.tile(measures.diversity(pair, PATHS), 5000))


class TestSerendipity:
    popular = np.array([0, 1], dtype=np.int32)

    def found(self, shown, wanted):
        everybody = np.broadcast_to(self.popular, shown.shape)
        return measures.serendipity(shown, Ragged.of(wanted), everybody).tolist()

    def test_is_the_share_of_places_wanted_and_not_popular(self):
        assert self.found(feeds([2, 0], [2, 3], [4, 5]), [[0, 2], [2, 3], [1]]) == [1 / 2, 1, 0]

    def test_of_the_popular_feed_is_0_however_much_it_was_wanted(self):
        assert self.found(feeds([1, 0]), [[0, 1]]) == [0]

    def test_does_not_gain_from_a_feed_that_is_short(self):
        assert self.found(np.array([[2, -1]], np.int32), [[2]]) == [1 / 2]

    def test_everybody_can_have_a_popular_feed_of_their_own(self):
        own = feeds([0, 1], [2, 3])
        both = measures.serendipity(feeds([2, 0], [2, 0]), Ragged.of([[2], [2]]), own)
        assert both.tolist() == [1 / 2, 0]

    def test_feeds_of_different_lengths_are_not_compared(self):
        with pytest.raises(ValueError, match=r"popular is \(1, 3\), feeds \(1, 2\)"):
            measures.serendipity(feeds([0, 1]), Ragged.of([[0]]), feeds([0, 1, 2]))


class TestFreshness:
    """Items born on days 0, 2, 9 and 12 and one at an unknown time; asked on day 10."""

    born_us = np.array([0 * DAY_US, 2 * DAY_US, 9 * DAY_US, 12 * DAY_US, UNBORN])
    now_us = 10 * DAY_US

    def test_an_age_is_in_days_at_the_moment_of_asking(self):
        aged = measures.ages(feeds([0, 1, 2]), self.born_us, self.now_us)
        assert aged.tolist() == [[10, 8, 1]]

    def test_everybody_can_be_asked_at_a_moment_of_their_own(self):
        moments = np.array([10 * DAY_US, 11 * DAY_US])
        assert measures.ages(feeds([2], [2]), self.born_us, moments).tolist() == [[1], [2]]

    def test_an_item_that_was_not_there_yet_is_younger_than_nothing(self):
        assert measures.ages(feeds([3]), self.born_us, self.now_us).tolist() == [[-2]]

    def test_an_empty_place_has_no_age(self):
        aged = measures.ages(np.array([[0, -1]], np.int32), self.born_us[:2], self.now_us)
        np.testing.assert_array_equal(aged, [[10, np.nan]])

    def test_mean_and_median_leave_out_what_has_no_age(self):
        aged = measures.ages(feeds([0, 1, 2, 4], [0, 1], [4], [2]), self.born_us, self.now_us)
        np.testing.assert_allclose(measures.mean_age(aged), [19 / 3, 9, np.nan, 1])
        np.testing.assert_allclose(measures.median_age(aged), [8, 9, np.nan, 1])


class TestMiscalibration:
    """Half of the history is in branch a, half in branch d: items 0 and 3 weigh the same."""

    even = sp.csr_matrix(np.array([[2, 0, 0, 2, 0, 0]], dtype=np.float32))

    def found(self, shown, interest=None, category=BRANCH):
        history = self.even if interest is None else sp.csr_matrix(np.float32([interest]))
        return measures.miscalibration(shown, history, category)[0]

    def test_is_0_when_the_feed_has_the_shares_of_the_history(self):
        assert self.found(feeds([1, 4])) == pytest.approx(0, abs=1e-12)

    def test_is_worked_out_by_hand_for_a_feed_of_one_of_two_branches(self):
        q_a, q_d = 0.99 + 0.01 / 2, 0.01 / 2
        by_hand = 0.5 * np.log(0.5 / q_a) + 0.5 * np.log(0.5 / q_d)
        assert self.found(feeds([0, 1])) == pytest.approx(by_hand)

    def test_is_highest_for_a_feed_of_other_things(self):
        assert self.found(feeds([3, 4]), [1, 1, 0, 0, 0, 0]) == pytest.approx(np.log(100))

    def test_weighs_the_history_by_interest(self):
        three_to_one = [3, 0, 0, 1, 0, 0]
        assert self.found(feeds([0, 1, 2, 3]), three_to_one) == pytest.approx(0, abs=1e-12)
        assert self.found(feeds([0, 3]), three_to_one) > 0.1

    def test_leaves_out_what_has_no_category(self):
        assert self.found(feeds([0, 3, 5]), [1, 0, 0, 1, 0, 9]) == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize(
        ("shown", "interest"),
        [([5], [1, 0, 0, 0, 0, 0]), ([0], [0] * 6), ([0], [0, 0, 0, 0, 0, 1])],
    )
    def test_of_strangers_and_of_feeds_without_categories_is_not_known(self, shown, interest):
        assert np.isnan(self.found(feeds(shown), interest))

    def test_an_interest_of_nothing_is_no_history(self):
        stored = sp.csr_matrix((np.zeros(1, np.float32), ([0], [0])), shape=(1, N_ITEMS))
        assert np.isnan(measures.miscalibration(feeds([0]), stored, BRANCH)).all()

    def test_where_no_category_is_known_at_all_nothing_is(self):
        assert np.isnan(self.found(feeds([0, 1]), category=np.full(6, -1, np.int32)))

    @often
    @seeds
    def test_is_scipys_relative_entropy_and_between_0_and_ln_100(self, seed):
        random, shown = np.random.default_rng(seed), some_feeds(seed)
        weights = random.exponential(1, (len(shown), N_ITEMS)) * (random.random(N_ITEMS) < 0.6)
        category = random.integers(0, 3, N_ITEMS).astype(np.int32)
        found = measures.miscalibration(shown, sp.csr_matrix(weights), category)
        for feed, history, one in zip(shown, weights, found, strict=True):
            p = np.bincount(category, history, minlength=3)
            q = np.bincount(category[feed[feed >= 0]], minlength=3)
            if not p.sum() or not q.sum():
                assert np.isnan(one)
                continue
            p, q = p / p.sum(), q / q.sum()
            assert one == pytest.approx(entropy(p, 0.99 * q + 0.01 * p), abs=1e-9)
            assert 0 <= one <= np.log(100) + 1e-12


class TestGaps:
    def test_a_feed_with_an_empty_place_is_short(self):
        assert measures.short_share(feeds([0, 1], [0], [2, 3], [4, 5])) == 1 / 4

    def test_decisions_are_counted_by_name(self):
        decisions = np.array([Decision.show, Decision.fallback, Decision.show, Decision.show])
        found = measures.decision_shares(decisions.astype(np.int8))
        assert found == {"show": 3 / 4, "fallback": 1 / 4, "suppress": 0}

    def test_of_nobody_nothing_is_known(self):
        nobody = measures.decision_shares(np.empty(0, np.int8))
        assert np.isnan([*nobody.values(), measures.short_share(feeds([0])[:0])]).all()


class TestPerPerson:
    """Two people: the first had item 0 (branch a), the second nothing; asked on days 5 and 6."""

    items = replace(
        ItemFacts.unknown(N_ITEMS), categories=PATHS, category=BRANCH,
        born_us=np.arange(N_ITEMS) * DAY_US,
    )  # fmt: skip
    queries = Queries.plain(
        Histories(np.array([0, 1, 1]), np.array([0], np.int32), np.zeros(1, np.int8),
                  np.ones(1, np.float32), np.ones(1, np.float32), N_ITEMS),
        np.array([1, 0]), np.array([5, 6]) * DAY_US,
    )  # fmt: skip

    def test_takes_the_facts_of_the_items_and_the_history_and_moment_of_each(self):
        counts = np.zeros(N_ITEMS, np.int64)
        found = measures.per_person(feeds([1, 2], [1, 2]), self.queries, self.items, counts)
        np.testing.assert_allclose(found.pop("novelty"), np.log2([6, 6]))
        np.testing.assert_allclose(found.pop("category_diversity"), [1 / 2, 1 / 2])
        np.testing.assert_allclose(found.pop("text_diversity"), [np.nan, np.nan])
        np.testing.assert_allclose(found.pop("age_days"), [3.5, 4.5])
        np.testing.assert_allclose(found.pop("miscalibration"), [0, np.nan], atol=1e-12)
        assert not found
