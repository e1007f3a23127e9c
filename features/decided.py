"""A decision as it is logged: who got what and why, under a pseudonym; imports little.

A pseudonym is a keyed BLAKE2b (RFC 7693) of the marked name. Its key lies in a file of its own:
whoever has the decisions alone cannot tell whose they are, and without the key nobody can. In
decisions it has a salt as well, of each person's own, which the state keeps: when a person is
forgotten the salt goes, and then not even the owner of the key can say which decisions were theirs.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

OPEN = ".open"  # the end of the name of a file that is still being written
_SALT_BYTES = 32
Line = TypeVar("Line", bound=msgspec.Struct)
_OWN_BYTES = hashlib.blake2b.SALT_SIZE


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One decision; of its items parallel lists, in the order in which they were shown.

    person:       pseudonym, "" for somebody without any id        at_us: since 1970 UTC
    arms:         experiment -> arm        latency_us: from the request to the answer
    positions:    from 1
    propensities: chance with which the item stood there, None where that was not drawn
    marks:        per item what the rules did, such as "pinned"
    mailing, message: of a block of a mail: the mailing's name, and the key message it came with
    """

    decision_id: str
    at_us: int
    person: str
    placement: str
    channel: str
    decision: str
    reason: str
    rung: str
    arms: dict[str, str] = {}
    model_version: str
    rules_version: str
    latency_us: int
    item_ids: list[str]
    rungs: list[str]
    rankers: list[str]
    positions: list[int]
    propensities: list[float | None] = []
    marks: list[list[str]] = []
    mailing: str = ""
    message: str = ""


class Torn(msgspec.Struct, frozen=True):
    """A line that is no decision: the writer died, or the disk was full."""

    file: Path
    line: int  # from 1


def salt(file: Path) -> bytes:
    """The key of the pseudonyms; the first who asks makes it."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
        handle.write(secrets.token_bytes(_SALT_BYTES))
    try:
        os.link(beside, file)  # not a rename: of two who make one, the first stays
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    return file.read_bytes()


def own_salt() -> str:
    """A salt for somebody who is met for the first time: 32 characters."""
    return secrets.token_hex(_OWN_BYTES)


def pseudonym(key: bytes, name: str, own: str | None = None) -> str:
    """What a marked name (`u:…`, `v:…`, `s:…`) is called; 32 characters.

    own: the person's own salt, for the decisions; None: as the forgotten are remembered
    """
    salted = b"" if own is None else bytes.fromhex(own)
    return hashlib.blake2b(name.encode(), key=key, salt=salted, digest_size=16).hexdigest()


def decision_files(directory: Path) -> list[Path]:
    """All files of decisions, the oldest first; those that end in OPEN may still grow."""
    found = [*directory.glob("*.jsonl"), *directory.glob(f"*.jsonl{OPEN}")]
    return sorted(found, key=lambda file: file.name)


def read_decisions(file: Path) -> Iterator[Decided | Torn]:
    """The decisions of one file in their order; a line that cannot be read is said to be torn."""
    return read_lines(file, Decided)


def read_lines(file: Path, kind: type[Line]) -> Iterator[Line | Torn]:
    """The same, of each line only what `kind` has: who needs little reads faster.

    A file that has just been finished is read under its last name.
    """
    decoder = msgspec.json.Decoder(kind)
    with _opened(file) as lines:
        for place, line in enumerate(lines, start=1):
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError:
                yield Torn(file, place)


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except FileNotFoundError:
        if file.suffix != OPEN:
            raise
        return file.with_suffix("").open("rb")
