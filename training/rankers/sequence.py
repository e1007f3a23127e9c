"""What comes next after the items of a history, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.types import Bool, Float32, Histories, Int32, Int64
from training.rankers.base import Items, Queries, Ranker
from training.rankers.onnx_model import OnnxModel

_TOGETHER = 256  # people read at once: bounds memory, and keeps those of one length together
_MINUTES = 24 * 60
GAPS = 24  # gap buckets: the last is beyond anybody's memory


@dataclass(frozen=True)
class SequenceRanker(Ranker):
    """SASRec (Kang & McAuley 2018): attention over the newest items, in order and with their gaps.

    item_vectors: (n_items, factors) float32; the same for what is read and what is foretold
    touched:      (n_items,) bool, was the item in anything that was learned from?
    reader:       item vectors (n, l, factors), gaps (n, l) and lengths (n,) -> state (n, factors)
    length:       newest items of a history that it reads
    longest_gap:  highest `gap_buckets` that was common; longer ones count as this
    curve:        (epochs, 4) float32: epoch, seconds, loss, ndcg@10 on the past's own last items
    """

    item_vectors: Float32
    touched: Bool
    reader: OnnxModel
    length: int
    longest_gap: int
    curve: Float32
    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        """State times item vector; no opinion on items or people that nothing is known of."""
        vectors = self.item_vectors if items is None else self.item_vectors[items]
        touched = self.touched if items is None else self.touched[items]
        people = self.people(queries)
        scores: Float32 = people @ vectors.T
        scores[~people.any(axis=1)] = np.nan
        if not touched.all():
            scores[:, ~touched] = np.nan
        return scores

    @property
    def item_factors(self) -> Float32:
        """(n_items, factors) float32: what `people` are multiplied with."""
        return self.item_vectors

    def people(self, queries: Queries) -> Float32:
        """(n, factors) float32, where each history leads; zeros for an empty one."""
        read = reading(queries.histories, self.touched).last(self.length)
        states = np.zeros((len(read.lengths), self.item_vectors.shape[1]), dtype=np.float32)
        for rows, items, gaps in read.batches():
            states[rows] = self.reader.run(
                "state", vectors=self.item_vectors[items],
                gaps=np.minimum(gaps, self.longest_gap), lengths=read.lengths[rows],
            )  # fmt: skip
        return states


@dataclass(frozen=True)
class Reading:
    """What is read of each history: items and gap buckets, row by row, oldest first.

    indptr: (n + 1,) int64        items: (m,) int32        gaps: (m,) int64
    """

    indptr: Int64
    items: Int32
    gaps: Int64

    @property
    def lengths(self) -> Int64:
        """(n,) items per row."""
        return np.diff(self.indptr)

    def last(self, length: int, rows: Int64 | None = None) -> Reading:
        """The newest `length` entries of the named rows, None: of all."""
        chosen = slice(None) if rows is None else rows
        ends = self.indptr[1:][chosen]
        begins = np.maximum(self.indptr[:-1][chosen], ends - length)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - begins)])
        entries = np.arange(indptr[-1]) + np.repeat(begins - indptr[:-1], np.diff(indptr))
        return Reading(indptr, self.items[entries], self.gaps[entries])

    def batches(self) -> Iterator[tuple[Int64, Int32, Int64]]:
        """Rows of similar length with their items and gaps (rows, longest), padded on the right.

        Attention looks back only, so no item sees the padding. Empty rows are left out.
        """
        order = np.argsort(self.lengths, kind="stable")
        order = order[self.lengths[order] > 0]
        for begin in range(0, order.size, _TOGETHER):
            rows = order[begin : begin + _TOGETHER]
            entries, _ = padded(self.indptr[rows], self.lengths[rows])
            yield rows, self.items[entries], self.gaps[entries]


def reading(histories: Histories, touched: Bool) -> Reading:
    """All items of positive weight that something was learned about."""
    kept = (histories.weights > 0) & touched[histories.items]
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])[histories.indptr]
    gaps = gap_buckets(indptr, histories.ages_days[kept])
    return Reading(indptr, histories.items[kept], gaps)


def gap_buckets(indptr: Int64, ages_days: Float32) -> Int64:
    """(m,) whole log2 of 1 + the minutes until the next entry of the row, or until the asking.

    When somebody asks again says much about what is wanted: the rest of a basket or the next one.
    """
    until = np.append(ages_days[1:], np.float32(0))
    until[indptr[1:][np.diff(indptr) > 0] - 1] = 0
    minutes = np.maximum(ages_days - until, 0) * _MINUTES
    buckets: Int64 = np.log2(minutes + 1).astype(np.int64)
    return np.minimum(buckets, GAPS - 1)


def padded(begins: Int64, lengths: Int64) -> tuple[Int64, Bool]:
    """Entries of ragged rows side by side: (n, longest) their places, and which are no padding.

    A row's first entry stands for its padding.
    """
    steps = np.arange(lengths.max(initial=0))
    real = steps < lengths[:, None]
    return begins[:, None] + np.where(real, steps, 0), real
