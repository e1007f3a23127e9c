"""A bundle as an MLflow model, from code: `mlflow.pyfunc.load_model(...).predict(people)`."""

from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
from pydantic import BaseModel


class Person(BaseModel):
    """Whom to rank for, as in `feeds rank`; MLflow makes the model's schema of it."""

    person_id: str
    user_id: str | None = None
    recent: list[str] | None = None


class Place(BaseModel):
    """One place of a feed, as `feeds rank` writes it."""

    person_id: str
    item_id: str
    rank: int
    score: float
    rung: str
    ranker: str
    reason: str


class FeedModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    """Ranks for a list of people, as `feeds rank` does."""

    def load_context(self, context: Any) -> None:
        """Open the bundle among the model's artifacts."""
        from training.bundle import Bundle

        self.bundle = Bundle.open(Path(context.artifacts["bundle"]))

    def predict(
        self, context: Any, model_input: list[Person], params: dict[str, Any] | None = None
    ) -> list[Place]:
        """One row per person and item; params: {"size": 20}."""
        from training.batch import Wish, rank_people

        del context
        people = pa.Table.from_pylist(
            [
                {
                    "person_id": one.person_id,
                    "user_id": one.user_id or one.person_id,
                    "recent": one.recent or [],
                }
                for one in model_input
            ]
        )
        wish = Wish(size=int((params or {}).get("size", 20)))
        ranked = rank_people(self.bundle, people, wish)
        return [Place(**row) for row in ranked.to_pylist()]


mlflow.models.set_model(FeedModel())
