"""From the accepted rows to the clean log: every step of cleaning in its order, counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from features import cleaning, identity, impossible_times, returns, robots
from features.catalogue import one_row_per_item
from features.config import Config
from features.engine import Engine
from features.reading import Tables, log_of
from features.sources import faults_named
from features.types import from_us, to_us


@dataclass
class Clean:
    """The clean log, what belongs to it, and all that was taken out on the way.

    events:   clean, with `person`         items: one row each, None when the shop has no such table
    links:    devices and customers        moment_us: what the feature set describes (`as_of`)
    removed:  the tables of removals (row, reason), in order
    credible: the events that can have happened, before anything else was taken out
    """

    events: ir.Table
    moment_us: int
    credible: ir.Table
    items: ir.Table | None = None
    links: ir.Table | None = None
    robots: pa.Table | None = None
    disbelieved: pa.Table | None = None
    later_us: int | None = None  # the first event after the wall clock, if there is one
    after_as_of: int = 0
    respelled_items: int = 0
    removed: list[ir.Table] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def clean(
    engine: Engine, config: Config, tables: Tables, as_of: datetime | None, now: datetime
) -> Clean:
    """Clean the log as far as it goes until `as_of`, or until its last credible event before `now`.

    The order matters: first what cannot have happened, then the spelling and what is no item, then
    copies, then who it was, then what needs to know who it was.
    """
    found = _until(engine, config, log_of(engine, tables), as_of, to_us(now))
    with faults_named("cleaning.non_products: a pattern that the engine does not know"):
        _spell(engine, config, tables, found)
    options = config.cleaning
    given = list(tables.report("events").columns)
    _take_out(engine, found, cleaning.exact_duplicates(found.events, given))
    identities = tables.accepted(engine, "identities")
    found.links = engine.keep(
        "links", identity.links(found.events, identities, found.moment_us, config.identity)
    )
    found.events = engine.keep("events", identity.with_person(found.events, found.links))
    if options.near_duplicate_seconds:
        near = cleaning.near_duplicates(found.events, options.near_duplicate_seconds)
        _take_out(engine, found, near)
    _before_published(engine, config, found)
    acts = found.events  # a page shows many items at once: that is no machine
    if config.impressions:
        acts = acts.filter(acts.event_type.notin(config.impressions))
    machines = engine.keep("robots", robots.find_robots(acts, options.robots))
    found.robots = engine.collect(machines.order_by("person"))
    if found.robots.num_rows:
        _take_out(engine, found, robots.removals(found.events, machines))
    _net_returns(engine, config, found)
    return found


def _until(
    engine: Engine, config: Config, events: ir.Table, as_of: datetime | None, now_us: int
) -> Clean:
    """The events that can have happened, up to the moment to describe."""
    span = engine.collect(
        events.aggregate(first=events.occurred_us.min(), last=events.occurred_us.max())
    ).to_pylist()[0]
    if span["first"] is None:
        raise ValueError("the log has no accepted event; run `feeds check` to see what was read")
    limit = now_us if as_of is None else to_us(as_of)
    if limit < span["first"]:
        what = f"as_of {as_of}" if as_of is not None else f"the present, {from_us(now_us)},"
        raise ValueError(f"{what} is before the first event, {from_us(span['first'])}")
    found = Clean(events, limit, events)
    if as_of is None:
        future = engine.keep("future", impossible_times.in_the_future(events, now_us))
        if _take_out(engine, found, future):
            later = events.semi_join(future, "row")
            first = later.aggregate(first=later.occurred_us.min())
            found.later_us = engine.collect(first)["first"][0].as_py()
    else:
        found.events = events.filter(events.occurred_us <= limit)
        late = events.filter(events.occurred_us > limit)
        found.after_as_of = _count(engine, late)
    gap, share = config.cleaning.straggler_gap_days, config.cleaning.straggler_share
    if gap is not None:
        _take_out(engine, found, impossible_times.stragglers(found.events, gap, share))
    if as_of is None:
        last = found.events.aggregate(last=found.events.occurred_us.max())
        found.moment_us = engine.collect(last)["last"][0].as_py()
    found.credible = found.events
    return found


def _spell(engine: Engine, config: Config, tables: Tables, found: Clean) -> None:
    """One spelling per item in log and catalogue, one row per item in the latter, and no others."""
    items = _known_items(engine, config, tables, found)
    spelled = cleaning.spellings(found.events, *([] if items is None else [items]))
    spelling = engine.keep("spelling", spelled)
    found.respelled_items = _count(engine, spelling.select("spelling").distinct())
    if found.respelled_items:
        found.events = cleaning.respelled(found.events, spelling)
        items = None if items is None else cleaning.respelled(items, spelling)
    if items is not None:
        items = _one_row_each(config, tables, items)
        gone = cleaning.matches_any(items.item_id, config.cleaning.non_products)
        found.items = engine.keep("items", items.filter(~gone))
    _take_out(engine, found, cleaning.non_products(found.events, config.cleaning.non_products))


def _known_items(engine: Engine, config: Config, tables: Tables, found: Clean) -> ir.Table | None:
    """The items table; one derived from the log knows no more of it than has happened."""
    items = tables.accepted(engine, "items")
    if items is None or not _derived(config):
        return items
    return items.filter(items.occurred_us <= found.moment_us).drop("occurred_us")


def _one_row_each(config: Config, tables: Tables, items: ir.Table) -> ir.Table:
    """Items derived from a log have many rows each; spellings of one item may have one each."""
    if _derived(config):
        return one_row_per_item(items, list(tables.report("items").columns))
    first = ibis.window(group_by="item_id", order_by=[items.source_file, items.source_row])
    placed = items.mutate(place=ibis.row_number().over(first))
    return placed.filter(placed.place == 0).drop("place")


def _derived(config: Config) -> bool:
    return config.sources.items is not None and config.sources.items.derive_from is not None


def _before_published(engine: Engine, config: Config, found: Clean) -> None:
    tolerance = config.cleaning.before_published_days
    if found.items is None or tolerance is None or _derived(config):
        return
    early = impossible_times.before_published(found.events, found.items, tolerance)
    _take_out(engine, found, early)
    doubted = impossible_times.disbelieved(found.events, found.items, tolerance)
    found.disbelieved = engine.collect(doubted.order_by("item_id"))


def _net_returns(engine: Engine, config: Config, found: Clean) -> None:
    back = found.events.filter(found.events.event_type.isin(config.cleaning.returns))
    if not _count(engine, back):
        return
    gone, changed = returns.net_returns(
        found.events, config.purchase_types(), config.cleaning.returns
    )
    changed = engine.keep("returned_in_part", changed)
    _take_out(engine, found, gone)
    found.events = returns.applied(found.events, changed)


def _take_out(engine: Engine, found: Clean, removals: ir.Table) -> int:
    """Take rows out of the log and remember why; says how many."""
    gone = engine.keep(f"removed_{len(found.removed)}", removals)
    counts = engine.collect(gone.group_by("reason").agg(rows=gone.count())).to_pylist()
    if counts:
        found.removed.append(gone)
        left = found.events.anti_join(gone, "row")
        found.events = left.select(*found.events.columns)  # a table again, no join to go on with
    for one in counts:
        found.counts[one["reason"]] = found.counts.get(one["reason"], 0) + one["rows"]
    return sum(one["rows"] for one in counts)


def _count(engine: Engine, table: ir.Table) -> int:
    return int(engine.collect(table.aggregate(n=table.count()))["n"][0].as_py())
