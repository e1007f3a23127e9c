"""Feeds for many people at once: people in, one row per person and item out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.config import Rung
from features.home import Progress, silent, written_beside
from features.training_options import RankerName
from features.types import Ragged
from training.bundle import Bundle, terms
from training.evaluation import protocol
from training.people import people_of
from training.policy import Feeds, People, Step, decide
from training.reasons import reasons

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
    def of(cls, people: pa.Table) -> Requests:
        """Read a table with `person_id`, and optionally `user_id` and `recent`."""
        if "person_id" not in people.column_names:
            raise ValueError(f"people need a column person_id; there are {people.column_names}")
        given = [
            c for c in people.column_names if not c.startswith("__index_level_")
        ]  # pandas' own
        if "at" in given:
            raise ValueError("people have `at`: replaying requests in time is not there yet")
        if unknown := set(given) - {"person_id", "user_id", "recent"}:
            raise ValueError(
                f"people have columns {sorted(unknown)} that mean nothing here; "
                "there may be person_id, user_id and recent"
            )
        names = [as_id(value) for value in people["person_id"].to_pylist()]
        if "" in names:
            raise ValueError(f"people: row {names.index('') + 1} has no person_id")
        users = [as_id(v) for v in people["user_id"].to_pylist()] if "user_id" in given else names
        lists = people["recent"].to_pylist() if "recent" in given else [None] * len(names)
        return cls(names, users, [_ids(one, row) for row, one in enumerate(lists, 1)])


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


@dataclass(frozen=True)
class Served:
    """Feeds of one chunk, and what they were made from."""

    names: list[str]
    ladder: Sequence[Step]
    people: People
    feeds: Feeds


@dataclass(frozen=True)
class Wish:
    """What a batch asks for.

    ranker: let this one speak first; rung: allow no higher one; repeat: override the shop's rule
    """

    size: int = 20
    ranker: RankerName | None = None
    rung: Rung | None = None
    repeat: Literal["allow", "exclude"] | None = None


@dataclass(frozen=True)
class Ranked:
    """What a batch came to."""

    rows: int
    people: int
    seconds: float
    notes: list[str]


def rank_people(
    bundle: Bundle, people: pa.Table, wish: Wish | None = None, progress: Progress = silent
) -> pa.Table:
    """Rank for each row of `people` (see Requests); fewer than `size` only when there are fewer.

    returns: person_id, item_id, rank (from 1), score, rung, ranker, reason
    """
    parts = list(_ranked(bundle, Requests.of(people), wish or Wish(), progress))
    return pa.concat_tables(parts) if parts else RANKED.empty_table()


def rank_file(
    bundle: Bundle, people: Path, out: Path, wish: Wish, progress: Progress = silent
) -> Ranked:
    """Rank for the people in one Parquet file into another, chunk by chunk."""
    start = time.perf_counter()
    requests = Requests.of(_table(people))
    rows = 0
    with written_beside(out) as beside, pq.ParquetWriter(beside, RANKED) as writer:
        for part in _ranked(bundle, requests, wish, progress):
            writer.write_table(part)
            rows += part.num_rows
    return Ranked(rows, len(requests), time.perf_counter() - start, _notes(bundle, requests))


def judge_people(
    bundle: Bundle, people: Path, truth: Path, progress: Progress = silent
) -> list[dict[str, object]]:
    """How the model's feeds for `people` meet `truth` (person_id, item_id), as summary rows."""
    requests, wanted = Requests.of(_table(people)), _table(truth)
    if missing := {"person_id", "item_id"} - set(wanted.column_names):
        raise ValueError(f"{truth} lacks {sorted(missing)}; it has {wanted.column_names}")
    truths = _wanted_by(requests, wanted, bundle)
    asked = np.flatnonzero(np.diff(truths.indptr) > 0)
    if not asked.size:
        raise ValueError(f"nobody of {people} is in {truth}; both name people by person_id")
    feeds = np.concatenate(
        [
            served.feeds.items
            for served in _feeds(bundle, requests, Wish(size=max(protocol.KS)), progress)
        ]
    )
    outcome = protocol.judge(
        feeds[asked], truths.take(asked), name="policy", task="given", n_items=len(bundle.catalogue)
    )
    options = bundle.config.training
    return protocol.summary([outcome], options.bootstrap_draws, options.seed)


