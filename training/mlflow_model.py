"""A bundle as an MLflow model, from code: `mlflow.pyfunc.load_model(...).predict(people)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow


class FeedModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    """Ranks feeds for a frame with `person_id` and optionally `recent`, as `feeds rank` does."""

    def load_context(self, context: Any) -> None:
        """Open the bundle among the model's artifacts."""
        from training.bundle import Bundle

        self.bundle = Bundle.open(Path(context.artifacts["bundle"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One row per person and item; params: {"size": 20}."""
        from training.batch import Wish, rank_people

        del context
        wish = Wish(size=int((params or {}).get("size", 20)))
        return rank_people(self.bundle, model_input, wish).to_pandas()


mlflow.models.set_model(FeedModel())
