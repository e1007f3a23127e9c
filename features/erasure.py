"""Who is forgotten: the list of a home, and what was made before it; docs/erasure.md.

The list holds pseudonyms and moments, never names: whoever has a name and the home's `salt` can say
whether it is on the list. It is what the state remembers and what the proof records say, together:
either may be lost without anybody coming back.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from features import served
from features.config import Config, ConfigError
from features.decided import pseudonym
from features.home import Home, write_json
from features.honoured import covers, honoured

LEFT_SECONDS = 86_400  # scratch files that nobody has written for so long were left by a kill
_KEPT = ("schema_version", "digest", "mapping", "profile")  # of a feature set that had to go


class Removed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version that contained the person, and when it went (ISO 8601 in UTC)."""

    version: str
    at: str


class Closing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An earlier forgetting of the same names, and the version that was free of them."""

    forgotten_at: str
    closed_at: str
    free_version: str | None


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The proof record of one forgetting; times are ISO 8601 in UTC.

    pseudonyms:    of the names that were forgotten together
    forgotten_at:  by the shop's clock: what was before it goes; `forgotten_us` is the same moment
    recorded_at:   by the wall's clock
    by:            the command, or the service's endpoint
    erased:        what went at once
    versions:      that contained the person when this was recorded; `feature_sets` that may have
    removed:       versions that have gone since
    closed_at:     when nothing that can be made again contained the person any more
    free_version:  that served, or was the newest, then
    """

    pseudonyms: list[str]
    forgotten_at: str
    forgotten_us: int
    recorded_at: str
    by: str
    erased: list[str]
    versions: list[str]
    feature_sets: list[str]
    removed: list[Removed] = []
    closed_at: str | None = None
    free_version: str | None = None
    earlier: list[Closing] = []


@dataclass(frozen=True)
class Forgotten:
    """The forgotten of a home.

    until: pseudonym -> the moment (microseconds since 1970 UTC) up to which all of it is left out
    key:   of the pseudonyms, the home's `salt`
    """

    until: Mapping[str, int] = field(default_factory=dict)
    key: bytes = field(default=b"", repr=False)

    def hidden(self, name: str) -> str:
        """The pseudonym of a marked name, as this home knows it."""
        return pseudonym(self.key, name)

    def among(self, names: Iterable[str]) -> dict[str, int]:
        """Those of the marked `names` that are forgotten, and their moments."""
        hidden = ((name, self.hidden(name)) for name in names)
        return {name: self.until[one] for name, one in hidden if one in self.until}

    def honoured_by(self, made: Path) -> bool:
        """Was the feature set or bundle in this directory made without all of them?"""
        return covers(honoured(made), self.until)

    def digest(self) -> list[tuple[str, int]]:
        """What the digest of a feature set takes in."""
        return sorted(self.until.items())


def forgotten(config: Config, home: Home) -> Forgotten:
    """Everybody who is forgotten here.

    Raises ConfigError where the list cannot be read: nobody may come back by that.
    """
    until = served.forgotten(config, home)
    for proof in proofs(home):
        for one in proof.pseudonyms:
            until[one] = max(until.get(one, -1), proof.forgotten_us)
    if not until:
        return Forgotten()
    if not home.salt.exists():
        raise ConfigError(
            f"{home.salt} is gone, and without it nobody can tell who is forgotten; "
            "bring it back from the backup"
        )
    return Forgotten(until, home.salt.read_bytes())


def proofs(home: Home) -> list[Proof]:
    """All proof records, the oldest first. Raises ConfigError for one that cannot be read."""
    found = []
    for file in home.proofs.glob("[!.]*.json"):
        try:
            found.append(msgspec.json.decode(file.read_bytes(), type=Proof))
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{file} is no proof record: {error}; bring it back from the backup"
            ) from None
    return sorted(found, key=lambda one: (one.recorded_at, one.pseudonyms))


def intermediate(home: Home) -> list[Path]:
    """Scratch of commands that run or were killed; nothing says from which log it was made."""
    return sorted(file for file in home.scratch().iterdir() if file.suffix != ".log")


def write_proof(home: Home, proof: Proof) -> Path:
    """Keep a proof record under the first of its pseudonyms."""
    target = home.proofs / f"{proof.pseudonyms[0]}.json"
    write_json(target, msgspec.to_builtins(proof))
    return target


def stale(home: Home, gone: Forgotten) -> list[Path]:
    """The feature sets that were made before somebody was forgotten."""
    found = (file.parent for file in home.feature_sets.glob("[!.]*/manifest.json"))
    return sorted(one for one in found if not gone.honoured_by(one))


def clear(home: Home, gone: Forgotten) -> None:
    """Remove what was made from the rows of the forgotten and can be made again.

    That is feature sets and the fits on them, reports, and what killed runs have left. Of a feature
    set stays what the log was like, for the gate to compare with: no id is in that. The caller
    holds the home's lock.
    """
    if not gone.until:
        return
    old = stale(home, gone)
    if old:
        shutil.rmtree(home.root / "reports", ignore_errors=True)
    for directory in old:
        shutil.rmtree(home.fits / directory.name, ignore_errors=True)
        _keep_what_it_was_like(directory)
        shutil.rmtree(directory)
    _clear_leftovers(home)


def what_it_was_like(home: Home, digest: str) -> dict[str, Any] | None:
    """The manifest of a feature set or, where it had to go, what was kept of it."""
    here = home.feature_sets / digest[:16]
    for file in (here / "manifest.json", here.with_suffix(".json")):
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return found
    return None


def _keep_what_it_was_like(directory: Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    kept = {key: manifest[key] for key in _KEPT if key in manifest}
    write_json(directory.with_suffix(".json"), kept)


def _clear_leftovers(home: Home) -> None:
    """What runs that were killed have left half written, and scratch that nobody writes."""
    half = [file for place in (home.feature_sets, home.parts, home.served)
            for file in place.glob(".*")]  # fmt: skip
    half += home.root.glob(f".{home.rejects.name}.*")
    limit = time.time() - LEFT_SECONDS
    for file in intermediate(home):
        with suppress(FileNotFoundError):  # another command has just finished with it
            if file.stat().st_mtime < limit:
                half.append(file)
    for one in half:
        if one.is_dir():
            shutil.rmtree(one, ignore_errors=True)
        else:
            one.unlink(missing_ok=True)
