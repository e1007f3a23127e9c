"""Why: what was not shown, by reason, and what puts each item of a feed in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from msgspec import structs

from features.config import KINDS
from features.types import Bool, Float32, Int32, Interest, Ragged
from serving.answers import muted
from serving.asking import Asker
from serving.boredom import tired_of
from serving.desk import Desk
from serving.sensitive import may_be_named
from training.item_facts import UNBORN
from training.policy import Feeds, People, Step, Terms, kept_away, seen_by
from training.rankers.base import Allowed, Queries, Ranker, as_indices
from training.rankers.blend import EXPLAINING, BlendRanker
from training.rankers.live import Widened
from training.reasons import CROWD
from training.ruling import Ruling

MOST = 3  # items of a history that are named for one shown item
HEED_ANSWERS = ("als", "content")  # the rankers that look at what people told us
_RULES = {
    "pinned": "the shop has given it this place",
    "promoted": "the shop promotes it",
    "boosted": "moved up{} by the shop",
    "buried": "moved down{} by the shop",
    "diversified": "placed here so that the feed is varied",
    "rotated": "its place changes from hour to hour",
}


@dataclass(frozen=True)
class Why:
    """What a request knows of its own reasons for not showing things.

    category: only this one was asked for; None: all of the placement's kind
    closed:   reason -> (n_items,) bool, what the shop's rules keep from everybody, as `Ruling` has
              it; the first that fits is an item's
    away:     reason -> items that are kept from this person, in `People.away` or `People.tired`
    """

    category: str | None = None
    closed: Mapping[str, Bool] = field(default_factory=dict)
    away: Mapping[str, Int32] = field(default_factory=dict)


def why_of(
    desk: Desk, asker: Asker, people: People, where: tuple[str, Ruling | None], page: Sequence[str]
) -> Why:
    """The reasons of a request, told apart.

    where: the placement, and the rules that hold there; page: ids that it and those before it have
    """
    fresh = replace(asker, recalled=structs.replace(asker.recalled, shown=[], mailed=[]))
    away = {
        "muted": muted(desk.living, asker.recalled.answers),
        "on_this_page_or_before": desk.found(page)[0],
        "bought_lately": tired_of(desk, fresh, people, where),
        "shown_lately": tired_of(desk, asker, people, (where[0], None)),
        "seen_too_often": tired_of(desk, asker, people, where),  # what is left of it
    }
    return Why(closed={} if where[1] is None else where[1].closed, away=away)


def excluded(
    desk: Desk, people: People, terms: Terms, placement: str, why: Why | None = None
) -> dict[str, int]:
    """How many items of the placement could not be shown, by the first reason that holds.

    Together they are all items of the kind, or of the category, that the feed could not choose.
    """
    why = why or Why()
    asked = _asked_for(desk, placement, why.category)
    if why.category is None:  # if it was a category, nobody said so
        asked = asked[np.isin(asked, as_indices(terms.items))]
    left, found = np.ones(asked.size, np.bool_), dict[str, int]()
    for reason, kept_back in _reasons(desk, people, terms, (why, asked)):
        found[reason] = found.get(reason, 0) + int(np.count_nonzero(kept_back & left))
        left &= ~kept_back
    return {reason: count for reason, count in found.items() if count}


def _asked_for(desk: Desk, placement: str, category: str | None) -> Int32:
    """All items that a feed could mean, whether they can be had or not."""
    catalogue, kind = desk.living.catalogue, desk.placement(placement).kind
    last = catalogue.known + len(catalogue.places)
    meant = np.ones(last, np.bool_)
    if kind is not None:
        meant &= catalogue.kinds[:last] == KINDS.index(kind)
    if category is not None:
        begin, end = catalogue.below(category)
        codes = catalogue.category[:last]
        meant &= (codes >= begin) & (codes < end)
    return np.flatnonzero(meant).astype(np.int32)


def _reasons(
    desk: Desk, people: People, terms: Terms, asked: tuple[Why, Int32]
) -> Iterator[tuple[str, Bool]]:
    """Reason by reason, which of the items it keeps back; those for everybody come first."""
    (why, items), living = asked, desk.living
    open_to_all = Allowed(terms.items, Ragged.empty(1), terms.open).indices()
    shut, there = ~np.isin(items, open_to_all), living.opened[items]
    born = living.catalogue.born_us[items]
    waits = (born > people.queries.now_us[0]) & (born < UNBORN)
    yield "not_published_yet", shut & ~there & waits  # until then it counts as unavailable too
    yield "unavailable", shut & ~there
    for reason, closed in why.closed.items():
        yield reason, shut & closed[items]
    yield "rules", shut
    histories = people.queries.histories
    yield "disliked", np.isin(items, histories.items[histories.weights < 0])
    for reason, away in why.away.items():
        yield reason, np.isin(items, away)
    for reason, kept in (("left_out", people.away), ("tired", people.tired)):
        if kept is not None:
            yield reason, np.isin(items, kept.row(0))
    yield "had", np.isin(items, kept_away(people, terms).row(0))


def explained(desk: Desk, people: People, feeds: Feeds, items: list[dict[str, Any]]) -> None:
    """Add `because` to the items of a feed of one person: see api.Contribution."""
    spoken = dict[int, list[int]]()
    for place, one in enumerate(items):
        one["because"] = [_rule(mark) for mark in one["marks"]]
        step = int(feeds.steps[0, place])
        if one["ranker"] == "chance":
            one["because"] = [_said("chance", "shown by chance, to learn who wants it")]
        elif one["ranker"] != "rules" and step >= 0:
            spoken.setdefault(step, []).append(place)
    for step, places in spoken.items():
        ground = _Ground.of(desk, people, desk.ladder[step])
        told = ground.because(feeds.items[0, places])
        for place, because in zip(places, told, strict=True):
            items[place]["because"] += because


def _said(of: str, text: str, item_id: str | None = None) -> dict[str, Any]:
    """The fields of a Contribution."""
    return {"of": of, "item_id": item_id, "text": text}


def _rule(mark: str) -> dict[str, Any]:
    """A mark such as `pinned` or `boosted 5`, in words."""
    name, _, by = mark.partition(" ")
    places = f" {by} place{'s' * (by != '1')}" if by.isdigit() else f" {by}" * bool(by)
    return _said("rule", _RULES.get(name, mark).format(places))


@dataclass(frozen=True)
class _Ground:
    """What one step of the ladder stands on.

    rankers: those that it asks, by name, the most telling first; of a blend these are its inputs
    view:    what the step may know of the only person
    """

    desk: Desk
    rankers: Mapping[str, Ranker]
    view: Queries

    @classmethod
    def of(cls, desk: Desk, people: People, step: Step) -> _Ground:
        rankers: dict[str, Ranker] = {step.name: step.ranker}
        if isinstance(step.ranker, BlendRanker):
            inputs = step.ranker.rankers
            order = [*(one for one in EXPLAINING if one in inputs), *inputs]
            rankers = {name: inputs[name] for name in order}
        return cls(desk, rankers, seen_by(step.rung, people.known))

    def because(self, items: Int32) -> list[list[dict[str, Any]]]:
        """Per item (k,) what speaks for it, and what speaks against it."""
        told = self._by_history(items)
        for more in (self._by_answers(items), self._by_segment(items), self._by_popularity(items)):
            told = [[*one, *other] for one, other in zip(told, more, strict=True)]
        return told

    def _by_history(self, items: Int32) -> list[list[dict[str, Any]]]:
        """The items of the person's past and visit that add most to each, at most three."""
        own, named = self.view.histories.by_item, [list[int]() for _ in items]
        for ranker in self.rankers.values() if own.nnz else ():
            for found, more in zip(named, _strongest(ranker, self.view, items), strict=True):
                found += [one for one in more if one not in found]
        kept = may_be_named(self.desk.living.catalogue)
        return [[self._met(one) for one in found if kept[one]][:MOST] for found in named]

    def _met(self, item: int) -> dict[str, Any]:
        catalogue = self.desk.living.catalogue
        name, item_id = catalogue.name(item), catalogue.texts(np.array([item], np.int32))[0]
        if (self.view.histories.items[self.view.session_start[0] :] == item).any():
            return _said("session", f"{name}, in this visit", item_id)
        return _said("history", f"{name}, before this visit", item_id)

    def _by_answers(self, items: Int32) -> Iterator[list[dict[str, Any]]]:
        """Answers that name the category of an item, or one above it."""
        catalogue, told = self.desk.living.catalogue, self.view.declared
        heard = told.indices.tolist() if any(one in self.rankers for one in HEED_ANSWERS) else []
        hidden = catalogue.sensitive_categories
        answers = []
        for place, weight in zip(heard, told.data.tolist(), strict=False):
            path = catalogue.tree[place]
            words = "you told us of {}" if weight > 0 else "you asked for less of {}"
            if weight and not hidden[place]:
                answers.append((catalogue.below(path), _said("answer", words.format(path))))
        for code in catalogue.category[items].tolist():
            yield [said for (begin, end), said in answers if begin <= code < end]

    def _by_segment(self, items: Int32) -> Iterator[list[dict[str, Any]]]:
        """What people of the same group want, where an item is wanted by enough people."""
        group = int(self.view.segment[0])
        asked = [one for one in self.rankers.values() if one.by_segment and group >= 0]
        scores = asked[0].opinion(self.view).at(items) if asked else np.full(items.size, np.nan)
        enough = self.desk.living.catalogue.people[items] >= CROWD
        for wanted in (enough & ~np.isnan(scores)).tolist():
            name = self.desk.bundle.manifest["segments"][group] if wanted else ""
            yield [_said("segment", f"wanted in the group {name}")] * wanted

    def _by_popularity(self, items: Int32) -> Iterator[list[dict[str, Any]]]:
        """The place of each item among all of its kind that can be had now."""
        ranker, catalogue = self.rankers.get("popularity"), self.desk.living.catalogue
        if ranker is None:
            yield from ([] for _ in items)
            return
        scores, kinds = ranker.score(self.view.stranger)[0], catalogue.kinds
        rivals = {kind: scores[self.desk.living.opened & (kinds == kind)]
                  for kind in np.unique(kinds[items]).tolist()}  # fmt: skip
        for item, people in zip(items.tolist(), catalogue.people[items].tolist(), strict=True):
            if scores[item] > 0:
                place = 1 + int(np.count_nonzero(rivals[int(kinds[item])] > scores[item]))
                crowd = f"; {people} people showed interest in it" * (people >= CROWD)
                yield [_said("popularity", f"number {place} in popularity right now{crowd}")]
            else:
                alone = len(self.rankers) == 1
                yield [_said("the shop", "from the shop's range, the newest first")] * alone


