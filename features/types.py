"""The values everybody shares: id tables, ragged rows, histories, the user-item matrix.

NumPy and SciPy only, so that serving can import them. Ids are text outside and row numbers inside;
the tables that turn one into the other travel with the numbers they index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.rows import Interest as Interest
from features.rows import gather as gather
from features.rows import nothing as nothing
from features.rows import only_rows as only_rows
from features.rows import row_numbers as row_numbers
from features.rows import stretches as stretches
from features.rows import summed as summed

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Bytes = NDArray[np.bytes_]

MAX_ID = 256  # characters of an id: tables of ids have the width of the longest
SECOND_US, MINUTE_US, HOUR_US = 1_000_000, 60_000_000, 3_600_000_000  # in microseconds
DAY_US = 24 * HOUR_US
ORDER = ("occurred_us", "sequence", "row")  # of events; none in the sequence: last
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exactly; `moment` needs a time zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    """The moment `microseconds` after 1970 UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


@dataclass(frozen=True)
class IdTable:
    """Ids by index, findable by text: UTF-8 in a fixed width, so that workers share one copy.

    ids:   (n,) bytes, the id of each index
    order: (n,) int32, indices that sort `ids` by their bytes
    """

    ids: Bytes
    order: Int32

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Build the table; `texts` are in index order and must be distinct."""
        ids = np.array([text.encode() for text in texts], dtype=np.bytes_)
        order = np.argsort(ids, kind="stable").astype(np.int32)
        ordered = ids[order]
        if (ordered[1:] == ordered[:-1]).any():
            raise ValueError("ids in a table must be distinct")
        return cls(ids, order)

    @classmethod
    def sorted(cls, ids: Bytes) -> Self:
        """Build the table from distinct ids that are already in byte order."""
        return cls(ids, np.arange(len(ids), dtype=np.int32))

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, text: str) -> int:
        """The index of one id, -1 when it is not in the table."""
        return int(self.indices([text])[0])

    def indices(self, texts: Sequence[str]) -> Int32:
        """(len(texts),) the index of each id, -1 where it is not in the table."""
        if not len(self) or not len(texts):
            return np.full(len(texts), -1, dtype=np.int32)
        sought = [_sought(text) for text in texts]
        wanted = np.array(sought, dtype=self.ids.dtype)  # another width would copy the whole table
        place = np.searchsorted(self.ids, wanted, sorter=self.order)
        found = self.order[np.minimum(place, len(self) - 1)]
        found = np.where(self.ids[found] == wanted, found, np.int32(-1))
        if max(map(len, sought)) > self.ids.itemsize:
            found[[len(one) > self.ids.itemsize for one in sought]] = -1  # cut, so another's
        return found

    def text(self, index: int) -> str:
        """The id of one index."""
        return bytes(self.ids[index]).decode()

    def texts(self, indices: NDArray[np.integer]) -> list[str]:
        """The ids of many indices."""
        return [bytes(one).decode() for one in self.ids[indices]]


def _sought(text: str) -> bytes:
    """UTF-8 of a text from outside; what no id can hold becomes bytes that no id has.

    NumPy drops NULs at the end, and would take one id for another.
    """
    return text.encode("utf-8", "surrogatepass").replace(b"\0", b"\xff")


@dataclass(frozen=True)
class Texts:
    """A column of texts that maps from disk: one blob and (n + 1) int64 offsets into it."""

    offsets: Int64
    blob: NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> Self:
        """Build the column; None becomes the empty text."""
        encoded = [(text or "").encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(offsets, np.frombuffer(b"".join(encoded), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self.blob[self.offsets[index] : self.offsets[index + 1]].tobytes().decode()


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: row i is values[indptr[i]:indptr[i + 1]].

    indptr: (n + 1,) int64        values: (m,) int32, item indices
    """

    indptr: Int64
    values: Int32

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | NDArray[np.integer]]) -> Self:
        """Build from one sequence per row."""
        indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        parts = [np.asarray(row, dtype=np.int32) for row in rows]
        return cls(indptr, np.concatenate(parts) if parts else np.empty(0, np.int32))

    @classmethod
    def empty(cls, rows: int) -> Self:
        """`rows` rows without values."""
        return cls(np.zeros(rows + 1, np.int64), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, row: int) -> Int32:
        """The values of one row."""
        return self.values[self.indptr[row] : self.indptr[row + 1]]

    def take(self, rows: NDArray[np.integer]) -> Ragged:
        """The named rows, in the named order."""
        indptr, entries = gather(self.indptr, rows)
        return Ragged(indptr, self.values[entries])

    def joined(self, other: Ragged) -> Ragged:
        """Row by row this one's values, then the other's."""
        if not (self.values.size and other.values.size):
            return self if self.values.size else other
        values = np.concatenate([self.values, other.values])
        rows = np.concatenate([row_numbers(self.indptr), row_numbers(other.indptr)])
        return Ragged(self.indptr + other.indptr, values[np.argsort(rows, kind="stable")])

    def where(self, kept: Bool) -> Ragged:
        """The same rows with only the values that `kept` (m,) names."""
        so_far = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
        return Ragged(so_far[self.indptr], self.values[kept])

    def within(self, other: Ragged) -> Bool:
        """(m,) for each value: does the same row of `other` have it?"""
        width = int(max(self.values.max(initial=0), other.values.max(initial=0))) + 1
        own, theirs = (row_numbers(one.indptr) * width + one.values for one in (self, other))
        return np.isin(own, theirs)

    def minus(self, other: Ragged) -> Ragged:
        """Row by row the values that the row of `other` does not have, in their order."""
        return self.where(~self.within(other))


