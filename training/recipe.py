"""A recipe: which rankers with which settings make a model (`training.cooking` fits it on a past).

A gate compares recipes, not fitted models: both are cooked on the same past, so that neither has an
advantage of newer data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from features.config import Rung
from features.training_options import RankerName, Training

Ladder = list[tuple[Rung, RankerName]]
FLOOR: RankerName = "popularity"  # it speaks to everybody, and what is dearer has to beat it


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    options: with the settings that tuning found        names: which rankers, the blend included
    ladder:  who speaks on which rung, from the top down; a ranker that cannot be fitted is left out
    """

    options: Training
    names: list[RankerName]
    ladder: Ladder

    def as_json(self) -> dict[str, Any]:
        """For a bundle's manifest."""
        ladder = [list(step) for step in self.ladder]
        return {"options": self.options.model_dump(mode="json"), "names": self.names,
                "ladder": ladder}  # fmt: skip

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Recipe:
        """What `as_json` told."""
        ladder = [(rung, name) for rung, name in told["ladder"]]
        return cls(Training.model_validate(told["options"]), list(told["names"]), ladder)
