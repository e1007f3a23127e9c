"""Transitions: what comes next, found on the past, and what one more event changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import worlds

from features.live import Trails
from features.timelines import Timelines
from features.training_options import Training
from features.types import DAY_US, Histories
from training.fitting import CannotFit, fit
from training.rankers.base import Queries
from training.rankers.live import followers
from training.rankers.transitions import last_items

N_ITEMS = 12


def clicks(visits, *, minutes=1.0, n_items=N_ITEMS):
    """A person and a visit per row, one visit a day, clicks so many minutes apart."""
    lengths = [len(row) for row in visits]
    days = worlds.NOW_US - DAY_US * (len(visits) - np.arange(len(visits))) // 4
    times = [day + (np.arange(n) * minutes * 60_000_000).astype(np.int64)
             for day, n in zip(days, lengths, strict=True)]  # fmt: skip
    return Timelines(
        np.append(0, np.cumsum(lengths)), np.concatenate(visits).astype(np.int32),
        np.full(sum(lengths), worlds.VIEW, np.int8), np.concatenate(times),
        np.zeros(sum(lengths), np.int32), n_items,
    )  # fmt: skip


def walks(count, seed=0):
    """Everybody goes round in a circle of items, from anywhere, four steps."""
    random = np.random.default_rng(seed)
    return [(start + np.arange(4)) % N_ITEMS for start in random.integers(0, N_ITEMS, count)]


def baskets(count, seed=0):
    """Every basket has four of the six items of a shelf, in any order; there are two shelves."""
    random = np.random.default_rng(seed)
    return [6 * random.integers(2) + random.permutation(6)[:4] for _ in range(count)]


def best(ranker, session, n=1):
    people = worlds.asking(worlds.timelines([], n_items=N_ITEMS), [-1], [session])
    scores = np.nan_to_num(ranker.score(people)[0], nan=-1)
    return np.argsort(-scores, kind="stable")[:n].tolist()


@pytest.fixture(scope="module")
def circle():
    return fit("transitions", worlds.past(clicks(walks(400))), Training())


@pytest.fixture(scope="module")
def shelves():
    log = clicks(baskets(400), minutes=0.0)
    return fit("transitions", worlds.past(log), Training())


class TestTransitions:
    def test_lead_from_the_last_item_to_the_next(self, circle):
        assert circle.transitions.reach.ordered
        assert [best(circle, [1, 2, item]) for item in range(3, 8)] == [
            [i + 1] for i in range(3, 8)
        ]

    def test_know_that_baskets_have_no_order(self, shelves):
        assert not shelves.transitions.reach.ordered
        assert set(best(shelves, [4, 1], 4)) == {0, 2, 3, 5}
        assert set(best(shelves, [6, 9], 4)) == {7, 8, 10, 11}

    def test_name_the_item_that_led_there(self, circle):
        people = worlds.asking(worlds.timelines([], n_items=N_ITEMS), [-1, -1], [[7, 3], [3, 7]])
        shown = np.array([[4, 8, -1], [8, 4, 0]], dtype=np.int32)
        told = circle.anchors(people, shown)
        assert told[:, :2].tolist() == [[3, 7], [7, 3]]
        assert told[0, 2] == -1

    def test_damping_prefers_what_is_particular(self):
        """Everybody ends at item 0; only from item 1 one goes to item 2 as well."""
        log = clicks([[1, 0], [1, 0], [1, 2], *([i, 0] for i in range(3, 11))] * 5)
        options = {"recency": [0.5]}
        plain, damped = (
            fit("transitions", worlds.past(log), Training.model_validate(
                {"transitions": options | {"popularity_damping": [damping]}}))
            for damping in (0.0, 1.0)
        )  # fmt: skip
        assert best(plain, [1]) == [0]
        assert best(damped, [1]) == [2]

    def test_of_two_places_the_fresher_one_is_led_to(self):
        """From item 0 it was item 1 for long, then as often item 2."""
        log = clicks([[0, 1]] * 40 + [[0, 2]] * 40)
        options = Training.model_validate({"transitions": {"half_life_days": 1}})
        assert best(fit("transitions", worlds.past(log), options), [0]) == [2]

    def test_cannot_be_fitted_where_nobody_went_anywhere(self):
        log = replace(worlds.timelines([[0, 0], [1]]))
        with pytest.raises(CannotFit, match="transitions"):
            fit("transitions", worlds.past(log), Training())


class TestLastItems:
    def test_weigh_less_with_distance_and_before_the_session(self):
        log = worlds.timelines([[0, 1, 2]], signal=worlds.VIEW)
        people = worlds.asking(log, [0], [[3, 1]])
        rows, items, weights = last_items(people, 0.5, 0.1)
        assert rows.tolist() == [0, 0, 0, 0]
        assert items.tolist() == [1, 3, 2, 0], "newest first, each at its latest"
        faded = 0.5 ** (np.array([1, 3]) / 10)  # a view halves in ten days
        np.testing.assert_allclose(weights, [1, 0.5, 0.25 * 0.1 * faded[0], 0.125 * 0.1 * faded[1]],
                                   rtol=1e-5)  # fmt: skip

    def test_of_one_moment_of_the_past_are_all_as_far_away(self):
        ages = np.array([9, 5, 5, 5], np.float32)
        history = Histories(np.array([0, 4]), np.arange(4, dtype=np.int32), np.zeros(4, np.int8),
                            np.ones(4, np.float32), ages, 5)  # fmt: skip
        people = Queries.plain(history, np.array([4]), worlds.NOW_US)
        _, items, weights = last_items(people, 0.5, 1.0)
        assert items.tolist() == [3, 2, 1, 0]
        np.testing.assert_allclose(weights, [1, 1, 1, 0.125])


class TestFollower:
    def test_of_too_many_pairs_the_weaker_half_is_let_go(self, circle, monkeypatch):
        """Item 3 is followed by item 0 again and again, and once by each of 40 others."""
        monkeypatch.setattr("features.live.MOST_SINCE", 20)
        live = circle.follower(50)
        for n, target in enumerate([0, *range(8, 48), 0]):
            moment = worlds.NOW_US + np.arange(2) * 60_000_000 + n * DAY_US // 1000
            live.observe(Trails(np.array([3, target], np.int32), np.ones(2), moment,
                                np.zeros(2, np.int64), np.array([False, True])))  # fmt: skip
        kept = live.transitions.since[3]
        assert len(kept) <= 26
        assert 0 in kept
        assert 9 not in kept

    def test_one_event_changes_what_comes_next(self, circle):
        live = circle.follower(N_ITEMS + 1)
        for n in range(300):
            moment = worlds.NOW_US + np.arange(2) * 60_000_000 + n * DAY_US // 1000
            live.observe(Trails(np.array([3, N_ITEMS], np.int32), np.ones(2), moment,
                                np.zeros(2, np.int64), np.array([False, True])))  # fmt: skip
        people = worlds.asking(worlds.timelines([], n_items=N_ITEMS + 1), [-1], [[3]])
        assert live.score(people)[0, N_ITEMS] > 0
        assert np.nanargmax(live.score(people)[0]) == N_ITEMS
        assert best(circle, [3]) == [4]

    def test_others_are_asked_about_what_they_know(self):
        past = worlds.two_tastes()
        fitted = {n: fit(n, worlds.past(past), Training()) for n in ("neighbours", "transitions")}
        wide = followers(fitted, worlds.N_ITEMS, worlds.N_ITEMS + 2)
        plain = worlds.asking(past, range(8))
        grown = worlds.asking(
            replace(past, n_items=worlds.N_ITEMS + 2), range(8), [[worlds.N_ITEMS + 1]] * 8
        )
        scores = wide["neighbours"].score(grown)
        np.testing.assert_array_equal(scores[:, :-2], fitted["neighbours"].score(plain))
        assert np.isnan(scores[:, -2:]).all()
