"""Fitting: one file per algorithm, a feature set's arrays in, a fitted ranker out."""

from __future__ import annotations

from features.config import RankerName, Training
from features.options import Signal
from features.timelines import Timelines
from training.rankers.base import Ranker


class CannotFit(ValueError):
    """This ranker cannot be fitted on this log; the message says why."""


def fit(
    name: RankerName, timelines: Timelines, as_of_us: int, options: Training,
    signals: dict[str, Signal],
) -> Ranker:  # fmt: skip
    """Fit the ranker called `name` on everything in `timelines`, as it weighs at `as_of_us`."""
    if name == "popularity":
        from training.fitting.popularity import fit_popularity

        return fit_popularity(timelines, as_of_us, options.popularity, signals)
    interest = timelines.histories(as_of_us, signals).interest()
    if not interest.nnz:
        raise CannotFit(f"{name}: nobody has shown interest in anything yet")
    if name == "neighbours":
        from training.fitting.neighbours import fit_neighbours

        return fit_neighbours(interest, options.neighbours)
    from training.fitting.als import fit_als

    return fit_als(interest, options.als, options.seed)
