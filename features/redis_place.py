"""Where the state lies when it lies in Redis, and whose it is; the library is not needed here."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

from features.decided import pseudonym

VERSION = 1  # of what the keys mean
PREFIX = "feeds"  # of all keys, unless the address ends in `?prefix=…`
OTHER_VERSION = (
    "this Redis holds a state of version {found}, this program keeps {version}; use the program "
    "that wrote it, or name another: redis://…?prefix=other"
)
OTHER_HOME = (
    "this Redis holds the state of a home with another `salt`; copy that home's file `salt` into "
    "this one, or name a store of its own: redis://…?prefix=other"
)


def parsed(url: str) -> tuple[str, str]:
    """The address as the library wants it, and what all keys begin with."""
    parts = urlsplit(url)
    told = dict(parse_qsl(parts.query))
    prefix = told.pop("prefix", PREFIX)
    return parts._replace(query=urlencode(told)).geturl(), f"{prefix}:"


def without_secrets(url: str) -> str:
    """Which store this is, in the same words however the address is written; says no password."""
    parts, prefix = urlsplit(url), parsed(url)[1]
    told = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        return f"unix://{parts.path}?db={told.get('db', '0')}, keys {prefix}*"
    number = told.get("db") or parts.path.strip("/") or "0"
    return f"redis://{parts.hostname or 'localhost'}:{parts.port or 6379}/{number}, keys {prefix}*"


def stamp(key: bytes) -> str:
    """What tells the stores of two homes apart, and of two versions; says nothing of the key."""
    return f"{VERSION} {pseudonym(key, 'stamp')}"


def why_foreign(found: str) -> str:
    """Why a store with this stamp must not be used, and what to do."""
    version = found.split()[0]
    if version != str(VERSION):
        return OTHER_VERSION.format(found=version, version=VERSION)
    return OTHER_HOME
