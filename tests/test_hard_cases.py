"""Hard cases, and the answer that each must give: the table of docs/api.md, row by row.

The shop has ten products that can be had, all of the brand Own; a feed of `home` has four of them.
To a stranger they are h1 r3 r1 t1 r2 k2 k1 t2 h2 h3, by popularity. `sold` is sold out, `soon` is
announced for tomorrow.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from small_desk import END, at_desk, changed, model

from serving import listing, telling
from serving.api import FeedRequest, SimilarRequest, SortRequest
from serving.api_told import (
    CatalogueRequest,
    EventsRequest,
    ForgetRequest,
    IdentifyRequest,
    PreferencesRequest,
)
from serving.desk import BadRequest
from serving.feed import feed
from serving.similar import similar

POPULAR = ["h1", "r3", "r1", "t1", "r2", "k2", "k1", "t2", "h2", "h3"]
DO = {
    FeedRequest: feed, SortRequest: listing.sort, SimilarRequest: similar,
    EventsRequest: telling.events, IdentifyRequest: telling.identify,
    PreferencesRequest: telling.preferences, ForgetRequest: telling.forget,
    CatalogueRequest: telling.catalogue,
}  # fmt: skip


class Case(NamedTuple):
    """What the shop's config has, what was told, what is asked, and fields of the answer.

    items: the ids of the feed, or its first ones where the last is …
    fault: the field of a 400, and what it says
    """

    name: str
    ask: Any
    answer: Mapping[str, Any] = MappingProxyType({})
    items: list[str] | None = None
    fault: tuple[str, str] | None = None
    told: tuple[Any, ...] = ()
    config: Mapping[str, Any] = MappingProxyType({})


def home(**request):
    return FeedRequest(**{"placement": "home", **request})


def told(**words):
    return PreferencesRequest(**words)


def views(*items, minutes=10, kind="view", **who):
    moment = END + timedelta(minutes=minutes)
    return EventsRequest.model_validate({"events": [
        {"item_id": one, "event_type": kind, "occurred_at": moment + timedelta(seconds=n), **who}
        for n, one in enumerate(items)
    ]})  # fmt: skip


def stock(**available):
    return CatalogueRequest.model_validate(
        {"items": [{"item_id": one, "available": there} for one, there in available.items()]}
    )


def place(**options):
    return {"placements": {"home": {"kind": "product", "size": 4, **options}}}


NOTHING = {"decision": "suppress", "reason": "nothing_allowed", "next_cursor": None}
STRANGER = {"decision": "show", "reason": "stranger", "rung": "one_for_all"}
WALL_CLOCK = {"shop": {"clock": "now", "consent_default": "yes"}}
NOW = datetime.now(UTC)
LONG = [views(*["r1", "r2"] * 500, minutes=60 * n, visitor_id="tab") for n in range(10)]

CASES = [
    Case("a category that nobody knows", home(category="moon"), NOTHING, []),
    Case("a category of which everything is sold out", home(category="kitchen"), NOTHING, [],
         told=[stock(k1=False, k2=False)]),
    Case("a category in another spelling", home(category=" Garden / ROSES"), STRANGER,
         ["r3", "r1", "r2"]),
    Case("everything is excluded", home(exclude=POPULAR), NOTHING, []),
    Case("everything is hidden by a rule", home(), NOTHING, [],
         config={"rules": [{"only": "price > 9"}]}),
    Case("the brand of everything is muted", home(visitor_id="tab"), NOTHING, [],
         told=[told(visitor_id="tab", mute_brands=["own"])]),
    Case("fewer than min_items, and on_too_few is suppress", home(category="kitchen"),
         {"decision": "suppress", "reason": "too_few_items"}, [],
         config=place(min_items=3, on_too_few="suppress")),
    Case("a size beyond the catalogue", home(size=200), {**STRANGER, "next_cursor": None}, POPULAR),
    Case("a pin of an item that cannot be had", home(), STRANGER, POPULAR[:4],
         config={"rules": [{"pin": [{"item": "sold", "position": 1}]}]}),
    Case("a pin of an item that is announced for later", home(), STRANGER, POPULAR[:4],
         config={"rules": [{"pin": [{"item": "soon", "position": 1}]}]}),
    Case("a pin of an item that this person disliked", home(visitor_id="tab"), items=POPULAR[:4],
         told=[views("t2", kind="dislike", visitor_id="tab")],
         config={"rules": [{"pin": [{"item": "t2", "position": 1}]}]}),
    Case("two rules pin one slot", home(), STRANGER, ["k1", "t2", "h1", "r3"],
         config={"rules": [{"pin": [{"item": "k1", "position": 1}]},
                           {"pin": [{"item": "t2", "position": 1}]}]}),
    Case("unknown ids in recent and item_id", home(recent=["?1", "?2"], item_id="?3"),
         {**STRANGER, "unknown_items": ["?1", "?2", "?3"]}, POPULAR[:4]),
    Case("unknown ids in exclude", home(exclude=["?1", "h1"]),
         {**STRANGER, "unknown_items": ["?1"]}, POPULAR[1:5]),
    Case("similar to an unknown id", SimilarRequest(placement="home", item_id="?1"),
         fault=("item_id", "there is no item '?1'")),
    Case("sort of unknown ids only", SortRequest(placement="home", item_ids=["?2", "?1"]),
         {"decision": "fallback", "reason": "no_opinion", "item_ids": ["?2", "?1"],
          "unknown_items": ["?2", "?1"]}),
    Case("one item five hundred times in recent", home(recent=["r1"] * 500),
         {"decision": "show", "reason": "current_session", "rung": "context"}, ["r2", ...]),
    Case("a history of 10,000 events", home(visitor_id="tab"),
         {"decision": "show", "reason": "known_history", "rung": "one_to_one"}, told=LONG),
    Case("consent withdrawn in mid-session", home(user_id="c0"),
         {"decision": "show", "reason": "no_consent", "rung": "context"}, ["k2", ...],
         told=[views("k1", user_id="c0"), told(user_id="c0", personalise=False)]),
    Case("a customer who was forgotten", home(user_id="c0"),
         {"decision": "show", "reason": "unknown_user", "rung": "one_for_all"}, POPULAR[:4],
         told=[ForgetRequest(user_id="c0")]),
    Case("a device of two customers", home(visitor_id="tab"), STRANGER, POPULAR[:4],
         told=[IdentifyRequest(visitor_id="tab", user_id=one) for one in ("c0", "c1")]),
    Case("a user_id that nobody knows", home(user_id="nobody"),
         {"decision": "show", "reason": "unknown_user", "rung": "one_for_all"}, POPULAR[:4]),
    Case("a feed of a placement that only sorts", home(), fault=("placement", "ask `sort`"),
         config=place(sort_only=True)),
    Case("similar at a placement that only sorts", SimilarRequest(placement="home", item_id="r1"),
         fault=("placement", "ask `sort`"), config=place(sort_only=True)),
    Case("a moment, asked of a shop on the wall clock", home(at=NOW), fault=("at", "clock: as_of"),
         config=WALL_CLOCK),
    Case("a rung above the placement's", home(user_id="c0", highest_rung="one_to_one"),
         {"decision": "show", "reason": "limit", "rung": "one_for_all"}, POPULAR[:4],
         config=place(highest_rung="one_for_all")),
    Case("a customer in an experiment's holdout", home(user_id="c0"),
         {"decision": "show", "reason": "limit", "rung": "one_for_all",
          "arms": {"purpose": "holdout"}}, POPULAR[:4],
         config={"experiments": [{"name": "purpose", "holdout": 1.0}]}),
    Case("a stranger while an experiment runs", home(), {**STRANGER, "arms": {}}, POPULAR[:4],
         config={"experiments": [{"name": "purpose", "holdout": 1.0}]}),
    Case("a visitor in no arm of an experiment", home(visitor_id="tab"),
         {**STRANGER, "arms": {"purpose": "usual"}}, POPULAR[:4],
         config={"experiments": [{"name": "purpose", "holdout": 1e-9}]}),
    Case("an event on an item that the shop has not listed", home(size=200), items=POPULAR,
         told=[views(*["new"] * 9, visitor_id="tab")]),
    Case("an event of a type without a signal", views("r1", kind="hover", visitor_id="tab"),
         {"accepted": 1, "duplicates": 0, "without_signal": 1}),
    Case("an event twice in one batch", views("r1", "r1", event_id="7", visitor_id="tab"),
         {"accepted": 1, "duplicates": 1, "without_signal": 0}),
    Case("an event of an hour from now, on the wall clock",
         EventsRequest.model_validate({"events": [{"item_id": "r1", "event_type": "view",
            "visitor_id": "tab", "occurred_at": NOW + timedelta(hours=1)}]}),
         fault=("events.0.occurred_at", "in the future"), config=WALL_CLOCK),
    Case("an event of a minute from now, on the wall clock", home(visitor_id="tab"),
         {"reason": "current_session"}, ["r2", ...], config=WALL_CLOCK,
         told=[EventsRequest.model_validate({"events": [{"item_id": "r1", "event_type": "view",
            "visitor_id": "tab", "occurred_at": NOW + timedelta(minutes=1)}]})]),
    Case("an event from before the model", home(visitor_id="tab"), STRANGER, POPULAR[:4],
         told=[views("k1", minutes=-9999, visitor_id="tab")]),
    Case("a wish that says nothing", told(user_id="c0"), fault=("answers", "nothing to keep")),
    Case("a mute of a brand that the catalogue lacks", told(user_id="c0", mute_brands=["Acme"]),
         fault=("mute_brands.0", "none of this name")),
    Case("a new item without a kind", stock(new=True), fault=("items.0.kind", "say its kind")),
    Case("a new item that was published long ago", home(size=200), items=[*POPULAR, "new"],
         told=[CatalogueRequest.model_validate({"items": [
            {"item_id": "new", "kind": "product", "published_at": END - timedelta(days=400)}]})]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_hard_case_is_answered(case, tmp_path):
    async def work(desk):
        for one in case.told:
            await DO[type(one)](desk, one)
        return await DO[type(case.ask)](desk, case.ask)

    bundle = changed(model(), **case.config)
    if case.fault is not None:
        with pytest.raises(BadRequest, match=re.escape(case.fault[1])) as error:
            at_desk(tmp_path, work, bundle=bundle)
        assert error.value.field == case.fault[0]
        return
    answer = at_desk(tmp_path, work, bundle=bundle)
    assert {field: answer[field] for field in case.answer} == case.answer
    if case.items is not None:
        found = [one["item_id"] for one in answer["items"]]
        wanted = [one for one in case.items if one is not ...]
        assert (found[: len(wanted)] if ... in case.items else found) == wanted


def test_the_page_has_the_same_table():
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
    table = page.partition("## Hard cases")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == [case.name for case in CASES]


def test_a_long_history_is_answered_about_as_fast_as_a_short_one(tmp_path):
    async def seconds(desk):
        for one in (*LONG, views("r1", visitor_id="short")):
            await telling.events(desk, one)
        found = {}
        for visitor in ("short", "tab"):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                await feed(desk, home(visitor_id=visitor))
                times.append(time.perf_counter() - began)
            found[visitor] = min(times)
        return found

    taken = at_desk(tmp_path, seconds)
    assert taken["tab"] < taken["short"] + 0.1
