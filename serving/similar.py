"""What goes with an item, whoever looks at it: no history, no segment, nobody's name."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from features.experiments import Treatment
from features.types import Histories, Ragged
from serving.api import SimilarRequest
from serving.asking import nobody
from serving.chance import explored
from serving.desk import BadRequest, Deal, Desk
from serving.explain import why_of
from serving.feed import Made, answer_of, cost_of, ruled
from serving.memory import remember
from training.policy import People, decide
from training.rankers.base import Queries


async def similar(desk: Desk, request: SimilarRequest) -> dict[str, Any]:
    """Answer one request, as the fields of a FeedResponse."""
    began, place = time.perf_counter(), desk.placement(request.placement, for_feeds=True)
    now_us = desk.now_us(request.at)
    item = int(desk.living.catalogue.find([request.item_id])[0])
    if item < 0:
        raise BadRequest("item_id", f"there is no item {request.item_id!r}")
    more, unknown = desk.found(request.exclude)
    people = _looker(desk, item, np.append(more, item).astype(np.int32), now_us)
    terms = desk.terms(request.placement, ["context"], request.size)
    terms = replace(terms, ceiling=None)  # what goes with an item is asked for: no other will do
    stranger = nobody(desk.living, now_us)
    deal = Deal({}, Treatment())
    people, terms = ruled(desk, request.placement, (stranger, deal), people, terms)
    feeds = decide(desk.ladder, people, terms)
    chance = explored(feeds, people, terms, place.exploration_share, desk.random)
    made = Made(stranger, deal, people, terms, chance, 0, unknown, began)
    why = None
    if request.explain:
        where = request.placement, desk.ruling(request.placement, people, terms.highest_rung, None)
        why = why_of(desk, stranger, people, where, [request.item_id, *request.exclude])
    answer = answer_of(desk, request.placement, made, why)
    remember(desk, made.asker, answer, cost_of(made))
    return answer


def _looker(desk: Desk, item: int, away: Any, now_us: int) -> People:
    """Somebody of whom no more is known than that they look at this item."""
    signal = np.array([desk.bundle.config.session_signal()], dtype=np.int8)
    rates = list(desk.bundle.config.signals.values())
    history = Histories(
        np.array([0, 1]), np.array([item], dtype=np.int32), signal,
        np.array([rates[signal[0]].weight], dtype=np.float32), np.zeros(1, np.float32),
        len(desk.living.catalogue),
    )  # fmt: skip
    queries = Queries.plain(history, np.zeros(1, np.int64), now_us)
    return People(queries, np.ones(1, np.bool_), np.zeros(1, np.bool_), Ragged.of([away]))
