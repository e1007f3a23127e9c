"""What the SQLite state is asked: reads through a connection of the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from features.decided import pseudonym
from serving.sqlite_filing import forgotten_us, names_of
from serving.sqlite_tables import CHANGE, EVENT
from serving.state import (
    MOST_EVENTS,
    MOST_SHOWN,
    Event,
    Filed,
    ItemChange,
    Recalled,
    StateUnavailable,
    newest_word,
)  # fmt: skip

_KNOWN = """
SELECT 0, NULL FROM names WHERE name IN (?1, ?2)
UNION ALL SELECT 1, at_us FROM forgotten WHERE pseudonym IN (?3, ?4)
UNION ALL SELECT 2, min(salt) FROM met WHERE name = coalesce(?1, ?2)"""
_PAST = (
    "SELECT item_id, event_type, occurred_us, session_id FROM events WHERE person = ? "
    f"ORDER BY occurred_us DESC, seq DESC LIMIT {MOST_EVENTS}"
)
_TAIL = (
    f"SELECT {', '.join(EVENT)} FROM events WHERE person = ? AND seq < ? "
    "ORDER BY occurred_us DESC, seq DESC LIMIT ?"
)
_EVENTS = f"SELECT seq, person, {', '.join(EVENT)} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
_CHANGES = (
    f"SELECT seq, '', {', '.join(CHANGE)} FROM item_changes WHERE seq > ? ORDER BY seq LIMIT ?"
)
_AFTER = """
SELECT coalesce(min(first) - 1, (SELECT seq FROM counter)) FROM (
    SELECT min(seq) AS first FROM events WHERE occurred_us > ?1
    UNION ALL SELECT min(seq) FROM item_changes WHERE at_us >= ?1)"""
_items = msgspec.json.Decoder(list[str])


def recall(
    connection: sqlite3.Connection, key: bytes, user_id: str | None, visitor_id: str | None
) -> Recalled:
    """See State.recall; `key`: of the pseudonyms of the forgotten."""
    asked = (user_id and f"u:{user_id}", visitor_id and f"v:{visitor_id}")
    hidden = [name and pseudonym(key, name) for name in asked]
    found = connection.execute(_KNOWN, [*asked, *hidden]).fetchall()
    if len(found) == 1:  # nothing but the row of `met`
        return Recalled(customer=user_id, salt=found[0][1])
    names = names_of(connection, user_id, visitor_id)
    marks = ", ".join("?" * len(names))
    said = connection.execute(
        f"SELECT name, customer, personalise, said_us FROM names WHERE name IN ({marks})",
        names,
    ).fetchall()
    answers = connection.execute(
        f"SELECT question, answer, answered_us FROM answers WHERE name IN ({marks}) "
        "ORDER BY answered_us",
        names,
    )
    shared, unlinked = connection.execute(
        "SELECT max(shared), max(unlinked) FROM names WHERE name = ?", asked[1:]
    ).fetchone()
    salt = connection.execute("SELECT min(salt) FROM met WHERE name = ?", names[:1]).fetchone()[0]
    gone = forgotten_us(connection, key, names)
    customer = names[0][2:] if names[0][0] == "u" else None
    return Recalled(
        customer=customer,
        visitors=[name[2:] for name, linked, *_ in said if linked is not None],
        shared=bool(shared),
        unlinked=bool(unlinked),
        events=connection.execute(_PAST, names[:1]).fetchall()[::-1],
        answers=answers.fetchall(),
        consent=newest_word([tuple(row) for _, _, *row in said], gone),
        shown=_newest(connection, "shown", names),
        mailed=_newest(connection, "mailed", names),
        forgotten_us=gone,
        salt=salt,
    )


def _newest(
    connection: sqlite3.Connection, table: str, names: list[str]
) -> list[tuple[int, str, list[str]]]:
    """The newest feeds, or blocks of mails, under any of the names, oldest first."""
    rows = connection.execute(
        f"SELECT at_us, placement, item_ids FROM {table} WHERE name IN "
        f"({', '.join('?' * len(names))}) ORDER BY at_us DESC LIMIT {MOST_SHOWN}",
        names,
    ).fetchall()
    return [(at, place, _items.decode(ids)) for at, place, ids in rows[::-1]]


def first_after(connection: sqlite3.Connection, moment_us: int) -> int:
    """See State.first_after."""
    try:
        return int(connection.execute(_AFTER, (moment_us,)).fetchone()[0])
    except sqlite3.Error as error:
        raise unavailable(error) from error


def since(connection: sqlite3.Connection, seq: int, most: int) -> list[Filed]:
    """See State.since."""
    try:
        connection.execute("BEGIN")  # one moment for both tables, else a commit between is missed
        events = connection.execute(_EVENTS, (seq, most)).fetchall()
        changes = connection.execute(_CHANGES, (seq, most)).fetchall()
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise unavailable(error) from error
    filed = [Filed(seq, name, _event(row)) for seq, name, *row in events]
    filed += [Filed(seq, "", _change(row)) for seq, _, *row in changes]
    return sorted(filed, key=lambda one: one.seq)[:most]


def tail(
    connection: sqlite3.Connection, names: list[str], limits: tuple[int, int]
) -> dict[str, list[Event]]:
    """See State.tail; limits: before which seq, how many of each name."""
    try:
        rows = {name: connection.execute(_TAIL, (name, *limits)).fetchall() for name in names}
    except sqlite3.Error as error:
        raise unavailable(error) from error
    return {name: [_event(row) for row in found[::-1]] for name, found in rows.items()}


def _event(row: Sequence[object]) -> Event:
    return Event(**dict(zip(EVENT, row, strict=True)))  # type: ignore[arg-type]


def _change(row: Sequence[object]) -> ItemChange:
    fields = dict(zip(CHANGE, row, strict=True))
    for name in ("available", "sensitive"):
        if fields[name] is not None:
            fields[name] = bool(fields[name])
    return ItemChange(**fields)  # type: ignore[arg-type]


def unavailable(error: Exception) -> StateUnavailable:
    """What went wrong with the file, as the callers of the state know it."""
    return StateUnavailable(
        f"the state cannot be used now: {error}; free the disk or wait, and send it again"
    )
