"""Times that cannot be: in the future, before the item existed, or far from all other events."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.cleaning import removals
from features.engine import number
from features.types import DAY_US

FUTURE, BEFORE_PUBLISHED, STRAGGLER = "in the future", "before the item existed", "straggler"
_ONE_OF = 11  # one row may go for the ten that stay, however small the share


def in_the_future(events: ir.Table, now_us: int) -> ir.Table:
    """Removals: events after `now_us`, in microseconds since 1970 UTC."""
    return removals(events.filter(events.occurred_us > now_us), FUTURE)


def before_published(events: ir.Table, items: ir.Table, tolerance_days: float) -> ir.Table:
    """Removals: events more than `tolerance_days` before their item was published.

    items: item_id, published_us int64 (null: not known), one row per item. The events of an item
           whose date is not to be believed stay, see `disbelieved`
    """
    early = _early(events, items, tolerance_days)
    doubtful = disbelieved(events, items, tolerance_days)
    return removals(early.anti_join(doubtful, "item_id"), BEFORE_PUBLISHED)


def disbelieved(events: ir.Table, items: ir.Table, tolerance_days: float) -> ir.Table:
    """item_id, events, early: items more than half of whose events are too early.

    That many do not err: the item was published again, or its date is that of an import.
    """
    early = _early(events, items, tolerance_days).group_by("item_id").agg(early=lambda t: t.count())
    theirs = events.semi_join(early, "item_id").group_by("item_id").agg(events=lambda t: t.count())
    both = theirs.inner_join(early, "item_id")
    return both.filter(both.early * 2 > both.events).select("item_id", "events", "early")


def _early(events: ir.Table, items: ir.Table, tolerance_days: float) -> ir.Table:
    """row, item_id of events that came too early for their item."""
    published = items.select("item_id", "published_us")
    dated = events.select("row", "item_id", "occurred_us").inner_join(published, "item_id")
    first_us = dated.published_us - round(tolerance_days * DAY_US)
    return dated.filter(dated.occurred_us < first_us).select("row", "item_id")


def stragglers(events: ir.Table, gap_days: float, share: float) -> ir.Table:
    """Removals: the few events before the log begins or after it ends.

    Silences of more than `gap_days` cut the log into blocks. From either end those blocks go that
    hold at most `share` of all rows (or one row), up to the first that holds more. A whole end
    stays when it is more than `share` of the rows, and more than one row for ten that stay: then
    the silence is how this log is. A log that is one block loses nothing. share 0: nothing goes.
    """
    bounds = _bounds(_blocks(events, gap_days), share)
    placed = events.select("row", "occurred_us").cross_join(bounds)
    outside = (placed.occurred_us < placed.begin_us) | (placed.occurred_us > placed.end_us)
    return removals(placed.filter(outside), STRAGGLER)


def _blocks(events: ir.Table, gap_days: float) -> ir.Table:
    """What silences cut the log into: block int64 in order of time, first_us, last_us, rows."""
    days = events.group_by(day=events.occurred_us // DAY_US).agg(
        first_us=events.occurred_us.min(), last_us=events.occurred_us.max(), rows=events.count()
    )
    silence = days.first_us - days.last_us.lag().over(order_by=days.day)
    cut = days.mutate(cut=ibis.coalesce(silence > round(gap_days * DAY_US), False).cast("int64"))
    so_far = ibis.window(order_by=cut.day, preceding=None, following=0)
    numbered = cut.mutate(block=cut.cut.sum().over(so_far))
    return numbered.group_by("block").agg(
        first_us=numbered.first_us.min(),
        last_us=numbered.last_us.max(),
        rows=numbered.rows.sum().cast("int64"),
    )


def _bounds(blocks: ir.Table, share: float) -> ir.Table:
    """begin_us, end_us, one row: what lies outside goes; null where no block is large enough."""
    total = blocks.aggregate(total=blocks.rows.sum())
    sized = blocks.cross_join(total)
    allowed = sized.total.cast("float64") * number(share)
    few = (sized.rows <= allowed) | ((sized.rows == 1) & ibis.literal(share > 0))
    large = sized.filter(~few)
    core = large.aggregate(begin_us=large.first_us.min(), end_us=large.last_us.max())
    parts = sized.cross_join(core)
    ends = parts.aggregate(
        total=parts.total.max(), begin_us=parts.begin_us.max(), end_us=parts.end_us.max(),
        before=parts.rows.sum(where=parts.last_us < parts.begin_us),
        after=parts.rows.sum(where=parts.first_us > parts.end_us),
    )  # fmt: skip
    return ends.select(
        begin_us=_unless_too_many(ends.before, ends.total, share, ends.begin_us),
        end_us=_unless_too_many(ends.after, ends.total, share, ends.end_us),
    )


def _unless_too_many(
    rows: ir.IntegerValue, total: ir.IntegerValue, share: float, bound: ir.IntegerValue
) -> ir.IntegerValue:
    """`bound`, or null when too many rows lie beyond it to be strays."""
    allowed = total.cast("float64") * number(share)
    return ibis.ifelse((rows * _ONE_OF <= total) | (rows <= allowed), bound, ibis.null("int64"))
