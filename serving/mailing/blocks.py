"""What a mailing decided, as columns: one entry per recipient and placement."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

Decided = Literal["show", "fallback", "suppress"]
T = TypeVar("T")


@dataclass(frozen=True)
class Mailing:
    """What is sent: which blocks, under which name, at which moment.

    at_us: microseconds since 1970 UTC
    """

    name: str
    placements: tuple[str, ...]
    at_us: int


@dataclass(frozen=True)
class Blocks:
    """Recipient by recipient, of each the placements in the order of the mailing.

    pseudonyms:   as in the decisions, 32 hexadecimal characters
    reasons:      names of `training.policy.Reason`
    segments, stages, messages, headlines: "" where there is none
    languages:    never empty
    headlines:    plain text, merge fields filled
    item_ids, item_rungs, rankers, item_reasons, marks: lists of equal length per entry

    A recipient gets a mail when any of its blocks is not "suppress". A mail that is withheld as a
    whole has the same reason on all its blocks, and no items.
    """

    user_ids: Sequence[str]
    pseudonyms: Sequence[str]
    placements: Sequence[str]
    decisions: Sequence[Decided]
    reasons: Sequence[str]
    rungs: Sequence[str]
    decision_ids: Sequence[str]
    segments: Sequence[str]
    stages: Sequence[str]
    languages: Sequence[str]
    messages: Sequence[str]
    headlines: Sequence[str]
    arms: Sequence[dict[str, str]]
    item_ids: Sequence[list[str]]
    item_rungs: Sequence[list[str]]
    rankers: Sequence[list[str]]
    item_reasons: Sequence[list[str]]
    marks: Sequence[list[list[str]]]

    def __len__(self) -> int:
        return len(self.user_ids)


def without(blocks: Blocks, user_ids: Set[str]) -> Blocks:
    """The same decisions, but of these people, who were forgotten: they get nothing."""
    gone = [one in user_ids for one in blocks.user_ids]

    def instead(values: Sequence[T], nothing: T) -> list[T]:
        return [nothing if left else one for left, one in zip(gone, values, strict=True)]

    empty: list[str] = []
    return replace(
        blocks, decisions=instead(blocks.decisions, "suppress"),
        reasons=instead(blocks.reasons, "forgotten"), messages=instead(blocks.messages, ""),
        headlines=instead(blocks.headlines, ""), item_ids=instead(blocks.item_ids, empty),
        item_rungs=instead(blocks.item_rungs, empty), rankers=instead(blocks.rankers, empty),
        item_reasons=instead(blocks.item_reasons, empty), marks=instead(blocks.marks, []),
    )  # fmt: skip
