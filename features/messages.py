"""Key messages: the text that goes with a feed, for a segment and a stage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from features.experiments import Moment
from features.options import Section

Stage = Literal["visitor", "new", "active", "loyal", "lapsing", "lapsed"]


class Message(Section):
    """One key message; what is left out restricts nothing."""

    text: str = Field(min_length=1)
    name: str | None = Field(default=None, min_length=1)  # None: segment and stage name it
    segment: str | None = Field(default=None, min_length=1)
    stage: Stage | None = None
    priority: int = 0  # of several that fit the highest is told, then the one that asks for most
    starts: Moment | None = None
    ends: Moment | None = None  # the first moment at which it no longer holds

    @property
    def called(self) -> str:
        """Its name, else segment and stage."""
        return self.name or f"{self.segment or 'everybody'}, {self.stage or 'any stage'}"

    def holds(self, now: datetime) -> bool:
        """Is it told at this moment?"""
        return (self.starts is None or self.starts <= now) and (
            self.ends is None or now < self.ends
        )

    def fits(self, segment: str | None, stage: str | None) -> bool:
        """Is it for people of this segment and stage?"""
        return self.segment in (None, segment) and self.stage in (None, stage)


def in_order(messages: Sequence[Message]) -> list[Message]:
    """The first that fits is told: by priority, then what asks for more, then as written."""
    asks = [(one.segment is not None) + (one.stage is not None) for one in messages]
    places = sorted(range(len(messages)), key=lambda n: (-messages[n].priority, -asks[n], n))
    return [messages[place] for place in places]


def check_messages(messages: Sequence[Message], segments: Sequence[str] | None) -> None:
    """Refuse what only the whole config can judge: a ValueError names the message.

    segments: the names that there can be; None: some are only known once they are learned or told
    """
    seen: set[str] = set()
    for place, one in enumerate(messages):
        if one.called in seen:
            raise ValueError(f"messages.{place}: {one.called!r} is given twice; give them a `name`")
        seen.add(one.called)
        if one.starts and one.ends and one.ends <= one.starts:
            raise ValueError(f"messages.{place}: ends {one.ends} must be after starts {one.starts}")
        if segments is not None and one.segment is not None and one.segment not in segments:
            raise ValueError(
                f"messages.{place}: there is no segment {one.segment!r}; choose from {segments}"
            )
