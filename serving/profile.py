"""What is known of a person, as data and in words that they may read; and why their feeds are so.

What is sensitive is counted and never named. Of a forgotten person there is nothing to tell; a
visitor is told what is known under that device's name: on a shared device nothing of anybody.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from msgspec import structs

from features.config import RUNGS
from features.lifecycle import STAGES
from features.options import WISHES
from features.types import Bool, Histories, Int32, from_us
from serving.answers import category_named, mutes
from serving.api_words import ProfileRequest
from serving.asking import Asker, people_of, who
from serving.desk import Desk
from serving.feed import ruled
from serving.sensitive import may_be_named
from serving.state import Recalled
from training.policy import Decision, People, Reason, decide

MOST = 5  # categories that are named
_WHY = {  # reason of a decision -> why this feed
    "known_history": "it goes by what you did here before",
    "told_us": "it goes by what you told us",
    "known_segment": "it goes by what people like you want",
    "current_session": "it goes by this visit only",
    "stranger": "it is the same for everybody: we do not know you",
    "unknown_user": "it is the same for everybody: we do not know this name",
    "no_consent": "it leaves out what you did before: you have not agreed that we use it",
    "limit": "less is used than we know: this place allows no more",
    "not_on_ladder": "less is used than we know: nothing here makes use of more",
    "degraded": "it goes by this visit only: what we know of you cannot be looked up now",
    "does_not_pay": "less is used than we know: more would not make it any better",
    "no_opinion": "what we know of you does not say anything about what is here",
    "too_few_items": "there is none: too little is left that may be shown",
    "nothing_allowed": "there is none: nothing is left that may be shown",
}


async def profile(desk: Desk, request: ProfileRequest) -> dict[str, Any]:
    """Answer one request, as the fields of a ProfileResponse."""
    places = list(desk.bundle.config.placements)
    if request.placement is not None:
        desk.placement(request.placement)
        places = [request.placement]
    now_us = desk.now_us(request.at)
    asker = await who(desk.living, desk.state, request.user_id, request.visitor_id, now_us)
    if asker.recalled.shared and asker.user_id is None:
        asker = replace(asker, recalled=Recalled(consent=asker.recalled.consent, shared=True))
    told = _Told(desk, asker, people_of(desk.living, asker, np.empty(0, np.int32)), request)
    segment, stage = told.group()
    answer = {
        "ids": told.ids(), "since": told.since(), "consent": told.consent(), "segment": segment,
        "stage": stage, "done": told.done(), "favourites": told.favourites(),
        "answers": told.answers(), "muted": told.muted(), "not_named": told.not_named(),
        "feeds": [told.feed(place) for place in places],
    }  # fmt: skip
    answer["known"] = bool(answer["done"] or asker.recalled.answers or asker.rows.size)
    return {**answer, "words": _words(answer)}


@dataclass(frozen=True)
class _Told:
    """One person, and what can be said of them."""

    desk: Desk
    asker: Asker
    people: People
    request: ProfileRequest

    @cached_property
    def histories(self) -> Histories:
        """All that was done, muted or not: what is muted speaks in no feed, but it was done."""
        said = [one for one in self.asker.recalled.answers if one[0] not in WISHES]
        heard = replace(self.asker, recalled=structs.replace(self.asker.recalled, answers=said))
        return people_of(self.desk.living, heard, np.empty(0, np.int32)).queries.histories

    @cached_property
    def named(self) -> Bool:
        """(n_items,) what may be named."""
        return may_be_named(self.desk.living.catalogue)

    @cached_property
    def hidden(self) -> Bool:
        """(n_categories,) what may not."""
        return self.desk.living.catalogue.sensitive_categories

    def ids(self) -> dict[str, Any]:
        """A customer's name is not given away to who only has the device."""
        return {
            "user_id": self.request.user_id, "visitor_id": self.request.visitor_id,
            "customer": self.asker.user_id is not None, "devices": len(self._devices()),
        }  # fmt: skip

    def _devices(self) -> set[str]:
        linked = self.desk.living.base.devices
        own = np.flatnonzero(np.isin(linked.rows, self.asker.rows))
        before = {one.removeprefix("v:") for one in linked.ids.texts(own)}
        return before.union(self.asker.recalled.visitors)

    def since(self) -> str | None:
        """The moment of the first thing that was done."""
        log = self.desk.living.base.timelines
        rows = self.asker.rows[log.indptr[self.asker.rows + 1] > log.indptr[self.asker.rows]]
        moments = [*log.occurred_us[log.indptr[rows]].tolist(),
                   *(when for _, _, when, _ in self.asker.recalled.events)]  # fmt: skip
        return from_us(min(moments)).isoformat() if moments else None

    def consent(self) -> dict[str, Any]:
        """Yes or no, and who said so."""
        recalled, said_by = self.asker.recalled, "the shop's default"
        if recalled.consent is not None:
            alone = recalled.stays_forgotten
            said_by = "forgotten" if alone else "the person"
        elif self.asker.rows.size:
            said_by = "the shop's data"
        return {"personalise": bool(self.people.consent[0]), "said_by": said_by}

    def group(self) -> tuple[str | None, str | None]:
        """Segment and stage, where they are known."""
        queries, names = self.people.queries, self.desk.bundle.manifest["segments"]
        segment, stage = int(queries.segment[0]), int(queries.stage[0])
        return (names[segment] if segment >= 0 else None, STAGES[stage] if stage >= 0 else None)

    def done(self) -> dict[str, int]:
        """How many things, by the type of event; the types of the config in its order."""
        names = list(self.desk.bundle.config.signals)
        codes = self.histories.signals
        silent = Counter(kind for _, kind, _, _ in self.asker.recalled.events if kind not in names)
        counts = np.bincount(codes, minlength=len(names)).tolist()
        found = {**dict(zip(names, counts, strict=True)), **silent}
        return {name: count for name, count in found.items() if count}

    def favourites(self) -> list[dict[str, Any]]:
        """The categories of most interest, as shares of all interest that may be named."""
        catalogue, own = self.desk.living.catalogue, self.people.queries.histories.by_item
        codes = catalogue.category[own.indices]
        kept = self.named[own.indices] & (codes >= 0)
        sums = np.bincount(codes[kept], own.data[kept], minlength=len(catalogue.tree))
        order = np.argsort(-sums, kind="stable")[:MOST]
        shares = {code: sums[code] / sums.sum() for code in order.tolist() if sums[code] > 0}
        return [{"category": catalogue.tree[code], "share": round(float(share), 4)}
                for code, share in shares.items()]  # fmt: skip

    def not_named(self) -> int:
        """How many of the things done and said are of what is sensitive."""
        items = self.histories.items
        said = [self._hides(answer) for _, answer, _ in self.asker.recalled.answers]
        before = self.desk.living.base.declared.take(self.asker.rows).categories
        return int((~self.named[items]).sum()) + sum(said) + int(self.hidden[before].sum())

    def _hides(self, answer: str) -> bool:
        """Does this answer name something sensitive: a category, or an item?"""
        place, item = category_named(self.desk.living, answer), self._item(answer)
        return (place >= 0 and bool(self.hidden[place])) or not self.named[item].all()

    def _item(self, item_id: str) -> Int32:
        found = self.desk.living.catalogue.find([item_id])
        return found[found >= 0]

    def answers(self) -> list[dict[str, Any]]:
        """What was told, oldest first; of a question that was answered again the newest answer."""
        base, less = self.desk.living.base, self.desk.bundle.config.preferences.less
        before = base.declared.take(self.asker.rows)
        kept = ~self.hidden[before.categories]
        named = zip(before.categories[kept].tolist(), before.less[kept].tolist(),
                    before.answered_us[kept].tolist(), strict=True)  # fmt: skip
        log = [(less[0] if is_less and less else None, base.catalogue.tree[code], when)
               for code, is_less, when in named]  # fmt: skip
        newest = {question: when for question, _, when in self.asker.recalled.answers}
        since = [(question, answer, when) for question, answer, when in self.asker.recalled.answers
                 if question not in WISHES and not self._hides(answer)
                 and (question in less or when == newest[question])]  # fmt: skip
        return [{"question": question, "answer": answer, "answered_at": from_us(when).isoformat()}
                for question, answer, when in (*log, *since)]  # fmt: skip

    def muted(self) -> dict[str, list[str]]:
        """What was muted and not unmuted since."""
        found: dict[str, list[str]] = {"category": [], "brand": [], "item": []}
        for what, answer in mutes(self.asker.recalled.answers):
            if not self._hides(answer):
                found[what].append(answer)
        name, item = self.desk.living.catalogue.name, self._item
        titles = [name(int(item(one)[0])) for one in found["item"] if item(one).size]
        return {"categories": found["category"], "brands": found["brand"], "items": titles}

    def feed(self, placement: str) -> dict[str, Any]:
        """What the feed of a placement would be for this person, and why."""
        deal = self.desk.deal(self.asker, self.request.visitor_id, placement)
        terms = self.desk.terms(placement, [deal.treatment.highest_rung], None)
        people, terms = ruled(self.desk, placement, (self.asker, deal), self.people, terms)
        feeds = decide(self.desk.ladder, people, terms)
        reason = Reason(feeds.reasons[0]).name
        return {
            "placement": placement, "decision": Decision(feeds.decisions[0]).name,
            "rung": RUNGS[feeds.rungs[0]], "reason": reason, "arms": deal.arms,
            "words": f"{placement}: {_WHY[reason]}",
        }  # fmt: skip


