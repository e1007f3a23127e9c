"""What is popular: decayed interest in arrays, and tables of what was wanted when, and by whom.

`recent_popularity` is NumPy over timelines. The tables are Ibis expressions over the coded log and
run on every engine; only events of a signal above 0 count in them, and none after `as_of_us`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import numpy as np

from features.engine import number
from features.online import ages_in_days, signal_rates
from features.options import PopularityTables, Signal
from features.timelines import Timelines
from features.types import DAY_US, HOUR_US, Float32

PRIOR_EVENTS = 5  # added to both sides of a rise: from 1 to 3 events is no trend


def recent_popularity(
    timelines: Timelines, as_of_us: int, half_life_days: float, signals: dict[str, Signal]
) -> Float32:
    """(n_items,) decayed interest of everybody; the half-life is the same for all signals.

    Exponential forward decay (Cormode, Shkapenyuk, Srivastava & Xu 2009), taken at `as_of_us`.
    """
    weights, _ = signal_rates(signals.values())
    ages = ages_in_days(timelines.occurred_us, as_of_us)
    counts = np.maximum(weights, 0)[timelines.signals] * np.exp2(-ages / half_life_days)
    return np.bincount(timelines.items, counts, minlength=timelines.n_items).astype(np.float32)


def windows(
    log: ir.Table, items: ir.Table, as_of_us: int, options: PopularityTables,
    signals: dict[str, Signal], *, person_segments: ir.Table | None = None,
) -> ir.Table:  # fmt: skip
    """The items most wanted of late, per scope, name and window: one long table.

    scope, name: 'overall' with '', 'category' with a path (an event counts for every prefix of its
                 item's path), 'segment' and 'channel' with theirs; events without one are left out
    hours:       float64, length of the window, which ends at `as_of_us`
    item_index:  int32        events, people: int64, people are distinct
    interest:    float64, sum of the signals' weights: not decayed, caps not applied
    place:       int32 from 1, by interest, then people, then item_index; at most `options.top`

    person_segments: person_index, segment: at most one row per person

    Windows are nested: an event is counted in the shortest that holds it, and those rings are
    summed outwards, so the log is grouped once into (item, channel, segment, ring). A person counts
    from the ring of the newest event on, for which the log is grouped by (person, item) and by
    (person, item, channel): on a large log that is the cost.
    """
    spans = sorted(set(options.windows_hours))
    moments = _in_rings(_wanted(log, signals, as_of_us), as_of_us, spans)
    rings = _by_scope(_rings(_with_segment(moments, person_segments)))
    counted = _with_branches(_summed_outwards(rings, spans), items)
    order = [ibis.desc("interest"), ibis.desc("people"), ibis.asc("item_index")]
    best = ibis.window(group_by=["scope", "name", "hours"], order_by=order)
    placed = counted.mutate(place=(ibis.row_number().over(best) + 1).cast("int32"))
    return placed.filter(placed.place <= options.top)


def _wanted(log: ir.Table, signals: dict[str, Signal], as_of_us: int) -> ir.Table:
    """The events of a signal above 0 until `as_of_us`, with the signal's `weight`."""
    weights = {code: s.weight for code, s in enumerate(signals.values()) if s.weight > 0}
    known = log.filter(log.signal.isin(list(weights)), log.occurred_us <= as_of_us)
    branches = ((known.signal == code, number(weight)) for code, weight in weights.items())
    return known.mutate(weight=ibis.cases(*branches, else_=number(0.0)))


def _in_rings(wanted: ir.Table, as_of_us: int, spans: Sequence[float]) -> ir.Table:
    """Add `ring`: the place of the shortest window that holds the event; older ones are left out.

    A window of h hours holds what is less than h hours old.
    """
    age = ibis.literal(as_of_us, "int64") - wanted.occurred_us
    rings = [(age < int(hours * HOUR_US), ring) for ring, hours in enumerate(spans)]
    held = wanted.filter(age < int(spans[-1] * HOUR_US))
    return held.select(
        "person_index", "item_index", "channel", "weight", ring=ibis.cases(*rings).cast("int64")
    )


def _with_segment(moments: ir.Table, person_segments: ir.Table | None) -> ir.Table:
    if person_segments is None:
        return moments.mutate(segment=ibis.null("string"))
    joined = moments.left_join(person_segments, "person_index")
    return joined.select(*moments.columns, "segment")


def _rings(moments: ir.Table) -> ir.Table:
    """item_index, channel, segment, ring, events, interest, people, people_there: to be summed.

    people, people_there: whose newest event on the item, anywhere or on the channel, is in the ring
    """
    cell = ["item_index", "channel", "segment", "ring"]
    pair = ["person_index", "item_index", "segment"]
    newest = moments.group_by(pair).agg(ring=moments.ring.min())
    newest = newest.mutate(channel=ibis.null("string"))
    newest_there = moments.group_by([*pair, "channel"]).agg(ring=moments.ring.min())
    none, nothing = ibis.literal(0, "int64"), number(0.0)
    events = moments.group_by(cell).agg(events=moments.count(), interest=moments.weight.sum())
    people = newest.group_by(cell).agg(people=newest.count())
    there = newest_there.group_by(cell).agg(people_there=newest_there.count())
    parts = [
        events.mutate(people=none, people_there=none),
        people.mutate(events=none, interest=nothing, people_there=none),
        there.mutate(events=none, interest=nothing, people=none),
    ]
    sums = ["events", "interest", "people", "people_there"]
    return ibis.union(*(part.select(*cell, *sums) for part in parts))


def _by_scope(rings: ir.Table) -> ir.Table:
    """Every row once for each scope in which it counts: adds `scope` and `name`."""
    spread = rings.mutate(scope=ibis.array(["overall", "segment", "channel"]).unnest())
    there = spread.scope == "channel"
    named = spread.mutate(
        name=ibis.cases((spread.scope == "overall", ""), (there, spread.channel),
                        else_=spread.segment),
        people=ibis.ifelse(there, spread.people_there, spread.people),
    )  # fmt: skip
    return named.filter(named.name.notnull())


def _summed_outwards(rings: ir.Table, spans: Sequence[float]) -> ir.Table:
    """scope, name, item_index, hours, events, people, interest: a ring is in all longer windows."""
    spread = rings.mutate(window=ibis.range(rings.ring, len(spans)).unnest())
    hours = ibis.cases(*((spread.window == w, number(h)) for w, h in enumerate(spans)))
    spread = spread.mutate(hours=hours)
    return spread.group_by(["scope", "name", "item_index", "hours"]).agg(
        events=_whole(spread.events.sum()),
        people=_whole(spread.people.sum()),
        interest=spread.interest.sum().round(9),
    )


def _with_branches(counted: ir.Table, items: ir.Table) -> ir.Table:
    """`counted`, and what is counted overall once more for every prefix of the item's category."""
    known = items.filter(items.category.notnull())
    known = known.select("item_index", parts=known.category.split("/"))
    known = known.mutate(depth=ibis.range(0, known.parts.length().cast("int64") + 1).unnest())
    path = ibis.coalesce(known.parts[: known.depth].join("/"), "")
    branches = known.select("item_index", scope=ibis.literal("overall"), path=path)
    joined = counted.left_join(branches, ["item_index", "scope"])
    return joined.select(
        "item_index", "hours", "events", "people", "interest",
        scope=ibis.ifelse(ibis.coalesce(joined.path, "") == "", joined.scope, "category"),
        name=ibis.coalesce(joined.path, joined.name),
    ).select(counted.columns)  # fmt: skip


def trending(
    log: ir.Table, as_of_us: int, options: PopularityTables, signals: dict[str, Signal]
) -> ir.Table:
    """Items that rise against their own past: item_index, recent, before, rise.

    recent: int64, events of the last window: the longest of `windows_hours` up to a day (else the
            shortest), or a shorter one where the log does not reach back twice as far
    before: float64, events to expect in a window of that length, from the next longer window (of
            the longest: seven times itself) right before it. An item younger than that is compared
            with the time since its first event, but its few events are never scaled up: at least
            the length of the recent window. Without any past it is 0
    rise:   float64, (recent + PRIOR_EVENTS) / (before + PRIOR_EVENTS)

    Only items with `trending_min_events` recent events are in it.
    """
    wanted = _wanted(log, signals, as_of_us)
    wanted = wanted.select("item_index", age=ibis.literal(as_of_us, "int64") - wanted.occurred_us)
    sized = wanted.cross_join(_lengths(wanted, options.windows_hours))
    is_recent = sized.age < sized.length
    is_past = ~is_recent & (sized.age < sized.length + sized.past)
    counts = sized.group_by("item_index").agg(
        recent=sized.count(where=is_recent), earlier=sized.count(where=is_past),
        age=sized.age.max(), length=sized.length.max(), past=sized.past.max(),
    )  # fmt: skip
    counts = counts.filter(counts.recent >= options.trending_min_events)
    span = ibis.greatest(ibis.least(counts.age - counts.length, counts.past), counts.length)
    share = counts.length.cast("float64") / span.cast("float64")
    found = counts.mutate(before=(counts.earlier.cast("float64") * share).round(9))
    prior = number(PRIOR_EVENTS)
    rise = (found.recent.cast("float64") + prior) / (found.before + prior)
    return found.select("item_index", "recent", "before", rise=rise.round(9))


def _lengths(wanted: ir.Table, windows_hours: Sequence[float]) -> ir.Table:
    """One row: length of the recent window and of the past before it, in microseconds."""
    spans = [int(hours * HOUR_US) for hours in sorted(set(windows_hours))]
    followed = [*pairwise(spans), (spans[-1], 7 * spans[-1])]
    usable = [pair for pair in followed if pair[0] <= DAY_US] or followed[:1]
    reach = wanted.aggregate(reach=wanted.age.max())
    lengths = {}
    for place, name in enumerate(("length", "past")):
        fitting = [(reach.reach >= 2 * pair[0], ibis.literal(pair[place], "int64"))
                   for pair in reversed(usable)]  # fmt: skip
        lengths[name] = ibis.cases(*fitting, else_=ibis.literal(usable[0][place], "int64"))
    return reach.select(**lengths)


def repurchase(log: ir.Table, options: PopularityTables) -> ir.Table:
    """How long until people buy an item again: item_index, people, intervals, median and mean days.

    An interval lies between two visits in which a person got the item (`had`), from the first such
    event of the one to that of the next; within a visit there is none. Intervals still open are not
    known, so the figures lean to the short side.

    people:    int64, who got it on two visits at least; items with fewer than
               `repurchase_min_people` are left out
    intervals: int64        median_days, mean_days: float64
    """
    pair = ["person_index", "item_index"]
    bought = log.filter(log.had)
    visits = bought.group_by([*pair, "session"]).agg(occurred_us=bought.occurred_us.min())
    again = visits.group_by(pair).agg(visits=visits.count()).filter(lambda t: t.visits > 1)
    visits = visits.semi_join(again, pair)
    in_time = ibis.window(group_by=pair, order_by=["occurred_us", "session"])
    gaps = visits.mutate(gap_us=visits.occurred_us - visits.occurred_us.lag().over(in_time))
    gaps = gaps.filter(gaps.gap_us.notnull())
    gaps = gaps.mutate(days=gaps.gap_us.cast("float64") / number(DAY_US))
    found = gaps.group_by("item_index").agg(
        people=gaps.person_index.nunique(), intervals=gaps.count(),
        median_days=gaps.days.median().round(9), mean_days=gaps.days.mean().round(9),
    )  # fmt: skip
    return found.filter(found.people >= options.repurchase_min_people)


def _whole(total: ir.IntegerValue) -> ir.IntegerValue:
    """A sum as int64: DuckDB's has 128 bits, and Ibis drops a cast to the type it believes in."""
    found: ir.IntegerValue = ops.Cast(total, dt.int64).to_expr()
    return found
