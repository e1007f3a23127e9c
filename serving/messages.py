"""The shop's words for the people that a feed is for."""

from __future__ import annotations

from features.lifecycle import STAGES
from features.messages import chosen, filled
from features.types import from_us
from serving.desk import Desk
from training.policy import People


def for_people(desk: Desk, people: People, placement: str) -> dict[str, str] | None:
    """The message for a batch of one in this placement, as the fields of a KeyMessage.

    Without consent neither segment nor stage is known. The language is the shop's, and merge fields
    get their defaults: the site knows the name of who is there, a page cannot say who asks.
    """
    if not desk.messages:
        return None
    queries = people.known
    segment, stage = int(queries.segment[0]), int(queries.stage[0])
    names = desk.bundle.manifest["segments"]
    found = chosen(
        desk.messages, from_us(int(queries.now_us[0])),
        names[segment] if segment >= 0 else None, STAGES[stage] if stage >= 0 else None,
        desk.bundle.config.shop.language, placement,
    )  # fmt: skip
    return None if found is None else {"name": found.called, "text": filled(found.text, {})}
