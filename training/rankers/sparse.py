"""Rows of sparse matrices for one person, without making a matrix of them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.types import Float32, Float64, Int32, Int64, Interest, stretches, summed
from training.rankers.allowed import holds
from training.rankers.opinion import Few

_DENSE = 64  # so many items of the catalogue per amount


def mixed(own: Interest, matrix: sp.csr_matrix) -> Few:
    """The row of `own` times `matrix`: of the columns where that is above 0."""
    lengths, items, amounts = stretches(matrix.indptr, own.indices, matrix.indices, matrix.data)
    return few(items, amounts * np.repeat(own.data, lengths))


def few(items: Int32, amounts: Float32 | Float64) -> Few:
    """The sum of the amounts of each item, where it is above 0; both (m,), in any order."""
    if not items.size:
        return Few.nothing()
    if items.max() < _DENSE * items.size:  # counting is cheaper than sorting
        sums = np.bincount(items, amounts)
        liked = np.flatnonzero(sums > 0)
        return Few(liked.astype(np.int32), sums[liked].astype(np.float32))
    items, sums = summed(items, amounts)
    kept = sums > 0
    return Few(items[kept], sums[kept].astype(np.float32))


def sums_at(keys: Int64, amounts: Float32, wanted: Int64) -> Float64:
    """(len(wanted),) the sum of the `amounts` (m,) whose key (m,) is wanted; keys of -1 up."""
    if not keys.size:
        return np.zeros(wanted.size)
    most = int(max(keys.max(), wanted.max(initial=0))) + 2
    if most < _DENSE * (keys.size + wanted.size):
        return np.asarray(np.bincount(keys + 1, amounts, most)[wanted + 1], np.float64)
    ordered, sums = summed(keys, amounts.astype(np.float64))
    place = np.minimum(np.searchsorted(ordered, wanted), ordered.size - 1)
    found: Float64 = np.where(ordered[place] == wanted, sums[place], 0.0)
    return found


def cells_of(
    matrix: sp.csr_matrix | Interest, rows: NDArray[np.integer], columns: Int32
) -> Float32:
    """(len(rows), len(columns)) float32, dense: the matrix where they meet; no column twice."""
    lengths, there, data = stretches(matrix.indptr, rows, matrix.indices, matrix.data)
    found = np.zeros((len(rows), len(columns)), dtype=np.float32)
    if not columns.size or not there.size:
        return found
    order = np.argsort(columns)
    ordered = columns[order]
    hits = np.flatnonzero(holds(ordered, there))
    row = np.repeat(np.arange(len(rows)), lengths)[hits]
    found[row, order[np.searchsorted(ordered, there[hits])]] = data[hits]
    return found
