"""Fit ALS; implicit finds the factors, everything after that is ours."""

from __future__ import annotations

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from features.home import Progress, silent
from features.training_options import AlsOptions
from training.fitting import CannotFit
from training.past import Past
from training.rankers.als import AlsRanker


def fit_als(past: Past, options: AlsOptions, progress: Progress = silent) -> AlsRanker:
    """Alternate least squares over confidence = 1 + alpha * interest / mean interest.

    The mean makes alpha mean the same whatever the signals weigh and however fast they fade.
    """
    del progress
    interest, seed = past.interest, past.seed
    if not interest.nnz:
        raise CannotFit("als: nobody has shown interest in anything yet")
    scale = options.confidence_scale / float(interest.data.mean())
    confidence = interest.copy()
    confidence.data = 1 + np.float32(scale) * confidence.data
    with threadpool_limits(limits=1, user_api="blas"):  # implicit brings its own threads
        model = AlternatingLeastSquares(
            factors=options.factors, regularization=options.regularization, alpha=1.0,
            iterations=options.sweeps, random_state=seed, dtype=np.float32,
        )  # fmt: skip
        model.fit(confidence, show_progress=False)
    factors = np.ascontiguousarray(model.item_factors, dtype=np.float32)
    identity = np.eye(options.factors, dtype=np.float32)
    gram = factors.T @ factors + np.float32(options.regularization) * identity
    touched = np.diff(interest.tocsc().indptr) > 0
    return AlsRanker(factors, gram, touched, scale)
