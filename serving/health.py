"""How a worker is: what it says when it is asked, and what it shows of itself once a second."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import deque
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.home import Home
from serving import telemetry
from serving.delivery import Holder

BEAT_SECONDS = 1.0
STALL_SECONDS = 0.1  # between two looks at whether the event loop is in time
STALL_MEMORY = 30  # beats for which the longest stall is remembered: longer than between scrapes
AWAY_SECONDS = 3.0  # without a word from the store, whom a worker asks ten times a second
SUPERVISOR = os.getppid()  # as early as may be: it may be killed while a worker starts
_log = logging.getLogger("feeds.health")
UNCOUNTED = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


class Measured:
    """Counts and times every request, whatever becomes of it; costs microseconds.

    endpoints: what is told apart; everything else counts as "other"
    """

    def __init__(self, app: ASGIApp, endpoints: frozenset[str]) -> None:
        self.app, self.endpoints = app, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and look at the status of its answer."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        name, status = "r" if path.startswith("/r/") else path[1:], 500  # what is raised is that
        asked = telemetry.Asked(name if name in self.endpoints else "other")

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except asyncio.CancelledError:  # BentoML's limit is over
            status = 504
            raise
        finally:
            asked.answered(status)


def _metrics(_: Request) -> Response:
    return Response(telemetry.page(), headers={"content-type": telemetry.CONTENT_TYPE})


pages = Starlette(routes=[Route("/metrics", _metrics)])  # a thread reads the files


def readiness(holder: Holder) -> tuple[int, dict[str, Any]]:
    """Status and body of /readyz. A worker is ready as soon as it has a model that is warm.

    Without its store it is ready, too: feeds go on, and a balancer that took it away would take
    all others with it. The body says so.
    """
    if holder.desk is None:
        return 503, {"error": nothing_to_serve(holder)}
    told = {"ready": True, "model_version": holder.desk.bundle.version, "degraded": False}
    if refused := _refused(holder):
        told["refused"] = refused
    lag = _lag(holder)
    if lag > AWAY_SECONDS:
        told["degraded"] = True
        told["why"] = (f"no word from the store for {lag:.0f} s: feeds go on from the model and "
                       "what a request says; nothing can be kept")  # fmt: skip
    return 200, told


def nothing_to_serve(holder: Holder) -> str:
    """Why there is no model, and what to do."""
    if holder.refused is not None:
        return f"{holder.refused} cannot be served; the log of the service says why"
    return "no model has been promoted yet; run `feeds promote`"


async def beat(holder: Holder) -> None:
    """Show once a second how the worker is; until it is cancelled.

    A worker whose supervisor was killed ends, too: it would hold the port, and whoever starts the
    service anew could not listen there.
    """
    stalls: deque[float] = deque([0.0], maxlen=STALL_MEMORY)
    while True:
        if os.getppid() != SUPERVISOR:
            _log.error("the process that watched this worker is gone: it ends; start it anew")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        telemetry.stands(standing(holder, max(stalls)))
        stalls.append(await _stall())


def standing(holder: Holder, loop_lag: float = 0.0) -> telemetry.Standing:
    """What the worker is like now."""
    desk, models = holder.desk, {}
    if desk is not None:
        for one in desk.together:
            models[one.bundle.version] = one.living.base.as_of_us
    lag = None if desk is None else _lag(holder)
    away = lag is not None and lag > AWAY_SECONDS
    refused = bool(_refused(holder))
    return telemetry.Standing(models, refused, lag, away, _bytes(holder.home), loop_lag)


async def _stall() -> float:
    """For a beat: seconds by which the event loop was late at worst."""
    loop, worst = asyncio.get_running_loop(), 0.0
    for _ in range(round(BEAT_SECONDS / STALL_SECONDS)):
        due = loop.time() + STALL_SECONDS
        await asyncio.sleep(STALL_SECONDS)
        worst = max(worst, loop.time() - due)
    return worst


def _refused(holder: Holder) -> list[str]:
    """Versions that the pointer or an arm names, and that cannot be served."""
    return [*([holder.refused] if holder.refused else []), *holder.absent]


def _lag(holder: Holder) -> float:
    """Seconds since the worker had taken in all that the store has."""
    return 0.0 if holder.desk is None else time.monotonic() - holder.desk.living.caught_up


def _bytes(home: Home) -> int:
    """Of the state's files; 0 where it is kept elsewhere."""
    total = 0
    for end in ("", "-wal"):
        with suppress(OSError):
            total += home.state.with_name(home.state.name + end).stat().st_size
    return total
