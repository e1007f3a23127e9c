"""What facts would do if they were kept, in words: for the dry run of a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from features.options import MUTES, SKIP, UNMUTES
from features.types import from_us
from serving.answers import category_named
from serving.desk import Desk
from serving.state import Answer, Consent, Event, Fact, Forget, ItemChange, Link, Recalled

MOST = 20  # ids, or items, that are told one by one
_TOLD = ("price", "available", "kind", "title", "category", "brand", "currency", "url",
         "image_url", "language")  # fmt: skip


async def would(desk: Desk, facts: Sequence[Fact]) -> list[str]:
    """A sentence or more for the facts of one request, which were not written."""
    told = _events(desk, [one for one in facts if isinstance(one, Event)])
    changes = [one for one in facts if isinstance(one, ItemChange)]
    told += [_change(desk, one) for one in changes[:MOST]]
    told += [f"… and {len(changes) - MOST} more items"] * (len(changes) > MOST)
    for one in facts:
        if isinstance(one, Link):
            told.append(_link(one, await desk.state.recall(None, one.visitor_id), desk))
        elif isinstance(one, Forget):
            told.append(_forget(one, await desk.state.recall(one.user_id, one.visitor_id)))
        elif isinstance(one, Answer):
            told.append(_answer(desk, one))
        elif isinstance(one, Consent):
            told.append(_consent(one))
    return told


def some(ids: Sequence[str]) -> str:
    """The first few of many."""
    return ", ".join(ids[:MOST]) + f" and {len(ids) - MOST} more" * (len(ids) > MOST)


def _events(desk: Desk, events: Sequence[Event]) -> list[str]:
    if not events:
        return []
    given = Counter(one.event_id for one in events if one.event_id is not None)
    again = given.total() - len(given)
    told = [f"{_many(len(events) - again, 'event')} would be kept"]
    told += [f"{again} have an event_id that this batch gives twice: they count once"] * bool(again)
    told += [f"{_many(len(given), 'event')} would count only if the event_id was not kept before"
             ] * bool(given)  # fmt: skip
    silent = sorted({one.event_type for one in events} - set(desk.living.signals))
    told += [f"of no interest to any ranker, as the config gives no signal: {some(silent)}"
             ] * bool(silent)  # fmt: skip
    unknown = desk.found(list(dict.fromkeys(one.item_id for one in events)))[1]
    shown = "could be shown at once" if desk.bundle.config.shows_unlisted() else "would stay hidden"
    told += [f"items that the catalogue lacks {shown}: {some(unknown)}"] * bool(unknown)
    early = sum(one.occurred_us <= desk.living.base.as_of_us for one in events)
    told += [f"{_many(early, 'event')} from before the model: no feed would change by that"
             ] * bool(early)  # fmt: skip
    return told


def _change(desk: Desk, change: ItemChange) -> str:
    new = {name: value for name in _TOLD if (value := getattr(change, name)) is not None}
    if change.published_us is not None:
        new["published_at"] = from_us(change.published_us).isoformat()
    index = int(desk.living.catalogue.find([change.item_id])[0])
    if index < 0:
        return f"the item {change.item_id} would be added: {_pairs(new)}"
    now: dict[str, Any] = desk.living.catalogue.details(index)
    now["available"] = bool(desk.living.opened[index])
    moved = {name: f"{now[name]!r} → {value!r}" if name in now else value
             for name, value in new.items() if now.get(name) != value}  # fmt: skip
    if not moved:
        return f"the item {change.item_id} would stay as it is"
    return f"the item {change.item_id} would change: {_pairs(moved)}"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _link(link: Link, now: Recalled, desk: Desk) -> str:
    device, customer = f"the device {link.visitor_id}", f"the customer {link.user_id}"
    if not link.linked:
        return f"{device} would no longer be {customer}'s; what was done on it stays where it is"
    if now.shared:
        return f"{device} has had too many customers: it would stay nobody's"
    if now.customer == link.user_id:
        return f"{device} is {customer}'s already"
    if now.customer is not None and desk.bundle.config.identity.max_customers == 1:
        return f"{device} is another customer's: it would be shared, and so nobody's"
    return f"{device} would be {customer}'s, with {_many(len(now.events), 'event')} of its own"


def _forget(forget: Forget, now: Recalled) -> str:
    name = f"the customer {forget.user_id}" if forget.user_id else f"the device {forget.visitor_id}"
    if forget.user_id is None and not (now.events or now.answers or now.visitors):
        return f"{name} would be forgotten, too"
    gone = f"{_many(len(now.events), 'event')} and {_many(len(now.answers), 'answer')}"
    return (
        f"{name} would be forgotten, with {_many(len(now.visitors), 'linked device')}: {gone} of "
        "the service would go, and no feed would use what the model knows"
    )


def _answer(desk: Desk, answer: Answer) -> str:
    if answer.question in MUTES:
        return f"nothing of the {MUTES[answer.question]} {answer.answer} would be shown"
    if answer.question in UNMUTES:
        return f"{answer.answer} could be shown again"
    if answer.answer.strip().lower() == SKIP:
        return f"{answer.question!r} would count as answered, and change no feed"
    place = category_named(desk.living, answer.answer)
    if place < 0:
        return f"{answer.answer!r} names no category: it would change no order"
    less = answer.question in desk.bundle.config.preferences.less
    return f"{'less' if less else 'more'} of {desk.living.catalogue.tree[place]} would be shown"


def _consent(consent: Consent) -> str:
    if consent.personalise:
        return "feeds may use what is known of this person"
    return "feeds would use nothing but the current visit: none above the rung `context`"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' * (count != 1)}"
