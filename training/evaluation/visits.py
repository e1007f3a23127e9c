"""The requests that a log amounts to: what followed in a visit was wanted.

Each visit asks once: at its beginning, as a home page or a mailing does, or, if it is long enough,
by the toss of a coin half-way through. Everything before that moment is known, nothing after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from features.config import KINDS, Config
from features.options import Signal
from features.timelines import Timelines
from features.types import (
    Bool,
    Float64,
    Int16,
    Int64,
    Ragged,
    row_numbers,
)
from training.bundle import terms
from training.catalogue import Catalogue
from training.evaluation.protocol import KS, Priced, Task
from training.item_facts import UNBORN
from training.policy import People, kept_away
from training.queries import Standing
from training.rankers.base import Queries

if TYPE_CHECKING:
    from features.feature_set import FeatureSet


@dataclass(frozen=True)
class Channels:
    """Over which channel every entry of the timelines came: (m,) int16 into `names`, -1 unknown."""

    names: list[str]
    codes: Int16

    @classmethod
    def of(cls, features: FeatureSet) -> Channels:
        """Of the entries of `features.timelines`, in their order."""
        table = features.beside(["channel"])
        told = table["channel"].combine_chunks().dictionary_encode()
        names = [str(name) for name in told.dictionary.to_pylist()]
        codes = told.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int16)
        return cls(names, codes)


@dataclass(frozen=True)
class Shelf:
    """What there is to show, and what is known of everybody in the log besides what they did.

    consent: (n_persons,) bool, may it be used? None: of everybody, for learning asks for no feed
    values:  (m,) what each entry of the log was worth, NaN nothing; None: that is not asked
    """

    catalogue: Catalogue
    standing: Standing
    consent: Bool | None = None
    values: Float64 | None = None


@dataclass(frozen=True)
class Visits:
    """A request a row, in the order in which they asked.

    rows:   (q,) int64, person                     at_us: (q,) int64, when
    starts: (q,) int64, where the visit begins     asked: (q,) int64, what came before is known
            (both offsets in the person's row)     ends:  (q,) int64, where it ends
    """

    rows: Int64
    at_us: Int64
    starts: Int64
    asked: Int64
    ends: Int64

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def between(cls, log: Timelines, begin_us: int, end_us: int, seed: int = 0) -> Visits:
        """All visits that began from `begin_us` on and before `end_us`."""
        rows = row_numbers(log.indptr)
        opens = np.ones(len(rows), dtype=np.bool_)
        opens[1:] = (rows[1:] != rows[:-1]) | (log.sessions[1:] != log.sessions[:-1])
        first = np.flatnonzero(opens)
        last = np.append(first[1:], len(rows))
        here = (log.occurred_us[first] >= begin_us) & (log.occurred_us[first] < end_us)
        first, last = first[here], last[here]
        late = np.random.default_rng(seed).random(len(first)) < 0.5
        middle = np.where(late, (first + last) // 2, first)
        own = rows[first]
        begins = log.indptr[own]
        found = cls(own, log.occurred_us[middle], first - begins, middle - begins, last - begins)
        return found.take(np.argsort(found.at_us, kind="stable"))

    def take(self, chosen: Int64 | Bool) -> Visits:
        """The named requests."""
        return Visits(self.rows[chosen], self.at_us[chosen], self.starts[chosen],
                      self.asked[chosen], self.ends[chosen])  # fmt: skip

    def entries(self, log: Timelines, begins: Int64, ends: Int64) -> tuple[Int64, Int64]:
        """Offsets `begins` to `ends` of each person's row as (q + 1,) indptr and entry numbers."""
        lengths = ends - begins
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        first = np.repeat(log.indptr[self.rows] + begins - indptr[:-1], lengths)
        return indptr, first + np.arange(indptr[-1])

    def people(self, log: Timelines, signals: dict[str, Signal], shelf: Shelf) -> People:
        """Who asks, with all that was known of them."""
        indptr, entries = self.entries(log, np.zeros_like(self.asked), self.asked)
        known = replace(
            log, indptr=indptr, items=log.items[entries], signals=log.signals[entries],
            occurred_us=log.occurred_us[entries], sessions=log.sessions[entries],
        )  # fmt: skip
        plain = queries_at(known, self.at_us, signals)
        own = shelf.standing.of(self.rows.astype(np.int32))
        queries = replace(plain, session_start=self.starts, segment=own.segments,
                          stage=own.stages, declared=own.declared)  # fmt: skip
        nobody = np.zeros(len(self), dtype=np.bool_)
        return People(
            queries, ~nobody if shelf.consent is None else shelf.consent[self.rows], nobody
        )

    def wanted(self, log: Timelines, label: Bool, items_asked: Bool) -> Ragged:
        """Each one's distinct items from the moment of asking to the visit's end.

        label: per signal, is it what the objective wants?        items_asked: (n_items,) of these
        """
        indptr, entries = self.entries(log, self.asked, self.ends)
        rows, items = row_numbers(indptr), log.items[entries]
        kept = label[log.signals[entries]] & items_asked[items]
        keys = np.unique(rows[kept] * log.n_items + items[kept])
        counts = np.bincount(keys // log.n_items, minlength=len(self))
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return Ragged(indptr, (keys % log.n_items).astype(np.int32))

    def paid(self, log: Timelines, values: Float64, truth: Ragged) -> Priced:
        """What each of `truth`'s items was worth from the moment of asking to the visit's end.

        values: (m,) of the log's entries, NaN nothing        items that were worth nothing are out
        """
        indptr, entries = self.entries(log, self.asked, self.ends)
        some = ~np.isnan(values[entries])
        keys = row_numbers(indptr)[some] * log.n_items + log.items[entries[some]]
        distinct, entry = np.unique(keys, return_inverse=True)
        value = np.bincount(entry, values[entries[some]], minlength=distinct.size)
        wanted = row_numbers(truth.indptr) * log.n_items + truth.values
        kept = np.isin(distinct, wanted)
        counts = np.bincount(distinct[kept] // log.n_items, minlength=len(self))
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        items = (distinct[kept] % log.n_items).astype(np.int32)
        return Priced(Ragged(indptr, items), value[kept].astype(np.float64))

    def task(
        self, kind: int | None, log: Timelines, config: Config, shelf: Shelf
    ) -> tuple[Task, Int64]:
        """The requests for items of a kind (None: any), and which rows of these visits they are.

        What the shop's rules keep away is not wanted, nor what did not exist when the last of them
        asked; who then wants nothing does not ask.
        """
        catalogue = shelf.catalogue
        label = np.array(config.label_signals(), dtype=np.bool_)
        born = np.asarray(catalogue.born_us)
        these = (born <= self.at_us.max(initial=0)) | (born == UNBORN)
        if kind is not None:
            these = these & (catalogue.kinds == kind)
        truth = self.wanted(log, label, these)
        some = np.flatnonzero(np.diff(truth.indptr) > 0)
        people = self.take(some).people(log, config.signals, shelf)
        items = np.flatnonzero(these).astype(np.int32)
        rules = terms(config, catalogue, items, max(KS))
        left = truth.take(some).minus(kept_away(people, rules))
        asked = np.flatnonzero(np.diff(left.indptr) > 0)
        task = Task(
            "visit" if kind is None else KINDS[kind],
            people.take(asked),
            self.rows[some[asked]],
            left.take(asked),
            rules,
        )
        if shelf.values is not None:
            asking = self.take(some[asked])
            task = replace(task, priced=asking.paid(log, shelf.values, task.truth))
        return task, some[asked]


def queries_at(events: Timelines, at_us: Int64, signals: dict[str, Signal]) -> Queries:
    """A query a row of `events`, each asked at a moment of its own, after the last of its events.

    at_us: (n,) int64
    """
    lengths = np.diff(events.indptr)
    return Queries.plain(events.histories(np.repeat(at_us, lengths), signals), lengths, at_us)
