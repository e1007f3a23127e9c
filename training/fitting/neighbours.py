"""Fit item neighbours; implicit does the counting."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from implicit.nearest_neighbours import ItemItemRecommender

from features.home import Progress, silent
from features.training_options import NeighboursOptions
from features.types import Float64
from training.fitting import CannotFit
from training.past import Past
from training.rankers.neighbours import NeighboursRanker


def fit_neighbours(
    past: Past, options: NeighboursOptions, progress: Progress = silent
) -> NeighboursRanker:
    """Products of the items' weighted columns W of interest: similarity = W'W, `neighbours` a row.

    cosine: each column divided by its length (Sarwar, Karypis, Konstan & Riedl 2001)
    tfidf:  the same of sqrt(interest) * idf of the person
    bm25:   interest * (k1 + 1) / (interest + k1 * ((1 - b) + b * size of the item / mean size))
            * idf of the person (Robertson & Walker 1994, an item as a document of people), with
            interest over its mean, so that k1 means the same whatever the signals weigh

    idf = log(items) - log(1 + items of the person), from 0: who took all says nothing. These are
    the definitions of implicit.nearest_neighbours. Raises CannotFit without any interest.
    """
    del progress
    interest = past.interest
    if not interest.nnz:
        raise CannotFit("neighbours: nobody has shown interest in anything yet")
    if options.weighting == "bm25":
        weighted = _bm25(interest, options)
    else:
        weighted = unit_columns(_tf_idf(interest) if options.weighting == "tfidf" else interest)
    return NeighboursRanker(nearest(weighted, options.neighbours))


def nearest(weighted: sp.csr_matrix, neighbours: int) -> sp.csr_matrix:
    """(n_items, n_items) CSR float32: W'W of W (n_persons, n_items), the highest of each row.

    The item itself is among them, beside `neighbours` others.
    """
    model = ItemItemRecommender(K=min(neighbours + 1, weighted.shape[1]))
    model.fit(weighted.astype(np.float64), show_progress=False)
    similarity = sp.csr_matrix(model.similarity, dtype=np.float32)
    similarity.eliminate_zeros()
    similarity.sort_indices()
    return similarity


def unit_columns(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """`matrix` with every column that has anything of length 1; float64."""
    squares = np.asarray(matrix.multiply(matrix).sum(axis=0), dtype=np.float64).ravel()
    return scaled(matrix, np.ones(matrix.shape[0]), np.sqrt(squares))


def scaled(matrix: sp.csr_matrix, rows: Float64, columns: Float64) -> sp.csr_matrix:
    """float64: the matrix with its rows multiplied by `rows`, its columns divided by `columns`."""
    divided = np.divide(1.0, columns, out=np.zeros_like(columns), where=columns > 0)
    return sp.csr_matrix(sp.diags(rows) @ matrix.astype(np.float64) @ sp.diags(divided))


def _tf_idf(interest: sp.csr_matrix) -> sp.csr_matrix:
    return scaled(interest.sqrt(), _idf(interest), np.ones(interest.shape[1]))


def _bm25(interest: sp.csr_matrix, options: NeighboursOptions) -> sp.csr_matrix:
    counts = interest.astype(np.float64) / interest.data.mean(dtype=np.float64)
    sizes = np.asarray(counts.sum(axis=0)).ravel()
    length = 1 - options.length_share + options.length_share * sizes / sizes[sizes > 0].mean()
    slack = options.saturation * length[counts.indices]
    counts.data *= (options.saturation + 1) / (slack + counts.data)
    return scaled(counts, _idf(interest), np.ones(counts.shape[1]))


def _idf(interest: sp.csr_matrix) -> Float64:
    """(n_persons,) how much a person tells: little, if they took almost everything."""
    taken = np.diff(interest.indptr)
    return np.asarray(np.maximum(np.log(interest.shape[1]) - np.log1p(taken), 0), np.float64)
