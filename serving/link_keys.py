"""The keys that links are signed with: two at once, so that they can change between mailings."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from features.home import Home, written_beside
from serving.links import LinkKey

_SECRET_BYTES = 32
_NUMBERS = 256
_VALID = 2  # the newest signs; the one before it still reads
_log = logging.getLogger("feeds.links")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[LinkKey]  # the newest first


def link_keys(home: Home) -> list[LinkKey]:
    """The valid keys, the newest first; the first who asks makes one.

    Raises ValueError for a file that cannot be understood.
    """
    found = _read(home.link_keys)
    if not found:
        with home.locked("link_keys.lock"):
            found = _read(home.link_keys) or _written(home, [_fresh(0)])
    return found


def rotate(home: Home) -> list[LinkKey]:
    """A new key signs from now on; links of the one before still work, older ones do not."""
    with home.locked("link_keys.lock"):
        before = _read(home.link_keys)
        number = (before[0].number + 1) % _NUMBERS if before else 0
        return _written(home, [_fresh(number), *before][:_VALID])


class LinkKeys:
    """The keys in one worker; a link of a key that it has not met makes it look at the file."""

    def __init__(self, home: Home) -> None:
        self._home, self._keys = home, link_keys(home)
        self._stamp = self._stamped()

    @property
    def newest(self) -> LinkKey:
        """What to sign with, also after a rotation."""
        return self.valid()[0]

    def valid(self) -> Sequence[LinkKey]:
        """What to read with; looks whether the file is another, which costs microseconds.

        Where it is gone or cannot be read the keys stay: links that were sent should go on working.
        """
        stamp = self._stamped()
        if stamp is not None and stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys = link_keys(self._home)
            except (ValueError, OSError) as error:
                _log.error("the keys of links stay as they were: %s", error)
        return self._keys

    def _stamped(self) -> tuple[int, int] | None:
        try:
            found = self._home.link_keys.stat()
        except FileNotFoundError:
            return None
        return found.st_ctime_ns, found.st_ino


def _fresh(number: int) -> LinkKey:
    return LinkKey(number, secrets.token_bytes(_SECRET_BYTES))


def _read(path: Path) -> list[LinkKey]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).keys
    except FileNotFoundError:
        return []
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: {error}; put the file back from a backup: without it links that were sent "
            "do not work"
        ) from None


def _written(home: Home, keys: list[LinkKey]) -> list[LinkKey]:
    path = home.link_keys
    with written_beside(path) as beside:
        beside.touch(mode=0o600)  # before anything is in it
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(_File(keys)), indent=1))
    return keys
