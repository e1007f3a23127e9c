"""Who the people of a build are: features, stage, segment, and what they told us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import (
    answers,
    arrays,
    catalogue,
    identity,
    learned_segments,
    lifecycle,
    person_features,
)  # fmt: skip
from features.config import Config
from features.declared import Declared
from features.engine import Engine
from features.feature_set import FeatureSet
from features.histories import fixed_width
from features.learned_segments import Candidates, LearnedGroups
from features.options import LearnedSegment
from features.segment_names import TRAITS
from features.segments import Answers, Segments, assign, current_answers
from features.types import Bool, Bytes, Int8, Int16
from features.world import Known, World

INTERESTS, CHANNELS = 12, 6  # of the most frequent top categories and channels, for learning


@dataclass(frozen=True)
class People:
    """Everybody, in the order of `person_index`.

    table:   one row per person, as `persons.parquet` has it
    answers: what they told us that counts, None when the shop has no table of it
    learned: place of a learned segment in the config -> its groups
    prices:  reference prices of items
    links, about_answers, questions: counts for the manifest
    lines:   segment -> what sets it apart, in words
    """

    table: pa.Table
    consent: Bool
    stages: Int8
    segments: Segments
    declared: Declared
    answers: pa.Table | None
    learned: dict[int, LearnedGroups]
    lines: dict[str, str]
    prices: ir.Table
    links: dict[str, int]
    about_answers: dict[str, int]
    questions: dict[str, int]

    def stage_sizes(self) -> dict[str, int]:
        """Stage -> people, in the order of the life cycle."""
        counts = np.bincount(self.stages, minlength=len(lifecycle.STAGES))
        return dict(zip(lifecycle.STAGES, counts.tolist(), strict=True))

    def segment_sizes(self) -> dict[str, int]:
        """Segment -> people, in the order of their codes."""
        members = self.segments.members
        counts = np.bincount(members[members >= 0], minlength=len(self.segments.names))
        return dict(zip(self.segments.names, counts.tolist(), strict=True))

    def segment_table(self) -> ir.Table | None:
        """person_index, segment: of those who are in one; None when there are no segments."""
        rows = np.flatnonzero(self.segments.members >= 0)
        if not rows.size:
            return None
        names = np.array(self.segments.names, dtype=object)[self.segments.members[rows]]
        index = pa.array(rows.astype(np.int32))
        return ibis.memtable(pa.table({"person_index": index, "segment": pa.array(names)}))


def describe(engine: Engine, config: Config, world: World, before: FeatureSet | None) -> People:
    """Find out about everybody what the log and their answers say, as of the build's moment."""
    tree = engine.keep("categories", catalogue.categories(world.items))
    said = _said(engine, config, world, tree)
    found = described(engine, config, world.known, said, before)
    n_categories = int(engine.collect(tree.aggregate(n=tree.count()))["n"][0].as_py())
    n_persons = found.table.num_rows
    declared = (Declared.strangers(n_persons, n_categories) if said is None
                else answers.declared_of(said, n_persons, n_categories))  # fmt: skip
    names = np.array([*found.segments.names, None], dtype=object)
    table = found.table.append_column("stage", pa.array(found.columns["stage"]))
    table = table.append_column("segment", pa.array(names[found.segments.members], pa.string()))
    links = engine.collect(identity.counts(world.links)).to_pylist()[0]
    return People(
        table=table, consent=np.asarray(table["consent"], dtype=np.bool_), stages=found.stages,
        segments=found.segments, declared=declared, answers=said, learned=found.learned,
        lines=found.lines, prices=found.prices, links=links,
        about_answers={} if said is None else answers.counts(said),
        questions={} if said is None else answers.questions(said),
    )  # fmt: skip


@dataclass(frozen=True)
class Described:
    """Stage and segment of everybody at one moment, and the numbers that they follow from.

    table:   one row per person: who it is, and PERSON_FEATURES
    columns: RULE_COLUMNS as arrays
    """

    table: pa.Table
    columns: Mapping[str, NDArray[Any]]
    stages: Int8
    segments: Segments
    learned: dict[int, LearnedGroups]
    lines: dict[str, str]
    prices: ir.Table


def described(
    engine: Engine, config: Config, known: Known, said: pa.Table | None, before: FeatureSet | None
) -> Described:
    """Everybody as `known` shows them; `said` are the answers that count (see `answers.answers`).

    before: a feature set whose learned segments' names are to be kept where they still fit
    """
    known = known.without(config.impressions)  # what the shop did is not what they did
    prices = engine.keep("reference_prices", person_features.reference_prices(
        known.log, known.items, config.shop.currency))  # fmt: skip
    numbers = person_features.person_features(
        known.log, known.items, known.persons, known.moment_us, config.signals, config.shop,
        prices=prices,
    )  # fmt: skip
    numbers = engine.keep("described", numbers)
    full = known.persons.join(numbers, "person_index")
    table = pa.Table.from_batches(engine.batches(full, ["person_index"]))
    columns = person_features.people_columns(table)
    stages = lifecycle.stage(columns, config.lifecycle)
    columns["stage"] = lifecycle.stage_names(stages)
    found = _Learning(engine, config, known, fixed_width(table["person"]), columns, before)
    segments = assign(config.segments, columns, _current(said), found.groups_of)
    return Described(table, columns, stages, segments, found.learned,
                     _lines(segments, columns, found), prices)  # fmt: skip


