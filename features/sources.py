"""Open a table of the contract where the config says it lies, and map it by the config.

What comes out has the contract's column names, still in the source's types, plus `source_file` and
`source_row` (from 1) that say where each row came from. Nothing is judged here: the contract does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import ibis.expr.types as ir
import pyarrow as pa

from features.config import ConfigError, Source
from features.databases import read_duckdb, read_sqlite
from features.engine import quoted, quoted_name
from features.expressions import column_names, is_column, parse, plain_column, unknown_name
from features.text_files import UNREADABLE, read_csv, read_json_lines

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".duckdb": "duckdb", ".ddb": "duckdb",
    ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite",
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


def source_files(source: Source, base: Path, name: str) -> list[Path]:
    """The files of a source, sorted by name; `base` is where the config lies."""
    assert source.path is not None  # the config allows nothing else here
    if (base / source.path).is_file():
        return [base / source.path]  # whatever stars and brackets its name has
    found = [base / one for one in sorted(glob(source.path, root_dir=base, recursive=True))]  # noqa: PTH207
    files = [one for one in found if one.is_file()]
    if not files:
        what = f"no file matches {base / source.path}; paths are relative to the config"
        if found:
            what = f"{found[0]} is a directory; name its files, as in {source.path}/*.parquet"
        raise ConfigError(f"sources.{name}.path: {what}")
    return files


def open_files(
    connection: Backend, source: Source, files: list[Path], *, name: str, ids: frozenset[str]
) -> tuple[ir.Table, pa.Table]:
    """The rows of `files` with their origin, and the lines that are no rows; `ids`: columns."""
    kind = one_format(source, files, name)
    with faults_named(
        f"sources.{name}: cannot read {', '.join(f.name for f in files[:3])} as {kind}"
    ):
        if kind == "parquet":
            return _parquet(connection, files), UNREADABLE.empty_table()
        if kind in ("csv", "jsonl"):
            reader = read_csv if kind == "csv" else read_json_lines
            return reader(connection, files, name=name, ids=_id_columns(source, ids))
        if len(files) > 1:
            raise ConfigError(
                f"sources.{name}: one {kind} file at a time; {len(files)} match the path"
            )
        if source.table is None:
            raise ConfigError(f"sources.{name}: name the `table:` inside {files[0].name}")
        database = read_duckdb if kind == "duckdb" else read_sqlite
        table = database(connection, files[0], source.table, name=name)
        return table, UNREADABLE.empty_table()


@contextmanager
def faults_named(where: str) -> Iterator[None]:
    """Turn what the engine says inside the block into a ConfigError that begins with `where`."""
    try:
        yield
    except duckdb.Error as error:
        said = str(error).split("\n\n")[0].split("\n\tCandidate functions")[0]
        raise ConfigError(f"{where}: {' '.join(said.split())}") from None


def map_columns(
    raw: ir.Table, unreadable: pa.Table, source: Source, *, name: str, contract: tuple[str, ...]
) -> Mapped:
    """Give `raw` the contract's column names by the expressions of the config."""
    available = [column for column in raw.columns if column not in ORIGIN]
    columns = _expressions(source, available, name, contract)
    restricted, left_out, condition = raw, 0, "TRUE"
    if source.where is not None:
        condition = _condition(raw, source.where, available, name)
        restricted = _select(raw, "*", alias=f"all_{name}", condition=f"TRY({condition})")
        left_out = int(raw.count().execute()) - int(restricted.count().execute())
    mapped = _mapped(restricted, columns, name)
    read = {one.lower() for sql in [*columns.values(), condition] for one in column_names(sql)}
    unused = [column for column in available if column.lower() not in read]
    return Mapped(raw, mapped, columns, left_out, unreadable, unused)


