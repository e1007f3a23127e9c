"""The tables of the SQLite state, and how each fact is filed in them; docs/state.md names them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from features.options import Identity
from serving.state import Answer, Consent, Event, Fact, Forget, ItemChange, Link, Met, Shown

VERSION = 1  # of the tables, as `PRAGMA user_version`
BUSY_SECONDS = 2.0  # how long a commit waits for another process's
EVENT = Event.__struct_fields__
CHANGE = ItemChange.__struct_fields__
_NUMBERS = {"occurred_us": "INTEGER", "published_us": "INTEGER", "at_us": "INTEGER",
            "position": "INTEGER", "available": "INTEGER", "sensitive": "INTEGER",
            "value": "REAL", "quantity": "REAL", "duration_seconds": "REAL",
            "propensity": "REAL", "price": "REAL"}  # fmt: skip


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {_NUMBERS.get(name, 'TEXT')}" for name in names)


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
CREATE TABLE shown (name TEXT NOT NULL, at_us INTEGER NOT NULL, placement TEXT NOT NULL,
                    item_ids TEXT NOT NULL, decision_id TEXT NOT NULL);
CREATE INDEX shown_to_name ON shown (name, at_us);
CREATE TABLE met (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE forgotten (name TEXT PRIMARY KEY, at_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE names (name TEXT PRIMARY KEY, customer TEXT, shared INTEGER NOT NULL DEFAULT 0,
                    unlinked INTEGER NOT NULL DEFAULT 0, personalise INTEGER,
                    said_us INTEGER) WITHOUT ROWID;
CREATE INDEX names_of_customer ON names (customer) WHERE customer IS NOT NULL;
PRAGMA user_version = {VERSION};
"""
_KNOW = "INSERT INTO names (name) VALUES (?) ON CONFLICT DO NOTHING"
_LINK = """
INSERT INTO links (visitor_id, user_id, linked_us) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET
linked_us = CASE WHEN unlinked_us IS NULL THEN min(linked_us, excluded.linked_us)
                 WHEN linked_us > unlinked_us THEN linked_us
                 WHEN excluded.linked_us = unlinked_us THEN unlinked_us + 1  -- told after it
                 ELSE max(linked_us, excluded.linked_us) END"""
