"""Weighted ridge regressions, one per row of a sparse matrix, solved exactly and in blocks.

Every row of `weights` asks for the x that minimises, with y the factors of a column,

    sum over all columns (x'y)^2  +  sum over the row's |w| (x'y - [w > 0])^2  +  penalty |x|^2

so x = (Y'Y + penalty I + Y' diag(|w|) Y)^-1 Y' max(w, 0): an entry of a weight above 0 is wanted,
one below 0 is not. ALS folds people in with it. The factors are turned beforehand so that Y'Y is
diagonal (`diagonal`): then Y'Y + penalty I, the `ridge`, is a vector, whatever the penalty of a
row, and a row with few entries is a small system.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.linalg.lapack import sposv

from features.types import Float32, Int32, Int64, Interest
from training.rankers.cores import each

_BLOCK = 1 << 18  # floats of gathered factors at once: they stay in a core's cache
_STRETCH = 1.15  # a block's rows are padded to the longest of them: so many times the shortest


def diagonal(factors: Float32) -> tuple[Float32, Float32]:
    """The rotation (f, f) that makes Y'Y of `factors` (n, f) diagonal; and that diagonal (f,).

    The strongest axis comes first. Products of two sides that are both turned stay what they are.
    """
    strength, axes = np.linalg.eigh((factors.T @ factors).astype(np.float64))
    return axes[:, ::-1].astype(np.float32), np.maximum(strength[::-1], 0).astype(np.float32)


def blocks(weights: sp.csr_matrix | Interest, width: int) -> Iterator[Int64]:
    """Rows that have entries, of similar length, so many that cache holds `width` floats of each.

    width: floats per entry
    """
    lengths = np.diff(weights.indptr)
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    start = int(np.searchsorted(ordered, 1))
    while start < order.size:
        longest = int(ordered[start] * _STRETCH)
        most = start + max(1, _BLOCK // (longest * width))
        end = min(most, int(np.searchsorted(ordered, longest, side="right")))
        yield order[start:end]
        start = end


def padded(weights: sp.csr_matrix | Interest, rows: Int64) -> tuple[Int32, Float32]:
    """Columns and weights of `rows` (b,), both (b, longest); beyond a row's end the weight is 0.

    Every one of the rows must have an entry.
    """
    starts, lengths = weights.indptr[rows], weights.indptr[rows + 1] - weights.indptr[rows]
    places = np.arange(lengths.max())
    beyond = places >= lengths[:, None]
    taken = np.where(beyond, starts[:, None], starts[:, None] + places)
    own = weights.data[taken]
    own[beyond] = 0
    return weights.indices[taken], own


def solve(weights: sp.csr_matrix | Interest, factors: Float32, ridge: Float32) -> Float32:
    """(n, f) float32: each row's x, exactly; 0 for rows that want nothing.

    weights: (n, columns) CSR float32      factors: (columns, f) float32, turned
    ridge:   (n, f) float32, the diagonal of Y'Y + penalty I, above 0
    """
    if len(ridge) == 1:
        return _one(weights.data, factors.take(weights.indices, axis=0), ridge)
    found = np.zeros_like(ridge)

    def one(rows: Int64) -> None:
        columns, own = padded(weights, rows)
        way = _few if columns.shape[1] < factors.shape[1] else _many
        found[rows] = way(own, factors.take(columns, axis=0), ridge[rows])

    each(one, blocks(weights, factors.shape[1]))
    return found


def _one(weights: Float32, factors: Float32, ridge: Float32) -> Float32:
    """The only row. weights: (w,)     factors: (w, f)     ridge: (1, f)     returns: (1, f)"""
    if not weights.size:
        return np.zeros_like(ridge)
    if len(factors) >= factors.shape[1]:
        return _many(weights[None], factors[None], ridge)
    root = np.reciprocal(np.sqrt(ridge[0]))
    size = np.sqrt(np.abs(weights))
    scaled: Float32 = factors * size[:, None] * root
    pull = _solved(_plus_one(scaled @ scaled.T), np.maximum(weights / size, 0))
    return np.asarray((pull @ scaled * root)[None], dtype=np.float32)


def parts(weights: Float32, factors: Float32, ridge: Float32, others: Float32) -> Float32:
    """(w, k) what each entry of a row, all wanted, adds to the products of its x with `others`.

    With A the system of the row, an entry's part is y_i' A^-1 w_h y_h (Hu, Koren & Volinsky 2008,
    sec. 5). For few entries that is, by the Woodbury identity, (I + W K)^-1 W Y D^-1 y_i (`_few`).

    weights: (w,)     factors: (w, f)     ridge: (f,)     others: (k, f), the y_i
    """
    if len(factors) >= factors.shape[1]:
        whole = np.asarray(np.diag(ridge) + (factors.T * weights) @ factors, np.float32)
        return np.asarray((factors @ _solved(whole, others.T)) * weights[:, None])
    root, size = np.reciprocal(np.sqrt(ridge)), np.sqrt(weights)[:, None]
    scaled: Float32 = factors * size * root
    return np.asarray(size * _solved(_plus_one(scaled @ scaled.T), scaled @ (others * root).T))


def _plus_one(system: Float32) -> Float32:
    """The system with 1 added to its diagonal, in place."""
    system.flat[:: len(system) + 1] += 1
    return system


def _solved(system: Float32, wanted: Float32) -> Float32:
    """X of `system` x = `wanted`, symmetric and positive definite: a few numbers, by Cholesky.

    NumPy's way to LAPACK takes longer than LAPACK does here.
    """
    _, found, failed = sposv(system, wanted)
    return np.asarray(np.linalg.solve(system, wanted) if failed else found)


def _few(weights: Float32, factors: Float32, ridge: Float32) -> Float32:
    """Rows with fewer entries than factors, as systems of the size of their entries.

    By the Woodbury identity x = D^-1 Y' (I + |W| K)^-1 max(w, 0), with K = Y D^-1 Y', D the ridge.
    weights: (b, w)     factors: (b, w, f)     ridge: (b, f)     returns: (b, f)
    """
    root = 1 / np.sqrt(ridge)
    factors *= root[:, None, :]
    system = np.abs(weights)[:, :, None] * (factors @ factors.swapaxes(1, 2))
    own = np.arange(weights.shape[1])
    system[:, own, own] += 1
    pull = np.linalg.solve(system, np.maximum(weights, 0)[:, :, None])
    return np.asarray((pull.swapaxes(1, 2) @ factors)[:, 0] * root, dtype=np.float32)


def _many(weights: Float32, factors: Float32, ridge: Float32) -> Float32:
    """Rows with more entries than factors, as systems of the size of the factors."""
    system = (factors * np.abs(weights)[:, :, None]).swapaxes(1, 2) @ factors
    own = np.arange(ridge.shape[1])
    system[:, own, own] += ridge
    wanted = (np.maximum(weights, 0)[:, None, :] @ factors).swapaxes(1, 2)
    return np.asarray(np.linalg.solve(system, wanted)[:, :, 0], dtype=np.float32)
