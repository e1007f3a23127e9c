"""The table engine, and the few things in which engines differ: one helper each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


def connect(scratch: Path | None = None) -> Backend:
    """An embedded DuckDB that thinks in UTC and spills to `scratch`."""
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'UTC'")
    if scratch is not None:
        connection.raw_sql(f"SET temp_directory = {quoted(str(scratch))}")
    return connection


@contextmanager
def connected(scratch: Path) -> Iterator[Backend]:
    """`connect` for the length of a block."""
    connection = connect(scratch)
    try:
        yield connection
    finally:
        connection.disconnect()


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _function(name: str, *types: Any) -> Callable[..., Any]:
    """A function that Ibis does not know: the types of its arguments, then of its result."""

    def shape(*_arguments: Any) -> None: ...

    arguments = [
        Parameter(f"a{place}", Parameter.POSITIONAL_ONLY) for place in range(len(types) - 1)
    ]
    shape.__signature__ = Signature(arguments)  # type: ignore[attr-defined]
    known = (types[:-1], types[-1])
    found: Callable[..., Any] = ibis.udf.scalar.builtin(shape, name=name, signature=known)
    return found


_UTC = dt.Timestamp("UTC")
_epoch_us = _function("epoch_us", _UTC, dt.int64)
_in_zone = _function("timezone", dt.string, dt.Timestamp(), _UTC)


def microseconds(time: ir.Value) -> ir.IntegerValue:
    """Microseconds since 1970, as int64; exact, unlike seconds as a float."""
    count: ir.IntegerValue = _epoch_us(time)
    return count


def local_to_utc(time: ir.TimestampValue, zone: str) -> ir.TimestampValue:
    """Naive local times as moments; the hour that a clock skips or repeats is read as winter."""
    moment: ir.TimestampValue = _in_zone(zone, time)
    return moment


def materialise(connection: Backend, name: str, table: ir.Table) -> ir.Table:
    """Compute `table` once and keep it under `name` for as long as the connection lives."""
    return connection.create_table(name, table, overwrite=True)
