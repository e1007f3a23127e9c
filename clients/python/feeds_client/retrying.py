"""What is sent again, how often, and after how long, in the words of tenacity."""

from __future__ import annotations

from typing import Any

import httpx
from tenacity import (
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from feeds_client.endpoints import Endpoint
from feeds_client.errors import FeedsError

ATTEMPTS = 4
HURRY = 0.25  # seconds; with a fallback at hand nobody waits longer for a second try
_AGAIN = frozenset({429, 502, 503})  # refused before anything was done
_TOO_LATE = 504  # a time limit on the way ran out, of the service's own or of a proxy
_BACKOFF = wait_random_exponential(multiplier=0.05, max=1)  # seconds; 0 to 0.05, 0.1, 0.2, …
# The service was not reached, or closed a connection that had been idle.
_NOT_REACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout,
                httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)  # fmt: skip


def policy(endpoint: Endpoint[Any], within: float) -> dict[str, Any]:
    """How tenacity shall try: no new attempt begins later than `within` seconds.

    A time limit that ran out is no reason to ask again (whoever waits has waited enough), but it is
    one to tell again: nobody knows whether it arrived, and told twice it counts once.
    """

    def again(error: BaseException) -> bool:
        if not isinstance(error, FeedsError):
            return False
        if error.status is not None:
            return error.status in _AGAIN or (endpoint.told and error.status == _TOO_LATE)
        return endpoint.told or isinstance(error.__cause__, _NOT_REACHED)

    return {
        "retry": retry_if_exception(again),
        "wait": _wait,
        "stop": stop_after_attempt(ATTEMPTS) | stop_before_delay(within),
        "reraise": True,
    }


def _wait(state: RetryCallState) -> float:
    """As long as the service asks for, else a little longer each time."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, FeedsError) and error.retry_after is not None:
        return error.retry_after
    return _BACKOFF(state)
