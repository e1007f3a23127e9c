"""The records of a state that is a SQLite file: a snapshot, all of one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from features.config import ConfigError
from features.options import WISHES
from features.told import COLUMNS, ROWS, Rows

VERSION = 2  # of the state's tables
_QUERIES = {
    "events": f"SELECT occurred_us, {', '.join(COLUMNS['events'][1:])} FROM events ORDER BY seq",
    "identities": "SELECT visitor_id, user_id, linked_us, unlinked_us FROM links ORDER BY 1, 2",
    "preferences": "SELECT CASE name LIKE 'u:%' WHEN 1 THEN substr(name, 3) END, CASE name LIKE "
    "'v:%' WHEN 1 THEN substr(name, 3) END, question, answer, answered_us FROM answers "
    f"WHERE question NOT IN {WISHES} ORDER BY rowid",
    # the newest word counts, at one moment the refusal; SQLite takes its row
    "customers": "SELECT who, personalise FROM (SELECT coalesce(customer, substr(name, 3)) AS who, "
    "personalise, max(2 * said_us - personalise) FROM names "
    "WHERE personalise IS NOT NULL AND (name LIKE 'u:%' OR customer IS NOT NULL) "
    "GROUP BY who) ORDER BY who",
}


class InSqlite:
    """See `told.Told`. Raises ConfigError for a file of another version, and for no state."""

    def __init__(self, file: Path) -> None:
        uri = f"{file.resolve().as_uri()}?mode=ro"
        self._state = sqlite3.connect(uri, uri=True, isolation_level=None)
        try:
            version = self._state.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            self.close()
            raise ConfigError(
                f"{file}: {error}; mend it, or bring it back: it says who was forgotten"
            ) from None
        if version != VERSION:
            self.close()
            raise ConfigError(
                f"{file} holds a state of version {version}, this program reads {VERSION}; "
                "build with the program that serves: the state says who was forgotten"
            )
        self._state.execute("BEGIN")

    def rows(self, table: str) -> Rows:
        """See Told."""
        found = self._state.execute(_QUERIES[table])
        return iter(lambda: found.fetchmany(ROWS), [])

    def met(self) -> Sequence[tuple[str, str]]:
        """See Told."""
        return self._state.execute("SELECT name, salt FROM met").fetchall()

    def forgotten(self) -> Sequence[tuple[str, int]]:
        """See Told."""
        return self._state.execute("SELECT pseudonym, at_us FROM forgotten ORDER BY 1").fetchall()

    def close(self) -> None:
        """See Told."""
        self._state.close()
