"""Accepted events to clean, and what a step takes out of them."""

from functools import cache

import ibis
import pyarrow as pa

from features.contract import TABLES, TYPES

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
START = 1_704_067_200 * SECOND + 1  # 2024-01-01, and not on the whole minute
SCHEMA = ibis.schema(
    {c.name: TYPES[c.kind] for c in TABLES["events"]}
    | {"occurred_us": "int64", "row": "int64", "person": "string"}
)
LOG = ibis.table(SCHEMA, name="dirty_log")
ITEMS = ibis.table({"item_id": "string", "published_us": "int64"}, name="dirty_items")


def full(*rows):
    """Accepted events of one customer, one a minute, with what a row says changed."""
    found = [
        dict.fromkeys(SCHEMA) | {"event_type": "buy", "item_id": "a", "user_id": "u",
        "occurred_us": START + place * MINUTE, "row": place} | row
        for place, row in enumerate(rows)
    ]  # fmt: skip
    return [row | {"person": row["person"] or f"u:{row['user_id']}"} for row in found]


def table_of(rows):
    return pa.Table.from_pylist(rows, SCHEMA.to_pyarrow())


def events(*rows):
    """`full` as a table to build on."""
    return ibis.memtable(table_of(full(*rows)), schema=SCHEMA)


def answers(engine, step, rows, *options, published=None):
    """What `step(LOG, *options)` says of full `rows`, as tuples.

    published: item_id -> microseconds, for steps that read ITEMS
    """
    engine.create_table("dirty_log", table_of(rows), overwrite=True)
    if published is not None:
        items = pa.table([list(published), list(published.values())], ITEMS.schema().to_pyarrow())
        engine.create_table("dirty_items", items, overwrite=True)
    return engine.raw_sql(_compiled(step, *options)).fetchall()


def struck_out(engine, step, rows, *options, published=None):
    """row -> reason for the rows that a step takes out of `full(*rows)`."""
    found = answers(engine, step, full(*rows), *options, published=published)
    assert len(found) == len(dict(found))
    return dict(sorted(found))


@cache
def _compiled(step, *options):
    """Building an expression takes longer than running it on a few rows: once is enough."""
    return ibis.to_sql(step(LOG, *options), dialect="duckdb")
