"""Read every table that the config names: map, judge, count, keep; a file is read only once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from features import contract, leaving_out, parts, served, sources
from features.config import Config, Source
from features.engine import Engine, connected, quoted
from features.erasure import Forgotten, forgotten
from features.home import Home, Progress, silent, write_json, written_beside
from features.parts import TableReport, Wanted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

_TEXT = "string"  # as Ibis writes it
ROW = 2**40  # a row of the log is the place of its file times this, plus its place in the file
Digests = dict[str, list[tuple[str, Path, str]]]  # table -> files: name, place, SHA-256


class TooManyRejects(ValueError):
    """So many rows break the contract that what is left cannot be trusted."""


@dataclass(frozen=True)
class Tables:
    """The rows of every table that the config names, in the contract's types, and their reports.

    files:   table -> Parquet files of all rows with their `reasons`; `items` may come of the log
    origins: name of every file of the log, in their order
    """

    files: dict[str, list[Path]]
    origins: list[str]
    reports: list[TableReport]

    def judged(self, engine: Engine, name: str) -> ir.Table | None:
        """All rows of a table with their `reasons`; None when the shop has no such table."""
        return engine.read(self.files[name]) if name in self.files else None

    def accepted(self, engine: Engine, name: str) -> ir.Table | None:
        """The accepted rows of a table; None when the shop has no such table."""
        table = self.judged(engine, name)
        return None if table is None else contract.accepted(table)

    def report(self, name: str) -> TableReport:
        """The report of a table that the config names."""
        return next(report for report in self.reports if report.name == name)

    def origin(self, row: int) -> tuple[str, int]:
        """File and row in it of a `row` of the log."""
        return self.origins[row // ROW], row % ROW


def named_sources(config: Config) -> dict[str, Source]:
    """The sources that the config gives, events first."""
    given = {name: getattr(config.sources, name) for name in contract.TABLES}
    return {name: source for name, source in given.items() if source is not None}


def log_of(engine: Engine, tables: Tables) -> ir.Table:
    """The accepted events with `row`: unique, and the order of the log where times are equal."""
    events = tables.accepted(engine, "events")
    assert events is not None  # the config has no other shop
    if len(tables.origins) == 1:
        return events.mutate(row=events.source_row).drop("source_file", "source_row")
    places = {"source_file": tables.origins, "place": list(range(len(tables.origins)))}
    joined = events.join(ibis.memtable(places), "source_file")
    row = joined.place.cast("int64") * ROW + joined.source_row
    return joined.mutate(row=row).drop("source_file", "source_row", "place")


def own_log(
    engine: Engine, tables: Tables, events: ir.Table, moment_us: int
) -> tuple[ir.Table, int]:
    """What of `events` (with `row`) the shop's own files say, and the last moment they speak of.

    How the log changes from build to build is judged by them alone: what the service records begins
    all at once, and is many times more.
    """
    own = sum(not name.startswith(served.MARK) for name in tables.origins)
    if own == len(tables.origins):
        return events, moment_us
    told = events.filter(events.row < own * ROW)
    last = engine.collect(told.aggregate(last=told.occurred_us.max()))["last"][0].as_py()
    return (events, moment_us) if last is None else (told, min(last, moment_us))


def file_digests(config: Config, base: Path, home: Home | None = None) -> Digests:
    """Of every source its files: name relative to the config, where it lies, SHA-256.

    home: what the service has recorded there comes after them, where it has recorded something
    """
    found: Digests = {}
    for name, source in named_sources(config).items():
        if not source.derive_from:
            files = sources.source_files(source, base, name)
            found[name] = [(_name(f, base), f, parts.file_digest(f)) for f in files]
    for name, file in [] if home is None else served.tables(config, home):
        told = (f"{served.MARK}{file.name}", file, parts.file_digest(file))
        found.setdefault(name, []).append(told)
    return found


def read_tables(
    config: Config, home: Home, digests: Digests, progress: Progress = silent,
    gone: Forgotten | None = None,
) -> Tables:  # fmt: skip
    """Read what is not yet kept of all sources, and write the rejects of all.

    gone: whose rows are left out; None: everybody's who is forgotten in this home

    Raises ConfigError for what cannot be opened or mapped. Whether too much was rejected is another
    question: `stop_if_too_many`.
    """
    gone = forgotten(config, home) if gone is None else gone
    leaving_out.start_anew_if_shorter(home, gone)
    with connected(home.scratch(), config.engine) as connection:
        wanted = _wanted(connection, config, home, digests)
        directories: dict[str, list[Path]] = {}
        for place, (one, key) in enumerate(wanted):
            progress(f"reading {' '.join([one.name, *list(one.files)[:1]])}", place / len(wanted))
            directory = home.parts / key
            if not (directory / parts.REPORT).exists():
                parts.store(connection, one, directory)
            directories.setdefault(one.name, []).append(directory)
        returned = leaving_out.leave_out(
            connection, home, directories, gone, by_events=config.identity.links_from_events
        )
        every = [one for table in directories.values() for one in table]
        _write_rejects(connection, [one / parts.REJECTS for one in every], home.rejects)
    _forget_others(home, {one.name for one in every})
    files = {name: [one / parts.ROWS for one in table] for name, table in directories.items()}
    if config.sources.items is not None and config.sources.items.derive_from:
        derived = [one / parts.DERIVED for one in directories["events"]]
        files["items"] = [file for file in derived if file.exists()]  # the service derives none
    if returned is not None:
        files.setdefault("customers", []).append(returned)
    progress("reading", 1.0)
    return Tables(files, [name for name, _, _ in digests["events"]], _reports(every))


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


def _name(file: Path, base: Path) -> str:
    """A file as the config would name it, so that a shop may move with its files."""
    return file.relative_to(base).as_posix() if file.is_relative_to(base) else str(file)


def _wanted(
    connection: Backend, config: Config, home: Home, digests: Digests
) -> list[tuple[Wanted, str]]:
    """Every part that the config asks for, with its key: the log file by file."""
    result = []
    for name, every in digests.items():
        source = getattr(config.sources, name)
        found = [one for one in every if not one[0].startswith(served.MARK)]
        if not found:
            continue
        zone = source.timezone or config.shop.timezone
        sources.one_format(source, [file for _, file, _ in found], name)
        filled = [one for one in found if one[1].stat().st_size] or found[:1]  # a day of nothing
        groups = [[one] for one in filled] if name == "events" else [found]
        whole = [Wanted(name, source, zone, {n: f for n, f, _ in g}, {}) for g in groups]
        missing: list[dict[str, str]] = [{} for _ in groups]
        if len(groups) > 1:
            missing = _missing_columns(connection, home, whole, [g[0][2] for g in groups])
        items = config.sources.items
        derived = None
        if name == "events" and items is not None and items.derive_from:
            derived = (items, items.timezone or config.shop.timezone)
        for one, absent, group in zip(whole, missing, groups, strict=True):
            full = Wanted(name, source, zone, one.files, absent, derived)
            result.append((full, full.key([digest for _, _, digest in group])))
    return result + _served(digests)


def _served(digests: Digests) -> list[tuple[Wanted, str]]:
    """What the service recorded: tables that have the contract's columns, one part per file."""
    found = []
    for name, files in digests.items():
        for told, file, digest in files:
            if told.startswith(served.MARK):
                one = Wanted(name, Source(path=told), "UTC", {told: file}, {})
                found.append((one, one.key([digest])))
    return found


