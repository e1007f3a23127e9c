"""Where tables are computed: DuckDB embedded, or Spark on a cluster; and what only DuckDB knows.

The table builders are Ibis expressions and run on both. An engine opens Parquet files, keeps what
is computed once, and hands results out. Sources are always read by DuckDB, file by file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa

from features.options import EngineOptions

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

BATCH = 100_000  # rows handed out at a time
_AHEAD = "16MB"  # of results that DuckDB computes while those before are still in use


class Engine(Protocol):
    """What a build needs of the place where tables are computed."""

    name: str

    def read(self, files: Sequence[Path]) -> ir.Table:
        """The rows of Parquet files of one schema."""

    def keep(self, name: str, table: ir.Table) -> ir.Table:
        """Compute `table` once and keep it under `name` for as long as the engine lives."""

    def collect(self, table: ir.Table) -> pa.Table:
        """The rows of a small table."""

    def batches(self, table: ir.Table, order: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a large table, sorted by `order`, in pieces."""

    def write(self, table: ir.Table, file: Path, order: Sequence[str] = ()) -> None:
        """Write the rows into one Parquet file, sorted by `order`."""


class DuckEngine:
    """DuckDB embedded: one process, all cores, spills to `scratch` beyond its memory limit."""

    name = "duckdb"

    def __init__(self, connection: Backend) -> None:
        self.connection = connection

    def read(self, files: Sequence[Path]) -> ir.Table:
        """As Engine says."""
        return self.connection.read_parquet([str(file) for file in files])

    def keep(self, name: str, table: ir.Table) -> ir.Table:
        """As Engine says."""
        return materialise(self.connection, name, exact(table))

    def collect(self, table: ir.Table) -> pa.Table:
        """As Engine says; in batches, for the other way loads pandas."""
        return self.connection.to_pyarrow_batches(exact(table)).read_all()

    def batches(self, table: ir.Table, order: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """As Engine says."""
        ordered = table.order_by(list(order)) if order else table
        yield from self.connection.to_pyarrow_batches(ordered, chunk_size=BATCH)

    def write(self, table: ir.Table, file: Path, order: Sequence[str] = ()) -> None:
        """As Engine says."""
        ordered = exact(table.order_by(list(order)) if order else table)
        self.connection.to_parquet(ordered, str(file), compression="zstd")


def exact(table: ir.Table) -> ir.Table:
    """Whole numbers in the types that they should have.

    DuckDB sums int64 into 128 bits, which Parquet takes for floats; to Spark a small literal is an
    int32. Ibis drops a cast to the type that it believes the column to have anyway.
    """
    whole = {name: kind for name, kind in table.schema().items() if kind.is_integer()}
    return table.mutate(**{name: ops.Cast(table[name], kind).to_expr()
                           for name, kind in whole.items()})  # fmt: skip


def connect(scratch: Path | None = None, options: EngineOptions | None = None) -> Backend:
    """A DuckDB that thinks in UTC; with `scratch` it lives in a file there, and spills there."""
    if scratch is None:
        connection = ibis.duckdb.connect()
    else:
        connection = ibis.duckdb.connect(scratch / f"{uuid4().hex[:8]}.duckdb")
        connection.raw_sql(f"SET temp_directory = {quoted(str(scratch))}")
    connection.raw_sql("SET TimeZone = 'UTC'")
    if options is not None:
        connection.raw_sql(f"SET memory_limit = '{options.memory_limit_mb}MB'")
        if options.threads is not None:
            connection.raw_sql(f"SET threads = {options.threads}")
    return connection


@contextmanager
def connected(scratch: Path, options: EngineOptions | None = None) -> Iterator[Backend]:
    """`connect` for the length of a block; the database file goes with it."""
    connection = connect(scratch, options)
    file = Path(connection.raw_sql("SELECT path FROM duckdb_databases()").fetchone()[0])
    try:
        yield connection
    finally:
        connection.disconnect()
        for left in (file, file.with_name(file.name + ".wal")):
            left.unlink(missing_ok=True)


@contextmanager
def engine(scratch: Path, options: EngineOptions) -> Iterator[Engine]:
    """The engine that `options` name, for the length of a block."""
    if options.name == "spark":
        from features.spark import spark_engine

        with spark_engine(scratch, options) as found:
            yield found
    else:
        with connected(scratch, options) as connection:
            connection.raw_sql("SET preserve_insertion_order = false")
            connection.raw_sql(f"SET streaming_buffer_size = {quoted(_AHEAD)}")
            yield DuckEngine(connection)


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


def number(value: float) -> ir.FloatingValue:
    """A float64 literal; a bare one is a decimal to both engines."""
    found: ir.FloatingValue = ibis.literal(repr(float(value))).cast("float64")
    return found


def microseconds(time: ir.Value) -> ir.IntegerValue:
    """Microseconds since 1970, as int64; exact, unlike seconds as a float. DuckDB only."""
    count: ir.IntegerValue = _epoch_us(time)
    return count


def local_to_utc(time: ir.TimestampValue, zone: str) -> ir.TimestampValue:
    """Naive local times as moments; a skipped or repeated hour is read as winter. DuckDB only."""
    moment: ir.TimestampValue = _in_zone(zone, time)
    return moment


def materialise(connection: Backend, name: str, table: ir.Table) -> ir.Table:
    """Compute `table` once and keep it under `name` for as long as the connection lives."""
    return connection.create_table(name, table, overwrite=True)
