"""The wide table for e-mail services: one line per mail, every field of every item a column."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import lru_cache
from typing import TextIO

from serving.mail_blocks import BlockItem
from serving.mailing.dressing import DressedMail

_ITEM = ("id", "title", "url", "image_url", "price", "list_price", "currency", "brand", "reason")
_NOTHING = "," * (len(_ITEM) - 1)
_END = "\r\n"


class Sheet:
    """Writes mails as lines of CSV (RFC 4180). What is the same in many lines is quoted once.

    handle: UTF-8, with newline=""; the line of headings is written at once
    sizes:  placement -> items at most, in the order of the mail
    """

    def __init__(self, handle: TextIO, sizes: Mapping[str, int]) -> None:
        self._handle, self._sizes = handle, sizes
        self._items: dict[str, tuple[str, str]] = {}  # by id: before the link, after it
        handle.write(_quoted(*_head(sizes)) + _END)

    def __call__(self, mail: DressedMail) -> None:
        """Write a line; what is not there is empty.

        Raises ValueError for a block of more items than its placement has.
        """
        line = [_quoted(mail.user_id), _often(mail.language, mail.subject)]
        for block in mail.blocks:
            free = self._sizes[block.placement] - len(block.items)
            if free < 0:
                raise ValueError(
                    f"placements.{block.placement}.size is {self._sizes[block.placement]}, but the "
                    "mailing was decided with more; use the config that it was decided with"
                )
            line.append(_often(block.headline) if block.items else "")
            line += [self._item(item) for item in block.items]
            line += [_NOTHING] * free
        self._handle.write(",".join(line) + _END)

    def _item(self, item: BlockItem) -> str:
        kept = self._items.get(item.item_id)
        if kept is None:
            kept = self._items[item.item_id] = (
                _quoted(item.item_id, item.title),
                _quoted(item.image_url, _amount(item.price), _amount(item.list_price),
                        item.currency, item.brand),
            )  # fmt: skip
        url = _quoted(item.url) if "," in item.url else item.url  # it has no quotes, no line breaks
        return f"{kept[0]},{url},{kept[1]},{_often(item.reason)}"


def _head(sizes: Mapping[str, int]) -> list[str]:
    """With several placements their names stand before their columns."""
    found = ["user_id", "language", "subject"]
    for name, size in sizes.items():
        before = f"{name}_" if len(sizes) > 1 else ""
        found.append(f"{before}headline")
        found += [f"{before}item{place}_{one}" for place in range(1, size + 1) for one in _ITEM]
    return found


def _quoted(*cells: str) -> str:
    """A piece of a line, without its end."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator=_END).writerow(cells)
    return line.getvalue().removesuffix(_END)


@lru_cache(maxsize=10_000)
def _often(*cells: str) -> str:
    """The same for what comes often."""
    return _quoted(*cells) if any(cells) else "," * (len(cells) - 1)


def _amount(price: float | None) -> str:
    """A plain number, whatever the language."""
    return "" if price is None else f"{price:.2f}"
