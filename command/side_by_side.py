"""Feeds of one person side by side, as HTML for a notebook: pictures, titles, reasons."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from command.askers import Asker
from command.heat import RUNG_WORDS
from command.pages import TEMPLATES
from features.types import DAY_US, HOUR_US, MINUTE_US
from training.bundle import Bundle

LARGEST = 200_000  # bytes of a picture: a notebook holds a copy of each
_TYPES = {".svg": "svg+xml", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclass(frozen=True)
class Card:
    """An item in a column.

    facts: small print      why: the reason that a customer would read
    picture: a URL; None: a plain placeholder      mark: what is special about it, "" for nothing
    """

    item_id: str
    title: str
    facts: str
    why: str
    picture: str | None
    mark: str = ""


def cards(rows: pa.Table, bundle: Bundle, shop: Path) -> list[Card]:
    """The feed of one person: `rows` as `training.batch.RANKED` has them, best first.

    shop: the directory that the pictures of the catalogue are relative to
    """
    find = bundle.catalogue.ids.index
    return [
        _card(bundle, find(row["item_id"]), f"{RUNG_WORDS[row['rung']]} · {row['ranker']}",
              row["reason"], shop)
        for row in rows.to_pylist()
    ]  # fmt: skip


def known(bundle: Bundle, asker: Asker, shop: Path, most: int) -> list[Card]:
    """What a model may know: the items of this visit, or of a customer's past; newest first.

    At most `most` different ones.
    """
    if asker.recent or not asker.ids:
        items = reversed(bundle.catalogue.find(asker.recent).tolist())
        seen = [item for item in dict.fromkeys(items) if item >= 0]
        return [_card(bundle, item, "in this visit", "", shop) for item in seen[:most]]
    log, signals = bundle.timelines, list(bundle.config.signals)
    row = int(bundle.rows(asker.ids)[0])
    entries = range(int(log.indptr[row + 1]) - 1, int(log.indptr[row]) - 1, -1) if row >= 0 else ()
    found: dict[int, Card] = {}
    for entry in entries:
        item, ago = int(log.items[entry]), _ago(bundle.as_of_us - int(log.occurred_us[entry]))
        did = f"{signals[int(log.signals[entry])]}, {ago}"
        found.setdefault(item, _card(bundle, item, did, "", shop))
        if len(found) == most:
            break
    return list(found.values())


def compared(one: Sequence[Card], other: Sequence[Card]) -> tuple[list[Card], list[Card]]:
    """Both feeds, marked: what only one of them has, and by how many places the others moved."""
    before, after = ({card.item_id: place for place, card in enumerate(feed)}
                     for feed in (one, other))  # fmt: skip
    first = [card if card.item_id in after else replace(card, mark="only here") for card in one]
    second = []
    for place, card in enumerate(other):
        moved = before.get(card.item_id, place) - place
        arrow = f"{'▲' if moved > 0 else '▼'} {abs(moved)}" if moved else ""
        second.append(replace(card, mark=arrow if card.item_id in before else "new"))
    return first, second


def beside(title: str, columns: Mapping[str, Sequence[Card]]) -> str:
    """One person's columns as HTML; every text of the data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    longest = max((len(column) for column in columns.values()), default=0)
    places = [[column[place] if place < len(column) else None for column in columns.values()]
              for place in range(longest)]  # fmt: skip
    return environment.get_template("side_by_side.html").render(
        title=title, headings=[name.split("\n") for name in columns], places=places
    )


def _card(bundle: Bundle, item: int, facts: str, why: str, shop: Path) -> Card:
    catalogue = bundle.catalogue
    picture = picture_of(catalogue.image_urls[item], shop)
    return Card(catalogue.ids.text(item), catalogue.name(item), facts, why, picture)


def _ago(gone_us: int) -> str:
    """A time that has gone by, in its largest whole unit."""
    for size, unit in ((DAY_US, "day"), (HOUR_US, "hour"), (MINUTE_US, "minute")):
        if gone_us >= size:
            return f"{gone_us // size} {unit}{'s' if gone_us >= 2 * size else ''} ago"
    return "just now"


def picture_of(url: str | None, shop: Path) -> str | None:
    """A URL that a notebook can show: a file within the shop's directory comes as its content.

    None: there is no picture, or one that is too large, or no web address and no such file.
    """
    if not url or url.startswith(("https://", "http://")):
        return url or None
    file = (shop / url).resolve()
    kind = _TYPES.get(file.suffix.lower())
    if not kind or not file.is_relative_to(shop.resolve()) or not file.is_file():
        return None
    content = file.read_bytes()
    if len(content) > LARGEST:
        return None
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
