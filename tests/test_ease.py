"""EASE: the closed form, in single precision and in place, for the items it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import worlds

from features.training_options import EaseOptions
from training.fitting import CannotFit
from training.fitting.ease import fit_ease


@pytest.fixture(scope="module")
def log():
    return worlds.two_tastes()


def closed_form(interest, regularization, power):
    """B of Steck 2019, sec. 3.1, in double precision."""
    x = (interest.toarray().astype(np.float64) / interest.data.mean()) ** power
    inverse = np.linalg.inv(x.T @ x + regularization * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("regularization", [0.1, 10.0])
def test_weights_are_those_of_the_closed_form(log, regularization, power):
    options = EaseOptions(regularization=regularization, interest_power=power)
    ranker = fit_ease(worlds.past(log), options)
    expected = closed_form(worlds.past(log).interest, regularization, power)
    np.testing.assert_allclose(ranker.weights, expected, rtol=1e-3, atol=1e-5)
    assert ranker.weights.dtype == np.float32


def test_single_precision_is_enough_for_many_items():
    """More items than a block of the inverse, and popularity as steep as in a shop."""
    random = np.random.default_rng(0)
    items = (1200 * random.random((3000, 20)) ** 3).astype(int)
    past = worlds.past(worlds.timelines([np.unique(row) for row in items], n_items=1200))
    ranker = fit_ease(past, EaseOptions(regularization=30.0, interest_power=1.0))
    interest = past.interest[:, ranker.kept]
    np.testing.assert_allclose(ranker.weights, closed_form(interest, 30.0, 1.0), atol=1e-4)


def test_a_history_is_the_sum_of_its_items_rows(log):
    ranker = fit_ease(worlds.past(log), EaseOptions(regularization=1.0, interest_power=0.5))
    people = worlds.asking(log, [0])
    interest = people.histories.interest()
    expected = np.sqrt(interest.toarray()) @ ranker.weights
    np.testing.assert_allclose(ranker.score(people), expected, rtol=1e-4, atol=1e-6)
    shown = np.array([0, 5], dtype=np.int32)
    parts = ranker.contributions(interest, shown)
    np.testing.assert_allclose(parts.sum(axis=0), expected[0, shown], rtol=1e-4, atol=1e-6)


def test_only_the_most_wanted_items_are_kept():
    log = worlds.timelines([[0, 1, 3], [0, 1, 3], [0, 1, 5], [1, 3]], n_items=7)
    ranker = fit_ease(worlds.past(log), EaseOptions(regularization=1.0, max_items=3))
    assert ranker.kept.tolist() == [0, 1, 3]
    known, unknown = ranker.score(worlds.asking(log, [2, -1], [[], [5]]))
    assert np.isnan(known[[2, 4, 5, 6]]).all()
    assert not np.isnan(known[[0, 1, 3]]).any()
    assert np.isnan(unknown).all(), "its history is of an item that was not kept"
    own = worlds.asking(log, [2]).histories.interest()
    parts = ranker.contributions(own, np.array([3, 5], dtype=np.int32))
    assert parts[:, 1].tolist() == [0, 0, 0], "nothing is said of what was not kept"
    assert parts[list(own.indices).index(5), 0] == 0, "nor by it"


def test_needs_interest():
    with pytest.raises(CannotFit, match=r"^ease: "):
        fit_ease(worlds.past(worlds.timelines([[]])), EaseOptions())
