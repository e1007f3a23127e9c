"""The table engine, and the few things in which engines differ: one helper each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@ibis.udf.scalar.builtin(name="epoch_us")
def microseconds(time: dt.Timestamp("UTC")) -> dt.int64:  # type: ignore[empty-body, valid-type]
    """Microseconds since 1970, as int64; exact, unlike seconds as a float."""


@ibis.udf.scalar.builtin(name="timezone")
def _in_zone(zone: dt.string, time: dt.Timestamp()) -> dt.Timestamp("UTC"):  # type: ignore[empty-body, valid-type]
    """The moment at which clocks in `zone` showed `time`."""


@ibis.udf.scalar.builtin(name="try_strptime")
def try_strptime(text: dt.string, pattern: dt.string) -> dt.Timestamp():  # type: ignore[empty-body, valid-type]
    """The naive time that `text` shows under `pattern`, null where it does not fit."""


def local_to_utc(time: ir.TimestampValue, zone: str) -> ir.TimestampValue:
    """Naive local times as moments; the hour that a clock skips or repeats is read as winter."""
    moment: ir.TimestampValue = _in_zone(zone, time)
    return moment


def materialise(connection: Backend, name: str, table: ir.Table) -> ir.Table:
    """Compute `table` once and keep it under `name` for as long as the connection lives."""
    return connection.create_table(name, table, overwrite=True)
