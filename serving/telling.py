"""What the service is told, as facts for the store: all of a request is kept, or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from features.types import MINUTE_US, from_us, to_us
from serving.answers import named, path_named
from serving.api import Moment
from serving.api_told import (
    CatalogueRequest,
    EventsRequest,
    ForgetRequest,
    IdentifyRequest,
    Person,
    PreferencesRequest,
    UnlinkRequest,
)
from serving.asking import devices_in, linked_in
from serving.desk import BadRequest, Desk
from serving.state import Answer, Consent, Event, Fact, Forget, ItemChange, Link, StateUnavailable
from training.open_catalogue import NoRoom

FUTURE_US = 5 * MINUTE_US  # a sender's clock may be so far ahead


async def events(desk: Desk, request: EventsRequest) -> dict[str, Any]:
    """Keep events; an error names the first that cannot be."""
    now = desk.now_us(None)
    facts = [_event(desk, one.model_dump(exclude={"occurred_at"}), one.occurred_at, (place, now))
             for place, one in enumerate(request.events)]  # fmt: skip
    links = await _known_links(desk, {one.visitor_id for one in facts}, now)
    new = (await _keep(desk, [*links, *facts]))[len(links) :]
    silent = sum(fact.event_type not in desk.living.signals for fact in facts)
    return {"accepted": sum(new), "duplicates": len(new) - sum(new), "without_signal": silent}


def _event(desk: Desk, fields: dict[str, Any], at: Moment | None, where: tuple[int, int]) -> Event:
    place, now = where
    occurred = max(now, desk.living.base.as_of_us + 1) if at is None else to_us(at)
    present = max(now, time.time_ns() // 1000)  # of a log that is replayed, too: it is past
    if occurred > present + FUTURE_US:
        told = f"{at} is in the future; it is {from_us(present)} here"
        raise BadRequest(f"events.{place}.occurred_at", told)
    if desk.bundle.config.shop.clock == "now":
        occurred = min(occurred, now)  # else the next feed would not know of it
    if fields["value"] is not None and fields["currency"] is None:
        fields["currency"] = desk.bundle.config.shop.currency
    return Event(occurred_us=occurred, **fields)


async def _known_links(desk: Desk, visitors: Iterable[str | None], now: int) -> list[Link]:
    """Whose devices the log says these are, for the store to know before it files what is told."""
    links = []
    for visitor in filter(None, visitors):
        customer = linked_in(desk.living, visitor)
        if customer is None:
            continue
        recalled = await desk.state.recall(None, visitor)
        if recalled.customer is None and not recalled.unlinked and not recalled.shared:
            links.append(Link(visitor_id=visitor, user_id=customer, at_us=now))
    return links


async def _own_links(desk: Desk, person: Person, now: int) -> list[Link]:
    """Of a person who is named by a device only: whose it is, for it to hold for all names."""
    return await _known_links(desk, [] if person.user_id else [person.visitor_id], now)


async def identify(desk: Desk, request: IdentifyRequest) -> dict[str, Any]:
    """Link a device with a customer."""
    now = desk.now_us(None)
    before = await _known_links(desk, [request.visitor_id], now)
    link = Link(visitor_id=request.visitor_id, user_id=request.user_id, at_us=now)
    await _keep(desk, [*before, link])
    found = await desk.state.recall(None, request.visitor_id)
    if found.shared:
        return {"kept": 1, "notes": ["this device had other customers: what it does without a "
                                     "user_id is nobody's"]}  # fmt: skip
    return {"kept": 1, "notes": []}


async def unlink(desk: Desk, request: UnlinkRequest) -> dict[str, Any]:
    """Take a device from a customer."""
    now = desk.now_us(None)
    before = await _known_links(desk, [request.visitor_id], now)
    found = await desk.state.recall(None, request.visitor_id)
    customers = (found.customer, *(one.user_id for one in before))
    if not found.shared and request.user_id not in customers:
        return {"kept": 0, "notes": ["this device is not linked with this customer"]}
    await _keep(desk, [Link(visitor_id=request.visitor_id, user_id=request.user_id, at_us=now,
                            linked=False)])  # fmt: skip
    return {"kept": 1, "notes": []}


async def preferences(desk: Desk, request: PreferencesRequest) -> dict[str, Any]:
    """Keep answers, mutes and consent."""
    now, facts = desk.now_us(None), []
    for question, answer in _said(desk, request):
        facts.append(Answer(question=question, answer=answer, answered_us=now, **_ids(request)))
    words = list[Fact](facts)
    if request.personalise is not None:
        words.append(Consent(personalise=request.personalise, at_us=now, **_ids(request)))
    if not words:
        raise BadRequest("answers", "there is nothing to keep: give answers, less_of_items, "
                         "mute_brands, personalise, …")  # fmt: skip
    await _keep(desk, [*await _own_links(desk, request, now), *words])
    return {"kept": len(words), "notes": []}


def _said(desk: Desk, request: PreferencesRequest) -> list[tuple[str, str]]:
    """Everything that the request says, as questions and answers. BadRequest for what is not."""
    living = desk.living
    less = (living.base.config.preferences.less or ["less_of_this"])[0]
    found = [(one.question, one.answer) for one in request.answers]
    for field, question in {"less_of_items": "mute_item", "unmute_items": "unmute_item"}.items():
        for place, item_id in enumerate(getattr(request, field)):
            item = living.catalogue.find([item_id])
            if item[0] < 0:
                raise BadRequest(f"{field}.{place}", f"there is no item {item_id!r}")
            found.append((question, living.catalogue.texts(item)[0]))
            code = int(living.catalogue.category[item[0]])
            if question == "mute_item" and code >= 0:
                found.append((less, living.catalogue.tree[code]))
    for field, question in {"less_of_categories": less, "mute_categories": "mute_category",
                            "unmute_categories": "unmute_category", "mute_brands": "mute_brand",
                            "unmute_brands": "unmute_brand"}.items():  # fmt: skip
        for place, text in enumerate(getattr(request, field)):
            exact = named(living, text, brand=question.endswith("brand"))
            if exact is None:
                raise BadRequest(f"{field}.{place}", "the catalogue has none of this name")
            found.append((question, exact))
    return found


async def forget(desk: Desk, request: ForgetRequest) -> dict[str, Any]:
    """Forget a person; the next feed treats them as unknown, without consent."""
    now = desk.now_us(None)
    links = await _own_links(desk, request, now)
    wishes = [Forget(at_us=now, visitor_id=one) for one in await _devices(desk, request, links)]
    await _keep(desk, [*links, Forget(at_us=now, **_ids(request)), *wishes])
    return {"kept": 1, "notes": [
        "nothing of this person is used from now on, and the next build leaves them out; "
        "`feeds retrain` makes a model that never knew them",
    ]}  # fmt: skip


async def _devices(desk: Desk, person: Person, links: Sequence[Link]) -> list[str]:
    """What the models' logs link with this person, unless it is another's by now."""
    said = links[0].user_id if links else None
    customer = person.user_id or said
    if customer is None:
        customer = (await desk.state.recall(None, person.visitor_id)).customer
    if customer is None:
        return []
    found = {device for one in desk.together for device in devices_in(one.living, customer)}
    told = {one: await desk.state.recall(None, one) for one in sorted(found)}
    return [name for name, one in told.items()
            if one.customer in (None, customer) and not one.shared]  # fmt: skip


async def catalogue(desk: Desk, request: CatalogueRequest) -> dict[str, Any]:
    """Keep what is new about items: newer than what the model knows of them."""
    now, facts = max(desk.now_us(None), desk.living.base.as_of_us + 1), []
    for place, one in enumerate(request.items):
        known = int(desk.living.catalogue.find([one.item_id])[0]) >= 0
        if not known and one.kind is None:
            raise BadRequest(
                f"items.{place}.kind",
                f"there is no item {one.item_id!r} yet; say its kind to add it",
            )
        told = one.model_dump(exclude={"published_at"})
        if one.category is not None:
            told["category"] = path_named(desk.living, one.category)
        published = None if one.published_at is None else to_us(one.published_at)
        facts.append(ItemChange(at_us=now, published_us=published, **told))
    await _keep(desk, facts)
    return {"kept": len(facts), "notes": []}


async def _keep(desk: Desk, facts: Sequence[Fact]) -> list[bool]:
    """On disk, and taken in by this worker; the others follow."""
    new = await desk.state.write(facts)
    for one in desk.together:
        with suppress(NoRoom, StateUnavailable):  # kept is kept: the worker follows in a moment
            await one.living.catch_up(desk.state)
    return new


def _ids(person: Person) -> dict[str, str | None]:
    return {"user_id": person.user_id, "visitor_id": person.visitor_id}
