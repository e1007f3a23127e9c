"""What is taken out of the log before anything is counted, each step with its reason.

Pure functions over Ibis tables of accepted events (`contract.TABLES["events"]` and their origin).
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

NON_PRODUCT, DUPLICATE = "non-product", "exact duplicate"
RETURN, RETURNED = "return", "purchase returned in full"
_NOTHING = 1e-9  # of a quantity: what sums of fractions may leave
ORDER = ("occurred_at", "sequence", "source_file", "source_row")  # equal times: as in the file


def with_person(events: ir.Table) -> ir.Table:
    """Add `person`: the customer, else the visitor, else the session, marked u:, v: or s:."""
    person = ibis.coalesce(
        "u:" + events.user_id, "v:" + events.visitor_id, "s:" + events.session_id
    )
    return events.mutate(person=person)


def spellings(*tables: ir.Table) -> ir.Table:
    """item_id -> spelling, for ids that vary in case only: the most frequent spelling.

    Equally frequent ones: the first in byte order. Ids without variants are not in the table.
    """
    counts = [t.group_by("item_id").agg(rows=t.count()) for t in tables]
    counted = ibis.union(*counts) if len(counts) > 1 else counts[0]
    counted = counted.group_by("item_id").agg(rows=counted.rows.sum())
    counted = counted.mutate(folded=counted.item_id.lower())
    best = ibis.window(group_by="folded", order_by=[ibis.desc(counted.rows), counted.item_id.asc()])
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


def marked(events: ir.Table, non_products: list[str], given: list[str]) -> ir.Table:
    """Add `removed`: why a row is taken out, null for a row that stays.

    non_products: patterns of item ids that are no items
    given:        the columns that the log has; two events that agree in all of them are one, or,
                  where there is an event_id, in it alone
    """
    named = events.event_id.notnull()
    fields = [ibis.ifelse(named, ibis.null(events[c].type()), events[c])
              for c in given if c != "event_id"]  # fmt: skip
    order = [events[c].asc() for c in ORDER]
    same = ibis.window(group_by=[events.event_id, *fields], order_by=order)
    removed = ibis.cases(
        (matches_any(events.item_id, non_products), NON_PRODUCT),
        (ibis.row_number().over(same) > 0, DUPLICATE),
        else_=None,
    )
    return events.mutate(removed=removed)


def matches_any(ids: ir.StringColumn, patterns: list[str]) -> ir.BooleanValue:
    """Whether an id matches one of `patterns` anywhere in it."""
    return ibis.or_(ibis.literal(False), *(ids.re_search(pattern) for pattern in patterns))


def net_returns(events: ir.Table, purchases: list[str], returns: list[str]) -> ir.Table:
    """Mark returns, and take what they return off the newest purchases before them.

    In time order a person's purchases of an item pile up and every return takes from the top of the
    pile: the newest first. A purchase all taken is marked RETURNED, one partly taken keeps the rest
    of its quantity and value. A quantity not given counts as one. A return that finds the pile
    empty takes nothing, and nothing from what is bought later.
    """
    back = events.event_type.isin(returns)
    pairs = events.filter(back).select("person", "item_id").distinct()
    moves = back | events.event_type.isin(purchases)
    touched = events.filter(moves).semi_join(pairs, ["person", "item_id"])
    others = events.filter(~moves)
    whole = events.filter(moves).anti_join(pairs, ["person", "item_id"])
    netted = _netted(touched, returns).select(*events.columns)
    return ibis.union(others, whole, netted)


def _netted(touched: ir.Table, returns: list[str]) -> ir.Table:
    """Purchases and returns of some person-item pairs, with what is left of each purchase.

    The height of the pile is the running sum of moves, lifted by as far as it ever fell below 0. Of
    a purchase there remains what no later height cuts off: the lowest height from it on, less the
    height it was put upon.
    """
    key = ["person", "item_id"]
    order = [touched[c].asc() for c in ORDER]
    so_far = ibis.window(group_by=key, order_by=order, preceding=None, following=0)
    is_return = touched.event_type.isin(returns)
    size = ibis.coalesce(touched.quantity, 1.0)
    level = ibis.ifelse(is_return, -size, size).sum().over(so_far)
    moved = touched.mutate(size=size, is_return=is_return, level=level)
    sunk = ibis.least(moved.level.min().over(so_far), 0.0)
    piled = moved.mutate(height=moved.level - sunk)
    from_here = ibis.window(group_by=key, order_by=order, preceding=0, following=None)
    lowest = piled.height.min().over(from_here)
    left = piled.mutate(left=(lowest - (piled.height - piled.size)).clip(lower=0))
    gone = left.left <= _NOTHING * left.size
    fate = ibis.cases((left.is_return, RETURN), (gone, RETURNED), else_=ibis.null("string"))
    partly = ~left.is_return & ~gone & (left.left < left.size)
    return left.mutate(
        removed=fate,
        value=ibis.ifelse(partly, left.value * left.left / left.size, left.value),
        quantity=ibis.ifelse(partly, left.left, left.quantity),
    )
