"""Fit the graph filter: a normalised product and a truncated singular value decomposition."""

from __future__ import annotations

import numpy as np
from sklearn.utils.extmath import randomized_svd

from features.home import Progress, silent
from features.training_options import GraphOptions
from training.fitting import CannotFit
from training.fitting.neighbours import nearest, scaled
from training.past import Past
from training.rankers.graph import GraphRanker

_SWEEPS = 4  # power iterations (Halko, Martinsson & Tropp 2011)


def fit_graph(past: Past, options: GraphOptions, progress: Progress = silent) -> GraphRanker:
    """GF-CF (Shen et al. 2021, "How Powerful is Graph Convolution for Recommendation?", sec. 4).

    Over decayed interest, where the paper has ones. Raises CannotFit without any interest.
    """
    interest = past.interest
    if not interest.nnz:
        raise CannotFit("graph: nobody has shown interest in anything yet")
    rows, columns = (
        np.sqrt(np.asarray(interest.sum(axis=axis), dtype=np.float64).ravel()) for axis in (1, 0)
    )
    inverse = np.divide(1.0, rows, out=np.zeros_like(rows), where=rows > 0)
    normal = scaled(interest, inverse, columns)
    progress("graph", 0.1)
    linear = nearest(normal, options.neighbours)
    progress("graph", 0.5)
    factors = min(options.factors, *interest.shape)
    _, _, across = randomized_svd(normal, factors, n_iter=_SWEEPS, random_state=past.seed)
    per_item = np.divide(1.0, columns, out=np.zeros_like(columns), where=columns > 0)
    begin = per_item[:, None] * across.T
    end = options.low_pass * columns[:, None] * across.T
    return GraphRanker(linear, begin.astype(np.float32), end.astype(np.float32))
