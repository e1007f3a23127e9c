"""What the tests of the feature layer share: one engine, and a small shop to read or build."""

import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import feeds
from features.build import build
from features.config import load_config
from features.contract import TABLES
from features.engine import connect
from features.feature_set import FeatureSet
from features.home import Home
from features.parts import TableReport, integer_name
from features.reading import file_digests, read_tables
from features.types import from_us


def pytest_collection_finish() -> None:
    """The collector leaves alone what is imported by now: a tenth of the time of a build."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@dataclass(frozen=True)
class Read:
    """One table as the contract leaves it, and all that was rejected."""

    accepted: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    report: TableReport

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.accepted]

    def reasons(self) -> dict[int, list[str]]:
        return {row["source_row"]: row["reasons"] for row in self.rejected}


@dataclass(frozen=True)
class SmallShop:
    """A directory with a config and what it names."""

    base: Path
    engine: Any

    def file(self, name: str, content: Any) -> dict[str, str]:
        """Write a source (rows or a pyarrow table: Parquet; text or bytes: as they are)."""
        path = self.base / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            pq.write_table(content if isinstance(content, pa.Table) else as_table(content), path)
        return {"path": name}

    def config(self, sources: dict[str, Any], **parts: Any) -> Any:
        given = {"signals": {"purchase": {"weight": 5}, "view": {"weight": 1}}, **parts}
        path = self.base / "feeds.yaml"
        path.write_text(yaml.safe_dump({"sources": sources, **given}, sort_keys=False))
        return load_config(path)

    def read(self, sources: dict[str, Any], table: str = "events", **parts: Any) -> Read:
        config = self.config(sources, **parts)
        tables = read_tables(config, self.home, file_digests(config, self.base))
        order = [("source_file", "ascending"), ("source_row", "ascending")]
        found = [pq.read_table(file) for file in tables.files[table]]
        rows = pa.concat_tables(found).sort_by(order).to_pylist()
        accepted = [with_times(row, table) for row in rows if row.pop("reasons") is None]
        refused = pq.read_table(self.home.rejects).sort_by(order).to_pylist()
        for row in refused:
            row["source_file"] = Path(row["source_file"]).name
        return Read(accepted, refused, tables.report(table))

    def build(
        self, sources: dict[str, Any], as_of: datetime | None = None, now: datetime | None = None,
        **parts: Any,
    ) -> FeatureSet:  # fmt: skip
        return build(self.config(sources, **parts), self.base, self.home, as_of=as_of, now=now)

    @property
    def home(self) -> Home:
        return Home(self.base / "home")


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table with every column that any of them has."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in columns})


def with_times(row: dict[str, Any], table: str) -> dict[str, Any]:
    """A row as the contract names it: integer times as moments again."""
    for column in TABLES[table]:
        if column.kind == "time":
            found = row.pop(integer_name(column.name))
            row[column.name] = None if found is None else from_us(found)
    return row


def rejected_row(row: dict[str, Any]) -> Any:
    """The source's row of a reject, out of its JSON."""
    return json.loads(row["row"])


@pytest.fixture(scope="session")
def engine() -> Any:
    connection = connect()
    yield connection
    connection.disconnect()


@pytest.fixture
def shop(tmp_path: Path, engine: Any) -> SmallShop:
    return SmallShop(tmp_path, engine)


@pytest.fixture(scope="module")
def new_shop(tmp_path_factory: pytest.TempPathFactory, engine: Any) -> Callable[[], SmallShop]:
    """A shop of its own for every call: hypothesis runs one test many times."""
    return lambda: SmallShop(tmp_path_factory.mktemp("shop"), engine)


@pytest.fixture
def run(capfd: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run one command in this process; returns exit code, standard output, standard error."""

    def _run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["feeds", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            sys.exit(feeds.main())
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return _run