def _wanted_by(requests: Requests, wanted: pa.Table, bundle: Bundle) -> Ragged:
    """What each request's person wanted; an item the model cannot know is wanted all the same."""
    ids = [as_id(item) for item in wanted["item_id"].to_pylist()]
    beyond = {item: len(bundle.catalogue) + n for n, item in enumerate(dict.fromkeys(ids))}
    indices = bundle.catalogue.find(ids).tolist()
    by_person: dict[str, set[int]] = {}
    for name, item, index in zip(wanted["person_id"].to_pylist(), ids, indices, strict=True):
        by_person.setdefault(as_id(name), set()).add(index if index >= 0 else beyond[item])
    return Ragged.of([sorted(by_person.get(name, ())) for name in requests.person_id])


def _table(path: Path) -> pa.Table:
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    try:
        return pq.read_table(path)
    except pa.ArrowInvalid:
        raise ValueError(f"{path} is no Parquet file; write it as one") from None


def _feeds(bundle: Bundle, requests: Requests, wish: Wish, progress: Progress) -> Iterator[Served]:
    ladder = bundle.forced(wish.ranker) if wish.ranker else bundle.ladder
    wanted = terms(
        bundle.config, bundle.catalogue, bundle.catalogue.shown(None), wish.size,
        repeat=wish.repeat, highest_rung=wish.rung or "one_to_one",
    )  # fmt: skip
    for start in range(0, len(requests), CHUNK):
        progress("ranking", start / len(requests))
        part = slice(start, start + CHUNK)
        people = _people(bundle, requests.user_id[part], requests.recent[part])
        feeds = decide(ladder, people, wanted)
        yield Served(requests.person_id[part], ladder, people, feeds)
    progress("ranked", 1.0)


def _people(bundle: Bundle, users: Sequence[str], recent: Sequence[Sequence[str]]) -> People:
    """People by customer id; recent items that the catalogue lacks are left out."""
    flat = bundle.catalogue.find([item for one in recent for item in one])
    ends = np.cumsum([len(one) for one in recent], dtype=np.int64)[:-1]
    sessions = [one[one >= 0] for one in np.split(flat, ends)]
    return people_of(bundle, [[f"u:{user}"] if user else [] for user in users], sessions)


def _ranked(
    bundle: Bundle, requests: Requests, wish: Wish, progress: Progress
) -> Iterator[pa.Table]:
    for served in _feeds(bundle, requests, wish, progress):
        yield as_table(bundle, served)


def _notes(bundle: Bundle, requests: Requests) -> list[str]:
    """What a reader of the result should know."""
    named = [item for one in requests.recent for item in one]
    strangers = int((bundle.persons.indices([f"u:{u}" for u in requests.user_id]) < 0).sum())
    lost = int((bundle.catalogue.find(named) < 0).sum())
    twice = len(requests) - len(set(requests.person_id))
    told = {
        f"{strangers:,} of {len(requests):,} people are not in the model's log": strangers,
        f"{lost:,} of {len(named):,} recent items are not in its catalogue": lost,
        f"{twice:,} people have a person_id that came before: the result has {twice:,} feeds more "
        "than names, in the order of the file": twice,
    }
    return [note for note, count in told.items() if count]


def as_table(bundle: Bundle, served: Served) -> pa.Table:
    """Feeds as rows of `RANKED`, person by person, best first."""
    ladder, feeds = served.ladder, served.feeds
    row, place = np.nonzero(feeds.items >= 0)
    items, steps = feeds.items[row, place], feeds.steps[row, place]
    told = reasons(bundle, ladder, served.people, feeds)
    return pa.table(
        {
            "person_id": [served.names[r] for r in row.tolist()],
            "item_id": bundle.catalogue.ids.texts(items),
            "rank": (place + 1).astype(np.int32),
            "score": feeds.scores[row, place],
            "rung": [ladder[s].rung for s in steps.tolist()],
            "ranker": [ladder[s].name for s in steps.tolist()],
            "reason": [one for person in told for one in person],
        },
        schema=RANKED,
    )
