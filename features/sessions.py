"""Sessions: what belongs to one visit, for a whole log and for one who asks now.

A session id that the log brings is a session, however long it lasts and whatever lies in between.
What a person does without one falls into sessions by silence. Sessions are numbered within the
person, from 0, in the order in which they begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from features.types import MINUTE_US, ORDER, Int32, Int64

if TYPE_CHECKING:
    import ibis.expr.types as ir

# Ibis is imported inside functions: serving counts the sessions of one person without it.


def with_session(rows: ir.Table, gap_minutes: float) -> ir.Table:
    """Add `session` (int32), the number of the row's session within its person.

    rows: person_index, occurred_us, sequence, row and, where the log has one, session_id
    Silence of exactly `gap_minutes` does not end a session. Sessions that begin in the same
    microsecond go by `sequence` (none: last), then `row`, of their first rows.

    The log is grouped into stretches once and joined with their numbers once; only stretches are
    sorted, and a visit is one or two of them.
    """
    own = [name for name in ("person_index", "session_id") if name in rows.columns]
    gap_us = _gap_us(gap_minutes)
    cut = rows.mutate(stretch=_stretch(rows, gap_us))
    numbered = _numbered(_stretches(cut, own), own, gap_us)
    same = [cut[name].identical_to(numbered[name]) for name in (*own, "stretch")]
    return cut.inner_join(numbered, same).select(*rows.columns, "session")


def session_numbers(
    occurred_us: Int64, session_ids: Sequence[str | None] | None, gap_minutes: float
) -> Int32:
    """`with_session` for one person: (n,) the number of each row's session.

    occurred_us: (n,) in the order of the log     session_ids: n of them; None: the log has none
    """
    ids = [None] * len(occurred_us) if session_ids is None else session_ids
    silent = np.array([one is None for one in ids], dtype=np.bool_)
    times = occurred_us[silent]
    keys = np.zeros(len(occurred_us), np.int64)
    keys[silent] = np.cumsum(np.diff(times, prepend=times[:1]) > _gap_us(gap_minutes))
    brought = [one for one in ids if one is not None]
    keys[~silent] = -1 - np.unique(brought, return_inverse=True)[1]
    _, first, session = np.unique(keys, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[session].astype(np.int32)


def _gap_us(gap_minutes: float) -> int:
    return max(round(gap_minutes * MINUTE_US), 1)


def _stretch(rows: ir.Table, gap_us: int) -> ir.IntegerValue:
    """Multiples of the gap cut silent time into stretches without silence; none: a brought one."""
    import ibis

    silent = (rows.occurred_us // gap_us).cast("int64")
    if "session_id" not in rows.columns:
        return silent
    return ibis.ifelse(rows.session_id.isnull(), silent, ibis.null("int64"))


def _stretches(rows: ir.Table, own: list[str]) -> ir.Table:
    """One row per stretch: when it ends, and where in the order of events it begins."""
    import ibis

    grouped, last_us = rows.group_by([*own, "stretch"]), rows.occurred_us.max()
    if "session_id" not in own:  # no two sessions of a person begin together
        return grouped.agg(occurred_us=rows.occurred_us.min(), last_us=last_us)
    first = ibis.struct(  # `unplaced`: engines differ in whether a null comes first or last
        {"occurred_us": rows.occurred_us, "unplaced": rows.sequence.isnull(),
         "sequence": rows.sequence, "row": rows.row}
    ).min()  # fmt: skip
    found = grouped.agg(first_row=first, last_us=last_us)
    return found.mutate(**{name: found.first_row[name] for name in ORDER}).drop("first_row")


def _numbered(stretches: ir.Table, own: list[str], gap_us: int) -> ir.Table:
    """The number of the session of each stretch: how many begin before the one it belongs to."""
    import ibis

    order = [name for name in ORDER if name in stretches.columns]
    before = stretches.last_us.lag().over(ibis.window(group_by=own, order_by=order))
    begun = stretches.mutate(
        begins=before.isnull() | (stretches.occurred_us - before > gap_us)  # per id there is one
    )
    so_far = begun.begins.cast("int64").cumsum(group_by="person_index", order_by=order)
    counted = begun.mutate(session=so_far - 1)
    if "session_id" in own:  # others may have begun since the session of a silent stretch did
        number = ibis.ifelse(counted.begins, counted.session, ibis.null("int64"))
        latest = ibis.cumulative_window(group_by=own, order_by=order)
        counted = counted.mutate(session=number.max().over(latest))
    return counted.select(*own, "stretch", session=counted.session.cast("int32"))
