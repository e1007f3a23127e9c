"""A mailing that can be read at a glance: two blocks, three recipients, two mails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import shelves
import worlds

from features.config import KINDS, Config
from features.types import Texts
from serving.links import LinkKey
from serving.mailing.blocks import Blocks
from serving.mailing.dressing import Dressing
from serving.mailing.parts import Record, write_part
from training.catalogue import Catalogue

KEY = LinkKey(1, b"k" * 32)
EXPIRES = 2_000_000_000
PLACEMENTS = ("top", "more")
AWKWARD = 'Roses, "big" ones\n<b>red</b>'
UTM = {"utm_source": "feeds", "utm_content": "{placement}-{position}"}


def pseudonym(user_id: str) -> str:
    return user_id.encode().hex().zfill(32)


def catalogue(**changes: Any) -> Catalogue:
    """The shelf of eight, with pages and pictures; g is an article.

    Of b a list price is known, of h not even a price.
    """
    n, letters = len(shelves.LETTERS), shelves.LETTERS
    told = {
        "titles": Texts.of([AWKWARD, *(f"Item {one}" for one in letters[1:])]),
        "urls": Texts.of([f"p/{one}" for one in letters]),
        "image_urls": Texts.of([f"i/{one}.png" for one in letters]),
        "kinds": np.array([KINDS.index("article" if one == "g" else "product") for one in letters],
                          np.int8),
        "prices": np.array([*shelves.PRICES[:-1], np.nan], np.float32),
        "list_prices": np.array([np.nan, 25.5, *[np.nan] * (n - 2)], np.float32),
        "descriptions": Texts.of([f"About {one}" for one in letters]),
    }  # fmt: skip
    return shelves.catalogue(**{**told, **changes})


def config(placements: Sequence[str] = PLACEMENTS, size: int = 2, **mail: Any) -> Config:
    """Blocks of products; `mail` is what else the config says of mails."""
    places = {one: {"channel": "email", "kind": "product", "size": size} for one in placements}
    told = {"site": "https://shop.example", "utm": UTM, "click_event": "view", **mail}
    return worlds.config(placements=places, mail=told)


def dressing(made: Config | None = None, key: LinkKey | None = None, **changes: Any) -> Dressing:
    return Dressing(catalogue(**changes), (made or config()).mail, key, "2026-w47", EXPIRES)


def block(user_id: str, placement: str, items: str = "", **told: Any) -> dict[str, Any]:
    """One block as a row; `items` are letters of the shelf, none: it is suppressed."""
    many = len(items)
    return {
        "user_ids": user_id, "pseudonyms": pseudonym(user_id), "placements": placement,
        "decisions": "show" if items else "suppress",
        "reasons": "known_history" if items else "too_few_items", "rungs": "one_to_one",
        "decision_ids": f"{user_id}-{placement}".encode().hex().ljust(24, "0")[:24],
        "segments": "", "stages": "", "languages": "en", "messages": "", "headlines": "",
        "arms": {}, "item_ids": list(items), "item_rungs": ["one_to_one"] * many,
        "rankers": ["als"] * many, "item_reasons": ["for you"] * many,
        "marks": [[] for _ in items], **told,
    }  # fmt: skip


def blocks(*rows: dict[str, Any]) -> Blocks:
    return Blocks(**{one.name: [row[one.name] for row in rows] for one in fields(Blocks)})


def everybody() -> Blocks:
    """c1 gets both blocks, c2 the second one, c3 did not agree to be written to."""
    one = {"segments": "gardeners", "stages": "loyal"}
    two = {"segments": "gardeners", "stages": "lapsed", "languages": "de"}
    never = {"reasons": "no_email_consent"}
    return blocks(
        block("c1", "top", "ab", **one, headlines="Hello, c1", messages="spring"),
        block("c1", "more", "c", **one, headlines="And more", arms={"purpose": "on"},
              marks=[["promoted"]]),
        block("c2", "top", **two, headlines="Not shown", messages="spring"),
        block("c2", "more", "ad", **two, decisions="fallback", reasons="no_opinion",
              item_rungs=["one_for_all", "segment"], headlines="Wieder da"),
        block("c3", "top", **never), block("c3", "more", **never),
    )  # fmt: skip


def decided(
    out: Path, *parts: Blocks, placements: Sequence[str] = PLACEMENTS, recipients: int | None = None
) -> Path:
    """A directory with these parts."""
    found = sum(len(one) for one in parts) // len(placements)
    Record(
        mailing="2026-w47", model_version="v1", rules_version="none", as_of="2026-11-01T00:00:00Z",
        at_us=worlds.NOW_US, placements=tuple(placements), chunk=1,
        recipients=found if recipients is None else recipients,
    ).write(out)  # fmt: skip
    for number, one in enumerate(parts):
        write_part(out, number, one)
    return out
