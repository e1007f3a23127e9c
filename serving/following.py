"""What a worker does again and again, whatever goes wrong with it: told once, and then seldom."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from serving import telemetry
from serving.state import StateUnavailable

COMPLAIN_SECONDS = 60.0
_log = logging.getLogger("feeds.following")


async def again(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Do it for ever. What goes wrong is tried again, and told at most once a minute."""
    name = getattr(step, "__name__", str(step))
    failures, told, complained = 0, False, float("-inf")
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except Exception as error:
            failures += 1
            if isinstance(error, StateUnavailable):
                telemetry.store_failed("follow")
            if time.monotonic() - complained >= COMPLAIN_SECONDS:
                told, complained = True, time.monotonic()
                _log.exception("%s failed %d times; trying again", name, failures)
        else:
            if told:
                _log.warning("%s works again, after %d failures", name, failures)
            failures, told = 0, False
