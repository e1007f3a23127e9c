"""Fitting: one file per algorithm, the past in, a fitted ranker out."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from features.home import Progress, silent
from features.training_options import RankerName, Training
from training.past import Past
from training.rankers.base import Ranker


class CannotFit(ValueError):
    """This ranker cannot be fitted on this log; the message begins with its name and says why."""


def fit(name: RankerName, past: Past, options: Training, progress: Progress = silent) -> Ranker:
    """Fit the ranker called `name`: `training/fitting/<name>.py` has a function `fit_<name>`.

    Imported here, one by one: torch and LightGBM are loaded only by who needs them. The blend has
    other inputs and is not fitted here. Raises CannotFit.
    """
    function = getattr(import_module(f"training.fitting.{name}"), f"fit_{name}")
    return cast(Ranker, function(past, getattr(options, name), progress))
