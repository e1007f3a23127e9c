"""The preview of a mailing: real customers who stand for kinds of readers, and what each gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Self

import numpy as np

from features.config import RUNGS, Config
from features.lifecycle import STAGES
from features.types import Bool, Int64
from serving.mail_preview import Persona, preview_page
from serving.mailing.blocks import Blocks
from serving.mailing.dressing import DressedMail, Dressing, mail_of
from serving.mailing.recipients import Recipients
from serving.rendering import rendered
from serving.templating import Templates
from serving.why import WHY

STRANGER, TOO_FEW = "stranger", "too few items"
NAMES = (
    "new", "loyal", "lapsing", "lapsed", "no consent", "no consent to e-mail", STRANGER, TOO_FEW,
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What is known of n customers, as far as it makes them one kind of reader or another.

    stages: names, "" where it may not be known     consent: (n,) bool, to personal feeds
    consent_email: (n,) bool                        events: (n,) of their history
    """

    user_ids: Sequence[str]
    stages: Sequence[str]
    consent: Bool
    consent_email: Bool
    events: Int64

    @classmethod
    def of(cls, recipients: Recipients) -> Self:
        """Of a batch that a mailing is decided for."""
        people, names = recipients.people, [*STAGES, ""]  # -1: the last
        return cls(
            recipients.user_ids, [names[stage] for stage in people.known.stage.tolist()],
            people.consent, recipients.standing.consent_email,
            np.diff(people.queries.histories.indptr),
        )  # fmt: skip

    def facts(self, user_id: str) -> dict[str, str]:
        """Consent and history in words; of somebody who is not among them there are none."""
        if user_id not in self.user_ids:
            return {}
        row = list(self.user_ids).index(user_id)
        agreed = {"personal feeds": self.consent[row], "e-mails": self.consent_email[row]}
        consent = " and ".join(what for what, yes in agreed.items() if yes)
        events = int(self.events[row])
        return {
            "consent": f"to {consent}" if consent else "to nothing",
            "history": f"{events:,} event{'s' * (events != 1)}",
        }


@dataclass(frozen=True)
class Reader:
    """One kind of reader, and what was decided for who stands for it.

    name:   one of NAMES, or any other        blocks: of one recipient
    facts:  what is known of them besides, in words
    """

    name: str
    blocks: Blocks
    facts: Mapping[str, str] = field(default_factory=dict)


def choose(known: Known) -> dict[str, str]:
    """Kind of reader -> who stands for it: of all who fit the lowest id by bytes.

    Always the same for the same customers; a kind that nobody is of is left out. The stranger is an
    id that is not among them. For `too few items` have a mail decided with a `min_items` that
    cannot be reached.
    """
    found: dict[str, str] = {}
    for row in sorted(range(len(known.user_ids)), key=lambda one: known.user_ids[one].encode()):
        for name in _kinds(known, row):
            found.setdefault(name, known.user_ids[row])
    found[STRANGER] = _nobody(set(known.user_ids))
    return {name: found[name] for name in NAMES if name in found}


def preview(
    readers: Sequence[Reader], dressing: Dressing, config: Config, templates: Templates,
    pictures: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """The page with everybody's mail, decision and reasons; see `mail_preview.preview_page`."""
    found = []
    for reader in readers:
        mail = dressing.dressed(reader.blocks, range(len(reader.blocks)))
        found.append(described(reader, mail, config, templates))
    return preview_page(found, title=dressing.mailing or "Mailing", pictures=pictures)


def described(reader: Reader, mail: DressedMail, config: Config, templates: Templates) -> Persona:
    """One kind of reader in words, with the rendered mail, if there is one."""
    sent = [block for block in mail.blocks if block.decision != "suppress"]
    rungs = [RUNGS.index(block.rung) for block in sent if block.rung in RUNGS]
    messages = [block.message for block in mail.blocks if block.message]
    facts = {
        "stage": reader.blocks.stages[0] or "not known",
        "segment": reader.blocks.segments[0] or "none",
        **reader.facts,
        "language": mail.language,
        **({"key message": ", ".join(dict.fromkeys(messages))} if messages else {}),
    }
    return Persona(
        reader.name, facts, mail.decision, _reasons(mail), RUNGS[max(rungs)] if rungs else "",
        rendered(mail_of(mail, config), templates) if sent else None,
    )  # fmt: skip


def _kinds(known: Known, row: int) -> Iterator[str]:
    """What kinds of reader somebody can stand for; all but one want a history."""
    if not known.consent_email[row]:
        yield "no consent to e-mail"
    elif known.events[row] and not known.consent[row]:
        yield "no consent"
    elif known.events[row]:
        yield TOO_FEW
        yield known.stages[row]


def _nobody(taken: set[str]) -> str:
    """An id that nobody has."""
    return next(one for number in count() if (one := f"{STRANGER}-{number}") not in taken)


def _reasons(mail: DressedMail) -> list[str]:
    """Why, in words: once where all blocks have the same reason, else block by block."""
    if len({(block.decision, block.reason) for block in mail.blocks}) == 1:
        return [WHY[mail.blocks[0].reason]]
    return [f"{one.placement}, {one.decision}: {WHY[one.reason]}" for one in mail.blocks]
