"""Where things lie under `--home`, and how they are written: beside, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

if sys.platform != "win32":
    import fcntl

Progress = Callable[[str, float], None]  # (what is being done, share of it done from 0 to 1)


def silent(_what: str, _share: float) -> None:
    """A progress that shows nothing."""


def part_of(progress: Progress, begin: float, end: float) -> Progress:
    """A progress that fills the part from `begin` to `end` of `progress`."""
    return lambda what, share: progress(what, begin + share * (end - begin))


class Busy(ValueError):
    """Another command is doing this already."""


@dataclass(frozen=True)
class Home:
    """The directory of one shop: all that is kept; only what `--out` names lies elsewhere."""

    root: Path

    @property
    def feature_sets(self) -> Path:
        """One directory per feature set, named by its digest."""
        return self.root / "features"

    @property
    def parts(self) -> Path:
        """What was read of the sources, file by file; created when missing."""
        directory = self.root / "log"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    @property
    def bundles(self) -> Path:
        """One directory per model version."""
        return self.root / "bundles"

    @property
    def fits(self) -> Path:
        """Rankers fitted on parts of the past, by feature set and moment; can be made again."""
        return self.root / "fits"

    @property
    def pointer(self) -> Path:
        """The file that decides what is served: it holds the name of a bundle."""
        return self.root / "CURRENT"

    @property
    def champions(self) -> Path:
        """Which version was served from when on, by whose word: a line of JSON each."""
        return self.root / "champions.jsonl"

    @property
    def rejects(self) -> Path:
        """Rows of the last read that break the contract."""
        return self.root / "rejects.parquet"

    @property
    def state(self) -> Path:
        """What the service was told: its SQLite file; see docs/state.md."""
        return self.root / "state.db"

    @property
    def store(self) -> Path:
        """Which store the service of this home uses; see features/stores.py."""
        return self.root / "store.json"

    @property
    def decisions(self) -> Path:
        """What the service answered: files of JSON lines, per worker."""
        return self.root / "decisions"

    @property
    def salt(self) -> Path:
        """The key of the pseudonyms in the decisions; without it nobody can be told from them."""
        return self.root / "salt"

    @property
    def proofs(self) -> Path:
        """A proof record per forgetting, named by a pseudonym; see docs/erasure.md."""
        return self.root / "forgotten"

    @property
    def keys(self) -> Path:
        """Who may ask the service: digests of the keys, readable by its owner only."""
        return self.root / "keys.json"

    @property
    def link_keys(self) -> Path:
        """What links in mails are signed with; readable by its owner only."""
        return self.root / "link_keys.json"

    @property
    def served(self) -> Path:
        """The service's own records as tables that a build reads; can be made again."""
        return self.root / "served"

    @property
    def tracking_database(self) -> Path:
        """MLflow's SQLite file."""
        return self.root / "mlflow.db"

    def scratch(self) -> Path:
        """A directory for intermediate files; created when missing."""
        directory = self.root / "tmp"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    @contextmanager
    def locked(self, what: str = "lock", *, wait: bool = True) -> Iterator[None]:
        """One command at a time reads and builds here; another waits until it is done.

        what: the name of the lock: "lock" for reading and building, another for other work
        wait: False: raise Busy at once where another holds it
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / what).open("w") as handle:
            if sys.platform != "win32":
                try:  # goes with the process, whatever ends it
                    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError:
                    raise Busy(f"another command holds {self.root / what}") from None
            yield

    def current(self) -> str | None:
        """The name of the bundle that is served, if one has been promoted."""
        try:
            return self.pointer.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Yield a temporary path next to `target`; it takes the name when the block succeeds.

    A directory that is already there is replaced. After an error nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    aside = beside.with_suffix(".old")
    try:
        yield beside
        if target.is_dir():  # aside first: a kill in between loses neither
            target.rename(aside)
        os.replace(beside, target)  # noqa: PTH105 - atomic, and the word says so
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)


def write_json(target: Path, content: Any) -> None:
    """Write `content` readably, all or nothing; keys keep their order, for some mean something."""
    with written_beside(target) as beside:
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
