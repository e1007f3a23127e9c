"""Why an item is in a feed, in words that a customer may read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.options import Rung
from training.policy import Feeds, People, Step, anchors, seen_by

if TYPE_CHECKING:
    from training.bundle import Bundle
    from training.catalogue import Catalogue
    from training.rankers.base import Queries

CROWD = 10  # people, at least, before it is said what they chose: of fewer one might be known
_DID = {  # event type -> what the person did with {}
    "purchase": "bought {}",
    "buy": "bought {}",
    "order": "bought {}",
    "cart": "put {} in your basket",
    "read": "read {}",
    "like": "liked {}",
    "bookmark": "bookmarked {}",
    "comment": "commented on {}",
    "follow": "followed {}",
    "view": "looked at {}",
    "click": "looked at {}",
    "email_click": "looked at {}",
}


def reasons(
    bundle: Bundle, ladder: Sequence[Step], people: People, feeds: Feeds
) -> list[list[str]]:
    """Per person one sentence for each item of the feed, from no more than its rung may know."""
    because, verbs = anchors(ladder, people, feeds), _verbs(bundle.config.signals)
    told = []
    for person in range(len(people)):
        memories: dict[Rung, _Memory] = {}
        sentences: list[str] = []
        shown = (one[person].tolist() for one in (feeds.items, feeds.steps, because, feeds.scores))
        for item, place, anchor, score in zip(*shown, strict=True):
            if item < 0:
                break
            if place == len(ladder):
                sentences.append("picked by the shop")
                continue
            rung = ladder[place].rung
            if rung == "one_for_all":
                sentences.append("popular right now" if score > 0 else "from our range")
                continue
            if rung not in memories:
                memories[rung] = _Memory.of(seen_by(rung, people.known), person, verbs)
            sentences.append(memories[rung].because(bundle.catalogue, item, anchor))
        told.append(sentences)
    return told


def _verbs(signals: Iterable[str]) -> list[str]:
    """What a person did with {}, by signal."""
    return [_DID.get(name.lower().split()[0], "chose {}") for name in signals]


@dataclass(frozen=True)
class _Memory:
    """What one person did, as far as a rung may know.

    before: item -> what they last did with it, as a verb, before the current session
    now:    the items of the current session; what was done with them is not known
    """

    before: Mapping[int, str]
    now: Set[int]
    said: dict[int, str]  # by what the sentence is about: several items have one ground

    @classmethod
    def of(cls, queries: Queries, person: int, verbs: Sequence[str]) -> _Memory:
        histories = queries.histories
        own = slice(histories.indptr[person], histories.indptr[person + 1])
        items, start = histories.items[own].tolist(), int(queries.session_start[person])
        signals = histories.signals[own][:start].tolist()
        before = {item: verbs[signal] for item, signal in zip(items, signals, strict=False)}
        return cls(before, frozenset(items[start:]), {})

    def because(self, catalogue: Catalogue, item: int, anchor: int) -> str:
        """anchor: the history item that spoke most, -1 if none; what is sensitive is no reason."""
        if not catalogue.may_be_named(item):
            return "fits what you like"
        if item in self.before:
            return f"you {self.before[item].format('this')} before"
        if item in self.now:
            return "you chose this a moment ago"
        if anchor < 0 or not catalogue.may_be_named(anchor):
            return "fits what you like"
        if anchor not in self.said:
            name, did = catalogue.name(anchor), self.before.get(anchor)
            many = catalogue.people[anchor] >= CROWD
            among = f"popular with people who chose {name}" if many else f"goes with {name}"
            self.said[anchor] = f"because you {did.format(name)}" if did else among
        return self.said[anchor]
