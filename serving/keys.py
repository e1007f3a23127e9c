"""Who may ask what: keys by scope, kept as digests, followed by every worker without a restart.

A token is 32 random bytes, so its digest needs no salt and no slow hash: nobody can guess it back.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from pathlib import Path
from typing import Literal, get_args

import msgspec

from features.home import Home, written_beside

Scope = Literal["read", "write", "admin"]
NEEDED: dict[str, Scope] = {  # endpoint -> the scope that it asks for; `admin` may do everything
    "feed": "read", "sort": "read", "similar": "read", "questions": "read", "profile": "read",
    "validate": "read", "block": "read",
    "events": "write", "identify": "write", "unlink": "write", "preferences": "write",
    "catalogue": "admin", "forget": "admin",
}  # fmt: skip
OF_A_PAGE = frozenset({"feed", "sort", "similar", "questions", "events", "preferences"})
PREFIX = "fk_"
_TOKEN_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# stamps of no file: nobody has looked yet, the last look failed, there is none
_UNREAD: tuple[int, ...] = (-1,)
_FAILED: tuple[int, ...] = (-2,)
_NO_FILE: tuple[int, ...] = ()
_log = logging.getLogger("feeds.keys")


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key, without its token.

    digest:  SHA-256 of the token, in hexadecimal
    page:    it lies open in the pages of the shop, so it may do little: see `OF_A_PAGE`
    expires: None: never
    """

    name: str
    digest: str
    scopes: list[Scope]
    page: bool = False
    made: datetime
    expires: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse what no key of ours can be."""
        bytes.fromhex(self.digest)
        if self.made.tzinfo is None or (self.expires and self.expires.tzinfo is None):
            raise ValueError(f"the times of the key {self.name!r} lack a time zone")

    def may(self, endpoint: str) -> bool:
        """May this key ask this endpoint?"""
        if self.page and endpoint not in OF_A_PAGE:
            return False
        return NEEDED[endpoint] in self.scopes or "admin" in self.scopes

    def lives(self, now: datetime) -> bool:
        """Is it still valid?"""
        return self.expires is None or now < self.expires


class _File(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[Key] = []


def read_keys(path: Path) -> list[Key]:
    """The keys of the file; none where there is no file.

    Raises ValueError for a file that cannot be understood, OSError for one that cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).keys
    except FileNotFoundError:
        return []
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: {error}; mend it, or move it away and make new keys with `feeds keys add`"
        ) from None


def add_key(
    home: Home, name: str, scopes: list[Scope], *, page: bool = False, days: int | None = None
) -> str:
    """Make a key and give its token, which is kept nowhere: whoever loses it makes another.

    Raises ValueError for a name that is taken or cannot be one, and for scopes that no key has.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a key; use letters, digits, . _ - (at most 64)")
    if unknown := [one for one in scopes if one not in get_args(Scope)]:
        raise ValueError(f"there is no scope {unknown[0]!r}; choose from {', '.join(_all())}")
    if not scopes:
        raise ValueError(f"a key needs a scope; choose from {', '.join(_all())}")
    if page and "admin" in scopes:
        raise ValueError("the key of a page is open to everybody: it cannot have the scope admin")
    token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    made = datetime.now(UTC).replace(microsecond=0)
    key = Key(
        name=name, digest=_digest(token).hex(), scopes=sorted(set(scopes), key=_all().index),
        page=page, made=made, expires=None if days is None else made + timedelta(days=days),
    )  # fmt: skip
    with _changed(home) as keys:
        if name in {one.name for one in keys}:
            raise ValueError(f"there is a key {name!r} already; revoke it, or choose another name")
        keys.append(key)
    return token


def revoke_key(home: Home, name: str) -> int:
    """Take a key out of use; workers follow within a second or two. Returns how many are left.

    Raises ValueError where there is none of this name.
    """
    with _changed(home) as keys:
        left = [one for one in keys if one.name != name]
        if len(left) == len(keys):
            known = ", ".join(one.name for one in keys) or "none"
            raise ValueError(f"there is no key {name!r}; there are: {known}")
        keys[:] = left
    return len(left)


class Keyring:
    """The keys that hold now, in one worker; `refresh` follows the file.

    open:      there never was a file, and `no_keys_is_open`: whoever reaches the service may ask.
               A file without a key in it is not that, nor one that went away: then nobody may
               ask; nor one that cannot be read: then the keys stay that held, at the start none
    only_here: if it is open, then to programs of this machine alone
    """

    def __init__(
        self, path: Path, *, no_keys_is_open: bool = False, only_here: bool = False
    ) -> None:
        self.path, self.no_keys_is_open, self.only_here = path, no_keys_is_open, only_here
        self.open = False
        self._keys: list[tuple[bytes, Key]] = []
        self._stamp, self._trouble = _UNREAD, ""
        self.refresh()

    def refresh(self) -> None:
        """Look at the file, and read it where it has changed; costs a few microseconds else."""
        try:
            stamp = _stamp(self.path)
            if stamp == self._stamp:
                return
            keys = read_keys(self.path)
        except (ValueError, OSError) as error:  # tried again every time, and told once
            if str(error) != self._trouble:
                _log.error("the keys stay as they were: %s", error)
            self._stamp, self._trouble = _FAILED, str(error)
            return
        self._keys = [(bytes.fromhex(one.digest), one) for one in keys]
        self.open = self.no_keys_is_open and stamp == _NO_FILE and self._stamp == _UNREAD
        self._stamp, self._trouble = stamp, ""
        if self.open:
            who = "on this machine" if self.only_here else "who reaches this port"
            _log.warning("no keys: anyone %s may ask; see `feeds keys add`", who)
        elif not keys:
            _log.error("no keys, so nobody may ask; make one with `feeds keys add`")

    def find(self, token: bytes, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> (
        Key | None
    ):  # fmt: skip
        """The valid key of this token; all are compared, in constant time, whichever it is."""
        asked, found = hashlib.sha256(token).digest(), None
        for digest, key in self._keys:
            if compare_digest(digest, asked):
                found = key
        if found is not None and found.expires is not None and not found.lives(now()):
            return None
        return found


@contextmanager
def _changed(home: Home) -> Iterator[list[Key]]:
    """The keys, to be changed in place; written when the block ends, one writer at a time."""
    path = home.keys
    with home.locked("keys.lock"):
        keys = read_keys(path)
        yield keys
        with written_beside(path) as beside:
            beside.touch(mode=0o600)  # before anything is in it
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(_File(keys)), indent=1))


def _all() -> tuple[str, ...]:
    return get_args(Scope)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _stamp(path: Path) -> tuple[int, ...]:
    """Another one whenever the file is another; _NO_FILE where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return _NO_FILE
    return found.st_ctime_ns, found.st_size, found.st_ino
