"""Who asks, in which arms they are, and the desk of the version that answers them."""

from __future__ import annotations

from features.config import Config
from serving.api import Asking
from serving.asking import Asker, unheard, who
from serving.desk import Deal, Desk
from serving.living import Living
from serving.state import StateUnavailable
from training.policy import Decision, Feeds, Reason


async def dealt(desk: Desk, request: Asking) -> tuple[Desk, Asker, Deal]:
    """The desk that answers, the person as that desk knows them, and their arms.

    The champion's config deals. All of an answer comes from one desk: items, rules, cards, words.
    Raises BadRequest for a placement or a moment that means nothing here.
    """
    asker = await _asker(desk, request)
    deal = desk.deal(asker, request.visitor_id, request.placement)
    other = desk.others.get(deal.treatment.model or "")
    if other is None:
        return desk, asker, deal
    return other, await _asker(other, request), deal


def reason(asker: Asker, feeds: Feeds) -> str:
    """Why this decision: the code of the answer for the only person."""
    if asker.unheard and feeds.decisions[0] == Decision.show:
        return Reason.degraded.name
    return Reason(feeds.reasons[0]).name


def degraded(living: Living, asker: Asker) -> bool:
    """Is something left out that the store knows: of this person, or of what happened of late?"""
    return asker.unheard or living.away


def unfit(config: Config, version: str, other: Config) -> str | None:
    """Why a version cannot stand in wherever an arm of `config` names it; None: it can."""
    for one in config.experiments:
        if version not in (arm.model for arm in one.dealt.values()):
            continue
        for name in one.placements or config.placements:
            own, its = config.placements[name], other.placements.get(name)
            if its is None or (its.sort_only and not own.sort_only):
                return (
                    f"{version} was trained without the placement {name!r}; limit the experiment "
                    f"{one.name!r} to `placements` that both have, or train the model anew"
                )
    return None


async def _asker(desk: Desk, request: Asking) -> Asker:
    now_us = desk.now_us(request.at)
    try:
        return await who(desk.living, desk.state, request.user_id, request.visitor_id, now_us)
    except StateUnavailable:
        return unheard(desk.living, now_us)
