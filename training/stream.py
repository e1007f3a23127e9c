"""A stream: events after the model's moment, read like the log, told in the model's numbers."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import numpy as np

from features import parts
from features.config import Config
from features.engine import connected
from features.home import written_beside
from features.reading import stop_if_too_many
from features.types import Bool, IdTable, Int8, Int32, Int64
from training.bundle import Bundle

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Stream:
    """Events that carry a signal, in time order, each (m,).

    people: int64, rows of the bundle's persons, then of `new_people`
    items:  int32, of the bundle's catalogue, then of `new_items`, which are in order of appearance
    signals: int8       occurred_us: int64, after the bundle's moment
    opens:  bool, whether a visit of its person begins with it
    notes:  what a reader of the result should know
    """

    people: Int64
    items: Int32
    signals: Int8
    occurred_us: Int64
    opens: Bool
    new_people: IdTable
    new_items: list[str]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls) -> Stream:
        """Nothing happened."""
        none = np.empty(0, np.int64)
        return cls(none, none.astype(np.int32), none.astype(np.int8), none, none.astype(np.bool_),
                   IdTable.of([]), [])  # fmt: skip

    def __len__(self) -> int:
        return len(self.items)


def read_stream(bundle: Bundle, file: Path, rejects: Path | None = None) -> Stream:
    """Read events from one file, mapped by the config that the model was trained with.

    Left out, and told in `notes`: rows that break the contract (kept in `rejects`),
    what the log had already (nothing up to the model's moment is taken in again), the same event
    again, and what is no item by `cleaning.non_products`. Robots are not looked for, nor are
    returns taken off: a service could not do so at the moment of the event.

    Raises ConfigError for what cannot be opened or mapped, TooManyRejects as a build does.
    """
    if not file.exists():
        raise ValueError(f"{file} does not exist")
    frame, notes = _read(bundle.config, file, rejects)
    given = len(frame)
    frame = frame[frame["occurred_us"] > bundle.as_of_us]
    if given > len(frame):
        notes.append(f"{given - len(frame):,} of {given:,} events of the stream are from before "
                     "the model's moment and are left out")  # fmt: skip
    frame = frame.sort_values(["occurred_us", "sequence", "source_row"], kind="stable")
    for what, gone in (("came before", _twice), ("are on no item", _non_products)):
        out = gone(frame, bundle.config)
        if out.any():
            notes.append(f"{int(out.sum()):,} events of the stream {what} and are left out")
        frame = frame[~out]
    signals = list(bundle.config.signals)
    return _numbered(bundle, frame[frame["event_type"].isin(signals)], notes)


def _read(config: Config, file: Path, rejects: Path | None) -> tuple[pd.DataFrame, list[str]]:
    """The accepted rows, and a note on the others."""
    import pandas as pd

    own = {"path": str(file), "format": None, "table": None}
    source = config.sources.events.model_copy(update=own)
    zone = source.timezone or config.shop.timezone
    scratch = Path(mkdtemp(prefix="feeds-stream-"))
    try:
        with connected(scratch, config.engine) as connection:
            wanted = parts.Wanted("events", source, zone, {file.name: file}, {})
            parts.store(connection, wanted, scratch / "part")
        (report,) = parts.reports_of(scratch / "part")
        notes = []
        if report.rejected:
            if rejects is not None:
                with written_beside(rejects) as beside:
                    shutil.copyfile(scratch / "part" / parts.REJECTS, beside)
            worst = max(report.reasons, key=lambda reason: report.reasons[reason])
            notes.append(f"{report.rejected:,} of {report.read:,} rows of the stream break the "
                         f"contract, most often: {worst}")  # fmt: skip
        limit = config.contract.max_rejected_share
        stop_if_too_many([report], limit, rejects or Path("the rejects"))
        frame = pd.read_parquet(scratch / "part" / parts.ROWS)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return frame[frame["reasons"].isna()].drop(columns="reasons"), notes


def _twice(frame: pd.DataFrame, _config: Config) -> Bool:
    """Events that say the same as one before: the same `event_id`, without one the same all."""
    told = frame.drop(columns=["event_id", "source_row", "source_file"])
    named = frame["event_id"].notna()
    again = (named & frame.duplicated("event_id")) | (~named & told.duplicated())
    return np.asarray(again, dtype=np.bool_)


def _non_products(frame: pd.DataFrame, config: Config) -> Bool:
    patterns = [re.compile(pattern) for pattern in config.cleaning.non_products]
    ids, places = np.unique(frame["item_id"].to_numpy(np.str_), return_inverse=True)
    gone = np.array([any(p.search(one) for p in patterns) for one in ids.tolist()], np.bool_)
    return gone[places] if ids.size else np.empty(0, np.bool_)


def _numbered(bundle: Bundle, frame: pd.DataFrame, notes: list[str]) -> Stream:
    """Clean events in time order, told in numbers."""
    names = _names(frame)
    people = bundle.rows(names).astype(np.int64)
    new_people = IdTable.of(sorted({n for n, row in zip(names, people, strict=True) if row < 0}))
    people = np.where(people < 0, len(bundle.persons) + new_people.indices(names), people)
    items, new_items = _items(bundle, frame["item_id"].tolist())
    places = {name: place for place, name in enumerate(bundle.config.signals)}
    signals = np.array([places[one] for one in frame["event_type"]], dtype=np.int8)
    times = frame["occurred_us"].to_numpy(np.int64)
    visits = frame["session_id"].astype(object).where(frame["session_id"].notna(), "")
    opens = _opens(bundle, people, times, visits.to_numpy(np.str_))
    return Stream(people, items, signals, times, opens, new_people, new_items, notes)


def _names(frame: pd.DataFrame) -> list[str]:
    """The marked id of whose event it is, the surest that is given."""
    found = "s:" + frame["session_id"].astype(object)
    for column, mark in (("visitor_id", "v:"), ("user_id", "u:")):
        own = frame[column].astype(object)
        found = found.where(own.isna(), mark + own)
    return [str(one) for one in found]


def _items(bundle: Bundle, ids: list[str]) -> tuple[Int32, list[str]]:
    """Item numbers, and the ids of the new items in order of their first event; any case is one."""
    found = bundle.catalogue.find(ids)
    new: dict[str, int] = {}
    spelled: list[str] = []
    for place in np.flatnonzero(found < 0).tolist():
        folded = ids[place].lower()
        if folded not in new:
            new[folded] = len(bundle.catalogue) + len(new)
            spelled.append(ids[place])
        found[place] = new[folded]
    return found.astype(np.int32), spelled


def _opens(bundle: Bundle, people: Int64, times: Int64, visits: object) -> Bool:
    """Whether an event begins a visit: by another session id, without ids by silence before it.

    A person's first event here goes on with the last visit in the log if it is close enough.
    """
    gap_us = bundle.config.sessions.gap_us
    order = np.argsort(people, kind="stable")
    who, when, which = people[order], times[order], np.asarray(visits)[order]
    opens = np.ones(who.size, np.bool_)
    silent = np.diff(when) > gap_us
    brought = which[1:] != ""
    opens[1:] = (which[1:] != which[:-1]) | (~brought & silent)
    first = np.ones(who.size, np.bool_)
    first[1:] = who[1:] != who[:-1]
    opens[first] = True
    known = np.flatnonzero(first & (who < len(bundle.persons)))
    begin, end = bundle.timelines.indptr[who[known]], bundle.timelines.indptr[who[known] + 1]
    follows = known[end > begin]
    opens[follows] = when[follows] - bundle.timelines.occurred_us[end[end > begin] - 1] > gap_us
    found = np.empty(who.size, np.bool_)
    found[order] = opens
    return found