_UNLINK = """
INSERT INTO links (visitor_id, user_id, linked_us, unlinked_us) VALUES (?1, ?2, ?3, ?3)
ON CONFLICT DO UPDATE SET unlinked_us = max(coalesce(unlinked_us, 0), excluded.unlinked_us)"""
_EVENT = (
    f"INSERT INTO events (seq, person, {', '.join(EVENT)}) "
    f"VALUES (?, ?{', ?' * len(EVENT)}) ON CONFLICT DO NOTHING"
)
_CHANGE = f"INSERT INTO item_changes (seq, {', '.join(CHANGE)}) VALUES (?{', ?' * len(CHANGE)})"


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
        _prepare(connection)
        if (found := _version(connection)) != VERSION:
            raise ValueError(
                f"{path} holds a state of version {found}, this program keeps version {VERSION}; "
                "serve with the program that wrote it, or move it away: a new state begins"
            )
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


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@dataclass
class Filing:
    """Files facts through one connection, inside the caller's transaction."""

    connection: sqlite3.Connection
    identity: Identity
    seq: int = field(default=0, init=False)

    def begin(self) -> None:
        """Begin a transaction that no other process's can overtake."""
        self.connection.execute("BEGIN IMMEDIATE")
        self.seq = self.connection.execute("SELECT seq FROM counter").fetchone()[0]

    def commit(self) -> None:
        """Keep all that was filed since `begin`."""
        self.connection.execute("UPDATE counter SET seq = ?", (self.seq,))
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Keep nothing of it."""
        if self.open:
            self.connection.execute("ROLLBACK")

    def file_all(self, facts: Sequence[Fact]) -> list[bool]:
        """File all of `facts` or, when one of them cannot be kept, none; which are new?"""
        with self._whole():
            return [self._file(fact) for fact in facts]

    def note(self, seen: Shown | Met) -> None:
        """File what a person was shown, or that they were shown anything; or nothing of it."""
        with self._whole():
            if isinstance(seen, Met):
                self.connection.executemany(
                    "INSERT OR IGNORE INTO met VALUES (?)", [(name,) for name in seen.names]
                )
            else:
                self._show(seen)

    @property
    def open(self) -> bool:
        """Is there still a transaction? Trouble of the file, like a full disk, may end it."""
        return self.connection.in_transaction

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What is filed in here is filed as a whole or not at all."""
        self.connection.execute("SAVEPOINT whole")
        try:
            yield
        except BaseException:
            if self.open:
                self.connection.execute("ROLLBACK TO whole")
            raise
        self.connection.execute("RELEASE whole")

    def _show(self, shown: Shown) -> None:
        items = msgspec.json.encode(shown.item_ids).decode()
        self._know(shown.name)
        self.connection.execute(
            "INSERT INTO shown VALUES (?, ?, ?, ?, ?)",
            (shown.name, shown.at_us, shown.placement, items, shown.decision_id),
        )

    def _file(self, fact: Fact) -> bool:
        match fact:
            case Event():
                return self._event(fact)
            case Link():
                self._link(fact)
            case Answer():
                self._answer(fact)
            case Consent():
                self._consent(fact)
            case ItemChange():
                self.seq += 1
                self.connection.execute(_CHANGE, (self.seq, *(getattr(fact, c) for c in CHANGE)))
            case Forget():
                self._forget(fact)
        return True

    def _event(self, event: Event) -> bool:
        person, both = self._owner(event)
        row = (self.seq + 1, person, *(getattr(event, column) for column in EVENT))
        if self.connection.execute(_EVENT, row).rowcount == 0:
            return False
        self.seq += 1
        if person[0] != "s":
            self._know(person)
        if both is not None and self.identity.links_from_events:
            self._link(both)
        return True

    def _owner(self, event: Event) -> tuple[str, Link | None]:
        """Under whom an event is filed, and the link that it makes."""
        customer = shared = None
        if event.visitor_id is not None:
            found = self.connection.execute(
                "SELECT customer, shared FROM names WHERE name = ?", (f"v:{event.visitor_id}",)
            ).fetchone()
            customer, shared = found or (None, 0)
        if event.user_id is None:
            if customer is not None:
                return f"u:{customer}", None
            alone = event.visitor_id is None
            return (f"s:{event.session_id}" if alone else f"v:{event.visitor_id}"), None
        person = f"u:{event.user_id}"
        if event.visitor_id is None or shared or customer == event.user_id:
            return person, None
        return person, Link(
            visitor_id=event.visitor_id, user_id=event.user_id, at_us=event.occurred_us
        )

    def _link(self, link: Link) -> None:
        told = (link.visitor_id, link.user_id, link.at_us)
        self.connection.execute(_LINK if link.linked else _UNLINK, told)
        visitor = f"v:{link.visitor_id}"
        self._know(visitor)
        self._know(f"u:{link.user_id}")
        customer = self._stand(link.visitor_id)
        if link.linked and customer == link.user_id:
            self.connection.execute(
                "UPDATE events SET person = ? WHERE person = ?", (f"u:{customer}", visitor)
            )

    def _stand(self, visitor_id: str) -> str | None:
        """Work out anew whose a visitor is now; who has once been shared stays so."""
        links = self.connection.execute(
            "SELECT user_id, linked_us FROM links WHERE visitor_id = ? AND "
            "(unlinked_us IS NULL OR linked_us > unlinked_us) ORDER BY linked_us",
            (visitor_id,),
        ).fetchall()
        ever = self.connection.execute(
            "SELECT count(*) FROM links WHERE visitor_id = ?", (visitor_id,)
        ).fetchone()[0]
        owner = links[-1][0] if links else None
        self.connection.execute(
            "UPDATE names SET shared = shared OR ?2, unlinked = ?3, "
            "customer = CASE WHEN shared OR ?2 THEN NULL ELSE ?4 END WHERE name = ?1",
            (f"v:{visitor_id}", ever > self.identity.max_customers, owner is None, owner),
        )
        now = self.connection.execute(
            "SELECT customer FROM names WHERE name = ?", (f"v:{visitor_id}",)
        )
        found: str | None = now.fetchone()[0]
        return found

    def _answer(self, answer: Answer) -> None:
        name = _name(answer)
        self._know(name)
        self.connection.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?)",
            (name, answer.question, answer.answer, answer.answered_us),
        )

    def _consent(self, consent: Consent) -> None:
        name = _name(consent)
        self._know(name)
        self.connection.execute(
            "UPDATE names SET personalise = ?2, said_us = ?3 "
            "WHERE name = ?1 AND coalesce(said_us, ?3) <= ?3",
            (name, consent.personalise, consent.at_us),
        )

    def _forget(self, wish: Forget) -> None:
        names = names_of(self.connection, wish.user_id, wish.visitor_id)
        for name in names:
            self.connection.execute("DELETE FROM events WHERE person = ?", (name,))
            self.connection.execute("DELETE FROM answers WHERE name = ?", (name,))
            self.connection.execute("DELETE FROM shown WHERE name = ?", (name,))
            self.connection.execute("DELETE FROM names WHERE name = ?", (name,))
            self.connection.execute("DELETE FROM met WHERE name = ?", (name,))
            column = "user_id" if name[0] == "u" else "visitor_id"
            self.connection.execute(f"DELETE FROM links WHERE {column} = ?", (name[2:],))
            self.connection.execute("REPLACE INTO forgotten VALUES (?, ?)", (name, wish.at_us))
            self._know(name)

    def _know(self, name: str) -> None:
        self.connection.execute(_KNOW, (name,))


def names_of(
    connection: sqlite3.Connection, user_id: str | None, visitor_id: str | None
) -> list[str]:
    """All names of one person now, the one that its events are filed under first.

    A visitor that is asked for together with a customer is one of its names, unless it is shared,
    was unlinked or is another customer's.
    """
    row = connection.execute(
        "SELECT customer, shared, unlinked FROM names WHERE name = ?", (f"v:{visitor_id}",)
    ).fetchone()
    linked, shared, unlinked = row or (None, 0, 0)
    customer = linked if user_id is None else user_id
    own = [] if visitor_id is None else [f"v:{visitor_id}"]
    if customer is None:
        return own
    if shared or unlinked or linked not in (None, customer):
        own = []
    others = connection.execute("SELECT name FROM names WHERE customer = ?", (customer,))
    return list(dict.fromkeys([f"u:{customer}", *own, *(row[0] for row in others)]))


def _name(said: Answer | Consent) -> str:
    return f"v:{said.visitor_id}" if said.user_id is None else f"u:{said.user_id}"
