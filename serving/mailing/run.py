"""A mailing from a list to parts that are decided, and then to what is remembered of it.

Part by part, each whole or not there: whatever ends the run, the same command goes on where it
stopped, with the same model at the same moment. What was sent is remembered at the very end, when
all files are there: until then nothing counts, so that a mailing that was given up leaves no trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from features.home import Home, Progress, silent, written_beside
from features.types import from_us
from serving.desk import Desk
from serving.mailing.blocks import Blocks, Mailing, without
from serving.mailing.deciding import decide_mails
from serving.mailing.mailer import Mailer
from serving.mailing.parts import Record, as_blocks, part_file, parts, write_part
from serving.mailing.recipients import Given, recipients_of
from serving.mailing.sent import decisions_of, shown_of
from serving.mailing.telling import names_for, told
from serving.state import Met, State

_json = msgspec.json.Encoder()


@dataclass(frozen=True)
class Listed:
    """Whom a mailing is for, each once, in the order of its parts.

    given: what the list says of each; None: nothing
    """

    user_ids: Sequence[str]
    given: Sequence[Given] | None = None

    def part(self, first: int, many: int) -> Listed:
        """`many` of them, from `first` on."""
        own = slice(first, first + many)
        return Listed(self.user_ids[own], None if self.given is None else self.given[own])

    def only(self, user_id: str) -> Listed:
        """One of them, or somebody who is not among them."""
        if self.given is None or user_id not in self.user_ids:
            return Listed([user_id])
        return Listed([user_id], [self.given[list(self.user_ids).index(user_id)]])


def undecided(record: Record, listed: Listed, out: Path) -> list[tuple[int, Listed]]:
    """The parts that are not there yet: number, and who is in it."""
    firsts = enumerate(range(0, record.recipients, record.chunk))
    return [(number, listed.part(first, record.chunk)) for number, first in firsts
            if not part_file(out, number).exists()]  # fmt: skip


async def decide_parts(
    mailer: Mailer, record: Record, listed: Listed, out: Path, progress: Progress = silent
) -> None:
    """Decide all parts that are not there yet, one after the other.

    `workers.decide_all` does many at once.

    Raises StateUnavailable: what was decided stays, and the same call goes on from there.
    """
    mailing = Mailing(record.mailing, record.placements, record.at_us)
    todo = undecided(record, listed, out)
    for done, (number, own) in enumerate(todo):
        progress("deciding", done / len(todo))
        blocks = await decided_blocks(mailer, mailing, own, counts=record.counts)
        write_part(out, number, blocks)


async def decided_blocks(
    mailer: Mailer, mailing: Mailing, listed: Listed, *, counts: bool
) -> Blocks:
    """The blocks of some recipients at once.

    counts: the store is told whom it has not met, so that a click on a link finds them
    """
    desk = mailer.desk
    recipients = await recipients_of(
        desk, mailer.dressing.mail, listed.user_ids, mailing.at_us, listed.given
    )
    mails = decide_mails(mailer, recipients, mailing.placements)
    names = names_for(desk, recipients)
    if counts and names.salts:
        await desk.state.keep([Met(salts=names.salts)])
    return told(mailer, mails, mailing, names)


async def leave_out_the_forgotten(state: State, out: Path) -> None:
    """Take the mails of those away who were forgotten since they were decided."""
    for number, file in enumerate(parts(out)):
        blocks = as_blocks(pq.read_table(file))
        mailed = {user_id: None for user_id, items in zip(blocks.user_ids, blocks.item_ids,
                                                          strict=True) if items}  # fmt: skip
        known = await state.recall_all(list(mailed))
        gone = {user_id for user_id, one in zip(mailed, known, strict=True)
                if one.stays_forgotten}  # fmt: skip
        if gone:
            write_part(out, number, without(blocks, gone))


async def remember(
    state: State, home: Home, record: Record, out: Path, progress: Progress = silent
) -> None:
    """Note what everybody was shown, and log the decisions; done twice it counts once."""
    mailing = Mailing(record.mailing, record.placements, record.at_us)
    versions = record.model_version, record.rules_version
    begun = f"{from_us(record.at_us):%Y%m%dT%H%M%S.%fZ}-mail.{_digest(record)}"
    for number, file in enumerate(parts(out)):
        progress("remembering", number * record.chunk / max(record.recipients, 1))
        logged = home.decisions / f"{begun}.{number:05}.jsonl"
        if logged.exists():
            continue
        blocks = as_blocks(pq.read_table(file))
        await state.keep(list(shown_of(blocks, record.at_us)))
        with written_beside(logged) as beside, beside.open("wb") as lines:
            for one in decisions_of(blocks, mailing, versions):
                lines.write(_json.encode(one))
                lines.write(b"\n")
    progress("remembered", 1.0)


def _digest(record: Record) -> str:
    """Tells mailings of one moment apart: shops with `clock: as_of` have several."""
    told = _json.encode([record.mailing, record.placements, record.digest])
    return hashlib.sha256(told).hexdigest()[:12]


def customers_of(desk: Desk) -> list[str]:
    """The ids of all customers of the model, in the order of their bytes."""
    ids = desk.living.base.persons.ids
    return [one[2:].decode() for one in ids[np.char.startswith(ids, b"u:")].tolist()]
