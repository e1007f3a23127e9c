"""Runs, models and aliases in MLflow: the only file that imports it."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
import mlflow
import numpy as np
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from features.config import Config
from features.feature_set import FeatureSet
from features.home import Home
from features.types import Float32
from training.bundle import NoModel
from training.evaluation.ladder import FEWEST
from training.plots import CURVE, learning_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from training.tuning import Tried

CHAMPION = "champion"
GONE = "RESOURCE_DOES_NOT_EXIST"  # MLflow's word
SAMPLE_SECONDS = 1  # between two looks at the machine: one costs 10 ms, short runs are seen too
_PYFUNC = Path(__file__).with_name("mlflow_model.py")
_SHARED_FROM = 1 << 16  # bytes: smaller files are not worth a link
_NOT_IN_A_NAME = re.compile(r"[^\w\-. /]")
logging.getLogger("alembic").setLevel(logging.WARNING)  # it reports each step of a new database
logging.getLogger("mlflow").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Tracker:
    """The tracking server of one shop: SQLite under the home unless the config names another."""

    home: Home
    config: Config

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return self.config.tracking.uri or f"sqlite:///{self.home.tracking_database.resolve()}"

    def connect(self) -> mlflow.MlflowClient:
        """Point MLflow at the URI; create the experiment when it is not there."""
        self.home.root.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.uri)
        name = self.config.tracking.experiment
        client = mlflow.MlflowClient()
        if client.get_experiment_by_name(name) is None:
            local = self.config.tracking.uri is None
            artifacts = (self.home.root / "artifacts").resolve().as_uri() if local else None
            client.create_experiment(name, artifact_location=artifacts)
        mlflow.set_experiment(name)
        return client

    @contextmanager
    def run(self, features: FeatureSet) -> Iterator[None]:
        """A run around a training: load of the machine, data set; failed if the block raises."""
        self.connect()
        mlflow.set_system_metrics_sampling_interval(SAMPLE_SECONDS)  # type: ignore[no-untyped-call]
        with mlflow.start_run(log_system_metrics=True):
            mlflow.log_input(FeatureData(features), context="training")
            yield

    def record(
        self, bundle: Path, *, params: Mapping[str, object], metrics: Mapping[str, float],
        tags: Mapping[str, str], plots: Mapping[str, Figure],
        slices: Sequence[Mapping[str, Any]] = (), curves: Mapping[str, Float32] | None = None,
        trials: Sequence[Tried] = (),
    ) -> int:  # fmt: skip
        """Record one training in the run that is open, else in a new one, and register its bundle.

        slices: rows of `training.evaluation.slices`
        curves: of a ranker, (epochs, 4): epoch, seconds, loss, ndcg on what was kept back
        trials: of tuning, a nested run each
        Returns the model version.
        """
        client = self.connect()
        with _open_run() as run:
            mlflow.set_tags(dict(tags))
            told = {key: json.dumps(value) for key, value in params.items()}
            _log(client, run.info.run_id, {**metrics, **_of_slices(slices)}, told)
            mlflow.log_dict(self.config.model_dump(mode="json"), "config.json")
            if slices:
                mlflow.log_table(_columns(slices), "slices.json")
            drawn = {f"learning_{n}": learning_curve(n, c) for n, c in (curves or {}).items()}
            for name, figure in {**plots, **drawn}.items():
                mlflow.log_figure(figure, f"plots/{name}.png")
            for name, curve in (curves or {}).items():
                client.log_batch(run.info.run_id, metrics=_steps(name, curve))
            for trial in trials:
                _nested(client, run, trial)
            return self._register(client, bundle, run.info.run_id)

    def _register(self, client: mlflow.MlflowClient, bundle: Path, run_id: str) -> int:
        """The bundle as a new version of the shop's model; the fluent call does it too, and prints.

        Large files are one with those of `bundle` where that can be.
        """
        model = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_PYFUNC),
            artifacts={"bundle": str(bundle)},
            pip_requirements=[f"purposeful-feeds=={installed_version('purposeful-feeds')}"],
        )
        with suppress(MlflowException, OSError):  # a store elsewhere, another file system
            stored = Path(mlflow.artifacts.download_artifacts(model.model_uri))
            if stored.is_relative_to(self.home.root.resolve()):
                _share(bundle, stored)
        name = self.config.tracking.model_name
        with suppress(MlflowException):  # it is there already
            client.create_registered_model(name)
        return int(client.create_model_version(name, model.model_uri, run_id).version)

    def set_champion(self, version: int) -> None:
        """Let the alias name this version."""
        client = self.connect()
        client.set_registered_model_alias(self.config.tracking.model_name, CHAMPION, str(version))

    def champion(self) -> int | None:
        """The version that the alias names, if there is one."""
        client = self.connect()
        try:
            found = client.get_model_version_by_alias(self.config.tracking.model_name, CHAMPION)
        except MlflowException:
            return None
        return int(found.version)

    def aliases(self) -> dict[int, list[str]]:
        """The aliases of every version that has one."""
        client, found = self.connect(), dict[int, list[str]]()
        with suppress(MlflowException):  # no model is registered
            for name, version in client.get_registered_model(
                self.config.tracking.model_name
            ).aliases.items():
                found.setdefault(int(version), []).append(name)
        return found

    def versions(self) -> Sequence[int]:
        """All registered versions, oldest first."""
        client = self.connect()
        name = self.config.tracking.model_name
        return sorted(int(v.version) for v in client.search_model_versions(f"name = '{name}'"))

    def fetch(self, version: int, target: Path) -> None:
        """Download a version's bundle as the new directory `target`; NoModel where it is gone."""
        self.connect()
        source = f"models:/{self.config.tracking.model_name}/{version}"
        with tempfile.TemporaryDirectory(dir=self.home.scratch()) as scratch:
            try:
                found = Path(mlflow.artifacts.download_artifacts(source, dst_path=scratch))
                (bundle,) = (m.parent for m in (found / "artifacts").glob("*/manifest.json"))
            except (MlflowException, OSError, ValueError) as error:
                raise NoModel(
                    f"the bundle of v{version} is neither under {target.parent} nor in MLflow: "
                    f"{error}"
                ) from error
            bundle.rename(target)

    def fetch_parts(self, version: int, parts: Sequence[str], target: Path) -> None:
        """Download these files and directories of a version's bundle, as far as it has them.

        Nothing is left of one whose removal was cut off. Raises OSError where it cannot be read
        now, for that is no word on what is in it.
        """
        client = self.connect()
        try:
            model = self._model_of(client, version)
            if model is None or self._was_deleted(model.artifact_location):
                return
            (bundle,) = client.list_logged_model_artifacts(model.model_id, "artifacts")
            there = client.list_logged_model_artifacts(model.model_id, bundle.path)
            for part in {Path(file.path).name for file in there} & set(parts):
                mlflow.artifacts.download_artifacts(
                    f"{model.artifact_location}/{bundle.path}/{part}", dst_path=str(target)
                )
        except Exception as error:  # a store's own library raises what it likes
            raise OSError(f"MLflow cannot read it now: {error}") from error

    def _model_of(self, client: mlflow.MlflowClient, version: int) -> Any:
        """MLflow's model behind a version; None: it was deleted."""
        source = client.get_model_version(self.config.tracking.model_name, str(version)).source
        try:
            return client.get_logged_model(str(source).removeprefix("models:/"))
        except MlflowException as error:
            if error.error_code == GONE and str(source).startswith("models:/"):
                return None
            raise

    def remove(self, version: int) -> None:
        """Take a version and its bundle out of MLflow, and the files of its run; metrics stay.

        Files below the home are deleted for good; those of a server go when it collects its garbage
        (`mlflow gc`). The version goes last: what was cut off is done again.
        """
        client, name = self.connect(), self.config.tracking.model_name
        found = client.get_model_version(name, str(version))
        self._delete_files(client.get_run(str(found.run_id)).info.artifact_uri)
        with suppress(MlflowException):  # it is gone: this was cut off before
            model = client.get_logged_model(str(found.source).removeprefix("models:/"))
            self._delete_files(model.artifact_location)
            client.delete_logged_model(model.model_id)
        client.delete_model_version(name, str(version))

    def _delete_files(self, uri: str) -> None:
        """Those below the home only, and the directory around them."""
        directory = self._ours(uri)
        if directory is not None and directory.exists():
            shutil.rmtree(directory)

    def _was_deleted(self, uri: str) -> bool:
        """Has `_delete_files` been here? A store that is not there at all says nothing."""
        directory = self._ours(uri)
        return directory is not None and directory.parent.exists() and not directory.exists()

    def _ours(self, uri: str) -> Path | None:
        """The directory around these files where it lies below the home."""
        directory = Path(url2pathname(urlparse(uri).path)).parent
        ours = (self.home.root / "artifacts").resolve()
        return directory if ours in directory.parents else None


