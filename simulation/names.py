"""Ids as strings, made by the million."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from simulation.catalogue import Catalogue

DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
SCRAMBLE = 2_654_435_761  # odd, hence one-to-one modulo 2^32 (Knuth's multiplicative hash)


def numbered(prefix: str, number: NDArray[np.int64], width: int) -> pa.StringArray:
    """Strings of a prefix and a number of so many digits."""
    return _spell(prefix, number, width, base=10)


def user_ids(number: NDArray[np.int64]) -> pa.StringArray:
    """The ids of customers by their row in People."""
    return numbered("u", number + 1, 7)


def visitor_ids(number: NDArray[np.int64]) -> pa.StringArray:
    """The ids of visitors: like hashes, so that they do not give away who is who."""
    return _spell("v", (number * SCRAMBLE + 12_345) % 2**32, 8, base=16)


def item_ids(catalogue: Catalogue) -> list[str]:
    """SKU-00001 for products, ART-00001 for articles, in catalogue order."""
    width = max(5, len(str(len(catalogue))))
    kinds = np.where(catalogue.article, "ART", "SKU").tolist()
    pairs = zip(kinds, catalogue.number.tolist(), strict=True)
    return [f"{kind}-{number:0{width}d}" for kind, number in pairs]


def _spell(prefix: str, number: NDArray[np.int64], width: int, base: int) -> pa.StringArray:
    """Fill one buffer digit by digit: a hundred times faster than formatting."""
    size = len(prefix) + width
    text = np.empty((len(number), size), dtype=np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    rest = number.astype(np.int64)
    for column in range(size - 1, len(prefix) - 1, -1):
        rest, digit = np.divmod(rest, base)
        text[:, column] = DIGITS[digit]
    offsets = np.arange(len(number) + 1, dtype=np.int32) * np.int32(size)
    return pa.StringArray.from_buffers(len(number), pa.py_buffer(offsets), pa.py_buffer(text))
