"""An experiment read from a log: who met it, when, and what is counted of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import logged
import numpy as np
import pytest
from logged import START, did

from features.config import load_config
from features.experiments import Experiment, assign
from features.types import DAY_US, to_us
from training.evaluation.experiment_log import readings
from training.slices import World

HALF = {"name": "half", "arms": {"new": {"share": 0.5}}, "starts": "2026-03-11T00:00:00Z"}
UNTOUCHED = {"name": "untouched", "holdout": 0.2}
END = did("u:last", 60)  # so that the windows of all who came earlier are over


@pytest.fixture
def log(tmp_path):
    """The world of some events and experiments."""

    def _log(rows, *experiments, agree=False, **parts):
        told = logged.config(*(experiments or [HALF]), **parts)
        return logged.world(tmp_path, rows, told, agree=agree)

    return _log


def read(world, number=0, **options):
    return readings(world, world.config.experiments[number], **options)


def day_of(reading):
    """On which days after 2026-03-01 the counted people entered."""
    return sorted(((reading.observed.first_us - to_us(START)) / DAY_US).tolist())


class TestWhoMetIt:
    def test_without_anything_shown_everybody_who_came_while_it_ran(self, log):
        rows = [
            did("u:ann", 5),
            did("u:ann", 12),
            did("u:ann", 14),
            did("u:bob", 9),
            did("v:1", 20),
            END,
        ]
        (found,) = read(log(rows))
        assert found.source == "visits"
        assert day_of(found) == [12, 20]

    def test_mail_that_was_sent_is_no_visit(self, log):
        (found,) = read(log([did("u:ann", 12, "email_send"), did("u:ann", 15), END]))
        assert day_of(found) == [15]

    def test_arms_are_those_of_the_hash(self, log):
        people = [f"u:p{n}" for n in range(40)]
        world = log([*(did(who, 12 + n / 100) for n, who in enumerate(people)), END])
        (found,) = read(world)
        experiment = world.config.experiments[0]
        by_time = found.observed.take(np.argsort(found.observed.first_us))
        names = [found.design.arms[arm] for arm in by_time.arm]
        assert names == [assign(experiment, who[2:]) for who in people]

    SHOWN = (did("u:ann", 12, "shown", placement="home"), did("u:ann", 11.5),
             did("u:bob", 13, "shown", placement="mail"), did("u:cid", 13))  # fmt: skip

    def test_where_the_log_tells_what_was_shown_only_those_who_were_shown_something(self, log):
        (found,) = read(log([*self.SHOWN, END], impressions=["shown"]))
        assert found.source == "impressions"
        assert day_of(found) == [12, 13]

    def test_on_the_placements_of_the_experiment(self, log):
        half = {**HALF, "placements": ["home"]}
        world = log([*self.SHOWN, END], half, impressions=["shown"], placements={"home": {}})
        assert day_of(read(world)[0]) == [12]

    def test_shown_without_a_placement_anywhere_counts_on_all(self, log):
        rows = [{**row, "placement": None} for row in self.SHOWN]
        half = {**HALF, "placements": ["home"]}
        world = log([*rows, END], half, impressions=["shown"], placements={"home": {}})
        assert day_of(read(world)[0]) == [12, 13]

    def test_by_visits_placements_do_not_choose_for_a_click_is_an_outcome(self, log):
        half = {**HALF, "placements": ["home"]}
        rows = [did("u:ann", 12, placement="home"), did("u:bob", 13, placement="mail"), END]
        assert day_of(read(log(rows, half, placements={"home": {}}))[0]) == [12, 13]

    def test_who_is_known_by_one_visit_only_is_in_no_arm(self, log):
        (found,) = read(log([did("s:1", 12), did("u:ann", 13), END]))
        assert day_of(found) == [13]
        assert found.left_out["session"] == 1

    def test_the_permanent_holdout_of_another_experiment_is_left_out(self, log):
        people = [f"u:p{n}" for n in range(60)]
        held = [who for who in people if assign(Experiment(**UNTOUCHED), who[2:]) == "holdout"]
        world = log([*(did(who, 12) for who in people), END], HALF, UNTOUCHED)
        (found,) = read(world)
        assert len(held) > 3
        assert found.left_out["held"] == len(held)
        assert len(found.observed) == 60 - len(held)
        of_holdout = read(world, 1)[0]
        assert of_holdout.counts.tolist() == [len(held), 60 - len(held)]

    def test_a_holdout_elsewhere_or_later_leaves_nobody_out(self, log):
        on = {"placements": {"home": {}, "mail": {}}}
        people = [did(f"u:p{n}", 12) for n in range(60)]
        elsewhere = {**UNTOUCHED, "placements": ["mail"]}
        world = log([*people, END], {**HALF, "placements": ["home"]}, elsewhere, **on)
        assert len(read(world)[0].observed) == 60
        later = {**UNTOUCHED, "starts": "2026-03-20T00:00:00Z"}
        assert len(read(log([*people, END], HALF, later))[0].observed) == 60


class TestWhatIsCounted:
    def test_what_the_objective_wants_in_the_days_after_and_before(self, log):
        rows = [
            did("u:ann", 1), did("u:ann", 5), did("u:ann", 6), did("u:ann", 12),
            did("u:ann", 13, "purchase"), did("u:ann", 14, "dislike"), did("u:ann", 15, "shown"),
            did("u:ann", 18.9), did("u:ann", 19), did("u:zoe", -10), END,
        ]  # fmt: skip
        (found,) = read(log(rows), days=7)
        assert (found.observed.outcome.tolist(), found.observed.before.tolist()) == ([3], [2])

    def test_value_is_money_of_the_shop(self, log):
        rows = [did("u:ann", 12, "purchase", value=3.5), did("u:ann", 13, "purchase", value=4.0),
                did("u:ann", 14, "purchase", value=100.0, currency="JPY"),
                did("u:ann", 15, value=9.0), END]  # fmt: skip
        (found,) = read(log(rows, objective="value"))
        assert found.observed.outcome.tolist() == [7.5]
        assert found.left_out["currency"] == 1

    def test_who_is_still_in_the_window_waits(self, log):
        (found,) = read(log([did("u:ann", 12), did("u:bob", 25)]))
        assert (len(found.observed), found.waiting) == (0, 2)
        assert found.first_over_us == to_us(START + timedelta(days=26))

    def test_who_enters_late_had_the_feeds_for_less_than_the_window(self, log):
        half = {**HALF, "ends": "2026-04-01T00:00:00Z"}  # day 31
        (found,) = read(log([did("u:ann", 17), did("u:bob", 17.1), END], half))
        assert day_of(found) == [17]
        assert found.waiting == 0

    @pytest.mark.parametrize("about", [{"ends": "2026-03-20T00:00:00Z"},
                                       {"starts": "2026-07-01T00:00:00Z"}])  # fmt: skip
    def test_too_short_or_not_begun_has_no_reading(self, log, about):
        assert read(log([did("u:ann", 12), END], {**HALF, **about})) == []


class TestAHoldoutWithoutAnEnd:
    HOLDOUT: ClassVar = {"name": "purpose", "holdout": 0.5, "starts": "2026-03-11T00:00:00Z"}

    def test_is_read_by_quarters_each_from_the_first_visit_in_it(self, log):
        rows = [did("u:ann", 12), did("u:ann", 20), did("u:ann", 40), did("u:bob", 50),
                did("u:last", 110)]  # fmt: skip
        first, second = read(log(rows, self.HOLDOUT))
        assert (day_of(first), day_of(second)) == ([12], [40, 50])
        assert second.begin_us == to_us(datetime(2026, 4, 1, tzinfo=UTC))

    def test_what_went_before_is_from_before_it_began(self, log):
        """Ann's views on days 30 and 31 are what the arm made of her: no covariate."""
        rows = [did("u:zoe", -10), did("u:ann", 2), did("u:ann", 30), did("u:ann", 31.5),
                did("u:ann", 40), did("u:last", 110)]  # fmt: skip
        _, second = read(log(rows, self.HOLDOUT))
        assert day_of(second)[0] == 31.5
        assert second.observed.before[np.argmin(second.observed.first_us)] == 1

    def test_one_that_always_was_knows_no_before(self, log):
        rows = [did("u:zoe", -10), did("u:ann", 12), did("u:ann", 40), did("u:last", 110)]
        for one in read(log(rows, {"name": "purpose", "holdout": 0.5})):
            assert np.isnan(one.observed.before).all()


