"""The one contract that every ranker keeps, and what each is there for."""

from __future__ import annotations

from dataclasses import replace

import blended
import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from features import arrays
from features.training_options import Training
from features.types import DAY_US, Ragged
from training.bundle import alone, terms
from training.fitting import CannotFit, fit
from training.policy import People, decide
from training.rankers import RANKERS
from training.rankers.base import Allowed, Queries
from training.rankers.topk import best

SMALL = Training.model_validate({
    "als": {"factors": 2, "regularization": 0.1}, "ease": {"regularization": 1.0},
    "content": {"factors": 8, "epochs": 1},
    "sequence": {"factors": 8, "layers": 1, "length": 4, "epochs": 2, "steps": 1},
})  # fmt: skip
EVERYTHING = slice(0, worlds.N_ITEMS)


def world(log, name="any"):
    """What a fit may look at, so that every ranker has something to go by: items described, two
    segments, a session per person, and for `repeat` everything bought twice.
    """
    rows, half = np.arange(len(log)), (np.arange(len(log)) % 2).astype(np.int16)
    if name == "repeat":
        twice = log.take(np.repeat(rows, 2))  # each row beside itself: every other one is earlier
        earlier = np.repeat(np.tile([30, 0], len(log)), np.diff(twice.indptr)) * DAY_US
        log = replace(twice, indptr=twice.indptr[::2], occurred_us=twice.occurred_us - earlier)
    log = replace(log, sessions=np.zeros_like(log.sessions))
    return worlds.past(log, items=worlds.described(), segments=half, n_segments=2)


@pytest.fixture(scope="module")
def past():
    return worlds.two_tastes()


