"""The best k of many scores, exactly, without sorting them all; rows at once, equal ones stably."""

from __future__ import annotations

import numpy as np

from features.types import Bool, Float32, Int64

_STEP = 64  # every 64th score is looked at to guess where the cut will be
_SHORT = 2048  # scores of a row; so few are all looked at
_NONE = np.iinfo(np.int64).min  # the key of what is not there


def best(
    scores: Float32, k: int, excluded: Int64 | None = None, open_: Bool | None = None
) -> Int64:
    """Indices of the k highest scores, best first; equal scores in index order; NaN never.

    scores: (n,) float32        excluded: (m,) int64, sorted, and open_: as in `best_of_rows`
    returns: (at most k,) int64
    """
    if _guessable(scores.size, k):
        cut = _cut(scores[None], k, open_)
        if cut is not None:
            chosen = _kept(np.flatnonzero(scores >= cut), excluded, open_)
            if chosen.size >= k:
                return _first(chosen, scores, k)
    if excluded is None and open_ is None:
        return _first(np.flatnonzero(~np.isnan(scores)), scores, k)
    chosen = _kept(np.arange(scores.size), excluded, open_)
    return _first(chosen[~np.isnan(scores[chosen])], scores, k)


def highest(scores: Float32, k: int) -> Float32:
    """The k highest of `scores` (n,), highest first; NaN never."""
    own = -scores
    if _guessable(scores.size, k):
        cut = _cut(scores[None], k, None)
        above = own[own <= -cut[0]] if cut is not None else own
        own = above if above.size >= k else own
    if own.size > 4 * k:
        own.partition(k)  # NaN sorts last
        own = own[:k]
    own.sort()
    own = own[:k]
    return -own[: np.count_nonzero(own == own)]


def _guessable(n: int, k: int) -> bool:
    return n >= _SHORT and 8 * k <= n


def _cut(scores: Float32, k: int, open_: Bool | None) -> Float32 | None:
    """(b, 1) a guess at the k-th highest score of each row, rather too low; it may be NaN."""
    sample = -scores[:, ::_STEP]
    if open_ is not None:
        sample = sample[:, open_[::_STEP]]
    rank = min(4 + k * 2 // _STEP, sample.shape[1])
    if not rank:
        return None
    sample.partition(rank - 1, axis=1)  # NaN sorts last
    return -sample[:, rank - 1 : rank]


def _kept(chosen: Int64, excluded: Int64 | None, open_: Bool | None) -> Int64:
    """Of `chosen` indices, sorted, those that are open and not excluded."""
    if open_ is not None:
        chosen = chosen[open_[chosen]]
    if excluded is not None and excluded.size and chosen.size:
        place = np.minimum(chosen.searchsorted(excluded), chosen.size - 1)
        kept = np.ones(chosen.size, np.bool_)
        kept[place[chosen[place] == excluded]] = False
        chosen = chosen[kept]
    return chosen


def _first(chosen: Int64, scores: Float32, k: int) -> Int64:
    """The k of `chosen` indices, sorted, with the highest scores, none NaN; equal ones in order."""
    own = scores[chosen]
    if chosen.size > 4 * k > 0:
        enough = own >= np.partition(own, chosen.size - k)[chosen.size - k]
        chosen, own = chosen[enough], own[enough]
    return chosen[(-own).argsort(kind="stable")[:k]]


def best_of_rows(scores: Float32, k: int, excluded: Int64, open_: Bool | None = None) -> Int64:
    """The indices of each row's k highest scores, best first, as `best`; -1 where there are fewer.

    scores:   (b, n) float32            returns: (b, k) int64
    excluded: (m,) int64, sorted, row * n + index of scores that do not count
    open_:    (n,) bool, False: the score counts in no row; None: all do

    The cut is guessed from a sample of each row, so that only the few above it are sorted; rows for
    which the guess leaves too few are looked at as a whole. The result is exact either way.
    """
    rows, n = scores.shape
    found = np.full((rows, k), -1, dtype=np.int64)
    if rows == 1:
        own = best(scores[0], k, excluded, open_)
        found[0, : own.size] = own
        return found
    rest = np.arange(rows)
    if _guessable(n, k):
        keys, enough = _above_guess(scores, k, excluded, open_)
        found[enough] = _indices(keys[enough], k, n)
        rest = np.flatnonzero(~enough)
    if rest.size:
        found[rest, : min(k, n)] = _indices(_all(scores, rest, excluded, open_), k, n)
    return found


def _above_guess(
    scores: Float32, k: int, excluded: Int64, open_: Bool | None
) -> tuple[Int64, Bool]:
    """Keys (b, w) of the scores above the guessed cut of each row; (b,) are they k at least?"""
    rows, n = scores.shape
    cut = _cut(scores, k, open_)
    if cut is None:
        return np.full((rows, k), _NONE), np.zeros(rows, np.bool_)
    chosen = np.flatnonzero(scores >= cut)
    if open_ is not None:
        chosen = chosen[open_[chosen % n]]
    if excluded.size and chosen.size:
        place = np.minimum(np.searchsorted(chosen, excluded), chosen.size - 1)
        chosen = np.delete(chosen, place[chosen[place] == excluded])
    row, column = np.divmod(chosen, n)
    counts = np.bincount(row, minlength=rows)
    keys = np.full((rows, max(k, counts.max())), _NONE, dtype=np.int64)
    within = np.arange(chosen.size) - np.repeat(np.cumsum(counts) - counts, counts)
    keys[row, within] = _keys(scores[row, column], column, n)
    return keys, counts >= k


def _all(scores: Float32, rows: Int64, excluded: Int64, open_: Bool | None) -> Int64:
    """Keys (len(rows), n) of all scores of the named rows."""
    n = scores.shape[1]
    own = scores[rows]
    silent = np.isnan(own) if open_ is None else np.isnan(own) | ~open_
    keys = np.where(silent, _NONE, _keys(own, np.arange(n), n))
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
