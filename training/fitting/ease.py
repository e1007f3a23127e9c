"""Fit EASE in closed form; LAPACK works in place, in single precision."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from features.home import Progress, silent
from features.training_options import EaseOptions
from features.types import Float32, Int32
from training.fitting import CannotFit
from training.past import Past
from training.rankers.ease import EaseRanker

_BLOCK = 512  # rows of the Gram matrix at once


def fit_ease(past: Past, options: EaseOptions, progress: Progress = silent) -> EaseRanker:
    """B = -P / diag(P) with P = (X'X + regularization I)^-1 and a zero diagonal (sec. 3.1).

    X is interest over its mean, to the power of `interest_power`, so that `regularization` means
    the same whatever the signals weigh. Only the `max_items` items with most interest are kept.
    Raises CannotFit without any interest.
    """
    interest = past.interest
    if not interest.nnz:
        raise CannotFit("ease: nobody has shown interest in anything yet")
    kept = _most_wanted(interest, options.max_items)
    known = interest[:, kept]
    known.data = (known.data / known.data.mean()) ** np.float32(options.interest_power)
    gram = _gram(known, lambda what, share: progress(what, share / 2))
    gram[np.diag_indices_from(gram)] += np.float32(options.regularization)
    weights = _inverse(gram)
    weights /= -weights.diagonal()  # column by column
    np.fill_diagonal(weights, 0)
    progress("ease", 1.0)
    return EaseRanker(weights, kept, options.interest_power)


def _most_wanted(interest: sp.csr_matrix, most: int) -> Int32:
    """Sorted indices of the at most `most` items with the most interest, of those with any."""
    total = np.asarray(interest.sum(axis=0)).ravel()
    order = np.argsort(-total, kind="stable")[:most]
    return np.sort(order[total[order] > 0]).astype(np.int32)


def _gram(known: sp.csr_matrix, progress: Progress) -> Float32:
    """X'X, dense: in blocks, since a sparse product takes several times its memory."""
    size = known.shape[1]
    gram = np.empty((size, size), dtype=np.float32)
    across = sp.csr_matrix(known.T)
    for begin in range(0, size, _BLOCK):
        (across[begin : begin + _BLOCK] @ known).toarray(out=gram[begin : begin + _BLOCK])
        progress("ease", min(1.0, (begin + _BLOCK) / size))
    return gram


def _inverse(matrix: Float32) -> Float32:
    """The inverse of a symmetric positive definite matrix, written over it."""
    # LAPACK reads columns first: to it the transposed view is the same matrix, and needs no copy
    factor, failed = lapack.spotrf(matrix.T, lower=True, clean=False, overwrite_a=True)
    if not failed:
        half, failed = lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed:
        raise CannotFit("ease: the Gram matrix is singular; raise `regularization`")
    for begin in range(0, len(half), _BLOCK):  # only the lower half has been written
        end = begin + _BLOCK
        half[begin:end, end:] = half[end:, begin:end].T
        corner = half[begin:end, begin:end]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
    inverse: Float32 = half.T
    return inverse
