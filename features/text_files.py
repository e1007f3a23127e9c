"""CSV and JSON lines: types are found from all rows, ids stay the text that the file has.

A line that is no row at all is kept apart, with the place at which it stands.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import ibis.expr.types as ir
import pyarrow as pa

from features.config import ConfigError
from features.engine import quoted, quoted_name

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

UNREADABLE = pa.schema(
    [("source_file", pa.string()), ("source_row", pa.int64()), ("reason", pa.string()),
     ("row", pa.string())]
)  # fmt: skip
_CSV = "header = true, sample_size = -1"
_JSON = ("format = 'newline_delimited', union_by_name = true, sample_size = -1, "
         "ignore_errors = true")  # fmt: skip
_OFFSET = r":\d\d(\.\d+)? ?(Z|z|UTC|[+-]\d\d(:?\d\d)?)$"
_MOMENT = "TIMESTAMP WITH TIME ZONE"
Types = dict[str, str]  # column -> DuckDB type


def read_csv(
    connection: Backend, files: list[Path], *, name: str, ids: frozenset[str]
) -> tuple[ir.Table, pa.Table]:
    """The rows of `files` and their unreadable lines; columns are matched by name over files.

    ids: the columns that become ids as they stand, in lower case
    """
    files = [file for file in files if file.stat().st_size] or _refuse_empty(files, name)
    reader = "read_csv({}, " + _CSV + ", store_rejects = true)"
    sniffed = {file: _sniff(connection, reader.format(quoted(str(file)))) for file in files}
    types = _merged(sniffed.values())
    look = (f"read_csv({_paths(files)}, {_CSV}, all_varchar = true, union_by_name = true, "
            "ignore_errors = true)")  # fmt: skip
    moments = [column for column, kind in types.items() if kind == _MOMENT]
    types |= _zoned_times(connection, look, moments)
    text, change = _as_ids(types, ids)
    kept = f"rejects_table = {quoted('rejects_' + name)}, rejects_scan = {quoted('scans_' + name)}"
    parts = [
        f"SELECT *{change}, row_number() OVER () AS source_row, {quoted(str(file))} AS source_file "
        f"FROM read_csv({quoted(str(file))}, {_CSV}, store_rejects = true, {kept}, "
        f"types = {_struct({column: text[column] for column in own})})"
        for file, own in sniffed.items()
    ]
    for table in ("rejects_", "scans_"):
        connection.raw_sql(f"DROP TABLE IF EXISTS {quoted_name(table + name)}")
    table = _stored(connection, name, " UNION ALL BY NAME ".join(parts))
    return table, _csv_rejects(connection, name)


def read_json_lines(
    connection: Backend, files: list[Path], *, name: str, ids: frozenset[str]
) -> tuple[ir.Table, pa.Table]:
    """The rows of `files` and their unreadable lines; an empty file is a file without rows."""
    files = [file for file in files if file.stat().st_size] or _refuse_empty(files, name)
    types = _sniff(connection, f"read_json({_paths(files)}, {_JSON})")
    if list(types) == ["json"]:  # what the sniffer says when some line is no object
        types = _sniff_objects(connection, files)
    types = {column: "VARCHAR" if kind == "JSON" else kind for column, kind in types.items()}
    if not types:
        _refuse_empty(files, name)
    text = dict.fromkeys(types, "VARCHAR")
    look = f"read_json({_paths(files)}, {_JSON}, columns = {_struct(text)})"
    times = [column for column, kind in types.items() if kind in (_MOMENT, "TIMESTAMP")]
    types |= _zoned_times(connection, look, times)
    text, change = _as_ids(types, ids)
    rows = (
        f"SELECT * REPLACE (source_row - min(source_row) OVER (PARTITION BY source_file) + 1 AS "
        f"source_row) FROM (SELECT *{change}, row_number() OVER () AS source_row FROM read_json("
        f"{_paths(files)}, {_JSON}, columns = {_struct(text)}, filename = 'source_file'))"
    )
    table = _stored(connection, name, rows)
    return table, _json_rejects(connection, files, list(types), name)


def _refuse_empty(files: list[Path], name: str) -> NoReturn:
    raise ConfigError(
        f"sources.{name}: nothing in {[file.name for file in files]} to take columns from: CSV "
        "needs a line of names, JSON lines one object a line; until there is one, take "
        f"sources.{name} out of the config"
    )


def _sniff(connection: Backend, reader: str) -> Types:
    described = connection.raw_sql(f"DESCRIBE SELECT * FROM {reader}").fetchall()
    return {str(row[0]): str(row[1]) for row in described}


def _sniff_objects(connection: Backend, files: list[Path]) -> Types:
    """The columns of those lines that are objects; texts stay texts, whatever they look like."""
    found = connection.raw_sql(
        f"SELECT json_group_structure(json) FROM read_ndjson_objects({_paths(files)}, "
        "ignore_errors = true) WHERE json_type(json) = 'OBJECT'"
    ).fetchone()
    described = json.loads(found[0]) if found and found[0] else {}
    return {column: _json_type(kind) for column, kind in described.items()}


def _json_type(kind: Any) -> str:
    """What DuckDB says of the structure of JSON, as one of its types."""
    if isinstance(kind, dict):
        return f"STRUCT({', '.join(f'{quoted_name(k)} {_json_type(v)}' for k, v in kind.items())})"
    if isinstance(kind, list):
        return f"{_json_type(kind[0])}[]"
    return {"UBIGINT": "HUGEINT", "NULL": "VARCHAR"}.get(kind, str(kind))


def _merged(sniffed: Iterable[Types]) -> Types:
    """One type per column: numbers of several types are DOUBLE, all else that differs is text."""
    found: dict[str, set[str]] = {}
    for types in sniffed:
        for column, kind in types.items():
            found.setdefault(column, set()).add(kind)
    numbers = {"BIGINT", "DOUBLE"}
    return {
        column: min(kinds) if len(kinds) == 1 else "DOUBLE" if kinds <= numbers else "VARCHAR"
        for column, kinds in found.items()
    }


def _zoned_times(connection: Backend, look: str, times: list[str]) -> Types:
    """The types of those `times` that have an offset, found by looking at their text.

    The sniffer drops it. With an offset a time is a moment; where only some have one the column
    stays text, for the contract to read. look: a reader of everything as text
    """
    if not times:
        return {}
    tests = [f"regexp_matches(trim({quoted_name(c)}), {quoted(_OFFSET)})" for c in times]
    asked = ", ".join(f"bool_or({test}), bool_and({test})" for test in tests)
    answers = connection.raw_sql(f"SELECT {asked} FROM {look}").fetchone() or ()
    found = zip(times, answers[::2], answers[1::2], strict=True)
    return {c: _MOMENT if every else "VARCHAR" for c, some, every in found if some}


def _as_ids(types: Types, ids: frozenset[str]) -> tuple[Types, str]:
    """Types in which ids are text, and the change that takes the .0 of floats off them."""
    plain = {c for c, kind in types.items() if "(" not in kind and not kind.endswith("]")}
    text = {c: "VARCHAR" if c.lower() in ids and c in plain else kind for c, kind in types.items()}
    floats = [quoted_name(c) for c in types if text[c] == "VARCHAR" and types[c] == "DOUBLE"]
    whole = ", ".join(f"regexp_replace({c}, '\\.0+$', '') AS {c}" for c in floats)
    return text, f" REPLACE ({whole})" if whole else ""


def _stored(connection: Backend, name: str, rows: str) -> ir.Table:
    connection.raw_sql(f"CREATE OR REPLACE TABLE {quoted_name('text_' + name)} AS {rows}")
    return connection.table("text_" + name)


def _csv_rejects(connection: Backend, name: str) -> pa.Table:
    """Lines that DuckDB could not read as rows, from the tables where it keeps them.

    The rows after such a line are numbered anew, so that `source_row` counts the file's rows.
    """
    found = connection.raw_sql(
        "SELECT DISTINCT ON (f.file_path, e.line) f.file_path AS source_file, "
        "CAST(e.line AS BIGINT) - 1 AS source_row, "
        "'unreadable line: ' || lower(CAST(e.error_type AS VARCHAR)) AS reason, e.csv_line AS row "
        f"FROM {quoted_name('rejects_' + name)} e JOIN {quoted_name('scans_' + name)} f "
        "USING (scan_id, file_id) ORDER BY f.file_path, e.line"
    ).to_arrow_table()
    if found.num_rows:
        connection.create_table("unreadable_lines", found, overwrite=True)
        connection.raw_sql(
            f"UPDATE {quoted_name('text_' + name)} AS t SET source_row = source_row + ("
            "SELECT count(*) FROM (SELECT source_file, source_row - row_number() OVER (PARTITION BY"
            " source_file ORDER BY source_row) AS before FROM unreadable_lines) u "
            "WHERE u.source_file = t.source_file AND t.source_row > u.before)"
        )
    return found.cast(UNREADABLE)


def _json_rejects(
    connection: Backend, files: list[Path], columns: list[str], name: str
) -> pa.Table:
    """Lines that are no JSON object, out of the rows, where DuckDB has them as rows of nulls."""
    table = quoted_name("text_" + name)
    nothing = " AND ".join(f"{quoted_name(column)} IS NULL" for column in columns)
    suspects = connection.raw_sql(f"SELECT count(*) FROM {table} WHERE {nothing}").fetchone()
    if not suspects or not suspects[0]:
        return UNREADABLE.empty_table()
    found = connection.raw_sql(
        "SELECT source_file, source_row FROM (SELECT source_file, json, place - min(place) OVER "
        "(PARTITION BY source_file) + 1 AS source_row FROM (SELECT filename AS source_file, json, "
        f"row_number() OVER () AS place FROM read_ndjson_objects({_paths(files)}, "
        "ignore_errors = true, filename = true))) "
        "WHERE json IS NULL OR json_type(json) <> 'OBJECT' ORDER BY source_file, source_row"
    ).fetchall()
    places = [(str(file), int(row)) for file, row in found]
    connection.raw_sql(
        f"DELETE FROM {table} WHERE (source_file, source_row) IN "
        f"({', '.join(f'({quoted(file)}, {row})' for file, row in places) or '(NULL, NULL)'})"
    )
    lines = _lines(places)
    told = [{"source_file": f, "source_row": r, "reason": "unreadable line: not a JSON object",
             "row": lines[f, r]} for f, r in places]  # fmt: skip
    return pa.Table.from_pylist(told, schema=UNREADABLE)


def _lines(places: list[tuple[str, int]]) -> Mapping[tuple[str, int], str]:
    """The text of lines, by file and number from 1; blank lines do not count."""
    found: dict[tuple[str, int], str] = {}
    for file in {file for file, _ in places}:
        wanted = {row for name, row in places if name == file}
        opened = gzip.open if file.endswith(".gz") else open
        with opened(file, "rt", encoding="utf-8", errors="replace") as handle:
            filled = (line.rstrip("\r\n") for line in handle if line.strip())
            found |= {(file, row): line for row, line in enumerate(filled, 1) if row in wanted}
    return found


def _struct(values: Types) -> str:
    return "{" + ", ".join(f"{quoted(c)}: {quoted(kind)}" for c, kind in values.items()) + "}"


def _paths(files: list[Path]) -> str:
    return "[" + ", ".join(quoted(str(file)) for file in files) + "]"
