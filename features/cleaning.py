"""What is taken out of the log before anything is counted, each step with its reason.

Pure functions over Ibis tables of accepted events (`contract.TABLES["events"]` and their origin).
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

NON_PRODUCT, DUPLICATE = "non-product", "exact duplicate"
RETURN, RETURNED = "return", "purchase returned in full"
ORDER = ("occurred_at", "sequence", "source_file", "source_row")  # equal times: as in the file


def with_person(events: ir.Table) -> ir.Table:
    """Add `person`: the customer, else the visitor, else the session, marked u:, v: or s:."""
    person = ibis.coalesce("u:" + events.user_id, "v:" + events.visitor_id, "s:" + events.session_id)
    return events.mutate(person=person)


def spellings(*tables: ir.Table) -> ir.Table:
    """item_id -> spelling, for ids that vary in case only: the most frequent spelling.

    Equally frequent ones: the first in byte order. Ids without variants are not in the table.
    """
    counts = [t.group_by("item_id").agg(rows=t.count()) for t in tables]
    counted = ibis.union(*counts) if len(counts) > 1 else counts[0]
    counted = counted.group_by("item_id").agg(rows=counted.rows.sum())
    counted = counted.mutate(folded=counted.item_id.lower())
    best = ibis.window(
        group_by="folded", order_by=[ibis.desc(counted.rows), counted.item_id.asc()]
    )
    chosen = counted.mutate(
        spelling=counted.item_id.first().over(best),
        variants=counted.item_id.count().over(ibis.window(group_by="folded")),
    )
    return chosen.filter(chosen.variants > 1).select("item_id", "spelling")


def respelled(table: ir.Table, spelling: ir.Table) -> ir.Table:
    """`table` with every item in its one spelling."""
    joined = table.left_join(spelling, "item_id")
    return joined.select(
        **{c: joined[c] for c in table.columns if c != "item_id"},
        item_id=ibis.coalesce(joined.spelling, joined.item_id),
    )


def marked(events: ir.Table, non_products: list[str], identity: list[str]) -> ir.Table:
    """Add `removed`: why a row is taken out, null for a row that stays.

    non_products: patterns of item ids that are no items
    identity:     columns that make two events the same; where there is an event_id, it alone does
    """
    of = [c for c in identity if c not in ("event_id", "user_id", "visitor_id")]
    given = events.event_id.notnull()
    group = [ibis.coalesce(events.event_id, ""), *(ibis.ifelse(given, ibis.null(events[c].type()), events[c])
             for c in ["person", *of])]  # fmt: skip
    order = [events[c].asc() for c in ORDER]
    earlier = ibis.row_number().over(ibis.window(group_by=group, order_by=order))
    no_item = ibis.or_(ibis.literal(False), *(events.item_id.re_search(p) for p in non_products))
    removed = ibis.cases((no_item, NON_PRODUCT), (earlier > 0, DUPLICATE), else_=None)
    return events.mutate(removed=removed)


def net_returns(events: ir.Table, purchases: list[str], returns: list[str]) -> ir.Table:
    """Mark returns, and take what they return off the newest purchases before them.

    A person's returned quantity of an item eats up the purchases of that item up to the last return,
    the newest first; one eaten up is marked RETURNED, one partly eaten keeps the rest of its
    quantity and value. A quantity not given counts as one. A return without a purchase eats nothing.
    """
    key = ["person", "item_id"]
    backs = events.filter(events.event_type.isin(returns))
    quantity = ibis.coalesce(backs.quantity, 1.0)
    back = backs.group_by(key).agg(returned=quantity.sum(), last_return=backs.occurred_at.max())
    joined = events.left_join(back, key)
    names = {c: joined[c] for c in events.columns}
    joined = joined.select(**names, returned=joined.returned, last_return=joined.last_return)
    touched = ibis.coalesce(
        joined.event_type.isin(purchases) & (joined.occurred_at <= joined.last_return), False
    )
    untouched = joined.filter(~touched).select(*events.columns)
    is_return = untouched.event_type.isin(returns)
    untouched = untouched.mutate(removed=ibis.ifelse(is_return, RETURN, untouched.removed))
    return ibis.union(untouched, _eaten(joined.filter(touched)).select(*events.columns))


def _eaten(purchases: ir.Table) -> ir.Table:
    quantity = ibis.coalesce(purchases.quantity, 1.0)
    newest_first = [ibis.desc(purchases[c]) for c in ORDER]
    window = ibis.window(
        group_by=["person", "item_id"], order_by=newest_first, preceding=None, following=0
    )
    left = purchases.returned - (quantity.sum().over(window) - quantity)
    kept = quantity - left.clip(lower=0).clip(upper=quantity)
    return purchases.mutate(
        removed=ibis.ifelse(kept <= 0, RETURNED, ibis.null("string")),
        value=purchases.value * kept / quantity,
        quantity=ibis.ifelse(kept <= 0, quantity, kept),
    )
