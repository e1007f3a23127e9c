"""Which versions contain whom, the proof that somebody is gone, and how it is closed.

A version contains a person if their pseudonym is that of a name in its tables of people and
devices, and it was not made without them. It can go as soon as what serves is free of them:
`settle` removes it from the disk and from MLflow, and closes the proof when nothing is left.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from features import arrays, served
from features.config import Config
from features.decided import salt
from features.erasure import (
    Closing,
    Forgotten,
    Proof,
    Removed,
    intermediate,
    proofs,
    stale,
    write_proof,
)
from features.feature_set import Devices
from features.home import Home
from features.honoured import HONOURED, honoured
from features.leaving_out import parts_honour
from features.types import Bytes, IdTable, from_us
from training.bundle import bundle_versions
from training.pruning import drop

if TYPE_CHECKING:
    from training.tracking import Tracker

LET_GO_SECONDS = 10.0  # a worker looks for a new model twice a second, opens and warms it
TABLES = ("persons", "devices", "shared")  # of a bundle: where it says whom it knows
LOG = "the log as it was read"


@dataclass(frozen=True)
class Settled:
    """What became of the proofs.

    closed:  those that this has closed     open: those that stay open
    remains: version, feature set or LOG -> what keeps it, of all that still contains somebody
    removed: versions that went
    """

    closed: list[Proof] = field(default_factory=list)
    open: list[Proof] = field(default_factory=list)
    remains: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)


def record(
    config: Config, home: Home, names: Sequence[str], at_us: int, erased: Sequence[str]
) -> Proof:
    """Write the proof record of a forgetting of marked `names`, or open it again."""
    key = salt(home.salt)
    hidden = [Forgotten(key=key).hidden(name) for name in names]
    return _record(config, home, [(hidden, at_us)], by="command", erased=erased)[0]


def record_pending(config: Config, home: Home) -> list[Proof]:
    """Write the proof records of whom the service forgot and nobody has recorded yet.

    The state does not say which names were one person's, so each name gets a record of its own.
    """
    known = {one: proof.forgotten_us for proof in proofs(home) for one in proof.pseudonyms}
    told = sorted(served.forgotten(config, home).items())
    new = [([one], at_us) for one, at_us in told if known.get(one, -1) < at_us]
    return _record(config, home, new, by="service", erased=()) if new else []


def _record(
    config: Config, home: Home, new: Sequence[tuple[list[str], int]], *, by: str,
    erased: Sequence[str],
) -> list[Proof]:  # fmt: skip
    moments = {one: at_us for hidden, at_us in new for one in hidden}
    found, _ = containing(config, home, Forgotten(moments, salt(home.salt)))
    before = {one: proof for proof in proofs(home) for one in proof.pseudonyms}
    written = []
    for hidden, at_us in new:
        proof = Proof(
            pseudonyms=hidden, forgotten_at=from_us(at_us).isoformat(), forgotten_us=at_us,
            recorded_at=_now(), by=by, erased=[*_ALWAYS, *erased],
            versions=[version for version, whom in found.items() if whom & set(hidden)],
            feature_sets=[one.name for one in stale(home, Forgotten(moments))],
            earlier=_earlier(before.get(hidden[0])),
        )  # fmt: skip
        write_proof(home, proof)
        written.append(proof)
    return written


_ALWAYS = ("in the state: events, links, answers, consent, feeds that were shown",
           "the salts of the decisions: nobody can say which were theirs")  # fmt: skip


def _earlier(proof: Proof | None) -> list[Closing]:
    """Of a name that was forgotten before: the closings until now."""
    if proof is None:
        return []
    if proof.closed_at is None:
        return proof.earlier
    own = Closing(forgotten_at=proof.forgotten_at, closed_at=proof.closed_at,
                  free_version=proof.free_version)  # fmt: skip
    return [*proof.earlier, own]


def settle(config: Config, home: Home, wait_seconds: float | None = None) -> Settled:
    """Remove what still contains somebody as far as it may go; close the proofs that can be closed.

    wait_seconds: how long running services may take to let go of a version, default LET_GO_SECONDS
    """
    wait = LET_GO_SECONDS if wait_seconds is None else wait_seconds
    with home.locked("forget.lock"):
        return _settle(config, home, wait)


def _settle(config: Config, home: Home, wait_seconds: float) -> Settled:
    record_pending(config, home)
    waiting = [one for one in proofs(home) if one.closed_at is None]
    if not waiting:
        return Settled()
    gone = _all_of(waiting, salt(home.salt))
    found, unread = containing(config, home, gone)
    free = home.current() or next(reversed(bundle_versions(home)), None)
    going = {one: whom for one, whom in found.items() if one not in unread or one == free}
    removed, kept = _removed(config, home, going, free, wait_seconds)
    kept |= unread
    left = {version: whom for version, whom in found.items() if version in kept}
    closed, still = [], []
    for proof in waiting:
        mine = set(proof.pseudonyms)
        went = [v for v in removed if found[v] & mine]
        proof = structs.replace(
            proof, removed=[*proof.removed, *(Removed(version=v, at=_now()) for v in went)]
        )
        if any(whom & mine for whom in left.values()) or _made_before(home, proof):
            still.append(proof)
        else:
            proof = structs.replace(proof, closed_at=_now(), free_version=free)
            closed.append(proof)
        write_proof(home, proof)
    others = {what: why for proof in still for what, why in _made_before(home, proof).items()}
    return Settled(closed, still, kept | others, removed)


def containing(
    config: Config, home: Home, gone: Forgotten
) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Whom the versions contain, and which of them cannot be read now.

    Looked at are the bundles here and the versions in MLflow, oldest first. The first: version ->
    pseudonyms of `gone` that it contains, only those with any; everybody where it cannot be read.
    The second: version -> why it cannot be read; nobody may remove it for that.
    """
    found, unread, known = {}, {}, _Known(gone)
    here = set(bundle_versions(home))
    tracker, there = _registered(config, home)
    for version in sorted(here | there, key=lambda one: int(one[1:])):
        try:
            with _tables(tracker, home, version, version in here) as directory:
                whom = known.within(directory)
        except OSError as error:  # an outage
            whom, unread[version] = set(gone.until), f"it cannot be read now: {error}"
        if whom:
            found[version] = whom
    return found, unread


