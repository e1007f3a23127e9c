"""Fit the blend: LightGBM finds the trees, ONNX keeps them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from features.home import Progress, silent
from features.training_options import BlendOptions
from features.types import Bool, Float64
from training.fitting import CannotFit
from training.fitting.blend_lessons import Lessons
from training.rankers.onnx_model import OnnxModel

FEWEST = 60  # queries; below it the trees learn the people
_PATIENCE = 25  # trees without a gain for people who were left out
_CUT = 20  # the places whose order counts


@dataclass(frozen=True)
class Learned:
    """A forest, and what forests that did not know the person said of each lesson.

    held_out: (m,) float64        trees: how many are worth having
    importance: column -> share of the gain of all splits
    """

    model: OnnxModel
    held_out: Float64
    trees: int
    importance: dict[str, float]


def fit_blend(
    lessons: Lessons, columns: list[str], options: BlendOptions, seed: int,
    progress: Progress = silent,
) -> Learned:  # fmt: skip
    """LambdaMART (Burges 2010), with as many trees as help people who were left out.

    Raises CannotFit when too few people asked.
    """
    people = np.unique(lessons.person)
    if len(lessons.person) < FEWEST or people.size < options.folds:
        raise CannotFit(
            f"blend: {len(lessons.person)} requests to learn from, at least {FEWEST} are needed; "
            "a longer log has more"
        )
    luck = np.random.default_rng(seed).permutation(people.size) % options.folds
    fold = luck[np.searchsorted(people, lessons.person)][lessons.query]
    taught = lessons.thinned(options.negatives, seed)
    held_out = np.zeros(len(lessons))
    found: list[int] = []
    for number in range(options.folds):
        progress("blending", number / (options.folds + 1))
        apart = fold == number
        forest = grown(lessons, columns, options, seed, taught & ~apart, taught & apart)
        held_out[apart] = np.asarray(forest.predict(lessons.rows[apart]))
        found.append(forest.best_iteration)
    trees = max(int(np.median(found)), 5)
    whole = options.model_copy(update={"trees": trees})
    forest = grown(lessons, columns, whole, seed, taught)
    gain = forest.feature_importance("gain")
    shares = dict(zip(columns, (gain / max(gain.sum(), 1e-9)).tolist(), strict=True))
    return Learned(as_graph(forest, len(columns)), held_out, trees, shares)


def grown(
    lessons: Lessons, columns: list[str], options: BlendOptions, seed: int, taught: Bool,
    watched: Bool | None = None,
) -> lgb.Booster:  # fmt: skip
    """Trees from the `taught` (m,) rows; the `watched` ones say when it is enough."""
    settings = {
        "objective": "lambdarank", "lambdarank_truncation_level": _CUT, "metric": "ndcg",
        "eval_at": [_CUT], "num_leaves": options.leaves, "learning_rate": options.learning_rate,
        "min_data_in_leaf": options.min_leaf, "feature_fraction": 0.5, "bagging_fraction": 0.8,
        "bagging_freq": 1, "lambda_l2": 5.0, "use_missing": False, "seed": seed, "max_bin": 127,
        "deterministic": True, "force_row_wise": True, "verbosity": -1,
        "label_gain": list(range(16)),
    }  # fmt: skip
    learn = _dataset(lessons, columns, taught)
    if watched is None:
        return lgb.train(settings, learn, num_boost_round=options.trees)
    stop = lgb.early_stopping(_PATIENCE, verbose=False)
    valid = _dataset(lessons, columns, watched, learn)
    return lgb.train(settings, learn, options.trees, valid_sets=[valid], callbacks=[stop])


def _dataset(
    lessons: Lessons, columns: list[str], rows: Bool, like: lgb.Dataset | None = None
) -> lgb.Dataset:
    names = [re.sub(r"\W+", "_", column) for column in columns]
    _, sizes = np.unique(lessons.query[rows], return_counts=True)
    return lgb.Dataset(lessons.rows[rows], lessons.labels[rows], group=sizes, reference=like,
                       feature_name=names)  # fmt: skip


def as_graph(booster: lgb.Booster, width: int) -> OnnxModel:
    """(m, width) float32 `features` -> (m, 1) `variable`."""
    kinds = [("features", FloatTensorType([None, width]))]
    graph = convert_lightgbm(booster, initial_types=kinds, target_opset=15)
    return OnnxModel(graph.SerializeToString())