def _words(told: dict[str, Any]) -> list[str]:
    """The same for the person to read, a sentence each."""
    words = []
    if told["consent"]["said_by"] == "forgotten":
        words.append("You asked us to forget you, and we did")
    if not told["known"]:
        words.append("We know nothing about you")
    elif not told["done"]:
        words.append("You have not done anything here that we know of")
    if told["done"]:
        done = ", ".join(f"{count} x {kind}" for kind, count in told["done"].items())
        words.append(f"Since {told['since'][:10]} you did this here: {done}")
    if told["favourites"]:
        shares = (f"{one['category']} ({one['share']:.0%})" for one in told["favourites"])
        words.append(f"It was mostly about {', '.join(shares)}")
    words += [f"You told us: {one['answer']}" + f" ({one['question']})" * bool(one["question"])
              for one in told["answers"]]  # fmt: skip
    muted = [one for some in told["muted"].values() for one in some]
    words += [f"You do not want to see {', '.join(muted)}"] * bool(muted)
    if told["not_named"]:
        words.append(f"{told['not_named']} more are private matters, which we do not name")
    if told["ids"]["devices"]:
        words.append(f"We know {told['ids']['devices']} of your devices")
    if told["segment"]:
        words.append(f"We count you among: {told['segment']}")
    consent = told["consent"]["personalise"]
    words.append(f"Feeds may use {'what you do here' if consent else 'nothing but this visit'}")
    return words + [one["words"] for one in told["feeds"]]
