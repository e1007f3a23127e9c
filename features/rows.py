"""Rows of different lengths in flat arrays: finding, copying and summing their entries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

_FEW_ROWS = 128  # so many stretches are copied faster than their entries are looked up
Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


def row_numbers(indptr: NDArray[np.integer]) -> Int64:
    """(m,) the row of every entry of a ragged array."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def gather(indptr: NDArray[np.integer], rows: NDArray[np.integer]) -> tuple[Int64, Int64]:
    """New `indptr` of the chosen rows, and the positions of their entries in the old arrays."""
    if rows.size == 1:  # as of a request: the same in fewer steps
        begin, end = int(indptr[rows[0]]), int(indptr[rows[0] + 1])
        return np.array([0, end - begin]), np.arange(begin, end)
    lengths = indptr[rows + 1] - indptr[rows]
    taken = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return taken, np.arange(taken[-1]) + np.repeat(indptr[rows] - taken[:-1], lengths)


def stretches(
    indptr: NDArray[np.integer], rows: NDArray[np.integer], keys: Int32, amounts: NDArray[Any]
) -> tuple[Int64, Int32, NDArray[Any]]:
    """(len(rows),) lengths of the named rows, then their keys and amounts, row after row.

    What `gather` finds, in fewer steps where rows are few: whole stretches are copied.
    """
    if rows.size > _FEW_ROWS or not rows.size:
        taken, entries = gather(indptr, rows)
        return np.diff(taken), keys[entries], amounts[entries]
    begins, ends = indptr[rows].astype(np.int64), indptr[rows + 1].astype(np.int64)
    parts = [slice(*one) for one in zip(begins.tolist(), ends.tolist(), strict=True)]
    return (
        ends - begins,
        np.concatenate([keys[part] for part in parts]),
        np.concatenate([amounts[part] for part in parts]),
    )


def summed(keys: NDArray[Any], amounts: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The distinct `keys` (m,), ascending, and the sum of each one's `amounts` (m,)."""
    if not keys.size:
        return keys, amounts
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    opens = np.ones(keys.size, np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=opens[1:])
    begins = np.flatnonzero(opens)
    return keys[begins], np.add.reduceat(amounts[order], begins)


def only_rows(matrix: sp.csr_matrix, kept: NDArray[np.bool_]) -> sp.csr_matrix:
    """The same with nothing in the rows that are not in `kept` (n,)."""
    if not matrix.nnz:
        return matrix
    found = sp.csr_matrix(sp.diags(kept.astype(matrix.dtype)) @ matrix)
    found.eliminate_zeros()
    return found


@lru_cache(maxsize=32)
def nothing(rows: int, columns: int) -> sp.csr_matrix:
    """A (rows, columns) float32 matrix without entries; one for all who ask, not to be changed."""
    indices = np.empty(0, dtype=np.int32)
    indptr = np.zeros(rows + 1, dtype=np.int32)
    return sp.csr_matrix((np.empty(0, np.float32), indices, indptr), shape=(rows, columns))


@dataclass(frozen=True)
class Interest:
    """How much of each row's interest each item has: what a CSR matrix holds, made for nothing.

    indptr: (n + 1,) integers        indices: (m,) int32, ascending and distinct in a row
    data:   (m,) float32, above 0
    """

    indptr: NDArray[np.integer]
    indices: Int32
    data: Float32

    @classmethod
    def of(cls, matrix: sp.csr_matrix) -> Self:
        """The same entries, as they lie there."""
        return cls(matrix.indptr, matrix.indices, matrix.data)

    @property
    def nnz(self) -> int:
        """How many entries there are."""
        return self.indices.size

    def times(self, scale: float) -> Interest:
        """The same, each entry so many times as much."""
        return Interest(self.indptr, self.indices, self.data * np.float32(scale))

    def beside(self, other: Interest, width: int) -> Interest:
        """Each row followed by that of `other`, whose columns begin at `width`."""
        order = np.argsort(
            np.concatenate([row_numbers(self.indptr), row_numbers(other.indptr)]), kind="stable"
        )
        indices = np.concatenate([self.indices, other.indices + np.int32(width)])
        data = np.concatenate([self.data, other.data])
        return Interest(self.indptr + other.indptr, indices[order], data[order])

    def row(self, row: int) -> Interest:
        """One row of it."""
        if len(self.indptr) == 2:
            return self
        own = slice(self.indptr[row], self.indptr[row + 1])
        indices = self.indices[own]
        return Interest(np.array([0, indices.size]), indices, self.data[own])
