"""Fit session neighbours: past sessions by item, and items by session."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from features.home import Progress, silent
from features.online import signal_rates
from features.training_options import SessionNeighboursOptions
from features.types import DAY_US, Float32, Int64, Ragged, row_numbers
from training.fitting import CannotFit
from training.past import Past
from training.rankers.session_neighbours import SessionNeighboursRanker


def fit_session_neighbours(
    past: Past, options: SessionNeighboursOptions, progress: Progress = silent
) -> SessionNeighboursRanker:
    """Index the newest sessions of two items at least: one alone leads nowhere."""
    del progress
    n_items = past.timelines.n_items
    sessions, ended_us = _newest_sessions(past, options)
    if not len(sessions):
        raise CannotFit("session_neighbours: no session has shown interest in two items")
    ages = (past.as_of_us - ended_us) / DAY_US
    return SessionNeighboursRanker(
        sessions=sessions,
        holders=_holders(sessions, n_items, options.sample),
        lengths=np.sqrt(np.diff(sessions.indptr)).astype(np.float32),
        fresh=np.exp2(-ages / options.half_life_days).astype(np.float32),
        rarity=_rarity(sessions, n_items, options.rarity),
        sample=options.sample, neighbours=options.neighbours, history=options.history,
    )  # fmt: skip


def _newest_sessions(past: Past, options: SessionNeighboursOptions) -> tuple[Ragged, Int64]:
    """The distinct items of each session, oldest session first; (S,) when each one ended."""
    log = past.timelines
    liked = np.flatnonzero((signal_rates(past.signals.values())[0] > 0)[log.signals])
    width = int(log.sessions.max(initial=0)) + 1
    names = row_numbers(log.indptr)[liked] * width + log.sessions[liked]
    order = np.argsort(names, kind="stable")
    begins = np.flatnonzero(np.diff(names[order], prepend=-1))
    entries = liked[order]
    seen = sp.csr_matrix(
        (np.ones(entries.size, np.int8), log.items[entries], np.append(begins, entries.size)),
        shape=(begins.size, log.n_items),
    )
    seen.sum_duplicates()
    ended_us = np.maximum.reduceat(log.occurred_us[entries], begins) if begins.size else begins
    several = np.flatnonzero(np.diff(seen.indptr) > 1)
    in_time = several[np.argsort(ended_us[several], kind="stable")][-options.sessions :]
    everything = Ragged(seen.indptr.astype(np.int64), seen.indices.astype(np.int32))
    return everything.take(in_time), ended_us[in_time]


def _holders(sessions: Ragged, n_items: int, most: int) -> Ragged:
    """Of every item the newest `most` sessions that hold it, oldest first.

    The newest `most` sessions that share any of several items are all among these.
    """
    order = np.argsort(sessions.values, kind="stable")
    numbers = np.repeat(np.arange(len(sessions), dtype=np.int32), np.diff(sessions.indptr))[order]
    counts = np.bincount(sessions.values, minlength=n_items)
    newer = np.repeat(np.cumsum(counts), counts) - np.arange(order.size)  # 1 for the newest
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(counts, most))])
    return Ragged(kept, numbers[newer <= most])


def _rarity(sessions: Ragged, n_items: int, weight: float) -> Float32:
    """1 + `weight` * inverse document frequency (Spärck Jones 1972), a session as a document."""
    holding = np.maximum(np.bincount(sessions.values, minlength=n_items), 1)
    return (1 + weight * np.log(len(sessions) / holding)).astype(np.float32)
