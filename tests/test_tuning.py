"""Tuning: never below the config's own settings, the same by seed; it goes on where it stopped."""

from __future__ import annotations

import os
from dataclasses import replace

import blended
import pytest
import worlds

from features.home import Home
from features.split import time_split
from features.training_options import Training
from training.cooking import cook, fitted_once, forget_fits
from training.evaluation import protocol
from training.fitting import fit
from training.recipe import FLOOR, Recipe
from training.tuning import Bench, tune

LADDER = [("one_for_all", FLOOR)]
SMALL = {"als": {"factors": 2, "regularization": 0.1}}


def recipe(trials=4, minutes=1.0, **parts):
    options = Training.model_validate({**SMALL, "tuning": {"trials": trials, "minutes": minutes},
                                       **parts})  # fmt: skip
    return Recipe(options, ["popularity", "neighbours", "als"], LADDER)


@pytest.fixture
def bench(tmp_path):
    split = time_split(blended.crowd(40), blended.CUT)
    past = replace(worlds.past(split.past, blended.CUT), key="a/1")
    config = worlds.config(repeat={"product": "exclude"})
    tasks = protocol.tasks(split, config, blended.Shelf())
    return Bench(past, tasks, fit(FLOOR, past, Training()), Home(tmp_path))


def total(bench, name, options):
    """What a ranker with these options comes to, as trials are judged."""
    ranker = fit(name, bench.past, options)
    gains = (bench.value(ranker, name, task) / bench.value(bench.floor, FLOOR, task)
             for task in bench.tasks)  # fmt: skip
    return sum(gains)


class TestTuning:
    def test_the_first_trial_is_the_configs_own(self, bench):
        _, tried = tune(recipe(), bench)
        first = [one for one in tried if one.number == 0]
        assert [one.ranker for one in first] == ["neighbours", "als"]
        assert all(one.params == {} for one in first)

    def test_what_it_finds_does_at_least_as_well_as_the_configs_own(self, bench):
        options, _ = tune(recipe(), bench)
        for name in ("neighbours", "als"):
            least = total(bench, name, recipe().options)
            assert total(bench, name, options) >= least - 1e-9

    def test_other_questions_are_another_search(self, bench):
        tune(recipe(trials=2), bench)
        other = replace(bench, tasks=bench.tasks[:1])
        kept = tune(recipe(trials=2), other)[1]
        fresh = tune(recipe(trials=2), replace(other, home=None))[1]
        assert [one.value for one in kept] == [one.value for one in fresh]

    def test_finds_the_same_twice(self, bench, tmp_path):
        first, _ = tune(recipe(), bench)
        second, _ = tune(recipe(), replace(bench, home=Home(tmp_path / "other")))
        assert first == second

    def test_goes_on_where_it_stopped(self, bench):
        _, begun = tune(recipe(trials=2), bench)
        _, ended = tune(recipe(trials=4), bench)
        known = {(one.ranker, one.number): one.params for one in begun}
        assert {key: known[key] for key in known} == {
            (one.ranker, one.number): one.params for one in ended if one.number < 2
        }
        assert len(ended) == 8
        whole, _ = tune(recipe(), replace(bench, home=None))
        assert tune(recipe(), bench)[0] == whole

    def test_without_trials_nothing_is_tried(self, bench):
        options, tried = tune(recipe(trials=0), bench)
        assert tried == []
        assert options == recipe(trials=0).options

    def test_every_ranker_gets_one_trial_even_when_there_is_no_time(self, bench):
        _, tried = tune(recipe(trials=5, minutes=1e-6), bench)
        assert [(one.ranker, one.number) for one in tried] == [("neighbours", 0), ("als", 0)]


class TestCooking:
    def test_a_ranker_that_cannot_be_fitted_is_left_out_and_said(self):
        asked = replace(recipe(), names=["popularity", "content"])
        cooked = cook(asked, worlds.past(worlds.two_tastes()))  # items without properties
        assert cooked.skipped["content"].startswith("content: ")
        assert set(cooked.rankers) == {"popularity"}

    def test_a_fit_is_kept_and_not_made_again(self, bench):
        made = fitted_once("als", bench.past, recipe().options, bench.home)
        (kept,) = bench.home.fits.glob("a/1/*")
        before = kept.stat().st_mtime_ns
        again = fitted_once("als", bench.past, recipe().options, bench.home)
        assert kept.stat().st_mtime_ns == before
        queries = worlds.asking(bench.past.timelines, [0])
        assert (made.score(queries) == again.score(queries)).all()

    def test_other_settings_are_another_fit(self, bench):
        fitted_once("als", bench.past, recipe().options, bench.home)
        fitted_once("als", bench.past, recipe(als={"factors": 3}).options, bench.home)
        assert len(list(bench.home.fits.glob("a/1/*"))) == 2

    def test_old_fits_on_another_feature_set_are_forgotten(self, bench):
        fitted_once("als", bench.past, recipe().options, bench.home)
        forget_fits(bench.home, ["b"])
        assert (bench.home.fits / "a").exists()  # another run may be reading it
        for path in (bench.home.fits / "a", bench.home.fits / "a" / "1"):
            os.utime(path, (0, 0))
        forget_fits(bench.home, ["a"])
        assert (bench.home.fits / "a").exists()
        forget_fits(bench.home, ["b"])
        assert not (bench.home.fits / "a").exists()
