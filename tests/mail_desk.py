"""The small shop's desk, writing mails: what everybody on a list gets, block by block.

Every item has a page, a picture and a price. For mails there are `top` and `more` with two products
each, and `all` with as many as there are. A mail can have `r1 r2 r3 t1 t2 k1 k2`; the health things
are sensitive, or lie beside what is, `sold` is sold out, and `soon` is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import ref

import numpy as np
from small_desk import END_US, at_desk, changed, model

from features.mail_options import MailOptions
from features.messages import in_order
from features.types import HOUR_US, Texts
from serving.desk import Desk
from serving.mailing.blocks import Blocks, Mailing
from serving.mailing.dressing import Dressing
from serving.mailing.mailer import Mailer
from serving.mailing.recipients import Given
from serving.mailing.run import Listed, decided_blocks
from serving.mailing.sent import shown_of
from serving.rendering import load_templates
from serving.state import Fact, Shown
from serving.templating import Templates
from training.bundle import Bundle
from training.contacts import Contacts

SOON_US = END_US + HOUR_US  # when mails are decided, unless a test says otherwise
SUITABLE = {"r1", "r2", "r3", "t1", "t2", "k1", "k2"}
SITE = {"kind": "product", "size": 4, "not_repeated_for_days": 7}
BLOCK = {"channel": "email", "kind": "product", "size": 2, "not_repeated_for_days": 14}
PLACES = {"home": SITE, "top": BLOCK, "more": BLOCK, "all": {**BLOCK, "size": 9}}
MAIL = {"withhold": {"consent_default": "yes"}, "site": "https://shop.example"}


def shop(mail: Mapping[str, Any] = {}, withhold: Mapping[str, Any] = {}, **told: Any) -> Bundle:
    """The small shop with mails; `told` replaces sections, and `placements` adds to PLACES."""
    places = {**PLACES, **told.pop("placements", {})}
    own = {**MAIL, **mail, "withhold": {**MAIL["withhold"], **withhold}}
    made = changed(model(), **{"placements": places, "mail": own, "repeat": {}, **told})
    return replace(made, catalogue=dressed(made.catalogue))


def dressed(catalogue: Any, **other: Any) -> Any:
    """Every item has a page and a picture, and costs 5; `other`: arrays instead."""
    n, names = len(catalogue.ids), catalogue.ids.texts(np.arange(len(catalogue.ids)))
    whole = {
        "urls": Texts.of([f"/p/{one}" for one in names]),
        "image_urls": Texts.of([f"/i/{one}.png" for one in names]),
        "prices": np.full(n, 5, np.float32), **other,
    }  # fmt: skip
    return replace(catalogue, **whole)


def item_array(bundle: Bundle, values: Mapping[str, float], rest: float) -> Any:
    """(n_items,) float32: these values of these items."""
    ids = bundle.catalogue.ids
    return np.array([values.get(ids.text(i), rest) for i in range(len(ids))], np.float32)


def with_contacts(bundle: Bundle, **people: Mapping[str, Any]) -> Bundle:
    """What the table of customers says: fields of Contacts by customer."""
    n, names = len(bundle.persons), bundle.persons
    columns = {one.name: list(getattr(Contacts.nobody(n), one.name)) for one in fields(Contacts)}
    for user_id, told in people.items():
        for name, value in told.items():
            columns[name][names.index(f"u:{user_id}")] = value
    return replace(bundle, contacts=Contacts(
        np.array(columns.pop("consent_email"), np.int8),
        np.array(columns.pop("mails_per_week"), np.float32),
        **{name: Texts.of(texts) for name, texts in columns.items()},
    ))  # fmt: skip


def equipped(desk: Desk) -> Mailer:
    """The desk's mailer, as `mailer_of` makes it; templates are read once for all tests."""
    config = desk.bundle.config
    dressing = Dressing(desk.living.catalogue, config.mail, None, mailing="", expires=0)
    desk.mailer = Mailer(ref(desk), in_order(config.messages), _templates(), dressing)
    return desk.mailer


@cache
def _templates() -> Templates:
    return load_templates(MailOptions(), Path(), "en")


async def mails(
    desk: Desk, user_ids: Sequence[str], placements: Sequence[str] = ("top", "more"),
    at_us: int = SOON_US, given: Sequence[Given] | None = None, *, sent: bool = False,
) -> Blocks:  # fmt: skip
    """What a mailing decides; `sent`: and what it showed is remembered."""
    desk.living.advance(at_us)
    mailer = desk.mailer or equipped(desk)
    mailing = Mailing("week", tuple(placements), at_us)
    found = await decided_blocks(mailer, mailing, Listed(list(user_ids), given), counts=True)
    if sent:
        await desk.state.keep(list(shown_of(found, at_us)))
    return found


def decided(
    path: Path, user_ids: Sequence[str], *placements: str, bundle: Bundle | None = None,
    facts: Sequence[Fact] = (), shown: Sequence[Shown] = (), **more: Any,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """What one mailing decides: customer -> placement -> block; `shown`: what they saw before."""

    async def work(desk: Desk) -> Blocks:
        await desk.state.keep(shown)
        return await mails(desk, user_ids, placements or ("top", "more"), **more)

    return read(at_desk(path, work, facts, bundle or shop()))


def read(blocks: Blocks) -> dict[str, dict[str, Any]]:
    """Customer -> placement -> a block with the fields of Blocks, in the singular."""
    found: dict[str, dict[str, Any]] = {}
    for row in range(len(blocks)):
        block = {one.name.removesuffix("s"): getattr(blocks, one.name)[row]
                 for one in fields(Blocks)}  # fmt: skip
        found.setdefault(blocks.user_ids[row], {})[blocks.placements[row]] = SimpleNamespace(
            **block, items=blocks.item_ids[row]
        )
    return found


def items_of(mail: Mapping[str, Any]) -> list[str]:
    """All items of a mail, in their order."""
    return [item for block in mail.values() for item in block.items]


def saw(user_id: str, placement: str, items: Iterable[str], ago_us: int) -> Shown:
    """They were shown these items so long before the mails are decided: at home, or in a mail."""
    return Shown(
        decision_id=f"{user_id}.{placement}.{ago_us}", name=f"u:{user_id}", placement=placement,
        item_ids=list(items), at_us=SOON_US - ago_us, mail=placement not in ("home", "hall"),
    )  # fmt: skip
