"""`feeds mail`: decide a mailing, write its files, remember what was sent; docs/mailings.md."""

from __future__ import annotations

import asyncio
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from command import show
from command.mail_record import record_of
from command.mail_summary import mail_summary
from command.mail_wish import Wish, check
from features.config import Config
from features.home import Busy, Home, Progress
from serving.mailing import run, writing
from serving.mailing.opening import Shop, mailer_of, opened
from serving.mailing.parts import Record
from serving.mailing.suiting import check_suiting
from serving.mailing.summary import Summary
from serving.mailing.workers import Work, decide_all
from serving.state import StateUnavailable
from training.bundle import open_bundle


def mail(config: Config, base: Path, home: Home, file: Path, wish: Wish) -> None:
    """Do it, or go on where it was interrupted; raises ValueError where it cannot be done."""
    check(config, wish)
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


async def _mailed(shop: Shop, base: Path, wish: Wish, progress: Progress) -> Summary:
    before = Record.read(wish.out)
    bundle = open_bundle(shop.home, wish.model if before is None else before.model_version)
    async with opened(shop, bundle, wish.at_us if before is None else before.at_us) as desk:
        mailer = mailer_of(desk, base, shop.home)
        check_suiting(mailer, wish.placements)
        listed = wish.listed(desk)
        record = record_of(desk, shop.config, wish, listed, before)
        await decide_all(Work(shop, base, record, wish.out), mailer, listed, progress)
        if before is not None:
            await run.leave_out_the_forgotten(desk.state, wish.out)
        dressing = mailer.dressing_of(record.mailing, record.written_us)
        templates = mailer.templates if wish.html else None
        summary = writing.write(wish.out, dressing, desk.bundle.config, templates, progress)
        if record.counts:
            await run.remember(desk.state, shop.home, record, wish.out, progress)
    writing.finish(wish.out, summary)
    return summary
