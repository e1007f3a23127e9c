"""A request for a feed, as named stages around the one policy."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from features.config import KINDS, RUNGS, Placement
from features.types import Int32
from serving.api import FeedRequest
from training.bundle import Bundle, terms
from training.people import people_of
from training.policy import Decision, Feeds, People, Reason, Terms, decide
from training.reasons import reasons


class BadRequest(ValueError):
    """A request that is well-formed and means nothing here."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Desk:
    """A bundle, ready to answer: what every request of a placement shares is worked out once."""

    bundle: Bundle
    terms: dict[str, Terms]

    @classmethod
    def of(cls, bundle: Bundle) -> Desk:
        """Prepare the terms of every placement."""
        made = {name: _terms(bundle, place) for name, place in bundle.config.placements.items()}
        return cls(bundle, made)

    def feed(self, request: FeedRequest) -> dict[str, Any]:
        """Answer one request, as the fields of a FeedResponse."""
        wanted = self._wanted(request)
        recent = self.bundle.catalogue.find(request.recent)
        people = self._who(request, recent[recent >= 0])
        feeds = decide(self.bundle.ladder, people, wanted)
        return self._answer(request, recent, people, feeds)

    def _wanted(self, request: FeedRequest) -> Terms:
        """The placement's terms; the request may ask for less, never for more."""
        try:
            usual = self.terms[request.placement]
        except KeyError:
            raise BadRequest(
                "placement",
                f"there is no placement {request.placement!r}; there are {list(self.terms)}",
            ) from None
        if request.size is None and request.highest_rung is None:
            return usual
        rung = min(request.highest_rung or usual.highest_rung, usual.highest_rung, key=RUNGS.index)
        return usual.asking(size=request.size or usual.size, highest_rung=rung)

    def _who(self, request: FeedRequest, recent: Int32) -> People:
        """What we know of the person: as a customer, else as a visitor, else only the session."""
        ids = [f"u:{request.user_id}"] if request.user_id else []
        ids += [f"v:{request.visitor_id}"] if request.visitor_id else []
        return people_of(self.bundle, [ids], [recent])

    def _answer(
        self, request: FeedRequest, recent: Int32, people: People, feeds: Feeds
    ) -> dict[str, Any]:
        unknown = [item for item, row in zip(request.recent, recent, strict=True) if row < 0]
        return {
            "decision_id": secrets.token_hex(12),
            "decision": Decision(feeds.decisions[0]).name,
            "reason": Reason(feeds.reasons[0]).name,
            "rung": RUNGS[feeds.rungs[0]],
            "placement": request.placement,
            "model_version": self.bundle.version,
            "as_of": self.bundle.manifest["as_of"],
            "unknown_items": unknown,
            "items": self._items(people, feeds),
        }

    def _items(self, people: People, feeds: Feeds) -> list[dict[str, Any]]:
        ladder, items = self.bundle.ladder, feeds.items[0]
        told = reasons(self.bundle, ladder, people, feeds)[0]
        scores, steps = feeds.scores[0].tolist(), feeds.steps[0].tolist()
        shown = []
        for place, item in enumerate(items[items >= 0].tolist()):
            step = ladder[steps[place]]
            shown.append(
                {
                    "position": place + 1,
                    **self._details(item),
                    "rung": step.rung,
                    "ranker": step.name,
                    "score": scores[place],
                    "reason": told[place],
                }
            )
        return shown

    def _details(self, item: int) -> dict[str, Any]:
        shelf = self.bundle.catalogue
        price = float(shelf.prices[item])
        return {
            "item_id": shelf.ids.text(item),
            "kind": KINDS[shelf.kinds[item]],
            "title": shelf.titles[item],
            "category": shelf.categories[item],
            "brand": shelf.brands[item],
            "price": None if price != price else round(price, 4),
            "currency": shelf.currencies[item],
            "url": shelf.urls[item],
            "image_url": shelf.image_urls[item],
        }


def _terms(bundle: Bundle, placement: Placement) -> Terms:
    return terms(
        bundle.config, bundle.catalogue, bundle.catalogue.shown(placement.kind), placement.size,
        highest_rung=placement.highest_rung, min_items=placement.min_items,
        on_too_few=placement.on_too_few,
        ceiling=bundle.ceiling(placement.channel, placement.kind),
    )  # fmt: skip
