"""Feeds for many people at once: people in, one row per person and item out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from features.config import RankerName, Rung
from features.home import Progress, silent
from features.types import Int32
from training.bundle import Bundle, terms
from training.policy import Feeds, People, Step, anchors, decide
from training.queries import queries_for
from training.reasons import reason_text

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 512
RANKED = pa.schema(
    {
        "person_id": pa.string(), "item_id": pa.string(), "rank": pa.int32(),
        "score": pa.float32(), "rung": pa.string(), "ranker": pa.string(), "reason": pa.string(),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Requests:
    """People asking in a batch: `person_id` names the request, `user_id` the person.

    recent: item ids, oldest first, the current session
    """

    person_id: list[str]
    user_id: list[str]
    recent: list[list[str]]

    def __len__(self) -> int:
        return len(self.person_id)

    @classmethod
    def of(cls, people: pd.DataFrame) -> Requests:
        """Read a frame with `person_id`, and optionally `user_id` and `recent`."""
        if "person_id" not in people:
            raise ValueError(f"people need a column person_id; there are {list(people)}")
        if unknown := set(people) - {"person_id", "user_id", "recent"}:
            raise ValueError(
                f"people have columns {sorted(unknown)} that mean nothing here; "
                "there may be person_id, user_id and recent"
            )
        missing = np.flatnonzero(people["person_id"].isna())
        if missing.size:
            raise ValueError(f"people: row {missing[0] + 1} has no person_id")
        names = [as_id(value) for value in people["person_id"]]
        users = [as_id(v) for v in people["user_id"]] if "user_id" in people else names
        lists = people["recent"] if "recent" in people else [None] * len(people)
        return cls(names, users, [_ids(one, row) for row, one in enumerate(lists, 1)])


def as_id(value: Any) -> str:
    """Ids are text; a whole float prints without its .0, nothing at all is the empty id."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _ids(recent: Any, row: int) -> list[str]:
    if recent is None or (isinstance(recent, float) and np.isnan(recent)):
        return []
    if isinstance(recent, str) or not hasattr(recent, "__iter__"):
        raise ValueError(f"people: row {row}: recent is {recent!r}, not a list of item ids")
    return [as_id(item) for item in recent]


def rank_people(
    bundle: Bundle, people: pd.DataFrame, *, size: int = 20, ranker: RankerName | None = None,
    rung: Rung | None = None, repeat: Literal["allow", "exclude"] | None = None,
    progress: Progress = silent,
) -> pa.Table:  # fmt: skip
    """Rank `size` items for each row of `people`; fewer only when the catalogue has fewer.

    ranker: let this one speak first; rung: allow no higher one; repeat: override the shop's rule
    returns: person_id, item_id, rank (from 1), score, rung, ranker, reason
    """
    requests = Requests.of(people)
    ladder = bundle.forced(ranker) if ranker else bundle.ladder
    items = bundle.catalogue.shown(None)
    wanted = terms(bundle.config, bundle.catalogue, items, size, repeat=repeat,
                   highest_rung=rung or "one_to_one")  # fmt: skip
    parts = []
    for start, rows in _chunks(len(requests)):
        progress("ranking", start / len(requests))
        asking = people_of(bundle, [requests.user_id[r] for r in rows],
                           [requests.recent[r] for r in rows])  # fmt: skip
        feeds = decide(ladder, asking, wanted)
        names = [requests.person_id[r] for r in rows]
        parts.append(as_table(bundle, ladder, names, asking, feeds))
    progress("ranked", 1.0)
    return pa.concat_tables(parts) if parts else RANKED.empty_table()


def people_of(bundle: Bundle, users: Sequence[str], recent: Sequence[Sequence[str]]) -> People:
    """People by user id and current session, at the model's moment; unknown items are left out."""
    rows = bundle.persons.indices([f"u:{user}" for user in users])
    flat = bundle.catalogue.find([item for one in recent for item in one])
    ends = np.cumsum([len(one) for one in recent])[:-1] if len(recent) else []
    sessions: list[Int32] = [one[one >= 0] for one in np.split(flat, ends)]
    config = bundle.config
    queries = queries_for(
        bundle.timelines, rows, sessions, bundle.as_of_us, config.signals, config.session_signal()
    )
    default = config.shop.consent_default == "yes"
    consent = np.full(rows.size, default)
    consent[rows >= 0] = bundle.consent[rows[rows >= 0]]
    return People(queries, consent, rows < 0)


def as_table(
    bundle: Bundle, ladder: Sequence[Step], names: Sequence[str], people: People, feeds: Feeds
) -> pa.Table:
    """Feeds as rows of `RANKED`, person by person, best first."""
    row, place = np.nonzero(feeds.items >= 0)
    items, steps = feeds.items[row, place], feeds.steps[row, place]
    because = anchors(ladder, people, feeds)[row, place]
    reasons = [
        reason_text(bundle, ladder[step].rung, people.queries, person, item=item, anchor=anchor)
        for step, person, item, anchor in zip(
            steps.tolist(), row.tolist(), items.tolist(), because.tolist(), strict=True
        )
    ]
    return pa.table(
        {
            "person_id": [names[r] for r in row.tolist()],
            "item_id": bundle.catalogue.ids.texts(items),
            "rank": (place + 1).astype(np.int32),
            "score": feeds.scores[row, place],
            "rung": [ladder[s].rung for s in steps.tolist()],
            "ranker": [ladder[s].name for s in steps.tolist()],
            "reason": reasons,
        },
        schema=RANKED,
    )


def _chunks(rows: int) -> Iterator[tuple[int, range]]:
    for start in range(0, rows, CHUNK):
        yield start, range(start, min(start + CHUNK, rows))

