"""Tables inside DuckDB and SQLite files, read and never written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa

from features.config import ConfigError
from features.engine import quoted, quoted_name
from features.expressions import unknown_name

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


def read_duckdb(connection: Backend, file: Path, table: str, *, name: str) -> ir.Table:
    """A table or view, in the order in which the file keeps its rows."""
    database = f"db_{name}"
    connection.raw_sql(f"DETACH DATABASE IF EXISTS {quoted_name(database)}")
    connection.raw_sql(f"ATTACH {quoted(str(file))} AS {quoted_name(database)} (READ_ONLY)")
    there = connection.raw_sql(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $1 UNION ALL "
        "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal AND "
        "database_name = $1",
        parameters=[database],
    ).fetchall()
    found = {n if s == "main" else f"{s}.{n}": (str(s), str(n)) for s, n in there}
    if table not in found:
        raise ConfigError(f"sources.{name}.table: {file.name}: "
                          f"{unknown_name(table, sorted(found), 'table')}")  # fmt: skip
    schema, own = found[table]
    path = ".".join(quoted_name(part) for part in (database, schema, own))
    return connection.sql(_numbered(path, file))


def read_sqlite(connection: Backend, file: Path, table: str, *, name: str) -> ir.Table:
    """Read through the standard library: DuckDB's own reader wants a download."""
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
        try:
            there = database.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            )
            known = sorted(row[0] for row in there)
            if table not in known:
                told = unknown_name(table, known, "table")
                raise ConfigError(f"sources.{name}.table: {file.name}: {told}")
            cursor = database.execute(f"SELECT * FROM {quoted_name(table)}")
            names = [column[0] for column in cursor.description]
            values = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(names)
        except sqlite3.Error as error:
            raise ConfigError(f"sources.{name}: {file.name}: {error}") from None
    columns = {n: _column(column) for n, column in zip(names, values, strict=True)}
    connection.create_table(f"sqlite_{name}", pa.table(columns), overwrite=True)
    return connection.sql(_numbered(quoted_name(f"sqlite_{name}"), file))


def _numbered(table: str, file: Path) -> str:
    return (f"SELECT *, {quoted(str(file))} AS source_file, row_number() OVER () AS source_row "
            f"FROM {table}")  # fmt: skip


def _column(values: tuple[object, ...]) -> pa.Array:
    """SQLite types values, not columns: one without values, or of several types, is text."""
    try:
        column = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        column = pa.array([None if v is None else str(v) for v in values], pa.string())
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column
