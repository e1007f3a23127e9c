"""What an experiment shows clearly overrides the table; what it cannot tell leaves it alone."""

from __future__ import annotations

import json

import logged
import numpy as np
import pytest
from logged import did
from test_evidence import CONFIG, PLANTED, survey

from features.config import RUNGS
from features.experiments import Experiment, assign
from training.evaluation.bottom_line import evidence_of
from training.evaluation.evidence import Evidence, Gain, Weighed
from training.evaluation.online_evidence import Online, online_evidence, overridden

GAIN = Gain("one_to_one", "one_for_all", 0.1, 0.0, 0.2, "unknown")
ONE_FOR_ALL, CONTEXT, SEGMENT, ONE_TO_ONE = RUNGS


def cell(rung, *, kind="product", channel="site", stage="new", segment="fans", visit="browsing"):
    return Weighed(visit, kind, channel, stage, segment, rung, "offline", 60, 50, [GAIN])


def said(lower=ONE_FOR_ALL, higher=ONE_TO_ONE, *, better=True, **place):
    return Online(place.pop("experiment", "purpose"), lower, higher, better, **place)


def after(weighed, *online):
    """The rung and what it rests on, after these words."""
    table = Evidence("ndcg@20", "parent", 0.0, [weighed], "", [], [])
    (found,) = overridden(table, online).cells
    return found.rung, found.rests_on


class TestOverriding:
    @pytest.mark.parametrize(
        ("rung", "better", "becomes"),
        [(ONE_FOR_ALL, True, SEGMENT), (SEGMENT, True, SEGMENT), (ONE_TO_ONE, True, ONE_TO_ONE),
         (ONE_FOR_ALL, False, ONE_FOR_ALL), (SEGMENT, False, CONTEXT),
         (ONE_TO_ONE, False, CONTEXT)],
    )  # fmt: skip
    def test_better_is_at_least_the_higher_worse_at_most_the_lower(self, rung, better, becomes):
        assert after(cell(rung), said(CONTEXT, SEGMENT, better=better)) == (becomes, "online")

    def test_without_a_word_nothing_changes(self):
        table = Evidence("ndcg@20", "parent", 0.0, [cell(SEGMENT)], "", [], [], [cell(CONTEXT)])
        assert overridden(table, []) == table

    def test_the_numbers_of_the_cell_stay(self):
        table = Evidence("ndcg@20", "parent", 0.0, [cell(SEGMENT)], "", [], [])
        (found,) = overridden(table, [said(better=False)]).cells
        assert (found.requests, found.people, found.gains) == (60, 50, [GAIN])
        assert json.loads(json.dumps(found.rests_on)) == "online"

    def test_a_word_on_a_cell_is_for_this_cell_on_every_visit(self):
        word = said(better=False, stage="new", segment="fans")
        assert after(cell(SEGMENT, visit="arriving"), word) == (ONE_FOR_ALL, "online")
        assert after(cell(SEGMENT, segment="crowd"), word) == (SEGMENT, "offline")
        assert after(cell(SEGMENT, stage=None, segment=None), word) == (SEGMENT, "offline")

    def test_everybody_is_every_cell_and_all_above_them(self):
        word = said(better=False)
        for weighed in (cell(SEGMENT), cell(SEGMENT, stage=None, segment=None),
                        cell(SEGMENT, kind="any", channel="any")):  # fmt: skip
            assert after(weighed, word) == (ONE_FOR_ALL, "online")

    def test_the_merged_cells_too(self):
        merged = cell(SEGMENT, channel="any")
        table = Evidence("ndcg@20", "parent", 0.0, [], "", [], [], [merged])
        (found,) = overridden(table, [said(better=False)]).merged
        assert (found.rung, found.rests_on) == (ONE_FOR_ALL, "online")
        assert overridden(table, [said(better=False, channel="site")]).merged == [merged]

    @pytest.mark.parametrize("place", [{"kind": "article"}, {"channel": "email"}])
    def test_what_was_tried_elsewhere_says_nothing(self, place):
        assert after(cell(SEGMENT), said(better=False, **place)) == (SEGMENT, "offline")

    def test_the_verdict_of_the_cell_goes_before_that_of_everybody(self):
        own = said(CONTEXT, SEGMENT, stage="new", segment="fans")
        for words in ([said(CONTEXT, SEGMENT, better=False), own],
                      [own, said(CONTEXT, SEGMENT, better=False)]):  # fmt: skip
            assert after(cell(ONE_FOR_ALL), *words) == (SEGMENT, "online")

    def test_the_newer_word_goes_before_the_older(self):
        assert after(cell(SEGMENT), said(), said(better=False)) == (ONE_FOR_ALL, "online")
        assert after(cell(SEGMENT), said(better=False), said()) == (ONE_TO_ONE, "online")

    def test_the_finer_comparison_has_the_last_word(self):
        """One to one beats one for all, and segment beats one to one: segment is the best."""
        words = [said(SEGMENT, ONE_TO_ONE, better=False, experiment="fine"), said()]
        assert after(cell(ONE_FOR_ALL), *words) == (SEGMENT, "online")


