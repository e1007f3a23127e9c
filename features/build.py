"""Logs to feature set: all builders in order, timed, written beside and then renamed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from features import arrays, cleaning, contract
from features.catalogue import catalogue, one_row_per_item
from features.config import Config
from features.contract import TYPES
from features.engine import connected, materialise, microseconds
from features.feature_set import SCHEMA_VERSION, FeatureSet
from features.histories import coded_events, read_timelines
from features.home import Home, Progress, silent, write_json, written_beside
from features.people import persons
from features.reading import Tables, named_sources, read_tables, stop_if_too_many
from features.sources import ORIGIN, faults_named, source_files
from features.types import IdTable, from_us, to_us

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

STEPS = ("read", "clean", "catalogue", "people", "histories", "write")


@dataclass
class Steps:
    """What each step of a build took, and what it left: goes into the manifest."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    respelled_items: int = 0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time one step and show it."""
        self.progress(name, STEPS.index(name) / len(STEPS))
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True)
class Clean:
    """Clean events and the items table in one spelling."""

    events: ir.Table
    items: ir.Table | None
    as_of: datetime


def input_digest(config: Config, base: Path, as_of: datetime | None) -> str:
    """SHA-256 over the bytes of all sources and the part of the config that features depend on."""
    shop = config.digest("shop", "contract", "cleaning", "signals")
    moment = None if as_of is None else to_us(as_of)
    total = hashlib.sha256(f"{SCHEMA_VERSION} {shop} {moment}".encode())
    for name, source in named_sources(config).items():
        part = source.model_dump(mode="json", exclude={"path"})
        total.update(f"{name} {json.dumps(part, sort_keys=True)}".encode())
        for file in [] if source.derive_from else source_files(source, base, name):
            with file.open("rb") as handle:
                total.update(hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()


def build(
    config: Config, base: Path, home: Home, *, as_of: datetime | None = None,
    progress: Progress = silent,
) -> FeatureSet:  # fmt: skip
    """Build the feature set of `config`, or open it when the same inputs were built before.

    as_of: the moment to describe, with a time zone; None: the last accepted event. Later events are
    left out. Raises ConfigError and TooManyRejects; then nothing is written but the rejects.
    """
    if as_of is not None and as_of.tzinfo is None:
        raise ValueError(f"as_of {as_of} has no time zone; give one, such as {as_of}+00:00")
    progress("looking for changes", 0.0)
    digest = input_digest(config, base, as_of)
    target = home.feature_sets / digest[:16]
    if (target / "manifest.json").exists():
        return FeatureSet.open(target)
    steps = Steps(progress)
    with connected(home.scratch()) as connection:
        with steps.timed("read"):
            tables = read_tables(connection, config, base, home.rejects)
            stop_if_too_many(tables.reports, config.contract.max_rejected_share, home.rejects)
        with steps.timed("clean"):
            clean = _clean(connection, config, tables, as_of, steps)
        with written_beside(target) as directory:
            directory.mkdir()
            _write(connection, config, tables, clean, directory, steps)
            manifest = _manifest(config, tables, clean, digest, steps)
            write_json(directory / "manifest.json", manifest)
    progress("built", 1.0)
    return FeatureSet.open(target)


def _clean(
    connection: Backend, config: Config, tables: Tables, as_of: datetime | None, steps: Steps
) -> Clean:
    events, moment = _until(tables.tables["events"], as_of)
    items = _known_items(config, tables, events)
    spelling = cleaning.spellings(events, *([] if items is None else [items]))
    spelling = materialise(connection, "spelling", spelling)
    steps.respelled_items = int(spelling.count().execute())
    if steps.respelled_items:
        events = cleaning.respelled(events, spelling)
        items = None if items is None else cleaning.respelled(items, spelling)
    if items is not None:
        items = _one_row_each(config, tables, items)
        items = items.filter(~cleaning.matches_any(items.item_id, config.cleaning.non_products))
    return Clean(_clean_events(connection, config, tables, events, steps), items, moment)


def _clean_events(
    connection: Backend, config: Config, tables: Tables, events: ir.Table, steps: Steps
) -> ir.Table:
    given = list(tables.report("events").columns)
    marked = cleaning.marked(cleaning.with_person(events), config.cleaning.non_products, given)
    with faults_named("cleaning.non_products: a pattern that the engine does not know"):
        marked = materialise(connection, "marked_events", marked)
    kept = marked.filter(marked.removed.isnull())
    if int(kept.event_type.isin(config.cleaning.returns).sum().execute() or 0):
        kept = cleaning.net_returns(kept, config.purchase_types(), config.cleaning.returns)
        kept = materialise(connection, "netted_events", kept)
        steps.removed |= _counts(kept)
        kept = kept.filter(kept.removed.isnull())
    steps.removed |= _counts(marked)
    return kept.drop("removed")


def _until(events: ir.Table, as_of: datetime | None) -> tuple[ir.Table, datetime]:
    """The events up to the moment to describe: `as_of`, else the last of them."""
    times = microseconds(events.occurred_at)
    first, last = times.min().to_pyarrow().as_py(), times.max().to_pyarrow().as_py()
    if first is None:
        raise ValueError("the log has no accepted event; run `feeds check` to see what was read")
    moment = from_us(last if as_of is None else to_us(as_of))
    if to_us(moment) < first:
        raise ValueError(f"as_of {moment} is before the first event, {from_us(first)}")
    return events.filter(events.occurred_at <= ibis.literal(moment, type=TYPES["time"])), moment


def _known_items(config: Config, tables: Tables, events: ir.Table) -> ir.Table | None:
    """The items table; one derived from the log knows no more of it than `events` do."""
    items = tables.get("items")
    if items is None or config.sources.items is None or not config.sources.items.derive_from:
        return items
    return items.semi_join(events, list(ORIGIN))


def _one_row_each(config: Config, tables: Tables, items: ir.Table) -> ir.Table:
    """Items derived from a log have many rows each; spellings of one item may have one each."""
    if config.sources.items is not None and config.sources.items.derive_from:
        return one_row_per_item(items, list(tables.report("items").columns))
    first = ibis.window(group_by="item_id", order_by=[items.source_file, items.source_row])
    placed = items.mutate(place=ibis.row_number().over(first))
    return placed.filter(placed.place == 0).drop("place")


def _counts(marked: ir.Table) -> dict[str, int]:
    gone = marked.filter(marked.removed.notnull())
    found = gone.group_by("removed").agg(rows=gone.count()).to_pyarrow()
    return _as_dict(found, "removed")


def _as_dict(counts: pa.Table, key: str) -> dict[str, int]:
    return dict(sorted(zip(counts[key].to_pylist(), counts["rows"].to_pylist(), strict=True)))


def _write(
    connection: Backend, config: Config, tables: Tables, clean: Clean, directory: Path, steps: Steps
) -> None:
    with steps.timed("catalogue"):
        moment = ibis.literal(clean.as_of, type=TYPES["time"])
        items = materialise(connection, "catalogue", catalogue(clean.items, clean.events, moment))
        items.order_by("item_index").to_parquet(directory / "items.parquet")
        item_ids = items.order_by("item_index").item_id.to_pyarrow().to_pylist()
        arrays.save(IdTable.of(item_ids), directory / "item_ids")
    with steps.timed("people"):
        default = config.shop.consent_default == "yes"
        people = materialise(
            connection, "persons", persons(clean.events, tables.checked.get("customers"), default)
        )
        ordered = people.order_by("person_index")
        ordered.to_parquet(directory / "persons.parquet")
        known = ordered.select("person", "consent").to_pyarrow()
        arrays.save(IdTable.of(known["person"].to_pylist()), directory / "person_ids")
        np.save(directory / "consent.npy", np.asarray(known["consent"], dtype=np.bool_))
    with steps.timed("histories"):
        coded = coded_events(clean.events, people, items, list(config.signals))
        timelines = read_timelines(coded, known.num_rows, len(item_ids))
        arrays.save(timelines, directory / "timelines")
    with steps.timed("write"):
        columns = [*contract.column_names("events"), "person"]
        clean.events.select(*columns).to_parquet(directory / "events.parquet")


def _manifest(
    config: Config, tables: Tables, clean: Clean, digest: str, steps: Steps
) -> dict[str, object]:
    types = clean.events.group_by("event_type").agg(rows=clean.events.count()).to_pyarrow()
    return {
        "schema_version": SCHEMA_VERSION,
        "digest": digest,
        "config_digest": config.digest(),
        "as_of": clean.as_of.isoformat(),
        "as_of_us": to_us(clean.as_of),
        "tables": [asdict(r) | {"read": r.read} for r in tables.reports],
        "removed": dict(sorted(steps.removed.items())),
        "respelled_items": steps.respelled_items,
        "event_types": _as_dict(types, "event_type"),
        "seconds": steps.seconds,
    }
