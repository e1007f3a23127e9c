"""`feeds mail --preview`: a page with the mailing as several kinds of readers get it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from command import show
from command.mail_wish import Wish, check
from command.side_by_side import picture_of
from features.config import Config
from features.home import Home, written_beside
from features.types import from_us
from serving.links import address
from serving.mailing.blocks import Mailing
from serving.mailing.dressing import Dressing
from serving.mailing.opening import Shop, mailer_of, nearly_sold_out, now_us, opened
from serving.mailing.personas import STRANGER, TOO_FEW, Known, Reader, choose
from serving.mailing.personas import preview as page_of
from serving.mailing.recipients import Given, recipients_of
from serving.mailing.run import Listed, decided_blocks
from serving.mailing.suiting import check_suiting
from serving.state import StateUnavailable
from serving.templating import Templates
from training.bundle import open_bundle
from training.catalogue import Catalogue

PAGE = "preview.html"
WILLING = Given(consent_email=True)  # of the stranger: else every shop's preview would be alike
LOOKED_AT = 20_000  # of the list, for somebody of each kind


def preview(config: Config, base: Path, home: Home, file: Path, wish: Wish) -> None:
    """Write a page with the mailing as some kinds of readers get it; nothing is remembered."""
    check(config, wish)
    try:
        page = asyncio.run(_previewed(Shop(config, file, home), base, wish))
    except StateUnavailable as error:
        raise ValueError(f"{error}; without it nobody knows who wants no mail") from None
    show.console.print(f"look at {page}", soft_wrap=True, highlight=False)


async def _previewed(shop: Shop, base: Path, wish: Wish) -> Path:
    async with opened(shop, open_bundle(shop.home, wish.model), wish.at_us) as desk:
        mailer = mailer_of(desk, base, None)
        check_suiting(mailer, wish.placements)
        moment = now_us(desk.living, wish.at_us)
        mailing = Mailing(wish.name or f"{from_us(moment):%Y-%m-%d}", wish.placements, moment)
        some = wish.listed(desk).part(0, LOOKED_AT)
        found = await recipients_of(desk, mailer.dressing.mail, some.user_ids, moment, some.given)
        known = Known.of(found)
        bare = nearly_sold_out(desk)  # a mailer does not keep its desk
        scarce = mailer_of(bare, base, None)
        readers = []
        for kind, user_id in choose(known).items():
            own = scarce if kind == TOO_FEW else mailer
            asked = Listed([user_id], [WILLING]) if kind == STRANGER else some.only(user_id)
            blocks = await decided_blocks(own, mailing, asked, counts=False)
            readers.append(Reader(kind, blocks, known.facts(user_id)))
        dressing = replace(mailer.dressing, mailing=mailing.name)
        return write_preview(wish.out, readers, dressing, desk.bundle.config,
                             (mailer.templates, base))  # fmt: skip


def write_preview(
    out: Path, readers: list[Reader], dressing: Dressing, config: Config,
    kit: tuple[Templates, Path],
) -> Path:  # fmt: skip
    """Write OUT/preview.html, which needs nothing else; returns where it lies.

    kit: the templates, and the directory of the config, where pictures without an address of the
         web may lie
    """
    templates, base = kit
    shown = {item for one in readers for items in one.blocks.item_ids for item in items}
    pictures = pictures_of(dressing.catalogue, sorted(shown), config.mail.site, base)
    with written_beside(out / PAGE) as beside:
        page = page_of(readers, dressing, config, templates, pictures)
        beside.write_text(page, encoding="utf-8")
    return out / PAGE


def pictures_of(
    catalogue: Catalogue, item_ids: Iterable[str], site: str | None, base: Path
) -> dict[str, str]:
    """Address of a picture in the mails -> what a browser shows for it, such as its content.

    A browser shows kinds of pictures that mail clients do not, such as SVG.
    """
    found = {}
    for item_id in item_ids:
        url = catalogue.details(int(catalogue.find([item_id])[0]))["image_url"]
        picture = picture_of(url, base)
        if picture is not None:
            found[address(url, site)] = picture
    return found
