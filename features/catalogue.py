"""The catalogue: one row per item, in the order that serving wants them in.

An item seen only in events still exists. Items lie sorted by kind, availability and category, so
that what a placement or a category page may show is one contiguous slice: a category comes right
before all that lies below it, as in the tree.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.contract import TABLES, TYPES
from features.engine import number
from features.types import DAY_US

TIMES = {"published_at": "published_us", "available_until": "available_until_us"}
SCHEMA = {
    TIMES.get(c.name, c.name): "int64" if c.kind == "time" else TYPES[c.kind]
    for c in TABLES["items"]
}
DETAILS = tuple(name for name in SCHEMA if name != "item_id")
MIN_PRICED = 3  # fewer prices say nothing of what is dear: the category above speaks for them
_LOWEST = "\x01"  # sorts a path before its neighbours: "a/b" comes before "a b"


def one_row_per_item(rows: ir.Table, columns: list[str]) -> ir.Table:
    """Items out of a log: of each detail the most frequent value, of a number the median.

    Of the times the earliest publication and the latest end.

    rows:    contract-typed items with times in microseconds (`SCHEMA`), many per item
    columns: the details that were mapped, by the names of the contract; the others stay null
    """
    joined = rows.select("item_id").distinct()
    given = [TIMES.get(column, column) for column in columns if column != "item_id"]
    for column in given:
        joined = joined.left_join(_one(rows, column), "item_id").drop("item_id_right")
    missing = {c: ibis.null(SCHEMA[c]) for c in DETAILS if c not in given}
    return joined.mutate(**missing).select("item_id", *DETAILS)


def _one(rows: ir.Table, column: str) -> ir.Table:
    each = rows.group_by("item_id")
    if column == "published_us":
        return each.agg(published_us=rows.published_us.min())
    if column == "available_until_us":
        return each.agg(available_until_us=rows.available_until_us.max())
    if SCHEMA[column] == "float64":
        return each.agg(**{column: rows[column].median()})
    return _most_frequent(rows, column)


def _most_frequent(rows: ir.Table, column: str) -> ir.Table:
    """Equally frequent values: the first in their own order, so that builds agree."""
    given = rows.filter(rows[column].notnull())
    counted = given.group_by(["item_id", column]).agg(rows=given.count())
    best = ibis.window(
        group_by="item_id", order_by=[ibis.desc(counted.rows), counted[column].asc()]
    )
    ranked = counted.mutate(place=ibis.row_number().over(best))
    return ranked.filter(ranked.place == 0).select("item_id", column)


def category_path(text: ir.StringValue) -> ir.StringValue:
    """A path as `a/b/c`: no blanks around its parts and no empty parts; null when none is left."""
    joined = text.re_replace(r"[ \t\r\n]*/[/ \t\r\n]*", "/")
    path: ir.StringValue = joined.re_replace(r"^[/ \t\r\n]+|[/ \t\r\n]+$", "").nullif("")
    return path


def catalogue(items: ir.Table | None, seen: ir.Table, as_of_us: int) -> ir.Table:
    """Every item of the table or the log, available or not at `as_of_us`, with its `item_index`.

    An item announced for later is in it, not available. Categories become clean paths.

    items: `SCHEMA`, one row per item; None when the shop has no such table
    seen:  any table with the `item_id` of what the log knows, such as the clean events
    """
    seen = seen.select("item_id").distinct()
    unlisted = seen if items is None else seen.anti_join(items, "item_id")
    known = unlisted.mutate(**{name: ibis.null(SCHEMA[name]) for name in DETAILS})
    if items is not None:
        known = ibis.union(items.select("item_id", *DETAILS), known.select("item_id", *DETAILS))
    one_kind = known.kind.nunique() == 1
    only = known.aggregate(only=ibis.ifelse(one_kind, known.kind.max(), ibis.literal("product")))
    full = known.cross_join(only)
    full = full.mutate(
        kind=ibis.coalesce(full.kind, full.only, "product"),
        category=category_path(full.category),
        available=_available(full, as_of_us),
    ).drop("only")
    branch = ibis.coalesce(full.category, "").replace("/", _LOWEST)
    order = ibis.window(order_by=[full.kind, ~full.available, branch, full.item_id])
    return full.mutate(item_index=ibis.row_number().over(order).cast("int32"))


def _available(items: ir.Table, as_of_us: int) -> ir.BooleanValue:
    """Published, not taken down, not run out: unknown counts as there."""
    published = ibis.coalesce(items.published_us <= as_of_us, True)
    lasting = ibis.coalesce(items.available_until_us > as_of_us, True)
    return ibis.coalesce(items.available, True) & published & lasting


def details(items: ir.Table, log: ir.Table, as_of_us: int, new_days: float) -> ir.Table:
    """What follows from the catalogue and the log, one row per `item_index`.

    first_seen_us, last_seen_us: null for an item without events        events, people: counts
    age_days:       since it was published, else first seen; 0 before that, null when unknown
    new:            whether it is at most `new_days` old; an item of unknown age is not
    price_relative: its price / the median of its kind, currency and category: of the deepest
                    category with `MIN_PRICED` prices, else of all; null without a price, and
                    where the median is 0
    """
    seen = log.group_by("item_index").agg(
        first_seen_us=log.occurred_us.min(), last_seen_us=log.occurred_us.max(),
        events=log.count(), people=log.person_index.nunique(),
    )  # fmt: skip
    known = items.left_join(seen, "item_index").drop("item_index_right")
    known = _with_median_price(known)
    lived = as_of_us - ibis.coalesce(known.published_us, known.first_seen_us)
    age = ibis.ifelse(lived < 0, 0, lived).cast("float64") / number(DAY_US)
    return known.select(
        "item_index", "first_seen_us", "last_seen_us",
        events=ibis.coalesce(known.events, 0).cast("int64"),
        people=ibis.coalesce(known.people, 0).cast("int64"),
        age_days=age,
        new=ibis.coalesce(age <= number(new_days), False),
        price_relative=known.price / known.median_price.nullif(number(0)),
    )  # fmt: skip


def _with_median_price(items: ir.Table) -> ir.Table:
    """Add `median_price`: what an item of the same kind, currency and category costs."""
    cells = items.mutate(
        cell_currency=ibis.coalesce(items.currency, ""),
        cell_category=ibis.coalesce(items.category, ""),
    )
    cell = ["kind", "cell_currency", "cell_category"]
    priced = cells.filter(cells.price.notnull())
    above = with_prefixes(priced.select(*cell).distinct(), "cell_category")
    prices = priced.select(*cell, "price").join(above, cell)
    scope = ["kind", "cell_currency", "path", "depth"]
    medians = prices.group_by(scope).agg(median_price=prices.price.median(), prices=prices.count())
    medians = medians.filter((medians.prices >= MIN_PRICED) | (medians.depth == 0))
    found = above.join(medians, scope).group_by(cell)
    nearest = found.agg(median_price=lambda t: t.median_price.argmax(t.depth))
    return cells.left_join(nearest, cell).drop(*(f"{name}_right" for name in cell))


def with_prefixes(table: ir.Table, column: str) -> ir.Table:
    """Every row once per prefix of its path: `path` of `depth` parts, from all of it to none."""
    parts = table[column].split("/")
    deepest = ibis.ifelse(table[column] == "", 0, parts.length())
    rows = table.mutate(parts=parts, depth=ibis.range(0, deepest.cast("int64") + 1).unnest())
    rows = rows.mutate(path=rows.parts[: rows.depth].join("/"))
    return rows.mutate(path=ibis.coalesce(rows.path, "")).drop("parts")


def categories(items: ir.Table) -> ir.Table:
    """The category tree: every prefix of every path is a node, with or without items of its own.

    category_index: int32, in the order of the paths: a category right before all below it
    path, name:     "a/b/c" and its last part        depth: int32, 1 at the top
    parent_index:   int32, null at the top
    items, available: int64, of the category and all below it, of both kinds
    """
    given = items.filter(items.category.notnull()).group_by("category")
    counted = given.agg(
        items=lambda t: t.count(), available=lambda t: t.available.cast("int64").sum()
    )
    every = with_prefixes(counted, "category").filter(lambda t: t.depth > 0)
    nodes = every.group_by(["path", "depth"]).agg(
        items=every["items"].sum(), available=every.available.sum()
    )
    order = ibis.window(order_by=nodes.path.replace("/", _LOWEST))
    nodes = nodes.mutate(
        category_index=ibis.row_number().over(order).cast("int32"),
        name=nodes.path.re_extract("[^/]*$", 0),
        above=nodes.path.re_replace("/?[^/]*$", ""),
    )
    parents = nodes.select(above="path", parent_index="category_index")
    return nodes.left_join(parents, "above").select(
        "category_index", "path", "name", "parent_index", depth=nodes.depth.cast("int32"),
        items=nodes["items"].cast("int64"), available=nodes.available.cast("int64"),
    )  # fmt: skip
