"""Every rung asked on the same requests: nothing of the future, and what is measured is served."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml

from features.build import build
from features.config import RUNGS, load_config
from features.home import Home
from features.lifecycle import STAGES
from features.types import DAY_US, to_us
from training.bundle import open_bundle
from training.cooking import cook
from training.evaluation.evidence import VISITS
from training.policy import Reason
from training.recipe import Recipe
from training.rungs import compare_rungs
from training.slices import World, past_at

START = datetime(2026, 1, 1, tzinfo=UTC)
CUT_US = to_us(START + timedelta(days=20))
LADDER = [["one_to_one", "neighbours"], ["context", "neighbours"], ["one_for_all", "popularity"]]


def shop(base, later=(), agreed=("u0", "u1", "u2", "u3", "u4", "u5")):
    """Two tastes, a to d and p to s; from day 20 on visits of two items, `later` rows besides."""
    rows = [(f"u{n}", item, 24 * day + n) for n in range(6)
            for day, item in enumerate("abc" if n < 3 else "pqr")]  # fmt: skip
    rows += [(f"u{n}", item, 24 * (21 + n) + place) for n in range(6)
             for place, item in enumerate("da" if n < 3 else "sp")]  # fmt: skip
    lines = [f"{p},{i},{START + timedelta(hours=h)},{p}-{h // 24}" for p, i, h in [*rows, *later]]
    base.mkdir(exist_ok=True)
    (base / "log.csv").write_text("\n".join(["person,item,at,visit", *lines]))
    people = [f"u{n},{'true' if f'u{n}' in agreed else 'false'}" for n in range(6)]
    (base / "customers.csv").write_text("\n".join(["user_id,consent_personalise", *people]))
    told = {
        "sources": {"events": {"path": "log.csv", "columns": {
            "occurred_at": "at", "event_type": "'view'", "item_id": "item", "user_id": "person",
            "session_id": "visit", "channel": "'site'"}}, "items": {"derive_from": "events"},
            "customers": {"path": "customers.csv"}},
        "signals": {"view": {"weight": 1}},
    }  # fmt: skip
    (base / "feeds.yaml").write_text(yaml.safe_dump(told))
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    return World.of(config, build(config, base, home), home)


def asked(world):
    """The survey of all visits from day 20 on, by rankers of what came before."""
    ladder = [tuple(step) for step in LADDER]
    recipe = Recipe(world.config.training, ["popularity", "neighbours"], ladder)
    return compare_rungs(world, cook(recipe, past_at(world, CUT_US)), CUT_US, 1000)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return asked(shop(tmp_path_factory.mktemp("shop")))


def test_every_visit_asks_every_rung(found):
    rows = found.compared
    assert len(rows) == found.visits == 6
    assert found.wanted == {"product": 1.0, "article": 0.0}
    assert rows.ndcg.shape == rows.rungs.shape == (6, len(RUNGS))
    assert (np.diff(rows.at_us) >= 0).all()


def test_a_rung_knows_what_the_policy_lets_it_know(found):
    rows = found.compared
    arriving = ~rows.browsing
    assert (rows.rungs[:, 0] == 0).all()
    assert (rows.rungs[arriving, 1] == 0).all(), "who has just come has shown nothing yet"
    assert (rows.rungs[rows.browsing, 1] == 1).all()
    assert (rows.rungs[:, 3] == 3).all(), "all have a past and have agreed"
    np.testing.assert_array_equal(rows.ndcg[:, 2], rows.ndcg[:, 1])  # nobody speaks on `segment`


def test_what_happens_later_changes_no_earlier_feed(found, tmp_path):
    """A crowd that comes for `s` on the last day: nobody before it gets another feed."""
    crowd = [(f"x{n}", item, 24 * 27 + n) for n in range(20) for item in "sd"]
    other = asked(shop(tmp_path / "crowded", crowd)).compared
    before = np.flatnonzero(other.at_us < CUT_US + 7 * DAY_US)
    own = found.compared
    assert len(before) == len(own) == 6
    coin = own.browsing == other.browsing[before]  # another log, other tosses
    assert coin.any()
    np.testing.assert_allclose(own.ndcg[coin], other.ndcg[before][coin])


def test_what_may_not_be_used_is_not_used(tmp_path):
    world = shop(tmp_path / "refused", agreed=("u0", "u1"))
    rows = asked(world).compared
    names = [world.features.persons.text(int(row)) for row in rows.persons]
    own = dict(zip(names, rows.rungs[:, 3].tolist(), strict=True))
    assert own["u:u0"] == own["u:u1"] == 3
    assert max(own[f"u:u{n}"] for n in range(2, 6)) <= 1
    refused = [row for row, name in enumerate(names) if name not in ("u:u0", "u:u1")]
    assert (rows.segments[refused] == -1).all()
    assert (rows.stages[refused] == -1).all()


def test_the_service_serves_what_the_evidence_says(trained, tmp_path):
    """For known customers of the shop: no higher than the cell's rung, and it says so."""
    from at_the_desk import ask_all

    bundle = open_bundle(trained.home, "champion")
    assert bundle.evidence is not None
    place = bundle.config.placements["home"]
    ceiling = bundle.ceiling(place.channel, place.kind)
    assert ceiling.shape == (2, len(STAGES) + 1, len(bundle.manifest["segments"]) + 1)
    seen = set()
    rows = np.flatnonzero(np.diff(bundle.timelines.indptr) > 0)[:60]
    names = [bundle.persons.text(row) for row in rows.tolist()]
    known = [n for n, name in enumerate(names) if name.startswith("u:") and bundle.consent[rows[n]]]
    requests = [{"placement": "home", "user_id": names[n].removeprefix("u:")} for n in known]
    alone = replace(bundle, config=bundle.config.model_copy(update={"experiments": []}))
    for row, told in zip(rows[known].tolist(), ask_all(alone, tmp_path, requests), strict=True):
        pays = ceiling[VISITS.index("arriving"), bundle.stages[row], bundle.segments[row]]
        assert RUNGS.index(told["rung"]) <= pays
        if pays == RUNGS.index("one_to_one"):
            assert told["reason"] != Reason.does_not_pay.name
        seen.add(told["rung"])
    assert seen
