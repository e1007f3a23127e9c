"""The benchmark of mailings: what is counted as repeated, and that nobody is lost."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from benchmarks.mailings import report
from benchmarks.mailings.__main__ import of_seed
from benchmarks.mailings.sending import POLICIES
from benchmarks.mailings.shops import PLACES, Size
from benchmarks.mailings.truth import Found, Truth, judged
from features.types import DAY_US
from simulation import SimulationConfig
from simulation.appeal import click_probability
from simulation.names import item_ids
from simulation.world import World, make_world

NOBODY_LOOKED = pd.DataFrame(columns=["user_id", "item_id", "seen_us"])


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SimulationConfig(customers=30, items=40, days=60, events=1_000))


def of_mails(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """Items of mails: who, what, and on which day."""
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "day"])
    return table.assign(at_us=(table.day * DAY_US).astype("int64"))


class TestRepeated:
    def test_is_what_stands_twice_in_one_mail(self, world):
        shown = of_mails(("u1", "a", 0), ("u1", "a", 0), ("u1", "b", 0), ("u2", "a", 0))
        assert Truth(world, NOBODY_LOOKED).repeats(shown) == (1, 0, 0)

    def test_is_what_a_mail_of_less_than_14_days_ago_had(self, world):
        shown = of_mails(("u1", "a", 0), ("u1", "a", 7), ("u1", "b", 0), ("u1", "b", 14),
                         ("u2", "a", 7))  # fmt: skip
        assert Truth(world, NOBODY_LOOKED).repeats(shown) == (0, 1, 0)

    def test_is_what_the_site_showed_in_the_14_days_before(self, world):
        looks = [("u1", "a", 1), ("u1", "b", 6), ("u1", "c", 21), ("u2", "d", 19), ("u1", "a", 19)]
        site = pd.DataFrame([(user, item, day * DAY_US) for user, item, day in looks],
                            columns=["user_id", "item_id", "seen_us"])  # fmt: skip
        shown = of_mails(*(("u1", item, 20) for item in "abcd"))
        assert Truth(world, site).repeats(shown) == (0, 0, 1)  # b: exactly 14 days; c: later


def test_mails_and_what_is_withheld_are_counted_by_recipient_and_clicks_by_the_truth(world):
    at_us = world.config.start_us + 30 * DAY_US
    item, other = item_ids(world.catalogue)[:2]
    rows = [  # three recipients, of each the two blocks
        ("u0000001", "show", "known_history", [item, other]),
        ("u0000001", "suppress", "too_few_items", []),
        ("u0000002", "suppress", "no_email_consent", []),
        ("u0000002", "suppress", "no_email_consent", []),
        ("u0000003", "fallback", "low_confidence", [item]),
        ("u0000003", "show", "known_history", [other]),
    ]
    blocks = pd.DataFrame(rows, columns=["user_id", "decision", "reason", "item_ids"]).assign(
        placement=PLACES * 3, at_us=at_us
    )
    blocks["item_rungs"] = [["segment"] * len(items) for items in blocks.item_ids]
    found = judged(1, "evidence", blocks, Truth(world, NOBODY_LOOKED))
    assert (found.recipients, found.mails, found.items) == (3, 2, 4)
    assert found.suppressed == {"no_email_consent": 1}
    assert found.left_out == {f"{PLACES[1]}: too_few_items": 1}
    assert found.fallback == {"low_confidence": 1}
    assert found.rungs == {f"{PLACES[0]}: segment": 3, f"{PLACES[1]}: segment": 1}
    chances = [float(click_probability(world.shelf, world.people, person, row, at_us))
               for person, row in ((0, 0), (0, 1), (2, 0), (2, 1))]  # fmt: skip
    assert found.clicks == pytest.approx(sum(chances))
    assert found.clicks_of[PLACES[1]] == pytest.approx(chances[3])


def test_gains_are_paired_by_shop():
    def one(seed: int, policy: str, clicks: float) -> Found:
        return Found(
            seed=seed, policy=policy, recipients=200, mails=100, suppressed={"holdout": 100},
            left_out={}, fallback={}, items=700, rungs={}, twice=0, again=0, from_site=0,
            clicks=clicks, sales=0.0, clicks_of={}, chances={},
        )  # fmt: skip

    clicks = {"bestsellers": (10.0, 50.0), "one_to_one": (12.0, 52.0), "evidence": (13.0, 51.0)}
    rows = [one(seed, policy, both[seed]) for policy, both in clicks.items() for seed in (0, 1)]
    found = report.gain(rows, "bestsellers", "clicks", "mails")  # +3 and +1
    assert (found["mean"], found["share"]) == (2.0, pytest.approx(2 / 30))
    assert found["half"] == pytest.approx(12.706 * math.sqrt(2) / math.sqrt(2), rel=1e-4)
    assert report.gain(rows, "one_to_one", "clicks", "recipients")["mean"] == 0.0
    assert report.share(rows, "evidence", "suppressed", "holdout") == 0.5


@pytest.mark.long
def test_a_small_shop_repeats_nothing_and_loses_nobody():
    found = of_seed(1, Size(customers=80, items=80, events=3_000, learning_days=28, mailings=3))
    assert [one.policy for one in found] == list(POLICIES)
    assert len({one.recipients for one in found}) == 1
    for one in found:
        assert one.mails + sum(one.suppressed.values()) == one.recipients
        assert one.mails > 0
        assert {"no_email_consent", "frequency_reached", "holdout"} <= one.suppressed.keys()
        assert (one.twice, one.again, one.from_site) == (0, 0, 0)
        assert 0 < one.clicks < one.items
        assert one.sales > 0
    assert {name.split(": ")[1] for name in found[0].rungs} == {"one_for_all"}
    assert "low_confidence" in found[2].fallback
