"""Pages of a feed without repeats: a cursor says what the pages before have shown.

Nothing is kept for it. So it outlives a worker, a new model, and whatever moves the order between
two pages: the next page is the best of what has not been shown.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from serving.api import MAX_CURSOR
from serving.desk import BadRequest

MOST = 1000  # items of all pages together: nobody pages on
_READS = 4 * 256 * MOST  # bytes that a cursor of ours can unpack to, at most
_SHORT = 1000  # bytes that are not worth the time it takes to make them fewer
_ids = msgspec.json.Decoder(list[str])


def read(cursor: str | None) -> list[str]:
    """The ids that were shown, in their order. Raises BadRequest for what we did not write."""
    if cursor is None:
        return []
    try:
        unpacked = zlib.decompressobj()
        told = unpacked.decompress(urlsafe_b64decode(cursor), _READS)
        if not unpacked.eof:
            raise ValueError("cut off, or longer than any of ours")
        ids = _ids.decode(told)
        if len(ids) > MOST:
            raise ValueError("more than any of ours")
        return ids
    except (ValueError, zlib.error, msgspec.DecodeError):
        raise BadRequest("cursor", "send `next_cursor` of the page before, unchanged") from None


def write(before: Sequence[str], items: Sequence[Mapping[str, Any]], size: int) -> str | None:
    """What asks for the next page; None: this was the last one."""
    shown = [*before, *(one["item_id"] for one in items)]
    if len(items) < size or len(shown) >= MOST:
        return None
    told = msgspec.json.encode(shown)
    written = urlsafe_b64encode(zlib.compress(told, int(len(told) > _SHORT))).decode()
    return written if len(written) <= MAX_CURSOR else None  # ids that are long, and many
