"""The catalogue: one row per item, in the order that serving wants them in.

An item seen only in events still exists. Items lie sorted by kind, availability and category, so
that what a placement or a category page may show is one contiguous slice.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.contract import TABLES, TYPES

DETAILS = tuple(c.name for c in TABLES["items"] if c.name != "item_id")


def one_row_per_item(rows: ir.Table, columns: list[str]) -> ir.Table:
    """Items out of a log: of each detail the most frequent value, of a number the median.

    rows:    contract-typed items, many per item
    columns: the details that were mapped; the others stay null
    """
    kinds = {c.name: c.kind for c in TABLES["items"]}
    joined = rows.select("item_id").distinct()
    for column in columns:
        if column != "item_id":
            one = (
                _median(rows, column) if kinds[column] == "number" else _most_frequent(rows, column)
            )
            joined = joined.left_join(one, "item_id").drop("item_id_right")
    missing = {c: ibis.null(rows[c].type()) for c in DETAILS if c not in columns}
    return joined.mutate(**missing).select("item_id", *DETAILS)


def _median(rows: ir.Table, column: str) -> ir.Table:
    return rows.group_by("item_id").agg(**{column: rows[column].median()})


def _most_frequent(rows: ir.Table, column: str) -> ir.Table:
    """Equally frequent values: the first in their own order, so that builds agree."""
    given = rows.filter(rows[column].notnull())
    counted = given.group_by(["item_id", column]).agg(rows=given.count())
    best = ibis.window(
        group_by="item_id", order_by=[ibis.desc(counted.rows), counted[column].asc()]
    )
    ranked = counted.mutate(place=ibis.row_number().over(best))
    return ranked.filter(ranked.place == 0).select("item_id", column)


def catalogue(items: ir.Table | None, events: ir.Table, as_of: ir.TimestampValue) -> ir.Table:
    """Every item of the table or the log, available or not at `as_of`, with its `item_index`.

    items:  contract-typed, one row per item; None when the shop has no such table
    events: clean events
    """
    seen = events.select("item_id").distinct()
    unlisted = seen if items is None else seen.anti_join(items, "item_id")
    known = unlisted.mutate(**{c.name: ibis.null(TYPES[c.kind]) for c in TABLES["items"][1:]})
    if items is not None:
        known = ibis.union(items.select("item_id", *DETAILS), known.select("item_id", *DETAILS))
    one_kind = known.kind.nunique() == 1
    only = known.aggregate(only=ibis.ifelse(one_kind, known.kind.max(), ibis.literal("product")))
    full = known.cross_join(only)
    full = full.mutate(
        kind=ibis.coalesce(full.kind, full.only, "product"), available=_available(full, as_of)
    ).drop("only")
    order = [full.kind, ~full.available, ibis.coalesce(full.category, ""), full.item_id]
    return full.mutate(item_index=ibis.row_number().over(ibis.window(order_by=order)).cast("int32"))


def _available(items: ir.Table, as_of: ir.TimestampValue) -> ir.BooleanValue:
    """Published, not taken down, not run out: unknown counts as there."""
    published = ibis.coalesce(items.published_at <= as_of, True)
    lasting = ibis.coalesce(items.available_until > as_of, True)
    return ibis.coalesce(items.available, True) & published & lasting
