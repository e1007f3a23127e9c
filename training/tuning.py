"""Settings, found on the slice before the blend's: Optuna proposes, the protocol judges.

Every trial fits on what came before the slice and is judged by what people went on to want in it.
The config's own settings are the first trial, so tuning never ends below them. Trials are kept
under the home: an interrupted search goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from features.home import Home, Progress, part_of, silent
from features.training_options import RankerName, Training
from training.bundle import alone
from training.cooking import digest_of, fitted_once
from training.evaluation import protocol
from training.fitting import CannotFit
from training.past import Past
from training.rankers.base import Ranker
from training.recipe import FLOOR, Recipe

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Tried:
    """One trial of one ranker.

    value: mean over tasks of ndcg over that of recent popularity; NaN where it was cut short
    """

    ranker: RankerName
    number: int
    params: dict[str, object]
    value: float
    seconds: float
    state: str


@dataclass(frozen=True)
class Bench:
    """What trials are judged on.

    floor: recent popularity, fitted on the same past; it fills short feeds
    """

    past: Past
    tasks: Sequence[protocol.Task]
    floor: Ranker
    home: Home | None = None

    def with_people(self, most: int) -> Bench:
        """At most `most` people per task, drawn by the seed."""
        seed = self.past.seed
        return replace(self, tasks=[task.drawn(most, seed) for task in self.tasks])

    def digest(self) -> str:
        """Who is asked, what they want, and what is kept away: other questions, other trials."""
        told = hashlib.sha256()
        for task in self.tasks:
            told.update(f"{task.name} {task.terms.size}".encode())
            kept = task.terms
            parts = [task.rows, task.truth.indptr, task.truth.values, kept.keeps_away]
            parts += [task.priced.value] if task.priced is not None and task.by_value else []
            for part in parts:
                told.update(np.ascontiguousarray(part).tobytes())
        return told.hexdigest()[:16]

    def value(self, ranker: Ranker, name: RankerName, task: protocol.Task) -> float:
        """Mean ndcg of one ranker's feeds, filled by the floor."""
        ladder = [*alone(name, ranker), *alone(FLOOR, self.floor)]
        found = protocol.evaluate(ladder, name, task, len(self.past.items))
        return float(np.nanmean(found.decisive))


Suggest = Callable[[Trial], Mapping[str, object]]


def _neighbours(trial: Trial) -> dict[str, object]:
    return {
        "weighting": trial.suggest_categorical("weighting", ["cosine", "tfidf", "bm25"]),
        "neighbours": trial.suggest_int("neighbours", 100, 2000, log=True),
        "saturation": trial.suggest_float("saturation", 0.2, 10, log=True),
        "length_share": trial.suggest_float("length_share", 0, 1),
    }


def _als(trial: Trial) -> dict[str, object]:
    return {
        "factors": trial.suggest_categorical("factors", [32, 64, 128, 256]),
        "regularization": trial.suggest_float("regularization", 3, 100, log=True),
        "confidence_scale": trial.suggest_float("confidence_scale", 1, 30, log=True),
        "frequency_scaling": trial.suggest_float("frequency_scaling", 0, 1),
    }


def _ease(trial: Trial) -> dict[str, object]:
    return {
        "regularization": trial.suggest_float("regularization", 10, 3000, log=True),
        "interest_power": trial.suggest_float("interest_power", 0, 1),
    }


def _graph(trial: Trial) -> dict[str, object]:
    return {
        "factors": trial.suggest_categorical("factors", [64, 128, 256]),
        "low_pass": trial.suggest_float("low_pass", 0, 0.5),
        "neighbours": trial.suggest_int("neighbours", 100, 2000, log=True),
    }


def _session_neighbours(trial: Trial) -> dict[str, object]:
    return {
        "neighbours": trial.suggest_int("neighbours", 100, 1500, log=True),
        "half_life_days": trial.suggest_float("half_life_days", 3, 1000, log=True),
        "rarity": trial.suggest_float("rarity", 0, 1.5),
    }


def _transitions(trial: Trial) -> dict[str, object]:
    return {
        "window": trial.suggest_int("window", 1, 20),
        "decay": trial.suggest_float("decay", 0.5, 1),
        "half_life_days": trial.suggest_float("half_life_days", 1, 365, log=True),
    }


