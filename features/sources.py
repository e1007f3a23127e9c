"""Open a table of the contract where the config says it lies, and map it by the config.

What comes out has the contract's column names, still in the source's types, plus `source_file` and
`source_row` (from 1) that say where each row came from. Nothing is judged here; that is the contract.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa

from features.config import ConfigError, Source
from features.engine import quoted, quoted_name
from features.expressions import column_names, is_column, parse

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".gz": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".duckdb": "duckdb", ".ddb": "duckdb", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite",
}  # fmt: skip
ORIGIN = ("source_file", "source_row")


@dataclass(frozen=True)
class Mapped:
    """A source under the contract's names.

    raw:        every column of the source, with its origin
    table:      the mapped columns, with their origin
    columns:    contract name -> checked SQL over the source
    left_out:   rows that `where` kept away
    unreadable: lines that are no rows at all: source_file, source_row, reason, row
    unused:     columns of the source that no mapping reads
    """

    raw: ir.Table
    table: ir.Table
    columns: dict[str, str]
    left_out: int
    unreadable: pa.Table
    unused: list[str]


UNREADABLE = pa.schema(
    {"source_file": pa.string(), "source_row": pa.int64(), "reason": pa.string(), "row": pa.string()}
)


def source_files(source: Source, base: Path, name: str) -> list[Path]:
    """The files of a source, sorted by name; `base` is where the config lies."""
    assert source.path is not None  # the config allows nothing else here
    pattern = str(base / source.path)
    files = [Path(found) for found in sorted(glob(pattern, recursive=True))]  # noqa: PTH207
    if not files:
        raise ConfigError(
            f"sources.{name}.path: no file matches {pattern}; paths are relative to the config"
        )
    return files


def open_source(
    connection: Backend, source: Source, files: list[Path], *, name: str, contract: tuple[str, ...],
    ids: frozenset[str],
) -> Mapped:  # fmt: skip
    """Open `files` and map them; `contract` are the table's columns, `ids` those that are ids."""
    raw, unreadable = _open(connection, source, files, name=name, ids=ids)
    return map_columns(raw, unreadable, source, name=name, contract=contract)


def map_columns(
    raw: ir.Table, unreadable: pa.Table, source: Source, *, name: str, contract: tuple[str, ...]
) -> Mapped:
    """Give `raw` the contract's column names by the expressions of the config."""
    available = [column for column in raw.columns if column not in ORIGIN]
    columns = _expressions(source, available, name, contract)
    restricted, left_out, condition = raw, 0, "TRUE"
    if source.where is not None:
        condition = parse(source.where, available, where=f"sources.{name}.where")
        restricted = _select(raw, "*", alias=f"all_{name}", condition=f"TRY({condition})")
        left_out = int(raw.count().execute()) - int(restricted.count().execute())
    wanted = "".join(f", {_safe(sql)} AS {quoted_name(c)}" for c, sql in columns.items())
    mapped = _select(restricted, ", ".join(ORIGIN) + wanted, alias=f"chosen_{name}")
    read = {one.lower() for sql in [*columns.values(), condition] for one in column_names(sql)}
    unused = [column for column in available if column.lower() not in read]
    return Mapped(raw, mapped, columns, left_out, unreadable, unused)


def rows_as_json(mapped: Mapped, keys: ir.Table, *, name: str) -> ir.Table:
    """The untouched rows of the source at the origins in `keys`, as source_file, source_row, row."""
    chosen = mapped.raw.semi_join(keys, list(ORIGIN))
    names = [quoted_name(c) for c in mapped.raw.columns if c not in ORIGIN]
    row = "CAST(to_json({" + ", ".join(f"{n}: {n}" for n in names) + "}) AS VARCHAR) AS row"
    return _select(chosen, ", ".join([*ORIGIN, row]), alias=f"refused_{name}")


def _select(table: ir.Table, what: str, *, alias: str, condition: str = "TRUE") -> ir.Table:
    """`alias` must be unlike every other one that ends up in the same query."""
    return table.alias(alias).sql(f"SELECT {what} FROM {alias} WHERE {condition}")  # noqa: S608


def _safe(sql: str) -> str:
    """One value that cannot be computed spoils its row, not the read: it becomes NULL."""
    return sql if is_column(sql) else f"TRY({sql})"


def _expressions(
    source: Source, available: list[str], name: str, contract: tuple[str, ...]
) -> dict[str, str]:
    if not source.columns:
        same = [c for c in available if c in contract]
        return {column: quoted_name(column) for column in same}
    if unknown := [c for c in source.columns if c not in contract]:
        raise ConfigError(
            f"sources.{name}.columns: {unknown} not in the contract; {name} may have {contract}"
        )
    return {
        column: parse(text, available, where=f"sources.{name}.columns.{column}")
        for column, text in source.columns.items()
    }


def _open(
    connection: Backend, source: Source, files: list[Path], *, name: str, ids: frozenset[str]
) -> tuple[ir.Table, pa.Table]:
    kinds = {source.format or _FORMATS.get(file.suffix.lower()) for file in files}
    if len(kinds) > 1 or None in kinds:
        raise ConfigError(
            f"sources.{name}: cannot tell the format of {[f.name for f in files]}; set `format:` "
            "to parquet, csv, jsonl, duckdb or sqlite, one format per source"
        )
    kind = kinds.pop()
    none = UNREADABLE.empty_table()
    if kind == "parquet":
        return _parquet(connection, files), none
    if kind in ("csv", "jsonl"):
        text = _text(connection, source, files, kind=str(kind), name=name, ids=ids)
        return text, _csv_rejects(connection, name) if kind == "csv" else none
    if len(files) > 1:
        raise ConfigError(f"sources.{name}: one {kind} file at a time; {len(files)} match the path")
    return _database(connection, source, files[0], kind=str(kind), name=name), none


