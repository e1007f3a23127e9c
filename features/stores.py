"""Which store the service of a home uses: it says so there, for commands may not use another.

A command that looked into another store would see nobody who was forgotten, and one who is
forgotten there would stay known to the service.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress

from features.config import ConfigError
from features.home import Home, write_json
from features.options import STATE
from features.redis_place import without_secrets

_log = logging.getLogger("feeds.state")


def store_of(home: Home, url: str | None) -> str:
    """In words, without a password. url: of a Redis; None: the home's own file."""
    return without_secrets(url) if url else home.state.name


def keep_store(home: Home, url: str | None) -> None:
    """Let the home say which store its service uses; the service does not stop if it cannot."""
    mine, before = store_of(home, url), None
    with suppress(ConfigError):  # it is written anew
        before = _kept(home)
    if mine == before:
        return
    if before is not None:
        _log.warning("the state was in %s and is in %s now", before, mine)
    try:
        write_json(home.store, {"state": mine})
    except OSError as error:
        _log.error("commands cannot see that the state is in %s: %s", mine, error)


def require_store(home: Home, url: str | None) -> None:
    """Raise ConfigError if the service of this home uses another store than this one."""
    mine, kept = store_of(home, url), _kept(home)
    if kept not in (None, mine):
        raise ConfigError(
            f"the service of this home keeps its state in {kept}, this command would use {mine}; "
            f"set {STATE} (or `service.state`) as the service has it. If the state has moved, "
            f"start the service first, or remove {home.store}"
        )


def _kept(home: Home) -> str | None:
    try:
        return str(json.loads(home.store.read_text(encoding="utf-8"))["state"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{home.store} cannot be read; start the service again") from None
