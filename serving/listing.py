"""The order of a listing page: the items are given, and all of them come back."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Any

import numpy as np

from features.config import RUNGS
from features.types import Float64, Int32, Int64
from serving.api import SortRequest
from serving.asking import Asker, people_of
from serving.dealing import dealt, degraded, reason
from serving.desk import Desk
from serving.marks import names_of
from serving.memory import Cost, remember
from training.arranging import Arrangement, Turn, turn_seed
from training.item_facts import UNBORN
from training.policy import Decision, Feeds, Reason, Terms, decide, kept_away
from training.sorting import Sorted
from training.sorting import sort as sort_given

LOGGED = 100  # places of a listing page that the log of decisions keeps


async def sort(desk: Desk, request: SortRequest) -> dict[str, Any]:
    """Answer one request, as the fields of a SortResponse.

    What may be shown here now goes first, ids that nobody knows keep their order at the end. Within
    each part the shopper's own order decides, then pins, then boosts, then relevance.
    """
    began = time.perf_counter()
    desk.placement(request.placement)
    desk, asker, deal = await dealt(desk, request)
    people = people_of(desk.living, asker, desk.found(request.recent)[0])
    given = desk.living.catalogue.find(request.item_ids)
    usual = desk.terms(request.placement, (request.highest_rung, deal.treatment.highest_rung), None)
    whole = _whole(usual, np.unique(given[given >= 0]))
    feeds = decide(desk.ladder, people, whole)
    ruling = desk.ruling(request.placement, people, usual.highest_rung, deal.treatment.rules)
    open_ = ruling.open if ruling else desk.shelf(request.placement).open
    order = ruling.arrangement if ruling and ruling.arrangement else Arrangement(open_)
    turn = Turn(asker.now_us, turn_seed(asker.name, asker.now_us), kept_away(people, whole).row(0))
    places = _places(feeds, given)
    found = sort_given(given, -places, order, turn, _explicit(desk, request, given))
    answer = _answer(desk, request, feeds, asker)
    answer["arms"] = deal.arms
    answer["item_ids"] = [request.item_ids[place] for place in found.order.tolist()]
    answer["unknown_items"] = [request.item_ids[n] for n in np.flatnonzero(given < 0).tolist()]
    shut = np.flatnonzero((given >= 0) & ~order.open[np.maximum(given, 0)])
    answer["unavailable_items"] = [request.item_ids[place] for place in shut.tolist()]
    wanted = len(given) if request.explain else LOGGED
    placed = _placed(desk, request, feeds, places, found, wanted)
    cost = Cost(asker.now_us, time.perf_counter() - began)
    remember(desk, asker, {**answer, "items": placed[:LOGGED]}, cost)
    if request.explain:
        answer["placed"] = placed
    return answer


def _whole(terms: Terms, items: Int32) -> Terms:
    """A listing page has what it has: sold out, bought before, whatever rules say of feeds."""
    return replace(
        terms, items=items, size=max(len(items), 1), open=None, arrangement=None, min_items=0,
        keeps_away=np.zeros_like(terms.keeps_away),
        keeps_away_in_session=np.zeros_like(terms.keeps_away_in_session),
    )  # fmt: skip


def _places(feeds: Feeds, given: Int32) -> Any:
    """(n,) float32 place of each given item in the ranking, NaN where nothing speaks for it."""
    ranked = feeds.items[0][feeds.items[0] >= 0]
    by_item = dict(zip(ranked.tolist(), range(ranked.size), strict=True))
    return np.array([by_item.get(item, np.nan) for item in given.tolist()], dtype=np.float32)


def _explicit(desk: Desk, request: SortRequest, given: Int32) -> Float64 | None:
    """(n,) the key that the shopper sorts by, the lowest first; None: the shopper does not."""
    if request.sort_by is None:
        return None
    catalogue, known = desk.living.catalogue, np.maximum(given, 0)
    if request.sort_by == "price":
        keys = catalogue.prices[known].astype(np.float64)
    elif request.sort_by == "newest":
        born = catalogue.born_us[known]
        undated = (born == UNBORN) & (known < catalogue.known)  # what was added since is the newest
        keys = np.where(undated, np.nan, -born.astype(np.float64))
    elif request.sort_by == "popularity":
        keys = -desk.popularity()[known].astype(np.float64)
    else:
        titles = [catalogue.name(item).casefold() for item in known.tolist()]
        keys = np.unique(titles, return_inverse=True)[1].astype(np.float64)
    return np.asarray(-keys if request.descending else keys)


def _answer(desk: Desk, request: SortRequest, feeds: Feeds, asker: Asker) -> dict[str, Any]:
    decided = Decision(feeds.decisions[0]), reason(asker, feeds)
    if decided[0] == Decision.suppress:  # a page has its items, whatever is thought of them
        decided = Decision.fallback, Reason.no_opinion.name
    return {
        "decision_id": secrets.token_hex(12),
        "decision": decided[0].name,
        "reason": decided[1],
        "rung": RUNGS[feeds.rungs[0]],
        "degraded": degraded(desk.living, asker),
        "placement": request.placement,
        "model_version": desk.bundle.version,
        "rules_version": desk.rulebook.version,
        "as_of": desk.bundle.manifest["as_of"],
    }


def _placed(
    desk: Desk, request: SortRequest, feeds: Feeds, places: Float64, found: Sorted, wanted: int
) -> list[dict[str, Any]]:
    """Why each item stands where it does, as the fields of a Placed."""
    steps: Int64 = feeds.steps[0]
    told = []
    for position, place in enumerate(found.order[:wanted].tolist(), start=1):
        step = None if places[place] != places[place] else desk.ladder[steps[int(places[place])]]
        ranker = "none" if step is None else step.name
        told.append(
            {
                "item_id": request.item_ids[place],
                "position": position,
                "rung": step.rung if step else None,
                "ranker": "shopper" if request.sort_by else ranker,
                "marks": names_of(int(found.marks[position - 1])),
            }
        )
    return told
