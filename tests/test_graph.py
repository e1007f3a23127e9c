"""The graph filter: the formula of GF-CF, from item arrays alone."""

from __future__ import annotations

import numpy as np
import pytest
import worlds

from features.training_options import GraphOptions
from training.fitting import CannotFit
from training.fitting.graph import fit_graph


@pytest.fixture(scope="module")
def log():
    return worlds.two_tastes()


@pytest.mark.parametrize("low_pass", [0.0, 0.5])
@pytest.mark.parametrize("factors", [2, 128])
def test_scores_are_those_of_the_two_filters(log, low_pass, factors):
    past = worlds.past(log)
    ranker = fit_graph(past, GraphOptions(low_pass=low_pass, factors=factors))
    r = past.interest.toarray().astype(np.float64)
    people, items = np.sqrt(r.sum(axis=1)), np.sqrt(r.sum(axis=0))
    normal = r / people[:, None] / items
    _, _, axes = np.linalg.svd(normal, full_matrices=False)
    kept = axes[:factors]
    ideal = (kept.T @ kept) * items / items[:, None]
    expected = r @ (normal.T @ normal + low_pass * ideal)
    found = ranker.score(worlds.asking(log, range(8)))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_explanations_add_up_to_the_score(log):
    ranker = fit_graph(worlds.past(log), GraphOptions(low_pass=0.5, factors=2))
    people, shown = worlds.asking(log, [0]), np.array([0, 5], dtype=np.int32)
    parts = ranker.contributions(people.histories.interest(), shown)
    np.testing.assert_allclose(parts.sum(axis=0), ranker.score(people)[0, shown], rtol=1e-4)


def test_keeps_the_nearest_ones_of_the_linear_filter(log):
    whole, few = (
        fit_graph(worlds.past(log), GraphOptions(neighbours=n)).linear.toarray() for n in (50, 2)
    )
    for row in range(worlds.N_ITEMS):
        kept = np.flatnonzero(few[row])
        assert kept.size == 3
        assert few[row, kept].min() >= np.delete(whole[row], kept).max()


def test_needs_interest():
    with pytest.raises(CannotFit, match=r"^graph: "):
        fit_graph(worlds.past(worlds.timelines([[]])), GraphOptions())
