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
from features.engine import connect, materialise, microseconds
from features.feature_set import SCHEMA_VERSION, FeatureSet
from features.histories import coded_events, read_timelines
from features.home import Home, Progress, silent, write_json, written_beside
from features.people import persons
from features.reading import Tables, named_sources, read_tables, stop_if_too_many
from features.sources import source_files
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
    total = hashlib.sha256(f"{SCHEMA_VERSION} {shop} {as_of}".encode())
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
    progress("looking for changes", 0.0)
    digest = input_digest(config, base, as_of)
    target = home.feature_sets / digest[:16]
    if (target / "manifest.json").exists():
        return FeatureSet.open(target)
    steps = Steps(progress)
    connection = connect(home.scratch())
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
    connection.disconnect()
    progress("built", 1.0)
    return FeatureSet.open(target)


def _clean(
    connection: Backend, config: Config, tables: Tables, as_of: datetime | None, steps: Steps
) -> Clean:
    events, items = tables.tables["events"], tables.get("items")
    moment = as_of or _last(events)
    events = events.filter(events.occurred_at <= ibis.literal(moment, type="timestamp('UTC', 6)"))
    spelling = cleaning.spellings(events, *([] if items is None else [items]))
    spelling = materialise(connection, "spelling", spelling)
    steps.respelled_items = int(spelling.count().execute())
    if steps.respelled_items:
        events = cleaning.respelled(events, spelling)
        items = None if items is None else cleaning.respelled(items, spelling)
    items = None if items is None else _one_row_each(config, tables, items)
    given = [c for c in tables.report("events").columns if c != "occurred_at"]
    patterns = config.cleaning.non_products
    marked = cleaning.marked(cleaning.with_person(events), patterns, ["occurred_at", *given])
    marked = materialise(connection, "marked_events", marked)
    kept = marked.filter(marked.removed.isnull())
    if int(kept.event_type.isin(config.cleaning.returns).sum().execute() or 0):
        purchases = [n for n, had in zip(config.signals, config.had_signals(), strict=True) if had]
        kept = cleaning.net_returns(kept, purchases, config.cleaning.returns)
        kept = materialise(connection, "netted_events", kept)
        steps.removed |= _counts(kept)
        kept = kept.filter(kept.removed.isnull())
    steps.removed |= _counts(marked)
    if items is not None and patterns:
        items = items.filter(~ibis.or_(*(items.item_id.re_search(p) for p in patterns)))
    return Clean(kept.drop("removed"), items, moment)


def _last(events: ir.Table) -> datetime:
    moment = microseconds(events.occurred_at).max().to_pyarrow().as_py()
    if moment is None:
        raise ValueError("no event was accepted; run `feeds check` to see why")
    return from_us(moment)


def _one_row_each(config: Config, tables: Tables, items: ir.Table) -> ir.Table:
    """Items derived from a log have many rows each; spellings of one item may have one each."""
    assert config.sources.items is not None
    if config.sources.items.derive_from:
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
        moment = ibis.literal(clean.as_of, type="timestamp('UTC', 6)")
        items = materialise(connection, "catalogue", catalogue(clean.items, clean.events, moment))
        items.order_by("item_index").to_parquet(directory / "items.parquet")
        item_ids = items.order_by("item_index").item_id.to_pyarrow().to_pylist()
        arrays.save(IdTable.of(item_ids), directory / "item_ids")
    with steps.timed("people"):
        default = config.shop.consent_default == "yes"
        people = materialise(connection, "persons", persons(clean.events, tables.get("customers"), default))
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
