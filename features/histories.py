"""Histories from the log: events as numbers, person by person in time order."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import numpy as np

from features.cleaning import ORDER
from features.engine import microseconds
from features.timelines import Timelines


def coded_events(
    events: ir.Table, persons: ir.Table, items: ir.Table, signals: list[str]
) -> ir.Table:
    """Events that carry a signal as numbers: person_index, item_index, signal, occurred_us.

    Sorted by person and time; equal times by `sequence`, else by their place in the file.
    """
    code = ibis.cases(*((events.event_type == s, i) for i, s in enumerate(signals)), else_=-1)
    carrying = events.mutate(signal=code.cast("int8")).filter(events.event_type.isin(signals))
    joined = carrying.join(persons.select("person", "person_index"), "person")
    joined = joined.join(items.select("item_id", "item_index"), "item_id")
    joined = joined.order_by(["person_index", *ORDER])
    occurred = microseconds(joined.occurred_at)
    return joined.select("person_index", "item_index", "signal", occurred_us=occurred)


def read_timelines(coded: ir.Table, n_persons: int, n_items: int) -> Timelines:
    """Read `coded_events` into arrays, batch by batch."""
    batches = list(coded.to_pyarrow_batches(chunk_size=1_000_000))
    persons, items, signals, occurred = (
        np.concatenate([np.asarray(b[name]) for b in batches] or [np.empty(0, np.int64)])
        for name in ("person_index", "item_index", "signal", "occurred_us")
    )
    lengths = np.bincount(persons, minlength=n_persons)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Timelines(
        indptr, items.astype(np.int32), signals.astype(np.int8), occurred.astype(np.int64), n_items
    )
