"""The two clients, alike but for `await`: a method per endpoint, with the fields as keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx
from tenacity import AsyncRetrying, Retrying

from feeds_client import endpoints as to
from feeds_client.answers import (
    Answer,
    BlockResponse,
    Done,
    EventsResponse,
    FeedResponse,
    ProfileResponse,
    QuestionsResponse,
    SortResponse,
    ValidateResponse,
)
from feeds_client.endpoints import Endpoint, answered, body, instead
from feeds_client.errors import FeedsError, no_answer_told
from feeds_client.requests import (
    BlockRequest,
    CatalogueRequest,
    DeviceRequest,
    EventsRequest,
    FeedRequest,
    ForgetRequest,
    PreferencesRequest,
    ProfileRequest,
    QuestionsRequest,
    SimilarRequest,
    SortRequest,
    ValidateRequest,
)
from feeds_client.retrying import HURRY, policy

A = TypeVar("A", bound=Answer)
TIMEOUT = httpx.Timeout(2.0, connect=0.5)  # seconds of one attempt
RETRY_SECONDS = 3.0


def _options(key: str | None, options: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return {"timeout": TIMEOUT, **options, "headers": {**headers, **options.get("headers", {})}}


class FeedsClient:
    """Asks and tells the service at `url`; threads may share it.

    key:           of `feeds keys add`; None: the service has no keys
    retry_seconds: no new attempt begins later than so long after the call
    options:       more for httpx, such as `timeout`, `verify`, `proxy`, `limits`

    Every method raises FeedsError where the service refuses or cannot be reached.
    """

    def __init__(
        self, url: str, key: str | None = None, *, retry_seconds: float = RETRY_SECONDS,
        **options: Any,
    ) -> None:  # fmt: skip
        self._http = httpx.Client(base_url=url, **_options(key, options))
        self._retry_seconds = retry_seconds

    def feed(
        self, *, fallback: Sequence[str] | None = None, **request: Unpack[FeedRequest]
    ) -> FeedResponse:
        """A ranked feed for a placement.

        fallback: items to show where the service cannot be asked in time, so that no page fails
                  because of it; only a request that is wrong in itself is still an error
        """
        if fallback is None:
            return self._call(to.FEED, request)
        try:
            return self._call(to.FEED, request, HURRY)
        except FeedsError as error:
            return instead(fallback, request, error)

    def sort(self, **request: Unpack[SortRequest]) -> SortResponse:
        """The items of a listing page in the order for whoever looks at it; none lost."""
        return self._call(to.SORT, request)

    def similar(self, **request: Unpack[SimilarRequest]) -> FeedResponse:
        """What goes with an item, whoever looks at it."""
        return self._call(to.SIMILAR, request)

    def block(self, **request: Unpack[BlockRequest]) -> BlockResponse:
        """The blocks of a triggered mail, or why there is none; the same for an hour."""
        return self._call(to.BLOCK, request)

    def questions(self, **request: Unpack[QuestionsRequest]) -> QuestionsResponse:
        """Which question to ask this person now, or none."""
        return self._call(to.QUESTIONS, request)

    def profile(self, **request: Unpack[ProfileRequest]) -> ProfileResponse:
        """What is known of a person, in words that they may read."""
        return self._call(to.PROFILE, request)

    def validate(self, **request: Unpack[ValidateRequest]) -> ValidateResponse:
        """What a request would do, and why; nothing is done."""
        return self._call(to.VALIDATE, request)

    def events(self, **request: Unpack[EventsRequest]) -> EventsResponse:
        """What people did. Sent again with the same `event_id` it counts once."""
        return self._call(to.EVENTS, request)

    def identify(self, **request: Unpack[DeviceRequest]) -> Done:
        """This device is this customer's."""
        return self._call(to.IDENTIFY, request)

    def unlink(self, **request: Unpack[DeviceRequest]) -> Done:
        """This device is no longer this customer's."""
        return self._call(to.UNLINK, request)

    def preferences(self, **request: Unpack[PreferencesRequest]) -> Done:
        """Answers, less of this, mutes, consent on and off."""
        return self._call(to.PREFERENCES, request)

    def catalogue(self, **request: Unpack[CatalogueRequest]) -> Done:
        """Stock, prices and new items."""
        return self._call(to.CATALOGUE, request)

    def forget(self, **request: Unpack[ForgetRequest]) -> Done:
        """Nothing of this person is used any more."""
        return self._call(to.FORGET, request)

    def _call(
        self, endpoint: Endpoint[A], request: Mapping[str, object], within: float | None = None
    ) -> A:
        content = body(endpoint, request)
        tries = Retrying(**policy(endpoint, within or self._retry_seconds))
        for attempt in tries:
            with attempt, no_answer_told():
                return answered(endpoint, self._http.post(endpoint.path, content=content))
        raise AssertionError("tenacity raises what went wrong")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


