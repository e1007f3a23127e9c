"""Off-policy from a log: what was shown with which chance, and what another policy would earn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml

from features.build import build
from features.config import load_config
from features.home import Home
from features.types import Ragged, to_us
from training.cooking import cook
from training.evaluation.logged_decisions import Shown, logged
from training.evaluation.off_policy import judge
from training.exploration import explore
from training.policy import Decision, Feeds
from training.rankers.base import Allowed
from training.recipe import Recipe
from training.slices import World, past_at

START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS, PEOPLE, SLOTS, SHARE = "abcdef", 1000, 2, 0.6
WANTED = {"a": 0.6, "b": 0.3, "e": 0.1, "f": 0.1}  # chance of a click; the others: none
CONFIG = {
    "shop": {"consent_default": "yes"},
    "sources": {"events": {"path": "log.csv"}, "items": {"derive_from": "events"}},
    "signals": {"click": {"weight": 1}}, "impressions": ["shown"],
    "repeat": {"product": "allow"}, "placements": {"home": {"size": SLOTS}},
    "training": {"popularity": {"half_life_days": [90], "freshness_days": [None]}},
}  # fmt: skip


def rows(position_from=1):
    """First a is clicked most, then b. Then a site shows f and e, half of the slots by chance."""
    random = np.random.default_rng(0)
    for number, item in enumerate("a" * 400 + "b" * 200 + "cdef" * 10):
        yield f"{START + timedelta(minutes=number)},click,{item},old{number},,,,"
    ranked = np.tile(np.array([[5, 4]], np.int32), (PEOPLE, 1))
    zeros = np.zeros(PEOPLE, np.int8)
    fed = Feeds(ranked, np.ones(ranked.shape, np.float32), np.zeros(ranked.shape, np.int8), zeros,
                np.full(PEOPLE, Decision.show, np.int8), zeros)  # fmt: skip
    found = explore(fed, Allowed(slice(0, 6), Ragged.empty(PEOPLE)), SHARE, random)
    for person in range(PEOPLE):
        at = START + timedelta(days=1, minutes=person)
        for slot in range(SLOTS):
            item = ITEMS[found.feeds.items[person, slot]]
            chance = found.propensity[person, slot]
            about = f"{item},p{person},home,d{person}"
            yield f"{at},shown,{about},{slot + position_from},{chance}"
            if random.random() < WANTED.get(item, 0):
                yield f"{at + timedelta(seconds=30 + slot)},click,{about},{slot + position_from},"


def made(base, **how):
    head = "occurred_at,event_type,item_id,user_id,placement,decision_id,position,propensity"
    base.mkdir(exist_ok=True)
    (base / "log.csv").write_text("\n".join([head, *rows(**how)]))
    (base / "feeds.yaml").write_text(yaml.safe_dump(CONFIG))
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    return World.of(config, build(config, base, home), home)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return made(tmp_path_factory.mktemp("logged") / "shop")


def popular(world):
    """Recent popularity as it was before the first slot was shown: a, then b."""
    recipe = Recipe(world.config.training, ["popularity"], [("one_for_all", "popularity")])
    return cook(recipe, past_at(world, to_us(START + timedelta(days=1))))


def test_what_was_shown_is_read_with_what_came_of_it(world):
    shown = Shown.of(world)
    assert len(shown.items) == PEOPLE * SLOTS
    assert set(shown.positions.tolist()) == {1, 2}
    assert shown.names == ["home"]
    names = np.array(world.features.items.texts(shown.items))
    for item in ITEMS:
        rate = shown.reward[names == item].mean()
        assert rate == pytest.approx(WANTED.get(item, 0), abs=0.12), item


def test_the_policy_is_put_where_it_would_have_shown_the_same(world):
    shown = Shown.of(world)
    told = logged(world, popular(world), shown)
    names = np.array(world.features.items.texts(shown.items))
    first, second = (shown.positions == place for place in (1, 2))
    assert (told.target[first] == (names[first] == "a")).all()
    assert (told.target[second] == (names[second] == "b")).all()


def test_what_it_would_have_earned_is_found_from_the_slots_shown_by_chance(world):
    """It would show a and b: 0.45 of its slots are wanted; the site's own were far below."""
    told = logged(world, popular(world), Shown.of(world))
    assert told.reward.mean() < 0.25
    for one in judge(told):
        assert one.low < 0.45 < one.high
        assert one.value == pytest.approx(0.45, abs=0.12)


def test_positions_from_zero_are_refused(tmp_path):
    with pytest.raises(ValueError, match="count positions from 1"):
        Shown.of(made(tmp_path / "zero", position_from=0))


def test_the_command_says_what_a_log_lacks(run, trained):
    code, _, err = run("evaluate", "-c", trained.path, "--logged")
    assert code == 1
    assert "`decision_id`, `position` and `propensity`" in err