@dataclass(frozen=True)
class Histories:
    """What people did, in time order, as it weighs at one moment; an empty row is a stranger.

    indptr:    (n + 1,) int64
    items:     (m,) int32     signals: (m,) int8, index into the config's signals
    weights:   (m,) float32, signal weight halved every half-life; below 0 it blocks the item
    ages_days: (m,) float32, before the moment of asking
    """

    indptr: Int64
    items: Int32
    signals: Int8
    weights: Float32
    ages_days: Float32
    n_items: int

    @classmethod
    def strangers(cls, rows: int, n_items: int) -> Self:
        """`rows` people of whom nothing is known."""
        return cls(
            np.zeros(rows + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.int8),
            np.empty(0, np.float32), np.empty(0, np.float32), n_items,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, rows: NDArray[np.integer]) -> Histories:
        """The histories of the named rows."""
        return self._entries(*gather(self.indptr, rows))

    def since(self, starts: Int64) -> Histories:
        """Of every row what follows its offset in `starts` (n,)."""
        if not starts.any():
            return self
        kept = np.arange(len(self.items)) - np.repeat(self.indptr[:-1], np.diff(self.indptr))
        entries = np.flatnonzero(kept >= np.repeat(starts, np.diff(self.indptr)))
        lengths = np.maximum(np.diff(self.indptr) - starts, 0)
        return self._entries(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), entries)

    def where(self, kept: Bool, n_items: int) -> Histories:
        """The same people with only the entries that `kept` (m,) names, all below `n_items`."""
        so_far = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
        return Histories(
            so_far[self.indptr], self.items[kept], self.signals[kept], self.weights[kept],
            self.ages_days[kept], n_items,
        )  # fmt: skip

    def interest(self) -> sp.csr_matrix:
        """(n, n_items) float32: the positive weights of each row, summed per item."""
        positive = np.maximum(self.weights, 0)
        matrix = sp.csr_matrix(
            (positive, self.items.astype(np.int32), self.indptr),
            shape=(len(self), self.n_items),
            copy=True,
        )
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return matrix

    @cached_property
    def by_item(self) -> Interest:
        """What `interest` holds, once and for all who ask; of one row without making a matrix."""
        if len(self) != 1:
            return Interest.of(self.interest())
        items, data = summed(self.items, np.maximum(self.weights, 0))
        kept = data != 0
        items = items[kept]
        return Interest(np.array([0, items.size]), items, data[kept])

    def _entries(self, indptr: Int64, entries: Int64) -> Histories:
        return Histories(
            indptr, self.items[entries], self.signals[entries], self.weights[entries],
            self.ages_days[entries], self.n_items,
        )  # fmt: skip


@dataclass(frozen=True)
class UserItemMatrix:
    """How much interest each person has shown in each item, with the ids of both.

    weights: (n_persons, n_items) CSR float32, above 0
    """

    weights: sp.csr_matrix
    persons: IdTable
    items: IdTable

    def __post_init__(self) -> None:
        if self.weights.shape != (len(self.persons), len(self.items)):
            raise ValueError(
                f"matrix {self.weights.shape} does not fit {len(self.persons)} persons "
                f"x {len(self.items)} items; rows are persons"
            )
