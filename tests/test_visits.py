"""The requests that a log amounts to: what was known when they asked, and what they wanted."""

from __future__ import annotations

import numpy as np
import worlds

from features.timelines import Timelines
from features.types import DAY_US
from training.evaluation.visits import Shelf, Visits, queries_at
from training.item_facts import UNBORN
from training.queries import Standing

HOUR_US = DAY_US // 24
ARTICLES = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], dtype=np.int8)  # items 5 to 9


class Catalogue:
    """Five products and five articles."""

    kinds = ARTICLES
    born_us = np.full(10, UNBORN)

    def __len__(self) -> int:
        return len(self.kinds)


def log():
    """One person with a visit of four events and, a day later, of one; and another person."""
    items = np.array([0, 1, 2, 6, 3, 4, 7], dtype=np.int32)
    hours = np.array([0, 1, 2, 3, 27, 40, 41])
    visits = np.array([0, 0, 0, 0, 1, 0, 0], dtype=np.int32)
    return Timelines(
        np.array([0, 5, 7]), items, np.full(7, worlds.VIEW, np.int8),
        worlds.NOW_US + hours * HOUR_US, visits, worlds.N_ITEMS,
    )  # fmt: skip


def every(seed):
    return Visits.between(log(), worlds.NOW_US, worlds.NOW_US + 3 * DAY_US, seed)


def a_late_one(visits):
    """The first visit, asked half-way: with a toss of the coin that says so."""
    return next(v for v in map(every, range(20)) if visits in (v.asked - v.starts).tolist())


def task(visits, kind):
    nobody = Standing.nobody(2)
    config = worlds.config()
    return visits.task(kind, log(), config, Shelf(Catalogue(), nobody))


def test_every_visit_asks_once_in_time_order():
    found = every(0)
    assert len(found) == 3
    assert (np.diff(found.at_us) > 0).all()
    assert sorted(zip(found.rows.tolist(), found.starts.tolist(), strict=True)) == [
        (0, 0), (0, 4), (1, 0)]  # fmt: skip


def test_only_visits_that_began_in_the_time_asked_about():
    start = worlds.NOW_US + HOUR_US
    assert Visits.between(log(), start, start + 30 * HOUR_US).starts.tolist() == [4]


def test_half_way_the_first_half_is_the_session_and_the_rest_is_wanted():
    found = a_late_one(2)
    asked, rows = task(found, kind=0)
    place = rows.tolist().index(0)
    assert found.at_us[0] == worlds.NOW_US + 2 * HOUR_US
    history = asked.people.queries.histories.take(np.array([place]))
    assert history.items.tolist() == [0, 1]
    np.testing.assert_allclose(history.ages_days * 24, [2, 1], rtol=1e-5)
    assert asked.truth.row(place).tolist() == [2]


def test_a_visit_of_one_event_is_asked_at_its_beginning():
    asked, rows = task(every(0), kind=0)
    short = [n for n, row in enumerate(rows.tolist()) if every(0).starts[row] == 4]
    (place,) = short
    queries = asked.people.queries
    assert asked.truth.row(place).tolist() == [3]
    assert queries.session_start[place] == 4
    assert np.diff(queries.histories.indptr)[place] == 4


def test_each_kind_is_asked_for_by_those_who_wanted_it():
    asked, _ = task(every(0), kind=1)
    assert asked.name == "article"
    assert sorted(asked.truth.values.tolist()) == [6, 7]
    assert set(asked.terms.items.tolist()) == set(range(5, 10))


def test_an_article_that_was_read_is_not_wanted_again():
    again = log()
    again.items[4] = 6  # read once more, a day later
    found = Visits.between(again, worlds.NOW_US + DAY_US, worlds.NOW_US + 3 * DAY_US)
    asked, _ = found.task(1, again, worlds.config(), Shelf(Catalogue(), Standing.nobody(2)))
    assert asked.truth.values.tolist() == [7]


def test_queries_weigh_events_at_their_own_moment():
    own = log()
    queries = queries_at(own, np.array([worlds.NOW_US + 10 * DAY_US + 27 * HOUR_US,
                                        worlds.NOW_US + 41 * HOUR_US]), worlds.SIGNALS)  # fmt: skip
    np.testing.assert_allclose(queries.histories.weights[[4, 6]], [0.5, 1.0], rtol=1e-5)