def _registered(config: Config, home: Home) -> tuple[Tracker, set[str]]:
    """MLflow, and the versions that it has; a store that is not there is not made for it."""
    from training.tracking import Tracker  # here: MLflow takes a second

    tracker = Tracker(home, config)
    if config.tracking.uri is None and not home.tracking_database.exists():
        return tracker, set()
    return tracker, {f"v{number}" for number in tracker.versions()}


@contextmanager
def _tables(tracker: Tracker, home: Home, version: str, here: bool) -> Iterator[Path]:
    """A directory with the tables of people of a version."""
    if here:
        yield home.bundles / version
        return
    with tempfile.TemporaryDirectory(dir=home.scratch()) as scratch:
        tracker.fetch_parts(int(version[1:]), (*TABLES, HONOURED), Path(scratch))
        yield Path(scratch)


class _Known:
    """Finds the forgotten among ids; an id of several versions is worked out once."""

    def __init__(self, gone: Forgotten) -> None:
        self.gone = gone
        self._seen: Bytes = np.empty(0, dtype="S1")
        self._names: dict[bytes, str] = {}  # of the forgotten -> their pseudonyms

    def within(self, directory: Path) -> set[str]:
        """The pseudonyms of those whom the bundle in `directory` contains.

        Everybody where its tables are missing or of another format. Raises OSError where they
        cannot be read now.
        """
        done = honoured(directory)
        wanted = {one for one, at_us in self.gone.until.items() if done.get(one, -1) < at_us}
        if not wanted:
            return set()
        try:
            ids = _ids(directory)
        except (FileNotFoundError, ValueError, KeyError):
            return wanted
        for one in np.setdiff1d(ids, self._seen).tolist():
            hidden = self.gone.hidden(one.decode())
            if hidden in self.gone.until:
                self._names[one] = hidden
        self._seen = np.union1d(self._seen, ids)
        names = np.array(list(self._names), dtype=np.bytes_)
        return {self._names[one] for one in names[np.isin(names, ids)].tolist()} & wanted


def _ids(directory: Path) -> Bytes:
    """All marked ids of a bundle: people, their devices, devices of several customers."""
    tables = [arrays.load(IdTable, directory / "persons"),
              arrays.load(Devices, directory / "devices").ids,
              arrays.load(IdTable, directory / "shared")]  # fmt: skip
    return np.unique(np.concatenate([np.asarray(one.ids) for one in tables]))


def _removed(
    config: Config, home: Home, found: Mapping[str, set[str]], free: str | None, wait: float
) -> tuple[list[str], dict[str, str]]:
    """Which versions have gone, and of the others what keeps them.

    A version stays as long as what serves (else the newest) contains one of those whom it contains.
    """
    tracker, registered = _registered(config, home)
    removed, kept = [], {}
    deadline = time.monotonic() + wait
    for version, whom in found.items():
        if whom & found.get(free or "", set()):
            kept[version] = "it serves" if version == home.current() else f"{free} does, too"
        elif not _dropped(home, version, deadline):
            kept[version] = "a running service or an experiment's arm holds it"
        else:
            if version in registered:
                tracker.remove(int(version[1:]))
            removed.append(version)
    return removed, kept


def _dropped(home: Home, version: str, deadline: float) -> bool:
    """Take the bundle off the disk; workers are given time to let go of it."""
    gc.collect()  # what this process had open to judge it
    while not drop(home, version):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.25)
    return True


def _made_before(home: Home, proof: Proof) -> dict[str, str]:
    """What was made of the log before it was read without them, or may have been, and its end."""
    gone = _all_of([proof], b"")
    found = [one.name for one in stale(home, gone)] + [LOG] * (not parts_honour(home, gone))
    scratch = [f"{one.parent.name}/{one.name}" for one in intermediate(home)]
    made = dict.fromkeys(found, "the next `feeds build` or `feeds retrain` removes it")
    return made | dict.fromkeys(scratch, "of a command that runs, or was killed: then remove it")


def _all_of(every: Sequence[Proof], key: bytes) -> Forgotten:
    moments: dict[str, int] = {}
    for proof in every:
        for one in proof.pseudonyms:
            moments[one] = max(proof.forgotten_us, moments.get(one, -1))
    return Forgotten(moments, key)


def _now() -> str:
    return datetime.now(UTC).isoformat()
