"""Robots: who acts too often, too evenly or too widely to be a person."""

import random

import ibis
import pyarrow.parquet as pq
import pytest
from dirty_log import DAY, HOUR, LOG, MINUTE, SECOND, START, answers, full, struck_out

from features import cleaning, robots
from features.engine import materialise, microseconds
from features.options import Robots
from simulation import SimulationConfig, simulate

FEW = Robots(min_moments=20, moments_per_hour=60, items_per_day=40)
NAMES = ("person", "rule", "moments", "moments_per_hour", "beat_variation", "items_per_day",
         "events")  # fmt: skip


def acts(gaps, user="bot", item="a", begin=START):
    """One act after each of `gaps`, in microseconds."""
    rows, now = [], begin
    for place, gap in enumerate(gaps):
        now += int(gap)
        named = item if isinstance(item, str) else item(place)
        rows.append({"occurred_us": now, "user_id": user, "item_id": named})
    return rows


def human(n, seconds=300, seed=0, **other):
    """Gaps as people make them: log-normal, as in the simulation."""
    draw = random.Random(seed)
    return acts((seconds * SECOND * draw.lognormvariate(0, 0.8) for _ in range(n)), **other)


def machine(n, seconds=300, jitter=0.01, missed=0.0, seed=0, **other):
    """A beat with some noise; of its acts some are never seen."""
    draw = random.Random(seed)
    gaps = []
    for _ in range(n):
        beats = 1 + sum(draw.random() < missed for _ in range(2))
        gaps.append(beats * seconds * SECOND * draw.gauss(1, jitter))
    return acts(gaps, **other)


def found(engine, rows, options=FEW):
    """person -> what is reported."""
    told = answers(engine, robots.find_robots, full(*rows), options)
    return {person: dict(zip(NAMES[1:], rest, strict=True)) for person, *rest in told}


def rules(engine, rows, options=FEW):
    return {person: told["rule"] for person, told in found(engine, rows, options).items()}