@pytest.fixture(scope="module", params=list(RANKERS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(past):
    found = {n: fit(n, world(past, n), SMALL) for n in RANKERS if n != "blend"}
    return {**found, "blend": blended.blend(found, world(past), SMALL)}


@pytest.fixture
def ranker(fitted, name):
    return fitted[name]


def allowed(rows, excluded=None, items=EVERYTHING):
    return Allowed(items, Ragged.of(excluded) if excluded else Ragged.empty(rows))


class TestEveryRanker:
    def test_scores_a_person_the_same_alone_or_in_a_batch(self, ranker, past):
        together = ranker.score(worlds.asking(past, range(8)))
        alone = np.concatenate([ranker.score(worlds.asking(past, [row])) for row in range(8)])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6, equal_nan=True)

    def test_scores_a_part_of_the_catalogue_as_it_scores_the_whole(self, ranker, past):
        people = worlds.asking(past, range(8))
        whole = ranker.score(people)
        chosen = np.array([1, 4, 9], dtype=np.int32)
        np.testing.assert_allclose(
            ranker.score(people, chosen), whole[:, chosen], rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            ranker.score(people, slice(2, 6)), whole[:, 2:6], rtol=1e-4, atol=1e-6
        )

    def test_has_an_opinion_on_strangers_just_when_it_says_so(self, ranker):
        scores = ranker.score(Queries.of_strangers(2, worlds.N_ITEMS))
        assert scores.shape == (2, worlds.N_ITEMS)
        assert (~np.isnan(scores)).any() == ranker.knows_strangers

    def test_a_stranger_changes_nothing_for_the_people_beside_him(self, ranker, past):
        mixed = ranker.score(worlds.asking(past, [0, -1, 1]))
        plain = ranker.score(worlds.asking(past, [0, 1]))
        np.testing.assert_allclose(mixed[[0, 2]], plain, rtol=1e-4, atol=1e-6, equal_nan=True)

    def test_disliked_items_add_no_interest(self, ranker):
        dislikes = worlds.timelines([[0, 1, 2]], signal=worlds.DISLIKE)
        scores = ranker.score(worlds.asking(dislikes, [0]))
        assert np.isnan(scores).all() or ranker.knows_strangers

    def test_who_is_not_a_number_gets_no_opinion_and_changes_nobodys(self, ranker, past):
        plain = worlds.asking(past, [0, 1])
        weights = plain.histories.weights.copy()
        weights[: plain.histories.indptr[1]] = np.nan
        odd = replace(plain, histories=replace(plain.histories, weights=weights))
        with np.errstate(invalid="ignore"):
            scores = ranker.score(odd)
        by_weight = not (ranker.knows_strangers or ranker.by_segment or ranker.only_had)
        assert not by_weight or np.isnan(scores[0]).all()
        np.testing.assert_allclose(
            scores[1], ranker.score(plain)[1], rtol=1e-4, atol=1e-6, equal_nan=True
        )

    def test_a_blocked_item_never_returns(self, ranker, name, past):
        signals = past.signals.copy()
        signals[0] = worlds.DISLIKE  # the first item of the first person
        blocked = int(past.items[0])
        asking = worlds.asking(replace(past, signals=signals), [0])
        who = People(asking, np.array([True]), np.array([False]))
        rules = terms(worlds.config(), blended.Shelf(), EVERYTHING, worlds.N_ITEMS, repeat="allow")
        shown = decide(alone(name, ranker), who, rules).items[0]
        assert blocked not in shown

    def test_gives_the_best_allowed_items_and_nothing_else(self, ranker, past):
        people = worlds.asking(past, range(8))
        scores = ranker.score(people)
        excluded = [[9, row] for row in range(8)]
        ranking = ranker.top(people, 3, allowed(8, excluded))
        for row in range(8):
            own = scores[row].copy()
            own[excluded[row]] = np.nan
            order = [i for i in np.argsort(-own, kind="stable") if not np.isnan(own[i])][:3]
            assert [i for i in ranking.items[row] if i >= 0] == order
            np.testing.assert_allclose(
                ranking.scores[row][: len(order)], scores[row, order], rtol=1e-5
            )

    @pytest.mark.parametrize("items", [EVERYTHING, slice(2, 9), np.array([0, 2, 3, 5, 8, 9])])
    def test_what_is_closed_is_as_if_it_were_not_there(self, ranker, past, items):
        people, excluded = worlds.asking(past, range(8)), [[9, row] for row in range(8)]
        open_ = np.ones(worlds.N_ITEMS, dtype=bool)
        open_[[1, 4, 5, 6]] = False
        left = np.arange(worlds.N_ITEMS, dtype=np.int32)[items]
        left = left[open_[left]]
        shut = ranker.top(people, 4, Allowed(items, Ragged.of(excluded), open_))
        named = ranker.top(people, 4, allowed(8, excluded, left))
        assert set(shut.items.ravel().tolist()) <= {-1, *left.tolist()}
        np.testing.assert_array_equal(shut.items, named.items)
        np.testing.assert_allclose(shut.scores, named.scores, rtol=1e-5)

    @pytest.mark.parametrize("k", [1, 4, 50])
    def test_says_to_one_person_what_it_scores(self, ranker, past, k):
        everything = np.arange(worlds.N_ITEMS, dtype=np.int32)
        allowed_ = Allowed(slice(1, 9), Ragged.of([[3, 9]]), everything != 6)
        for row in [-1, *range(8)]:
            person = worlds.asking(past, [row], [[2]])
            scores, said = ranker.score(person)[0], ranker.opinion(person)
            np.testing.assert_allclose(said.at(everything), scores, rtol=1e-4, atol=1e-6)
            known = np.sort(scores[~np.isnan(scores)])[::-1]
            np.testing.assert_allclose(said.best(k), known[:k], rtol=1e-4, atol=1e-6)
            ranking = ranker.top(person, k, allowed_)
            items, values = said.top(k, allowed_)
            assert items.tolist() == [i for i in ranking.items[0] if i >= 0]
            np.testing.assert_allclose(values, scores[items], rtol=1e-4, atol=1e-6)

    def test_never_gives_more_than_there_is(self, ranker, past):
        people = worlds.asking(past, range(8))
        ranking = ranker.top(people, 50, allowed(8))
        assert ranking.items.shape == (8, 50)
        for row in range(8):
            given_items = ranking.items[row][ranking.items[row] >= 0]
            assert len(set(given_items)) == len(given_items) <= worlds.N_ITEMS
        assert (np.isnan(ranking.scores) == (ranking.items < 0)).all()

    def test_everything_excluded_is_an_empty_ranking(self, ranker, past):
        nothing = [list(range(worlds.N_ITEMS))] * 2
        assert (ranker.top(worlds.asking(past, [0, 1]), 5, allowed(2, nothing)).items == -1).all()
        empty = allowed(2, items=np.empty(0, dtype=np.int32))
        assert (ranker.top(worlds.asking(past, [0, 1]), 5, empty).items == -1).all()

    def test_is_the_same_after_saving_and_loading(self, ranker, name, past, fitted, tmp_path):
        arrays.save(ranker.stored(), tmp_path / name)
        again = arrays.load(RANKERS[name], tmp_path / name).bound(fitted)
        people = worlds.asking(past, range(8))
        np.testing.assert_array_equal(again.score(people), ranker.score(people))

    def test_is_fitted_the_same_twice(self, ranker, name, past, fitted):
        again = (blended.blend(fitted, world(past), SMALL) if name == "blend"
                 else fit(name, world(past, name), SMALL))  # fmt: skip
        people = worlds.asking(past, range(8))
        np.testing.assert_allclose(again.score(people), ranker.score(people), rtol=1e-4)

    def test_names_only_items_of_the_history_as_its_grounds(self, ranker, past):
        people = worlds.asking(past, range(8))
        ranking = ranker.top(people, 5, allowed(8))
        for row, anchors in enumerate(ranker.anchors(people, ranking.items)):
            history = set(past.items[past.indptr[row] : past.indptr[row + 1]])
            assert set(anchors) - {-1} <= history
            for item, anchor in zip(ranking.items[row], anchors, strict=True):
                assert anchor == -1 or anchor != item, "nothing is shown because of itself"


@pytest.mark.parametrize("personal", ["neighbours", "graph", "als", "ease"])
class TestPersonalRankers:
    def test_find_the_missing_item_of_the_same_taste(self, personal, fitted, past):
        people = worlds.asking(past, range(8))
        had = [past.items[past.indptr[r] : past.indptr[r + 1]].tolist() for r in range(8)]
        ranking = fitted[personal].top(people, 1, allowed(8, had))
        assert ranking.items[:, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8]

    def test_take_a_fresh_event_into_account_at_once(self, personal, fitted, past):
        first, second = worlds.asking(past, [-1, -1], [[0, 1], [5, 6]]), slice(0, 9)
        shown = fitted[personal].top(first, 2, allowed(2, [[0, 1], [5, 6]], second)).items
        assert set(shown[0]) <= {2, 3, 4}
        assert set(shown[1]) <= {7, 8}

    def test_cannot_be_fitted_on_a_log_without_interest(self, personal):
        with pytest.raises(CannotFit, match=personal):
            fit(personal, worlds.past(worlds.timelines([[]])), Training())


@pytest.mark.parametrize("personal", ["neighbours", "graph", "als", "ease"])
def test_nobody_has_an_opinion_on_what_nobody_touched(personal):
    past = worlds.timelines([[0, 1], [0, 2], [1, 2]], n_items=5)
    ranker = fit(personal, worlds.past(past), SMALL)
    scores = ranker.score(worlds.asking(past, [0]))
    assert np.isnan(scores[0, 3:]).all()
    assert not np.isnan(scores[0, 2])


def test_popularity_is_what_everybody_has(fitted):
    ranking = fitted["popularity"].top(Queries.of_strangers(1, worlds.N_ITEMS), 1, allowed(1))
    assert ranking.items[0, 0] == 9


@pytest.mark.parametrize(("fashion_days", "found"), [(0.2, {0.01, 0.05, 0.25}), (1000.0, {30, 90})])
def test_popularity_finds_how_fast_interest_fades(fashion_days, found):
    """Either a new item is the fashion every so often, or the same items are liked for ever."""
    random, n_items = np.random.default_rng(0), 200
    days = np.sort(random.uniform(0, 40, 6000))
    fashion = (days / fashion_days).astype(int) % n_items
    lasting = random.choice(n_items, 6000, p=(w := 1 / np.arange(1, n_items + 1)) / w.sum())
    items = np.where(random.random(6000) < 0.8, fashion, lasting) if fashion_days < 1 else lasting
    log = worlds.timelines([items.tolist()], n_items=n_items)
    log.occurred_us[:] = worlds.NOW_US - ((40 - days) * DAY_US).astype(np.int64)
    ranker = fit("popularity", worlds.past(log), Training())
    assert ranker.pace.half_life_days in found


class TestBest:
    @settings(max_examples=200, deadline=None)
    @given(seed=st.integers(0), size=st.integers(0, 6000), k=st.integers(1, 30),
           alike=st.floats(0, 1), missing=st.floats(0, 1))  # fmt: skip
    def test_is_a_stable_full_sort_without_nan(self, seed, size, k, alike, missing):
        random = np.random.default_rng(seed)
        scores = random.uniform(-1, 1, size).astype(np.float32)
        scores = np.where(random.random(size) < alike, random.integers(-5, 6, size), scores)
        scores = np.where(random.random(size) < missing, np.nan, scores).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        expected = order[~np.isnan(scores[order])][:k]
        assert best(scores, k).tolist() == expected.tolist()

    def test_survives_a_misleading_sample(self):
        scores = np.zeros(10_000, dtype=np.float32)
        scores[::64] = 1000  # all that the sample sees is high; the rest is what is asked for
        scores[1:40:2] = np.arange(2000, 2020)
        assert best(scores, 20).tolist() == list(range(39, 0, -2))
