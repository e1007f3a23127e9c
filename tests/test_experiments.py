"""Experiments as a specification: who is in which arm, for how long, and what an arm may say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binom, chi2_contingency

from features.experiments import (
    Experiment,
    Treatment,
    arms_of,
    assign,
    assign_many,
    check_experiments,
    terms_of,
)  # fmt: skip
from features.yaml_lines import Loader

NOW = datetime(2026, 12, 1, tzinfo=UTC)
UNITS = [f"u{number}" for number in range(20_000)]
PURPOSE = Experiment(name="purpose", holdout=0.05)


def shares(*given: float) -> Experiment:
    """An experiment `ab` with arms a, b, c … of the given shares."""
    return experiment("ab", **{"abc"[place]: {"share": one} for place, one in enumerate(given)})


def experiment(experiment_name: str, **arms: dict[str, object]) -> Experiment:
    return Experiment.model_validate({"name": experiment_name, "arms": arms})


def dealt(one: Experiment, units: list[str] = UNITS) -> list[str]:
    names = list(one.shares)
    return [names[code] for code in assign_many(one, units)]


class TestTheHash:
    def test_it_never_changes(self):
        """Nobody moves to another arm because the software did: these values are for ever."""
        two = experiment("ab", first={"share": 0.3}, second={"share": 0.3})
        arms = {
            "u1": "second", "u2": "usual", "u3": "first", "ü": "second", "客户-7": "usual",
            "": "usual",
        }  # fmt: skip
        assert {unit: assign(two, unit) for unit in arms} == arms
        assert [u for u in UNITS[:100] if assign(PURPOSE, u) == "holdout"] == [
            "u20", "u50", "u62", "u72", "u84", "u87",
        ]  # fmt: skip

    @pytest.mark.parametrize("arm", ["a", "b", "c", "usual"])
    def test_shares_hold(self, arm):
        share = {"a": 0.1, "b": 0.25, "c": 0.5, "usual": 0.15}[arm]
        low, high = binom.ppf([1e-4, 1 - 1e-4], len(UNITS), share)
        assert low <= dealt(shares(0.1, 0.25, 0.5)).count(arm) <= high

    def test_one_experiment_says_nothing_of_another(self):
        one, other = experiment("one", new={"share": 0.5}), experiment("two", new={"share": 0.5})
        pairs = list(zip(dealt(one), dealt(other), strict=True))
        table = [[pairs.count((x, y)) for y in ("new", "usual")] for x in ("new", "usual")]
        assert chi2_contingency(table).pvalue > 1e-3

    @settings(deadline=None)
    @given(unit=st.text(), first=st.floats(0.01, 0.4), last=st.floats(0.01, 0.5))
    def test_a_new_last_arm_and_a_larger_one_take_from_usual_only(self, unit, first, last):
        before = assign(shares(first), unit)
        longer, larger = assign(shares(first, last), unit), assign(shares(first, last + 0.09), unit)
        assert longer == before or (before, longer) == ("usual", "b")
        assert larger == longer or (longer, larger) == ("usual", "b")

    @pytest.mark.parametrize("given", [(0.33, 0.56, 0.11), (0.2, 0.7, 0.1), (0.1, 0.2, 0.7)])
    def test_shares_that_fill_the_whole_leave_nobody_out(self, given):
        """In floats the first three sum to more than 1, the second to less."""
        full = shares(*given)
        assert full.shares["usual"] == 0
        assert set(dealt(full)) == {"a", "b", "c"}

    def test_a_unit_that_is_no_proper_text_is_dealt_too(self):
        assert assign(PURPOSE, "\ud800") in PURPOSE.shares


class TestAHoldout:
    def test_it_is_short_for_an_arm_that_gets_one_for_all(self):
        assert PURPOSE.shares == {"holdout": 0.05, "usual": 0.95}
        assert PURPOSE.dealt["holdout"].highest_rung == "one_for_all"
        assert (PURPOSE.control, PURPOSE.permanent) == ("holdout", True)

    def test_with_an_end_it_is_not_permanent(self):
        assert not Experiment(name="x", holdout=0.05, ends=NOW).permanent

    def test_who_is_in_a_permanent_one_is_in_no_other_experiment(self):
        new = experiment("new_model", new={"share": 0.5, "model": "7"})
        held, free = "u20", "u3"
        assert arms_of([new, PURPOSE], held, NOW, "home") == {"purpose": "holdout"}
        assert arms_of([new, PURPOSE], free, NOW, "home") == {
            "new_model": assign(new, free), "purpose": "usual",
        }  # fmt: skip

    def test_a_holdout_with_an_end_leaves_people_in_the_others(self):
        ending = Experiment(name="purpose", holdout=0.05, ends=NOW + timedelta(days=1))
        new = experiment("new_model", new={"share": 1.0})
        assert arms_of([new, ending], "u20", NOW, "home") == {
            "new_model": "new", "purpose": "holdout",
        }  # fmt: skip


class TestWhatRuns:
    @pytest.mark.parametrize(
        ("keys", "runs"),
        [
            ({}, True),
            ({"starts": NOW}, True),
            ({"starts": NOW + timedelta(seconds=1)}, False),
            ({"ends": NOW}, False),
            ({"ends": NOW + timedelta(seconds=1)}, True),
            ({"placements": ["home"]}, True),
            ({"placements": ["newsletter"]}, False),
        ],
    )
    def test_an_experiment_counts_from_its_start_to_before_its_end_where_it_is(self, keys, runs):
        one = Experiment(name="x", holdout=1.0, **keys)
        assert arms_of([one], "u1", NOW, "home") == ({"x": "holdout"} if runs else {})

    def test_the_control_is_the_holdout_else_usual_else_the_first_arm(self):
        both = Experiment(name="x", holdout=0.1, arms={"new": {"share": 0.1}})
        assert list(both.shares) == ["holdout", "new", "usual"]
        assert both.control == "holdout"
        assert shares(0.5).control == "usual"
        assert shares(0.5, 0.5).control == "a"


class TestTerms:
    LOW = experiment("low", a={"share": 1.0, "highest_rung": "segment"})
    LOWER = experiment("lower", a={"share": 1.0, "highest_rung": "context", "rules": "calm"})
    MODEL = experiment("model", a={"share": 1.0, "model": "7"})

    def test_the_lowest_rung_holds_and_model_and_rules_come_from_whoever_says(self):
        everything = [self.LOW, self.LOWER, self.MODEL]
        arms = arms_of(everything, "u1", NOW, "home")
        assert terms_of(everything, arms) == Treatment("context", "v7", "calm")

    def test_usual_gets_what_everybody_gets(self):
        assert terms_of([PURPOSE], {"purpose": "usual"}) == Treatment(None, None, None)
        assert terms_of([], {}) == Treatment()

    def test_a_holdout_gets_one_for_all(self):
        assert terms_of([PURPOSE], {"purpose": "holdout"}) == Treatment("one_for_all")


class TestTheConfig:
    def test_the_shortest_form_is_read(self):
        text = "{name: purpose, holdout: 0.05, starts: 2026-12-01T00:00:00Z}"
        found = Experiment.model_validate(yaml.load(text, Loader=Loader))
        assert found == Experiment(name="purpose", holdout=0.05, starts=NOW)

    @pytest.mark.parametrize(
        ("keys", "key", "what"),
        [
            ({}, "", "give `arms`, or `holdout`"),
            ({"holdout": 0}, "holdout", "greater than 0"),
            ({"arms": {"a": {"share": 1.1}}}, "arms.a.share", "less than or equal to 1"),
            ({"arms": {"a": {"share": 0.6}}, "holdout": 0.5}, "", "sum to 1.1; lower them"),
            ({"arms": {"usual": {"share": 0.5}}}, "", "choose another name"),
            ({"arms": {"holdout": {"share": 0.5}}, "holdout": 0.1}, "", "keep one of the two"),
            ({"arms": {"a": {"share": 0.5, "rung": "context"}}}, "arms.a.rung", "not permitted"),
            ({"holdout": 0.1, "starts": NOW, "ends": NOW}, "", "must be after starts"),
            ({"holdout": 0.1, "starts": "2026-12-01"}, "starts", "with a time zone; write one"),
            ({"holdout": 0.1, "starts": "soon"}, "starts", "soon is no moment"),
            ({"holdout": 0.1, "ends": NOW.replace(tzinfo=None)}, "ends", "with a time zone"),
            ({"holdout": 0.1, "name": "two words"}, "name", "match pattern"),
            ({"holdout": 0.1, "placements": []}, "placements", "at least 1"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_with_its_key(self, keys, key, what):
        with pytest.raises(ValidationError) as refused:
            Experiment.model_validate({"name": "x", **keys})
        (fault,) = refused.value.errors()
        assert ".".join(map(str, fault["loc"])) == key
        assert what in fault["msg"]

    def test_two_of_one_name_are_refused(self):
        with pytest.raises(ValueError, match=r"experiments\.1\.name: 'purpose' is given twice"):
            check_experiments([PURPOSE, PURPOSE], ["home"])

    def test_a_placement_that_is_not_there_is_refused(self):
        lost = Experiment(name="x", holdout=0.1, placements=["hom"])
        with pytest.raises(
            ValueError, match=r"experiments\.0\.placements: .*choose from \['home'\]"
        ):
            check_experiments([lost], ["home"])

    @pytest.mark.parametrize("key", ["model", "rules"])
    def test_two_that_set_the_same_on_one_placement_are_refused(self, key):
        one, other = (experiment(name, a={"share": 0.5, key: "7"}) for name in ("one", "two"))
        with pytest.raises(ValueError, match=rf"experiments\.1\.arms: .* both set `{key}`"):
            check_experiments([one, other], ["home"])

    @pytest.mark.parametrize(
        ("one", "two", "meet"),
        [
            ({}, {"starts": NOW}, True),
            ({"ends": NOW}, {"starts": NOW}, False),
            ({"starts": NOW}, {"ends": NOW}, False),
            ({"ends": NOW + timedelta(seconds=1)}, {"starts": NOW}, True),
            ({"placements": ["home"]}, {"placements": ["mail"]}, False),
            ({"placements": ["home", "mail"]}, {"placements": ["mail"]}, True),
            ({"placements": ["home"]}, {}, True),
        ],
    )
    def test_apart_in_time_or_place_both_may_set_a_model(self, one, two, meet):
        arms = {"a": {"share": 0.5, "model": "7"}}
        given = [Experiment(name=n, arms=arms, **k) for n, k in (("one", one), ("two", two))]
        if meet:
            with pytest.raises(ValueError, match="both set `model`"):
                check_experiments(given, ["home", "mail"])
        else:
            check_experiments(given, ["home", "mail"])

    def test_rungs_may_be_limited_by_several(self):
        check_experiments([TestTerms.LOW, TestTerms.LOWER, PURPOSE], ["home"])