class AsyncFeedsClient:
    """Asks and tells the service at `url`, without blocking the event loop.

    key:           of `feeds keys add`; None: the service has no keys
    retry_seconds: no new attempt begins later than so long after the call
    options:       more for httpx, such as `timeout`, `verify`, `proxy`, `limits`

    Every method raises FeedsError where the service refuses or cannot be reached.
    """

    def __init__(
        self, url: str, key: str | None = None, *, retry_seconds: float = RETRY_SECONDS,
        **options: Any,
    ) -> None:  # fmt: skip
        self._http = httpx.AsyncClient(base_url=url, **_options(key, options))
        self._retry_seconds = retry_seconds

    async def feed(
        self, *, fallback: Sequence[str] | None = None, **request: Unpack[FeedRequest]
    ) -> FeedResponse:
        """A ranked feed for a placement.

        fallback: items to show where the service cannot be asked in time, so that no page fails
                  because of it; only a request that is wrong in itself is still an error
        """
        if fallback is None:
            return await self._call(to.FEED, request)
        try:
            return await self._call(to.FEED, request, HURRY)
        except FeedsError as error:
            return instead(fallback, request, error)

    async def sort(self, **request: Unpack[SortRequest]) -> SortResponse:
        """The items of a listing page in the order for whoever looks at it; none lost."""
        return await self._call(to.SORT, request)

    async def similar(self, **request: Unpack[SimilarRequest]) -> FeedResponse:
        """What goes with an item, whoever looks at it."""
        return await self._call(to.SIMILAR, request)

    async def block(self, **request: Unpack[BlockRequest]) -> BlockResponse:
        """The blocks of a triggered mail, or why there is none; the same for an hour."""
        return await self._call(to.BLOCK, request)

    async def questions(self, **request: Unpack[QuestionsRequest]) -> QuestionsResponse:
        """Which question to ask this person now, or none."""
        return await self._call(to.QUESTIONS, request)

    async def profile(self, **request: Unpack[ProfileRequest]) -> ProfileResponse:
        """What is known of a person, in words that they may read."""
        return await self._call(to.PROFILE, request)

    async def validate(self, **request: Unpack[ValidateRequest]) -> ValidateResponse:
        """What a request would do, and why; nothing is done."""
        return await self._call(to.VALIDATE, request)

    async def events(self, **request: Unpack[EventsRequest]) -> EventsResponse:
        """What people did. Sent again with the same `event_id` it counts once."""
        return await self._call(to.EVENTS, request)

    async def identify(self, **request: Unpack[DeviceRequest]) -> Done:
        """This device is this customer's."""
        return await self._call(to.IDENTIFY, request)

    async def unlink(self, **request: Unpack[DeviceRequest]) -> Done:
        """This device is no longer this customer's."""
        return await self._call(to.UNLINK, request)

    async def preferences(self, **request: Unpack[PreferencesRequest]) -> Done:
        """Answers, less of this, mutes, consent on and off."""
        return await self._call(to.PREFERENCES, request)

    async def catalogue(self, **request: Unpack[CatalogueRequest]) -> Done:
        """Stock, prices and new items."""
        return await self._call(to.CATALOGUE, request)

    async def forget(self, **request: Unpack[ForgetRequest]) -> Done:
        """Nothing of this person is used any more."""
        return await self._call(to.FORGET, request)

    async def _call(
        self, endpoint: Endpoint[A], request: Mapping[str, object], within: float | None = None
    ) -> A:
        content = body(endpoint, request)
        tries = AsyncRetrying(**policy(endpoint, within or self._retry_seconds))
        async for attempt in tries:
            with attempt, no_answer_told():
                return answered(endpoint, await self._http.post(endpoint.path, content=content))
        raise AssertionError("tenacity raises what went wrong")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        await self.aclose()
