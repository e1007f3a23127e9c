"""A small log of an experiment as a feature set, without a build: quick, and nothing is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import worlds

from features import arrays
from features.config import Config
from features.declared import Declared
from features.feature_set import Devices, FeatureSet
from features.home import Home
from features.lifecycle import STAGES
from features.people_at import PeopleAt
from features.timelines import Timelines
from features.types import IdTable, Texts, to_us
from training.catalogue import Catalogue
from training.item_facts import ItemFacts
from training.slices import World

START = datetime(2026, 3, 1, tzinfo=UTC)
Row = dict[str, Any]
_ITEM, _TEXT = IdTable.of(["i"]), Texts.of([""])
_CATALOGUE = Catalogue(
    _ITEM, _ITEM, np.zeros(1, np.int8), np.ones(1, np.bool_), np.ones(1, np.float32),
    np.ones(1, np.float32), np.zeros(1, np.int64), *[_TEXT] * 7, np.zeros(1, np.bool_),
    np.ones(1, np.int32), np.full(1, np.nan, np.float32),
    np.full(1, -1, np.int32), _TEXT, np.full(1, -1, np.int32), _TEXT,
)  # fmt: skip


def did(who: str, day: float, kind: str = "view", **more: Any) -> Row:
    """An event of a person (u:ann, v:1, s:1), so many days after 2026-03-01."""
    at = to_us(START + timedelta(days=day))
    return {"who": who, "occurred_us": at, "event_type": kind, "currency": "EUR", **more}


def config(*experiments: dict[str, Any], **parts: object) -> Config:
    """A config with these experiments."""
    return worlds.config(experiments=list(experiments), **parts)


def world(base: Path, rows: Sequence[Row], told: Config, *, agree: bool = False) -> World:
    """The world of some events; where people agree, `stood` says what they were."""
    people = sorted({row["who"] for row in rows})
    ordered = sorted(rows, key=lambda row: (row["who"], row["occurred_us"]))
    names = list(told.signals)
    codes = [names.index(r["event_type"]) if r["event_type"] in names else -1 for r in ordered]
    index = [people.index(row["who"]) for row in ordered]
    columns = {name: [row.get(name) for row in ordered]
               for name in ("occurred_us", "event_type", "currency")}  # fmt: skip
    typed = {"value": pa.array([r.get("value") for r in ordered], pa.float64()),
             "placement": pa.array([r.get("placement") for r in ordered], pa.string())}  # fmt: skip
    pq.write_table(
        pa.table({"person_index": pa.array(index, pa.int32()), "signal": pa.array(codes, pa.int8()),
                  "item_index": pa.array([0] * len(rows), pa.int32()), **columns, **typed}),
        base / "events.parquet",
    )  # fmt: skip
    carries = np.array(codes) >= 0
    lengths = np.bincount(np.array(index)[carries], minlength=len(people))
    log = Timelines(
        np.concatenate([[0], np.cumsum(lengths)]), np.zeros(carries.sum(), np.int32),
        np.array(codes, np.int8)[carries], np.array(columns["occurred_us"])[carries],
        np.zeros(carries.sum(), np.int32), 1,
    )  # fmt: skip
    n = len(people)
    said = Declared(np.zeros(n + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.bool_),
                    np.empty(0, np.int64), 0)  # fmt: skip
    features = FeatureSet(
        base, {"as_of_us": max(columns["occurred_us"]), "segments": {}}, log,
        IdTable.of(people), Devices(IdTable.of([]), np.empty(0, np.int32)), _ITEM,
        np.full(n, agree), np.zeros(n, np.int8),
        np.full(n, -1, np.int16), said, np.zeros((1, 1), np.float32),
    )  # fmt: skip
    return World(told, features, Home(base), ItemFacts.unknown(1), _CATALOGUE)


def stood(
    world: World, day: float, stage: str, segment: int = -1, names: Sequence[str] = ()
) -> None:
    """What everybody was at a moment, as a build would have kept it."""
    n = len(world.features.persons)
    moment = to_us(START + timedelta(days=day))
    who = PeopleAt(np.full(n, STAGES.index(stage), np.int8), np.full(n, segment, np.int16),
                   list(names))  # fmt: skip
    arrays.save(who, world.features.directory / "at" / str(moment))