def _strongest(ranker: Ranker, view: Queries, items: Int32) -> Sequence[list[int]]:
    """Per item the history items that add to its score, the strongest first."""
    own = view.histories.by_item
    parts = _parts(ranker, own, items)
    if parts is None:
        anchors = ranker.anchors(view, items[None])[0].tolist()
        return [[one] * (one >= 0) for one in anchors]
    order = np.argsort(-parts, axis=0, kind="stable")[: 2 * MOST]
    added = np.take_along_axis(parts, order, axis=0) > 0
    return [own.indices[order[added[:, k], k]].tolist() for k in range(items.size)]


def _parts(ranker: Ranker, own: Interest, items: Int32) -> Float32 | None:
    """As `contributions`, (m, k); what the ranker was not fitted on neither gives nor gets."""
    if not isinstance(ranker, Widened):
        return ranker.contributions(own, items)
    old, known = own.indices < ranker.known, items < ranker.known
    fitted = Interest(np.array([0, old.sum()]), own.indices[old], own.data[old])
    if not fitted.nnz or not known.any():
        return None
    some = ranker.ranker.contributions(fitted, items[known])
    if some is None:
        return None
    parts = np.zeros((own.nnz, items.size), dtype=np.float32)
    parts[np.ix_(old, known)] = some
    return parts
