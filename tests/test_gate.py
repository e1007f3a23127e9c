"""What the gate lets through, and what it refuses, by how much."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.feature_set import FeatureSet
from features.home import Home
from features.options import Signal
from features.training_options import Gate
from features.types import DAY_US, from_us
from training import gate
from training.bundle import Bundle, NoModel
from training.evaluation import contest, metrics
from training.evaluation.protocol import Outcome
from training.policy import Step
from training.rankers.neighbours import NeighboursRanker

ONLY_POPULARITY = [("one_for_all", "popularity")]
PERSONAL = [("one_to_one", "neighbours"), ("context", "neighbours"), *ONLY_POPULARITY]
BIG = 400  # people, of whom a mean can be told


def outcome(values, coverage=0.5):
    """As much of an outcome as a contest looks at."""
    return Outcome("all", "policy", {"ndcg_at_20": np.asarray(values, dtype=np.float64)},
                   {"coverage_at_20": coverage}, np.empty((0, 20), np.int32))  # fmt: skip


def fought(mine, other, margin=0.02):
    return contest.not_worse(
        "all: other", outcome(mine), outcome(other), margin, metrics.draws(len(mine), 200, 0)
    )


class TestNotWorse:
    def test_a_clear_loss_beyond_the_margin_is_refused_by_how_much(self):
        check = fought(np.full(BIG, 0.18), np.full(BIG, 0.2))
        assert not check.passed
        assert "0.1800 against 0.2000 (-10.0%" in check.sentence
        assert "2% may be lost" in check.sentence

    def test_a_loss_within_the_margin_passes(self):
        assert fought(np.full(BIG, 0.197), np.full(BIG, 0.2)).passed

    def test_a_loss_that_may_be_chance_passes(self):
        noise = np.random.default_rng(0).normal(0, 0.5, BIG)
        noise -= noise.mean() + 0.01  # 5 % lost on average, one person in three gains a lot
        assert fought(0.2 + noise, np.full(BIG, 0.2)).passed

    @pytest.mark.parametrize(
        ("mine", "passed"), [([0.0, 0.1, 0.1], False), ([0.0, 0.4, 0.1], True)]
    )
    def test_of_few_people_all_have_to_lose(self, mine, passed):
        assert fought(np.array(mine), np.array([0.3, 0.3, 0.3])).passed is passed

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0, 0.5))
    @settings(max_examples=50, deadline=None)
    def test_as_good_or_better_for_everybody_always_passes(self, values, more):
        assert fought(np.array(values) + more, np.array(values), margin=0).passed

    def test_nothing_can_be_worse_than_one_that_finds_nothing(self):
        assert fought(np.zeros(3), np.zeros(3)).passed


@pytest.mark.parametrize(("mine", "passed"), [(0.2, True), (0.19, False)])
def test_coverage_may_fall_to_the_configured_share(mine, passed):
    check = contest.covers("all: coverage", outcome([1], mine), outcome([1], 0.4), 0.5)
    assert check.passed is passed
    assert "against 40.0%; 50% of that must remain" in check.sentence


@pytest.fixture
def home(trained, tmp_path):
    """The trained shop's home, to be spoilt: nothing is served yet."""
    for part in ("features", "fits", "bundles", "tmp"):
        if (trained.home.root / part).exists():
            shutil.copytree(trained.home.root / part, tmp_path / part)
    return Home(tmp_path)


@pytest.fixture
def good(home):
    """A sound challenger, of a recipe that does not depend on what training chose."""
    return with_recipe(Bundle.open(home.bundles / "v1"), ladder=PERSONAL)


def serve(home, bundle, **manifest):
    """Let a copy of `bundle` be the champion v0, with other facts in its manifest."""
    target = home.bundles / "v0"
    shutil.copytree(home.bundles / bundle.version, target)
    (target / "manifest.json").write_text(json.dumps({**bundle.manifest, **manifest}))
    home.pointer.write_text("v0\n")


