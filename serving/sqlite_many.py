"""What is remembered of many customers at once: the rules of `sqlite_reads.recall`, in bulk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from features.decided import pseudonym
from serving.sqlite_reads import unavailable
from serving.state import MOST_EVENTS, MOST_SHOWN, Recalled, newest_word

_CHUNK = 500  # customers of one question: asking costs little then, and the answers stay small
_MANY = "(SELECT value FROM json_each(?1))"
_SALTS = f"SELECT name, min(salt) FROM met WHERE name IN {_MANY} GROUP BY name"
_GONE = f"SELECT pseudonym, at_us FROM forgotten WHERE pseudonym IN {_MANY}"
_OWN = f"SELECT name, personalise, said_us FROM names WHERE name IN {_MANY}"
_DEVICES = (
    "SELECT customer, name, personalise, said_us FROM names "
    f"WHERE customer IN {_MANY} ORDER BY name"
)
_ANSWERS = (
    f"SELECT name, question, answer, answered_us FROM answers WHERE name IN {_MANY} "
    "ORDER BY name, rowid"
)


def _newest(table: str, whose: str, moment: str, columns: str, most: int) -> str:
    """The newest rows of each name, oldest first: `most`, and others of the first one's moment.

    The index tells the moment from which on they are, so that older ones are not read.
    """
    return f"""
SELECT {whose}, {columns} FROM json_each(?1) AS asked CROSS JOIN {table} ON {whose} = asked.value
AND {moment} >= coalesce((SELECT {moment} FROM {table} WHERE {whose} = asked.value
                          ORDER BY {moment} DESC LIMIT 1 OFFSET {most - 1}), -9223372036854775808)
ORDER BY asked.key, {moment}, {table}.rowid"""


_PAST = _newest("events", "person", "occurred_us",
                "item_id, event_type, occurred_us, session_id", MOST_EVENTS)  # fmt: skip
_SHOWN, _MAILED = (
    _newest(table, "name", "at_us", "at_us, placement, item_ids", MOST_SHOWN)
    for table in ("shown", "mailed")
)
_list = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(list[str])
_Rows = dict[str, list[Any]]  # what was found, by the first column: a name or a user_id


def recall_all(
    connection: sqlite3.Connection, key: bytes, user_ids: Sequence[str]
) -> list[Recalled]:
    """See State.recall_all; all of it is of one moment."""
    told: list[Recalled] = []
    try:
        connection.execute("BEGIN")
        many = _Many(connection, key)
        for first in range(0, len(user_ids), _CHUNK):
            told += many.recall(user_ids[first : first + _CHUNK])
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise unavailable(error) from error
    return told


class _Many:
    """Asks one connection, within one transaction."""

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        self._connection, self._key = connection, key
        went = connection.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone()
        self._somebody_went = went is not None

    def recall(self, user_ids: Sequence[str]) -> list[Recalled]:
        """One chunk of them."""
        marked = [f"u:{user_id}" for user_id in user_ids]
        salts = dict(self._asked(_SALTS, marked))
        own, gone = self._rows(_OWN, marked), self._gone(marked)
        known = [name for name in dict.fromkeys(marked) if name in own or name in gone]
        found = self._known(known, own, gone, salts) if known else {}
        return [
            found.get(name) or Recalled(customer=name[2:], salt=salts.get(name)) for name in marked
        ]

    def _known(
        self, marked: Sequence[str], own: _Rows, gone: dict[str, int], salts: dict[str, str]
    ) -> dict[str, Recalled]:
        """Those of whom something is known."""
        linked = self._rows(_DEVICES, [name[2:] for name in marked])
        devices = [device for some in linked.values() for device, *_ in some]
        names = [*marked, *devices]
        gone = {**gone, **self._gone(devices)}
        past = self._rows(_PAST, marked)
        answers = self._rows(_ANSWERS, names)
        shown, mailed = (self._rows(query, names, _feed) for query in (_SHOWN, _MAILED))
        told = {}
        for name in marked:
            its = linked.get(name[2:], [])
            all_its = [name, *(device for device, *_ in its)]
            words = [*own.get(name, ()), *((word, said) for _, word, said in its)]
            moments = [gone[one] for one in all_its if one in gone]
            gone_us = max(moments) if moments else None
            told[name] = Recalled(
                customer=name[2:],
                visitors=[device[2:] for device, *_ in its],
                events=past.get(name, [])[-MOST_EVENTS:],
                answers=_merged(answers, all_its, 2),
                consent=newest_word(words, gone_us),
                shown=_merged(shown, all_its, 0)[-MOST_SHOWN:],
                mailed=_merged(mailed, all_its, 0)[-MOST_SHOWN:],
                forgotten_us=gone_us,
                salt=salts.get(name),
            )  # fmt: skip
        return told

    def _gone(self, names: Sequence[str]) -> dict[str, int]:
        """When those who were forgotten were."""
        if not (self._somebody_went and names):
            return {}
        hidden = {pseudonym(self._key, name): name for name in names}
        return {hidden[one]: at for one, at in self._asked(_GONE, list(hidden))}

    def _rows(
        self, query: str, many: Sequence[str], made: Callable[[Any], Any] = itemgetter(slice(1, 9))
    ) -> _Rows:
        found: _Rows = {}
        for row in self._asked(query, many):
            found.setdefault(row[0], []).append(made(row))
        return found

    def _asked(self, query: str, many: Sequence[str]) -> Iterator[Any]:
        """Row by row: what is dropped at once is nothing for the garbage collector to look at."""
        return self._connection.execute(query, (_list(many).decode(),))


def _feed(row: tuple[str, int, str, str]) -> tuple[int, str, list[str]]:
    _, at_us, placement, item_ids = row
    return at_us, placement, _items.decode(item_ids)


def _merged(rows: _Rows, names: Sequence[str], moment: int) -> list[Any]:
    """What is filed under several names in the order of time, of one moment as it came."""
    there = (rows[name] for name in sorted(names) if name in rows)
    return sorted(chain.from_iterable(there), key=itemgetter(moment))
