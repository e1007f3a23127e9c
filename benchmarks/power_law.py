"""Logs of any size with the skew of real ones: few people and items have most of the events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIZES = {
    1_000_000: (60_000, 20_000),
    10_000_000: (400_000, 50_000),
    50_000_000: (1_500_000, 100_000),
}
START_US, SPAN_US = 1_735_689_600_000_000, 365 * 86_400_000_000  # the year 2025
TYPES = np.array(["view", "cart", "purchase"])
CHUNK = 1_000_000


def write_log(file: Path, events: int, seed: int = 0) -> None:
    """Write `events` events: user_id, item_id, event_type, occurred_at; text ids, zstd."""
    people, items = SIZES[events]
    random = np.random.default_rng(seed)
    users = pa.array([f"customer-{number:08d}" for number in random.permutation(people)])
    names = pa.array([f"sku-{number:07d}" for number in random.permutation(items)])
    texts = [(name, pa.string()) for name in ("user_id", "item_id", "event_type")]
    schema = pa.schema([*texts, ("occurred_at", pa.timestamp("us", "UTC"))])
    beside = file.with_suffix(".part")
    with pq.ParquetWriter(beside, schema, compression="zstd") as writer:
        for start in range(0, events, CHUNK):
            n = min(CHUNK, events - start)
            times = START_US + np.sort(random.integers(0, SPAN_US // events * n, n))
            columns = [
                users.take(pa.array(_skewed(random, people, n))),
                names.take(pa.array(_skewed(random, items, n))),
                pa.array(TYPES[random.choice(3, n, p=[0.85, 0.1, 0.05])]),
                pa.array(times + start * (SPAN_US // events), pa.timestamp("us", "UTC")),
            ]
            writer.write_table(pa.table(columns, schema=schema))
    beside.rename(file)


def _skewed(random: np.random.Generator, many: int, n: int) -> np.ndarray:
    """(n,) numbers from 0 to `many` - 1; k comes with a density of 1 / (k + many / 20)."""
    low = many / 20
    return (low * np.exp(random.random(n) * np.log1p(many / low)) - low).astype(np.int64)
