"""The service's routes, and nothing else: the only file that imports bentoml."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import bentoml
import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from features.home import Home
from serving import clicks, health, listing, logs, telemetry, telling
from serving.api import (
    FeedRequest,
    FeedResponse,
    Request,
    SimilarRequest,
    SortRequest,
    SortResponse,
)
from serving.api_mail import BlockRequest, BlockResponse
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
from serving.guard import guarded, of_the_page, options_of, page_speaks_for_a_customer
from serving.incidents import failed, keep_values_out_of_logs
from serving.keys import Keyring
from serving.mailing.block import block
from serving.profile import profile
from serving.questions import questions
from serving.similar import similar
from serving.state import StateUnavailable
from serving.validating import validate

# environment: where the bundles lie, whose rules are followed, how many answer, what the names of
# this host's workers begin with, and may anybody ask as long as there is no key?
HOME, CONFIG, WORKERS = "FEEDS_HOME", "FEEDS_CONFIG", "FEEDS_WORKERS"
HOST, OPEN = "FEEDS_HOST", "FEEDS_OPEN"
HERE = "here"  # of FEEDS_OPEN: anybody on this machine
_log = logging.getLogger("feeds.service")
Asked = TypeVar("Asked", bound=Request)


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
        self.holder = Holder(_home(), _config(), _worker())
        self.clicks = clicks.links_of(self.holder)
        self.beating: asyncio.Task[None] | None = None
        logs.begin(_worker(), self._serves)
        telemetry.begin(_worker())

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def open(self) -> None:
        """Open the promoted bundle, then follow the pointer, the store and the rules."""
        keep_values_out_of_logs()
        await self.holder.open()
        self.beating = asyncio.create_task(health.beat(self.holder))
        _log.info("started as process %d", os.getpid())

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Put on disk what is still in memory."""
        if self.beating is not None:
            self.beating.cancel()
        await self.clicks.done()
        await self.holder.close()
        _log.info("stopped")

    def _serves(self) -> str | None:
        return self.holder.desk.bundle.version if self.holder.desk else None

    async def __is_ready__(self) -> bool:
        """Ready when there is something to answer with; the only way to say here why not."""
        status, told = health.readiness(self.holder)
        body = msgspec.json.encode(told).decode()
        raise HTTPException(status, body, {"content-type": "application/json"})

    @bentoml.api  # type: ignore[untyped-decorator]
    async def feed(self, request: FeedRequest, /) -> FeedResponse:
        """A ranked feed for a placement: for a customer, a visitor or a perfect stranger."""
        answer = await self._answer(feed, request)
        if answer.status_code == 200:
            self.holder.remember(request)
        return answer

    @bentoml.api  # type: ignore[untyped-decorator]
    async def sort(self, request: SortRequest, /) -> SortResponse:
        """The items of a listing page in the order for whoever looks at it; none lost."""
        return await self._answer(listing.sort, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def similar(self, request: SimilarRequest, /) -> FeedResponse:
        """What goes with an item, whoever looks at it."""
        return await self._answer(similar, request)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def block(self, request: BlockRequest, /) -> BlockResponse:
        """The blocks of a triggered mail, or why there is none; the same for an hour."""
        answer = await self._answer(block, request)
        return _page(answer) if request.format == "html" else answer

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
            return _json({"error": health.nothing_to_serve(self.holder)}, 503)
        try:
            if named := page_speaks_for_a_customer(request):
                telemetry.refused("person")
                return _json({"error": f"{named}: the key of a page speaks for visitors only"}, 403)
            of_the_page(request)
            answer = await work(desk, request)
            if answer.get("degraded"):
                telemetry.degraded(work.__name__)
            return _json(answer, status)
        except BadRequest as error:
            place = [int(part) if part.isdigit() else part for part in error.field.split(".")]
            fault = {"type": "value_error", "loc": place, "msg": str(error)}
            told = f"1 validation error for {type(request).__name__.removesuffix('IODescriptor')}"
            return _json({"error": told, "detail": [fault]}, 400)
        except StateUnavailable as error:
            telemetry.store_failed("request")
            return _json({"error": str(error)}, 503, {"retry-after": "1"})
        except Exception as error:
            return failed(error)


def _worker() -> str:
    return f"{os.environ.get(HOST, '')}w{bentoml.server_context.worker_index or 1}"


def _home() -> Home:
    return Home(Path(os.environ.get(HOME, ".feeds")))


def _config() -> Path | None:
    return Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None


def _behind_the_door(app: ASGIApp) -> ASGIApp:
    """Keys and limits, before BentoML reads anything."""
    logs.begin(_worker())
    to_whom = os.environ.get(OPEN)
    keyring = Keyring(
        _home().keys, no_keys_is_open=to_whom in ("1", HERE), only_here=to_whom == HERE
    )
    return guarded(app, options_of(_config()), keyring)


# the decorator made a service of it; what is added first is asked first
Feeds.add_asgi_middleware(health.Measured, endpoints=frozenset({*Feeds.apis, "r"}))  # type: ignore[attr-defined]
Feeds.add_asgi_middleware(_behind_the_door)  # type: ignore[attr-defined]
Feeds.mount_asgi_app(clicks.pages, path=clicks.PATH)  # type: ignore[attr-defined]
Feeds.mount_asgi_app(health.pages)  # type: ignore[attr-defined]
_WORKER = {"x-feeds-worker": str(os.getpid())}  # which of the workers has answered


_OF_A_MAIL = ("decision", "reason", "subject", "language", "again")  # headers, percent-encoded


def _page(answer: Any) -> Any:
    """The mail itself instead of what is told of it; 204: there is none."""
    if answer.status_code != 200:
        return answer
    told = msgspec.json.decode(answer.body)
    told["again"] = "true" if told["again"] else "false"
    decided = {f"x-feeds-{name}": quote(told[name]) for name in _OF_A_MAIL} | _WORKER
    if told["html"] is None:
        return Response(status_code=204, headers=decided)
    return Response(told["html"], headers=decided, media_type="text/html")


def _json(answer: object, status: int = 200, more: dict[str, str] | None = None) -> Response:
    body = msgspec.json.encode(answer)
    return Response(body, status, {**_WORKER, **(more or {})}, media_type="application/json")
