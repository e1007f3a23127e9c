"""The shop's words for the people that a feed is for."""

from __future__ import annotations

import re

from features.lifecycle import STAGES
from features.types import from_us
from serving.desk import Desk
from training.policy import People

_FIELD = re.compile(r"\{\w+\|([^{}]*)\}")  # {first_name|there}


def for_people(desk: Desk, people: People) -> dict[str, str] | None:
    """The first message that fits a batch of one, as the fields of a KeyMessage.

    Without consent neither segment nor stage is known. Merge fields get their defaults: the site
    knows the name of who is there, the service does not.
    """
    if not desk.messages:
        return None
    queries = people.known
    segment, stage = int(queries.segment[0]), int(queries.stage[0])
    names = desk.bundle.manifest["segments"]
    group = names[segment] if segment >= 0 else None
    place = STAGES[stage] if stage >= 0 else None
    now = from_us(int(queries.now_us[0]))
    for one in desk.messages:
        if one.holds(now) and one.fits(group, place):
            return {"name": one.called, "text": _FIELD.sub(r"\1", one.text)}
    return None
