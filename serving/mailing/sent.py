"""What is remembered of blocks that were decided: what people were shown, and every decision."""

from __future__ import annotations

from collections.abc import Iterator

from features.decided import Decided
from features.mail_options import EMAIL
from serving.mailing.blocks import Blocks, Mailing
from serving.state import Shown


def shown_of(blocks: Blocks, at_us: int) -> Iterator[Shown]:
    """What the store is told of the blocks that have items."""
    rows = zip(
        blocks.user_ids, blocks.placements, blocks.decision_ids, blocks.item_ids, strict=True
    )
    for user_id, placement, decision_id, items in rows:
        if items:
            yield Shown(
                decision_id=decision_id, name=f"u:{user_id}", placement=placement,
                item_ids=items, at_us=at_us, mail=True,
            )  # fmt: skip


def decisions_of(blocks: Blocks, mailing: Mailing, versions: tuple[str, str]) -> Iterator[Decided]:
    """The lines of the log: a decision per recipient and block, those without a mail as well.

    versions: of the model, and of the rules
    """
    for row in range(len(blocks)):
        marks = blocks.marks[row]
        yield Decided(
            decision_id=blocks.decision_ids[row], at_us=mailing.at_us,
            person=blocks.pseudonyms[row], placement=blocks.placements[row], channel=EMAIL,
            decision=blocks.decisions[row], reason=blocks.reasons[row], rung=blocks.rungs[row],
            arms=blocks.arms[row], model_version=versions[0],
            rules_version=versions[1], latency_us=0,
            item_ids=blocks.item_ids[row], rungs=blocks.item_rungs[row],
            rankers=blocks.rankers[row],
            positions=list(range(1, len(blocks.item_ids[row]) + 1)),
            marks=list(marks) if any(marks) else [],
            mailing=mailing.name, message=blocks.messages[row],
        )  # fmt: skip
