"""Content: what has no events yet lands near those who will like it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import worlds
from hypothesis import given
from hypothesis import strategies as st

from features import arrays
from features.training_options import ContentOptions
from features.types import DAY_US
from training.fitting import CannotFit
from training.fitting.content import fit_content
from training.fitting.content_lessons import Lessons
from training.item_facts import UNBORN, ItemFacts
from training.rankers.base import Queries
from training.rankers.content import (
    AGE_DAYS,
    SESSION_DECAY,
    ContentRanker,
    Properties,
    age_steps,
)

OPTIONS = ContentOptions(factors=8, epochs=2, batch=512, learning_rate=0.05)
TASTES = [0] * 6 + [1] * 6  # items 5 and 11, the last of each taste, have no events at all
COLD = {0: 5, 1: 11}
PEOPLE = [0, 1] * 15  # the taste of each person
NEITHER = np.full(12, -1, dtype=np.int32)


def log():
    """Everybody has three of the five items of a taste that have events."""
    random = np.random.default_rng(0)
    rows = [(6 * taste + random.permutation(5)[:3]).tolist() for taste in PEOPLE]
    return worlds.timelines(rows, n_items=12)


def known_by(what):
    """Items of two tastes, that one kind of fact alone tells apart."""
    codes = np.array(TASTES, dtype=np.int32)
    none = {
        "categories": sp.csr_matrix((12, 0), dtype=np.float32), "category": NEITHER,
        "branch": NEITHER, "text": np.zeros((12, 0), np.float32),
    }  # fmt: skip
    cheap_or_dear = np.array([3, 4, 5, 4, 3, 4, 90, 80, 70, 75, 85, 80], dtype=np.float32)
    told = {
        "category": {}, "text": {},
        "brand": {"brands": codes},
        "price": {"prices": cheap_or_dear},
        "relative price": {"prices": np.full(12, 9, np.float32), "price_relative": cheap_or_dear},
    }[what]  # fmt: skip
    kept = {"category": ("categories", "category", "branch"), "text": ("text",)}.get(what, ())
    facts = {name: value for name, value in none.items() if name not in kept}
    return worlds.described(TASTES, **{**facts, **told})


def fitted(facts, timelines=None, **changes):
    past = worlds.past(timelines or log(), items=facts, **changes)
    return fit_content(past, OPTIONS)


@pytest.fixture(scope="module")
def ranker():
    return fitted(worlds.described(TASTES))


class TestItemsWithoutEvents:
    @pytest.mark.parametrize("what", ["category", "text", "brand", "price", "relative price"])
    def test_land_with_those_who_like_what_is_alike(self, what):
        scores = fitted(known_by(what)).score(worlds.asking(log(), range(len(PEOPLE))))
        for person, taste in enumerate(PEOPLE):
            assert scores[person, COLD[taste]] > scores[person, COLD[1 - taste]]

    def test_are_no_worse_placed_than_what_they_equal(self, ranker):
        scores = ranker.score(worlds.asking(log(), [0, 1]))
        np.testing.assert_allclose(scores[:, 5], scores[:, 0], rtol=1e-4)

    def test_that_nothing_is_known_of_get_no_opinion(self):
        facts = worlds.described(TASTES)
        facts.text[5], facts.category[5] = 0, -1
        blank = replace(facts, categories=sp.csr_matrix(facts.text))
        scores = fitted(blank).score(worlds.asking(log(), [0]))
        assert np.flatnonzero(np.isnan(scores[0])).tolist() == [5]


class TestNewItems:
    def test_are_placed_like_those_of_the_catalogue(self, ranker):
        facts = worlds.described(TASTES)
        np.testing.assert_allclose(ranker.items.vectors(facts), ranker.item_vectors, atol=1e-6)

    def test_of_a_new_category_and_brand_are_taken_as_of_none(self, ranker):
        new = np.full(2, 7, dtype=np.int32)
        text = np.eye(2, dtype=np.float32)
        foreign = sp.csr_matrix((np.ones(2, np.float32), ([0, 1], [7, 7])), shape=(2, 8))
        plain = replace(ItemFacts.unknown(2), text=text)
        novel = replace(plain, categories=foreign, category=new, branch=new, brands=new)
        np.testing.assert_array_equal(ranker.items.vectors(novel), ranker.items.vectors(plain))

    def test_can_be_placed_by_a_model_that_was_stored(self, ranker, tmp_path):
        arrays.save(ranker, tmp_path / "content")
        again = arrays.load(ContentRanker, tmp_path / "content")
        facts = worlds.described(TASTES)
        np.testing.assert_array_equal(again.items.vectors(facts), ranker.items.vectors(facts))


class TestAnswers:
    def told(self, *weights):
        asking = Queries.of_strangers(len(weights), 12, worlds.NOW_US)
        return replace(asking, declared=sp.csr_matrix(np.array(weights, dtype=np.float32)))

    def test_speak_for_a_person_without_a_history(self, ranker):
        scores = ranker.score(self.told([5, 0], [0, 5]))
        assert scores[0].argmax() < 6
        assert scores[1].argmax() >= 6

    def test_that_ask_for_less_of_a_category_put_it_last(self, ranker):
        scores = ranker.score(self.told([-5, 0]))
        assert scores[0, :6].max() < scores[0, 6:].min()

    def test_move_a_person_with_a_history(self, ranker):
        person = worlds.asking(log(), [0])
        plain = ranker.score(person)[0]
        told = ranker.score(replace(person, declared=self.told([0, 50]).declared))[0]
        assert told[COLD[1]] - told[COLD[0]] > plain[COLD[1]] - plain[COLD[0]]

    def test_of_nobody_leave_strangers_without_an_opinion(self, ranker):
        scores = ranker.score(self.told([5, 0], [0, 0]))
        assert not np.isnan(scores[0]).any()
        assert np.isnan(scores[1]).all()


def fashion():
    """An item is born each day, and liked on that day by half of the people."""
    random, days = np.random.default_rng(0), np.arange(12)
    rows = [np.sort(random.permutation(12)[:6]) for _ in range(60)]
    timelines = worlds.timelines(rows, n_items=12)
    born = worlds.NOW_US - (12 - days) * DAY_US
    timelines.occurred_us[:] = born[timelines.items] + 1
    return timelines, worlds.described(TASTES, born_us=born.astype(np.int64))


@pytest.fixture(scope="module")
def fashionable():
    timelines, facts = fashion()
    return fitted(facts, timelines)


class TestAge:
    def test_of_what_people_like_counts(self, fashionable):
        at_birth, later = fashionable.ages[0, age_steps(np.array([1, 5 * DAY_US]), np.array(0))]
        assert at_birth > later + 1

    def test_moves_on_after_the_fit(self, fashionable):
        timelines, facts = fashion()
        now = worlds.asking(timelines, [0])
        later = replace(now, now_us=now.now_us + 30 * DAY_US)
        change = (fashionable.score(later) - fashionable.score(now))[0]
        before, after = (age_steps(at, facts.born_us) for at in (now.now_us[0], later.now_us[0]))
        added = fashionable.ages[0, after] - fashionable.ages[0, before]
        np.testing.assert_allclose(change, added, atol=1e-4)

    def test_says_nothing_of_what_is_not_born_or_of_unknown_age(self, fashionable):
        unborn = np.array([worlds.NOW_US + 1, UNBORN])
        assert (fashionable.ages[0, age_steps(np.array(worlds.NOW_US), unborn)] == 0).all()

    @given(st.floats(0, 2000))
    def test_steps_up_where_the_table_says_so(self, days):
        step = int(age_steps(np.array(int(days * DAY_US)), np.array(0)))
        assert step == sum(int(days * DAY_US) >= limit * DAY_US for limit in AGE_DAYS)


class TestWhatCannotBeFitted:
    def test_items_of_which_nothing_is_known(self):
        with pytest.raises(CannotFit, match=r"content: nothing is known.*items table"):
            fitted(ItemFacts.unknown(12))

    def test_items_that_are_all_alike(self):
        with pytest.raises(CannotFit, match="content: all items are described alike"):
            fitted(worlds.described([0] * 12))

    def test_a_log_without_interest(self):
        with pytest.raises(CannotFit, match="content: nobody has shown interest in anything"):
            fitted(worlds.described(TASTES), worlds.timelines([[]], n_items=12))

    def test_people_of_one_item_each(self):
        with pytest.raises(CannotFit, match="content: nobody has shown interest in two items"):
            fitted(worlds.described(TASTES), worlds.timelines([[0], [1]], n_items=12))


class TestLearning:
    def test_keeps_its_curve(self, ranker):
        epochs, seconds, losses, qualities = ranker.curve.T
        assert epochs.tolist() == list(range(1, len(epochs) + 1))
        assert len(epochs) <= OPTIONS.epochs
        assert (np.diff(seconds) > 0).all()
        assert np.isfinite([losses, qualities]).all()

    def test_depends_on_the_seed_alone(self, ranker):
        facts, people = worlds.described(TASTES), worlds.asking(log(), range(4))
        np.testing.assert_array_equal(fitted(facts).score(people), ranker.score(people))
        other = fitted(facts, seed=1)
        assert not np.array_equal(other.score(people), ranker.score(people))

    def test_holds_items_out_of_a_large_catalogue_and_places_them(self):
        tastes = [0] * 60 + [1] * 60
        random = np.random.default_rng(0)
        rows = [(60 * taste + random.permutation(60)[:12]).tolist() for taste in PEOPLE * 2]
        timelines = worlds.timelines(rows, n_items=120)
        past = worlds.past(timelines, items=worlds.described(tastes))
        assert Lessons.of(past, np.ones(120, np.bool_)).held_out.sum() == 12
        quality = fit_content(past, OPTIONS).curve[:, 3]
        assert quality.max() > 0.4  # of 12 at random, the mean of 1 / log2(1 + place) is 0.4

    def test_survives_prices_and_words_that_are_not_there(self):
        facts = worlds.described(TASTES, prices=np.array([np.nan, 0, -1, np.inf] * 3, np.float32))
        facts.text[3] = 0
        scores = fitted(facts).score(worlds.asking(log(), [0]))
        assert np.isfinite(scores).all()


class TestLessons:
    def lessons(self):
        past = worlds.past(log(), items=worlds.described(TASTES))
        return Lessons.of(past, np.ones(12, np.bool_))

    @given(st.lists(st.integers(0, 89), min_size=1, max_size=20))
    def test_ask_for_an_item_that_the_history_does_not_tell(self, events):
        lessons = self.lessons()
        batch = lessons.batch(np.array(events), np.random.default_rng(0))
        histories = batch.histories.toarray()
        assert batch.items[batch.wanted].tolist() == lessons.items[events].tolist()
        assert (histories[np.arange(len(events)), batch.wanted] == 0).all()
        np.testing.assert_allclose(histories.sum(axis=1), 1, rtol=1e-5)

    @given(st.lists(st.integers(0, 89), min_size=1, max_size=20))
    def test_take_nothing_that_a_person_has_for_unwanted(self, events):
        lessons = self.lessons()
        batch = lessons.batch(np.array(events), np.random.default_rng(0))
        has = lessons.interest.toarray()[lessons.persons[events]] > 0
        own = np.eye(len(events), dtype=np.bool_)
        np.testing.assert_array_equal(batch.apart, has[:, batch.items[batch.wanted]] & ~own)

    def test_tell_what_came_before_in_the_session_the_newest_first(self):
        timelines = worlds.timelines([[0, 1, 2, 0, 3]], n_items=12)
        timelines.sessions[:] = [0, 0, 0, 0, 1]
        past = worlds.past(timelines, items=worlds.described(TASTES))
        lessons = Lessons.of(past, np.ones(12, np.bool_))
        told = [[int(i) for i in row if i >= 0] for row in lessons.before]
        assert told == [[], [0], [1, 0], [2, 1, 0], []]

    def test_leave_out_half_of_the_sessions_and_always_what_is_wanted(self):
        timelines = worlds.timelines([[0, 1, 2, 0]], n_items=12)
        timelines.sessions[:] = 0
        past = worlds.past(timelines, items=worlds.described(TASTES))
        lessons = Lessons.of(past, np.ones(12, np.bool_))
        batch = lessons.batch(np.full(200, 3), np.random.default_rng(0))
        sessions = batch.sessions.toarray()
        told = sessions.any(axis=1)
        assert 70 < told.sum() < 130
        np.testing.assert_allclose(sessions[told].sum(axis=1), 1, rtol=1e-5)
        assert batch.items.tolist() == [0, 1, 2]
        shares = np.array([0, SESSION_DECAY, 1]) / (SESSION_DECAY + 1)
        np.testing.assert_allclose(sessions[told], [shares] * told.sum(), rtol=1e-5)


class TestSessions:
    def test_count_at_once_and_their_end_most(self, ranker):
        timelines = log()
        plain, turned, back = ranker.score(
            worlds.asking(timelines, [0, 0, 0], [[], [0, 1, 6, 7], [6, 7, 0, 1]])
        )
        liking = [row[COLD[1]] - row[COLD[0]] for row in (plain, turned, back)]
        assert liking[1] > liking[2] > liking[0]

    def test_that_are_all_there_is_are_enough(self, ranker):
        first, second = ranker.score(worlds.asking(log(), [-1, -1], [[0], [6]]))
        assert first[COLD[0]] > first[COLD[1]]
        assert second[COLD[1]] > second[COLD[0]]


class TestProperties:
    @given(st.lists(st.floats(0.125, 1e6, width=32), min_size=1, max_size=20))
    def test_share_a_price_between_the_two_steps_beside_it(self, prices):
        n = len(prices)
        none = np.empty(0, np.float32)
        steps = np.log(np.array([1, 10, 100, 1000], dtype=np.float32))
        facts = replace(ItemFacts.unknown(n), prices=np.array(prices, dtype=np.float32))
        table = Properties(0, 0, 0, steps, none).table(facts).toarray()
        np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(
            table @ steps, np.clip(np.log(facts.prices), steps[0], steps[-1]), rtol=1e-4, atol=1e-4
        )
        assert ((table > 0).sum(axis=1) <= 2).all()
