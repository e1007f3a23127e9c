"""Rows of the forgotten, taken out of the parts of the log where they lie; docs/erasure.md.

A part is what was read of a source (see `features.parts`). Sources are always read by DuckDB, so
one way serves both engines, and no later step ever sees these rows. What was taken out is not read
again: a part is written anew without them, and only where it had any.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import msgspec
import pyarrow as pa

from features import contract, served
from features.engine import BATCH, materialise
from features.erasure import Forgotten
from features.home import Home, write_json, written_beside
from features.honoured import covers
from features.parts import DERIVED, REJECTS, REPORT, ROWS, TableReport, integer_name, reports_of
from features.sources import ORIGIN

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

BOOK, RETURNED = "forgotten.json", "returned.parquet"
_MOMENT = {"events": "occurred_us", "identities": "linked_us", "preferences": "answered_us"}
_PEOPLE = ("events", "customers", "identities", "preferences")
Parts = Mapping[str, Sequence[Path]]  # table -> the directories of its parts


class Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom the parts here were read without.

    until:   the list, pseudonym -> moment
    devices: those that the log linked with somebody of the list: the links themselves are gone
    """

    until: dict[str, int] = {}
    devices: dict[str, int] = {}


def start_anew_if_shorter(home: Home, gone: Forgotten) -> None:
    """Drop all parts where the list has lost somebody: they were read without them."""
    if not covers(gone.until, _book(home).until):
        for directory in home.parts.iterdir():
            if directory.is_dir():
                shutil.rmtree(directory)
        (home.parts / RETURNED).unlink(missing_ok=True)
        (home.parts / BOOK).unlink()


def parts_honour(home: Home, gone: Forgotten) -> bool:
    """Were the parts that are kept read without all of these?"""
    kept = any(home.parts.glob("[!.]*/*.parquet"))
    return not kept or covers(_book(home).until, gone.until)


def leave_out(
    connection: Backend, home: Home, parts: Parts, gone: Forgotten, *, by_events: bool
) -> Path | None:
    """Take all rows of the forgotten out of `parts`, up to their moments.

    A row is theirs if it bears one of their names. It may be theirs, and goes too, if it has no
    customer and its device was ever linked with them: else it would become another's. Customers
    have no time: their rows all go. Of rejected rows that no name can be read of, only place and
    reasons stay.
    by_events: does an event with user_id and device link them (`identity.links_from_events`)?

    Returns a file of customers' rows for whoever came back: they refuse to be known, unless they
    told the service otherwise since; None: nobody did.
    """
    if not gone.until:
        return None
    book = _book(home)
    tables = {name: _rows(connection, parts[name]) for name in _PEOPLE if name in parts}
    known = replace(gone, until=book.devices)
    found = set(
        replace(gone, until={**gone.until, **book.devices}).among(_names(connection, tables))
    )
    listed, devices = gone.among(found), known.among(found)
    for device, moment in _linked(connection, tables, listed, by_events=by_events).items():
        devices[device] = max(moment, devices.get(device, moment))
    hidden = {gone.hidden(name): moment for name, moment in devices.items()}
    _write_book(home, Book(dict(gone.until), book.devices | hidden))  # before its evidence goes
    names, loose = _listed(connection, "names", listed), _listed(connection, "devices", devices)
    for name, rows in tables.items():
        theirs = materialise(connection, f"theirs_{name}", _theirs(rows, name, names, loose))
        files = set(_column(theirs.select("source_file").distinct()))
        for directory in parts[name]:
            _mend(connection, directory, name, theirs, files)
    return _returned(connection, home, parts, [name for name in listed if name[0] == "u"])


def _book(home: Home) -> Book:
    file = home.parts / BOOK
    return msgspec.json.decode(file.read_bytes(), type=Book) if file.exists() else Book()


def _write_book(home: Home, book: Book) -> None:
    write_json(home.parts / BOOK, msgspec.to_builtins(book))


