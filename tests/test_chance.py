"""Slots that are left to chance: who gets them, and what the log of decisions says of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from at_the_desk import at_the_desk
from readers import trained

from features.decided import read_decisions
from serving.api import FeedRequest
from serving.feed import feed


@pytest.fixture(scope="module")
def place(new_shop):
    shop = new_shop()
    return shop, trained(shop)


@pytest.fixture
def asked(place, tmp_path):
    """Answers and logged decisions of some strangers: `asked(share, times, rules)`."""
    shop, bundle = place

    def _asked(share, times=200, rules=(), **request):
        home = bundle.config.placements["home"].model_copy(update={"exploration_share": share})
        config = bundle.config.model_copy(update={"placements": {"home": home}})
        written = yaml.safe_load((shop.base / "feeds.yaml").read_text())
        path = tmp_path / "feeds.yaml"
        path.write_text(yaml.safe_dump({**written, "rules": list(rules)}))

        async def work(desk):
            one = FeedRequest(placement="home", size=2, **request)
            return [await feed(desk, one) for _ in range(times)]

        answers = at_the_desk(replace(bundle, config=config), tmp_path, work, config=path)
        (file,) = (tmp_path / "decisions").glob("*.jsonl")
        return answers, list(read_decisions(file))

    return _asked


def test_without_a_share_nothing_is_left_to_chance(asked):
    answers, logged = asked(0.0, times=5)
    assert {tuple(one["item_id"] for one in a["items"]) for a in answers} == {("c", "b")}
    assert all(one.propensities == [] for one in logged)


def test_a_share_of_the_slots_shows_anything_that_it_may(asked):
    answers, _ = asked(0.5)
    drawn = [one for a in answers for one in a["items"] if one["ranker"] == "chance"]
    assert 130 < len(drawn) < 270, "half of 400"
    assert {one["item_id"] for one in drawn} == {"a", "b", "c", "d", "e"}
    assert all(one["marks"] == ["explored"] and one["score"] is None for one in drawn)
    assert all(len({one["item_id"] for one in a["items"]}) == 2 for a in answers)


def test_the_log_says_how_likely_everything_was(asked):
    """c is first by rank: it stays with .5, or is drawn out of the five less what stays."""
    _, logged = asked(0.5)
    first = [one for one in logged if one.item_ids[0] == "c"]
    (chance,) = {one.propensities[0] for one in first}
    assert chance == pytest.approx(0.5 + 0.5 * (0.5 / 5 + 0.5 / 4))
    assert len(first) / len(logged) == pytest.approx(chance, abs=0.12)


def test_what_is_pinned_stays_and_has_no_chance(asked):
    pin = [{"pin": [{"item": "e", "position": 1}]}]
    answers, logged = asked(1.0, times=40, rules=pin)
    assert {a["items"][0]["item_id"] for a in answers} == {"e"}
    assert {a["items"][1]["ranker"] for a in answers} == {"chance"}
    assert {a["items"][1]["item_id"] for a in answers} == {"a", "b", "c", "d"}
    assert all(one.propensities == [None, 0.25] for one in logged)


def test_a_decision_is_logged_with_all_that_was_asked_and_answered(asked):
    answers, logged = asked(0.0, times=1, visitor_id="v1")
    (answer,), (decided,) = answers, logged
    assert decided.decision_id == answer["decision_id"]
    assert (decided.placement, decided.decision, decided.reason) == ("home", "show", "stranger")
    assert decided.item_ids == ["c", "b"]
    assert decided.positions == [1, 2]
    assert decided.rankers == ["popularity"] * 2
    assert decided.model_version == "v1"
    assert "v1" not in json.dumps([decided.person, decided.decision_id])
    assert decided.latency_us > 0
