"""What is taken out of the log before anything is counted, each step with its reason.

Pure functions over Ibis tables of accepted events. A step returns its removals, a table of exactly
`row` int64 and `reason` string, one row per event taken out; who calls it takes them out and keeps
count. See also `robots`, `impossible_times` and `returns`.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.types import DAY_US, HOUR_US, MINUTE_US, ORDER, SECOND_US

NON_PRODUCT, DUPLICATE, NEAR_DUPLICATE = "non-product", "exact duplicate", "near duplicate"
_CLOCKS = (SECOND_US, MINUTE_US, HOUR_US, DAY_US)  # what times are rounded to, if to anything


def in_order(table: ir.Table) -> list[ir.Value]:
    """The sort keys of events: by time, then as the log says, then as in the file."""
    return [table[column].asc(nulls_first=False) for column in ORDER]


def removals(events: ir.Table, reason: ir.StringValue | str) -> ir.Table:
    """All of `events` as removals."""
    return events.select("row", reason=ibis.literal(reason) if isinstance(reason, str) else reason)


def spellings(*tables: ir.Table) -> ir.Table:
    """item_id -> spelling, for ids that change: another case of them is more frequent.

    Equally frequent ones: the first in byte order. The items that had variants are the distinct
    `spelling`, the rows that change are those of `table.semi_join(spellings, "item_id")`.
    """
    counts = [t.group_by("item_id").agg(rows=t.count()) for t in tables]
    counted = ibis.union(*counts) if len(counts) > 1 else counts[0]
    counted = counted.group_by("item_id").agg(rows=counted.rows.sum())
    counted = counted.mutate(folded=counted.item_id.lower())
    best = ibis.window(group_by="folded", order_by=[ibis.desc(counted.rows), counted.item_id.asc()])
    ranked = counted.mutate(place=ibis.row_number().over(best))
    chosen = ranked.filter(ranked.place == 0).select("folded", spelling="item_id")
    others = ranked.filter(ranked.place > 0).select("folded", "item_id")
    return others.inner_join(chosen, "folded").select("item_id", "spelling")


def respelled(table: ir.Table, spelling: ir.Table) -> ir.Table:
    """`table` with every item in its one spelling."""
    joined = table.left_join(spelling, "item_id")
    item_id = ibis.coalesce(joined.spelling, joined.item_id)
    return joined.mutate(item_id=item_id).select(*table.columns)


def matches_any(ids: ir.StringColumn, patterns: list[str]) -> ir.BooleanValue:
    """Whether an id matches one of `patterns` anywhere in it."""
    return ibis.or_(ibis.literal(False), *(ids.re_search(pattern) for pattern in patterns))


def non_products(events: ir.Table, patterns: list[str]) -> ir.Table:
    """Removals: events whose item is none, by its id. An id is looked at once, not per event."""
    ids = events.select("item_id").distinct()
    return removals(
        events.semi_join(ids.filter(matches_any(ids.item_id, patterns)), "item_id"), NON_PRODUCT
    )


def exact_duplicates(events: ir.Table, given: list[str]) -> ir.Table:
    """Removals: of events that say the same all but the first.

    given: the contract columns that the log has; two events that agree in all of them are one, or,
           where there is an event_id, in it alone
    """
    named = events.event_id.notnull()
    names = ["occurred_us" if c == "occurred_at" else c for c in given if c != "event_id"]
    fields = {
        f"field_{name}": ibis.ifelse(named, ibis.null(events[name].type()), events[name])
        for name in names
    }
    same = ["event_id", *fields]
    alike = _alike(events).select(*ORDER, "event_id", **fields)
    first = ibis.window(group_by=same, order_by=in_order(alike))
    placed = alike.mutate(place=ibis.row_number().over(first))
    return removals(placed.filter(placed.place > 0), DUPLICATE)


def _alike(events: ir.Table) -> ir.Table:
    """The few events that may say the same as another, so that only they are compared in full."""
    someone = ibis.coalesce(events.user_id, events.visitor_id, events.session_id)
    act = _hash(events.occurred_us, events.sequence, events.item_id, someone)
    key = ibis.ifelse(events.event_id.notnull(), events.event_id.hash(), act)
    narrow = events.select("row", hashed=key)
    shared = narrow.group_by("hashed").agg(rows=narrow.count())
    found = narrow.semi_join(shared.filter(shared.rows > 1), "hashed").select("row")
    return events.semi_join(found, "row")


def near_duplicates(events: ir.Table, seconds: float) -> ir.Table:
    """Removals: the same act of a person again, at most `seconds` after the one before.

    The same act: the same person, item and event type, in the same quantity, at the same value. Of
    a chain of them the first stays. Event types whose times are all rounded to more than `seconds`
    (whole minutes, whole days) are left alone: such a clock cannot tell a double click from a
    second look. 0 seconds: nothing is a near duplicate.
    """
    limit = round(seconds * SECOND_US)
    if not limit:
        return removals(events.filter(ibis.literal(False)), NEAR_DUPLICATE)
    close = _clocked(_close(events, limit), events, limit)
    same = ["person", "item_id", "event_type", "quantity", "value"]
    acts = ibis.window(group_by=same, order_by=in_order(close))
    timed = close.mutate(gap_us=close.occurred_us - close.occurred_us.lag().over(acts))
    return removals(timed.filter(timed.gap_us <= limit), NEAR_DUPLICATE)


def _close(events: ir.Table, limit: int) -> ir.Table:
    """The few events within `limit` microseconds of what may be the same person on the same item.

    The window sees numbers only: of persons and items their hash, so that sorting is cheap.
    """
    narrow = events.select("row", "occurred_us", hashed=_hash(events.person, events.item_id))
    order = ibis.window(group_by="hashed", order_by=[narrow.occurred_us, narrow.row])
    gaps = narrow.mutate(
        before=narrow.occurred_us - narrow.occurred_us.lag().over(order),
        after=narrow.occurred_us.lead().over(order) - narrow.occurred_us,
    )
    return events.semi_join(gaps.filter((gaps.before <= limit) | (gaps.after <= limit)), "row")


def _clocked(some: ir.Table, events: ir.Table, limit: int) -> ir.Table:
    """Those of `some` whose event type has a clock that can tell `limit` microseconds."""
    coarse = [clock for clock in _CLOCKS if clock > limit]
    if not coarse:
        return some
    finer = (events.occurred_us % coarse[0] != 0).cast("int64")
    clocks = events.group_by("event_type").agg(finer=finer.max())
    return some.semi_join(clocks.filter(clocks.finer > 0), "event_type")


def _hash(*values: ir.Value) -> ir.IntegerValue:
    """One number for several values, the same for the same values; others may share it."""
    return ibis.struct({f"value_{place}": value for place, value in enumerate(values)}).hash()
