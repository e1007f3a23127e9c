"""How each fact is filed in the tables of the SQLite state."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from features.decided import pseudonym
from features.options import Identity
from serving import sqlite_mails as mails
from serving.sqlite_tables import BUSY_SECONDS, CHANGE, EVENT
from serving.state import Answer, Consent, Event, Fact, Forget, ItemChange, Link, Met, Shown

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
_THERE = "SELECT 1 FROM {} WHERE name = ? AND at_us = ? AND placement = ? AND decision_id = ?"
_CHANGE = f"INSERT INTO item_changes (seq, {', '.join(CHANGE)}) VALUES (?{', ?' * len(CHANGE)})"


@dataclass
class Filing:
    """Files facts through one connection, inside the caller's transaction."""

    connection: sqlite3.Connection
    identity: Identity
    key: bytes = field(repr=False)  # of the pseudonyms that the forgotten are remembered by
    seq: int = field(default=0, init=False)
    leftovers: bool = field(default=False, init=False)  # the write-ahead log may hold what went

    def __post_init__(self) -> None:
        """Look after a file of before."""
        mails.call_all(self.connection, self.key)

    def begin(self) -> None:
        """Begin a transaction that no other process's can overtake."""
        self.connection.execute("BEGIN IMMEDIATE")
        self.seq = self.connection.execute("SELECT seq FROM counter").fetchone()[0]

    def commit(self) -> None:
        """Keep all that was filed since `begin`."""
        self.connection.execute("UPDATE counter SET seq = ?", (self.seq,))
        self.connection.execute("COMMIT")

    def clear_log(self) -> None:
        """Empty the write-ahead log, which still holds what was forgotten, unless it is in use.

        It does not wait for a reader: all that write would wait with it.
        """
        self.connection.execute("PRAGMA busy_timeout = 0")
        try:
            busy = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            self.leftovers = bool(busy)
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")

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
        self.keep([seen])

    def keep(self, seen: Sequence[Shown | Met]) -> None:
        """The same of many; all of it or nothing."""
        with self._whole():
            for one in seen:
                if isinstance(one, Met):
                    self._meet(one.salts)
                else:
                    self._show(one)

    def once(self, name: str, mailing: str, answer: bytes, seconds: float) -> bytes:
        """See State.once."""
        with self._whole():
            before = mails.said_before(self.connection, name, mailing, seconds)
            if before is None and not self._stays_away(name):
                mails.answer(self.connection, (name, mailing), answer, seconds)
        return answer if before is None else before

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

    def _meet(self, salts: Mapping[str, str]) -> None:
        """Keep salts, but of nobody who was forgotten and has told nothing since."""
        kept = [(name, own) for name, own in salts.items() if not self._stays_away(name)]
        self.connection.executemany("INSERT OR IGNORE INTO met VALUES (?, ?)", kept)
        for name, own in kept:
            mails.call(self.connection, self.key, name, own)

    def _stays_away(self, name: str) -> bool:
        if self._nobody_is_forgotten() or forgotten_us(self.connection, self.key, [name]) is None:
            return False
        known = self.connection.execute("SELECT 1 FROM names WHERE name = ?", (name,))
        return known.fetchone() is None

    def _nobody_is_forgotten(self) -> bool:
        return self.connection.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone() is None

    def _show(self, shown: Shown) -> None:
        if self._stays_away(shown.name):
            return
        table = "mailed" if shown.mail else "shown"
        this = (shown.name, shown.at_us, shown.placement)
        before = self.connection.execute(_THERE.format(table), (*this, shown.decision_id))
        if before.fetchone() is not None:
            return
        self._know(shown.name)
        items = msgspec.json.encode(shown.item_ids).decode()
        row = (*this, items, shown.decision_id)
        self.connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", row)

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
        if self._is_past(person, event):
            return False
        row = (self.seq + 1, person, *(getattr(event, column) for column in EVENT))
        if self.connection.execute(_EVENT, row).rowcount == 0:
            return False
        self.seq += 1
        if person[0] != "s":
            self._know(person)
        if both is not None and self.identity.links_from_events:
            self._link(both)
        return True

    def _is_past(self, person: str, event: Event) -> bool:
        """Did this happen before its person, or the device, was forgotten?"""
        if self._nobody_is_forgotten():
            return False
        device = person if event.visitor_id is None else f"v:{event.visitor_id}"
        gone = forgotten_us(self.connection, self.key, [person, device])
        return gone is not None and event.occurred_us <= gone

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
            self.connection.execute("DELETE FROM mailed WHERE name = ?", (name,))
            self.connection.execute("DELETE FROM names WHERE name = ?", (name,))
            self.connection.execute("DELETE FROM met WHERE name = ?", (name,))
            self.connection.execute("DELETE FROM whose WHERE name = ?", (name,))
            self.connection.execute("DELETE FROM answered WHERE name = ?", (name,))
            column = "user_id" if name[0] == "u" else "visitor_id"
            self.connection.execute(f"DELETE FROM links WHERE {column} = ?", (name[2:],))
            self.connection.execute(
                "INSERT INTO forgotten VALUES (?, ?) ON CONFLICT DO UPDATE "
                "SET at_us = max(at_us, excluded.at_us)",
                (pseudonym(self.key, name), wish.at_us),
            )
        self.leftovers = True

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


def forgotten_us(connection: sqlite3.Connection, key: bytes, names: Sequence[str]) -> int | None:
    """The newest moment at which any of the marked names was forgotten; None: none was."""
    marks = ", ".join("?" * len(names))
    found: int | None = connection.execute(
        f"SELECT max(at_us) FROM forgotten WHERE pseudonym IN ({marks})",
        [pseudonym(key, name) for name in names],
    ).fetchone()[0]
    return found


def _name(said: Answer | Consent) -> str:
    return f"v:{said.visitor_id}" if said.user_id is None else f"u:{said.user_id}"