def _rows(connection: Backend, directories: Sequence[Path]) -> ir.Table:
    return connection.read_parquet([str(one / ROWS) for one in directories])


def _marked(rows: ir.Table, name: str) -> dict[str, ir.StringValue]:
    """The names that a row of this table bears: its customer's, and its device's."""
    found = {"user": "u:" + rows.user_id}
    if name == "events":
        found["device"] = ibis.coalesce("v:" + rows.visitor_id, "s:" + rows.session_id)
    elif name != "customers":
        found["device"] = "v:" + rows.visitor_id
    return found


def _names(connection: Backend, tables: Mapping[str, ir.Table]) -> Iterator[str]:
    """Every name of any row, once."""
    each = [rows.select(name=one) for table, rows in tables.items()
            for one in _marked(rows, table).values()]  # fmt: skip
    every = ibis.union(*each, distinct=True) if len(each) > 1 else each[0].distinct()
    named = every.filter(every.name.notnull())
    for batch in connection.to_pyarrow_batches(named, chunk_size=BATCH):
        yield from batch["name"].to_pylist()


def _listed(connection: Backend, called: str, names: Mapping[str, int]) -> ir.Table:
    """name, until_us: as a table to join with."""
    told = {"name": pa.array(names, pa.string()), "until_us": pa.array(names.values(), pa.int64())}
    return connection.create_table(called, pa.table(told), overwrite=True)


def _linked(
    connection: Backend, tables: Mapping[str, ir.Table], forgotten: Mapping[str, int], *,
    by_events: bool,
) -> dict[str, int]:  # fmt: skip
    """The devices that were ever linked with forgotten customers, and the latest moment."""
    listed, pairs = _listed(connection, "names", forgotten), []
    for name in ("events",) * by_events + ("identities",) * ("identities" in tables):
        rows = contract.accepted(tables[name])
        pairs.append(rows.select(**_marked(rows, name)))
    if not pairs:
        return {}
    every = ibis.union(*pairs) if len(pairs) > 1 else pairs[0]
    theirs = every.filter(every.device.notnull()).inner_join(listed, every.user == listed.name)
    found = theirs.group_by("device").agg(until_us=theirs.until_us.max()).to_pyarrow()
    return dict(zip(found["device"].to_pylist(), found["until_us"].to_pylist(), strict=True))


def _theirs(rows: ir.Table, name: str, names: ir.Table, devices: ir.Table) -> ir.Table:
    """Where the rows lie that are to go: source_file, source_row.

    What a customer has told the service is of after the forgetting: what was before is gone there.
    """
    if name == "customers":
        rows = rows.filter(~rows.source_file.startswith(served.MARK))
    moment = rows[_MOMENT[name]] if name in _MOMENT else ibis.null("int64")
    known = _marked(rows, name)
    borne = [(one, names) for one in known.values()]
    if "device" in known:
        nobodys = ibis.ifelse(known["user"].isnull(), known["device"], ibis.null("string"))
        borne.append((nobodys, devices))
    found = []
    for one, listed in borne:
        named = rows.select(*ORIGIN, name=one, at_us=ibis.coalesce(moment, 0))
        joined = named.inner_join(listed, "name")
        found.append(joined.filter(joined.at_us <= joined.until_us).select(*ORIGIN))
    return ibis.union(*found, distinct=True) if len(found) > 1 else found[0].distinct()


