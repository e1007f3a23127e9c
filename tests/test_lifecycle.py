"""Lifecycle stages: who is new, loyal, lapsing or lapsed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.lifecycle import STAGES, stage, stage_names
from features.options import Lifecycle

UNKNOWN = {
    "kind": "customer", "orders": 0, "days_since_order": None, "days_between_orders": None,
    "recency_days": None, "tenure_days": None,
}  # fmt: skip
CONFIG = Lifecycle()  # new 30, lapsing 60, lapsed 180; from 4 orders on 2 and 4 rhythms; loyal 5


def columns(*people):
    rows = [UNKNOWN | one for one in people]
    return {
        name: np.array([row[name] for row in rows], dtype=object if name == "kind" else np.float64)
        for name in UNKNOWN
    }


def stage_of(options=CONFIG, **person):
    return stage_names(stage(columns(person), options))[0]


def buyer(orders, since, between=None):
    """Who ordered so often, last `since` days ago."""
    return {"orders": orders, "days_since_order": since, "days_between_orders": between}


class TestByTheDaysOfTheConfig:
    @pytest.mark.parametrize(
        ("person", "expected"),
        [
            (buyer(1, 0), "new"), (buyer(1, 30), "new"), (buyer(1, 30.1), "active"),
            (buyer(1, 60), "active"), (buyer(1, 60.1), "lapsing"), (buyer(1, 180), "lapsing"),
            (buyer(1, 180.1), "lapsed"),
            (buyer(2, 10, 20), "new"),  # the first order is 30 days ago
            (buyer(2, 10, 21), "active"), (buyer(3, 10, 20), "active"),
            (buyer(5, 1, 2), "loyal"), (buyer(5, 50, 40), "loyal"),
        ],
    )  # fmt: skip
    def test_who_ordered_is_judged_by_the_last_order(self, person, expected):
        assert stage_of(**person) == expected

    @pytest.mark.parametrize(
        ("recency", "tenure", "expected"),
        [(1, 5, "new"), (1, 31, "active"), (61, 400, "lapsing"), (181, 400, "lapsed"),
         (None, 30, "new"), (None, 50, "active"), (None, 61, "lapsing"), (None, 181, "lapsed"),
         (None, None, "lapsed")],
    )  # fmt: skip
    def test_a_customer_without_orders_by_the_last_event_else_by_the_joining(
        self, recency, tenure, expected
    ):
        assert stage_of(recency_days=recency, tenure_days=tenure) == expected

    @pytest.mark.parametrize("kind", ["visitor", "session"])
    def test_who_is_no_customer_is_a_visitor_until_the_first_order(self, kind):
        assert stage_of(kind=kind, recency_days=400, tenure_days=400) == "visitor"
        assert stage_of(kind=kind, recency_days=1, **buyer(1, 1)) == "new"
        assert stage_of(kind=kind, **buyer(1, 100)) == "lapsing"

    def test_the_config_can_say_other_days(self):
        options = Lifecycle(new_days=3, lapsing_after_days=5, lapsed_after_days=9,
                            loyal_min_orders=2)  # fmt: skip
        found = [stage_of(options, **buyer(1, since)) for since in (3, 4, 6, 10)]
        assert found == ["new", "active", "lapsing", "lapsed"]
        assert stage_of(options, **buyer(2, 3, 1)) == "loyal"


class TestByTheOwnRhythm:
    @pytest.mark.parametrize(
        ("person", "expected"),
        [
            (buyer(4, 41, 20), "lapsing"), (buyer(4, 80, 20), "lapsing"),
            (buyer(4, 81, 20), "lapsed"), (buyer(4, 40, 20), "active"),
            (buyer(4, 150, 100), "active"), (buyer(4, 201, 100), "lapsing"),
            (buyer(4, 401, 100), "lapsed"), (buyer(9, 41, 20), "lapsing"),
            (buyer(3, 41, 20), "active"),  # too few orders for a rhythm
        ],
    )  # fmt: skip
    def test_who_ordered_often_enough_lapses_after_so_many_rhythms(self, person, expected):
        assert stage_of(**person) == expected

    @pytest.mark.parametrize(
        ("since", "expected"), [(1, "new"), (15, "new"), (16, "lapsing"), (46, "lapsed")]
    )
    def test_several_orders_within_minutes_are_no_rhythm(self, since, expected):
        assert stage_of(**buyer(4, since, 0.01)) == expected


ANYBODY = st.fixed_dictionaries({
    "kind": st.sampled_from(["customer", "visitor", "session"]),
    "orders": st.integers(0, 9),
    "days_since_order": st.floats(0, 500), "days_between_orders": st.floats(0, 200),
    "recency_days": st.none() | st.floats(0, 500), "tenure_days": st.none() | st.floats(0, 500),
})  # fmt: skip


@given(people=st.lists(ANYBODY, min_size=1, max_size=6))
def test_everybody_has_one_stage_alone_or_among_others(people):
    together = stage(columns(*people), CONFIG)
    assert together.dtype == np.int8
    assert together.tolist() == [stage(columns(one), CONFIG)[0] for one in people]


@given(person=ANYBODY, longer=st.floats(0, 1000))
def test_nobody_comes_back_by_waiting(person, longer):
    times = ("days_since_order", "recency_days", "tenure_days")
    later = {k: v + longer if k in times and v is not None else v for k, v in person.items()}
    order = ["visitor", "new", "loyal", "active", "lapsing", "lapsed"]  # loyal never turns active
    now, then = stage_of(**person), stage_of(**later)
    assert order.index(then) >= order.index(now)
    assert {now, then} != {"loyal", "active"}


def test_stages_have_the_order_that_everybody_uses():
    assert STAGES == ("visitor", "new", "active", "loyal", "lapsing", "lapsed")
