"""The log of decisions as counts: small, whatever its length, and read once."""

from __future__ import annotations

import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from features.config import Config, Rung
from features.decided import Torn, decision_files, read_lines
from features.home import Home, Progress, silent
from features.types import DAY_US, HOUR_US, Float64

Got = tuple[str, str, str]  # decision, rung, reason
_rankers = msgspec.json.Decoder(list[str])
_STAMP = "%Y%m%dT%H%M%S.%fZ"  # how the name of a file of decisions begins: UTC, of its first line


class _Brief(msgspec.Struct, frozen=True):
    """Of a decision what is counted."""

    at_us: int
    placement: str
    decision: Literal["show", "fallback", "suppress"]
    reason: str
    rung: Rung
    model_version: str
    latency_us: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    rankers: msgspec.Raw


@dataclass
class Cell:
    """The decisions of some part of the log, such as one placement on one day.

    latency_us: of each        shown: the rankers of a feed's items, as the log has them, and how
    often just these
    """

    got: Counter[Got] = field(default_factory=Counter)
    latency_us: array[int] = field(default_factory=lambda: array("I"))
    shown: Counter[bytes] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.latency_us)

    def add(self, other: Cell) -> None:
        """Take in what another has."""
        self.got += other.got
        self.latency_us += other.latency_us
        self.shown += other.shown

    def items(self) -> Counter[str]:
        """Items shown by the ranker that put them there."""
        found: Counter[str] = Counter()
        for text, times in self.shown.items():
            for ranker in _rankers.decode(text):
                found[ranker] += times
        return found

    def milliseconds(self) -> tuple[float, float]:
        """The median and the 99th percentile of how long a decision took."""
        both: Float64 = np.percentile(np.frombuffer(self.latency_us, np.uint32), [50, 99]) / 1e3
        return float(both[0]), float(both[1])


@dataclass
class Counts:
    """Decisions by placement, model version and day (UTC, since 1970), of the days asked for.

    torn: lines that could not be read, whatever their day
    """

    cells: dict[tuple[str, str, int], Cell]
    days: range
    torn: int

    def by(self, key: Callable[[str, str, int], str | int]) -> dict[str | int, Cell]:
        """Cells put together by what `key` makes of placement, version and day; in order."""
        found: defaultdict[str | int, Cell] = defaultdict(Cell)
        for place, cell in self.cells.items():
            found[key(*place)].add(cell)
        return dict(sorted(found.items()))

    def of(self, placement: str) -> Counts:
        """Those of one placement."""
        cells = {place: cell for place, cell in self.cells.items() if place[0] == placement}
        return Counts(cells, self.days, 0)


def counted(config: Config, home: Home, days: int, progress: Progress = silent) -> Counts:
    """The decisions of the last `days` days.

    They end today, or where the shop's clock stands still (`as_of`) with the newest decision.
    Raises ValueError where there is none.
    """
    now = config.shop.clock == "now"
    today = time.time_ns() // 1000 // DAY_US
    files = decision_files(home.decisions)
    if now:
        files = [file for file in files if _may_have(file, (today - days + 1) * DAY_US)]
    cells, torn = _read(files, progress)
    last = today if now else max((day for *_, day in cells), default=0)
    window = range(last - days + 1, last + 1)
    kept = {place: cell for place, cell in cells.items() if place[2] in window}
    if not kept:
        told = f"in the last {days} days" if now else "yet"
        raise ValueError(
            f"no decision was logged {told} under {home.decisions}; serve the shop with "
            "`feeds serve` and ask it for a feed, or look further back with --days"
        )
    return Counts(kept, window, torn)


def _may_have(file: Path, since_us: int) -> bool:
    """A file holds an hour at most; its name says when that began."""
    try:
        begun = datetime.strptime(file.name.split("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:  # of a name that somebody else gave: look into it
        return True
    return begun.timestamp() * 1e6 > since_us - HOUR_US


def _read(
    files: Iterable[Path], progress: Progress
) -> tuple[dict[tuple[str, str, int], Cell], int]:
    cells: defaultdict[tuple[str, str, int], Cell] = defaultdict(Cell)
    torn, files = 0, list(files)
    for place, file in enumerate(files):
        progress(f"reading {file.name}", place / len(files))
        for one in read_lines(file, _Brief):
            if isinstance(one, Torn):
                torn += 1
                continue
            cell = cells[one.placement, one.model_version, one.at_us // DAY_US]
            cell.got[one.decision, one.rung, one.reason] += 1
            cell.latency_us.append(one.latency_us)
            cell.shown[bytes(one.rankers)] += 1
    return dict(cells), torn
