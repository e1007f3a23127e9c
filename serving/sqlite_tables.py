"""The tables of the SQLite state, and how its file is opened; docs/state.md names them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from serving.state import Event, ItemChange

VERSION = 2  # of the tables, as `PRAGMA user_version`
BUSY_SECONDS = 2.0  # how long a commit waits for another process's
EVENT = Event.__struct_fields__
CHANGE = ItemChange.__struct_fields__
_NUMBERS = {"occurred_us": "INTEGER", "published_us": "INTEGER", "at_us": "INTEGER",
            "position": "INTEGER", "available": "INTEGER", "sensitive": "INTEGER",
            "value": "REAL", "quantity": "REAL", "duration_seconds": "REAL",
            "propensity": "REAL", "price": "REAL"}  # fmt: skip


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {_NUMBERS.get(name, 'TEXT')}" for name in names)


_FEED = (
    "(name TEXT NOT NULL, at_us INTEGER NOT NULL, placement TEXT NOT NULL, "
    "item_ids TEXT NOT NULL, decision_id TEXT NOT NULL)"
)
_TABLES = f"""
CREATE TABLE counter (seq INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
CREATE TABLE events (seq INTEGER PRIMARY KEY, person TEXT NOT NULL, {_columns(EVENT)});
CREATE INDEX events_of_person ON events (person, occurred_us);
CREATE UNIQUE INDEX event_ids ON events (event_id) WHERE event_id IS NOT NULL;
CREATE TABLE item_changes (seq INTEGER PRIMARY KEY, {_columns(CHANGE)});
CREATE TABLE links (visitor_id TEXT, user_id TEXT, linked_us INTEGER NOT NULL, unlinked_us INTEGER,
                    PRIMARY KEY (visitor_id, user_id)) WITHOUT ROWID;
CREATE INDEX links_of_customer ON links (user_id);
CREATE TABLE answers (name TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
                      answered_us INTEGER NOT NULL);
CREATE INDEX answers_of_name ON answers (name);
CREATE TABLE shown {_FEED};
CREATE INDEX shown_to_name ON shown (name, at_us);
CREATE TABLE met (name TEXT, salt TEXT, PRIMARY KEY (name, salt)) WITHOUT ROWID;
CREATE TABLE forgotten (pseudonym TEXT PRIMARY KEY, at_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE names (name TEXT PRIMARY KEY, customer TEXT, shared INTEGER NOT NULL DEFAULT 0,
                    unlinked INTEGER NOT NULL DEFAULT 0, personalise INTEGER,
                    said_us INTEGER) WITHOUT ROWID;
CREATE INDEX names_of_customer ON names (customer) WHERE customer IS NOT NULL;
PRAGMA user_version = {VERSION};
"""
# Made in a state of before, too: who does not know these tables is not disturbed by them, so that
# the version stays, and a file goes on being used.
_MORE = (
    "CREATE TABLE IF NOT EXISTS whose (pseudonym TEXT PRIMARY KEY, name TEXT NOT NULL) "
    "WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS whose_of_name ON whose (name)",
    "CREATE TABLE IF NOT EXISTS answered (name TEXT, mailing TEXT, answer BLOB NOT NULL, "
    "at_us INTEGER NOT NULL, until_us INTEGER NOT NULL, PRIMARY KEY (name, mailing)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS answered_until ON answered (until_us)",
    f"CREATE TABLE IF NOT EXISTS mailed {_FEED}",
    "CREATE INDEX IF NOT EXISTS mailed_to_name ON mailed (name, at_us)",  # the last to be made
)


def connect(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open the state at `path`, made when missing; for one thread at a time.

    Raises ValueError for a file that this version cannot read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=busy_seconds
    )
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
        _prepare(connection)
        if (found := _version(connection)) != VERSION:
            raise ValueError(
                f"{path} holds a state of version {found}, this program keeps version {VERSION}; "
                "serve with the program that wrote it, or move it away: a new state begins"
            )
        _add(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
            raise ValueError(f"{path}: {error}; move it away: a new state begins") from None
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log; SQLite does not wait here for another that does the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file; another process may be doing the same."""
    if _version(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        for statement in _TABLES.split(";\n"):
            connection.execute(statement)
    connection.execute("COMMIT")


def _add(connection: sqlite3.Connection) -> None:
    """Make the tables that a state of before lacks."""
    there = "SELECT 1 FROM sqlite_master WHERE name = 'mailed_to_name'"
    if connection.execute(there).fetchone() is None:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _MORE:
            connection.execute(statement)
        connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
