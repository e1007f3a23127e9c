"""What a peer is, and what all of them share: plain user-item matrices and ordered feeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
import scipy.sparse as sp

from benchmarks.quality.moments import Moment
from features.options import Signal
from features.timelines import Timelines
from features.types import Float32, Histories, Int32, Ragged
from training.evaluation.protocol import Task
from training.policy import kept_away

SIZE = 20
WEIGHTINGS = ["binary", "count", "signal"]
Settings = Mapping[str, Any]


class Fitted(Protocol):
    """A fitted peer."""

    def feeds(self, task: Task) -> Int32:
        """(n, SIZE) items, best first, -1 where it has no more to say; nothing kept away."""


class Peer(Protocol):
    """A way of making feeds that a user could pick instead of ours.

    firsts: settings that are tried first: its own defaults        whole_space: there are no others
    """

    @property
    def name(self) -> str:
        """How tables call it."""

    @property
    def firsts(self) -> Sequence[Settings]:
        """Tried before any others."""

    @property
    def whole_space(self) -> bool:
        """Are there no others?"""

    def suggest(self, trial: optuna.Trial) -> Settings:
        """One point of its space of settings."""

    def fit(self, moment: Moment, settings: Settings) -> Fitted:
        """Learn from what lies before `moment.cut_us`."""


class Scoring:
    """A fitted peer that says a number for every item."""

    def scores(self, task: Task) -> Float32:
        """(n, n_items), higher is better, NaN where it has nothing to say."""
        raise NotImplementedError

    def feeds(self, task: Task) -> Int32:
        """The best items that are not kept away; equal scores in catalogue order."""
        return best(self.scores(task), kept_away(task.people, task.terms), SIZE)


def best(scores: Float32, excluded: Ragged, size: int) -> Int32:
    """(n, size) items by score, without the excluded ones of each row; -1 where none is left."""
    scores = scores.copy()
    for row in range(len(scores)):
        scores[row, excluded.row(row)] = np.nan
    order = np.argsort(-scores, axis=1, kind="stable")[:, :size].astype(np.int32)
    order[np.isnan(np.take_along_axis(scores, order, axis=1))] = -1
    if order.shape[1] < size:
        order = np.pad(order, ((0, 0), (0, size - order.shape[1])), constant_values=-1)
    return order


def filled(feeds: Int32, rest: Int32) -> Int32:
    """`feeds` with their gaps filled from the longer lists `rest`, as a shop would do."""
    out = feeds.copy()
    for row in np.flatnonzero((feeds < 0).any(axis=1)):
        own = feeds[row][feeds[row] >= 0]
        more = rest[row][(rest[row] >= 0) & ~np.isin(rest[row], own)]
        both = np.concatenate([own, more])[: feeds.shape[1]]
        out[row, : both.size] = both
        out[row, both.size :] = -1
    return out


def user_items(
    log: Timelines | Histories, signals: Mapping[str, Signal], weighting: str
) -> sp.csr_matrix:
    """(n, n_items) CSR float32 of positive events.

    binary: 1 if there is any        count: how many        signal: their weights, summed
    """
    weight = np.array([max(s.weight, 0.0) for s in signals.values()], dtype=np.float32)
    value = weight if weighting == "signal" else (weight > 0).astype(np.float32)
    shape = (len(log.indptr) - 1, log.n_items)
    matrix = sp.csr_matrix((value[log.signals], log.items, log.indptr), shape=shape, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if weighting == "binary":
        matrix.data[:] = 1
    return matrix
