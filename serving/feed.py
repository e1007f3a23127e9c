"""A request for a feed, as named stages around the one policy."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.config import RUNGS
from features.types import Ragged
from serving import cursor, messages
from serving.answers import path_named
from serving.api import FeedRequest
from serving.asking import Asker, people_of
from serving.boredom import tired_of
from serving.chance import Chance, explored
from serving.dealing import dealt, degraded, reason
from serving.desk import Deal, Desk
from serving.explain import Why, excluded, explained, why_of
from serving.marks import names_of
from serving.memory import Cost, remember
from training.arranging import turn_seed
from training.policy import Decision, Feeds, People, Terms, decide
from training.reasons import reasons


@dataclass(frozen=True)
class Made:
    """A feed of one person, and all that it was made from.

    offset:     places that earlier pages had
    began:      seconds of the performance counter
    """

    asker: Asker
    deal: Deal
    people: People
    terms: Terms
    chance: Chance
    offset: int
    unknown: list[str]
    began: float

    @property
    def feeds(self) -> Feeds:
        """What is shown."""
        return self.chance.feeds


async def feed(desk: Desk, request: FeedRequest) -> dict[str, Any]:
    """Answer one request, as the fields of a FeedResponse."""
    began = time.perf_counter()
    desk.placement(request.placement, for_feeds=True)
    desk, asker, deal = await dealt(desk, request)
    place = desk.placement(request.placement)
    page = [request.item_id] if request.item_id else []
    recent, unknown = desk.found([*request.recent, *page])
    unknown += desk.found(request.exclude)[1]
    before = cursor.read(request.cursor)
    people = _without(desk, people_of(desk.living, asker, recent), _there(request, before))
    terms = _terms(desk, request, deal)
    if before:
        terms = replace(terms, offset=len(before), min_items=0)  # a last page may be short
    people, terms = ruled(desk, request.placement, (asker, deal), people, terms)
    feeds = decide(desk.ladder, people, terms)
    chance = explored(feeds, people, terms, place.exploration_share, desk.random)
    made = Made(asker, deal, people, terms, chance, len(before), unknown, began)
    return _answer(desk, request, made, before)


def _terms(desk: Desk, request: FeedRequest, deal: Deal) -> Terms:
    """The placement's, less what this page, this person's arm and this request leave out."""
    lower = (request.highest_rung, deal.treatment.highest_rung)
    usual = desk.terms(request.placement, lower, request.size)
    if request.category is not None:
        path = path_named(desk.living, request.category)
        items = desk.shelf(request.placement).within(desk.living, path)
        return replace(usual, items=items)
    return usual


def _there(request: FeedRequest, before: list[str]) -> list[str]:
    """What this page and those before it have."""
    return [*request.exclude, *before, *([request.item_id] if request.item_id else [])]


def _without(desk: Desk, people: People, item_ids: list[str]) -> People:
    """The page and the pages before it have these already."""
    if not item_ids:
        return people
    more = Ragged.of([desk.found(item_ids)[0]])
    return replace(people, away=more if people.away is None else people.away.joined(more))


def ruled(
    desk: Desk, placement: str, asked: tuple[Asker, Deal], people: People, terms: Terms
) -> tuple[People, Terms]:
    """Person and terms under the merchant's rules that hold for them here and now."""
    asker, deal = asked
    ruling = desk.ruling(placement, people, terms.highest_rung, deal.treatment.rules)
    tired = tired_of(desk, asker, people, (placement, ruling))
    if tired.size:
        people = replace(people, tired=Ragged.of([tired]))
    if ruling is None:
        return people, terms
    if ruling.arrangement is not None and ruling.arrangement.rotation:
        seed = turn_seed(asker.name, asker.now_us)
        people = replace(people, seeds=np.array([seed], dtype=np.uint64))
    return people, replace(terms, open=ruling.open, arrangement=ruling.arrangement)


def _answer(desk: Desk, request: FeedRequest, made: Made, before: list[str]) -> dict[str, Any]:
    why = _why(desk, request, made, before) if request.explain else None
    answer = answer_of(desk, request.placement, made, why)
    items = answer["items"]
    answer["message"] = messages.for_people(desk, made.people, request.placement) if items else None
    answer["next_cursor"] = cursor.write(before, items, made.terms.size)
    remember(desk, made.asker, answer, cost_of(made))
    return answer


def _why(desk: Desk, request: FeedRequest, made: Made, before: list[str]) -> Why:
    """What kept things from this feed, told apart."""
    limit, rules = made.terms.highest_rung, made.deal.treatment.rules
    where = request.placement, desk.ruling(request.placement, made.people, limit, rules)
    why = why_of(desk, made.asker, made.people, where, _there(request, before))
    category = None if request.category is None else path_named(desk.living, request.category)
    return replace(why, category=category)


def answer_of(desk: Desk, placement: str, made: Made, why: Why | None) -> dict[str, Any]:
    """The fields of a FeedResponse, without message and next page; `why`: explain it by these."""
    feeds, bundle, items = made.feeds, desk.bundle, items_of(desk, made)
    answer: dict[str, Any] = {
        "decision_id": secrets.token_hex(12),
        "decision": Decision(feeds.decisions[0]).name,
        "reason": reason(made.asker, feeds),
        "rung": RUNGS[feeds.rungs[0]],
        "degraded": degraded(desk.living, made.asker),
        "placement": placement,
        "arms": made.deal.arms,
        "model_version": bundle.version,
        "rules_version": desk.rulebook.version,
        "as_of": bundle.manifest["as_of"],
        "unknown_items": made.unknown,
        "message": None,
        "next_cursor": None,
        "items": items,
    }
    if why is not None:
        answer["excluded"] = excluded(desk, made.people, made.terms, placement, why)
        explained(desk, made.people, feeds, items)
    return answer


def cost_of(made: Made) -> Cost:
    """When it was asked, and what it took until now."""
    return Cost(made.asker.now_us, time.perf_counter() - made.began, made.chance.propensity)


def items_of(desk: Desk, made: Made) -> list[dict[str, Any]]:
    """The places of the feed, as the fields of a FeedItem."""
    feeds, ladder = made.feeds, desk.ladder
    told = reasons(desk.bundle, ladder, made.people, feeds)[0]
    steps = zip(feeds.steps[0].tolist(), feeds.scores[0].tolist(), strict=True)
    marks, drawn = _marks(made), made.chance.drawn.tolist()
    shown = []
    for place, (item, (step, score)) in enumerate(zip(feeds.items[0].tolist(), steps, strict=True)):
        if item < 0:
            break
        one = {"position": made.offset + place + 1, **desk.card(item), "marks": marks[place]}
        if drawn[place]:
            one |= _CHANCE
        elif step == len(ladder):
            one |= {**_RULES, "reason": told[place]}
        else:
            one |= {"rung": ladder[step].rung, "ranker": ladder[step].name, "score": score,
                    "reason": told[place]}  # fmt: skip
        shown.append(one)
    return shown


_RULES = {"rung": "one_for_all", "ranker": "rules", "score": None}
_CHANCE = {"rung": "one_for_all", "ranker": "chance", "score": None, "reason": "from our range",
           "marks": ["explored"]}  # fmt: skip


def _marks(made: Made) -> list[list[str]]:
    """Per place of the feed what the rules did."""
    feeds = made.feeds
    if feeds.marks is None or feeds.moved is None:
        return [[]] * feeds.items.shape[1]
    pairs = zip(feeds.marks[0].tolist(), feeds.moved[0].tolist(), strict=True)
    return [names_of(mark, moved) for mark, moved in pairs]
