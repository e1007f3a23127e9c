"""The blend: what it looks at, what it learns from, and that it orders better than its inputs."""

from __future__ import annotations

from dataclasses import replace

import blended
import numpy as np
import pytest
import worlds

from features.training_options import Training
from features.types import Ragged
from training.evaluation import protocol
from training.fitting import CannotFit, fit
from training.fitting.blend import as_graph, fit_blend, grown
from training.fitting.blend_lessons import Lessons, grades
from training.item_side import item_side
from training.rankers.base import Allowed
from training.rankers.blend import BlendForest, candidates, score_all
from training.rankers.blend_features import MISSING, Scored, names, rows_of

OPTIONS = Training.model_validate({"als": {"factors": 2, "regularization": 0.1}})
COLUMNS = names(blended.INPUTS)


@pytest.fixture(scope="module")
def past():
    return worlds.past(worlds.two_tastes())


@pytest.fixture(scope="module")
def fitted(past):
    return {name: fit(name, past, OPTIONS) for name in blended.INPUTS}


@pytest.fixture(scope="module")
def taught():
    return blended.lessons(blended.crowd(), OPTIONS)


def column(rows, name):
    return rows[:, COLUMNS.index(name)]


class TestWhatItLooksAt:
    def rows(self, past, fitted, person, items, recent=()):
        queries = worlds.asking(past.timelines, [person], [list(recent)])
        scored = score_all(fitted, blended.INPUTS, queries)
        chosen = np.array(items, dtype=np.int32)
        return rows_of(queries, scored, item_side(past), np.zeros(len(items), np.int64), chosen)

    def test_is_one_row_per_candidate_and_never_nan(self, past, fitted):
        rows = self.rows(past, fitted, 0, [0, 5, 9])
        assert rows.shape == (3, len(COLUMNS))
        assert rows.dtype == np.float32
        assert not np.isnan(rows).any()

    def test_places_count_from_one_and_equal_scores_share_theirs(self):
        scores = np.array([[0.3, np.nan, 0.9, 0.3, 0.1]], dtype=np.float32)
        _, gap, place = Scored.of(scores).columns(
            np.zeros(5, np.int64), np.arange(5, dtype=np.int32)
        )
        assert place.tolist() == [2, 201, 1, 2, 4]
        assert gap[2] == 0
        assert np.isnan(gap[1])

    def test_says_what_the_person_had_to_do_with_the_item(self, past, fitted):
        rows = self.rows(
            past, fitted, 0, [1, 9, 5], recent=[9]
        )  # has 1 to 4 and 9, and now 9 again
        np.testing.assert_allclose(column(rows, "times before"), np.log1p([1, 2, 0]), rtol=1e-6)
        assert column(rows, "in this session").tolist() == [0, 1, 0]
        assert column(rows, "days since this")[2] == MISSING

    def test_a_dear_item_does_not_fit_who_looks_at_cheap_ones(self, past, fitted):
        prices = np.array([1, 1, 1, 1, 1, 100, 100, 100, 100, np.nan], dtype=np.float32)
        dear = replace(past, items=replace(past.items, prices=prices))
        rows = self.rows(dear, fitted, 0, [0, 5, 9])
        fit_of = column(rows, "price fit")
        assert fit_of[0] == 0
        assert fit_of[1] == pytest.approx(np.log(100), rel=1e-5)
        assert fit_of[2] == MISSING


class TestWhatItLearnsFrom:
    def test_only_requests_in_which_something_shown_was_wanted(self, taught):
        lessons, _, _ = taught
        wanted = np.bincount(lessons.query, lessons.labels > 0)
        assert (wanted > 0).all()

    def test_labels_are_what_the_people_went_on_to_have(self, taught):
        lessons, tasks, _ = taught
        first = tasks[0]
        truth = {int(p): set(first.truth.row(n)) for n, p in enumerate(first.rows)}
        queries = np.flatnonzero(lessons.query < 5)
        for row in queries.tolist():
            person = int(lessons.person[lessons.query[row]])
            assert (lessons.labels[row] > 0) == (int(lessons.items[row]) in truth[person])

    def test_never_shows_what_the_terms_keep_away(self, taught):
        lessons, tasks, _ = taught
        assert [task.name for task in tasks][:2] == ["all", "discovery"]
        assert set(np.unique(lessons.labels)) == {0, 1}

    def test_thinning_keeps_all_that_was_wanted(self, taught):
        lessons, _, _ = taught
        kept = lessons.thinned(1, seed=0)
        assert kept[lessons.labels > 0].all()
        others = np.bincount(lessons.query[kept & (lessons.labels == 0)],
                             minlength=len(lessons.person))  # fmt: skip
        assert others.max() == 1

    def test_joining_numbers_the_requests_anew(self, taught):
        lessons, _, _ = taught
        twice = Lessons.joined([lessons, lessons])
        assert np.unique(twice.query).size == 2 * len(lessons.person)

    def test_value_grades_an_item_by_its_price(self):
        prices = np.array([1, 2, 3, 4, np.nan], dtype=np.float32)
        assert grades("value", prices).tolist() == [1, 2, 3, 4, 1]
        assert grades("clicks", prices).tolist() == [1] * 5