def _said(engine: Engine, config: Config, world: World, categories: ir.Table) -> pa.Table | None:
    """The answers that count, None when the shop has no table of them."""
    preferences = world.tables.accepted(engine, "preferences")
    if preferences is None:
        return None
    devices = identity.devices(world.links)
    told = answers.answers(
        preferences, devices, world.persons, categories, world.clean.moment_us,
        config.preferences.less,
    )  # fmt: skip
    return engine.collect(told)


def _current(told: pa.Table | None) -> dict[str, Answers]:
    """Question -> who says what."""
    if told is None or not told.num_rows:
        return {}
    question, answer = (np.array(told[c].to_pylist(), dtype=object) for c in ("question", "answer"))
    people = np.asarray(told["person_index"]).astype(np.int64)
    return current_answers(people, question, answer, np.asarray(told["answered_us"]))


def _people_per_name(
    engine: Engine, log: ir.Table, column: str, most: int, rows: int
) -> dict[str, NDArray[np.float64]]:
    """Share of each person's events per value of `column`, of its most frequent values."""
    known = log.filter(log[column].notnull())
    counts = known.group_by(["person_index", column]).agg(events=known.count())
    found = engine.collect(counts.order_by(["person_index", column]))
    people, events = np.asarray(found["person_index"]), np.asarray(found["events"], np.float64)
    names = np.array(found[column].to_pylist(), dtype=object)
    totals = np.bincount(people, events, minlength=rows).astype(np.float64)  # int when empty
    totals[totals == 0] = np.nan
    sizes = {name: events[names == name].sum() for name in dict.fromkeys(names.tolist())}
    shares = {}
    for name in sorted(sizes, key=lambda one: (-sizes[one], one))[:most]:
        own = names == name
        shares[name] = np.bincount(people[own], events[own], minlength=rows) / totals
    return shares


@dataclass
class _Learning:
    """What learned segments are found from: numbers of the people, and the build before."""

    engine: Engine
    config: Config
    known: Known
    ids: Bytes
    columns: Mapping[str, NDArray[Any]]
    before: FeatureSet | None
    learned: dict[int, LearnedGroups] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)

    def groups_of(self, spec: LearnedSegment, candidates: Bool) -> tuple[Int16, list[str]]:
        """The groups of `spec` among the candidates."""
        place = self.config.segments.index(spec)
        previous = None
        if self.before is not None and (self.before.directory / "learned" / str(place)).exists():
            previous = arrays.load(LearnedGroups, self.before.directory / "learned" / str(place))
        taken = [one.name for one in self.config.segments if not isinstance(one, LearnedSegment)]
        taken += [name for groups in self.learned.values() for name in groups.names]
        groups = learned_segments.learn(
            Candidates(self.ids, self.numbers, candidates), spec.learned,
            seed=self.config.training.seed, previous=previous, taken=taken,
        )  # fmt: skip
        self.learned[place] = groups
        for number, name in enumerate(groups.names):
            full = name if spec.within is None else f"{spec.within}: {name}"
            self.lines[full] = groups.describe(number)
        return groups.labels, groups.names

    @cached_property
    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """The columns that groups are found by."""
        log, rows = self.known.log, len(self.ids)
        ordered = any(signal.had for signal in self.config.signals.values())
        found = {
            name: np.asarray(self.columns[name], dtype=np.float64)
            for name in TRAITS
            if name in self.columns and (ordered or "order" not in name)
        }  # where no signal is an order, "orders" are visits: said once is enough
        categories = self.known.items.select(
            "item_index", branch=self.known.items.category.split("/")[0]
        )
        told = log.select("person_index", "item_index").join(categories, "item_index")
        for name, shares in _people_per_name(self.engine, told, "branch", INTERESTS, rows).items():
            found[f"interest: {name}"] = shares
        for name, shares in _people_per_name(self.engine, log, "channel", CHANNELS, rows).items():
            found[f"channel: {name}"] = shares
        return found


def _lines(
    segments: Segments, columns: Mapping[str, NDArray[Any]], found: _Learning
) -> dict[str, str]:
    """A sentence per segment: what its people are like beside everybody."""
    lines = {}
    for code, name in enumerate(segments.names):
        rows = segments.members == code
        lines[name] = found.lines.get(name) or _line(rows, columns)
    return lines


def _line(rows: Bool, columns: Mapping[str, NDArray[Any]]) -> str:
    """The figures of a segment by rule or by answer."""
    if not rows.any():
        return "nobody at present"
    told = [f"{int(rows.sum()):,} people"]
    for name, what in (("sessions", "visits each"), ("recency_days", "days since they were here")):
        own, every = (np.nanmean(part) if np.isfinite(part).any() else np.nan
                      for part in (columns[name][rows], columns[name]))  # fmt: skip
        if np.isfinite(own):
            told.append(f"{own:.1f} {what} (all: {every:.1f})")
    return f"{told[0]}; {', '.join(told[1:])}"
