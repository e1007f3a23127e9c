"""Cooking: a recipe fitted on a past.

Fits are kept under the home: a run that was interrupted goes on where it stopped, and what training
has fitted the gate does not fit again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
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

DAY_SECONDS = 86_400


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
    kept = home.fits / past.key / f"{name}-{digest_of(name, past, options)}"
    if not kept.exists():
        ranker = fit(name, past, options, progress)
        with written_beside(kept) as beside:
            arrays.save(ranker.stored(), beside)
    found: Ranker = arrays.load(RANKERS[name], kept)
    return found


def forget_fits(home: Home, kept: Sequence[str]) -> None:
    """Remove the fits on all but the `kept` feature sets, named as in `Past.key`.

    What was written within a day stays: another run may be reading it.
    """
    for directory in home.fits.glob("*"):
        newest = max(path.stat().st_mtime for path in (directory, *directory.iterdir()))
        if directory.name not in kept and time.time() - newest > DAY_SECONDS:
            shutil.rmtree(directory)


def digest_of(name: RankerName, past: Past, options: Training) -> str:
    """What a fit depends on besides the log: settings, signals, seed, device and code."""
    told = [name, getattr(options, name).model_dump(mode="json"), past.seed, past.device,
            version("purposeful-feeds"), _code()]  # fmt: skip
    told.append({n: signal.model_dump(mode="json") for n, signal in past.signals.items()})
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


@cache
def _code() -> str:
    """The text of the code that fits and scores: another version of it makes another fit."""
    here = Path(__file__).parent
    files = sorted([*here.glob("fitting/*.py"), *here.glob("rankers/*.py"),
                    here.parent / "features" / "live.py"])  # fmt: skip
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