class TestCandidates:
    def test_are_the_best_of_each_input_and_never_what_is_excluded(self, past, fitted):
        queries = worlds.asking(past.timelines, [0, 4])
        scored = score_all(fitted, blended.INPUTS, queries)
        allowed = Allowed(slice(0, worlds.N_ITEMS), Ragged.of([[9], []]))
        rows, items = candidates(queries, scored, allowed, 1)
        assert 9 not in items[rows == 0]
        assert 9 in items[rows == 1]

    def test_strangers_have_none(self, past, fitted):
        queries = worlds.asking(past.timelines, [-1])
        scored = score_all(fitted, blended.INPUTS, queries)
        rows, _ = candidates(queries, scored, Allowed(slice(0, 10), Ragged.empty(1)), 5)
        assert rows.size == 0


def test_the_graph_says_what_the_trees_say(taught):
    """ONNX Runtime and LightGBM agree, so serving needs only the graph."""
    lessons, _, _ = taught
    everything = np.ones(len(lessons), dtype=bool)
    trees = grown(lessons, COLUMNS, blended.OPTIONS, 0, everything)
    judged = as_graph(trees, len(COLUMNS)).run("variable", features=lessons.rows)[:, 0]
    np.testing.assert_allclose(judged, trees.predict(lessons.rows), atol=1e-5)
    assert np.unique(judged).size > 5


def test_orders_better_than_popularity_where_tastes_differ(taught):
    _, tasks, past = taught
    rankers = {name: fit(name, past, OPTIONS) for name in blended.INPUTS}
    forest = BlendForest(blended.learned(OPTIONS).model, item_side(past), blended.INPUTS, 10)
    (task,) = (one for one in tasks if one.name == "discovery")
    found = {
        name: protocol.evaluate([protocol_step(name, one)], name, task, worlds.N_ITEMS)
        for name, one in {**rankers, "blend": forest.bound(rankers)}.items()
    }
    mean = {name: one.values["ndcg_at_10"].mean() for name, one in found.items()}
    assert mean["blend"] > mean["popularity"] + 0.1


def protocol_step(name, ranker):
    from training.policy import Step

    return Step("one_for_all" if ranker.knows_strangers else "one_to_one", name, ranker)


def test_too_few_requests_are_nothing_to_learn_from():
    found, _, _ = blended.lessons(blended.crowd(people=8), OPTIONS)
    with pytest.raises(CannotFit, match="at least 60"):
        fit_blend(found, COLUMNS, blended.OPTIONS, seed=0)


def test_an_input_that_is_gone_has_no_opinion(past, fitted):
    forest = blended.blend(fitted, past, OPTIONS).stored()
    without = forest.bound({"popularity": fitted["popularity"]})
    scores = without.score(worlds.asking(past.timelines, [0]))
    assert np.isfinite(scores).all()


def test_room_for_new_items_changes_nothing_that_it_looks_at():
    """Popularity gives -1 to what nobody knows anything of, such as the free places of a worker."""
    scores = np.array([[3.0, 2.0, 0.5, -0.5]], dtype=np.float32)
    roomy = np.append(scores, np.full((1, 50), -1, np.float32), axis=1)
    rows, items = np.zeros(4, np.int64), np.arange(4, dtype=np.int32)
    found, same = (Scored.of(one).columns(rows, items) for one in (scores, roomy))
    np.testing.assert_array_equal(found, same)
    np.testing.assert_allclose(found[1], [0, -1 / 3.5, -2.5 / 3.5, -1])
