"""Read every table that the config names: map, check, count, keep what is accepted.

What is rejected goes to one Parquet file with its row, its origin and all its reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from features import contract, sources
from features.config import Config, Source
from features.engine import materialise
from features.home import Progress, silent, written_beside
from features.sources import Mapped
from features.text_files import UNREADABLE

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


class TooManyRejects(ValueError):
    """So many rows break the contract that what is left cannot be trusted."""


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

    @property
    def read(self) -> int:
        """Rows that were judged."""
        return self.accepted + self.rejected

    @property
    def rejected_share(self) -> float:
        """Rejected of those read, 0 to 1."""
        return self.rejected / self.read if self.read else 0.0


@dataclass(frozen=True)
class Tables:
    """The accepted rows of every table that the config names, computed once, and their reports."""

    tables: dict[str, ir.Table]
    reports: list[TableReport] = field(default_factory=list)
    checked: dict[str, ir.Table] = field(default_factory=dict)  # all rows, with their `reasons`

    def get(self, name: str) -> ir.Table | None:
        """A table, None when the shop has none of that name."""
        return self.tables.get(name)

    def report(self, name: str) -> TableReport:
        """The report of a table that the config names."""
        return next(report for report in self.reports if report.name == name)


def named_sources(config: Config) -> dict[str, Source]:
    """The sources that the config gives, events first."""
    given = {name: getattr(config.sources, name) for name in contract.TABLES}
    return {name: source for name, source in given.items() if source is not None}


def read_tables(
    connection: Backend, config: Config, base: Path, rejects: Path, progress: Progress = silent
) -> Tables:
    """Read all sources relative to `base`; write `rejects`.

    Raises ConfigError for what cannot be opened or mapped. Whether too much was rejected is another
    question: `stop_if_too_many`.
    """
    given = named_sources(config)
    result = Tables({})
    refused: list[ir.Table] = []
    log: Mapped | None = None
    for place, (name, source) in enumerate(given.items()):
        progress(f"reading {name}", place / len(given))
        files = [] if source.derive_from else sources.source_files(source, base, name)
        if source.derive_from and log is not None:
            mapped = _derived(log, source, config.sources.events, name)
        else:
            mapped = sources.open_source(
                connection, source, files, name=name, contract=contract.column_names(name),
                ids=contract.IDS[name],
            )  # fmt: skip
        log = mapped if name == "events" else log
        zone = source.timezone or config.shop.timezone
        with sources.faults_named(f"sources.{name}: cannot read {[f.name for f in files]}"):
            checked = contract.check(mapped, name, zone, unique=not source.derive_from)
            checked = materialise(connection, f"checked_{name}", checked)
        result.reports.append(_report(name, files, mapped, checked, zone))
        refused.append(_refused(connection, name, mapped, checked))
        result.checked[name] = checked
        result.tables[name] = contract.accepted(checked)
    with written_beside(rejects) as beside:
        (ibis.union(*refused) if len(refused) > 1 else refused[0]).to_parquet(beside)
    progress("reading", 1.0)
    return result


def stop_if_too_many(reports: list[TableReport], limit: float, rejects: Path) -> None:
    """Raise TooManyRejects when a table has more than `limit` (0 to 1) of its rows rejected."""
    for report in reports:
        if report.rejected_share > limit:
            worst, rows = max(report.reasons.items(), key=lambda reason: reason[1])
            raise TooManyRejects(
                f"{report.name}: {report.rejected:,} of {report.read:,} rows "
                f"({report.rejected_share:.1%}) break the contract; at most {limit:.1%} may "
                f"(contract.max_rejected_share). Most often: {worst} ({rows:,} rows). "
                f"See {rejects}, then mend sources.{report.name} in the config or the log. "
                "What was built before keeps serving."
            )


def _derived(log: Mapped, source: Source, events: Source, name: str) -> Mapped:
    """The rows of the log, as far as they are events, under the names of another table."""
    columns = {"item_id": log.columns["item_id"], "kind": "'product'", **source.columns}
    conditions = [f"({one})" for one in (events.where, source.where) if one]
    changed = {"columns": columns, "where": " AND ".join(conditions) or None}
    return sources.map_columns(
        log.raw, UNREADABLE.empty_table(), source.model_copy(update=changed), name=name,
        contract=contract.column_names(name),
    )  # fmt: skip


def _report(
    name: str, files: list[Path], mapped: Mapped, checked: ir.Table, zone: str
) -> TableReport:
    counts = checked.aggregate(
        rows=checked.count(), good=checked.reasons.isnull().sum()
    ).to_pyarrow()
    rows, good = counts["rows"][0].as_py(), counts["good"][0].as_py() or 0
    told = contract.rejected(checked).unnest("reasons").group_by("reasons")
    found = told.agg(rows=lambda t: t.count()).order_by(ibis.desc("rows"), "reasons").to_pyarrow()
    reasons = dict(zip(found["reasons"].to_pylist(), found["rows"].to_pylist(), strict=True))
    for reason in mapped.unreadable["reason"].to_pylist():
        reasons[reason] = reasons.get(reason, 0) + 1
    naive = any(
        mapped.table[c.name].type().is_timestamp() and mapped.table[c.name].type().timezone is None
        for c in contract.TABLES[name]
        if c.kind == "time" and c.name in mapped.table.columns
    )
    return TableReport(
        name=name, files=[file.name for file in files], left_out=mapped.left_out, accepted=good,
        rejected=rows - good + mapped.unreadable.num_rows, reasons=reasons, columns=mapped.columns,
        unused=mapped.unused, naive_times_in=zone if naive else "",
    )  # fmt: skip


def _refused(connection: Backend, name: str, mapped: Mapped, checked: ir.Table) -> ir.Table:
    """The rejects of one table: table_name, source_file, source_row, reasons, row (as JSON)."""
    bad = contract.rejected(checked)
    rows = sources.rows_as_json(mapped, bad, name=name)
    full = bad.join(rows, ["source_file", "source_row"])
    lines = mapped.unreadable
    reasons = pa.array([[one] for one in lines["reason"].to_pylist()], pa.list_(pa.string()))
    broken = connection.create_table(
        f"unreadable_{name}", lines.set_column(2, "reasons", reasons), overwrite=True
    )
    both = ibis.union(*(t.select(*sources.ORIGIN, "reasons", "row") for t in (full, broken)))
    return both.select(*sources.ORIGIN, "reasons", "row", table_name=ibis.literal(name))
