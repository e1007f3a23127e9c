"""EASE and SASRec of the library RecTools, fitted and asked in an environment of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.quality.moments import Moment
from benchmarks.quality.peers.base import SIZE, WEIGHTINGS, Settings
from features.types import Int32, row_numbers
from training.evaluation.protocol import Task
from training.policy import kept_away

WORKER = Path(__file__).with_name("rectools_worker.py")


class WorkerFailed(RuntimeError):
    """The peers' environment did not do its job; the message ends with what it said."""


@dataclass
class Answered:
    """A fitted model of the worker: every task of the moment is answered when it is fitted."""

    answers: Mapping[str, Int32]
    seconds: float
    epochs: int | None

    def feeds(self, task: Task) -> Int32:
        """What the worker listed."""
        return self.answers[task.name]


@dataclass(frozen=True)
class FromRecTools:
    """A model of the library with its space of settings; the first trial is its own defaults.

    python: of the environment where RecTools is       scratch: where jobs and answers are kept
    minutes: a fit may last, at most
    """

    name: str
    model: str
    python: Path
    scratch: Path
    space: Callable[[optuna.Trial], dict[str, Any]]
    firsts: tuple[Settings, ...]
    minutes: float = 4.0
    whole_space: bool = False

    def suggest(self, trial: optuna.Trial) -> Settings:
        """Settings of the model."""
        return self.space(trial)

    def fit(self, moment: Moment, settings: Settings) -> Answered:
        """Hand the log and the questions to the worker, or take what it answered before."""
        about = {
            "model": self.model, "settings": dict(settings), "seed": moment.past.seed,
            "size": SIZE, "tasks": list(moment.tasks), "minutes": self.minutes,
        }  # fmt: skip
        files = {"log": _log(moment)} | {n: _asked(moment, t) for n, t in moment.tasks.items()}
        job = self.scratch / _digest(about, files)
        if not (job / "done.json").exists():
            self._run(job, about, files)
        done = json.loads((job / "done.json").read_text())
        answers = {name: np.load(job / f"{name}.feeds.npy") for name in moment.tasks}
        return Answered(answers, done["seconds"], done["epochs"])

    def _run(self, job: Path, about: object, files: Mapping[str, Mapping[str, Any]]) -> None:
        job.mkdir(parents=True, exist_ok=True)
        (job / "job.json").write_text(json.dumps(about))
        for name, arrays in files.items():
            np.savez(job / f"{name}.npz", **arrays)
        command = [str(self.python), str(WORKER), str(job)]
        run = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
        if run.returncode:
            raise WorkerFailed(f"{self.name} failed in {job}:\n{run.stderr[-2000:]}")
        for name in files:
            (job / f"{name}.npz").unlink()


def _log(moment: Moment) -> dict[str, Any]:
    """Positive events before the cut, person by person, in time order."""
    log, weight = moment.past.timelines, _weights(moment)
    value = weight[log.signals]
    liked = value > 0
    return {"users": row_numbers(log.indptr)[liked], "items": log.items[liked],
            "weights": value[liked]}  # fmt: skip


def _asked(moment: Moment, task: Task) -> dict[str, Any]:
    """Positive events of the histories, and what must not be shown."""
    histories = task.people.queries.histories
    value = _weights(moment)[histories.signals]
    liked, rows = value > 0, row_numbers(histories.indptr)
    lengths = np.bincount(rows[liked], minlength=len(histories))
    away = kept_away(task.people, task.terms)
    return {
        "indptr": np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        "items": histories.items[liked], "weights": value[liked],
        "away_indptr": away.indptr, "away": away.values,
    }  # fmt: skip


def _weights(moment: Moment) -> np.ndarray:
    return np.array([s.weight for s in moment.past.signals.values()], dtype=np.float64)


def _digest(about: object, files: Mapping[str, Mapping[str, Any]]) -> str:
    """Names the job by all that its answer depends on."""
    found = hashlib.sha256(WORKER.read_bytes() + json.dumps(about, sort_keys=True).encode())
    for name, arrays in files.items():
        for key, array in arrays.items():
            found.update(f"{name}/{key}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def ease(python: Path, scratch: Path) -> FromRecTools:
    """RecTools' EASE."""

    def space(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "weighting": trial.suggest_categorical("weighting", WEIGHTINGS),
            "regularization": trial.suggest_float("regularization", 10, 10_000, log=True),
        }

    defaults = {"weighting": "binary", "regularization": 500.0}
    return FromRecTools("RecTools EASE", "ease", python, scratch, space, (defaults,))


def sasrec(python: Path, scratch: Path, minutes: float = 4.0) -> FromRecTools:
    """RecTools' SASRec; as many epochs as help, at most 100, at most `minutes` a fit."""

    def space(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "factors": trial.suggest_categorical("factors", [32, 64, 128]),
            "layers": trial.suggest_int("layers", 1, 3),
            "heads": trial.suggest_categorical("heads", [1, 2, 4]),
            "length": trial.suggest_categorical("length", [20, 50, 100]),
            "dropout": trial.suggest_float("dropout", 0.1, 0.5),
            "learning_rate": trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True),
            "loss": trial.suggest_categorical("loss", ["softmax", "sampled_softmax", "gBCE"]),
            "negatives": 256, "batch": 128, "epochs": 100,
        }  # fmt: skip

    defaults = {"factors": 64, "layers": 2, "heads": 4, "length": 50, "dropout": 0.2,
                "learning_rate": 1e-3, "loss": "softmax"}  # fmt: skip
    return FromRecTools("RecTools SASRec", "sasrec", python, scratch, space, (defaults,), minutes)
