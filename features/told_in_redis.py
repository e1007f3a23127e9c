"""The records of a state that lies in Redis; docs/state.md has the keys.

It is read page by page, so it is not all of one moment, as a file is: what is told meanwhile may be
in one table and not in another yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import msgspec
from redis import Redis, RedisError

from features.config import ConfigError
from features.options import WISHES
from features.redis_place import parsed, stamp, why_foreign
from features.told import COLUMNS, ROWS, Rows

SECONDS = 10.0  # that one answer may take
_PAGE = 1000  # facts, or names, of one question
_NUMBER = 15  # digits before an answer: in which order it came
_fact = msgspec.json.Decoder(dict[str, Any])
_answer = msgspec.json.Decoder(tuple[str, str, int])
Row = tuple[Any, ...]


@contextmanager
def _there() -> Iterator[None]:
    """Whoever is forgotten must be known, so there is no build without the state."""
    try:
        yield
    except RedisError as error:
        raise ConfigError(
            f"the state in Redis cannot be read: {error}; build when it is back"
        ) from None


class InRedis:
    """See `told.Told`. Raises ConfigError for a Redis that cannot be read, and for another home's.

    key: of the pseudonyms; None: this home has none, so it cannot have told anything
    """

    def __init__(self, url: str, key: bytes | None) -> None:
        place, self._prefix = parsed(url)
        self._redis = Redis.from_url(place, socket_timeout=SECONDS, decode_responses=True)
        try:
            with _there():
                found: Any = self._get("stamp")
            if found is not None and (key is None or found != stamp(key)):
                raise ConfigError(why_foreign(found))
        except BaseException:
            self.close()
            raise

    def rows(self, table: str) -> Rows:
        """See Told."""
        found: Iterator[Row] = iter(getattr(self, f"_{table}")())
        with _there():
            while batch := list(islice(found, ROWS)):
                yield batch

    def met(self) -> Sequence[tuple[str, str]]:
        """See Told."""
        found = self._redis.hscan_iter(f"{self._prefix}met", count=_PAGE)
        with _there():
            return [(name, own) for name, salts in found for own in salts.split()]

    def forgotten(self) -> Sequence[tuple[str, int]]:
        """See Told."""
        found = self._redis.hscan_iter(f"{self._prefix}forgotten", count=_PAGE)
        with _there():
            return sorted({hidden: int(at_us) for hidden, at_us in found}.items())

    def close(self) -> None:
        """See Told."""
        self._redis.close()

    def _events(self) -> Iterator[Row]:
        """In the order of commits; changes of items lie between them."""
        columns = ["occurred_us", *COLUMNS["events"][1:]]
        last = int(self._get("seq") or 0)
        for first in range(1, last + 1, _PAGE):
            places = [f"{seq:015d}" for seq in range(first, min(first + _PAGE, last + 1))]
            facts: Any = self._redis.hmget(f"{self._prefix}facts", places)
            for told in map(_fact.decode, filter(None, facts)):
                if "event_type" in told:
                    yield tuple(told.get(column) for column in columns)

    def _identities(self) -> Iterator[Row]:
        visitors = sorted(name[2:] for name in self._names() if name[0] == "v")
        asked = [("hgetall", f"{self._prefix}links:{visitor}") for visitor in visitors]
        for visitor, links in zip(visitors, self._each(asked), strict=True):
            for user, moments in sorted(links.items()):
                linked, unlinked = moments.split()
                yield visitor, user, int(linked), None if unlinked == "-" else int(unlinked)

    def _preferences(self) -> Iterator[Row]:
        names, found = self._names(), []
        asked = [("lrange", f"{self._prefix}answers:{name}", 0, -1) for name in names]
        for name, answers in zip(names, self._each(asked), strict=True):
            ids = (name[2:], None) if name[0] == "u" else (None, name[2:])
            found += [(one[:_NUMBER], ids, _answer.decode(one[_NUMBER:])) for one in answers]
        for _, ids, told in sorted(found, key=lambda one: one[0]):
            if told[0] not in WISHES:
                yield *ids, *told

    def _customers(self) -> Iterator[Row]:
        """The newest word of all names counts, at one moment the refusal."""
        names, newest = self._names(), dict[str, tuple[int, int]]()
        asked = [("hmget", f"{self._prefix}name:{name}", "customer", "personalise", "said_us")
                 for name in names]  # fmt: skip
        for name, (customer, word, said) in zip(names, self._each(asked), strict=True):
            who = customer or (name[2:] if name[0] == "u" else None)
            if who is not None and word is not None:
                newest[who] = max(newest.get(who, (0, 0)), (2 * int(said) - int(word), int(word)))
        for who, (_, word) in sorted(newest.items()):
            yield who, word

    def _get(self, key: str) -> Any:
        return self._redis.get(self._prefix + key)

    def _names(self) -> list[str]:
        return sorted(set(self._redis.sscan_iter(f"{self._prefix}names", count=_PAGE)))

    def _each(self, asked: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """The answers to many questions, a page of them at a time."""
        questions = iter(asked)
        while page := list(islice(questions, _PAGE)):
            pipeline = self._redis.pipeline(transaction=False)
            for command, *rest in page:
                getattr(pipeline, command)(*rest)
            yield from pipeline.execute()
