"""The best k of many scores, exactly, without sorting them all; rows at once, equal ones stably."""

from __future__ import annotations

import numpy as np

from features.types import Bool, Float32, Int64

_STEP = 64  # every 64th score is looked at to guess where the cut will be
_SHORT = 2048  # scores of a row; so few are all looked at
_NONE = np.iinfo(np.int64).min  # the key of what is not there


def best(scores: Float32, k: int) -> Int64:
    """Indices of the k highest scores, best first; equal scores in index order; NaN never.

    scores: (n,) float32        returns: (at most k,) int64
    """
    found = best_of_rows(scores[None], k, np.empty(0, np.int64))[0]
    return np.asarray(found[found >= 0])


def best_of_rows(scores: Float32, k: int, excluded: Int64) -> Int64:
    """The indices of each row's k highest scores, best first, as `best`; -1 where there are fewer.

    scores:   (b, n) float32            returns: (b, k) int64
    excluded: (m,) int64, sorted, row * n + index of scores that do not count

    The cut is guessed from a sample of each row, so that only the few above it are sorted; rows for
    which the guess leaves too few are looked at as a whole. The result is exact either way.
    """
    rows, n = scores.shape
    found = np.full((rows, k), -1, dtype=np.int64)
    rest = np.arange(rows)
    if n >= _SHORT and 8 * k <= n:
        keys, enough = _above_guess(scores, k, excluded)
        found[enough] = _indices(keys[enough], k, n)
        rest = np.flatnonzero(~enough)
    if rest.size:
        found[rest, : min(k, n)] = _indices(_all(scores, rest, excluded), k, n)
    return found


def _above_guess(scores: Float32, k: int, excluded: Int64) -> tuple[Int64, Bool]:
    """Keys (b, w) of the scores above the guessed cut of each row; (b,) are they k at least?"""
    rows, n = scores.shape
    sample = -scores[:, ::_STEP]
    rank = min(4 + k * 2 // _STEP, sample.shape[1])
    cut = -np.partition(sample, rank - 1, axis=1)[:, rank - 1]  # NaN sorts last: it may be NaN
    chosen = np.flatnonzero(scores >= cut[:, None])
    if excluded.size and chosen.size:
        place = np.minimum(np.searchsorted(chosen, excluded), chosen.size - 1)
        chosen = np.delete(chosen, place[chosen[place] == excluded])
    row, column = np.divmod(chosen, n)
    counts = np.bincount(row, minlength=rows)
    keys = np.full((rows, max(k, counts.max())), _NONE, dtype=np.int64)
    within = np.arange(chosen.size) - np.repeat(np.cumsum(counts) - counts, counts)
    keys[row, within] = _keys(scores[row, column], column, n)
    return keys, counts >= k


def _all(scores: Float32, rows: Int64, excluded: Int64) -> Int64:
    """Keys (len(rows), n) of all scores of the named rows."""
    n = scores.shape[1]
    own = scores[rows]
    keys = np.where(np.isnan(own), _NONE, _keys(own, np.arange(n), n))
    row, column = np.divmod(excluded, max(n, 1))
    place = np.minimum(np.searchsorted(rows, row), rows.size - 1)
    named = rows[place] == row
    keys[place[named], column[named]] = _NONE
    return keys


def _keys(scores: Float32, columns: Int64, n: int) -> Int64:
    """One number per score that sorts as (score, earlier column); `scores` have no NaN that counts.

    The bits of a float sort as an integer once those of the negative ones are turned round.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # -0 becomes 0: they are equal
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return (ordered.astype(np.int64) << 32) | (n - 1 - columns)


def _indices(keys: Int64, k: int, n: int) -> Int64:
    """The columns that the highest k keys of each row stand for, best first; -1 for none."""
    k = min(k, keys.shape[1])
    if keys.shape[1] > 4 * k:
        keys = np.partition(keys, keys.shape[1] - k, axis=1)[:, keys.shape[1] - k :]
    highest = np.sort(keys, axis=1)[:, ::-1][:, :k]
    return np.where(highest == _NONE, -1, n - 1 - (highest & 0xFFFFFFFF))