def _open_run() -> Any:
    """The run that is open, which goes on, else a new one."""
    active = mlflow.active_run()
    return nullcontext(active) if active is not None else mlflow.start_run()


class FeatureData(MetaDataset):
    """A feature set as MLflow's data set: where it lies, its digest and its size."""

    def __init__(self, features: FeatureSet) -> None:
        source = LocalArtifactDatasetSource(str(features.directory.resolve()))
        self._size = {
            "as_of": features.manifest["as_of"],
            "events": len(features.timelines.items),
            "people": len(features.persons),
            "items": len(features.items),
        }
        # 16 characters of the digest name it everywhere; MLflow takes no more than 36
        super().__init__(source, name="feature set", digest=features.digest[:16])

    @property
    def profile(self) -> dict[str, Any]:
        """How much it holds, and up to when."""
        return self._size

    def to_dict(self) -> dict[str, str]:
        """What MLflow stores."""
        return {**super().to_dict(), "profile": json.dumps(self._size)}


def _log(
    client: mlflow.MlflowClient, run_id: str, metrics: Mapping[str, float],
    params: Mapping[str, str],
) -> None:  # fmt: skip
    """All of them, in the portions that MLflow takes."""
    moment = time.time_ns() // 1_000_000
    points = [Metric(key, value, moment, 0) for key, value in metrics.items()]
    for start in range(0, len(points), 1000):
        client.log_batch(run_id, metrics=points[start : start + 1000])
    told = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(told), 100):
        client.log_batch(run_id, params=told[start : start + 100])


