"""Four slices of time, and the world as it stood at their borders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from features.config import load_config
from features.home import Home
from features.people_at import declared_at, people_at
from features.types import to_us
from training.slices import World, cuts, past_at, tasks_between

START = datetime(2026, 1, 1, tzinfo=UTC)
CUT = START + timedelta(days=50)


@pytest.fixture(scope="module")
def shop(new_shop):
    """One for all: what is built of the same files again is opened again."""
    return new_shop()


def shop_of(shop, **parts):
    """Twenty customers who come every ten days until they stop, over 100 days."""
    rows = [
        {"occurred_at": START + timedelta(days=day, minutes=person), "event_type": "purchase",
         "item_id": f"i{(person + day) % 7}", "user_id": f"c{person:02}"}
        for person in range(20) for day in range(0, 20 + 4 * person, 10)
    ]  # fmt: skip
    answers = [
        {"user_id": "c01", "question": "topic", "answer": "a", "answered_at": START},
        {"user_id": "c02", "question": "topic", "answer": "b",
         "answered_at": CUT + timedelta(days=1)},
    ]  # fmt: skip
    items = [{"item_id": f"i{n}", "kind": "product", "category": "a" if n < 4 else "b"}
             for n in range(7)]  # fmt: skip
    sources = {"events": shop.file("events.parquet", rows), "items": shop.file("i.parquet", items),
               "preferences": shop.file("p.parquet", answers)}  # fmt: skip
    given = {
        "signals": {"purchase": {"weight": 5, "had": True}},
        "segments": [{"name": "likes a", "declared": "topic"},
                     {"name": "regulars", "rule": "orders >= 4"}, {"learned": 2}],
        "lifecycle": {"lapsing_after_days": 15, "lapsed_after_days": 40},
        "shop": {"consent_default": "yes"}, **parts,
    }  # fmt: skip
    return shop.build(sources, **given), sources, given


class TestPeopleAtAMoment:
    def test_are_those_of_a_build_of_that_moment(self, shop):
        features, sources, given = shop_of(shop)
        config = load_config(shop.base / "feeds.yaml")
        then = people_at(config, features, to_us(CUT), shop.home)
        built = shop.build(sources, as_of=CUT, **given)
        rows = features.persons.indices(built.persons.texts(np.arange(len(built.persons))))
        assert (rows >= 0).all()
        assert then.stages[rows].tolist() == np.asarray(built.stages).tolist()
        assert then.segments[rows].tolist() == np.asarray(built.segments).tolist()

    def test_are_not_those_of_today(self, shop):
        features, _, _ = shop_of(shop)
        config = load_config(shop.base / "feeds.yaml")
        then = people_at(config, features, to_us(CUT), shop.home)
        assert then.stages.tolist() != np.asarray(features.stages).tolist()

    def test_know_no_later_answer(self, shop):
        features, _, _ = shop_of(shop)
        config = load_config(shop.base / "feeds.yaml")
        before = declared_at(config, features, to_us(CUT))
        assert before.nnz == 1
        assert declared_at(config, features, to_us(CUT + timedelta(days=2))).nnz == 2

    def test_are_kept_and_read_again(self, shop):
        features, _, _ = shop_of(shop)
        config = load_config(shop.base / "feeds.yaml")
        first = people_at(config, features, to_us(CUT), shop.home)
        again = people_at(config, features, to_us(CUT), Home(shop.base / "nowhere"))
        assert again.segments.tolist() == first.segments.tolist()
        assert not (shop.base / "nowhere").exists()


class TestSlices:
    @pytest.fixture
    def world(self, shop):
        features, _, _ = shop_of(shop, training={"test_days": 12})
        return World.of(load_config(shop.base / "feeds.yaml"), features, shop.home)

    def test_follow_one_another_and_are_as_long_as_the_test_slice(self, world):
        parts = cuts(world.config, world.features)
        lengths = np.diff([parts.tune_us, parts.blend_us, parts.test_us])
        assert lengths.tolist() == [12 * 86_400_000_000] * 2

    def test_leave_most_of_a_short_log_for_fitting(self, shop):
        features, _, _ = shop_of(shop, training={"test_days": 40})
        config = load_config(shop.base / "feeds.yaml")
        parts = cuts(config, features)
        first = int(features.timelines.occurred_us.min())
        assert parts.tune_us - first >= 0.4 * (parts.test_us - first) - 1

    def test_a_past_holds_nothing_after_its_end(self, world):
        past = past_at(world, to_us(CUT))
        assert past.timelines.occurred_us.max() < to_us(CUT)
        assert len(past.timelines) == len(world.features.timelines)

    def test_the_tasks_of_a_slice_want_nothing_after_it(self, world):
        past = past_at(world, to_us(CUT))
        until = to_us(CUT + timedelta(days=10))
        short, long = (
            {t.name: t for t in tasks_between(world, past, end)}["all"] for end in (until, None)
        )
        assert short.truth.values.size < long.truth.values.size

    def test_those_who_ask_are_of_the_segment_that_they_were_in(self, world):
        past = past_at(world, to_us(CUT))
        task = {t.name: t for t in tasks_between(world, past)}["all"]
        assert task.people.queries.segment.tolist() == past.segments[task.rows].tolist()
        assert (task.people.queries.segment >= 0).any()