def crowd(effect, people=400):
    """Everybody was seen before and comes once after; the new arm `effect` times more."""
    experiment = Experiment(**HALF)
    random = np.random.default_rng(3)
    for n in range(people):
        who, enters = f"u:p{n}", 11 + random.random() * 20
        habits = int(random.integers(0, 4))
        more = effect * (assign(experiment, who[2:]) == "new")
        yield did(who, random.random() * 9)
        yield from (did(who, enters - 11 + k / 50) for k in range(habits))
        yield from (did(who, enters + k / 50) for k in range(1 + habits + more))


class TestWhatItShows:
    def test_a_planted_effect_is_found_for_everybody_and_in_its_cell(self, log):
        new = [did(f"u:q{n}", 14) for n in range(8)]
        world = log([*crowd(3), *new, END], {**HALF, "planned_people": 400}, agree=True,
                    segments=[{"name": "fans", "rule": "events > 0"}, {"learned": 2}])  # fmt: skip
        logged.stood(world, 10, "loyal", 1, ["fans", "orders often"])
        (found,) = read(world)
        assert not found.ratio.alarm
        assert found.cells == (("loyal", "learned"), ("unknown", "unknown"))
        said = {cell: (row.verdict, row.found) for cell, row in found.rows}
        assert said[None][0] == said["loyal", "learned"][0] == "better"
        assert said[None][1].always_low < 3 < said[None][1].always_high
        assert said["unknown", "unknown"][0] == "open"
        assert said["unknown", "unknown"][1].people < 8

    def test_two_arms_that_are_alike_stay_open(self, log):
        world = log([*crowd(0), END], {**HALF, "planned_people": 400}, agree=True)
        logged.stood(world, 10, "loyal")
        (found,) = read(world)
        assert [(cell, row.verdict) for cell, row in found.rows] == [
            (None, "open"), (("loyal", "unknown"), "open"), (("unknown", "unknown"), "open")
        ]  # fmt: skip

    def test_a_small_group_is_no_cell(self, log):
        world = log([*crowd(0, 90), END], agree=True)
        logged.stood(world, 10, "loyal")
        assert read(world)[0].cells == (("unknown", "unknown"),)

    def test_who_refuses_is_known_by_nothing(self, log):
        world = log([*crowd(0), END])
        assert read(world)[0].cells == ()


def test_a_linked_visitor_is_its_customer_once_and_what_came_back_is_no_order(shop):
    def row(day, kind="purchase", item="i1", **who):
        at = START + timedelta(days=day)
        return {"occurred_at": at, "event_type": kind, "item_id": item, **who}

    rows = [row(12, visitor_id="v1"), row(13, visitor_id="v1", user_id="ann", item="i2"),
            row(14, "return", user_id="ann", item="i2"), row(14.5, "view", user_id="ann"),
            row(15, visitor_id="v2"), row(60, user_id="last")]  # fmt: skip
    parts = {"signals": {"view": {"weight": 1}, "purchase": {"weight": 5, "had": True}},
             "objective": "orders", "experiments": [HALF]}  # fmt: skip
    features = shop.build({"events": shop.file("events.parquet", rows)}, **parts)
    world = World.of(load_config(shop.base / "feeds.yaml"), features, shop.home)
    (found,) = read(world)
    assert day_of(found) == [12, 15]
    assert found.observed.outcome.tolist() == [1, 1]
