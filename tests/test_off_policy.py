"""Off-policy estimates worked out by hand, intervals that hold the truth, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.off_policy import (
    Limits,
    Logged,
    TooLittleOverlap,
    action_means,
    bounds,
    difference,
    doubly_robust,
    ips,
    judge,
    refusal,
    snips,
)

ANYTHING = Limits(effective_sample=0, rewards=0, weight_level=1)

# Four slots, each filled by the toss of a coin: two items. Judged: always the first item, which
# was shown in the first two slots, and clicked in one of them.
COINS = Logged(
    reward=np.array([1.0, 0.0, 1.0, 1.0]),
    propensity=np.full(4, 0.5),
    target=np.array([1.0, 1.0, 0.0, 0.0]),
    cluster=np.arange(4),
)


def told(logged: Logged, shown: list[float], target: list[float]) -> Logged:
    return replace(logged, predicted_shown=np.array(shown), predicted_target=np.array(target))


def feed(rng, *, people=400, share=0.5, slots=5, rate=(0.1, 0.3, 0.2)):
    """Item 0 is shown, but in a share of the slots any of three at random; item 1 is judged.

    A person clicks on half as much or half as much again as others do, on everything.
    """
    person = np.repeat(np.arange(people), slots)
    item = np.where(rng.random(person.size) < share, rng.integers(3, size=person.size), 0)
    eager = rng.choice([0.5, 1.5], people)[person]
    logged = Logged(
        reward=(rng.random(person.size) < np.array(rate)[item] * eager).astype(float),
        propensity=share / 3 + (1 - share) * (item == 0),
        target=(item == 1).astype(float),
        cluster=person,
    )
    return logged, item


class TestByHand:
    def test_ips_counts_a_reward_as_often_as_it_would_have_been_earned(self):
        assert ips(COINS).value == (2 * 1 + 2 * 0) / 4

    def test_snips_is_the_mean_of_what_would_have_been_shown(self):
        assert snips(COINS).value == 1 / 2

    def test_ips_moves_with_the_luck_of_what_was_shown_and_snips_does_not(self):
        lucky = replace(COINS, reward=np.ones(4), target=np.array([1.0, 1.0, 1.0, 0.0]))
        assert ips(lucky).value == 6 / 4
        assert snips(lucky).value == 1

    def test_doubly_robust_corrects_what_the_model_got_wrong_about_what_was_shown(self):
        guessed = told(COINS, [0.75, 0.75, 0.5, 0.5], [0.75] * 4)
        assert doubly_robust(guessed).value == 0.75 + (2 * 0.25 - 2 * 0.75) / 4

    def test_doubly_robust_with_a_model_that_is_never_wrong_is_the_model(self):
        oracle = told(COINS, [1, 0, 1, 1], [1, 0, 0, 0])
        assert doubly_robust(oracle).value == 1 / 4

    def test_doubly_robust_with_a_model_that_expects_nothing_is_ips(self):
        nothing = told(COINS, [0, 0, 0, 0], [0, 0, 0, 0])
        assert replace(doubly_robust(nothing), name="ips") == ips(nothing)

    def test_the_policy_that_ran_earned_what_it_earned(self):
        ran = replace(COINS, target=COINS.propensity)
        assert ips(ran).value == snips(ran).value == 3 / 4

    def test_the_effective_sample_is_counted_in_people(self):
        assert ips(COINS).effective_sample == 2
        assert ips(COINS).largest_weight_share == 1 / 2
        one_person = ips(replace(COINS, cluster=np.array([7, 7, 8, 9])))
        assert (one_person.effective_sample, one_person.largest_weight_share) == (1, 1)
        assert (one_person.rows, one_person.clusters) == (4, 3)

    def test_the_difference_is_that_of_the_two_values(self):
        rng = np.random.default_rng(0)
        logged, item = feed(rng)
        other = (item == 2).astype(float)
        for gap, one, two in zip(
            difference(logged, other), judge(logged), judge(replace(logged, target=other)),
            strict=True,
        ):  # fmt: skip
            assert gap.name == one.name
            assert gap.value == pytest.approx(two.value - one.value)
            assert gap.effective_sample == min(one.effective_sample, two.effective_sample)

    def test_a_policy_differs_from_itself_by_exactly_nothing(self):
        logged, _ = feed(np.random.default_rng(1))
        for gap in difference(logged, logged.target):
            assert (gap.value, gap.low, gap.high) == (0, 0, 0)


class TestClipping:
    heavy = replace(COINS, propensity=np.array([0.1, 0.5, 0.5, 0.5]))  # weights 10, 2, 0, 0

    def test_a_weight_counts_for_no_more_than_the_clip(self):
        assert ips(self.heavy).value == 10 / 4
        assert ips(self.heavy, clip=4).value == 4 / 4
        assert snips(self.heavy, clip=4).value == 4 / 6

    @pytest.mark.parametrize("clip", [0.5, 1, 2, 5, 9, 20])
    @pytest.mark.parametrize("estimate", [ips, snips, doubly_robust])
    def test_what_it_moves_is_within_the_bound_that_is_stated(self, estimate, clip):
        logged = told(self.heavy, [0.5, 0.5, 0.2, 0.9], [0.5] * 4)
        clipped = estimate(logged, clip=clip)
        assert abs(clipped.value - estimate(logged).value) <= clipped.bias_bound + 1e-12
        assert (clipped.bias_bound == 0) == (clip > 10)

    def test_it_is_a_weight(self):
        with pytest.raises(ValueError, match="clip is 0"):
            ips(COINS, clip=0)


class TestIntervals:
    def test_without_skewness_it_is_the_t_interval(self):
        low, high = bounds(5.0, np.array([-1.0, 1.0]))  # standard error 2, one degree of freedom
        assert (low, high) == pytest.approx((5 - 2 * 12.7062, 5 + 2 * 12.7062), rel=1e-4)

    def test_rare_rewards_could_have_been_more_rather_than_fewer(self):
        clicked = np.zeros(1000)
        clicked[:10] = 1
        rate = clicked.mean()
        low, high = bounds(rate, (clicked - rate) / 1000)
        assert 0 < low < rate < high
        assert high - rate > 1.3 * (rate - low)
        mirrored = bounds(-rate, -(clicked - rate) / 1000)
        assert mirrored == pytest.approx((-high, -low))

    def test_the_skewness_that_is_taken_out_is_that_of_the_sum(self):
        influence = np.array([-1.0, -1.0, -1.0, 3.0]) / 6
        error = np.sqrt((influence**2).sum() * 4 / 3)
        skewness = (influence**3).sum() / (influence**2).sum() ** 1.5
        low, high = bounds(0.7, influence)
        for end, quantile in ((low, 3.18245), (high, -3.18245)):  # t, three degrees of freedom
            off = (0.7 - end) / error
            normal = off + skewness * off**2 / 3 + skewness**2 * off**3 / 27 + skewness / 6
            assert normal == pytest.approx(quantile, rel=1e-5)

    def test_one_person_says_nothing(self):
        assert bounds(0.3, np.array([0.1])) == (-np.inf, np.inf)

    def test_rows_of_one_person_are_not_many_people(self):
        together, _ = feed(np.random.default_rng(2), share=1.0)
        again = replace(together, **{
            name: np.tile(getattr(together, name), 9)
            for name in ("reward", "propensity", "target", "cluster")
        })  # fmt: skip
        one, nine = ips(together), ips(again)
        assert (nine.low, nine.high) == pytest.approx((one.low, one.high))
        apart = ips(replace(again, cluster=np.arange(len(again))))
        assert apart.high - apart.low == pytest.approx((one.high - one.low) / 3, rel=0.1)

    @pytest.mark.parametrize("estimate", [ips, snips, doubly_robust])
    def test_they_hold_the_truth_95_times_in_100(self, estimate):
        rng = np.random.default_rng(3)
        held = 0
        for _ in range(300):
            logged, item = feed(rng, share=0.3)
            model = action_means(logged, item, 3)
            logged = replace(logged, predicted_shown=model.of(item),
                             predicted_target=model.of(np.ones_like(item)))  # fmt: skip
            found = estimate(logged)
            held += found.low <= 0.3 <= found.high
        assert 0.92 * 300 <= held <= 0.98 * 300

    def test_the_paired_difference_is_surer_than_two_values(self):
        logged, item = feed(np.random.default_rng(4), people=2000)
        nearly = np.where(item == 1, 0.9, np.where(item == 2, 0.1, 0.0))
        gap = difference(logged, nearly)[0]
        value = ips(logged)
        assert gap.low < -0.01 < gap.high  # 0.1 x (0.2 - 0.3)
        assert gap.high - gap.low < 0.3 * (value.high - value.low)


class TestRefusals:
    def test_logs_with_enough_exploration_are_judged(self):
        logged, _ = feed(np.random.default_rng(5))
        assert refusal(logged) is None
        assert [one.name for one in judge(logged)] == ["ips", "snips"]

    def test_nothing_of_what_the_policy_would_show_was_shown(self):
        with pytest.raises(TooLittleOverlap, match="never show"):
            judge(replace(COINS, target=np.zeros(4)), ANYTHING)
        with pytest.raises(TooLittleOverlap, match="never show"):
            snips(replace(COINS, target=np.zeros(4)))

    def test_too_few_people_saw_it(self):
        logged, _ = feed(np.random.default_rng(6), share=0.05)
        with pytest.raises(TooLittleOverlap, match=r"effective sample is \d+ of 400 clusters"):
            judge(logged)
        assert judge(logged, ANYTHING)

    def test_too_few_rewards_to_hope_for_whatever_the_policy_earned(self):
        logged, _ = feed(np.random.default_rng(7), rate=(0.005, 0.005, 0.005))
        assert "rewards, below 10" in (refusal(logged) or "")
        assert refusal(logged, Limits(rewards=0)) is None

    @pytest.mark.parametrize("wrong", [0.5, 1.6])
    def test_propensities_that_were_not_in_force(self, wrong):
        logged, item = feed(np.random.default_rng(8), people=2000)
        off = np.where(item == 1, logged.propensity * wrong, logged.propensity)
        assert "propensities are not those" in (refusal(replace(logged, propensity=off)) or "")

    def test_a_policy_that_would_show_what_could_not_be_shown(self):
        rng = np.random.default_rng(9)
        item = rng.integers(2, size=1000)
        half_elsewhere = Logged(
            reward=rng.integers(2, size=1000).astype(float),
            propensity=np.full(1000, 0.5),
            target=np.where(item == 0, 0.5, 0.0),  # and 0.5 for an item that is never drawn
            cluster=np.arange(1000),
        )
        assert "could not" in (refusal(half_elsewhere) or "")

    def test_a_weight_of_one_everywhere_is_no_disagreement(self):
        rng = np.random.default_rng(10)
        logged, _ = feed(rng)
        nearly = logged.propensity * (1 + 1e-12)
        assert refusal(replace(logged, target=np.minimum(nearly, 1))) is None

    def test_a_difference_says_which_of_the_two_cannot_be_judged(self):
        logged, _ = feed(np.random.default_rng(11))
        with pytest.raises(TooLittleOverlap, match="the other policy: the logs never"):
            difference(logged, np.zeros(len(logged)))
        with pytest.raises(TooLittleOverlap, match="the first policy: the logs never"):
            difference(replace(logged, target=np.zeros(len(logged))), logged.target)


class TestWhatIsLogged:
    @pytest.mark.parametrize(
        ("field", "values", "message"),
        [
            ("propensity", [0.5, 0.0, 0.5, 0.0], "propensity of row 1 is 0.0: .*log the propens"),
            ("propensity", [0.5, 0.5, 1.5, 0.5], "propensity of row 2 is 1.5"),
            ("target", [1.0, 0.0, 0.0, -0.1], "target of row 3 is -0.1"),
            ("reward", [np.nan, 0.0, 0.0, 0.0], "reward of row 0 is nan"),
            ("reward", [1.0, 0.0], r"has shape \(4,\), not \(2,\)"),
            ("target", [1.0, 0.0], r"target has shape \(2,\), not \(4,\)"),
            ("cluster", [0.0, 1.0, 2.0, 3.0], "cluster has dtype float64"),
            ("reward", [True, False, True, True], "reward has dtype bool"),
            ("predicted_shown", [0.1, 0.1, 0.1, 0.1], "both predicted_shown and"),
            ("reward", [], "no rows"),
        ],
    )
    def test_a_wrong_field_is_named_with_its_first_wrong_row(self, field, values, message):
        with pytest.raises(ValueError, match=message):
            replace(COINS, **{field: np.array(values)})

    def test_doubly_robust_needs_a_model(self):
        with pytest.raises(ValueError, match="action_means"):
            doubly_robust(COINS)


class TestTheRewardModel:
    def test_nobody_is_predicted_from_their_own_clicks(self):
        logged, item = feed(np.random.default_rng(12), people=50)
        model = action_means(logged, item, 3, folds=5)
        mine = logged.cluster == 17
        changed = replace(logged, reward=np.where(mine, 1 - logged.reward, logged.reward))
        again = action_means(changed, item, 3, folds=5)
        np.testing.assert_array_equal(model.of(item)[mine], again.of(item)[mine])
        assert (model.of(item)[~mine] != again.of(item)[~mine]).any()
        assert np.unique(model.fold[mine]).size == 1

    def test_much_seen_actions_have_their_own_mean_and_unseen_ones_that_of_all(self):
        reward = np.tile([1.0, 0.0, 0.0, 0.0], 500)
        actions = np.tile([0, 0, 1, 1], 500)
        logged = Logged(reward=reward, propensity=np.full(2000, 0.5), target=np.ones(2000),
                        cluster=np.arange(2000))  # fmt: skip
        means = action_means(logged, actions, 3).means
        np.testing.assert_allclose(means[:, 0], 0.5, atol=0.05)
        np.testing.assert_allclose(means[:, 1], 0.0, atol=0.05)
        np.testing.assert_allclose(means[:, 2], 0.25, atol=0.05)

    def test_actions_that_do_not_differ_all_have_the_mean_of_all(self):
        logged = replace(COINS, reward=np.ones(4))
        np.testing.assert_allclose(action_means(logged, np.array([0, 1, 0, 1]), 2).means, 1)

    def test_what_a_policy_expects_is_the_mean_over_what_it_shows(self):
        logged, item = feed(np.random.default_rng(13))
        model = action_means(logged, item, 3)
        policy = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
        context = logged.cluster % 2
        first, second, third = (model.of(np.full_like(item, one)) for one in range(3))
        np.testing.assert_allclose(
            model.under(policy, context), np.where(context == 0, (first + second) / 2, third)
        )

    def test_an_action_without_a_number_is_refused(self):
        with pytest.raises(ValueError, match="actions of row 2 is 9: number the actions from 0"):
            action_means(COINS, np.array([0, 1, 9, 1]), 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(-5, 5), st.floats(0.1, 10))
def test_snips_and_intervals_follow_the_unit_of_the_reward(seed, shift, scale):
    logged, _ = feed(np.random.default_rng(seed), people=60)
    moved = replace(logged, reward=shift + scale * logged.reward)
    one, two = snips(logged), snips(moved)
    for key in ("value", "low", "high"):
        assert getattr(two, key) == pytest.approx(shift + scale * getattr(one, key), abs=1e-6)
    assert 0 <= one.value <= 1
    assert one.low <= one.value <= one.high


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_the_rows_and_the_names_of_the_people_mean_nothing(seed):
    rng = np.random.default_rng(seed)
    logged, _ = feed(rng, people=40)
    order = rng.permutation(len(logged))
    other = Logged(
        reward=logged.reward[order], propensity=logged.propensity[order],
        target=logged.target[order], cluster=1_000_000 - 3 * logged.cluster[order],
    )  # fmt: skip
    for one, two in zip(judge(logged, ANYTHING), judge(other, ANYTHING), strict=True):
        assert (two.value, two.low, two.high) == pytest.approx((one.value, one.low, one.high))
        assert two.effective_sample == pytest.approx(one.effective_sample)
