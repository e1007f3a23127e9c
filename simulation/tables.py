"""The tables as Arrow: schemas of the contract, and writing that never leaves half a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulation.log import (
    EMPTY_USER,
    EVENT_TYPES,
    GIFT,
    NO_QUANTITY,
    NONE,
    PLACEMENTS,
    SHIPPING,
    EventType,
    Log,
)
from simulation.names import numbered

UTC_TIME = pa.timestamp("us", "UTC")
EVENTS = pa.schema(
    [
        ("occurred_at", UTC_TIME),
        ("event_type", pa.string()),
        ("item_id", pa.string()),
        ("user_id", pa.string()),
        ("visitor_id", pa.string()),
        ("session_id", pa.string()),
        ("channel", pa.string()),
        ("value", pa.float64()),
        ("currency", pa.string()),
        ("quantity", pa.int64()),
        ("duration_seconds", pa.float64()),
        ("placement", pa.string()),
        ("event_id", pa.string()),
    ]
)
IDENTITIES = pa.schema(
    [
        ("visitor_id", pa.string()),
        ("user_id", pa.string()),
        ("linked_at", UTC_TIME),
        ("unlinked_at", UTC_TIME),
    ]
)
MANY = ("occurred_at", "session_id", "event_id")  # too many values for a dictionary


class EventNames:
    """The ids behind the codes of a log, as Arrow arrays to take from."""

    def __init__(self, items: list[str], users: pa.StringArray, visitors: pa.StringArray) -> None:
        lower = [item.lower() for item in items]
        self.items = pa.array([*items, *lower, "SHIPPING", "GIFT-1"])
        self.users = pa.concat_arrays([users, pa.array([""])])
        self.visitors = visitors

    def table(self, log: Log) -> pa.Table:
        """The rows of a log with the columns and types of the contract."""
        paid = np.where(np.isnan(log["value"]), NONE, 0)
        mail = (log["event_type"] >= EventType.EMAIL_SEND).astype(np.int64)
        columns = {
            "occurred_at": times(log["occurred_us"]),
            "event_type": _take(pa.array(EVENT_TYPES), log["event_type"]),
            "item_id": _take(self.items, self._item_rows(log)),
            "user_id": _take(self.users, _or_last(log["user"], EMPTY_USER, self.users)),
            "visitor_id": _take(self.visitors, log["visitor"]),
            "session_id": _numbered_or_null("s", log["session"]),
            "channel": _take(pa.array(["site", "email"]), mail),
            "value": pa.array(np.ascontiguousarray(log["value"]), from_pandas=True),
            "currency": _take(pa.array(["EUR"]), paid),
            "quantity": pa.array(
                log["quantity"].astype(np.int64), mask=log["quantity"] == NO_QUANTITY
            ),
            "duration_seconds": _tenths(log["duration_seconds"]),
            "placement": _take(pa.array(PLACEMENTS), log["placement"]),
            "event_id": numbered("e", log["event"], 11),
        }
        return pa.table(columns, schema=EVENTS)

    def _item_rows(self, log: Log) -> NDArray[np.int64]:
        item, n = log["item"].astype(np.int64), (len(self.items) - 2) // 2
        item = np.where(log["lower_case"], item + n, item)
        item = np.where(item == SHIPPING, 2 * n, item)
        return np.where(item == GIFT, 2 * n + 1, item)


def times(at_us: NDArray[np.int64]) -> pa.Array:
    """Microseconds since 1970 as UTC times; negative is null."""
    at_us = np.ascontiguousarray(at_us)
    return pa.array(at_us, mask=at_us < 0).cast(UTC_TIME)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place once all is written."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Write a table chunk by chunk, one row group per call of write_table."""
    some = [name for name in schema.names if name not in MANY]
    with replacing(path) as partial, pq.ParquetWriter(partial, schema, use_dictionary=some) as out:
        yield out


def write_table(path: Path, columns: dict[str, object]) -> None:
    """Write one of the smaller tables in one go."""
    with replacing(path) as partial:
        pq.write_table(pa.table(columns), partial)


def _take(names: pa.Array, rows: NDArray[np.signedinteger]) -> pa.Array:
    """The names at these rows; negative is null."""
    rows = np.asarray(rows, dtype=np.int64)
    return names.take(pa.array(rows, mask=rows < 0))


def _or_last(rows: NDArray[np.int32], code: int, names: pa.Array) -> NDArray[np.int64]:
    return np.where(rows == code, len(names) - 1, rows).astype(np.int64)


def _numbered_or_null(prefix: str, number: NDArray[np.int64]) -> pa.Array:
    known = np.ascontiguousarray(number) >= 0
    return pc.if_else(pa.array(known), numbered(prefix, number, 10), pa.scalar(None, pa.string()))


def _tenths(seconds: NDArray[np.float32]) -> pa.Array:
    """float32 tenths as the nearest float64, so that 0.1 reads 0.1."""
    return pa.array(np.round(seconds.astype(np.float64), 1), from_pandas=True)