def _paths(files: list[Path]) -> str:
    return "[" + ", ".join(quoted(str(file)) for file in files) + "]"


def _parquet(connection: Backend, files: list[Path]) -> ir.Table:
    return connection.sql(
        "SELECT * EXCLUDE (file_row_number), file_row_number + 1 AS source_row FROM read_parquet("  # noqa: S608
        f"{_paths(files)}, file_row_number = true, filename = 'source_file', union_by_name = true)"
    )


def _text(
    connection: Backend, source: Source, files: list[Path], *, kind: str, name: str,
    ids: frozenset[str],
) -> ir.Table:  # fmt: skip
    """CSV or JSON lines: types are found from all rows; ids stay the text that the file has."""
    reader, option, extra = _TEXT_READERS[kind]
    options = f"sample_size = -1, {extra}"
    sniffed = f"DESCRIBE SELECT * FROM {reader}({_paths(files)}, {options})"  # noqa: S608
    types = {str(row[0]): str(row[1]) for row in connection.raw_sql(sniffed).fetchall()}
    mapped = {source.columns.get(c, c).strip().strip('"').lower() for c in ids}
    as_text = [c for c, kind in types.items() if c.lower() in mapped and kind != "VARCHAR"]
    floats = [c for c in as_text if types[c] == "DOUBLE"]
    listed = ", ".join(
        f"{quoted(c)}: {quoted('VARCHAR' if c in as_text else t)}" for c, t in types.items()
    )
    replaced = ", ".join(f"{_without_point_zero(c)} AS {quoted_name(c)}" for c in floats)
    connection.raw_sql(
        f"CREATE OR REPLACE TABLE {quoted_name('text_' + name)} AS SELECT * REPLACE (source_row - "  # noqa: S608
        "min(source_row) OVER (PARTITION BY source_file) + 1 AS source_row) FROM (SELECT * "
        f"{f'REPLACE ({replaced})' if replaced else ''}, row_number() OVER () AS source_row FROM "
        f"{reader}({_paths(files)}, {options}, {option} = {{{listed}}}, filename = 'source_file'))"
    )
    return connection.table("text_" + name)


_TEXT_READERS = {  # format -> reader, its option for types, other options
    "csv": ("read_csv", "types", "store_rejects = true"),
    "jsonl": ("read_json", "columns", "format = 'newline_delimited', union_by_name = true"),
}


def _without_point_zero(column: str) -> str:
    """An id that a tool wrote as a float: 17850.0 is 17850."""
    return f"regexp_replace({quoted_name(column)}, '\\.0+$', '')"


def _csv_rejects(connection: Backend, name: str) -> pa.Table:
    """Lines that DuckDB could not read as rows, from the tables where it keeps them.

    The rows after such a line are numbered anew, so that `source_row` counts the file's rows.
    """
    found = connection.raw_sql(
        "SELECT DISTINCT ON (f.file_path, e.line) f.file_path AS source_file, "
        "CAST(e.line AS BIGINT) - 1 AS source_row, "
        "'unreadable line: ' || lower(CAST(e.error_type AS VARCHAR)) AS reason, "
        "e.csv_line AS row FROM reject_errors e JOIN reject_scans f USING (scan_id, file_id) "
        "ORDER BY f.file_path, e.line"
    ).to_arrow_table()
    if found.num_rows:
        connection.create_table("unreadable_lines", found, overwrite=True)
        connection.raw_sql(
            f"UPDATE {quoted_name('text_' + name)} AS t SET source_row = source_row + ("  # noqa: S608
            "SELECT count(*) FROM (SELECT source_file, source_row - row_number() OVER (PARTITION BY"
            " source_file ORDER BY source_row) AS before FROM unreadable_lines) u "
            "WHERE u.source_file = t.source_file AND t.source_row > u.before)"
        )
    return found.cast(UNREADABLE)


def _database(
    connection: Backend, source: Source, file: Path, *, kind: str, name: str
) -> ir.Table:
    if source.table is None:
        raise ConfigError(f"sources.{name}: name the `table:` inside {file.name}")
    if kind == "sqlite":
        rows = connection.create_table(f"sqlite_{name}", _sqlite(file, source.table, name))
    else:
        connection.raw_sql(f"ATTACH {quoted(str(file))} AS {quoted_name('db_' + name)} (READ_ONLY)")
        rows = connection.table(source.table, database=f"db_{name}")
    numbered = f"*, {quoted(str(file))} AS source_file, row_number() OVER () AS source_row"
    return _select(rows, numbered, alias=f"rows_of_{name}")


def _sqlite(file: Path, table: str, name: str) -> pa.Table:
    """Read through the standard library: DuckDB's own reader wants a download."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        try:
            cursor = database.execute(f"SELECT * FROM {quoted_name(table)}")  # noqa: S608
        except sqlite3.OperationalError as error:
            raise ConfigError(f"sources.{name}: {file.name}: {error}") from None
        names = [column[0] for column in cursor.description]
        values = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(names)
    return pa.table({n: _sqlite_column(column) for n, column in zip(names, values, strict=True)})


def _sqlite_column(values: tuple[object, ...]) -> pa.Array:
    """SQLite types values, not columns: a column of several types is read as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else str(v) for v in values], pa.string())
