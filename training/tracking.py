"""Runs, models and aliases in MLflow: the only file that imports it."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
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
        self.connect()
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
                registered_model_name=self.config.tracking.model_name,
            )
            mlflow.set_tag("model_version", str(model.registered_model_version))
            mlflow.set_tag("run_url", run.info.artifact_uri)
        return int(model.registered_model_version)

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