def _sequence(trial: Trial) -> dict[str, object]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 2e-3, 1.5e-2, log=True),
        "dropout": trial.suggest_float("dropout", 0.05, 0.4),
        "factors": trial.suggest_categorical("factors", [32, 64, 128]),
        "length": trial.suggest_categorical("length", [20, 50, 100]),
    }


SPACES: dict[RankerName, Suggest] = {
    "neighbours": _neighbours, "als": _als, "ease": _ease, "graph": _graph,
    "session_neighbours": _session_neighbours, "transitions": _transitions,
    "sequence": _sequence,
}  # fmt: skip


def tune(recipe: Recipe, bench: Bench, progress: Progress = silent) -> tuple[Training, list[Tried]]:
    """The recipe's options with the best settings found for each ranker, and all that was tried.

    Every ranker gets the same number of trials, and its share of the minutes that are left.
    """
    options, tried = recipe.options, list[Tried]()
    budget = options.tuning
    names = [name for name in recipe.names if name in SPACES] if budget.trials else []
    bench = bench.with_people(budget.people)
    end = time.monotonic() + 60 * budget.minutes
    for place, name in enumerate(names):
        share = (end - time.monotonic()) / (len(names) - place)
        part = part_of(progress, place / len(names), (place + 1) / len(names))
        study = _study(name, options, bench)
        _search(study, name, options, bench, share, part)
        tried += [_told(name, trial) for trial in study.trials]
        if any(trial.state == TrialState.COMPLETE for trial in study.trials):
            best = _settings(name, options, study.best_trial.user_attrs["settings"])
            options = options.model_copy(update={name: best})
    return options, tried


def _search(
    study: optuna.Study, name: RankerName, options: Training, bench: Bench, seconds: float,
    progress: Progress,
) -> None:  # fmt: skip
    """Trials until there are enough of them or the time is over; the first is the config's own."""
    start, trials = time.monotonic(), options.tuning.trials
    done = sum(trial.state.is_finished() for trial in study.trials)
    for number in range(done, trials):
        if number and time.monotonic() - start > seconds:
            return
        progress(f"tuning {name}, trial {number + 1} of {trials}", number / trials)
        study.sampler = optuna.samplers.TPESampler(seed=bench.past.seed + number)  # also resumed

        def judged(trial: Trial, number: int = number) -> float:
            own = {} if number == 0 else dict(SPACES[name](trial))
            trial.set_user_attr("settings", own)
            chosen = options.model_copy(update={name: _settings(name, options, own)})
            return _judged(trial, name, chosen, bench)

        study.optimize(judged, n_trials=1, catch=(CannotFit,))


def _judged(trial: Trial, name: RankerName, options: Training, bench: Bench) -> float:
    """Mean over tasks of ndcg over the floor's; stopped early where a task says it is hopeless."""
    ranker = fitted_once(name, bench.past, options, None)
    total = 0.0
    for place, task in enumerate(bench.tasks):
        floor = max(bench.value(bench.floor, FLOOR, task), 1e-6)
        total += bench.value(ranker, name, task) / floor
        trial.report(total / (place + 1), place)
        if trial.should_prune():
            raise optuna.TrialPruned
    return total / len(bench.tasks)


def _settings(name: RankerName, options: Training, own: Mapping[str, object]) -> object:
    section = getattr(options, name)
    return type(section).model_validate({**section.model_dump(), **own})


def _study(name: RankerName, options: Training, bench: Bench) -> optuna.Study:
    """The search for one ranker on one past, as far as it has come."""
    storage, known = None, f"{digest_of(name, bench.past, options)} {bench.digest()}"
    if bench.home is not None and bench.past.key:
        bench.home.root.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{(bench.home.root / 'tuning.db').resolve()}"
    return optuna.create_study(
        direction="maximize", study_name=f"{name} {bench.past.key} {known}", storage=storage,
        load_if_exists=True, pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )  # fmt: skip


def _told(name: RankerName, trial: FrozenTrial) -> Tried:
    value = trial.value if trial.state == TrialState.COMPLETE and trial.value else float("nan")
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    own = dict(trial.user_attrs.get("settings", {}))
    return Tried(name, trial.number, own, value, seconds, trial.state.name.lower())
