"""Feeds for many people at once: people in, one row per person and item out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.config import Rung
from features.home import Progress, silent, written_beside
from features.training_options import RankerName
from features.types import Int32, Int64, Ragged
from training.bundle import Bundle, terms
from training.evaluation import protocol
from training.people import people_of
from training.policy import Feeds, People, Step, decide
from training.reasons import reasons
from training.replay import Asked, World
from training.requests import Requests, as_id
from training.stream import Stream, read_stream

CHUNK = 512
RANKED = pa.schema(
    {
        "person_id": pa.string(), "item_id": pa.string(), "rank": pa.int32(),
        "score": pa.float32(), "rung": pa.string(), "ranker": pa.string(), "reason": pa.string(),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Served:
    """Feeds of one chunk, and what they were made from; `rows`: which of the requests."""

    rows: Int64
    bundle: Bundle
    names: list[str]
    ladder: Sequence[Step]
    people: People
    feeds: Feeds


@dataclass(frozen=True)
class Wish:
    """What a batch asks for.

    ranker: let this one speak first; rung: allow no higher one; repeat: override the shop's rule
    stream: a file of events, in the log's shape, among which requests with `at` are replayed
    """

    size: int = 20
    ranker: RankerName | None = None
    rung: Rung | None = None
    repeat: Literal["allow", "exclude"] | None = None
    stream: Path | None = None


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
    wish = wish or Wish()
    requests = Requests.of(people, bundle.config.shop.timezone)
    world = _world(bundle, requests, wish)
    parts = list(_ranked(bundle, requests, wish, world, progress))
    return pa.concat_tables(parts) if parts else RANKED.empty_table()


def rank_file(
    bundle: Bundle, people: Path, out: Path, wish: Wish, progress: Progress = silent
) -> Ranked:
    """Rank for the people in one Parquet file into another, chunk by chunk.

    Rows of the stream that break the contract go to a file beside `out`.
    """
    start = time.perf_counter()
    requests = Requests.of(_table(people), bundle.config.shop.timezone)
    world = _world(bundle, requests, wish, out.with_suffix(".rejects.parquet"))
    notes, rows = _notes(bundle, requests, world), 0
    with written_beside(out) as beside, pq.ParquetWriter(beside, RANKED) as writer:
        for part in _ranked(bundle, requests, wish, world, progress):
            writer.write_table(part)
            rows += part.num_rows
    return Ranked(rows, len(requests), time.perf_counter() - start, notes)


def judge_people(
    bundle: Bundle, people: Path, truth: Path, progress: Progress = silent
) -> list[dict[str, object]]:
    """How the model's feeds for `people` meet `truth` (person_id, item_id), as summary rows."""
    requests, wanted = Requests.of(_table(people), bundle.config.shop.timezone), _table(truth)
    if missing := {"person_id", "item_id"} - set(wanted.column_names):
        raise ValueError(f"{truth} lacks {sorted(missing)}; it has {wanted.column_names}")
    truths = _wanted_by(requests, wanted, bundle)
    asked = np.flatnonzero(np.diff(truths.indptr) > 0)
    if not asked.size:
        raise ValueError(f"nobody of {people} is in {truth}; both name people by person_id")
    wish = Wish(size=max(protocol.KS))
    feeds = np.full((len(requests), wish.size), -1, dtype=np.int32)
    for served in _feeds(bundle, requests, wish, _world(bundle, requests, wish), progress):
        feeds[served.rows] = served.feeds.items
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


def _world(
    bundle: Bundle, requests: Requests, wish: Wish, rejects: Path | None = None
) -> World | None:
    """What the requests are replayed in, where they say when they ask."""
    if requests.at_us is None:
        if wish.stream is not None:
            raise ValueError("to replay a stream, people need a column `at`: when each one asks")
        return None
    stream = read_stream(bundle, wish.stream, rejects) if wish.stream else Stream.empty()
    return World.of(bundle, stream)


