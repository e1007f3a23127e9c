"""The service's routes, and nothing else: the only file that imports bentoml."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import bentoml
import msgspec
from starlette.responses import Response

from features.home import Home
from serving import listing, telling
from serving.api import (
    FeedRequest,
    FeedResponse,
    Request,
    SimilarRequest,
    SortRequest,
    SortResponse,
)
from serving.api_told import (
    CatalogueRequest,
    Done,
    EventsRequest,
    EventsResponse,
    ForgetRequest,
    IdentifyRequest,
    PreferencesRequest,
    UnlinkRequest,
)
from serving.api_words import (
    ProfileRequest,
    ProfileResponse,
    QuestionsRequest,
    QuestionsResponse,
    ValidateRequest,
    ValidateResponse,
)
from serving.delivery import Holder
from serving.desk import BadRequest, Desk
from serving.feed import feed
from serving.guard import OnlyJson
from serving.profile import profile
from serving.questions import questions
from serving.similar import similar
from serving.state import StateUnavailable
from serving.validating import validate

# environment: where the bundles lie, whose rules are followed, how many answer
HOME, CONFIG, WORKERS = "FEEDS_HOME", "FEEDS_CONFIG", "FEEDS_WORKERS"
Asked = TypeVar("Asked", bound=Request)


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
        config = os.environ.get(CONFIG)
        worker = f"w{bentoml.server_context.worker_index or 1}"
        home = Home(Path(os.environ.get(HOME, ".feeds")))
        self.holder = Holder(home, Path(config) if config else None, worker)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def open(self) -> None:
        """Open the promoted bundle, then follow the pointer, the store and the rules."""
        logging.getLogger("bentoml._internal.server.http_app").addFilter(_NoTraceback())
        await self.holder.open()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Put on disk what is still in memory."""
        await self.holder.close()

    async def __is_ready__(self) -> bool:
        """Ready when there is something to answer with."""
        return self.holder.desk is not None

    @bentoml.api  # type: ignore[untyped-decorator]
    async def feed(self, request: FeedRequest, /) -> FeedResponse:
        """A ranked feed for a placement: for a customer, a visitor or a perfect stranger."""
        return await self._answer(feed, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def sort(self, request: SortRequest, /) -> SortResponse:
        """The items of a listing page in the order for whoever looks at it; none lost."""
        return await self._answer(listing.sort, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def similar(self, request: SimilarRequest, /) -> FeedResponse:
        """What goes with an item, whoever looks at it."""
        return await self._answer(similar, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def events(self, request: EventsRequest, /) -> EventsResponse:
        """What people did. 202: it is kept, and in the next feed."""
        return await self._answer(telling.events, request, 202)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def identify(self, request: IdentifyRequest, /) -> Done:
        """This device is this customer's."""
        return await self._answer(telling.identify, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def unlink(self, request: UnlinkRequest, /) -> Done:
        """This device is no longer this customer's."""
        return await self._answer(telling.unlink, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def preferences(self, request: PreferencesRequest, /) -> Done:
        """Answers, "less of this", muted categories and brands, consent on and off."""
        return await self._answer(telling.preferences, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def questions(self, request: QuestionsRequest, /) -> QuestionsResponse:
        """Which question to ask this person now: the one whose answer would tell most, or none."""
        return await self._answer(questions, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def profile(self, request: ProfileRequest, /) -> ProfileResponse:
        """What is known of a person, in words they may read, and why their feeds are like this."""
        return await self._answer(profile, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def validate(self, request: ValidateRequest, /) -> ValidateResponse:
        """What a request would do, and why; nothing is written, logged or counted."""
        return await self._answer(validate, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def forget(self, request: ForgetRequest, /) -> Done:
        """Nothing of this person is used any more."""
        return await self._answer(telling.forget, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def catalogue(self, request: CatalogueRequest, /) -> Done:
        """Stock, prices and new items, in effect on every worker within a second."""
        return await self._answer(telling.catalogue, request)

    async def _answer(
        self, work: Callable[[Desk, Asked], Awaitable[dict[str, Any]]], request: Asked,
        status: int = 200,
    ) -> Any:  # fmt: skip
        """Do the work and encode what comes of it; the annotations above make the API docs."""
        desk = self.holder.desk
        if desk is None:
            return _json({"error": _nothing_to_serve(self.holder)}, 503)
        try:
            return _json(await work(desk, request), status)
        except BadRequest as error:
            place = [int(part) if part.isdigit() else part for part in error.field.split(".")]
            fault = {"type": "value_error", "loc": place, "msg": str(error)}
            told = f"1 validation error for {type(request).__name__.removesuffix('IODescriptor')}"
            return _json({"error": told, "detail": [fault]}, 400)
        except StateUnavailable as error:
            return _json({"error": str(error)}, 503, {"retry-after": "1"})


Feeds.add_asgi_middleware(OnlyJson)  # type: ignore[attr-defined]  # the decorator made a service
_WORKER = {"x-feeds-worker": str(os.getpid())}  # which of the workers has answered


def _nothing_to_serve(holder: Holder) -> str:
    if holder.refused is not None:
        return f"{holder.refused} cannot be served; the log of the service says why"
    return "no model has been promoted yet; run `feeds promote`"


def _json(answer: object, status: int = 200, more: dict[str, str] | None = None) -> Response:
    body = msgspec.json.encode(answer)
    return Response(body, status, {**_WORKER, **(more or {})}, media_type="application/json")
