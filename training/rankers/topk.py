"""The best k of many scores, exactly, without partitioning them all."""

from __future__ import annotations

import numpy as np

from features.types import Float32, Int64

_STEP = 64  # every 64th score is looked at to guess where the cut will be


def best(scores: Float32, k: int) -> Int64:
    """Indices of the k highest scores, best first; equal scores in index order; NaN never.

    scores: (n,) float32        returns: (at most k,) int64
    The cut is guessed from a sample, so that only the few above it are sorted; a guess that leaves
    too few is dropped. The result is exact either way.
    """
    chosen = _above_guess(scores, k)
    if chosen is None:
        chosen = np.flatnonzero(~np.isnan(scores))
    if chosen.size > 4 * k:
        chosen = _at_least(scores, chosen, k)
    order = np.argsort(-scores[chosen], kind="stable")
    return chosen[order[:k]]


def _above_guess(scores: Float32, k: int) -> Int64 | None:
    if scores.size < 2048 or k * 8 > scores.size:
        return None
    sample = scores[::_STEP]
    rank = min(2 + 2 * k // _STEP + 2, sample.size)
    guess = np.partition(-sample, rank - 1)[rank - 1]  # NaN sorts last, so the guess may be NaN
    chosen = np.flatnonzero(scores >= -guess)
    return chosen if chosen.size >= k else None


def _at_least(scores: Float32, chosen: Int64, k: int) -> Int64:
    """Those of `chosen` that reach the k-th highest score, ties and all, in index order."""
    values = scores[chosen]
    cut = np.partition(values, values.size - k)[values.size - k]
    kept: Int64 = chosen[values >= cut]
    return kept
