"""What people told us, as a prior over categories that fades, and that behaviour can overrule.

NumPy and SciPy only: build and serving use it, for everybody and for one who asks now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse as sp

from features.options import Preferences
from features.types import (
    DAY_US,
    Bool,
    Float32,
    Float64,
    Int32,
    Int64,
    gather,
    nothing,
    row_numbers,
)


@dataclass(frozen=True)
class Declared:
    """Every answer that names a category, person by person; within a person by category and time.

    indptr: (n_persons + 1,) int64        categories: (m,) int32, category indices
    less:   (m,) bool, asks for less of the category, not for more
    answered_us: (m,) int64, microseconds since 1970 UTC
    """

    indptr: Int64
    categories: Int32
    less: Bool
    answered_us: Int64
    n_categories: int

    @classmethod
    def of(
        cls, persons: Int32, categories: Int32, less: Bool, answered_us: Int64, *,
        n_persons: int, n_categories: int,
    ) -> Self:  # fmt: skip
        """Sort answers, in any order, by person; all arrays (m,)."""
        order = np.lexsort((less, answered_us, categories, persons))
        lengths = np.bincount(persons, minlength=n_persons)
        return cls(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            categories[order].astype(np.int32), less[order].astype(np.bool_),
            answered_us[order].astype(np.int64), n_categories,
        )  # fmt: skip

    @classmethod
    def strangers(cls, rows: int, n_categories: int) -> Self:
        """`rows` people who said nothing."""
        return cls(
            np.zeros(rows + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.bool_),
            np.empty(0, np.int64), n_categories,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, rows: Int64) -> Declared:
        """The answers of the named people."""
        indptr, entries = gather(self.indptr, rows)
        return Declared(
            indptr, self.categories[entries], self.less[entries], self.answered_us[entries],
            self.n_categories,
        )  # fmt: skip


def declared_weights(
    declared: Declared, history_interest: Float32, now_us: int, options: Preferences
) -> sp.csr_matrix:
    """(n, n_categories) float32: what people told us, as it weighs at `now_us`; below 0: less.

    Of each category the newest answer up to `now_us` counts; of two in one moment the one that asks
    for less. It weighs `options.weight`, halved every half-life. All of a person's answers together
    are scaled down to at most `max_share` of the history's interest, but never below the weight of
    one fresh answer: so people without a history are heard, and nobody's prior jumps when theirs
    begins.

    history_interest: (n,) sum of each person's positive weights at `now_us`
    """
    if not declared.categories.size:
        return nothing(len(declared), declared.n_categories)
    rows = row_numbers(declared.indptr)
    known = np.flatnonzero(declared.answered_us <= now_us)
    cell = rows[known] * declared.n_categories + declared.categories[known]
    newest = known[np.diff(cell, append=-1) != 0]
    rows = rows[newest]
    sizes = _faded(now_us - declared.answered_us[newest], options)
    totals = np.bincount(rows, sizes, minlength=len(declared))
    most = np.maximum(options.max_share * history_interest.astype(np.float64), options.weight)
    scale = most / np.maximum(totals, most)
    signed = np.where(declared.less[newest], -sizes, sizes) * scale[rows]
    lengths = np.bincount(rows, minlength=len(declared))
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    shape = (len(declared), declared.n_categories)
    data = signed.astype(np.float32)
    return sp.csr_matrix((data, declared.categories[newest], indptr), shape=shape)


def _faded(ages_us: Int64, options: Preferences) -> Float64:
    """(m,) the weight of an answer of each age."""
    if options.half_life_days is None:
        return np.full(len(ages_us), options.weight)
    sizes: Float64 = options.weight * np.exp2(-ages_us / (options.half_life_days * DAY_US))
    return sizes
