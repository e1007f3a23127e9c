"""Cooking: a recipe fitted on a past.

Fits are kept under the home: a run that was interrupted goes on where it stopped, and what training
has fitted the gate does not fit again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from features import arrays
from features.home import Home, Progress, part_of, silent, written_beside
from features.training_options import RankerName, Training
from training.fitting import CannotFit, fit
from training.item_side import item_side
from training.past import Past
from training.policy import Step
from training.rankers import RANKERS
from training.rankers.base import Ranker
from training.rankers.blend import BlendForest
from training.recipe import Recipe


@dataclass(frozen=True)
class Cooked:
    """A recipe, fitted on one past.

    skipped: ranker -> why it could not be fitted
    """

    rankers: dict[RankerName, Ranker]
    steps: list[Step]
    skipped: dict[str, str]


def cook(
    recipe: Recipe, past: Past, home: Home | None = None, progress: Progress = silent,
    blend: BlendForest | None = None,
) -> Cooked:  # fmt: skip
    """Fit every ranker of the recipe on `past`.

    home:  where fits are kept; None: nowhere
    blend: learned before, is not fitted again but asks the new rankers
    """
    fitted: dict[RankerName, Ranker] = {}
    skipped: dict[str, str] = {}
    names = [name for name in recipe.names if name != "blend"]
    for place, name in enumerate(names):
        progress(f"fitting {name}", place / len(names))
        part = part_of(progress, place / len(names), (place + 1) / len(names))
        try:
            fitted[name] = fitted_once(name, past, recipe.options, home, part)
        except CannotFit as error:
            skipped[name] = str(error)
    if blend is not None:
        fitted["blend"] = replace(blend, side=item_side(past)).bound(fitted)
    steps = [Step(rung, name, fitted[name]) for rung, name in recipe.ladder if name in fitted]
    return Cooked(fitted, steps, skipped)


def fitted_once(
    name: RankerName, past: Past, options: Training, home: Home | None, progress: Progress = silent
) -> Ranker:
    """Fit a ranker, or open it when the same was fitted before; raises CannotFit."""
    if home is None or not past.key:
        return fit(name, past, options, progress)
    kept = home.fits / past.key / f"{name}-{_digest(name, past, options)}"
    if not kept.exists():
        ranker = fit(name, past, options, progress)
        with written_beside(kept) as beside:
            arrays.save(ranker.stored(), beside)
    found: Ranker = arrays.load(RANKERS[name], kept)
    return found


def forget_fits(home: Home, kept: Sequence[str]) -> None:
    """Remove the fits on all feature sets but the `kept` ones, named as in `Past.key`."""
    for directory in home.fits.glob("*"):
        if directory.name not in kept:
            shutil.rmtree(directory)


def _digest(name: RankerName, past: Past, options: Training) -> str:
    told = [name, getattr(options, name).model_dump(mode="json"), past.seed, past.device,
            version("purposeful-feeds"), _code(name)]  # fmt: skip
    told.append({n: signal.model_dump(mode="json") for n, signal in past.signals.items()})
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _code(name: RankerName) -> str:
    """The text of the code that fits and scores: another version of it makes another fit."""
    here = Path(__file__).parent
    shared = here / "fitting" / "torch_run.py"
    files = sorted([*here.glob(f"fitting/{name}*.py"), *here.glob(f"rankers/{name}*.py"), shared])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
