"""A desk for mails where no service runs: the model, the store and the rules of this moment."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import ref

import numpy as np

from features.config import KINDS, Config
from features.decided import salt
from features.home import Home
from features.mail_options import EMAIL
from features.messages import in_order
from features.types import from_us
from serving.desk import Desk
from serving.dry import Unlogged
from serving.link_keys import LinkKeys
from serving.living import Living
from serving.mailing.dressing import Dressing
from serving.mailing.mailer import Mailer
from serving.rendering import load_templates
from serving.rulebook import Rulebook
from serving.state import State
from serving.states import state_of
from training.bundle import Bundle

OF_TODAY = ("placements", "messages", "experiments", "mail", "rules")  # sections of the config
_log = logging.getLogger("feeds.mails")


@dataclass(frozen=True)
class Shop:
    """What a command knows of a shop: today's config, the file it is from, and the home."""

    config: Config
    file: Path
    home: Home


def of_today(bundle: Bundle, config: Config) -> Bundle:
    """The model, with what today's config says of placements, messages, experiments and mails.

    Nothing of it was learned; the rest of the config stays the model's own.
    """
    told = {name: getattr(config, name) for name in OF_TODAY}
    return replace(bundle, config=bundle.config.model_copy(update=told))


@asynccontextmanager
async def opened(shop: Shop, bundle: Bundle, at_us: int | None) -> AsyncIterator[Desk]:
    """A desk that decides and logs nothing by itself.

    at_us: the moment that is the present; None: by the shop's clock
    Raises StateUnavailable: without the store nobody knows who said no. Raises ValueError for a
    moment before the model's: it knows what came after.
    """
    if at_us is not None and at_us < bundle.as_of_us:
        raise ValueError(
            f"--at {from_us(at_us):%Y-%m-%d %H:%M} is before the moment of model {bundle.version}, "
            f"{bundle.manifest['as_of']}: it knows what came after; ask for a later one"
        )
    state: State = state_of(shop.home, bundle.config, shop.file)
    try:
        living = await Living.of(of_today(bundle, shop.config), state)
        living.advance(now_us(living, at_us))
        rules = Rulebook.of(None, living)  # those of today, whatever becomes of the file
        desk = Desk(living, state, rules, Unlogged(), salt(shop.home.salt))
        with _no_collections():
            yield desk
    finally:
        await state.close()


@contextmanager
def _no_collections() -> Iterator[None]:
    """A mailing makes millions of lists and hardly a cycle: to look for cycles costs a third."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def now_us(living: Living, at_us: int | None) -> int:
    """The present of a mailing, microseconds since 1970 UTC."""
    if at_us is not None:
        return at_us
    base = living.base
    return living.newest_us if base.config.shop.clock == "as_of" else base.now_us()


def nearly_sold_out(desk: Desk) -> Desk:
    """The same desk on a day on which of each kind only one item is to be had."""
    living, opened_ = desk.living, np.zeros_like(desk.living.opened)
    for code in range(len(KINDS)):
        own = np.flatnonzero(living.opened & (living.catalogue.kinds == code))
        opened_[own[:1]] = True
    bare = replace(living, opened=opened_)
    return replace(desk, living=bare, rulebook=Rulebook.of(desk.rulebook.path, bare), _shelves={})


def mailer_of(desk: Desk, base: Path, home: Home | None, today: Config | None = None) -> Mailer:
    """What the desk needs to write mails.

    today: says how mails are and what is told in them; None: the desk's own config does
    base: the directory that the paths of templates are relative to
    home: has the keys of links, where `mail.links` is set
    Raises ValueError for a template, or a file of keys, that cannot be used.
    """
    config = today or desk.bundle.config
    templates = load_templates(config.mail, base, config.shop.language)
    dressing = Dressing(desk.living.catalogue, config.mail, None, mailing="", expires=0)
    keys = LinkKeys(home) if config.mail.links and home is not None else None
    return Mailer(ref(desk), in_order(config.messages), templates, dressing, keys)


def equipped(desk: Desk, base: Path, home: Home, today: Config) -> None:
    """Make the desk of a service ready to write mails if the shop has placements for them.

    Every item is looked at once, which takes a second for 30,000: not on the event loop. A template
    that cannot be used stops no feed: whoever asks for a mail is told of it.
    """
    places = desk.bundle.config.placements
    blocks = [name for name, place in places.items() if place.channel == EMAIL]
    if not blocks:
        desk.no_mails = "no placement of the model has `channel: email`"
        return
    try:
        mailer = mailer_of(desk, base, home, today)
        for name in blocks:
            mailer.suitable(name, desk.shelf(name).open)
        desk.mailer = mailer
    except (ValueError, OSError) as error:
        desk.no_mails = f"mails cannot be written: {error}"
        _log.error("%s", desk.no_mails)
