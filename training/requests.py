"""Who asks in a batch, read from a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from features.types import Int64, to_us


@dataclass(frozen=True)
class Requests:
    """People asking in a batch: `person_id` names the request, `user_id` the person.

    recent: item ids, oldest first, the current session
    at_us:  (n,) int64, when each asks, microseconds since 1970 UTC; None: all now
    """

    person_id: list[str]
    user_id: list[str]
    recent: list[list[str]]
    at_us: Int64 | None = None

    def __len__(self) -> int:
        return len(self.person_id)

    @classmethod
    def of(cls, people: pa.Table, zone: str) -> Requests:
        """Read a table with `person_id`, and optionally `user_id`, `recent` and `at`.

        zone: of times in `at` that have none
        """
        if "person_id" not in people.column_names:
            raise ValueError(f"people need a column person_id; there are {people.column_names}")
        given = [
            c for c in people.column_names if not c.startswith("__index_level_")
        ]  # pandas' own
        if unknown := set(given) - {"person_id", "user_id", "recent", "at"}:
            raise ValueError(
                f"people have columns {sorted(unknown)} that mean nothing here; "
                "there may be person_id, user_id, recent and at"
            )
        names = [as_id(value) for value in people["person_id"].to_pylist()]
        if "" in names:
            raise ValueError(f"people: row {names.index('') + 1} has no person_id")
        users = [as_id(v) for v in people["user_id"].to_pylist()] if "user_id" in given else names
        lists = people["recent"].to_pylist() if "recent" in given else [None] * len(names)
        at_us = _moments(people["at"], zone) if "at" in given else None
        return cls(names, users, [_ids(one, row) for row, one in enumerate(lists, 1)], at_us)


def as_id(value: object) -> str:
    """Ids are text; a whole float prints without its .0, nothing at all is the empty id."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _ids(recent: object, row: int) -> list[str]:
    if recent is None or recent != recent:
        return []
    if not isinstance(recent, list):
        raise ValueError(f"people: row {row}: recent is {recent!r}, not a list of item ids")
    return [as_id(item) for item in recent]


def _moments(given: pa.ChunkedArray, zone: str) -> Int64:
    """`at` in microseconds since 1970 UTC; a time without a zone is one of `zone`."""
    if not (pa.types.is_timestamp(given.type) or pa.types.is_string(given.type)):
        raise ValueError(
            f"people: at is of type {given.type}; write it as a timestamp with a time zone, or as "
            "text such as 2026-03-01T12:00:00+00:00"
        )
    if pa.types.is_timestamp(given.type):
        given = given.cast(pa.timestamp("us", given.type.tz), safe=False)
    found = []
    for row, value in enumerate(given.to_pylist(), 1):
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
            found.append(to_us(moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))))
        except (AttributeError, ValueError):
            raise ValueError(f"people: row {row}: at is {value!r}, which is no time") from None
    return np.array(found, dtype=np.int64)
