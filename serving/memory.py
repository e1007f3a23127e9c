"""What a worker remembers of an answer: the line in the log of decisions, and what who has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from features.decided import pseudonym
from features.types import Float64
from serving.asking import Asker
from serving.decisions import Decided
from serving.desk import Desk
from serving.state import Shown


@dataclass(frozen=True)
class Cost:
    """When it was asked (microseconds since 1970), how long it took, and what was left to chance.

    propensity: (size,) float64, how likely each item was in its place; None: nothing was
    """

    at_us: int
    seconds: float
    propensity: Float64 | None = None


def remember(desk: Desk, asker: Asker, answer: Mapping[str, Any], cost: Cost) -> None:
    """Log the decision, and note what this person has been shown; nobody waits for either."""
    items, name = answer["items"], asker.name
    own = (asker.recalled.salt or desk.meet(name)) if name else None
    chances = [] if cost.propensity is None else cost.propensity[: len(items)].tolist()
    place = desk.bundle.config.placements[answer["placement"]]
    desk.log.write(
        Decided(
            decision_id=answer["decision_id"],
            at_us=cost.at_us,
            person=pseudonym(desk.salt, name, own) if name else "",
            placement=answer["placement"],
            channel=place.channel,
            decision=answer["decision"],
            reason=answer["reason"],
            rung=answer["rung"],
            arms=answer["arms"],
            model_version=answer["model_version"],
            rules_version=answer["rules_version"],
            latency_us=round(cost.seconds * 1e6),
            item_ids=[one["item_id"] for one in items],
            rungs=[one["rung"] for one in items],
            rankers=[one["ranker"] for one in items],
            positions=[one["position"] for one in items],
            propensities=[None if one != one else one for one in chances],
            marks=[one["marks"] for one in items] if any(one["marks"] for one in items) else [],
        )
    )
    if name and items and asker.consent and desk.minds_what_was_shown(answer["placement"]):
        desk.state.note(
            Shown(
                decision_id=answer["decision_id"], name=name, placement=answer["placement"],
                item_ids=[one["item_id"] for one in items], at_us=cost.at_us,
            )
        )  # fmt: skip
