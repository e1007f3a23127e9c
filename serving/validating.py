"""A dry run of any request: what it would do, and why. Nothing is written, logged or remembered.

The request goes the same way as a real one, at a desk that reads what is there and keeps nothing:
so what is said cannot differ from what happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import ValidationError

from serving import listing, telling
from serving.api import FeedRequest, Request, SimilarRequest, SortRequest
from serving.api_mail import BlockRequest
from serving.api_told import (
    CatalogueRequest,
    EventsRequest,
    ForgetRequest,
    IdentifyRequest,
    PreferencesRequest,
    UnlinkRequest,
)
from serving.api_words import Endpoint, ProfileRequest, QuestionsRequest, ValidateRequest
from serving.desk import BadRequest, Desk
from serving.dry import Unwritten, dry
from serving.faults import faults
from serving.feed import feed
from serving.mailing.block import block
from serving.profile import profile
from serving.questions import questions
from serving.similar import similar
from serving.would import some, would

Work = Callable[[Desk, Any], Awaitable[dict[str, Any]]]
_ENDPOINTS: Mapping[Endpoint, tuple[type[Request], Work]] = {
    "feed": (FeedRequest, feed),
    "sort": (SortRequest, listing.sort),
    "similar": (SimilarRequest, similar),
    "block": (BlockRequest, block),
    "events": (EventsRequest, telling.events),
    "identify": (IdentifyRequest, telling.identify),
    "unlink": (UnlinkRequest, telling.unlink),
    "preferences": (PreferencesRequest, telling.preferences),
    "forget": (ForgetRequest, telling.forget),
    "catalogue": (CatalogueRequest, telling.catalogue),
    "questions": (QuestionsRequest, questions),
    "profile": (ProfileRequest, profile),
}


async def validate(desk: Desk, request: ValidateRequest) -> dict[str, Any]:
    """Answer one request, as the fields of a ValidateResponse."""
    model, work = _ENDPOINTS[request.endpoint]
    try:
        asked = model.model_validate(request.request)
    except ValidationError as error:
        return _refused([_fault(one) for one in faults(error)])
    if "explain" in model.model_fields:
        asked = asked.model_copy(update={"explain": True})
    state = Unwritten(desk.state)
    try:
        answer = await work(dry(desk, state), asked)
    except BadRequest as error:
        return _refused([{"field": error.field, "message": str(error)}])
    found: dict[str, Any] = {"valid": True, "faults": []}
    if "blocks" in answer:
        told = {name: answer[name] for name in ("decision", "reason")}
        return {**found, "would": _mail(answer), **told}
    if "decision" in answer:
        kept = ("decision", "reason", "rung", "excluded")
        return {**found, "would": _feed(answer), **{name: answer.get(name) for name in kept}}
    return {**found, "would": [*await would(desk, state.facts), *_said(answer)]}


def _refused(faults: list[dict[str, str]]) -> dict[str, Any]:
    told = "the request would be refused (400): nothing of it would be kept"
    return {"valid": False, "faults": faults, "would": [told]}


def _fault(error: dict[str, Any]) -> dict[str, str]:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "is not a field of this request; look for a typo"
    return {"field": ".".join(map(str, error["loc"])) or "request", "message": message}


def _feed(answer: Mapping[str, Any]) -> list[str]:
    """What a feed, or the order of a listing page, would be."""
    items = answer.get("items", answer.get("item_ids", []))
    told = [f"{answer['decision']}: {len(items)} items on {answer['placement']}, rung "
            f"{answer['rung']}, because of {answer['reason']}"]  # fmt: skip
    told += [f"experiment {name}: arm {arm}" for name, arm in answer["arms"].items()]
    for key, words in (("unknown_items", "ids that the catalogue lacks"),
                       ("unavailable_items", "ids that cannot be had now")):  # fmt: skip
        told += [f"{words}: {some(ids)}"] if (ids := answer.get(key)) else []
    gone = [f"{count} {reason}" for reason, count in (answer.get("excluded") or {}).items()]
    return told + [f"items that could not be shown: {', '.join(gone)}"] * bool(gone)


def _mail(answer: Mapping[str, Any]) -> list[str]:
    """What each block of a mail would be."""
    return [
        f"{one.decision}: {len(one.items)} items on {one.placement}, rung {one.rung}, because of "
        f"{one.reason}" + (f", with the message {one.message}" if one.message else "")
        for one in answer["blocks"]
    ]


def _said(answer: Mapping[str, Any]) -> list[str]:
    """What the answer itself has to say."""
    if "question" in answer:
        asked = answer["question"]
        return [f"{asked['name']!r} would be asked" if asked else "nothing would be asked",
                answer["why"]]  # fmt: skip
    return [*answer.get("words", [])]
