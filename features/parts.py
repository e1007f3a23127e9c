"""Parts: what was read of a source once, judged by the contract and kept, so it is read only once.

A part holds every row of its files in the contract's types, with the `reasons` against it (null for
an accepted row): accepted + rejected = read. Times are integers, microseconds since 1970 UTC, in
columns that end in `_us`. The log has a part per file, so that a new day's file is all that is
read; of the small tables all files are one part.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from features import contract, sources
from features.config import Source
from features.engine import materialise, microseconds
from features.home import write_json, written_beside
from features.sources import ORIGIN, Mapped
from features.text_files import UNREADABLE

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

VERSION = 1  # of what a part holds; another one is read anew
ROWS, DERIVED, REJECTS, REPORT = "rows.parquet", "items.parquet", "rejects.parquet", "report.json"


@dataclass(frozen=True)
class TableReport:
    """What became of one table's rows; accepted + rejected = read."""

    name: str
    files: list[str]
    left_out: int  # by `where`, not read
    accepted: int
    rejected: int
    reasons: dict[str, int]  # a row may have several
    columns: dict[str, str]
    unused: list[str]
    naive_times_in: str
    forgotten: int = 0  # rows of people who are forgotten: left out, in none of the other counts

    @property
    def read(self) -> int:
        """Rows that were judged."""
        return self.accepted + self.rejected

    @property
    def rejected_share(self) -> float:
        """Rejected of those read, 0 to 1."""
        return self.rejected / self.read if self.read else 0.0

    def joined(self, other: TableReport) -> TableReport:
        """What became of both."""
        reasons = dict(self.reasons)
        for reason, rows in other.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + rows
        return TableReport(
            self.name,
            [*self.files, *other.files],
            self.left_out + other.left_out,
            self.accepted + other.accepted,
            self.rejected + other.rejected,
            dict(sorted(reasons.items(), key=lambda reason: (-reason[1], reason[0]))),
            self.columns,
            [column for column in self.unused if column in other.unused],
            self.naive_times_in or other.naive_times_in,
            self.forgotten + other.forgotten,
        )