def _feeds(
    bundle: Bundle, requests: Requests, wish: Wish, world: World | None, progress: Progress
) -> Iterator[Served]:
    """Feeds for all requests, those with `at` in the order of time."""
    lived = bundle if world is None else world.bundle
    ladder = lived.forced(wish.ranker) if wish.ranker else lived.ladder
    wanted = terms(
        lived.config, lived.catalogue, bundle.catalogue.shown(None), wish.size,
        repeat=wish.repeat, highest_rung=wish.rung or "one_to_one",
        ceiling=None if wish.ranker else bundle.ceiling(None, None),
    )  # fmt: skip
    done = 0
    for rows, people, shown in _asking(bundle, requests, world):
        progress("ranking", done / len(requests))
        feeds = decide(ladder, people, wanted if shown is None else replace(wanted, items=shown))
        yield Served(
            rows, lived, [requests.person_id[r] for r in rows.tolist()], ladder, people, feeds
        )
        done += rows.size
    progress("ranked", 1.0)


def _asking(
    bundle: Bundle, requests: Requests, world: World | None
) -> Iterator[tuple[Int64, People, Int32 | None]]:
    """Which requests, the people, and what may be shown to them; None: what may be now."""
    if world is not None and requests.at_us is not None:
        names = [f"u:{user}" if user else "" for user in requests.user_id]
        for moment in world.moments(Asked(names, requests.recent, requests.at_us)):
            yield moment.rows, moment.people, moment.shown
        return
    for start in range(0, len(requests), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(requests)))
        part = slice(start, start + CHUNK)
        yield rows, _people(bundle, requests.user_id[part], requests.recent[part]), None


def _people(bundle: Bundle, users: Sequence[str], recent: Sequence[Sequence[str]]) -> People:
    """People by customer id; recent items that the catalogue lacks are left out."""
    flat = bundle.catalogue.find([item for one in recent for item in one])
    ends = np.cumsum([len(one) for one in recent], dtype=np.int64)[:-1]
    sessions = [one[one >= 0] for one in np.split(flat, ends)]
    return people_of(bundle, [[f"u:{user}"] if user else [] for user in users], sessions)


def _ranked(
    bundle: Bundle, requests: Requests, wish: Wish, world: World | None, progress: Progress
) -> Iterator[pa.Table]:
    """The result in the order of the requests; a replay is put in it at its end."""
    served = _feeds(bundle, requests, wish, world, progress)
    if world is None:
        yield from map(as_table, served)
        return
    parts: dict[int, pa.Table] = {}
    for one in served:
        table, ends = as_table(one), np.cumsum((one.feeds.items >= 0).sum(axis=1))
        for row, end, begin in zip(one.rows.tolist(), ends, np.append(0, ends[:-1]), strict=True):
            parts[row] = table.slice(begin, end - begin)
    for start in range(0, len(requests), CHUNK):
        part = [parts[row] for row in range(start, min(start + CHUNK, len(requests)))]
        yield pa.concat_tables(part)


def _notes(bundle: Bundle, requests: Requests, world: World | None) -> list[str]:
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
    replayed = [] if world is None else _about(bundle, requests, world.stream)
    return [*(note for note, count in told.items() if count), *replayed]


def _about(bundle: Bundle, requests: Requests, stream: Stream) -> list[str]:
    """What a replay took in, and what it could not undo."""
    early = int(np.count_nonzero(np.asarray(requests.at_us) <= bundle.as_of_us))
    told = {
        f"{early:,} requests ask before the model's moment: its rankers know what came after them":
        early,
        f"{len(stream):,} events are taken in, {len(stream.new_items):,} items are new":
        len(stream),
    }  # fmt: skip
    return [*stream.notes, *(note for note, count in told.items() if count)]


def as_table(served: Served) -> pa.Table:
    """Feeds as rows of `RANKED`, person by person, best first."""
    bundle, ladder, feeds = served.bundle, served.ladder, served.feeds
    row, place = np.nonzero(feeds.items >= 0)
    items, steps = feeds.items[row, place], feeds.steps[row, place]
    told = reasons(bundle, ladder, served.people, feeds)
    return pa.table(
        {
            "person_id": [served.names[r] for r in row.tolist()],
            "item_id": bundle.catalogue.texts(items),
            "rank": (place + 1).astype(np.int32),
            "score": feeds.scores[row, place],
            "rung": [ladder[s].rung for s in steps.tolist()],
            "ranker": [ladder[s].name for s in steps.tolist()],
            "reason": [one for person in told for one in person],
        },
        schema=RANKED,
    )
