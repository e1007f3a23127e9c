"""Fit item neighbours; implicit does the counting."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from implicit.nearest_neighbours import ItemItemRecommender

from features.home import Progress, silent
from features.training_options import NeighboursOptions
from training.fitting import CannotFit
from training.past import Past
from training.rankers.neighbours import NeighboursRanker


def fit_neighbours(
    past: Past, options: NeighboursOptions, progress: Progress = silent
) -> NeighboursRanker:
    """Cosine between the items' columns of decayed interest."""
    del progress
    interest = past.interest
    if not interest.nnz:
        raise CannotFit("neighbours: nobody has shown interest in anything yet")
    length = np.sqrt(np.asarray(interest.multiply(interest).sum(axis=0), dtype=np.float64)).ravel()
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    unit = sp.csr_matrix(interest.astype(np.float64) @ sp.diags(scale))
    kept = min(options.neighbours + 1, interest.shape[1])  # one more: the item itself is among them
    model = ItemItemRecommender(K=kept)
    model.fit(unit, show_progress=False)
    similarity = sp.csr_matrix(model.similarity, dtype=np.float32)
    similarity.sort_indices()
    return NeighboursRanker(similarity)
