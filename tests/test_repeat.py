"""Repeat purchase: whose rate, by hand; and when something is due, from what the log says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import worlds

from features.options import Signal
from features.training_options import RepeatOptions
from features.types import DAY_US
from training.fitting import CannotFit
from training.fitting.repeat import fit_repeat
from training.queries import queries_for
from training.rankers.repeat import EDGES

FOREVER = 1e9  # days
PLAIN = RepeatOptions(prior=1, half_life_days=FOREVER)


def log_of(*people):
    """People who each got (item, days ago)s, oldest first."""
    log = worlds.timelines([[item for item, _ in person] for person in people])
    ages = np.array([days for person in people for _, days in person], dtype=np.float64)
    return replace(log, occurred_us=worlds.NOW_US - (ages * DAY_US).astype(np.int64))


def fitted(log, options=PLAIN, **parts):
    return fit_repeat(worlds.past(log, **parts), options)


def scores(ranker, log, days_later=0.0):
    rows = np.arange(len(log), dtype=np.int32)
    recent = [np.empty(0, np.int32)] * len(log)
    now_us = worlds.NOW_US + int(days_later * DAY_US)
    return ranker.score(queries_for(log, rows, recent, now_us, worlds.SIGNALS, worlds.VIEW))


def regular(people=400, purchases=12, days=10.0):
    """Everybody buys item 0 every `days` days, at a phase of their own, and another item once."""
    phases = np.linspace(0, days, people, endpoint=False) + 0.01
    again = days * np.arange(purchases)[::-1]
    return log_of(
        *([(1 + n % 8, purchases * days + 1), *((0, phase + ago) for ago in again)]
          for n, phase in enumerate(phases))
    )  # fmt: skip


def test_an_item_is_bought_again_at_the_rate_of_its_repurchases():
    ranker = fitted(log_of([(0, 100), (0, 60), (0, 20)], [(0, 50), (1, 50)]))
    everywhere = 2 / 200  # item 0: twice again in 100 + 50 days; item 1: never in 50
    assert ranker.rates[0] == pytest.approx((2 + 1) / (150 + 1 / everywhere))
    assert ranker.rates[1] == pytest.approx((0 + 1) / (50 + 1 / everywhere))
    assert ranker.rates[2] == pytest.approx(everywhere)


def test_old_repurchases_say_less_about_an_item():
    log = log_of([(0, 300), (0, 290)], [(1, 30), (1, 20)])
    ranker = fitted(log, PLAIN.model_copy(update={"half_life_days": 30}))
    assert ranker.rates[1] > ranker.rates[0]


def test_a_person_has_a_rate_of_his_own():
    log = log_of([(0, 100), (0, 60), (0, 20)], [(0, 50), (1, 50)])
    ranker = replace(fitted(log), due=np.ones_like(EDGES, dtype=np.float32))
    found = scores(ranker, log)
    assert found[0, 0] == pytest.approx((2 + 1) / (100 + 1 / ranker.rates[0]), rel=1e-4)
    assert found[1, 1] == pytest.approx((0 + 1) / (50 + 1 / ranker.rates[1]), rel=1e-4)


def test_speaks_only_of_what_the_person_got():
    log = log_of([(0, 30), (0, 20), (1, 10)])
    log.signals[2] = worlds.VIEW
    assert np.flatnonzero(~np.isnan(scores(fitted(log), log)[0])).tolist() == [0]


def test_every_positive_signal_counts_where_none_is_marked():
    log = log_of([(0, 30), (0, 20), (1, 10), (2, 5)])
    log.signals[:] = [worlds.VIEW, worlds.VIEW, worlds.VIEW, worlds.DISLIKE]
    unmarked = {n: Signal(weight=s.weight) for n, s in worlds.SIGNALS.items()}
    ranker = fitted(log, signals=unmarked)
    assert np.flatnonzero(~np.isnan(scores(ranker, log)[0])).tolist() == [0, 1]


def test_two_purchases_of_one_visit_are_one():
    once = log_of([(0, 40), (1, 40), (0, 10)])
    twice = log_of([(0, 40.1), (0, 40), (1, 40), (0, 10.1), (0, 10)])
    np.testing.assert_allclose(fitted(twice).rates, fitted(once).rates, rtol=0.01)
    np.testing.assert_allclose(
        scores(fitted(once), twice), scores(fitted(once), once), rtol=0.01, equal_nan=True
    )


def test_what_came_to_the_shop_since_the_fit_has_the_rate_of_the_catalogue():
    ranker = fitted(log_of([(0, 40), (0, 10)]))
    assert scores(ranker, log_of([(5, 3)]))[0, 5] > 0


def test_is_due_when_the_usual_interval_is_over():
    ranker = fitted(regular())
    buyer = log_of([(0, 40.0), (0, 30.0), (0, 20.0), (0, 10.0), (0, 0.01)])
    found = [scores(ranker, buyer, days)[0, 0] for days in range(20)]
    assert 8 <= int(np.argmax(found)) <= 11
    assert max(found) > 5 * found[1], "what was bought yesterday is not due"


def test_puts_what_is_due_before_what_was_just_bought():
    ranker = fitted(regular())
    steady = [(item, age) for age in (52, 42, 32, 22, 12) for item in (0, 1)]
    buyer = log_of([*steady[:-2], (0, 11), (1, 1)])
    assert scores(ranker, buyer)[0, 0] > scores(ranker, buyer)[0, 1]


def test_there_is_no_due_time_when_people_buy_at_random():
    """Purchases drawn from the model itself: after every wait there are as many as expected."""
    random = np.random.default_rng(0)
    people = []
    for rate in random.gamma(1.0, 1 / 50, 1500):
        times = np.cumsum(np.append(random.uniform(0, 100), random.exponential(1 / rate, 60)))
        people.append([(0, 400 - at) for at in times[times < 400]])
    ranker = fitted(log_of(*people))
    assert ranker.rates[0] == pytest.approx(1 / 50, rel=0.15)
    filled = (EDGES >= 0.1) & (EDGES < 2)  # shorter waits: two of one visit are one
    np.testing.assert_allclose(ranker.due[filled], 1, atol=0.15)


def test_nothing_is_said_to_come_from_another_item():
    log = log_of([(0, 30), (0, 20), (1, 10)])
    people = worlds.asking(log, [0])
    shown = np.array([[0, 1]], dtype=np.int32)
    assert (fitted(log).anchors(people, shown) == -1).all()


@pytest.mark.parametrize("log", [log_of(), log_of([(0, 9), (1, 5)]), log_of([(0, 9.1), (0, 9)])])
def test_cannot_be_fitted_when_nobody_came_back_for_anything(log):
    with pytest.raises(CannotFit, match=r"^repeat: nobody has bought"):
        fitted(log)
