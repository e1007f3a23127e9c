"""Worlds small enough to know the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from features.config import Config
from features.options import Signal
from features.timelines import Timelines
from features.types import DAY_US, Ragged
from training.item_facts import ItemFacts
from training.past import Past
from training.queries import queries_for
from training.rankers.base import Queries

NOW_US = 1_700_000_000_000_000
N_ITEMS = 10  # items 0-4 are of one taste, 5-9 of the other; item 9 is what everybody knows
SIGNALS = {
    "view": Signal(weight=1, half_life_days=10),
    "purchase": Signal(weight=5, half_life_days=100, had=True),
    "dislike": Signal(weight=-1),
}
VIEW, PURCHASE, DISLIKE = range(3)


def config(**changes: object) -> Config:
    """A config for these signals; `changes` replace whole sections."""
    base: dict[str, object] = {
        "sources": {"events": {"path": "events.parquet"}},
        "signals": {n: s.model_dump() for n, s in SIGNALS.items()},
    }
    return Config.model_validate({**base, **changes})


def timelines(
    rows: Sequence[Sequence[int]], *, signal: int = PURCHASE, days_apart: float = 1.0,
    n_items: int = N_ITEMS,
) -> Timelines:  # fmt: skip
    """One person per row, an event and a session a day, the last one just before NOW_US."""
    ragged = Ragged.of(rows)
    ages = np.concatenate([np.arange(len(row), 0, -1) for row in rows] or [np.empty(0)])
    occurred = NOW_US - (ages * days_apart * DAY_US).astype(np.int64)
    signals = np.full(ragged.values.size, signal, dtype=np.int8)
    sessions = np.concatenate([np.arange(len(row)) for row in rows] or [np.empty(0)])
    return Timelines(
        ragged.indptr, ragged.values, signals, occurred, sessions.astype(np.int32), n_items
    )


def past(log: Timelines, now_us: int = NOW_US, **parts: Any) -> Past:
    """What a fit may look at: this log, items without properties unless `parts` has `items`."""
    items = parts.pop("items", ItemFacts.unknown(log.n_items))
    return replace(Past.plain(log, now_us, SIGNALS, items), **parts)


def described(tastes: Sequence[int] = (0,) * 5 + (1,) * 5, **facts: Any) -> ItemFacts:
    """Items of some tastes, each with its category and words; `facts` replace whole arrays."""
    codes, n = np.array(tastes, dtype=np.int32), len(tastes)
    own = np.eye(max(tastes) + 1, dtype=np.float32)[codes]
    known = {"categories": sp.csr_matrix(own), "category": codes, "branch": codes, "text": own}
    return replace(ItemFacts.unknown(n), **{**known, **facts})


def two_tastes() -> Timelines:
    """Eight people of two tastes: each has all items of the taste but one, and everybody item 9."""
    first = [[i for i in range(5) if i != gone] + [9] for gone in range(4)]
    second = [[i for i in range(5, 9) if i != gone] + [9] for gone in range(5, 9)]
    return timelines(first + second)


def asking(
    past: Timelines, rows: Sequence[int], recent: Sequence[Sequence[int]] | None = None
) -> Queries:
    """Queries of the named rows (-1: a stranger), each with a current session."""
    sessions = [np.asarray(one, dtype=np.int32) for one in recent or [[] for _ in rows]]
    return queries_for(past, np.asarray(rows, dtype=np.int32), sessions, NOW_US, SIGNALS, VIEW)