def _mend(
    connection: Backend, directory: Path, name: str, theirs: ir.Table, files: set[str]
) -> None:
    """Write a part anew if it has rows of `theirs`, or rejects that no name can be read of."""
    before = reports_of(directory)
    rows, refused = (connection.read_parquet(str(directory / f)) for f in (ROWS, REJECTS))
    named = rows.filter(ibis.or_(*(one.notnull() for one in _marked(rows, name).values())))
    nameless = refused.filter(refused.row.notnull()).anti_join(named, list(ORIGIN))
    hidden = sum(one.rejected for one in before) and nameless.count().execute()
    if not hidden and not files & set(before[0].files):
        return
    columns = refused.columns
    own = theirs.filter(theirs.source_file.isin(before[0].files))
    known = named.select(*ORIGIN, known=ibis.literal(True))
    refused = refused.anti_join(own, list(ORIGIN)).left_join(known, list(ORIGIN))
    refused = refused.mutate(row=ibis.ifelse(refused.known, refused.row, ibis.null("string")))
    with written_beside(directory) as beside:
        beside.mkdir()
        connection.to_parquet(refused.select(*columns), str(beside / REJECTS))
        kept = rows.anti_join(own, list(ORIGIN))
        connection.to_parquet(kept, str(beside / ROWS), compression="zstd")
        if (directory / DERIVED).exists():  # of a part of the log, which is one file
            items = connection.read_parquet(str(directory / DERIVED)).anti_join(own, "source_row")
            connection.to_parquet(items, str(beside / DERIVED), compression="zstd")
        after = [_recounted(connection, one, beside) for one in before]
        write_json(beside / REPORT, [asdict(one) for one in after])


def _recounted(connection: Backend, report: TableReport, directory: Path) -> TableReport:
    """The same report of what is left in a part."""
    own = ROWS if report.files else DERIVED
    rows = connection.read_parquet(str(directory / own))
    refused = connection.read_parquet(str(directory / REJECTS))
    refused = refused.filter(refused.table_name == report.name)
    accepted, rejected = (int(one.count().execute()) for one in (contract.accepted(rows), refused))
    told = _column(refused.select(reason=refused.reasons.unnest()))
    gone = report.read - accepted - rejected if report.files else 0
    return replace(
        report, accepted=accepted, rejected=rejected, forgotten=report.forgotten + gone,
        reasons=dict(Counter(told).most_common()),
    )  # fmt: skip


def _returned(
    connection: Backend, home: Home, parts: Parts, customers: Sequence[str]
) -> Path | None:
    """Customers' rows of those of `customers` (marked) who still have rows: they came back."""
    listed = _listed(connection, "names", dict.fromkeys(customers, 0))
    tables = {name: contract.accepted(_rows(connection, parts[name]))
              for name in _PEOPLE if name in parts and name != "customers"}  # fmt: skip
    each = [rows.select(name="u:" + rows.user_id) for rows in tables.values()]
    came = (ibis.union(*each) if len(each) > 1 else each[0]).semi_join(listed, "name").distinct()
    file = home.parts / RETURNED
    if "customers" in parts:  # all that is left of them there is what the service was told since
        said = contract.accepted(_rows(connection, parts["customers"]))
        came = came.anti_join(said.filter(said.consent_personalise.notnull()).select(
            name="u:" + said.user_id), "name")  # fmt: skip
    found = sorted(_column(came))
    if not found:
        file.unlink(missing_ok=True)
        return None
    names = pa.table({"user_id": [name.removeprefix("u:") for name in found]})
    with written_beside(file) as beside:
        came_back = connection.create_table("came_back", names, overwrite=True)
        connection.to_parquet(_refusing(came_back), str(beside), compression="zstd")
    return file


def _refusing(people: ir.Table) -> ir.Table:
    """Rows of the customers' table that say nothing but no."""
    nothing = {
        integer_name(c.name): ibis.null("int64" if c.kind == "time" else contract.TYPES[c.kind])
        for c in contract.TABLES["customers"]
    }
    told = {"user_id": people.user_id, "consent_personalise": ibis.literal(False),
            "consent_email": ibis.literal(False)}  # fmt: skip
    return people.select(
        source_file=ibis.literal(RETURNED), source_row=ibis.row_number().cast("int64"),
        **nothing | told, reasons=ibis.null("array<string>"),
    )  # fmt: skip


def _column(table: ir.Table) -> list[str]:
    """The values of a table's one column."""
    found: list[str] = table.to_pyarrow()[0].to_pylist()
    return found
