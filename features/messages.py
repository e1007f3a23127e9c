"""Key messages: the text that goes with a feed or a mail, and for whom it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from features.experiments import Moment
from features.merge_tags import is_name
from features.options import Section

Stage = Literal["visitor", "new", "active", "loyal", "lapsing", "lapsed"]
MERGE_FIELDS = ("first_name",)  # what a text may call a reader by
_FIELD = re.compile(r"\{(?P<name>[^{}|]*)(?P<default>\|[^{}]*)?\}")  # {first_name|there}


def _known_fields(text: str) -> str:
    for field in _FIELD.finditer(text):
        if field["name"] not in MERGE_FIELDS:
            known = ", ".join(f"{{{name}|…}}" for name in MERGE_FIELDS)
            raise ValueError(f"there is no merge field {field[0]}; there is {known}")
        if field["default"] is None:
            raise ValueError(
                f"{field[0]} has no default; say what to write where it is not known, such as "
                f"{{{field['name']}|there}}, or {{{field['name']}|}} for nothing"
            )
    return text


MessageText = Annotated[str, Field(min_length=1), AfterValidator(_known_fields)]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")]


class Message(Section):
    """One key message; what is left out restricts nothing."""

    text: MessageText
    name: str | None = Field(default=None, min_length=1)  # None: segment and stage name it
    segment: str | None = Field(default=None, min_length=1)
    stage: Stage | None = None
    language: Tag | None = None  # de is for readers of de-AT, too; de-AT for no others
    placements: list[str] | None = Field(default=None, min_length=1)
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

    def fits(
        self, segment: str | None, stage: str | None, language: str, placement: str | None
    ) -> bool:
        """Is it for people of this segment and stage who read this language, here?

        placement: None: wherever it may be
        """
        return (
            self.segment in (None, segment)
            and self.stage in (None, stage)
            and (self.language is None or _reads(language, self.language))
            and (self.placements is None or placement is None or placement in self.placements)
        )


def _reads(reader: str, language: str) -> bool:
    """Who reads de-AT reads de; who reads de may not read de-AT."""
    return f"{_folded(reader)}-".startswith(f"{_folded(language)}-")


def _folded(language: str) -> str:
    return language.strip().replace("_", "-").lower()


def in_order(messages: Sequence[Message]) -> list[Message]:
    """The first that fits is told: by priority, then what asks for most, then as written.

    Segment, stage, language and placements each ask for something; of two that ask for as much the
    one of the more exact language comes first.
    """

    def place(number: int) -> tuple[int, ...]:
        one = messages[number]
        asked = (one.segment, one.stage, one.language, one.placements)
        asks = sum(part is not None for part in asked)
        return -one.priority, -asks, -len(_folded(one.language or "").split("-")), number

    return [messages[number] for number in sorted(range(len(messages)), key=place)]


def chosen(
    messages: Sequence[Message], now: datetime, segment: str | None, stage: str | None,
    language: str, placement: str | None,
) -> Message | None:  # fmt: skip
    """The message that such a reader is told at this moment; None: there is none for them.

    messages: `in_order`        segment, stage: None where it is not known or may not be used
    """
    for one in messages:
        if one.holds(now) and one.fits(segment, stage, language, placement):
            return one
    return None


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its merge fields: each the value, else the default, else nothing.

    Plain text: a line break in a value is a blank, and whoever makes HTML of it has to escape it.
    Anybody may have written a value: what looks like a program instead of a name is not told.
    """

    def value(field: re.Match[str]) -> str:
        known = " ".join(values.get(field["name"], "").split())
        return known if known and is_name(known) else (field["default"] or "|")[1:]

    return _FIELD.sub(value, text)


def check_messages(
    messages: Sequence[Message], segments: Sequence[str] | None, placements: Collection[str]
) -> None:
    """Refuse what only the whole config can judge: a ValueError names the message.

    Translations of a message share its name: name and language together are given once.

    segments: the names that there can be; None: some are only known once they are learned or told
    """
    seen: set[tuple[str, str]] = set()
    for place, one in enumerate(messages):
        key = (one.called, _folded(one.language or ""))
        if key in seen:
            raise ValueError(
                f"messages.{place}: {one.called!r} is given twice; give them a `name`, or "
                "languages of their own"
            )
        seen.add(key)
        if one.starts and one.ends and one.ends <= one.starts:
            raise ValueError(f"messages.{place}: ends {one.ends} must be after starts {one.starts}")
        if segments is not None and one.segment is not None and one.segment not in segments:
            raise ValueError(
                f"messages.{place}: there is no segment {one.segment!r}; choose from {segments}"
            )
        if absent := sorted(set(one.placements or ()) - set(placements)):
            raise ValueError(
                f"messages.{place}.placements: there is no placement {absent[0]!r}; choose from "
                f"{list(placements)}"
            )
