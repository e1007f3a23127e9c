"""Which mailing a directory holds: a new one, or the one that was begun there."""

from __future__ import annotations

import hashlib
import json
import time

from command.mail_preview import PAGE
from command.mail_wish import Wish
from features.config import Config
from features.types import DAY_US, from_us
from serving.desk import Desk
from serving.mailing.opening import OF_TODAY, now_us
from serving.mailing.parts import Record
from serving.mailing.run import Listed

CHUNK = 2048  # recipients of a part: what is lost when a run is killed takes seconds
STALE_US = DAY_US  # a mailing that was begun longer ago says what is no longer true


def record_of(
    desk: Desk, config: Config, wish: Wish, listed: Listed, before: Record | None
) -> Record:
    """The record of this mailing, written now or, `before`, when it was begun.

    Raises ValueError for a directory that holds something else.
    """
    digest = _digest(config, listed)
    if before is not None:
        return _same(before, digest, wish)
    if wish.out.exists() and any(one.name != PAGE for one in wish.out.iterdir()):
        raise ValueError(f"--out {wish.out} is not empty and holds no mailing; choose another one")
    moment = now_us(desk.living, wish.at_us)
    record = Record(
        mailing=wish.name or f"{from_us(moment):%Y-%m-%d}", model_version=desk.bundle.version,
        rules_version=desk.rulebook.version, as_of=desk.bundle.manifest["as_of"], at_us=moment,
        placements=wish.placements, recipients=len(listed.user_ids), chunk=CHUNK, digest=digest,
        counts=not wish.trial, written_us=time.time_ns() // 1000,
    )  # fmt: skip
    record.write(wish.out)
    return record


def _same(before: Record, digest: str, wish: Wish) -> Record:
    """The mailing of the directory, if it is the one that is asked for, and not an old one."""
    model = before.model_version if wish.model is None else f"v{wish.model.removeprefix('v')}"
    at_us = before.at_us if wish.at_us is None else wish.at_us
    asked = {"--placement": (wish.placements, before.placements),
             "--mailing": (wish.name or before.mailing, before.mailing),
             "--model": (model, before.model_version), "--at": (at_us, before.at_us),
             "the list, or the config of mails,": (digest, before.digest),
             "--trial": (wish.trial, not before.counts)}  # fmt: skip
    for what, (now, then) in asked.items():
        if now != then:
            raise ValueError(f"--out {wish.out} holds the mailing {before.mailing!r}, and {what} "
                             "was another then; choose another --out")  # fmt: skip
    if time.time_ns() // 1000 - before.written_us > STALE_US:
        raise ValueError(f"--out {wish.out} holds the mailing {before.mailing!r}, which was begun "
                         "more than a day ago: people have bought, read and refused since; choose "
                         "another --out")  # fmt: skip
    return before


def _digest(config: Config, listed: Listed) -> str:
    told = hashlib.sha256(config.digest(*OF_TODAY).encode())
    told.update(json.dumps(list(listed.user_ids)).encode())
    for one in listed.given or ():
        told.update(repr(one).encode())
    return told.hexdigest()
