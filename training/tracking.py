"""Runs, models and aliases in MLflow: the only file that imports it."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
import mlflow
from mlflow.exceptions import MlflowException

from features.config import Config
from features.home import Home

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHAMPION = "champion"
_PYFUNC = Path(__file__).with_name("mlflow_model.py")
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

    def record(
        self, bundle: Path, *, params: Mapping[str, object], metrics: Mapping[str, float],
        tags: Mapping[str, str], plots: Mapping[str, Figure],
    ) -> int:  # fmt: skip
        """Record one training run and register its bundle; returns the model version."""
        client = self.connect()
        with mlflow.start_run(tags=dict(tags)) as run:
            mlflow.log_params({key: json.dumps(value) for key, value in params.items()})
            mlflow.log_metrics(dict(metrics))
            mlflow.log_dict(self.config.model_dump(mode="json"), "config.json")
            for name, figure in plots.items():
                mlflow.log_figure(figure, f"plots/{name}.png")
            model = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(_PYFUNC),
                artifacts={"bundle": str(bundle)},
                pip_requirements=[f"purposeful-feeds=={installed_version('purposeful-feeds')}"],
            )
            return self._register(client, model.model_uri, run.info.run_id)

    def _register(self, client: mlflow.MlflowClient, source: str, run_id: str) -> int:
        """A new version of the shop's model; the fluent call does the same and prints."""
        name = self.config.tracking.model_name
        with suppress(MlflowException):  # it is there already
            client.create_registered_model(name)
        return int(client.create_model_version(name, source, run_id).version)

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

    def versions(self) -> Sequence[int]:
        """All registered versions, oldest first."""
        client = self.connect()
        name = self.config.tracking.model_name
        return sorted(int(v.version) for v in client.search_model_versions(f"name = '{name}'"))

    def fetch(self, version: int, target: Path) -> None:
        """Download a version's bundle as the new directory `target`."""
        self.connect()
        source = f"models:/{self.config.tracking.model_name}/{version}"
        with tempfile.TemporaryDirectory(dir=self.home.scratch()) as scratch:
            found = Path(mlflow.artifacts.download_artifacts(source, dst_path=scratch))
            (bundle,) = (m.parent for m in (found / "artifacts").rglob("manifest.json"))
            bundle.rename(target)
