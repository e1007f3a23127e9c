"""What a log looks like: its volume, gaps, nulls and mix, as numbers that fit into a manifest.

A profile is what one build can be compared with another by (`features.drift`) and what
`feeds report data` shows. Days are UTC days, written 2024-06-01.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any, TypedDict

import ibis.expr.types as ir
import pyarrow as pa

from features.contract import TABLES
from features.types import DAY_US

Collect = Callable[[ir.Table], pa.Table]  # how an engine hands out a small table
OPTIONAL = tuple(column.name for column in TABLES["events"] if not column.required)
DETAILS = (
    "title", "text", "category", "brand", "price", "list_price", "currency", "url", "image_url",
    "language", "published_us", "available_until_us", "sensitive",
)  # fmt: skip
RECENT_DAYS = 28  # four of every weekday
REST = ""  # the name of all that has no row of its own; no event type or channel is empty
_NAMED = 500  # event types and channels with a row of their own, the most frequent
_DRAWN = 7  # event types with a count per day, the most frequent
_EPOCH = date(1970, 1, 1).toordinal()


class Part(TypedDict):
    """What is counted of some events; shares are of those events, from 0 to 1."""

    events: int
    event_types: dict[str, int]  # the most frequent first; REST: all others
    channels: dict[str, int]  # of the events that name one
    null_shares: dict[str, float]  # optional column of the contract -> events that lack it
    anonymous_share: float  # no user_id: the two below together
    visitor_share: float  # a visitor_id and no user_id
    session_only_share: float  # neither


class Profile(Part):
    """What is counted of a whole log."""

    as_of_us: int  # the moment that the build describes; nothing later is counted
    first_us: int
    last_us: int
    days: list[tuple[str, int]]  # (day, events), the days without an event left out
    daily_types: dict[str, list[int]]  # event type -> events on each of `days`
    gaps: list[tuple[str, str, int]]  # (first day without an event, last, days), in the log
    recent: Part | None  # of the RECENT_DAYS up to `as_of`, its day included; None: no event


class CatalogueProfile(TypedDict):
    """What is counted of a catalogue."""

    items: int
    available: int
    kinds: dict[str, int]
    null_shares: dict[str, float]
    median_prices: dict[str, float]  # currency -> median price; REST: no currency given


def profile(events: ir.Table, as_of_us: int, collect: Collect) -> Profile:
    """Count what `events` are like up to `as_of_us` (microseconds since 1970), in three passes.

    events: accepted by the contract, before cleaning; occurred_us int64, event_type, and the
    OPTIONAL columns. collect: `Engine.collect`. Raises ValueError when no event is that early.
    """
    known, start = _with_days(events, as_of_us), as_of_us // DAY_US - RECENT_DAYS + 1
    known = known.mutate(recent=known.day >= start)
    totals = collect(known.group_by("recent").agg(**_totals(known))).to_pylist()
    if not totals:
        raise ValueError(f"no event up to {as_of_us} microseconds since 1970; nothing to profile")
    by_type = collect(known.group_by("day", "event_type").agg(n=_n(known))).to_pylist()
    named = known.filter(known.channel.notnull())
    by_channel = collect(named.group_by("channel", "recent").agg(n=_n(named))).to_pylist()
    late = [row for row in totals if row["recent"]]
    late_types = [row for row in by_type if row["day"] >= start]
    late_channels = [row for row in by_channel if row["recent"]]
    daily = _daily(by_type)
    return {
        **_part(totals, by_type, by_channel),
        "as_of_us": as_of_us,
        "first_us": min(row["first_us"] for row in totals),
        "last_us": max(row["last_us"] for row in totals),
        "days": [(iso_day(one), sum(types.values())) for one, types in daily.items()],
        "daily_types": _daily_types(daily),
        "gaps": gaps(list(daily)),
        "recent": _part(late, late_types, late_channels) if late else None,
    }


def profile_catalogue(items: ir.Table, collect: Collect) -> CatalogueProfile:
    """Count what a catalogue is like, in three passes.

    items: kind, available, price, currency, and those of DETAILS that it has
    """
    details = [name for name in DETAILS if name in items.columns]
    priced = items.filter(items.price.notnull())
    available = items.available.cast("int64").sum()
    given = {name: items[name].count() for name in details}
    (total,) = collect(items.agg(items=_n(items), available=available, **given)).to_pylist()
    kinds = collect(items.group_by("kind").agg(n=_n(items))).to_pylist()
    prices = collect(priced.group_by("currency").agg(median=priced.price.median())).to_pylist()
    return {
        "items": total["items"],
        "available": total["available"] or 0,
        "kinds": _most_frequent({row["kind"]: row["n"] for row in kinds}, _NAMED),
        "null_shares": _null_shares(total, details, total["items"]),
        "median_prices": dict(sorted((row["currency"] or REST, row["median"]) for row in prices)),
    }


def gaps(days: Sequence[int]) -> list[tuple[str, str, int]]:
    """The stretches between `days` (in order, since 1970) on which nothing is."""
    return [
        (iso_day(before + 1), iso_day(after - 1), after - before - 1)
        for before, after in pairwise(days)
        if after - before > 1
    ]


def iso_day(day: int) -> str:
    """A day since 1970 as 2024-06-01."""
    return date.fromordinal(_EPOCH + day).isoformat()


def day_number(iso: str) -> int:
    """The day since 1970 that is written 2024-06-01."""
    return date.fromisoformat(iso).toordinal() - _EPOCH


def _n(table: ir.Table) -> ir.IntegerScalar:
    return table.count().cast("int64")


def _with_days(events: ir.Table, as_of_us: int) -> ir.Table:
    known = events.filter(events.occurred_us <= as_of_us)
    return known.mutate(day=(known.occurred_us // DAY_US).cast("int64"))


def _totals(events: ir.Table) -> dict[str, ir.Scalar]:
    """Of each optional column how many events have it: counting what is there is cheapest."""
    return {
        "events": _n(events),
        "first_us": events.occurred_us.min(),
        "last_us": events.occurred_us.max(),
        "visitors": events.visitor_id.count(where=events.user_id.isnull()),
        **{name: events[name].count() for name in OPTIONAL},
    }


def _part(
    totals: list[dict[str, Any]], by_type: list[dict[str, Any]], by_channel: list[dict[str, Any]]
) -> Part:
    counts = {name: sum(row[name] for row in totals) for name in ("events", "visitors", *OPTIONAL)}
    events, visitors = counts["events"], counts["visitors"]
    anonymous = events - counts["user_id"]
    return {
        "events": events,
        "event_types": _most_frequent(_summed(by_type, "event_type"), _NAMED),
        "channels": _most_frequent(_summed(by_channel, "channel"), _NAMED),
        "null_shares": _null_shares(counts, OPTIONAL, events),
        "anonymous_share": anonymous / events,
        "visitor_share": visitors / events,
        "session_only_share": (anonymous - visitors) / events,
    }


def _null_shares(given: Mapping[str, int], names: Iterable[str], total: int) -> dict[str, float]:
    return {name: (total - given[name]) / total if total else 0.0 for name in names}


def _summed(rows: list[dict[str, Any]], key: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for row in rows:
        found[row[key]] += row["n"]
    return dict(found)


def _most_frequent(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """At most `most` of them, the most frequent first, equal ones by name; REST has the others."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(n for _, n in ordered[most:])
    return dict(ordered[:most]) | ({REST: rest} if rest else {})


def _daily(by_type: list[dict[str, Any]]) -> dict[int, Counter[str]]:
    """Day since 1970 -> event type -> events, in the order of the days."""
    found: dict[int, Counter[str]] = {}
    for row in by_type:
        found.setdefault(row["day"], Counter())[row["event_type"]] += row["n"]
    return dict(sorted(found.items()))


def _daily_types(daily: Mapping[int, Counter[str]]) -> dict[str, list[int]]:
    totals = sum(daily.values(), Counter[str]())
    drawn = [name for name in _most_frequent(totals, _DRAWN) if name != REST]
    found = {name: [types[name] for types in daily.values()] for name in drawn}
    rest = [types.total() - sum(types[name] for name in drawn) for types in daily.values()]
    return found | ({REST: rest} if any(rest) else {})
