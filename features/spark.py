"""Spark as the engine: the same table builders on a cluster, or in local mode.

What it keeps lies as Parquet in `scratch`, which every machine of the cluster must see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from features.config import ConfigError
from features.engine import DuckEngine, connected, exact
from features.options import EngineOptions

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.log.level": "ERROR",
}


class SparkEngine:
    """Spark through Ibis; results come out through an embedded DuckDB that reads what it wrote."""

    name = "spark"

    def __init__(self, session: Any, connection: Backend, scratch: Path) -> None:
        self.session = session
        self.backend = ibis.pyspark.connect(session)
        self.local = DuckEngine(connection)
        self.scratch = scratch

    def read(self, files: Sequence[Path]) -> ir.Table:
        """As Engine says."""
        view = f"read_{uuid4().hex}"
        paths = [str(file.resolve()) for file in files]
        self.session.read.parquet(*paths).createOrReplaceTempView(view)
        return self.backend.table(view)

    def keep(self, name: str, table: ir.Table) -> ir.Table:
        """As Engine says."""
        return self.read([self._written(name, table)])

    def collect(self, table: ir.Table) -> pa.Table:
        """As Engine says; Ibis would go through pandas, where whole numbers become floats."""
        return self.local.collect(self._outside(table))

    def batches(self, table: ir.Table, order: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """As Engine says."""
        yield from self.local.batches(self._outside(table), order)

    def write(self, table: ir.Table, file: Path, order: Sequence[str] = ()) -> None:
        """As Engine says."""
        self.local.write(self._outside(table), file, order)

    def _outside(self, table: ir.Table) -> ir.Table:
        """The table as files that Spark wrote, opened by DuckDB."""
        directory = self._written("out", table)
        return self.local.read(sorted(directory.glob("*.parquet")))

    def _written(self, name: str, table: ir.Table) -> Path:
        """Beside, for `table` may come from what was kept under the same name."""
        directory = (self.scratch / f"{name}.{uuid4().hex[:8]}").resolve()
        self.backend.to_parquet(exact(table), str(directory), mode="overwrite")
        return directory


@contextmanager
def spark_engine(scratch: Path, options: EngineOptions) -> Iterator[SparkEngine]:
    """A Spark session at `options.master` for the length of a block."""
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError:
        raise ConfigError(
            "the engine spark needs pyspark and Java 17: pip install 'purposeful-feeds[spark]'"
        ) from None
    builder = SparkSession.builder.appName("purposeful-feeds").master(options.master)
    for key, value in {**_SETTINGS, **options.spark}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    try:
        with (
            TemporaryDirectory(dir=scratch, prefix="spark-") as kept,
            connected(scratch, options) as connection,
        ):
            yield SparkEngine(session, connection, Path(kept))
    finally:
        session.stop()