def rows_as_json(mapped: Mapped, keys: ir.Table, *, name: str) -> ir.Table:
    """The untouched rows at the origins in `keys`: source_file, source_row, row."""
    chosen = mapped.raw.semi_join(keys, list(ORIGIN))
    names = [quoted_name(c) for c in mapped.raw.columns if c not in ORIGIN]
    row = "CAST(to_json({" + ", ".join(f"{n}: {n}" for n in names) + "}) AS VARCHAR) AS row"
    return _select(chosen, ", ".join([*ORIGIN, row]), alias=f"refused_{name}")


def _select(table: ir.Table, what: str, *, alias: str, condition: str = "TRUE") -> ir.Table:
    """`alias` must be unlike every other one that ends up in the same query."""
    return table.alias(alias).sql(f"SELECT {what} FROM {alias} WHERE {condition}")


def _condition(raw: ir.Table, text: str, available: list[str], name: str) -> str:
    where = f"sources.{name}.where"
    condition = parse(text, available, where=where)
    with faults_named(f"{where}: {text!r}"):
        asked = _select(raw, f"{condition} AS kept", alias=f"asked_{name}")
    if not asked.kept.type().is_boolean():
        raise ConfigError(f"{where}: {text!r} is no condition; write one, such as Quantity > 0")
    return condition


def _mapped(table: ir.Table, columns: dict[str, str], name: str) -> ir.Table:
    """The columns of the contract; an expression that the engine refuses is named."""
    wanted = [f"{_safe(sql)} AS {quoted_name(column)}" for column, sql in columns.items()]
    try:
        return _select(table, ", ".join([*ORIGIN, *wanted]), alias=f"chosen_{name}")
    except duckdb.Error:
        for column, one in zip(columns, wanted, strict=True):
            with faults_named(f"sources.{name}.columns.{column}: {columns[column]}"):
                _select(table, one, alias=f"tried_{name}")
        raise


def _safe(sql: str) -> str:
    """One value that cannot be computed spoils its row, not the read: it becomes NULL."""
    return sql if is_column(sql) else f"TRY({sql})"


def _expressions(
    source: Source, available: list[str], name: str, contract: tuple[str, ...]
) -> dict[str, str]:
    if not source.columns:
        same = [c for c in available if c in contract]
        return {column: quoted_name(column) for column in same}
    for column in source.columns:
        if column not in contract:
            told = unknown_name(column, list(contract), owner="the contract")
            raise ConfigError(f"sources.{name}.columns: {told}")
    return {
        column: parse(text, available, where=f"sources.{name}.columns.{column}")
        for column, text in source.columns.items()
    }


def one_format(source: Source, files: list[Path], name: str) -> str:
    """The one format of `files`: what the config says, else what their names say.

    Raises ConfigError when they have several, or none that is known.
    """
    found = {source.format or _FORMATS.get(_suffix(file)) for file in files}
    kind = found.pop()
    if found or kind is None:
        raise ConfigError(
            f"sources.{name}: cannot tell the format of {[f.name for f in files]}; set `format:` "
            "to parquet, csv, jsonl, duckdb or sqlite, one format per source"
        )
    return kind


def _suffix(file: Path) -> str:
    packed = file.suffix.lower() in (".gz", ".zst")
    return (Path(file.stem) if packed else file).suffix.lower()


def _id_columns(source: Source, ids: frozenset[str]) -> frozenset[str]:
    """Which columns of the source become ids as they stand, in lower case."""
    if not source.columns:
        return ids
    texts = [text for column, text in source.columns.items() if column in ids]
    return frozenset(plain_column(text) or text.strip().lower() for text in texts)


def _parquet(connection: Backend, files: list[Path]) -> ir.Table:
    listed = "[" + ", ".join(quoted(str(file)) for file in files) + "]"
    return connection.sql(
        "SELECT * EXCLUDE (file_row_number), file_row_number + 1 AS source_row FROM read_parquet("
        f"{listed}, file_row_number = true, filename = 'source_file', union_by_name = true)"
    )