def with_recipe(bundle, **changes):
    """The bundle, made by another recipe; what is stored follows its ladder."""
    recipe = replace(bundle.recipe, **changes)
    ladder = [Step(rung, name, bundle.rankers[name]) for rung, name in recipe.ladder]
    return replace(bundle, manifest={**bundle.manifest, "recipe": recipe.as_json()}, ladder=ladder)


def with_gate(config, **options):
    training = config.training.model_copy(update={"gate": Gate(**options)})
    return config.model_copy(update={"training": training})


def manifest_of(home):
    """Of the only feature set."""
    (file,) = home.feature_sets.glob("[!.]*/manifest.json")
    return file


def refused(verdict):
    return {check.name: check.sentence for check in verdict.refusals}


class TestALetThrough:
    def test_first_model_has_to_beat_the_floors(self, trained, home, good):
        verdict = gate.judge(trained.config, home, good)
        assert verdict.passed
        assert verdict.champion is None
        names = {check.name for check in verdict.checks}
        assert {"all: recent popularity", "all: item neighbours"} <= names

    def test_model_of_the_champions_recipe_ties_with_it(self, trained, home, good):
        serve(home, good)
        verdict = gate.judge(trained.config, home, good)
        (tie,) = [c for c in verdict.checks if c.name == "all: the champion v0"]
        assert verdict.passed
        assert "difference +0.0000" in tie.sentence

    def test_better_recipe_replaces_a_worse_one(self, trained, home, good):
        serve(home, good, recipe=replace(good.recipe, ladder=ONLY_POPULARITY).as_json())
        assert gate.judge(trained.config, home, good).passed

    def test_model_is_judged_on_the_slice_that_its_training_kept_for_the_test(
        self, trained, home, good
    ):
        longer = trained.config.training.model_copy(update={"test_days": 28})
        other = trained.config.model_copy(update={"training": longer})
        judged = gate.judge(other, home, good)
        assert judged.checks == gate.judge(trained.config, home, good).checks

    def test_model_of_which_nothing_can_be_measured_has_to_answer(self, trained, home, good):
        verdict = gate.judge(trained.config, home, with_nobody_to_ask(good))
        said = {check.name: check.sentence for check in verdict.checks}
        assert verdict.passed
        assert "nothing could be measured" in said["quality"]
        assert "it answers" in said["stored model"]

    def test_champion_that_cannot_be_opened_is_compared_with_no_more(self, trained, home, good):
        serve(home, good, format_version=0)
        verdict = gate.judge(trained.config, home, good)
        assert verdict.passed
        assert "format 0" in verdict.checks[0].sentence


class Crumbling(NeighboursRanker):
    """Opens and cannot answer."""

    def score(self, queries, items=None):
        raise IndexError("index 7 is out of bounds")


def crumbled(bundle):
    """The bundle with a ranker on its ladder that cannot answer."""
    ranker = Crumbling(bundle.rankers["neighbours"].similarity)
    return replace(bundle, ladder=[Step("context", "neighbours", ranker), *bundle.ladder[2:]])


def with_nobody_to_ask(bundle):
    """The bundle, if nothing had happened in its test slice."""
    moment = from_us(bundle.as_of_us + DAY_US).isoformat()
    return replace(bundle, manifest={**bundle.manifest, "test_from": moment})


def spoil(directory, change):
    """Rewrite the similarities of the stored neighbours by `change`."""
    file = directory / "rankers" / "neighbours" / "similarity.data.npy"
    similarity = np.load(file)
    file.unlink()  # others have it mapped: to write into it would end them
    np.save(file, change(similarity))
    return Bundle.open(directory)


def backwards(similarity):
    return 1 / similarity


def silenced(similarity):
    return np.full_like(similarity, np.nan)


