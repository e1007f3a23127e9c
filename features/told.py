"""What the service was told, as a build reads it: the same from a file and from Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from features import contract
from features.config import Config, ConfigError
from features.home import Home
from features.stores import require_store

ROWS = 100_000  # rows of a batch
Rows = Iterator[Sequence[Sequence[Any]]]  # batches of rows
COLUMNS = {  # table of the contract -> the columns that the state gives it
    "events": [c for c in contract.column_names("events") if c != "sequence"],
    "identities": ["visitor_id", "user_id", "linked_at", "unlinked_at"],
    "preferences": ["user_id", "visitor_id", "question", "answer", "answered_at"],
    "customers": ["user_id", "consent_personalise"],
}


class Told(Protocol):
    """The records of one state. Times are int64 microseconds since 1970 UTC."""

    def rows(self, table: str) -> Rows:
        """The rows of a table of COLUMNS; events and answers in the order in which they were told.

        What somebody muted is no preference, and left out.
        """

    def met(self) -> Sequence[tuple[str, str]]:
        """(marked name, salt) of everybody who got a feed."""

    def forgotten(self) -> Sequence[tuple[str, int]]:
        """(pseudonym, moment) of everybody who was forgotten, in the order of pseudonyms."""

    def close(self) -> None:
        """Let go."""


@contextmanager
def told(config: Config, home: Home) -> Iterator[Told | None]:
    """The records of the state that the service of this home uses; None: there are none yet.

    Raises ConfigError for one that cannot be read now, for it says who was forgotten, and for
    another one than the service uses.
    """
    found = _open(config, home)
    try:
        yield found
    finally:
        if found is not None:
            found.close()


def _open(config: Config, home: Home) -> Told | None:
    url = config.service.state_url
    require_store(home, url)
    if url:
        try:
            from features.told_in_redis import InRedis
        except ImportError as error:
            raise ConfigError(
                f"service.state: {error}; run pip install 'purposeful-feeds[redis]'"
            ) from None
        return InRedis(url, home.salt.read_bytes() if home.salt.exists() else None)
    if not home.state.exists():
        return None
    from features.told_in_sqlite import InSqlite

    return InSqlite(home.state)
