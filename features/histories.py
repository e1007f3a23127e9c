"""Histories from the log: events as numbers, person by person in time order, or as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from features.engine import Engine
from features.online import ages_in_days, decayed
from features.options import Signal
from features.timelines import Timelines
from features.types import ORDER, Bytes, IdTable, Int64, UserItemMatrix

_BINARY = pa.large_binary()
_ROWS = 50_000  # texts turned into bytes at a time
LOG = (
    "row", "person_index", "item_index", "event_type", "signal", "had", "occurred_us", "sequence",
    "session_id", "channel", "value", "currency", "quantity", "duration_seconds", "placement",
    "decision_id", "position", "propensity",
)  # fmt: skip


def signal_of(events: ir.Table, signals: Sequence[str]) -> ir.IntegerValue:
    """int8: the place of an event's type among the signals, -1 when it carries none."""
    codes = ((events.event_type == name, code) for code, name in enumerate(signals))
    return ibis.cases(*codes, else_=-1).cast("int8")


def coded(
    events: ir.Table, persons: ir.Table, items: ir.Table, signals: Sequence[str], *,
    had: Sequence[bool], currency: str,
) -> ir.Table:  # fmt: skip
    """Clean events as numbers: the columns of LOG; a value without a currency is in `currency`.

    had: per signal, whether the person has the item after it
    """
    held = [name for name, has in zip(signals, had, strict=True) if has]
    full = events.mutate(
        signal=signal_of(events, signals),
        had=events.event_type.isin(held) if held else ibis.literal(False),
        currency=ibis.coalesce(events.currency, currency),
    )
    full = full.join(persons.select("person", "person_index"), "person")
    return full.join(items.select("item_id", "item_index"), "item_id").select(*LOG)


def read_timelines(engine: Engine, log: ir.Table, n_persons: int, n_items: int) -> Timelines:
    """Read all events that carry a signal into arrays, batch by batch."""
    carrying = log.filter(log.signal >= 0)
    n = int(engine.collect(carrying.aggregate(n=carrying.count()))["n"][0].as_py())
    columns = {"item_index": np.int32, "signal": np.int8, "occurred_us": np.int64,
               "session": np.int32}  # fmt: skip
    found: dict[str, NDArray[Any]] = {name: np.empty(n, kind) for name, kind in columns.items()}
    lengths, place = np.zeros(n_persons, np.int64), 0
    wanted = carrying.select("person_index", "sequence", "row", *columns)
    for batch in engine.batches(wanted, ["person_index", *ORDER]):
        lengths += np.bincount(batch["person_index"], minlength=n_persons)
        for name, array in found.items():
            array[place : place + batch.num_rows] = batch[name]
        place += batch.num_rows
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Timelines(
        indptr, found["item_index"], found["signal"], found["occurred_us"], found["session"],
        n_items,
    )  # fmt: skip


def matrix(
    engine: Engine, events: ir.Table, signals: dict[str, Signal], as_of_us: int
) -> UserItemMatrix:
    """Decayed interest of each person in each item, straight from events up to `as_of_us`.

    events: person, item_id, event_type, occurred_us. The short way from a log to a matrix, for a
    look in a notebook; caps of signals are not applied. `FeatureSet.matrix` of a build has the same
    numbers. Unsorted rows go batch by batch into coordinates, which SciPy sums.
    """
    persons, items = (
        engine.keep(f"matrix_{name}", numbered(events, name)) for name in ("person", "item_id")
    )
    ids = [IdTable.sorted(read_ids(engine, t)) for t in (persons, items)]
    joined = events.join(persons, "person").join(items, "item_id")
    cells = joined.select("person_index", "item_id_index", "occurred_us",
                          signal=signal_of(joined, list(signals)))  # fmt: skip
    n = int(engine.collect(events.aggregate(n=events.count()))["n"][0].as_py())
    rows, columns = np.empty(n, np.int32), np.empty(n, np.int32)
    weights, place = np.empty(n, np.float32), 0
    for batch in engine.batches(cells, ()):
        here, signal = slice(place, place + batch.num_rows), np.asarray(batch["signal"])
        rows[here], columns[here] = batch["person_index"], batch["item_id_index"]
        ages = ages_in_days(np.asarray(batch["occurred_us"]), as_of_us)
        weights[here] = np.maximum(decayed(signal, ages, signals), 0) * (signal >= 0)
        place += batch.num_rows
    shape = (len(ids[0]), len(ids[1]))
    found = sp.coo_matrix((weights, (rows, columns)), shape=shape).tocsr()
    found.eliminate_zeros()
    return UserItemMatrix(found, *ids)


def numbered(events: ir.Table, column: str) -> ir.Table:
    """The distinct values of a text column with `<column>_index` int32, in byte order."""
    distinct = events.select(column).distinct()
    place = ibis.row_number().over(ibis.window(order_by=distinct[column]))
    return distinct.mutate(**{f"{column}_index": place.cast("int32")})


def read_ids(engine: Engine, table: ir.Table) -> Bytes:
    """The ids of a `numbered` table (id first, then its index), by index: fixed-width bytes."""
    name, index = table.columns
    found = [batch[name] for batch in engine.batches(table, [index])]
    return fixed_width(pa.chunked_array(found, pa.string()))


def fixed_width(texts: pa.ChunkedArray) -> Bytes:
    """A column of texts as UTF-8 bytes of one width, without a Python object per text."""
    column = pa.concat_arrays(texts.cast(_BINARY).chunks or [pa.array([], _BINARY)])
    if not len(column):
        return np.empty(0, "S1")
    _, offsets, blob = column.buffers()
    ends: Int64 = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    letters = np.frombuffer(blob, np.uint8) if blob is not None else np.empty(0, np.uint8)
    width = max(int(np.diff(ends).max()), 1)
    table = np.zeros((len(column), width), np.uint8)
    for start in range(0, len(column), _ROWS):  # in pieces, for a place per letter is 8 bytes
        part = ends[start : start + _ROWS + 1]
        lengths = np.diff(part)
        row = np.repeat(np.arange(start, start + len(lengths)), lengths)
        place = np.arange(part[0], part[-1]) - np.repeat(part[:-1], lengths)
        table[row, place] = letters[part[0] : part[-1]]
    return table.view(f"S{width}")[:, 0]
