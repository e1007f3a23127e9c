"""What the shop showed: seen and not wanted teaches, where it stood is not what is liked."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import blended
import numpy as np
import pandas as pd
import pytest
import worlds
import yaml

from features.build import build
from features.config import ConfigError, load_config
from features.feature_set import FeatureSet
from features.home import Home
from features.split import time_split
from features.training_options import BlendOptions, Training
from features.types import Ragged
from training.evaluation import protocol
from training.fitting import fit
from training.fitting.blend import fit_blend
from training.fitting.blend_lessons import Lessons, Teacher, grades
from training.impressions import Impressions, Shown
from training.item_side import item_side
from training.rankers.blend_features import MISSING, SHOWN_AT, names

START = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = names(blended.INPUTS)


def seen(rows, places):
    """What each person saw, and where."""
    return Shown(Ragged.of(rows), np.array(places, dtype=np.float32))


class TestWhoSawWhat:
    log = Impressions(
        persons=np.array([7, 3, 7, 7, 5], np.int32), items=np.array([2, 1, 2, 0, 2], np.int32),
        at_us=np.array([10, 20, 30, 40, 50]), places=np.array([4, 1, 2, np.nan, 1], np.float32),
    )  # fmt: skip

    def test_each_item_once_where_it_stood_highest(self):
        shown = self.log.to(np.array([3, 7]), 0, 100)
        assert [shown.items.row(row).tolist() for row in range(2)] == [[1], [0, 2]]
        np.testing.assert_array_equal(shown.places, [1, np.nan, 2])

    def test_only_in_the_time_asked_for(self):
        shown = self.log.to(np.array([7, 5, 3]), 20, 50)
        assert [shown.items.row(row).tolist() for row in range(3)] == [[0, 2], [], [1]]
        assert not len(self.log.to(np.array([5]), 0, 50).places)

    def test_nobody_asked_for_saw_anything(self):
        assert len(self.log.to(np.empty(0, np.int64), 0, 100)) == 0

    def test_what_must_not_be_shown_is_left_out(self):
        shown = seen([[0, 2], [1, 2]], [1, 2, 3, 4])
        rows, items, places = shown.without(Ragged.of([[2], [5, 1]]))
        assert (rows.tolist(), items.tolist(), places.tolist()) == ([0, 1], [0, 2], [1, 4])


def write_shop(base, impressions):
    """Two shoppers of ten events each; with impressions: pages of items that they saw besides."""
    rows = []
    for hour in range(10):
        at = START + timedelta(hours=7 * hour)
        for person in ("ann", "bob"):
            rows.append((at, "view", f"i{hour}", person, ""))
            if impressions:
                rows += [(at, "seen", f"i{n}", person, n + 1) for n in range(12)]
    if impressions:
        rows.append((START, "seen", "i0", "cat", 1))
    lines = [f"{a.isoformat()},{t},{i},{p},{n}" for a, t, i, p, n in rows]
    base.mkdir()
    (base / "log.csv").write_text("\n".join(["at,type,item,person,place", *lines]))
    told = {
        "sources": {"events": {"path": "log.csv", "columns": {
            "occurred_at": "at", "event_type": "type", "item_id": "item", "user_id": "person",
            "position": "place"}}, "items": {"derive_from": "events"}},
        "signals": {"view": {"weight": 1}}, "impressions": ["seen"],
        "cleaning": {"robots": {"min_moments": 5, "items_per_day": 10}},
    }  # fmt: skip
    (base / "feeds.yaml").write_text(yaml.safe_dump(told))
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    return build(config, base, home)


@pytest.fixture(scope="module")
def shops(tmp_path_factory) -> dict[bool, FeatureSet]:
    base = tmp_path_factory.mktemp("shops")
    return {told: write_shop(base / str(told), told) for told in (False, True)}


class TestInABuild:
    def test_what_the_shop_showed_does_not_describe_the_person(self, shops):
        with_them, without = shops[True].table("persons"), shops[False].table("persons")
        own = with_them[with_them.person.isin(without.person)].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            own.drop(columns="person_index"), without.drop(columns="person_index"),
            check_dtype=False,
        )  # fmt: skip
        assert list(with_them.person) == ["u:ann", "u:bob", "u:cat"]

    def test_a_page_of_items_makes_nobody_a_robot(self, shops):
        assert "robot" not in json.dumps(shops[True].manifest["rows"]["removed"])
        assert shops[True].manifest["event_types"] == {"seen": 241, "view": 20}

    def test_they_are_no_history(self, shops):
        assert len(shops[True].timelines.items) == 20

    def test_are_read_in_time_order_with_their_places(self, shops):
        found = Impressions.of(shops[True], ["seen"])
        assert (np.diff(found.at_us) >= 0).all()
        assert sorted(set(found.places.tolist())) == list(range(1, 13))
        assert Impressions.of(shops[True], []) is None
        assert Impressions.of(shops[False], ["seen"]) is None


def test_an_impression_is_no_signal(tmp_path):
    told = {"sources": {"events": {"path": "log.csv"}}, "signals": {"view": {"weight": 1}},
            "impressions": ["view"]}  # fmt: skip
    (tmp_path / "feeds.yaml").write_text(yaml.safe_dump(told))
    with pytest.raises(ConfigError, match=r"impressions: \['view'\] are also in signals"):
        load_config(tmp_path / "feeds.yaml")


class TestLessons:
    @pytest.fixture
    def asked(self):
        split = time_split(blended.crowd(), blended.CUT)
        past = worlds.past(split.past, blended.CUT)
        options = Training.model_validate({"als": {"factors": 2}})
        rankers = {name: fit(name, past, options) for name in blended.INPUTS}
        config = worlds.config(repeat={"product": "exclude"})
        (task,) = (t for t in protocol.tasks(split, config, blended.Shelf())
                   if t.name == "discovery")  # fmt: skip
        prices = past.items.prices
        return task, Teacher(rankers, blended.INPUTS, item_side(past), 10, grades("clicks", prices))

    def test_are_of_nothing_but_what_was_seen_and_say_where_it_stood(self, asked):
        task, teacher = asked
        wanted = [int(task.truth.row(row)[0]) for row in range(len(task.people))]
        others = [(item + 1) % worlds.N_ITEMS for item in wanted]
        rows = [sorted(pair) for pair in zip(wanted, others, strict=True)]
        found = teacher.lessons(task, seen(rows, [3, 5] * len(rows)))
        sizes = np.bincount(found.query)
        assert len(found.person) == len(task.people)
        assert sizes.max() <= 2
        assert set(found.rows[:, COLUMNS.index(SHOWN_AT)]) == {3, 5}

    def test_without_impressions_everything_stands_alike(self, asked):
        task, teacher = asked
        assert set(teacher.lessons(task).rows[:, COLUMNS.index(SHOWN_AT)]) == {MISSING}


class TestPlaces:
    """A shop that shows new items first: they are clicked more, whatever they are."""

    def lessons(self, requests=400, size=8):
        random = np.random.default_rng(0)
        rows = np.full((requests * size, len(COLUMNS)), MISSING, dtype=np.float32)
        quality, age = random.random((2, requests, size))
        places = 1 + np.argsort(np.argsort(age + 0.3 * random.random(age.shape), axis=1), axis=1)
        clicked = random.random(age.shape) < quality * 0.6 ** (places - 1)
        rows[:, COLUMNS.index("als: score")] = quality.ravel()
        rows[:, COLUMNS.index("age")] = age.ravel()
        rows[:, COLUMNS.index(SHOWN_AT)] = places.ravel()
        people = np.arange(requests)
        return Lessons(rows, clicked.ravel().astype(np.int8), np.tile(np.arange(size), requests),
                       np.repeat(people, size), people, people).useful()  # fmt: skip

    def told(self, lessons):
        """How the forest's order of unseen items goes with their quality."""
        options = BlendOptions(trees=60, leaves=8, min_leaf=20, folds=2)
        forest = fit_blend(lessons, COLUMNS, options, seed=0).model
        rows = lessons.rows.copy()
        rows[:, COLUMNS.index(SHOWN_AT)] = MISSING
        judged = forest.run("variable", features=rows)[:, 0]
        return np.corrcoef(judged, rows[:, COLUMNS.index("als: score")])[0, 1]

    def test_a_high_place_is_not_taken_for_a_good_item(self):
        lessons = self.lessons()
        blind = lessons.rows.copy()
        blind[:, COLUMNS.index(SHOWN_AT)] = MISSING
        assert self.told(lessons) > self.told(replace(lessons, rows=blind)) + 0.1
