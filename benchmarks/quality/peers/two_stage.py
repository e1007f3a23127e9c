"""A plain two-stage ranker: candidates of EASE, ALS, BM25 and popularity, ordered by LambdaRank.

What a careful team builds first: the four models say scores and ranks, LightGBM (Burges 2010) puts
them together. It learns from the slice before the cut, with models fitted before that slice; then
the four are fitted again on everything before the cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import lightgbm as lgb
import numpy as np
import optuna
import scipy.sparse as sp

from benchmarks.quality.moments import Moment
from benchmarks.quality.peers.base import Scoring, Settings, user_items
from benchmarks.quality.peers.implicit_library import ALS, BM25
from benchmarks.quality.peers.popular import Popularity
from features.options import Signal
from features.types import Bool, Float32, Float64, row_numbers
from training.evaluation.protocol import Task
from training.policy import kept_away

TREES = 400  # at most; a fifth of the people says when it is enough


@dataclass(frozen=True)
class Ease(Scoring):
    """EASE (Steck 2019): scores are a person's row times the item-item weights."""

    weights: Float32
    signals: dict[str, Signal]

    def scores(self, task: Task) -> Float32:
        """Nothing to say to those without a history."""
        rows = user_items(task.people.queries.histories, self.signals, "binary")
        return _or_nothing(np.asarray(rows @ self.weights), rows)


def fit_ease(moment: Moment, regularization: float) -> Ease:
    """The closed form of Steck 2019, eq. 8."""
    matrix = user_items(moment.past.timelines, moment.past.signals, "binary")
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    inverse: Float64 = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return Ease(weights.astype(np.float32), moment.past.signals)


@dataclass(frozen=True)
class TwoStageFitted(Scoring):
    """The four models, and a booster for every task that could be learned."""

    bases: list[Scoring]
    boosters: dict[str, lgb.Booster]
    candidates: int

    def scores(self, task: Task) -> Float32:
        """The booster's word on the candidates, NaN on all other items."""
        found = _Candidates.of(self.bases, task, self.candidates)
        out = np.full(found.chosen.shape, np.nan, dtype=np.float32)
        booster = self.boosters.get(task.name) or next(iter(self.boosters.values()))
        out[found.chosen] = np.asarray(booster.predict(found.features))
        return out


@dataclass(frozen=True)
class _Candidates:
    """chosen: (n, n_items) which items; features: (chosen.sum(), 2 per model) scores and ranks."""

    chosen: Bool
    features: Float32

    @classmethod
    def of(cls, bases: list[Scoring], task: Task, count: int) -> _Candidates:
        away = kept_away(task.people, task.terms)
        columns, chosen = [], np.zeros((len(task.people), len(task.terms.kinds)), dtype=np.bool_)
        for base in bases:
            scores = base.scores(task)
            scores[row_numbers(away.indptr), away.values] = np.nan
            order = np.argsort(-scores, axis=1, kind="stable")
            ranks = np.empty_like(order)
            np.put_along_axis(ranks, order, np.arange(order.shape[1])[None, :], axis=1)
            chosen |= (ranks < count) & ~np.isnan(scores)
            columns += [scores, np.where(np.isnan(scores), np.nan, ranks)]
        return cls(chosen, np.stack([c[chosen] for c in columns], axis=1).astype(np.float32))


@dataclass
class TwoStage:
    """Tunes EASE and LightGBM; ALS and BM25 come with the settings that they were tuned to.

    tuned: name of a task -> settings, for "als", "bm25" and "popularity"
    """

    tuned: Mapping[str, Mapping[str, Settings]]
    fitted: dict[int, list[Scoring]] = field(default_factory=dict)  # by cut: no trial changes them
    name: ClassVar[str] = "two-stage GBM"
    firsts: ClassVar[list[Settings]] = [{
        "ease": 300.0, "leaves": 31, "learning_rate": 0.05, "min_leaf": 50, "candidates": 100,
    }]  # fmt: skip
    whole_space: ClassVar[bool] = False

    def suggest(self, trial: optuna.Trial) -> Settings:
        """EASE's regularisation, the trees, and how many candidates each model gives."""
        return {
            "ease": trial.suggest_float("ease", 10, 3000, log=True),
            "leaves": trial.suggest_int("leaves", 4, 64, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
            "min_leaf": trial.suggest_int("min_leaf", 10, 500, log=True),
            "candidates": trial.suggest_int("candidates", 50, 300, log=True),
        }

    def fit(self, moment: Moment, settings: Settings) -> TwoStageFitted:
        """Boosters by the slice before the cut, then the four models on everything before it."""
        earlier = moment.earlier()
        before = self._bases(earlier, settings["ease"])
        boosters = {
            name: _boosted(before, task, settings, moment.past.seed)
            for name, task in earlier.tasks.items()
        }
        return TwoStageFitted(
            self._bases(moment, settings["ease"]), boosters, settings["candidates"]
        )

    def _bases(self, moment: Moment, regularization: float) -> list[Scoring]:
        settings = {name: next(iter(by_task.values())) for name, by_task in self.tuned.items()}
        if moment.cut_us not in self.fitted:
            self.fitted[moment.cut_us] = [
                ALS.fit(moment, settings["als"]),
                BM25.fit(moment, settings["bm25"]),
                Popularity().fit(moment, settings["popularity"]),
            ]
        return [fit_ease(moment, regularization), *self.fitted[moment.cut_us]]


def _boosted(bases: list[Scoring], task: Task, settings: Settings, seed: int) -> lgb.Booster:
    """LambdaRank on the candidates of `task`; a fifth of the people stops it."""
    found = _Candidates.of(bases, task, settings["candidates"])
    wanted = np.zeros(found.chosen.shape, dtype=np.bool_)
    wanted[row_numbers(task.truth.indptr), task.truth.values] = True
    labels, sizes = wanted[found.chosen].astype(np.int32), found.chosen.sum(axis=1)
    held = np.random.default_rng(seed).random(len(sizes)) < 0.2
    parts = []
    for people in (~held, held):
        entries = people.repeat(sizes)
        parts.append(lgb.Dataset(found.features[entries], labels[entries], group=sizes[people]))
    options = {
        "objective": "lambdarank", "metric": "ndcg", "eval_at": [20], "verbosity": -1,
        "lambdarank_truncation_level": 40, "seed": seed, "deterministic": True,
        "num_leaves": settings["leaves"], "learning_rate": settings["learning_rate"],
        "min_data_in_leaf": settings["min_leaf"],
    }  # fmt: skip
    stop = lgb.early_stopping(30, verbose=False)
    return lgb.train(options, parts[0], TREES, valid_sets=[parts[1]], callbacks=[stop])


def _or_nothing(scores: Float32, rows: sp.csr_matrix) -> Float32:
    scores[np.diff(rows.indptr) == 0] = np.nan
    return scores
