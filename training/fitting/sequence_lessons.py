"""What the sequence ranker learns from: windows of timelines, and last items held back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from features.training_options import SequenceOptions
from features.types import Bool, Float32, Int32, Int64, row_numbers
from training.fitting import CannotFit
from training.past import Past
from training.rankers.sequence import Reading, reading

_HELD = 2000  # people at most whose last item judges the epochs
_COMMON = 0.01  # share of the gaps that must be as long for that length to be told apart
_POOL = 32  # batches that are sorted by length together


@dataclass(frozen=True)
class Lessons:
    """What people did in order, less what was held back to judge by.

    told:    what is learned from; items are numbered among the `touched` ones
    held:    (h,) rows of `told` whose next item is known      answers: (h,) int32, that item
    touched: (n_items,) bool, is the item in `told`?
    seen:    (n,) float32, share of the places that each touched item has
    """

    told: Reading
    held: Int64
    answers: Int32
    touched: Bool
    seen: Float32

    @classmethod
    def of(cls, past: Past) -> Self:
        """Raises CannotFit where nobody did two things, one after the other."""
        histories = past.timelines.histories(past.as_of_us, past.signals)
        whole = reading(histories, past.touched)
        last = whole.indptr[1:] - 1
        held = _held(whole.lengths, past.seed)
        told = _without(whole, last[held])
        if not (told.lengths > 1).any():
            raise CannotFit("sequence: nobody has shown interest in two things one after another")
        counts = np.bincount(told.items, minlength=past.timelines.n_items)
        touched = counts > 0
        known = touched[whole.items[last[held]]]
        number = (np.cumsum(touched) - 1).astype(np.int32)
        gaps = np.minimum(told.gaps, _longest_common(told))
        return cls(
            replace(told, items=number[told.items], gaps=gaps), held[known],
            number[whole.items[last[held[known]]]], touched,
            (counts[touched] / told.items.size).astype(np.float32),
        )  # fmt: skip

    @property
    def n_items(self) -> int:
        """How many items there are to learn about."""
        return self.seen.size

    @property
    def longest_gap(self) -> int:
        """The highest gap bucket there is."""
        return int(self.told.gaps.max())

    def batches(self, options: SequenceOptions, random: np.random.Generator) -> list[Int64]:
        """An epoch in random order, as (w, 2) first entries and lengths of windows.

        A batch has about `options.batch` places, so that a step costs the same where sessions are
        short and where they are long; its windows are of similar lengths.
        """
        windows = random.permutation(self.windows(options.length, random))
        pool = np.cumsum(windows[:, 1]) // (_POOL * options.batch)
        windows = windows[np.lexsort((windows[:, 1], pool))]
        number = np.cumsum(windows[:, 1]) // options.batch
        made = np.split(windows, np.flatnonzero(np.diff(number)) + 1)
        return [made[place] for place in random.permutation(len(made))]

    def windows(self, length: int, random: np.random.Generator) -> Int64:
        """(w, 2) first entry and length of stretches that all have a next item, cut at random.

        Each entry but the last of its row is in one window; only a row's first may be shorter by
        chance: so in every epoch the same item is read at another place.
        """
        size = np.maximum(self.told.lengths - 1, 0)
        first = np.where(size > length, random.integers(1, length + 1, size.size), size)
        more = -(-(size - first) // length)
        row = np.arange(size.size).repeat(more)
        later = first[row] + length * (np.arange(row.size) - (np.cumsum(more) - more)[row])
        begins = self.told.indptr[:-1]
        starts = np.concatenate([begins[size > 0], begins[row] + later])
        lengths = np.concatenate([first[size > 0], np.minimum(length, size[row] - later)])
        return np.stack([starts, lengths], axis=1)


def _held(lengths: Int64, seed: int) -> Int64:
    """Rows whose last item is held back: half of those who keep two or more."""
    able = np.flatnonzero(lengths > 2)
    random = np.random.default_rng(seed)
    return np.sort(random.choice(able, min(_HELD, able.size // 2), replace=False))


def _without(whole: Reading, entries: Int64) -> Reading:
    """All but the named entries; the gaps stay what they were."""
    kept = np.ones(whole.items.size, dtype=np.bool_)
    kept[entries] = False
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])[whole.indptr]
    return Reading(indptr, whole.items[kept], whole.gaps[kept])


def _longest_common(told: Reading) -> int:
    """The highest gap bucket that is common between items; what is rare is not learned."""
    rows = row_numbers(told.indptr)
    gaps = told.gaps[:-1][rows[1:] == rows[:-1]]
    reached = np.cumsum(np.bincount(gaps)[::-1])[::-1]  # gaps as long or longer
    return int(np.flatnonzero(reached >= _COMMON * gaps.size)[-1])
