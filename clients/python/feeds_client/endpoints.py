"""The endpoints: what is sent there and what comes back; both clients use this and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import uuid4

import httpx
import msgspec

from feeds_client.answers import (
    Answer,
    BlockResponse,
    Done,
    EventsResponse,
    FeedItem,
    FeedResponse,
    ProfileResponse,
    QuestionsResponse,
    SortResponse,
    ValidateResponse,
)
from feeds_client.errors import FeedsError, refused

A = TypeVar("A", bound=Answer)
_log = logging.getLogger("feeds_client")


@dataclass(frozen=True)
class Endpoint(Generic[A]):
    """Where to send a request.

    told: it tells the service something, and told again it is the same; nobody waits for it
    """

    path: str
    answer: type[A]
    told: bool = False


FEED = Endpoint("feed", FeedResponse)
SORT = Endpoint("sort", SortResponse)
SIMILAR = Endpoint("similar", FeedResponse)
BLOCK = Endpoint("block", BlockResponse, told=True)  # its answer stands for an hour
QUESTIONS = Endpoint("questions", QuestionsResponse)
PROFILE = Endpoint("profile", ProfileResponse)
VALIDATE = Endpoint("validate", ValidateResponse)
EVENTS = Endpoint("events", EventsResponse, told=True)
IDENTIFY = Endpoint("identify", Done, told=True)
UNLINK = Endpoint("unlink", Done, told=True)
PREFERENCES = Endpoint("preferences", Done, told=True)
CATALOGUE = Endpoint("catalogue", Done, told=True)
FORGET = Endpoint("forget", Done, told=True)


def body(endpoint: Endpoint[A], request: Mapping[str, object]) -> bytes:
    """The request as JSON; what is None is left out. ValueError, TypeError: it cannot be written.

    Every event gets an `event_id` here, before the first attempt: however often it is sent after
    that, it counts once.
    """
    given = {name: value for name, value in request.items() if value is not None}
    if endpoint.path == EVENTS.path:
        given["events"] = [_with_id(event) for event in _sequence(given["events"])]
    return json.dumps(given, allow_nan=False, default=_plain).encode()


def _with_id(event: object) -> object:
    return {"event_id": str(uuid4()), **_given(event)} if isinstance(event, Mapping) else event


def _given(event: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in event.items() if value is not None}


def _sequence(value: object) -> Sequence[object]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    raise TypeError(f"events must be a list of events, not {type(value).__name__}")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be sent; give text, numbers, lists")


def answered(endpoint: Endpoint[A], answer: httpx.Response) -> A:
    """What the service says; FeedsError: it refuses, or this is not the service."""
    if not answer.is_success:
        raise refused(answer)
    try:
        return msgspec.json.decode(answer.content, type=endpoint.answer)
    except msgspec.DecodeError as error:
        told = f"this is no answer of a Purposeful Feeds service: {error}"
        raise FeedsError(told, status=answer.status_code) from None


def instead(
    fallback: Sequence[str], request: Mapping[str, object], error: FeedsError
) -> FeedResponse:
    """A feed of the shop's own items, for a page that cannot wait; says so in the log.

    Raises `error` again where the request itself is wrong: no other day will mend that.
    """
    if error.request_is_wrong:
        raise error
    placement = str(request.get("placement"))
    _log.warning("the feed of %s is the fallback: %s", placement, error)
    items = [FeedItem(item_id=item, position=n) for n, item in enumerate(fallback, start=1)]
    return FeedResponse(
        decision_id="", decision="fallback", reason="unreachable", rung="one_for_all",
        placement=placement, arms={}, model_version="", rules_version="", as_of="",
        unknown_items=(), message=None, next_cursor=None, items=tuple(items), from_fallback=True,
    )  # fmt: skip
