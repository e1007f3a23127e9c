"""Fit ALS by conjugate gradients, in blocks on all cores; the result is the same on any number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from features.home import Progress, silent
from features.training_options import AlsOptions
from features.types import Bool, Float32, Int64
from training.fitting import CannotFit
from training.past import Past
from training.rankers.als import AlsModel, AlsRanker
from training.rankers.cores import each
from training.rankers.least_squares import blocks, diagonal, padded

_STEPS = 2  # of conjugate gradients per sweep, from where the last one ended; a third adds nothing
_START = 0.1  # of the first factors the standard deviation x the root of their number
_TINY = np.float32(1e-30)


def fit_als(past: Past, options: AlsOptions, progress: Progress = silent) -> AlsRanker:
    """Alternate least squares with a frequency-scaled penalty.

    As Rendle, Krichene, Zhang & Koren 2021 ("Revisiting the Performance of iALS on Item
    Recommendation Benchmarks", sec. 3), where what was observed is weighted by interest over its
    mean, so that the options mean the same whatever the signals weigh and however fast they fade.
    The penalty is normalised: its mean over people and items is `regularization`, whatever the
    scaling. Raises CannotFit without any interest.
    """
    interest, touched = past.interest, past.touched
    if not interest.nnz:
        raise CannotFit("als: nobody has shown interest in anything yet")
    by_person, by_item = _models(interest, options)
    people, items = _Side.of(interest, by_person), _Side.of(interest.T.tocsr(), by_item)
    random = np.random.default_rng(past.seed)
    x = np.zeros((interest.shape[0], options.factors), dtype=np.float32)
    y = random.standard_normal((interest.shape[1], options.factors), dtype=np.float32)
    y *= np.float32(_START / np.sqrt(options.factors)) * touched[:, None]
    with threadpool_limits(limits=1, user_api="blas"):  # small products: threads would only wait
        for sweep in range(options.sweeps):
            x, y = people.closer(x, y)
            y, x = items.closer(y, x)
            progress("als", (sweep + 1) / options.sweeps)
        turn, strength = diagonal(y)
        y = y @ turn
    factors = np.concatenate([y, _means(y, touched, past.items.categories)])
    return AlsRanker(factors, strength, touched, by_person, options.declared_weight)


@dataclass(frozen=True)
class _Side:
    """People, or items, whose factors are solved for given those of the other side.

    weights: (n, n_others) CSR float32, above 0      penalty: (n, 1) float32
    """

    weights: sp.csr_matrix
    penalty: Float32

    @classmethod
    def of(cls, interest: sp.csr_matrix, model: AlsModel) -> Self:
        weights = sp.csr_matrix(
            (model.weights(interest.data), interest.indices, interest.indptr), interest.shape
        )
        return cls(weights, model.penalty(np.diff(interest.indptr)))

    def closer(self, own: Float32, other: Float32) -> tuple[Float32, Float32]:
        """Both sides' factors, turned, and the own ones nearer to what `other` asks of them."""
        turn, strength = diagonal(other)
        own, other = own @ turn, other @ turn

        def one(rows: Int64) -> None:
            columns, weights = padded(self.weights, rows)
            ridge = strength + self.penalty[rows]
            own[rows] = _closer(own[rows], weights, other.take(columns, axis=0), ridge)

        each(one, blocks(self.weights, own.shape[1]))
        return own, other


def _closer(x: Float32, weights: Float32, factors: Float32, ridge: Float32) -> Float32:
    """A few steps of conjugate gradients towards each row's x, preconditioned by the ridge.

    (Hestenes & Stiefel 1952; for ALS Takács, Pilászy & Tikk 2011.) With `factors` turned, what the
    ridge leaves is of the rank of a row's entries: few steps go far.
    x, ridge: (b, f)     weights: (b, w)     factors: (b, w, f)     returns: (b, f)
    """

    def back(entries: Float32) -> Float32:
        return np.asarray((entries[:, None, :] @ factors)[:, 0])

    def scores(v: Float32) -> Float32:
        return np.asarray((factors @ v[:, :, None])[:, :, 0])

    left = back(weights * (1 - scores(x))) - ridge * x
    way = np.divide(left, ridge)
    size = _dot(left, way)
    for _ in range(_STEPS):
        push = ridge * way + back(weights * scores(way))
        step = np.divide(size, np.maximum(_dot(way, push), _TINY))
        x, left = x + step * way, left - step * push
        eased = np.divide(left, ridge)
        before, size = size, _dot(left, eased)
        way = eased + np.divide(size, np.maximum(before, _TINY)) * way
    return x


def _dot(left: Float32, right: Float32) -> Float32:
    """(b, 1) the products of the rows."""
    return np.asarray(np.einsum("bf,bf->b", left, right), dtype=np.float32)[:, None]


def _models(interest: sp.csr_matrix, options: AlsOptions) -> tuple[AlsModel, AlsModel]:
    """How people and how items are solved for."""
    alpha, nu = options.confidence_scale, options.frequency_scaling
    scale = alpha / float(interest.data.mean(dtype=np.float64))
    counts = [np.diff(interest.indptr), np.bincount(interest.indices)]
    people, items = (own[own > 0] for own in counts)
    free = items.size / alpha, people.size / alpha  # alpha_0 |I| of people, alpha_0 |U| of items
    weights = np.concatenate([(people + free[0]) ** nu, (items + free[1]) ** nu])
    unit = options.regularization / float(weights.mean())
    return AlsModel(scale, unit, free[0], nu), AlsModel(scale, unit, free[1], nu)


def _means(factors: Float32, touched: Bool, categories: sp.csr_matrix) -> Float32:
    """(n_categories, f) the mean factors of each category's touched items; 0 where none is."""
    members = sp.csr_matrix(categories.T.multiply(touched[None, :]))
    counts = np.asarray(members.sum(axis=1))
    return np.asarray((members @ factors) / np.maximum(counts, 1), dtype=np.float32)