class TestIsRefused:
    @pytest.mark.parametrize(
        ("change", "said"),
        [(backwards, "its recipe"), (silenced, "rankers")],
    )
    def test_a_model_that_was_broken_after_fitting(self, trained, home, good, change, said):
        stored = spoil(home.bundles / good.version, change)
        found = refused(gate.judge(trained.config, home, with_recipe(stored, ladder=PERSONAL)))
        assert f"all: stored model, {said}" in found
        assert f"session: stored model, {said}" in found
        assert all("stored model" in name for name in found)

    def test_a_model_that_cannot_even_answer(self, trained, home, good):
        found = refused(gate.judge(trained.config, home, crumbled(good)))
        assert "IndexError: index 7 is out of bounds" in found["all: stored model"]

    def test_a_model_that_cannot_even_answer_where_nobody_can_be_asked(self, trained, home, good):
        broken = with_nobody_to_ask(crumbled(good))
        found = refused(gate.judge(trained.config, home, broken))
        assert "IndexError: index 7 is out of bounds" in found["stored model"]

    def test_a_model_that_has_nothing_for_a_stranger_where_nobody_can_be_asked(
        self, trained, home, good
    ):
        mute = with_nobody_to_ask(replace(good, ladder=good.ladder[:2]))
        found = refused(gate.judge(trained.config, home, mute))
        assert "nothing to show to a stranger" in found["stored model"]

    def test_a_recipe_that_is_worse_and_shows_less_than_the_champions(self, trained, home, good):
        serve(home, good)
        found = refused(gate.judge(trained.config, home, with_recipe(good, ladder=ONLY_POPULARITY)))
        assert "2% may be lost" in found["session: the champion v0"]
        assert "50% of that must remain" in found["session: coverage of the champion v0"]

    def test_a_collapse_of_coverage_alone(self, trained, home, good):
        serve(home, good)
        lenient = with_gate(trained.config, margin=0.99, min_coverage=0.5)
        found = refused(gate.judge(lenient, home, with_recipe(good, ladder=ONLY_POPULARITY)))
        assert found
        assert all("coverage" in name for name in found)

    def test_a_model_older_than_the_champion_with_both_dates(self, trained, home, good):
        serve(home, good, as_of_us=good.as_of_us + DAY_US)
        found = refused(gate.judge(trained.config, home, good))
        dates = re.findall(r"\d{4}-\d\d-\d\d", found["newer"])
        assert len(set(dates)) == 2

    def test_a_model_of_older_data_than_there_is(self, trained, home, good):
        features = FeatureSet.open(next(home.feature_sets.iterdir()))
        today = replace(features, manifest={**features.manifest, "digest": "f" * 64,
                                            "as_of_us": good.as_of_us + DAY_US})  # fmt: skip
        verdict = gate.judge(trained.config, home, good, features=today)
        assert "`feeds retrain`" in refused(verdict)["newest data"]
        assert not any("all" in check.name for check in verdict.checks)  # nothing was measured

    def test_a_model_of_another_config(self, trained, home, good):
        signals = {**trained.config.signals, "wave": Signal(weight=1)}
        other = trained.config.model_copy(update={"signals": signals})
        assert "`signals`" in refused(gate.judge(other, home, good))["config"]

    def test_data_that_moved_beyond_the_bounds_since_the_champions(self, trained, home, good):
        """Each build was within its bounds of the one before; all of them together are not."""
        larger = dict(json.loads(manifest_of(home).read_text()))
        larger["digest"] = "e" * 64
        larger["profile"]["events"] *= 4
        target = home.feature_sets / ("e" * 16)
        target.mkdir()
        (target / "manifest.json").write_text(json.dumps(larger))
        os.utime(target / "manifest.json", (0, 0))
        serve(home, good, feature_digest="e" * 64)
        found = refused(gate.judge(trained.config, home, good))
        assert "bounds.volume_drop allows" in found["drift"]

    def test_data_of_which_too_much_was_rejected(self, trained, home, good):
        contract = trained.config.contract.model_copy(update={"max_rejected_share": 0.0})
        strict = trained.config.model_copy(update={"contract": contract})
        found = refused(gate.judge(strict, home, good))
        assert "0% may be" in found["rejected rows"]

    def test_where_no_feature_set_is_left_to_judge_it_by(self, trained, home, good):
        shutil.rmtree(home.feature_sets)
        with pytest.raises(NoModel, match="feeds build"):
            gate.judge(trained.config, home, good)