def _missing_columns(
    connection: Backend, home: Home, wanted: Sequence[Wanted], digests: Sequence[str]
) -> list[dict[str, str]]:
    """Of every file the columns that only others have, or that are text in it alone, with a type.

    A CSV file in which a column is empty says that it is text. A file is looked at once.
    """
    book = home.parts / "columns.json"
    known = json.loads(book.read_text()) if book.exists() else {}
    keys = [f"{digest} {one.source.format} {one.source.table}"
            for one, digest in zip(wanted, digests, strict=True)]  # fmt: skip
    kept = {
        key: known[key] if key in known else parts.columns_of(connection, one)
        for key, one in zip(keys, wanted, strict=True)
    }
    if kept != known:
        write_json(book, kept)
    columns: dict[str, str] = {}
    for key in keys:
        told = {c: kind for c, kind in kept[key].items() if kind != _TEXT}
        columns = {**kept[key], **columns, **{c: k for c, k in told.items()
                                              if columns.get(c, _TEXT) == _TEXT}}  # fmt: skip
    return [
        {c: kind for c, kind in columns.items() if kept[key].get(c, _TEXT) == _TEXT != kind
         or c not in kept[key]}
        for key in keys
    ]  # fmt: skip


def _write_rejects(connection: Backend, files: Sequence[Path], rejects: Path) -> None:
    listed = ", ".join(quoted(str(file)) for file in files)
    with written_beside(rejects) as beside:
        connection.raw_sql(
            f"COPY (SELECT * FROM read_parquet([{listed}])) TO {quoted(str(beside))} "
            "(FORMAT parquet)"
        )


def _forget_others(home: Home, used: set[str]) -> None:
    """Parts that this config no longer asks for."""
    for directory in home.parts.iterdir():
        if directory.is_dir() and directory.name not in used and directory.name[0] != ".":
            shutil.rmtree(directory, ignore_errors=True)


def _reports(directories: Sequence[Path]) -> list[TableReport]:
    """One report per table, in the order of the contract."""
    joined: dict[str, TableReport] = {}
    for directory in directories:
        for report in parts.reports_of(directory):
            before = joined.get(report.name)
            both = report if before is None else before.joined(report)
            if before is not None and "".join(report.files).startswith(served.MARK):
                both = replace(both, unused=before.unused)  # of the shop's own files
            joined[report.name] = both
    return [joined[name] for name in contract.TABLES if name in joined]
