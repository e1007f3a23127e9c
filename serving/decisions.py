"""The log of decisions: a line of JSON each, per worker; no request ever waits for the disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import msgspec

from features.decided import OPEN, Decided
from serving import telemetry

__all__ = ["Decided", "DecisionLog"]
FLUSH_SECONDS = 1.0
MOST_BYTES = 64 * 2**20  # of a file; then the next one begins
MOST_WAITING = 100_000  # lines; more means that the disk does not answer
COMPLAIN_SECONDS = 60.0
GONE_SECONDS = 2 * 3600.0  # who lives begins a new file every hour
_log = logging.getLogger("feeds.decisions")


class DecisionLog:
    """Writes decisions to `directory`, as `<start>-<worker>.jsonl.open` until a file is done.

    worker: no two processes that live may have the same name. What is written is on the disk
    within a second; a process that is killed loses that second. `dropped` counts lines that the
    disk did not take. At the start it finishes what the dead left: the one before it of the same
    name, and, where hosts share the directory, whoever has not written for GONE_SECONDS.
    """

    def __init__(
        self, directory: Path, worker: str, *, flush_seconds: float = FLUSH_SECONDS,
        most_bytes: int = MOST_BYTES,
    ) -> None:  # fmt: skip
        self.directory, self.worker = directory, worker
        self.dropped = 0
        self._flush_seconds, self._most_bytes = flush_seconds, most_bytes
        self._encoder = msgspec.json.Encoder()
        self._lines: deque[bytes] = deque()
        self._file: FileIO | None = None
        self._path = directory
        self._hour = -1
        self._told, self._complained = 0, -COMPLAIN_SECONDS
        self._closing = threading.Event()
        directory.mkdir(parents=True, exist_ok=True)
        self._finish_what_the_dead_left()
        self._thread = threading.Thread(target=self._run, name="feeds-decisions", daemon=True)
        self._thread.start()

    def write(self, decided: Decided) -> None:
        """Log one decision, within a second; never waits and never fails."""
        telemetry.decided(decided)
        if len(self._lines) >= MOST_WAITING:
            self._drop(1)
        else:
            self._lines.append(self._encoder.encode(decided) + b"\n")

    def close(self) -> None:
        """Write what is left and finish the file; waits for the disk."""
        self._closing.set()
        self._thread.join()

    def _finish_what_the_dead_left(self) -> None:
        for left in self.directory.glob(f"*.jsonl{OPEN}"):
            writer = left.name.partition("-")[2]  # the start of a file has no "-"
            with suppress(FileNotFoundError):  # another has just finished it
                idle = time.time() - left.stat().st_mtime
                if writer == f"{self.worker}.jsonl{OPEN}" or idle > GONE_SECONDS:
                    left.rename(left.with_suffix(""))

    def _run(self) -> None:
        while not self._closing.wait(self._flush_seconds):
            self._flush()
        self._flush()
        self._finish()

    def _flush(self) -> None:
        """Put the waiting lines on the disk; lines that it does not take are dropped, loudly."""
        hour = int(time.time() // 3600)
        if self._file is not None and hour != self._hour:
            self._finish()
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        try:
            if lines:
                self._put(b"".join(lines), hour)
        except OSError as error:
            self._finish()  # a line may be torn: nothing may follow it
            self._drop(len(lines))
            self._complain(str(error))
        if self.dropped > self._told:
            self._complain("the disk is too slow")

    def _put(self, text: bytes, hour: int) -> None:
        if self._file is None:
            start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            self._path = self.directory / f"{start}-{self.worker}.jsonl{OPEN}"
            self._file = self._path.open("wb", buffering=0)
            self._hour = hour
        while text:
            text = text[self._file.write(text) :]  # a disk that is nearly full takes a part
        if self._file.tell() >= self._most_bytes:
            self._finish()

    def _finish(self) -> None:
        """Close the file and give it its last name."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
            with suppress(OSError):
                self._path.rename(self._path.with_suffix(""))

    def _drop(self, count: int) -> None:
        self.dropped += count
        telemetry.dropped("decisions", count)

    def _complain(self, why: str) -> None:
        if time.monotonic() - self._complained >= COMPLAIN_SECONDS:
            self._told, self._complained = self.dropped, time.monotonic()
            _log.error("%d decisions were not logged: %s; free the disk", self.dropped, why)