def _of_slices(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Metrics by a name such as all/policy/stage/loyal/ndcg_at_20, of slices of enough people."""
    return {
        _NOT_IN_A_NAME.sub(
            "_", "/".join(str(row[part]) for part in ("task", "name", "slice", "value", "metric"))
        ): float(row["mean"])
        for row in rows
        if row["people"] >= FEWEST
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {column: [row[column] for row in rows] for column in rows[0]}


def _steps(name: str, curve: Float32) -> list[Metric]:
    """A curve as metrics with epochs as steps."""
    moment = time.time_ns() // 1_000_000
    return [
        Metric(f"{name}/{what}", float(row[place]), moment, int(row[0]))
        for row in curve
        for place, what in enumerate(CURVE[1:], 1)
        if np.isfinite(row[place])
    ]


def _nested(client: mlflow.MlflowClient, run: Any, trial: Tried) -> None:
    """A run below `run` for one trial of tuning; one costs 20 ms."""
    about = {"mlflow.parentRunId": run.info.run_id, "ranker": trial.ranker, "state": trial.state}
    name = f"{trial.ranker} {trial.number}"
    info = client.create_run(run.info.experiment_id, tags=about, run_name=name).info
    reached = {"value": trial.value} if np.isfinite(trial.value) else {}
    params = {key: json.dumps(value) for key, value in trial.params.items()}
    _log(client, info.run_id, {**reached, "seconds": trial.seconds}, params)
    client.set_terminated(info.run_id, "FAILED" if trial.state == "fail" else "FINISHED")


def _share(bundle: Path, stored: Path) -> None:
    """One copy on disk of what both directories hold: a bundle's arrays are never changed."""
    for copy in stored.rglob("*.npy"):
        original = bundle / copy.relative_to(stored / "artifacts" / bundle.name)
        if copy.stat().st_size >= _SHARED_FROM:
            beside = copy.with_suffix(".link")
            os.link(original, beside)
            beside.rename(copy)
