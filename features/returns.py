"""Returns netted against their purchases. What came back was no success, and is not counted."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.cleaning import in_order, removals
from features.engine import number

RETURN, RETURNED = "return", "purchase returned in full"
_NOTHING = 1e-9  # of a quantity: what sums of fractions may leave
_PAIR = ["person", "item_id"]


def net_returns(
    events: ir.Table, purchases: list[str], returns: list[str]
) -> tuple[ir.Table, ir.Table]:
    """Removals, and `changed` (row, value, quantity): what is left of purchases returned in part.

    In time order a person's purchases of an item pile up and every return takes from the top of the
    pile: the newest first. A purchase all taken is removed as RETURNED, one partly taken keeps the
    rest of its quantity and value. A quantity not given counts as one. A return that finds the pile
    empty takes nothing, and nothing from what is bought later. All returns are removed.

    purchases, returns: event types
    """
    left = _left(_touched(events, purchases, returns), returns)
    nothing = number(_NOTHING) * left.size
    gone = left.left <= nothing
    fate = ibis.cases((left.is_return, RETURN), (gone, RETURNED), else_=ibis.null("string"))
    fated = left.mutate(fate=fate, touched=left.size - left.left > nothing)
    partly = fated.filter(fated.fate.isnull() & fated.touched)
    value = partly.value * partly.left / partly.size.nullif(0)
    removed = fated.filter(fated.fate.notnull())
    return removals(removed, removed.fate), partly.select("row", value=value, quantity="left")


def applied(events: ir.Table, changed: ir.Table) -> ir.Table:
    """`events` with the value and quantity that `changed` leaves them."""
    joined = events.left_join(changed, "row")
    rest = {name: ibis.coalesce(changed[name], events[name]) for name in ("value", "quantity")}
    return joined.select(**{name: events[name] for name in events.columns} | rest)


def _touched(events: ir.Table, purchases: list[str], returns: list[str]) -> ir.Table:
    """Returns, and the purchases of the same person and item: most purchases are not among them."""
    pairs = events.filter(events.event_type.isin(returns)).select(*_PAIR).distinct()
    moves = events.filter(events.event_type.isin([*purchases, *returns]))
    return moves.semi_join(pairs, _PAIR)


def _left(touched: ir.Table, returns: list[str]) -> ir.Table:
    """Purchases and returns with their `size`, and what is `left` of each purchase.

    The height of the pile is the running sum of moves. Of a purchase there remains what no later
    height cuts off: the lowest height from it on, less the height it was put upon.
    """
    so_far = ibis.window(group_by=_PAIR, order_by=in_order(touched), preceding=None, following=0)
    from_here = ibis.window(group_by=_PAIR, order_by=in_order(touched), preceding=0, following=None)
    is_return = touched.event_type.isin(returns)
    size = ibis.coalesce(touched.quantity, number(1))
    height = ibis.ifelse(is_return, -size, size).sum().over(so_far)
    piled = touched.mutate(size=size, is_return=is_return, height=height)
    lowest = piled.height.min().over(from_here)
    return piled.mutate(left=ibis.greatest(lowest - (piled.height - piled.size), number(0)))