class TestRate:
    def test_more_moments_in_a_clock_hour_than_anybody_has(self, engine):
        hour = START // HOUR * HOUR
        fast, slow = human(61, 10, user="fast", begin=hour), human(60, 10, user="slow", begin=hour)
        assert rules(engine, [*fast, *slow]) == {"u:fast": "rate"}

    def test_who_has_few_moments_is_no_robot_however_many_rows(self, engine):
        rows = human(61, 10, begin=START // HOUR * HOUR) * 2
        assert rules(engine, rows) == {"u:bot": "rate"}
        assert rules(engine, rows, FEW.model_copy(update={"min_moments": 62})) == {}

    def test_an_order_of_many_lines_is_one_act(self, engine):
        order = acts([0] * 200, item=lambda place: f"line {place % 30}")
        assert found(engine, [*order, *human(30)]) == {}


class TestRegularity:
    def test_a_steady_beat_is_a_machine(self, engine):
        rows = [*machine(50), *human(50, user="human")]
        assert rules(engine, rows) == {"u:bot": "regularity"}

    def test_pauses_between_sweeps_do_not_hide_the_beat(self, engine):
        days = range(5)
        rows = [row for day in days for row in machine(10, begin=START + day * DAY, seed=day)]
        assert rules(engine, rows) == {"u:bot": "regularity"}

    def test_missing_acts_do_not_hide_the_beat(self, engine):
        assert rules(engine, machine(200, missed=0.15)) == {"u:bot": "regularity"}

    def test_other_items_at_the_same_moment_do_not_hide_the_beat(self, engine):
        rows = machine(50)
        assert rules(engine, rows + [row | {"item_id": "b"} for row in rows[::3]]) == {
            "u:bot": "regularity"
        }

    @pytest.mark.parametrize(("acts_seen", "rule"), [(20, {}), (21, {"u:bot": "regularity"})])
    def test_too_few_gaps_show_no_beat(self, engine, acts_seen, rule):
        assert rules(engine, machine(acts_seen)) == rule

    @pytest.mark.parametrize("clock", [SECOND, MINUTE, HOUR])
    @pytest.mark.parametrize("per_tick", [0.3, 1.0, 2.0, 3.0])
    def test_a_rounded_clock_makes_no_machine_of_a_person(self, engine, clock, per_tick):
        rows = human(400, per_tick * clock / SECOND)
        rounded = [row | {"occurred_us": row["occurred_us"] // clock * clock} for row in rows]
        assert rules(engine, rounded, Robots(min_moments=20, moments_per_hour=None)) == {}

    def test_a_rounded_clock_still_shows_a_slow_beat(self, engine):
        rows = machine(50, seconds=600)
        rounded = [row | {"occurred_us": row["occurred_us"] // MINUTE * MINUTE} for row in rows]
        assert rules(engine, rounded) == {"u:bot": "regularity"}

    def test_a_log_of_days_has_no_beat(self, engine):
        assert found(engine, acts([DAY] * 100)) == {}

    def test_the_variation_of_normal_gaps_is_their_deviation_over_their_mean(self, engine):
        (told,) = answers(
            engine, lambda log: robots.rhythms(log, 20), full(*machine(4_000, jitter=0.05))
        )
        assert told[-1] == pytest.approx(0.05, rel=0.05)


class TestBreadth:
    def test_more_items_in_a_day_than_anybody_looks_at(self, engine):
        rows = human(60, 600, item=lambda place: f"item {place}")
        assert rules(engine, rows) == {"u:bot": "breadth"}

    def test_a_large_order_is_not_broad(self, engine):
        order = acts([0] * 50, item=lambda place: f"line {place}")
        assert found(engine, [*order, *human(30, 9_000)]) == {}

    def test_many_items_in_many_days_are_not_broad(self, engine):
        rows = human(100, 9_000, item=lambda place: f"item {place}")
        assert found(engine, rows) == {}


class TestReport:
    def test_the_first_rule_that_applies_is_named_with_all_numbers(self, engine):
        begin = START // DAY * DAY
        rows = machine(70, 40, jitter=0.0, item=lambda place: f"item {place % 60}", begin=begin)
        assert found(engine, [*rows, rows[0]]) == {
            "u:bot": {
                "rule": "rate", "moments": 70, "moments_per_hour": 70.0, "items_per_day": 60,
                "beat_variation": 0.010206207, "events": 71,
            }
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("off", "rule"),
        [({"moments_per_hour": None}, "regularity"),
         ({"moments_per_hour": None, "beat_variation": None}, "breadth"),
         ({"moments_per_hour": None, "beat_variation": None, "items_per_day": None}, None),
         ({"min_moments": 71}, None)],
    )  # fmt: skip
    def test_a_rule_can_be_turned_off(self, engine, off, rule):
        rows = machine(70, 40, item=lambda place: f"item {place}", begin=START // DAY * DAY)
        assert rules(engine, rows, FEW.model_copy(update=off)).get("u:bot") == rule

    def test_the_types_are_as_promised(self):
        kinds = [str(kind) for kind in robots.find_robots(LOG, FEW).schema().types]
        assert kinds == ["string", "string", "int64", "float64", "float64", "int64", "int64"]

    def test_all_that_a_robot_did_is_removed(self, engine):
        rows = [*machine(30), *human(30, user="human"), *acts([-DAY])]

        def step(log):
            return robots.removals(log, robots.find_robots(log, FEW))

        gone = struck_out(engine, step, rows)
        assert gone == dict.fromkeys([*range(30), 60], "robot: regularity")


@pytest.mark.parametrize("seed", [2, 7])
def test_in_a_simulated_shop_the_planted_robots_are_found_and_nobody_else(engine, tmp_path, seed):
    config = SimulationConfig(customers=300, items=160, days=60, events=15_000, seed=seed)
    simulate(config, tmp_path)
    log = materialise(engine, "simulated", simulated(engine, tmp_path))
    once = log.anti_join(cleaning.near_duplicates(log, 1.0), "row").select(*log.columns)
    people = engine.to_pyarrow(robots.find_robots(once, Robots()))["person"].to_pylist()
    planted = pq.read_table(tmp_path / "truth" / "robots.parquet")["visitor_id"].to_pylist()
    assert planted
    assert sorted(people) == sorted(f"v:{visitor}" for visitor in planted)


def simulated(engine, directory):
    """The log of a simulated shop, as accepted, with its persons."""
    raw = engine.read_parquet(directory / "events.parquet")
    raw = raw.filter(raw.occurred_at.notnull(), raw.item_id.notnull())
    user = raw.user_id.nullif("")
    return raw.select(
        "event_type", "item_id", "value",
        quantity=raw.quantity.cast("float64"),
        occurred_us=microseconds(raw.occurred_at),
        sequence=ibis.null("int64"),
        row=ibis.row_number().over(order_by=[raw.event_id, raw.occurred_at]),
        person=ibis.coalesce("u:" + user, "v:" + raw.visitor_id, "s:" + raw.session_id),
    )  # fmt: skip
