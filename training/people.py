"""Who asks: people by their ids and their current session, for one request or for many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from features.types import Histories, Int32, Int64, Ragged, nothing, row_numbers
from training.bundle import Bundle
from training.policy import People
from training.queries import queries_for
from training.rankers.base import Queries


def devices_of(bundle: Bundle, customer: str) -> list[str]:
    """The visitors that the log links with a customer, and with nobody else."""
    row = int(bundle.persons.indices([f"u:{customer}"])[0])
    linked = np.flatnonzero(bundle.devices.rows == row) if row >= 0 else np.empty(0, np.int64)
    names = bundle.devices.ids.texts(linked)
    alone = bundle.shared.indices(names) < 0
    return [name.removeprefix("v:") for name, own in zip(names, alone, strict=True) if own]


def people_of(
    bundle: Bundle, ids: Sequence[Sequence[str]], recent: Sequence[Int32], now_us: int | None = None
) -> People:
    """People at the moment that the shop's clock shows, or at `now_us`.

    ids:    per person the marked ids that are given (u:customer, v:visitor), the surest first
    recent: per person the items of the current session, oldest first

    The history is that of the first id that has one; whoever refuses under any id has refused. A
    visitor is the customer that it was linked with, unless the request says who it is: on a device
    that passes from hand to hand nobody gets another's history, nor what nobody's name is on.
    Segment, stage and answers are the customer's where the request names one.
    """
    flat_ids = [one for person in ids for one in person]
    named = [any(one.startswith("u:") for one in person) for person in ids for _ in person]
    own_rows = bundle.persons.indices(flat_ids)
    own_rows = np.where(bundle.shared.indices(flat_ids) >= 0, -1, own_rows)
    flat = np.where(named, own_rows, bundle.rows(flat_ids))
    ends = np.cumsum([len(person) for person in ids], dtype=np.int64)[:-1]
    rows = np.full(len(ids), -1, dtype=np.int32)
    consent = np.full(len(ids), bundle.config.shop.consent_default == "yes")
    unknown = np.zeros(len(ids), dtype=np.bool_)
    standing = rows.copy()
    for person, found in enumerate(np.split(flat, ends)):
        unknown[person] = any(
            row < 0 and one.startswith("u:") for row, one in zip(found, ids[person], strict=True)
        )
        known = found[found >= 0]
        if known.size:
            past = bundle.timelines.indptr[known + 1] > bundle.timelines.indptr[known]
            rows[person] = known[np.argmax(past)]
            consent[person] = bundle.consent[known].all()
            standing[person] = found[0] if ids[person][0].startswith("u:") else rows[person]
    config, now_us = bundle.config, bundle.now_us() if now_us is None else now_us
    plain = queries_for(
        bundle.timelines, rows, recent, now_us, config.signals, config.session_signal()
    )  # fmt: skip
    weights = np.maximum(plain.histories.weights, 0)
    sums = np.bincount(row_numbers(plain.histories.indptr), weights, minlength=len(rows))
    own = bundle.standing(standing, sums.astype(np.float32), now_us)
    queries = replace(plain, segment=own.segments, stage=own.stages, declared=own.declared)
    return People(queries, consent, unknown)


def stacked(parts: Sequence[People]) -> People:
    """People one below the other; `tired` and `seeds` of none of them are known yet."""
    queries = [one.queries for one in parts]
    away = [Ragged.empty(len(one)) if one.away is None else one.away for one in parts]
    return People(
        Queries(
            _stacked_histories([one.histories for one in queries]),
            np.concatenate([one.session_start for one in queries]),
            np.concatenate([one.now_us for one in queries]),
            np.concatenate([one.segment for one in queries]),
            np.concatenate([one.stage for one in queries]),
            _stacked_answers([one.declared for one in queries]),
        ),
        np.concatenate([one.consent for one in parts]),
        np.concatenate([one.unknown for one in parts]),
        Ragged(_ends([one.indptr for one in away]), np.concatenate([one.values for one in away])),
    )


def _stacked_histories(parts: Sequence[Histories]) -> Histories:
    return Histories(
        _ends([one.indptr for one in parts]),
        np.concatenate([one.items for one in parts]),
        np.concatenate([one.signals for one in parts]),
        np.concatenate([one.weights for one in parts]),
        np.concatenate([one.ages_days for one in parts]),
        max(one.n_items for one in parts),
    )


def _stacked_answers(parts: Sequence[sp.csr_matrix]) -> sp.csr_matrix:
    rows, width = sum(one.shape[0] for one in parts), max(one.shape[1] for one in parts)
    if not any(one.nnz for one in parts):
        return nothing(rows, width)
    wide = [one if one.shape[1] == width else nothing(one.shape[0], width) for one in parts]
    return sp.csr_matrix(sp.vstack(wide), dtype=np.float32)


def _ends(parts: Sequence[Int64]) -> Int64:
    """The `indptr` of rows one below the other."""
    lengths = np.concatenate([np.diff(one) for one in parts])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
