"""The service's own records as tables that a build reads: what it was told, and what it showed.

Everything comes out as Parquet with the contract's columns under `home.served`; it can be made
again from `home.state` and `home.decisions`, and where nothing was recorded there is no file. What
somebody muted is no preference: it says what is not to be seen, not what is liked. What was shown
is one event per item and decision, and needs a name for it: the first of the config's
`impressions`. Blocks of mails are no such events. A decision has a pseudonym; whose it is, is told
from the names that the state knows, and whoever it does not know stays a stranger: a session of
that pseudonym. So does whoever was forgotten, in all that was shown until then, as the salts of
those decisions are gone.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features import contract
from features.config import Config
from features.decided import OPEN, Decided, Torn, decision_files, pseudonym, read_decisions
from features.home import Home, written_beside
from features.mail_options import EMAIL
from features.told import COLUMNS, Rows, Told, told

MARK = "service:"  # before the name of a file, where others are the shop's
_VERSION = 4  # of how decisions become events
_MARKS = {"u": "user_id", "v": "visitor_id", "s": "session_id"}
_SHOWN = ("occurred_at", "event_type", "item_id", "user_id", "visitor_id", "session_id",
          "channel", "placement", "decision_id", "position", "propensity", "event_id")  # fmt: skip
_ARROW = {"id": pa.string(), "text": pa.string(), "time": pa.timestamp("us", "UTC"),
          "number": pa.float64(), "whole": pa.int64(), "flag": pa.bool_()}  # fmt: skip
_log = logging.getLogger("feeds.served")


def tables(config: Config, home: Home) -> list[tuple[str, Path]]:
    """The files to read beside the shop's own, each with its table of the contract.

    Raises ConfigError for a state of another version.
    """
    found: list[tuple[str, Path]] = []
    with told(config, home) as state:
        if "events" in config.sources.service and state is not None:
            found += _told(state, home)
        if "decisions" in config.sources.service and config.impressions:
            found += [("events", file) for file in _shown(state, home, config.impressions[0])]
    for old in set(home.served.glob("[!.]*.parquet")) - {file for _, file in found}:
        old.unlink()  # of a config that asked for more: somebody in it may be forgotten
    return found


def forgotten(config: Config, home: Home) -> dict[str, int]:
    """Whom the state forgot: pseudonym -> moment, microseconds since 1970 UTC.

    Whatever `sources.service` leaves out, this counts. Raises ConfigError as `tables` does.
    """
    with told(config, home) as state:
        return {} if state is None else dict(state.forgotten())


def names(config: Config, home: Home) -> dict[str, str]:
    """Pseudonym -> marked name of everybody whom the state knows by decisions; empty without one.

    Raises ConfigError as `tables` does.
    """
    with told(config, home) as state:
        return _known(state, home)[0]


def _told(state: Told, home: Home) -> Iterator[tuple[str, Path]]:
    """Every table of the state that has rows."""
    for name, columns in COLUMNS.items():
        file = home.served / f"{name}.parquet"
        if _write(file, name, columns, state.rows(name)):
            yield name, file
        else:
            file.unlink(missing_ok=True)


def _write(file: Path, table: str, columns: list[str], rows: Rows) -> int:
    """Write `rows` as the columns of the contract; says how many there were."""
    kinds = {column.name: column.kind for column in contract.TABLES[table]}
    schema = pa.schema([(name, _ARROW[kinds[name]]) for name in columns])
    count = 0
    with written_beside(file) as beside, pq.ParquetWriter(beside, schema) as writer:
        for batch in rows:
            values = zip(*batch, strict=True)
            arrays = [_array(of, kind) for of, kind in zip(values, schema.types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(batch)
    return count


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(kind):
        return pa.array([None if value is None else bool(value) for value in values], kind)
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


def _shown(state: Told | None, home: Home, event_type: str) -> list[Path]:
    """What was shown, a file per day of decisions; a day is written again only when it changed."""
    files = decision_files(home.decisions)
    if not files:
        return []
    names, forgotten = _known(state, home)
    found = []
    for day, group in groupby(files, key=lambda file: file.name[:8]):
        own = list(group)
        sizes = [(file.name.removesuffix(OPEN), file.stat().st_size) for file in own]
        made_of = json.dumps([_VERSION, event_type, forgotten, sizes])
        key = hashlib.sha256(made_of.encode()).hexdigest()[:16]
        target = home.served / f"decisions-{day}-{key}.parquet"
        if not target.exists():
            with written_beside(target) as beside:
                pq.write_table(_exposures(own, names, event_type), beside)
        found.append(target)
    for old in set(home.served.glob("decisions-*.parquet")) - set(found):
        old.unlink()
    return found


def _known(state: Told | None, home: Home) -> tuple[dict[str, str], Sequence[tuple[str, int]]]:
    """Pseudonym -> name of everybody who got a feed, and whom the state forgot, and when."""
    if state is None or not home.salt.exists():
        return {}, []
    key = home.salt.read_bytes()
    return {pseudonym(key, name, own): name for name, own in state.met()}, state.forgotten()


def _whose(one: Decided, names: dict[str, str]) -> str:
    """The marked name of a decision; that of somebody unknown is a stranger's."""
    return names.get(one.person) or f"s:{one.person or one.decision_id}"


def _exposures(files: list[Path], names: dict[str, str], event_type: str) -> pa.Table:
    """An event per shown item, in the order of the files.

    None of what is in mails: whether a mail is sent and opened is not known, and the items of one
    that lies unread would teach that they were seen and not wanted. Clicks in mails are events.
    """
    kinds = {column.name: _ARROW[column.kind] for column in contract.TABLES["events"]}
    found: dict[str, list[Any]] = {name: [] for name in _SHOWN}
    for one in (one for file in files for one in read_decisions(file)):
        if isinstance(one, Torn):
            _log.warning("%s:%d: no decision; left out", one.file, one.line)
            continue
        if one.channel == EMAIL:
            continue
        mark, who_id = _whose(one, names).split(":", 1)
        who = {column: who_id if mark == m else None for m, column in _MARKS.items()}
        chances = one.propensities or [None] * len(one.item_ids)
        for item, place, chance in zip(one.item_ids, one.positions, chances, strict=True):
            row = {
                "occurred_at": one.at_us, "event_type": event_type, "item_id": item, **who,
                "channel": one.channel, "placement": one.placement,
                "decision_id": one.decision_id, "position": place, "propensity": chance,
                "event_id": f"{one.decision_id}.{place}",
            }  # fmt: skip
            for column, value in row.items():
                found[column].append(value)
    return pa.table({name: _array(values, kinds[name]) for name, values in found.items()})
