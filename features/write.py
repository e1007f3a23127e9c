"""What a feature set holds, table by table: computed from the clean log and written down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow.parquet as pq

from features import arrays, catalogue, contacts, identity, popularity, profile
from features.config import Config
from features.describe import People, describe
from features.engine import Engine
from features.feature_set import Devices, FeatureSet
from features.histories import fixed_width, read_ids, read_timelines
from features.reading import ROW
from features.text_features import item_words, text_features
from features.types import ORDER, IdTable
from features.world import World

Timed = Callable[[str], AbstractContextManager[None]]


def write_world(
    engine: Engine, config: Config, base: Path, world: World, directory: Path,
    before: FeatureSet | None, timed: Timed,
) -> dict[str, Any]:  # fmt: skip
    """Write everything into `directory`; returns what the manifest says of it.

    base:   the directory of the config
    before: the feature set built last, so that learned segments keep their names
    """
    with timed("catalogue"):
        items, about_items = _catalogue(engine, config, base, world, directory)
    with timed("histories"):
        persons = read_ids(engine, world.persons.select("person", "person_index"))
        arrays.save(IdTable.sorted(persons), directory / "person_ids")
        _devices(engine, world, directory, IdTable.sorted(persons))
        engine.write(world.links, directory / "links.parquet", ["device", "user_id"])
        timelines = read_timelines(engine, world.log, len(persons), len(items))
        arrays.save(timelines, directory / "timelines")
    with timed("people"):
        people = describe(engine, config, world, before)
        _people(engine, people, directory)
        _contacts(engine, config, world, directory)
    with timed("popularity"):
        rows = _popularity(engine, config, world, people, directory)
    with timed("write"):
        engine.write(world.log, directory / "events.parquet", ["person_index", *ORDER])
        removed = _removed(engine, world, directory)
        types = engine.collect(world.log.group_by("event_type").agg(rows=world.log.count()))
    counts = {row["event_type"]: row["rows"] for row in types.to_pylist()}
    return {
        "event_types": dict(sorted(counts.items())), "links": people.links,
        "stages": people.stage_sizes(), "segments": people.segment_sizes(),
        "segment_lines": people.lines, "answers": people.about_answers,
        "questions": people.questions, **about_items,
        "rows": {
            "read": world.tables.report("events").read, "clean": sum(counts.values()),
            "removed": removed, "with_signal": len(timelines.items), "people": len(persons),
            "items": len(items), **rows,
        },
    }  # fmt: skip


def _catalogue(
    engine: Engine, config: Config, base: Path, world: World, directory: Path
) -> tuple[IdTable, dict[str, Any]]:
    """Items with all that follows from them, the category tree, and their words as vectors."""
    options, moment = config.catalogue, world.clean.moment_us
    more = catalogue.details(world.items, world.log, moment, options.new_days)
    full = world.items.left_join(more, "item_index").drop("item_index_right")
    engine.write(full, directory / "items.parquet", ["item_index"])
    engine.write(catalogue.categories(world.items), directory / "categories.parquet",
                 ["category_index"])  # fmt: skip
    table = pq.read_table(directory / "items.parquet")
    ids = fixed_width(table["item_id"])
    items = IdTable(ids, np.argsort(ids, kind="stable").astype(np.int32))
    arrays.save(items, directory / "item_ids")
    text = text_features(item_words(table), options.text, config.training.seed, base)
    np.save(directory / "text.npy", text.vectors)
    about = {"method": text.method, "dimensions": text.vectors.shape[1], "words": text.n_words,
             "explained_variance": text.explained_variance}  # fmt: skip
    return items, {
        "text": about,
        "catalogue_profile": profile.profile_catalogue(world.items, engine.collect),
    }


def _devices(engine: Engine, world: World, directory: Path, persons: IdTable) -> None:
    """The visitors whose events belong to a customer, so that serving finds them."""
    merged = engine.collect(identity.devices(world.links).order_by("device"))
    visitors = merged.filter(np.char.startswith(_texts(merged["device"]), "v:"))
    rows = persons.indices(visitors["person"].to_pylist())
    known = np.flatnonzero(rows >= 0)
    ids = fixed_width(visitors["device"].take(known)) if known.size else np.empty(0, "S1")
    arrays.save(Devices(IdTable.sorted(ids), rows[known]), directory / "devices")


def _texts(column: Any) -> Any:
    return np.array(column.to_pylist(), dtype=np.str_)


def _people(engine: Engine, people: People, directory: Path) -> None:
    pq.write_table(people.table, directory / "persons.parquet", compression="zstd")
    np.save(directory / "consent.npy", people.consent)
    np.save(directory / "stages.npy", people.stages)
    np.save(directory / "segments.npy", people.segments.members)
    arrays.save(people.declared, directory / "declared")
    if people.answers is not None:
        pq.write_table(people.answers, directory / "answers.parquet", compression="zstd")
    for number, groups in people.learned.items():
        arrays.save(groups, directory / "learned" / str(number))
    engine.write(people.prices, directory / "reference_prices.parquet", ["item_index", "currency"])


def _contacts(engine: Engine, config: Config, world: World, directory: Path) -> None:
    question, channels = config.mail.withhold.channel_question, None
    preferences = world.tables.accepted(engine, "preferences")
    if question is not None and preferences is not None:
        channels = contacts.channels(
            preferences, identity.devices(world.links), question, world.clean.moment_us
        )
    customers = world.tables.judged(engine, "customers")
    found = contacts.contacts(world.persons, customers, channels)
    engine.write(found, directory / "contacts.parquet", ["person_index"])


def _popularity(
    engine: Engine, config: Config, world: World, people: People, directory: Path
) -> dict[str, int]:
    moment, options = world.clean.moment_us, config.popularity
    segments = people.segment_table()
    tables: dict[str, tuple[ir.Table, list[str]]] = {
        "popularity": (
            popularity.windows(world.log, world.items, moment, options, config.signals,
                               person_segments=segments),
            ["scope", "name", "hours", "place"],
        ),
        "trending": (
            popularity.trending(world.log, moment, options, config.signals), ["item_index"],
        ),
        "repurchase": (popularity.repurchase(world.log, options), ["item_index"]),
    }  # fmt: skip
    for name, (table, order) in tables.items():
        engine.write(table, directory / f"{name}.parquet", order)
    return {name: pq.read_metadata(directory / f"{name}.parquet").num_rows for name in tables}


def _removed(engine: Engine, world: World, directory: Path) -> int:
    """Every row that cleaning took out, where it came from, and why."""
    removed = world.clean.removed
    nothing = ibis.memtable({"row": [], "reason": []}, schema={"row": "int64", "reason": "string"})
    every = ibis.union(*removed) if len(removed) > 1 else (removed or [nothing])[0]
    files = world.tables.origins
    origin = (every.row // ROW).cast("int64")
    told = every.select(
        source_file=origin.cases(*enumerate(files), else_=files[0]),
        source_row=(every.row % ROW).cast("int64"),
        reason=every.reason,
    )
    file = directory / "removed.parquet"
    engine.write(told, file, ["source_file", "source_row"])
    return int(pq.read_metadata(file).num_rows)