class TestUsualFeeds:
    """`usual` gets what the table says: that it beats the holdout confirms the table."""

    def test_what_is_served_there_is_confirmed(self):
        assert after(cell(SEGMENT), said(as_usual=True)) == (SEGMENT, "online")

    def test_the_mean_of_everybody_raises_nobody_who_got_the_same_as_the_holdout(self):
        assert after(cell(ONE_FOR_ALL), said(as_usual=True)) == (ONE_FOR_ALL, "offline")

    def test_a_verdict_of_the_cell_itself_does(self):
        word = said(as_usual=True, stage="new", segment="fans")
        assert after(cell(ONE_FOR_ALL), word) == (ONE_TO_ONE, "online")

    def test_worse_is_worse(self):
        assert after(cell(SEGMENT), said(as_usual=True, better=False)) == (ONE_FOR_ALL, "online")


def crowd(experiment, effects, people=500):
    """Everybody comes once; an arm with an effect does so much more."""
    dealt = Experiment(**experiment)
    random = np.random.default_rng(5)
    for n in range(people):
        who, enters = f"u:p{n}", 11 + random.random() * 20
        more = effects.get(assign(dealt, who[2:]), 0)
        times = 1 + int(random.integers(0, 3)) + more
        yield from (did(who, enters + k / 50) for k in range(times))
    yield did("u:last", 60)


RUNG = {"name": "rungs", "arms": {"less": {"share": 0.5, "highest_rung": "segment"}},
        "starts": "2026-03-11T00:00:00Z", "planned_people": 500}  # fmt: skip
PLACES = {"home": {"kind": "product"}, "top": {"kind": "article", "channel": "email"},
          "list": {"kind": "product", "highest_rung": "segment"}}  # fmt: skip


def test_the_policy_obeys_and_what_is_reported_is_of_the_rung_that_is_served():
    """Offline, one to one pays for the fans; an experiment on all placements says it does not."""
    before = evidence_of(survey(PLANTED), CONFIG)
    found = evidence_of(survey(PLANTED), CONFIG, [said(better=False)])
    place = ("browsing", "product", "site", "active", "fans")
    assert RUNGS[before.rung(*place)] == ONE_TO_ONE
    assert RUNGS[found.rung(*place)] == ONE_FOR_ALL
    assert {cell.rests_on for cell in [*found.cells, *found.merged]} == {"online"}
    assert found.cell(*place).later["gain"] == 0
    assert "should not personalise products" in found.bottom[0]["says"]


class TestWhatAnExperimentSays:
    @pytest.fixture
    def words(self, tmp_path):
        def _words(experiment, effects, **parts):
            told = logged.config(experiment, placements=PLACES, **parts)
            return online_evidence(logged.world(tmp_path, list(crowd(experiment, effects)), told))

        return _words

    def test_an_arm_that_does_worse_with_less_says_that_more_is_better(self, words):
        (word,) = words(RUNG, {"usual": 2})
        assert word == Online("rungs", SEGMENT, ONE_TO_ONE, better=True, as_usual=True)

    def test_and_the_other_way_round(self, words):
        (word,) = words(RUNG, {"less": 2})
        assert (word.lower, word.higher, word.better) == (SEGMENT, ONE_TO_ONE, False)

    def test_a_holdout_is_one_for_all(self, words):
        holdout = {"name": "purpose", "holdout": 0.5, "starts": RUNG["starts"],
                   "ends": "2026-05-01T00:00:00Z", "planned_people": 500}  # fmt: skip
        (word,) = words(holdout, {"usual": 2})
        assert word == Online("purpose", ONE_FOR_ALL, ONE_TO_ONE, better=True, as_usual=True)

    def test_alike_says_nothing(self, words):
        assert words(RUNG, {}) == []

    @pytest.mark.parametrize("key", ["model", "rules"])
    def test_about_a_model_or_rules_says_nothing_of_rungs(self, words, key):
        rules = [{"set": "12", "diversity": 0.5}] if key == "rules" else []
        for arm in (
            {"share": 0.5, "highest_rung": "segment", key: "12"},
            {"share": 0.5, key: "12"},
        ):
            assert words({**RUNG, "arms": {"less": arm}}, {"usual": 2}, rules=rules) == []

    def test_arms_that_hold_too_few_people_say_nothing(self, tmp_path):
        """A third of the people of one arm is lost on the way: no verdict, whatever they did."""
        dealt = Experiment(**RUNG)
        kept = [
            row
            for row in crowd(RUNG, {"usual": 2})
            if assign(dealt, row["who"][2:]) == "usual" or row["who"][-1] not in "123"
        ]
        assert online_evidence(logged.world(tmp_path, kept, logged.config(RUNG))) == []

    @pytest.mark.parametrize(
        ("placements", "kind", "channel"),
        [(None, None, None), (["home"], "product", "site"), (["home", "list"], "product", "site"),
         (["home", "top"], None, None)],
    )  # fmt: skip
    def test_it_is_about_the_place_that_all_its_placements_share(
        self, words, placements, kind, channel
    ):
        (word,) = words({**RUNG, "placements": placements}, {"usual": 2})
        assert (word.kind, word.channel) == (kind, channel)

    def test_where_the_placement_allows_no_more_there_was_no_difference_to_see(self, words):
        assert words({**RUNG, "placements": ["list"]}, {"usual": 2}) == []
