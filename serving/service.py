"""The service's routes, and nothing else: the only file that imports bentoml."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import bentoml
import msgspec
from starlette.responses import Response

from features.home import Home
from serving.api import FeedRequest, FeedResponse
from serving.delivery import Holder
from serving.feed import BadRequest
from serving.guard import OnlyJson

HOME, WORKERS = "FEEDS_HOME", "FEEDS_WORKERS"  # environment: where the bundles lie, how many answer


class _NoTraceback(logging.Filter):
    """A caller's mistake is no crash: it must not fill the log, nor put people's data there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep only what happened, without the values."""
        fault = record.exc_info[1] if record.exc_info else None
        if fault is not None and type(fault).__name__ in ("ValidationError", "BadInput"):
            record.exc_info, record.msg, record.args = None, "request refused (400)", ()
        return True


@bentoml.service(
    name="feeds",
    workers=int(os.environ.get(WORKERS, "2")),
    traffic={"timeout": 5},  # the default of 60 s keeps a timer per request for as long
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
class Feeds:
    """Ranked product and article feeds that say how personal they are, and why."""

    def __init__(self) -> None:
        self.holder = Holder(Home(Path(os.environ.get(HOME, ".feeds"))))

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def open(self) -> None:
        """Open the promoted bundle, then follow the pointer."""
        logging.getLogger("bentoml._internal.server.http_app").addFilter(_NoTraceback())
        self.holder.refresh()
        self.following = asyncio.create_task(self.holder.follow())

    async def __is_ready__(self) -> bool:
        """Ready when there is something to answer with."""
        return self.holder.desk is not None

    @bentoml.api  # type: ignore[untyped-decorator]
    async def feed(self, request: FeedRequest, /) -> FeedResponse:
        """A ranked feed for a placement: for a customer, a visitor or a perfect stranger."""
        desk = self.holder.desk
        if desk is None:
            return _json({"error": "no model has been promoted yet; run `feeds promote`"}, 503)
        try:
            return _json(desk.feed(request))
        except BadRequest as error:
            fault = {"type": "value_error", "loc": [error.field], "msg": str(error)}
            return _json({"error": "1 validation error for FeedRequest", "detail": [fault]}, 400)


Feeds.add_asgi_middleware(OnlyJson)  # type: ignore[attr-defined]  # the decorator made a service


def _json(answer: object, status: int = 200) -> FeedResponse:
    """Encoded here, for speed; the routes keep the annotation that the API docs are made of."""
    body = msgspec.json.encode(answer)
    return Response(body, status, media_type="application/json")  # type: ignore[return-value]
