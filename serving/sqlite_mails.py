"""What mails ask of the SQLite state: whose a link is, and the answers that stand for a while."""

from __future__ import annotations

import sqlite3
import time

from features.decided import pseudonym

_CALL = "INSERT OR IGNORE INTO whose VALUES (?, ?)"


def call(connection: sqlite3.Connection, key: bytes, name: str, own: str) -> None:
    """File what a customer is called in decisions; visitors get no mails."""
    if name[0] == "u":
        connection.execute(_CALL, (pseudonym(key, name, own), name))


def call_all(connection: sqlite3.Connection, key: bytes) -> None:
    """The same for all who were met before there was the table `whose`."""
    if connection.execute("SELECT 1 FROM whose LIMIT 1").fetchone() is not None:
        return
    connection.execute("BEGIN IMMEDIATE")
    met = connection.execute("SELECT name, salt FROM met WHERE name >= 'u:' AND name < 'u;'")
    called = ((pseudonym(key, name, own), name) for name, own in met.fetchall())
    connection.executemany(_CALL, called)
    connection.execute("COMMIT")


def whose(connection: sqlite3.Connection, called: str) -> str | None:
    """See State.whose."""
    found = connection.execute("SELECT name FROM whose WHERE pseudonym = ?", (called,)).fetchone()
    return None if found is None else found[0]


def said_before(
    connection: sqlite3.Connection, name: str, mailing: str, seconds: float
) -> bytes | None:
    """See State.said_before; a clock that is set back makes an answer no younger."""
    found = connection.execute(
        "SELECT answer FROM answered WHERE name = ? AND mailing = ? AND abs(at_us - ?) < ?",
        (name, mailing, _now_us(), seconds * 1e6),
    ).fetchone()
    return None if found is None else found[0]


def answer(
    connection: sqlite3.Connection, asked: tuple[str, str], said: bytes, seconds: float
) -> None:
    """Keep what was said to a marked name in a mailing; what nobody asks for any more goes."""
    now = _now_us()
    connection.execute("DELETE FROM answered WHERE until_us <= ?", (now,))
    row = (*asked, said, now, now + round(seconds * 1e6))
    connection.execute("INSERT OR REPLACE INTO answered VALUES (?, ?, ?, ?, ?)", row)


def _now_us() -> int:
    return time.time_ns() // 1000
