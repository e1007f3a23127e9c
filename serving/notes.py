"""Notes that nobody waits for: those that cannot be kept are counted, and told now and then."""

from __future__ import annotations

import logging
import time

from serving import telemetry

COMPLAIN_SECONDS = 60.0  # at most one complaint in so long
_log = logging.getLogger("feeds.state")


class Dropped:
    """The notes of one worker that were not kept."""

    def __init__(self) -> None:
        self._count, self._complained = 0, float("-inf")

    def add(self, count: int, why: object) -> None:
        """So many more; 0 only says what has not been said yet."""
        self._count += count
        if count:
            telemetry.dropped("notes", count)
        now = time.monotonic()
        if self._count and now - self._complained >= COMPLAIN_SECONDS:
            _log.warning("notes of what was shown that were not kept: %d (%s)", self._count, why)
            self._count, self._complained = 0, now
