"""ALS: exact for a person, whoever asks, and near enough to exact when it is fitted."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from features.training_options import AlsOptions
from features.types import Interest, Ragged
from training.fitting import CannotFit
from training.fitting.als import fit_als
from training.item_facts import ItemFacts
from training.rankers.base import Allowed, Queries
from training.rankers.least_squares import diagonal, parts, solve

SMALL = AlsOptions(factors=2, regularization=0.1, frequency_scaling=0.5)
FIRST, SECOND, UNSOLD = range(3)  # categories: items 0-4, items 5-8, and one that nobody touched


def facts():
    """Items 0-4 and 9 are of the first category, 5-8 of the second, 9 of the third, too."""
    rows = [*range(5), *range(5, 9), 9, 9]
    columns = [FIRST] * 5 + [SECOND] * 4 + [FIRST, UNSOLD]
    categories = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (10, 3))
    return replace(ItemFacts.unknown(10), categories=categories)


@pytest.fixture(scope="module")
def log():
    return worlds.timelines(
        [[i for i in range(5) if i != gone] for gone in range(4)]
        + [[i for i in range(5, 9) if i != gone] for gone in range(5, 9)]
    )


@pytest.fixture(scope="module")
def als(log):
    return fit_als(worlds.past(log, items=facts()), SMALL)


def telling(queries, *answers):
    """The same people, each having told (category, weight); None: nothing."""
    declared = np.zeros((len(queries), 3), np.float32)
    for row, answer in enumerate(answers):
        if answer:
            declared[row, answer[0]] = answer[1]
    return replace(queries, declared=sp.csr_matrix(declared))


def system(als, entries):
    """A of the normal equations in double precision, for (factors, weight) of each entry."""
    y = als.item_factors.astype(np.float64)
    penalty = float(als.model.penalty(np.array([len(entries)]))[0, 0])
    return y.T @ y + penalty * np.eye(2) + sum(abs(w) * np.outer(f, f) for f, w in entries)


class TestAPerson:
    def test_scores_by_the_normal_equations(self, als, log):
        people = worlds.asking(log, [0])
        interest = people.histories.interest()
        entries = [
            (als.item_factors[item].astype(np.float64), als.model.confidence_scale * float(r))
            for item, r in zip(interest.indices, interest.data, strict=True)
        ]
        person = np.linalg.solve(system(als, entries), sum(w * f for f, w in entries))
        expected = np.where(als.touched, als.item_factors @ person, np.nan)
        np.testing.assert_allclose(als.score(people)[0], expected, rtol=1e-4, atol=1e-6)

    def test_is_explained_by_parts_that_add_up_to_the_score(self, als, log):
        people, shown = worlds.asking(log, [0]), np.array([0, 5], dtype=np.int32)
        parts = als.contributions(people.histories.interest(), shown)
        scores = als.score(people)[0, shown]
        np.testing.assert_allclose(parts.sum(axis=0), scores, rtol=1e-3, atol=1e-5)

    def test_gets_the_missing_item_of_the_same_taste(self, als, log):
        people = worlds.asking(log, range(8))
        had = log.take(np.arange(8))
        ranking = als.top(people, 1, Allowed(slice(0, 10), Ragged(had.indptr, had.items)))
        assert ranking.items[:, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8]

    def test_with_only_items_that_nobody_touched_gets_no_opinion(self, als, log):
        assert np.isnan(als.score(worlds.asking(log, [-1], [[9]]))).all()

    def test_gains_nothing_from_an_item_that_nobody_touched(self, als, log):
        uniform = replace(als, model=replace(als.model, frequency_scaling=0.0))
        with_it, without = (worlds.asking(log, [-1], [one]) for one in ([0, 9], [0]))
        np.testing.assert_allclose(uniform.score(with_it), uniform.score(without), atol=1e-6)


@pytest.mark.parametrize("entries", [1, 4, 30])  # fewer than factors, and more
def test_one_row_alone_is_solved_and_explained_as_the_normal_equations_say(entries):
    random, width = np.random.default_rng(entries), 8
    factors = random.standard_normal((40, width)).astype(np.float32)
    ridge = random.uniform(1, 2, (1, width)).astype(np.float32)
    weights = random.uniform(0.5, 3, entries).astype(np.float32)
    own = random.choice(40, entries, replace=False).astype(np.int32)
    system = np.diag(ridge[0]) + (factors[own].T * weights) @ factors[own]
    person = np.linalg.solve(system, weights @ factors[own])
    solved = solve(Interest(np.array([0, entries]), own, weights), factors, ridge)
    np.testing.assert_allclose(solved[0], person, rtol=1e-3, atol=1e-5)
    shares = parts(weights, factors[own], ridge[0], factors)
    wanted = weights[:, None] * (factors[own] @ np.linalg.solve(system, factors.T))
    np.testing.assert_allclose(shares, wanted, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=0), factors @ person, rtol=1e-3, atol=1e-4)


class TestAnswers:
    def test_alone_are_an_opinion(self, als):
        asked = telling(Queries.of_strangers(2, 10), (FIRST, 3.0), (SECOND, 3.0))
        scores = als.score(asked)
        assert np.nanmin(scores[0, :5]) > np.nanmax(scores[0, 5:9])
        assert np.nanmin(scores[1, 5:9]) > np.nanmax(scores[1, :5])

    def test_are_one_more_entry_of_the_category_s_mean_item(self, als, log):
        own = als.category_factors.astype(np.float64)
        np.testing.assert_allclose(own[FIRST], als.item_factors[:5].mean(axis=0), rtol=1e-4)
        asked = telling(Queries.of_strangers(1, 10), (FIRST, 3.0))
        weight = als.model.confidence_scale * 3.0
        person = np.linalg.solve(system(als, [(own[FIRST], weight)]), weight * own[FIRST])
        np.testing.assert_allclose(
            als.score(asked)[0, :9], (als.item_factors @ person)[:9], rtol=1e-4, atol=1e-6
        )

    def test_for_less_lower_the_category_and_nothing_else_of_note(self, als, log):
        before = als.score(worlds.asking(log, [0]))[0]
        after = als.score(telling(worlds.asking(log, [0]), (FIRST, -3.0)))[0]
        assert (after[:5] < before[:5]).all()
        np.testing.assert_allclose(after[5:9], before[5:9], atol=0.05)

    def test_for_less_alone_are_no_opinion(self, als):
        assert np.isnan(als.score(telling(Queries.of_strangers(1, 10), (FIRST, -3.0)))).all()

    def test_about_what_nobody_touched_are_no_opinion(self, als):
        assert np.isnan(als.score(telling(Queries.of_strangers(1, 10), (UNSOLD, 3.0)))).all()

    def test_are_overruled_by_behaviour(self, als, log):
        scores = als.score(telling(worlds.asking(log, [0]), (SECOND, 0.5)))[0]
        assert np.nanmin(scores[:5]) > np.nanmax(scores[5:9])

    def test_count_for_nothing_where_the_config_says_so(self, log):
        deaf = fit_als(
            worlds.past(log, items=facts()), SMALL.model_copy(update={"declared_weight": 0.0})
        )
        assert np.isnan(deaf.score(telling(Queries.of_strangers(1, 10), (FIRST, 3.0)))).all()

    def test_of_one_change_nothing_for_the_others(self, als, log):
        mixed = als.score(telling(worlds.asking(log, [0, 4]), None, (FIRST, 3.0)))
        np.testing.assert_allclose(mixed[0], als.score(worlds.asking(log, [0]))[0], rtol=1e-5)


class TestFitting:
    @pytest.mark.parametrize("scaling", [0.0, 0.5, 1.0])
    def test_ends_where_neither_side_has_a_better_answer(self, log, scaling):
        """Exact factors of everybody, from the items', ask for just those factors of the items."""
        options = SMALL.model_copy(update={"frequency_scaling": scaling, "sweeps": 200})
        als = fit_als(worlds.past(log), options)
        people = als.people(worlds.asking(log, range(8)))
        turn, strength = diagonal(people)
        interest = log.histories(worlds.NOW_US, worlds.SIGNALS).interest()
        weights = sp.csr_matrix(interest.T * np.float32(als.model.confidence_scale))
        counts, alpha = np.diff(weights.indptr), SMALL.confidence_scale
        penalty = als.model.regularization * (counts[:, None] + 8 / alpha) ** scaling
        items = solve(weights, people @ turn, (strength + penalty).astype(np.float32))
        expected = people @ turn @ items.T
        np.testing.assert_allclose(people @ als.item_factors.T, expected, atol=2e-3)

    @pytest.mark.parametrize("scaling", [0.0, 0.5, 1.0])
    def test_keeps_the_mean_penalty_whatever_the_scaling(self, log, scaling):
        options = SMALL.model_copy(update={"frequency_scaling": scaling})
        model = fit_als(worlds.past(log), options).model
        interest = log.histories(worlds.NOW_US, worlds.SIGNALS).interest()
        people, items = np.diff(interest.indptr), np.bincount(interest.indices)
        assert model.unobserved == pytest.approx(9 / SMALL.confidence_scale)
        own = model.penalty(people)
        other = replace(model, unobserved=8 / SMALL.confidence_scale).penalty(items)
        assert np.concatenate([own, other]).mean() == pytest.approx(0.1, rel=1e-5)
        assert (np.ptp(other) == 0) == (scaling == 0 or np.ptp(items) == 0)

    def test_is_the_same_on_any_number_of_cores(self, log, als, monkeypatch):
        monkeypatch.setattr(os, "cpu_count", lambda: 1)
        alone = fit_als(worlds.past(log, items=facts()), SMALL)
        np.testing.assert_array_equal(alone.factors, als.factors)

    def test_does_not_care_what_the_signals_weigh(self, log, als):
        louder = {
            n: s.model_copy(update={"weight": s.weight * 7}) for n, s in worlds.SIGNALS.items()
        }
        past = replace(worlds.past(log, items=facts()), signals=louder)
        np.testing.assert_allclose(fit_als(past, SMALL).factors, als.factors, rtol=1e-3, atol=1e-5)

    def test_needs_interest(self):
        with pytest.raises(CannotFit, match=r"^als: "):
            fit_als(worlds.past(worlds.timelines([[]])), SMALL)


class TestLeastSquares:
    @settings(max_examples=60, deadline=None)
    @given(
        lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30),
        factors=st.integers(1, 12),
        seed=st.integers(0, 2**16),
    )
    def test_solve_every_row_exactly_short_or_long(self, lengths, factors, seed):
        random = np.random.default_rng(seed)
        turn, strength = diagonal(y := random.normal(size=(40, factors)).astype(np.float32))
        y = y @ turn
        chosen = [random.choice(40, one, replace=False) for one in lengths]
        weights = sp.lil_matrix((len(lengths), 40), dtype=np.float32)
        for row, columns in enumerate(chosen):
            weights[row, columns] = random.choice([-1, 0.01, 1, 30], columns.size)
        weights = weights.tocsr()
        penalty = random.uniform(0.5, 3, (len(lengths), 1)).astype(np.float32)
        found = solve(weights, y, strength + penalty)
        for row, dense in enumerate(weights.toarray().astype(np.float64)):
            a = y.T @ y + penalty[row] * np.eye(factors) + (y.T * np.abs(dense)) @ y
            expected = np.linalg.solve(a.astype(np.float64), y.T @ np.maximum(dense, 0))
            np.testing.assert_allclose(found[row], expected, rtol=2e-3, atol=2e-4)
