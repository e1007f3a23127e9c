"""Item neighbours: each weighting is what its formula says."""

from __future__ import annotations

import numpy as np
import pytest
import worlds
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

from features.training_options import NeighboursOptions
from training.fitting.neighbours import fit_neighbours

WEIGHTINGS = ("cosine", "tfidf", "bm25")


@pytest.fixture(scope="module")
def log():
    """Two tastes within 30 items, so that nobody has taken nearly all."""
    first = [[i for i in range(6) if i != gone] for gone in range(4)]
    return worlds.timelines([*first, *([i + 6 for i in one] for one in first)], n_items=30)


def similarity(log, **options):
    return fit_neighbours(worlds.past(log), NeighboursOptions(**options)).similarity.toarray()


def test_cosine_is_the_cosine_of_the_items_columns(log):
    interest = worlds.past(log).interest.toarray()[:, :12]
    unit = interest / np.linalg.norm(interest, axis=0)
    expected = np.zeros((30, 30))
    expected[:12, :12] = unit.T @ unit
    np.testing.assert_allclose(similarity(log, weighting="cosine"), expected, rtol=1e-5, atol=1e-7)


def test_bm25_is_the_formula(log):
    interest = worlds.past(log).interest
    counts = interest.toarray().astype(np.float64) / interest.data.mean()
    sizes = counts.sum(axis=0)
    length = 1 - 0.75 + 0.75 * sizes / sizes[:12].mean()
    idf = np.log(30) - np.log1p((counts > 0).sum(axis=1))
    weighted = counts * 2.2 / (1.2 * length + counts) * idf[:, None]
    np.testing.assert_allclose(
        similarity(log, weighting="bm25"), weighted.T @ weighted, rtol=1e-5, atol=1e-7
    )


@pytest.mark.filterwarnings("ignore:Method expects CSR input")  # it says so of its own matrices
@pytest.mark.parametrize(
    ("weighting", "theirs"),
    [
        ("cosine", CosineRecommender(K=30)),
        ("tfidf", TFIDFRecommender(K=30)),
        ("bm25", BM25Recommender(K=30, B=0)),  # its mean item counts those that nobody touched
    ],
)
def test_weightings_are_those_of_implicit(log, weighting, theirs):
    interest = worlds.past(log).interest
    theirs.fit((interest / interest.data.mean()).tocsr(), show_progress=False)
    found = similarity(log, weighting=weighting, length_share=0)
    np.testing.assert_allclose(found, theirs.similarity.toarray(), rtol=1e-4)


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_who_took_all_says_nothing(weighting):
    everything = worlds.timelines([range(20), range(20), [0, 1]], n_items=20)
    found = similarity(everything, weighting=weighting)
    assert found[0, 1] > 0
    assert found[2, 3] == 0


def test_keeps_the_nearest_ones_beside_the_item_itself(log):
    whole, few = (similarity(log, neighbours=n) for n in (30, 2))
    for row in range(12):
        kept = np.flatnonzero(few[row])
        assert kept.size == 3
        assert few[row, kept].min() >= np.delete(whole[row], kept).max()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_explanations_add_up_to_the_score(log, weighting):
    ranker = fit_neighbours(worlds.past(log), NeighboursOptions(weighting=weighting))
    people, shown = worlds.asking(log, [0]), np.array([0, 5], dtype=np.int32)
    parts = ranker.contributions(people.histories.interest(), shown)
    np.testing.assert_allclose(parts.sum(axis=0), ranker.score(people)[0, shown], rtol=1e-5)