@dataclass(frozen=True)
class Wanted:
    """What is to be read: a table's files by their names, and how they are mapped.

    files:   name, as the rejects and the order of the log know it -> where it lies
    missing: columns that are null here, with their types in other files of the table; those that
             are text here and not elsewhere are so where no row of this file fills them
    derived: the items that come out of the same rows, and how they are mapped
    """

    name: str
    source: Source
    zone: str
    files: dict[str, Path]
    missing: dict[str, str]
    derived: tuple[Source, str] | None = None

    def key(self, digests: list[str]) -> str:
        """What the part is called: another mapping or another byte is another part."""
        mapping = [self.source.model_dump(mode="json", exclude={"path"}), self.zone, self.missing]
        if self.derived is not None:
            mapping += [self.derived[0].model_dump(mode="json"), self.derived[1]]
        told = json.dumps([VERSION, self.name, mapping, list(self.files), digests], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def file_digest(file: Path) -> str:
    """SHA-256 over the bytes of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def reports_of(directory: Path) -> list[TableReport]:
    """What became of the rows of a part: its table, then the items derived from it."""
    return [TableReport(**one) for one in json.loads((directory / REPORT).read_text())]


def store(connection: Backend, wanted: Wanted, directory: Path) -> None:
    """Read, judge and keep `wanted` as `directory`, all or nothing.

    Raises ConfigError for what cannot be opened or mapped.
    """
    mapped = _opened(connection, wanted)
    with written_beside(directory) as beside:
        beside.mkdir()
        judged = [_judged(connection, wanted, mapped, beside / ROWS)]
        if wanted.derived is not None:
            source, zone = wanted.derived
            items = _derived(mapped, source, wanted.source)
            derived = Wanted("items", source, zone, {}, {})
            judged.append(
                _judged(connection, derived, items, beside / DERIVED, of=judged[0].checked)
            )
        names = {str(file): name for name, file in wanted.files.items()}
        refused = [_refused(connection, one, names) for one in judged]
        both = ibis.union(*refused) if len(refused) > 1 else refused[0]
        connection.to_parquet(both, str(beside / REJECTS))
        write_json(beside / REPORT, [asdict(_report(one)) for one in judged])


@dataclass(frozen=True)
class _Judged:
    """A mapped table, and the same after the contract has judged its rows."""

    wanted: Wanted
    mapped: Mapped
    checked: ir.Table


def _opened(connection: Backend, wanted: Wanted) -> Mapped:
    """The source under the contract's names."""
    name = wanted.name
    raw, unreadable = sources.open_files(
        connection, wanted.source, list(wanted.files.values()), name=name, ids=contract.IDS[name]
    )
    absent = {c: ibis.null(kind) for c, kind in wanted.missing.items()
              if c not in raw.columns or not raw[c].count().execute()}  # fmt: skip
    return sources.map_columns(
        raw.mutate(**absent) if absent else raw, unreadable, wanted.source,
        name=name, contract=contract.column_names(name),
    )  # fmt: skip


def _derived(log: Mapped, source: Source, events: Source) -> Mapped:
    """The rows of the log, as far as they are events, under the names of the items table."""
    columns = {"item_id": log.columns["item_id"], "kind": "'product'", **source.columns}
    conditions = [f"({one})" for one in (events.where, source.where) if one]
    changed = {"columns": columns, "where": " AND ".join(conditions) or None}
    return sources.map_columns(
        log.raw, UNREADABLE.empty_table(), source.model_copy(update=changed), name="items",
        contract=contract.column_names("items"),
    )  # fmt: skip


def _judged(
    connection: Backend, wanted: Wanted, mapped: Mapped, file: Path, of: ir.Table | None = None
) -> _Judged:
    """Judge all rows and write them to `file`; `of`: judged events, of which these are items.

    Items exist at the moment of their event, and only where the event was accepted.
    """
    told = [str(one.name) for one in wanted.files.values()]
    names = {str(where): name for name, where in wanted.files.items()}
    with sources.faults_named(f"sources.{wanted.name}: cannot read {told}"):
        checked = contract.check(mapped, wanted.name, wanted.zone, unique=of is None)
        checked = checked.select(**_with_integer_times(checked))
        if of is None:
            checked = checked.mutate(source_file=_named(checked.source_file, names))
            connection.to_parquet(checked, str(file), compression="zstd")
        else:
            moments = contract.accepted(of).select("source_row", "occurred_us")
            checked = checked.join(moments, "source_row")
            connection.to_parquet(checked, str(file), compression="zstd")
    return _Judged(wanted, mapped, connection.read_parquet(str(file)))


def _with_integer_times(checked: ir.Table) -> dict[str, ir.Value]:
    """`occurred_at` becomes `occurred_us`, and so with every time."""
    return {
        integer_name(c): microseconds(checked[c]) if checked[c].type().is_timestamp()
        else checked[c]
        for c in checked.columns
    }  # fmt: skip


def integer_name(column: str) -> str:
    """The name of a column once its times are integers: occurred_at → occurred_us."""
    times = {c.name for table in contract.TABLES.values() for c in table if c.kind == "time"}
    return column.removesuffix("_at") + "_us" if column in times else column


def _named(file: ir.StringValue, names: dict[str, str]) -> ir.StringValue:
    """Files by the names that the part knows them by."""
    return ibis.cases(*((file == path, name) for path, name in names.items()), else_=file)


def _report(judged: _Judged) -> TableReport:
    checked, mapped, name = judged.checked, judged.mapped, judged.wanted.name
    good, rows = checked.reasons.isnull().cast("int64").sum(), checked.count()
    counts = checked.aggregate(rows=rows, good=good).to_pyarrow()
    total, accepted = counts["rows"][0].as_py(), counts["good"][0].as_py() or 0
    told = contract.rejected(checked).unnest("reasons").group_by("reasons")
    found = told.agg(rows=lambda t: t.count()).order_by(ibis.desc("rows"), "reasons").to_pyarrow()
    reasons = dict(zip(found["reasons"].to_pylist(), found["rows"].to_pylist(), strict=True))
    for reason in mapped.unreadable["reason"].to_pylist():
        reasons[reason] = reasons.get(reason, 0) + 1
    types = {c.name: mapped.table[c.name].type() for c in contract.TABLES[name]
             if c.kind == "time" and c.name in mapped.table.columns}  # fmt: skip
    naive = any(kind.is_timestamp() and kind.timezone is None for kind in types.values())
    return TableReport(
        name=name, files=list(judged.wanted.files), left_out=mapped.left_out, accepted=accepted,
        rejected=total - accepted + mapped.unreadable.num_rows, reasons=reasons,
        columns=mapped.columns, unused=mapped.unused,
        naive_times_in=judged.wanted.zone if naive else "",
    )  # fmt: skip


def _refused(connection: Backend, judged: _Judged, names: dict[str, str]) -> ir.Table:
    """The rejects of one table: source_file, source_row, reasons, row (as JSON), table_name."""
    name = judged.wanted.name
    bad = contract.rejected(judged.checked)
    if names != {name: name for name in names} and judged.wanted.files:
        paths = {name: path for path, name in names.items()}
        bad = bad.mutate(source_file=_named(bad.source_file, paths))
    bad = materialise(connection, f"bad_{name}", bad)
    rows = sources.rows_as_json(judged.mapped, bad, name=name)
    full = bad.join(rows, list(ORIGIN))
    lines = judged.mapped.unreadable
    reasons = pa.array([[one] for one in lines["reason"].to_pylist()], pa.list_(pa.string()))
    broken = connection.create_table(
        f"unreadable_{name}", lines.set_column(2, "reasons", reasons), overwrite=True
    )
    both = ibis.union(*(t.select(*ORIGIN, "reasons", "row") for t in (full, broken)))
    return both.select(
        source_row="source_row", source_file=_named(both.source_file, names),
        reasons="reasons", row="row", table_name=ibis.literal(name),
    ).select(*ORIGIN, "reasons", "row", "table_name")  # fmt: skip


def columns_of(connection: Backend, wanted: Wanted) -> dict[str, Any]:
    """The columns of a source and their types, as Ibis writes them."""
    raw, _ = sources.open_files(
        connection, wanted.source, list(wanted.files.values()), name=wanted.name,
        ids=contract.IDS[wanted.name],
    )  # fmt: skip
    return {name: str(kind) for name, kind in raw.schema().items() if name not in ORIGIN}
