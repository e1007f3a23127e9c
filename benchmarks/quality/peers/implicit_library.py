"""ALS, BM25 and cosine neighbours of the library `implicit`: its own fit and its own recommend."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from implicit.utils import ParameterWarning
from threadpoolctl import threadpool_limits

from benchmarks.quality.moments import Moment
from benchmarks.quality.peers.base import WEIGHTINGS, Scoring, Settings, user_items
from features.options import Signal
from features.types import Float32
from training.evaluation.protocol import Task


@dataclass(frozen=True)
class Recommending(Scoring):
    """A fitted model of the library."""

    model: Any
    signals: dict[str, Signal]
    weighting: str

    def scores(self, task: Task) -> Float32:
        """What `recommend` says of the whole catalogue; NaN where it lists an item not at all.

        A person is a row of the matrix: `recalculate_user` folds it in, known or not. The library
        pads short lists of neighbours with item 0 and score 0, and an empty row has nothing.
        """
        rows = user_items(task.people.queries.histories, self.signals, self.weighting)
        n, n_items = rows.shape
        ids, values = self.model.recommend(
            np.arange(n), rows, N=n_items, filter_already_liked_items=False, recalculate_user=True
        )
        said = (ids >= 0) & (values != 0) & (values > np.finfo(np.float32).min / 2)
        said &= (np.diff(rows.indptr) > 0)[:, None]
        scores = np.full((n, n_items), np.nan, dtype=np.float32)
        row, _ = np.nonzero(said)
        scores[row, ids[said]] = values[said]
        return scores


@dataclass(frozen=True)
class FromImplicit:
    """A model of the library with its space of settings; the first trial is its own defaults."""

    name: str
    make: Callable[[Settings, int], Any]
    space: Callable[[optuna.Trial], dict[str, Any]]
    firsts: tuple[Settings, ...]
    whole_space: bool = False

    def suggest(self, trial: optuna.Trial) -> Settings:
        """Settings of the model, and how events become a matrix."""
        weighting = trial.suggest_categorical("weighting", WEIGHTINGS)
        return {"weighting": weighting} | self.space(trial)

    def fit(self, moment: Moment, settings: Settings) -> Recommending:
        """The library's own fit."""
        past, weighting = moment.past, settings["weighting"]
        options = {name: value for name, value in settings.items() if name != "weighting"}
        matrix = user_items(past.timelines, past.signals, weighting)
        with threadpool_limits(1, "blas"), warnings.catch_warnings():  # as the library advises
            model = self.make(options, past.seed)
            warnings.simplefilter("ignore", ParameterWarning)  # it complains of its own matrices
            model.fit(matrix[np.diff(matrix.indptr) > 0], show_progress=False)
        return Recommending(model, past.signals, weighting)


def _als_space(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "factors": trial.suggest_int("factors", 8, 256, log=True),
        "regularization": trial.suggest_float("regularization", 1e-3, 100, log=True),
        "alpha": trial.suggest_float("alpha", 0.3, 100, log=True),
        "iterations": trial.suggest_int("iterations", 5, 30),
    }


def _cosine_space(trial: optuna.Trial) -> dict[str, Any]:
    return {"K": trial.suggest_int("K", 10, 1000, log=True)}


def _bm25_space(trial: optuna.Trial) -> dict[str, Any]:
    return _cosine_space(trial) | {
        "K1": trial.suggest_float("K1", 0.05, 100, log=True),
        "B": trial.suggest_float("B", 0, 1),
    }


ALS = FromImplicit(
    "implicit ALS",
    lambda options, seed: AlternatingLeastSquares(**options, random_state=seed),
    _als_space,
    ({"weighting": "binary", "factors": 100, "regularization": 0.01, "alpha": 1.0,
     "iterations": 15},),
)  # fmt: skip
BM25 = FromImplicit(
    "implicit BM25",
    lambda options, _: BM25Recommender(**options),
    _bm25_space,
    ({"weighting": "binary", "K": 20, "K1": 1.2, "B": 0.75},),
)
COSINE = FromImplicit(
    "implicit cosine",
    lambda options, _: CosineRecommender(**options),
    _cosine_space,
    ({"weighting": "binary", "K": 20},),
)
