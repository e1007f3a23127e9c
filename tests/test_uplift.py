"""The read-out of an experiment: hand-worked differences, and intervals that keep what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from features.experiments import Experiment
from features.types import DAY_US
from training.evaluation.observed import Exposed, Observed, Outcomes, Window, observed_from
from training.evaluation.uplift import (
    EVERYBODY,
    FEWEST,
    Design,
    always_factor,
    cuped,
    daily,
    difference,
    read_out,
    sample_ratio,
)  # fmt: skip

HALVES = Design(("usual", "new"), (0.5, 0.5), "usual", planned=400)
NAN = float("nan")


def observed(arm, outcome, *, before=None, first_us=None, cell=None) -> Observed:
    n = len(arm)
    return Observed(
        np.array(arm, dtype=np.int64),
        np.arange(n, dtype=np.int64) if first_us is None else np.array(first_us, dtype=np.int64),
        np.array(outcome, dtype=np.float64),
        np.full(n, np.nan) if before is None else np.array(before, dtype=np.float64),
        None if cell is None else np.array(cell, dtype=np.int64),
    )


def simulated(people: int, *, effect=0.0, seed=0, days=10) -> Observed:
    """Halves; the outcome is what it was before, and noise, and the effect."""
    random = np.random.default_rng(seed)
    arm, before = random.integers(0, 2, people), random.normal(5, 2, people)
    outcome = before + random.normal(size=people) + effect * arm
    first = random.integers(0, days * DAY_US, people)
    return observed(arm, outcome, before=before, first_us=first, cell=arm * 0 + (before > 5))


class TestCuped:
    def test_an_outcome_that_was_fully_foretold_loses_all_its_variance(self):
        adjusted, cut = cuped(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
        np.testing.assert_allclose(adjusted, [4, 4, 4])
        assert cut == pytest.approx(1)

    def test_by_hand(self):
        """x less its mean 1: -1 0 1 0; y: 0 1 4 3; theta = 4 / 2; adjusted = y - 2 x."""
        adjusted, cut = cuped(np.array([0.0, 1, 4, 3]), np.array([0.0, 1, 2, 1]))
        np.testing.assert_allclose(adjusted, [2, 1, 2, 3])
        assert cut == pytest.approx(1 - 0.5 / 2.5)

    def test_who_was_unknown_keeps_the_outcome(self):
        adjusted, _ = cuped(np.array([2.0, 9.0, 6.0]), np.array([1.0, NAN, 3.0]))
        np.testing.assert_allclose(adjusted, [4, 9, 4])

    @pytest.mark.parametrize("before", [[NAN] * 3, [7.0] * 3])
    def test_what_tells_nothing_changes_nothing(self, before):
        adjusted, cut = cuped(np.array([2.0, 9.0, 6.0]), np.array(before))
        assert (adjusted.tolist(), cut) == ([2, 9, 6], 0)

    def test_nobody_is_no_fault(self):
        assert cuped(np.empty(0), np.empty(0))[0].size == 0

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=30))
    @example([(0.0, 85.89623880113615), (0.0, 85.89623880113615), (1.0, 85.89623880113615)])
    @example([(0.97, 0.0), (0.97, 0.0), (0.97, 0.96875)])  # alike, whatever their variance says
    @example([(0.0, 100.0), (1.0, 100.0), (0.0, 100.0 + 3e-10)])
    def test_the_mean_stays_and_the_variance_never_grows(self, pairs):
        outcome, before = np.array(pairs).T
        adjusted, cut = cuped(outcome, before)
        assert adjusted.mean() == pytest.approx(outcome.mean(), abs=1e-6)
        assert -1e-9 <= cut <= 1 + 1e-9


class TestTheDifference:
    def test_the_fixed_interval_is_that_of_welch(self):
        random = np.random.default_rng(1)
        one, other = random.normal(2, 3, 80), random.normal(1, 1, 30)
        found = difference(one, other, 100, 0.05)
        welch = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
        assert found.uplift == pytest.approx(one.mean() - other.mean())
        assert (found.fixed_low, found.fixed_high) == pytest.approx((welch.low, welch.high))

    def test_at_the_planned_number_by_hand(self):
        """u + 1 = 9.2120 solves u = log((u + 1) / 0.0025); the factor there is its root."""
        assert always_factor(1000, 1000, 0.05) == pytest.approx(np.sqrt(9.2120), abs=1e-4)

    def test_it_is_tightest_at_the_planned_number(self):
        """In errors of the mean: the factor over the root of the people, times the root."""
        plans = [100, 300, 1000, 3000, 10_000]
        assert min(plans, key=lambda plan: always_factor(1000, plan, 0.05)) == 1000

    @pytest.mark.parametrize("people", [50, 1000, 100_000])
    def test_it_is_wider_than_the_interval_for_one_look(self, people):
        assert always_factor(people, 1000, 0.05) > 1.96

    def test_a_smaller_level_is_a_wider_interval(self):
        assert always_factor(1000, 1000, 0.01) > always_factor(1000, 1000, 0.05)

    def test_arms_of_one_size_reach_the_factor_times_the_error(self):
        one, other = np.tile([0.0, 4.0], FEWEST), np.tile([0.0, 2.0], FEWEST)
        found = difference(one, other, 400, 0.05)
        error = np.sqrt(one.var(ddof=1) / one.size + other.var(ddof=1) / other.size)
        reach = always_factor(2 * one.size, 400, 0.05) * error
        assert found.always_high - found.uplift == pytest.approx(reach)
        assert found.uplift == 1

    def test_a_small_arm_that_met_no_large_order_yet_is_not_sure_of_itself(self):
        usual = np.zeros(1000)
        usual[:20] = 100.0
        found = difference(np.zeros(FEWEST), usual, 400, 0.05)
        assert found.fixed_high < 0  # what a t-test makes of it
        assert found.always_low < 0 < found.always_high

    def test_relative_to_the_control_by_hand(self):
        """Means 3 and 2; each mean has the variance v: margin = factor sqrt(v + 1.5^2 v) / 2."""
        one, other = np.tile([2.0, 4.0], FEWEST), np.tile([1.0, 3.0], FEWEST)
        found = difference(one, other, 400, 0.05)
        v = one.var(ddof=1) / one.size
        margin = always_factor(2 * one.size, 400, 0.05) * np.sqrt(v * (1 + 1.5**2)) / 2
        assert found.relative == pytest.approx(0.5)
        assert found.relative_high - 0.5 == pytest.approx(margin)

    def test_a_control_near_0_has_no_relative_difference(self):
        found = difference(np.ones(100), np.tile([-1.0, 1.0], 50), 400, 0.05)
        assert np.isnan([found.relative, found.relative_low, found.relative_high]).all()

    @pytest.mark.parametrize("people", [0, 1, 2, FEWEST - 1])
    def test_too_few_people_have_no_daily_interval(self, people):
        found = difference(np.arange(float(people)), np.arange(100.0), 400, 0.05)
        assert np.isnan(found.always_low)
        assert np.isnan(found.fixed_low) == (people < 2)

    def test_outcomes_that_are_all_the_same_differ_by_nothing(self):
        found = difference(np.ones(100), np.ones(100), 400, 0.05)
        assert (found.uplift, found.fixed_low, found.always_high, found.relative) == (0, 0, 0, 0)


class TestTheSampleRatio:
    def test_by_hand(self):
        """60 and 40 where 50 and 50 were due: 100/50 + 100/50 = 4; p = P(chi2_1 > 4)."""
        found = sample_ratio(np.array([60, 40]), HALVES)
        assert found.p == pytest.approx(0.0455, abs=1e-4)
        assert not found.alarm
        assert "as many people as planned" in found.sentence

    def test_the_alarm_names_the_arm_and_the_numbers(self):
        found = sample_ratio(np.array([5300, 4700]), HALVES)
        assert found.alarm
        assert "5,300 people in 'usual', 5,000 expected" in found.sentence

    def test_unequal_shares_are_the_shares_that_count(self):
        design = Design(("holdout", "usual"), (0.05, 0.95), "holdout")
        assert sample_ratio(np.array([50, 950]), design).p == pytest.approx(1)
        assert sample_ratio(np.array([500, 500]), design).alarm

    def test_an_arm_without_a_share_must_be_empty(self):
        design = Design(("a", "b", "usual"), (0.5, 0.5, 0.0), "a")
        assert sample_ratio(np.array([50, 50, 0]), design).p == pytest.approx(1)
        with pytest.raises(ValueError, match="do not fit the shares"):
            sample_ratio(np.array([50, 50, 1]), design)

    def test_nobody_yet_is_no_alarm(self):
        assert not sample_ratio(np.array([0, 0]), HALVES).alarm


class TestTheReadOut:
    def test_a_clear_effect_is_better_and_its_mirror_worse(self):
        seen = simulated(2000, effect=0.5)
        (row,) = read_out(seen, HALVES)
        assert (row.arm, row.control, row.cell, row.verdict) == (
            "new",
            "usual",
            EVERYBODY,
            "better",
        )
        assert row.found.always_low < 0.5 < row.found.always_high
        assert row.found.mean - row.found.control_mean == pytest.approx(row.found.uplift)
        mirrored = replace(seen, outcome=-seen.outcome)
        assert read_out(mirrored, HALVES)[0].verdict == "worse"

    def test_what_went_before_makes_it_surer(self):
        seen = simulated(2000, effect=0.5)
        blind = replace(seen, before=np.full(len(seen), np.nan))
        wide, narrow = (read_out(one, HALVES)[0].found for one in (blind, seen))
        assert narrow.variance_cut == pytest.approx(4 / 5, abs=0.05)  # of 2^2 + 1^2
        assert narrow.always_high - narrow.always_low < wide.always_high - wide.always_low
        assert wide.variance_cut == 0

    def test_no_effect_stays_open(self):
        assert read_out(simulated(2000), HALVES)[0].verdict == "open"

    def test_the_level_is_shared_by_arms_and_by_cells(self):
        design = Design(("usual", "a", "b"), (0.4, 0.3, 0.3), "usual", level=0.06)
        seen = observed([0, 1, 2] * 4, range(12), cell=[0, 1] * 6)
        rows = read_out(seen, design, ("visitor", "loyal"))
        assert [(row.arm, row.cell, round(row.level, 6)) for row in rows] == [
            ("a", "all", 0.03), ("b", "all", 0.03),
            ("a", "visitor", 0.015), ("b", "visitor", 0.015),
            ("a", "loyal", 0.015), ("b", "loyal", 0.015),
        ]  # fmt: skip

    def test_a_cell_counts_its_own_people(self):
        seen = simulated(4000, effect=0.5)
        only = replace(seen, outcome=seen.outcome - 0.5 * seen.arm * (seen.cell == 0))
        _, low, high = read_out(only, HALVES, ("low", "high"))
        assert (low.verdict, high.verdict) == ("open", "better")
        assert high.found.people + high.found.control_people == (seen.cell == 1).sum()
        assert high.found.uplift == pytest.approx(0.5, abs=0.15)

    def test_a_sample_ratio_in_alarm_keeps_every_verdict_open(self):
        """The new people of one cell get lost: the cell beside it is not believed either."""
        seen = simulated(4000, effect=0.5)
        kept = seen.take((seen.arm == 0) | (seen.cell == 1) | (np.arange(4000) % 2 > 0))
        rows = read_out(kept, HALVES, ("low", "high"))
        assert [row.verdict for row in rows] == ["open"] * 3
        assert rows[0].found.always_low > 0
        assert rows[0].srm_p < 0.001

    def test_it_compares_a_holdout_with_everybody_else(self):
        design = Design.of(Experiment(name="purpose", holdout=0.05, planned_people=500))
        assert design == Design(("holdout", "usual"), (0.05, 0.95), "holdout", planned=500)
        assert design.compared() == ["usual"]

    @pytest.mark.parametrize(
        ("keys", "what"),
        [
            ({"outcome": [1.0, NAN]}, "outcome of row 1 is not a number; who did nothing has 0"),
            ({"before": [np.inf, 1.0]}, "before of row 0 is infinite"),
            ({"before": [1.0]}, "before has 1 rows, arm has 2"),
            ({"arm": [0, -1]}, "arm of row 1 is -1; leave out"),
        ],
    )
    def test_people_that_cannot_be_read_are_refused(self, keys, what):
        with pytest.raises(ValueError, match=what):
            observed(**{"arm": [0, 1], "outcome": [1.0, 2.0], **keys})

    def test_an_arm_that_the_design_does_not_know_is_refused(self):
        with pytest.raises(ValueError, match=r"arm of row 1 is 2; there are 2: \['usual', 'new'\]"):
            read_out(observed([0, 2], [1, 2]), HALVES)

    def test_cells_without_a_cell_of_the_people_are_refused(self):
        with pytest.raises(ValueError, match="the people have no `cell`"):
            read_out(observed([0, 1], [1, 2]), HALVES, ("a",))

    @pytest.mark.parametrize(
        ("shares", "control", "what"),
        [((0.5, 0.5), "other", "is no arm; choose"), ((0.5, 0.4), "usual", "sum to 1")],
    )
    def test_a_design_that_is_none_is_refused(self, shares, control, what):
        with pytest.raises(ValueError, match=what):
            Design(("usual", "new"), shares, control)


class TestDayByDay:
    def test_each_day_is_the_read_out_of_who_had_entered_by_then(self):
        seen = simulated(2000, effect=0.5)
        found = daily(seen, HALVES, "new")
        assert found.until_us.tolist() == [day * DAY_US for day in range(1, 11)]
        early = read_out(seen.take(seen.first_us < 3 * DAY_US), HALVES)[0].found
        assert found.people[2] == early.people + early.control_people
        at_three = (found.uplift[2], found.fixed_low[2], found.always_high[2])
        assert at_three == pytest.approx((early.uplift, early.fixed_low, early.always_high))

    def test_a_day_on_which_nobody_enters_is_as_the_day_before(self):
        seen = observed([0, 1, 0, 1], [1, 2, 3, 5], first_us=[0, 1, 2 * DAY_US, 2 * DAY_US])
        found = daily(seen, HALVES, "new")
        assert found.people.tolist() == [2, 2, 4]
        assert found.uplift.tolist() == pytest.approx([1, 1, 1.5])
        assert np.isnan(found.always_low).all()

    def test_nobody_has_no_days(self):
        assert daily(observed([], []), HALVES, "new").people.size == 0

    def test_looking_daily_seldom_alarms_where_a_t_test_often_does(self):
        alarms = {"fixed": 0, "always": 0}
        for seed in range(100):
            found = daily(simulated(400, seed=seed, days=14), HALVES, "new")
            for way in alarms:
                low, high = getattr(found, f"{way}_low"), getattr(found, f"{way}_high")
                alarms[way] += bool(((low > 0) | (high < 0)).any())
        assert alarms["always"] <= 5
        assert alarms["fixed"] >= 15


class TestFromTheLog:
    """A window of 10: person 0 enters at 100, 1 at 105, 2 never does, 3 too late to be counted."""

    EXPOSED = Exposed(np.array([1, 0, -1, 1]), np.array([100, 105, 0, 111]), np.array([5, 6, 7, 8]))

    def found(self, *events, since=0, until=120):
        person, at_us, value = (np.array(column) for column in zip(*events, strict=True))
        return observed_from(
            self.EXPOSED, Outcomes(person, at_us, value.astype(float)), Window(10, since, until)
        )

    def test_people_whose_window_is_over_count_once(self):
        seen = self.found((0, 100, 1))
        assert seen.arm.tolist() == [1, 0]
        assert seen.first_us.tolist() == [100, 105]
        assert seen.cell is not None
        assert seen.cell.tolist() == [5, 6]

    @pytest.mark.parametrize(
        ("at", "outcome", "before"),
        [(89, 0, 0), (90, 0, 3), (99, 0, 3), (100, 3, 0), (109, 3, 0), (110, 0, 0)],
    )
    def test_what_is_in_the_windows_counts(self, at, outcome, before):
        seen = self.found((0, at, 3))
        assert (seen.outcome[0], seen.before[0]) == (outcome, before)

    def test_events_of_one_person_add_up(self):
        assert self.found((0, 101, 3), (1, 106, 5), (0, 102, 4)).outcome.tolist() == [7, 5]

    def test_before_is_unknown_where_the_log_does_not_reach_back(self):
        assert np.isnan(self.found((0, 95, 3), since=95).before).tolist() == [True, False]

    def test_a_window_that_ends_with_the_log_is_over(self):
        assert len(self.found((0, 101, 3), until=121)) == 3

    @pytest.mark.parametrize("person", [-1, 4])
    def test_an_event_of_nobody_is_refused(self, person):
        with pytest.raises(ValueError, match=rf"person of event 1 is {person}; there are 4 people"):
            self.found((0, 101, 3), (person, 101, 3))
