"""`feeds mail`: decide a mailing, write its files, remember what was sent; docs/mailings.md."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from command import show
from command.mail_list import read_list
from command.mail_preview import write_preview
from command.mail_summary import mail_summary
from features.config import Config
from features.home import Busy, Home, Progress
from features.mail_options import EMAIL
from features.types import from_us, to_us
from serving.desk import Desk
from serving.mailing import run, writing
from serving.mailing.blocks import Mailing
from serving.mailing.opening import Shop, mailer_of, nearly_sold_out, now_us, opened
from serving.mailing.parts import Record
from serving.mailing.personas import STRANGER, TOO_FEW, Known, Reader, choose
from serving.mailing.recipients import Given, recipients_of
from serving.mailing.summary import Summary
from serving.mailing.workers import Work, decide_together, worth_it
from serving.state import StateUnavailable
from training.bundle import open_bundle

WILLING = Given(consent_email=True)  # of the stranger: else every shop's preview would be alike
LOOKED_AT = 20_000  # of the list, for somebody of each kind
CHUNK = 2048  # recipients of a part: what is lost when a run is killed takes seconds
_SECTIONS = ("placements", "messages", "experiments", "mail", "rules")


@dataclass(frozen=True)
class Wish:
    """What the command was asked for.

    name:  of the mailing; None: by the day
    trial: nothing is remembered: neither what was shown, nor the decisions
    at:    the moment, for shops with `clock: as_of`
    """

    placements: tuple[str, ...]
    out: Path
    recipients: Path | None = None
    name: str | None = None
    model: str | None = None
    html: bool = False
    trial: bool = False
    at: datetime | None = None


def mail(config: Config, base: Path, home: Home, file: Path, wish: Wish) -> None:
    """Do it, or go on where it was interrupted; raises ValueError where it cannot be done."""
    _check(config, wish)
    shop = Shop(config, file, home)
    try:
        with home.locked("mail.lock", wait=False), show.progress_bar() as progress:
            summary = asyncio.run(_mailed(shop, base, wish, progress))
    except Busy:
        raise ValueError("another mailing of this shop is being made; wait until it is done: what "
                         "it shows must not be shown again") from None  # fmt: skip
    except BrokenProcessPool:
        raise ValueError("a process was ended from outside, perhaps for want of memory. What is "
                         "decided stays, the same command goes on from it") from None  # fmt: skip
    except StateUnavailable as error:
        raise ValueError(f"{error}; without it nobody knows who wants no mail. What is decided "
                         "stays, the same command goes on from there") from None  # fmt: skip
    mail_summary(summary, config)
    if wish.trial:
        show.console.print("a trial: nothing of it is remembered", style="yellow")
    show.console.print(f"in {wish.out}: recipients.csv, mails.jsonl, blocks.parquet, summary.json",
                       soft_wrap=True, highlight=False)  # fmt: skip


def preview(config: Config, base: Path, home: Home, file: Path, wish: Wish) -> None:
    """Write a page with the mailing as some kinds of readers get it; nothing is remembered."""
    _check(config, wish)
    try:
        page = asyncio.run(_previewed(Shop(config, file, home), base, wish))
    except StateUnavailable as error:
        raise ValueError(f"{error}; without it nobody knows who wants no mail") from None
    show.console.print(f"look at {page}", soft_wrap=True, highlight=False)


async def _previewed(shop: Shop, base: Path, wish: Wish) -> Path:
    at_us = to_us(wish.at) if wish.at is not None else None
    async with opened(shop, open_bundle(shop.home, wish.model), at_us) as desk:
        mailer = mailer_of(desk, base, None)
        moment = now_us(desk.living, at_us)
        mailing = Mailing(wish.name or f"{from_us(moment):%Y-%m-%d}", wish.placements, moment)
        some = _listed(desk, wish).part(0, LOOKED_AT)
        found = await recipients_of(desk, mailer.dressing.mail, some.user_ids, moment, some.given)
        known = Known.of(found)
        bare = nearly_sold_out(desk)  # a mailer does not keep its desk
        scarce = mailer_of(bare, base, None)
        readers = []
        for kind, user_id in choose(known).items():
            own = scarce if kind == TOO_FEW else mailer
            asked = run.Listed([user_id], [WILLING]) if kind == STRANGER else some.only(user_id)
            blocks = await run.decided_blocks(own, mailing, asked, counts=False)
            readers.append(Reader(kind, blocks, known.facts(user_id)))
        dressing = replace(mailer.dressing, mailing=mailing.name)
        return write_preview(wish.out, readers, dressing, desk.bundle.config,
                             (mailer.templates, base))  # fmt: skip


def _check(config: Config, wish: Wish) -> None:
    places = {name: one for name, one in config.placements.items() if one.channel == EMAIL}
    if not wish.placements:
        raise ValueError(f"name the blocks of the mail with --placement; there are {list(places)}")
    for name in wish.placements:
        if name not in places:
            raise ValueError(f"--placement {name}: no placement with `channel: {EMAIL}` has this "
                             f"name; there are {list(places)}")  # fmt: skip
    if len(set(wish.placements)) < len(wish.placements):
        raise ValueError("--placement: a placement is named twice; a block is in a mail once")
    if wish.at is not None and config.shop.clock != "as_of":
        raise ValueError(
            "--at is for shops with `clock: as_of`; this one lives by the wall's clock"
        )


async def _mailed(shop: Shop, base: Path, wish: Wish, progress: Progress) -> Summary:
    before = Record.read(wish.out)
    bundle = open_bundle(shop.home, wish.model if before is None else before.model_version)
    at_us = to_us(wish.at) if wish.at is not None else None
    async with opened(shop, bundle, at_us if before is None else before.at_us) as desk:
        mailer = mailer_of(desk, base, shop.home)
        listed = _listed(desk, wish)
        record = _record(desk, shop.config, wish, listed, before, at_us)
        todo = run.undecided(record, listed, wish.out)
        if (processes := worth_it(len(todo))) > 1:
            decide_together(Work(shop, base, record, wish.out), todo, processes, progress)
        else:
            await run.decide_parts(mailer, record, listed, wish.out, progress)
        dressing = mailer.dressing_of(record.mailing, record.written_us)
        summary = writing.write(
            wish.out,
            dressing,
            desk.bundle.config,
            mailer.templates if wish.html else None,
            progress,
        )
        if record.counts:
            await run.remember(desk.state, shop.home, record, wish.out, progress)
    return summary


def _listed(desk: Desk, wish: Wish) -> run.Listed:
    """The whole list: the given one, else all customers of the model."""
    if wish.recipients is not None:
        return read_list(wish.recipients)
    return run.Listed(run.customers_of(desk))


def _record(
    desk: Desk, config: Config, wish: Wish, listed: run.Listed, before: Record | None,
    at_us: int | None,
) -> Record:  # fmt: skip
    """The record of this mailing, written now or when it was begun."""
    digest = _digest(config, listed)
    if before is not None:
        return _same(before, digest, wish)
    if wish.out.exists() and any(wish.out.iterdir()):
        raise ValueError(f"--out {wish.out} is not empty and holds no mailing; choose another one")
    moment = now_us(desk.living, at_us)
    record = Record(
        mailing=wish.name or f"{from_us(moment):%Y-%m-%d}", model_version=desk.bundle.version,
        rules_version=desk.rulebook.version, as_of=desk.bundle.manifest["as_of"], at_us=moment,
        placements=wish.placements, recipients=len(listed.user_ids), chunk=CHUNK, digest=digest,
        counts=not wish.trial, written_us=time.time_ns() // 1000,
    )  # fmt: skip
    record.write(wish.out)
    return record


def _same(before: Record, digest: str, wish: Wish) -> Record:
    """The mailing of the directory, if it is the one that is asked for."""
    asked = {"--placement": (wish.placements, before.placements),
             "--mailing": (wish.name or before.mailing, before.mailing),
             "the list, or the config of mails,": (digest, before.digest),
             "--trial": (wish.trial, not before.counts)}  # fmt: skip
    for what, (now, then) in asked.items():
        if now != then:
            raise ValueError(f"--out {wish.out} holds the mailing {before.mailing!r}, and {what} "
                             "was another then; choose another --out")  # fmt: skip
    return before


def _digest(config: Config, listed: run.Listed) -> str:
    told = hashlib.sha256(config.digest(*_SECTIONS).encode())
    told.update(json.dumps(list(listed.user_ids)).encode())
    for one in listed.given or ():
        told.update(repr(one).encode())
    return told.hexdigest()
