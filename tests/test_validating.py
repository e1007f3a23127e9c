"""Validate: a dry run says what a request would do and why, and leaves no trace."""

from __future__ import annotations

from typing import get_args

import pytest
from mail_desk import equipped, shop
from small_desk import END_US, at_desk, changed, model, view

from features.types import from_us
from serving.api import FeedRequest
from serving.api_told import IdentifyRequest, PreferencesRequest
from serving.api_words import Endpoint, ValidateRequest, ValidateResponse
from serving.feed import feed
from serving.state import Answer, Link
from serving.telling import identify, preferences
from serving.validating import validate


async def tried(desk, endpoint, **request):
    found = await validate(desk, ValidateRequest(endpoint=endpoint, request=request))
    ValidateResponse.model_validate(found)
    return found


@pytest.fixture
def dry(tmp_path):
    """The dry run of one request: `dry("feed", facts, placement="home")`."""

    def run(endpoint, facts=(), bundle=None, **request):
        return at_desk(tmp_path, lambda desk: tried(desk, endpoint, **request), facts, bundle)

    return run


REQUESTS = {
    "feed": {"placement": "home", "user_id": "c0"},
    "sort": {"placement": "home", "item_ids": ["r1", "nothing", "sold"], "user_id": "c0"},
    "similar": {"placement": "home", "item_id": "r1"},
    "block": {"user_id": "c0", "mailing": "basket"},
    "events": {"events": [{"item_id": "r1", "event_type": "view", "user_id": "c0"}]},
    "identify": {"visitor_id": "tv", "user_id": "c0"},
    "unlink": {"visitor_id": "phone", "user_id": "c0"},
    "preferences": {"user_id": "c0", "mute_categories": ["kitchen"], "personalise": False},
    "forget": {"user_id": "c0"},
    "catalogue": {"items": [{"item_id": "r1", "price": 9.0, "available": False}]},
    "questions": {"user_id": "c0"},
    "profile": {"user_id": "c0"},
}


class TestLeavesNoTrace:
    @pytest.mark.parametrize("endpoint", get_args(Endpoint))
    def test_nothing_is_kept_logged_counted_or_shown(self, tmp_path, endpoint):
        """Not even where a rule asks what was seen, so that a real feed would be noted."""
        rules = [{"placement": "home", "seen": {"times": 9}}]

        async def work(desk):
            equipped(desk)
            asking = FeedRequest(placement="home", user_id="c0")
            before = await feed(desk, asking)
            recalled, seq = await desk.state.recall("c0", "phone"), desk.living.seq
            found = await tried(desk, endpoint, **REQUESTS[endpoint])
            assert (found["valid"], found["faults"]) == (True, [])
            assert found["would"]
            assert await desk.state.recall("c0", "phone") == recalled
            assert (await desk.state.since(0), desk.living.seq) == ([], seq)
            assert (await feed(desk, asking))["items"] == before["items"]

        at_desk(tmp_path, work, bundle=shop(rules=rules))
        shown = at_desk(tmp_path, lambda desk: desk.state.recall("c0", None)).shown
        logged = [line for one in (tmp_path / "decisions").glob("*.jsonl")
                  for line in one.read_text().splitlines()]  # fmt: skip
        assert (len(logged), len(shown)) == (2, 2)  # the two real ones

    def test_what_is_announced_for_later_stays_announced(self, tmp_path):
        """`soon` appears a day after the model's moment."""
        later = {"placement": "home", "size": 20, "at": "2026-03-05T12:00:00Z"}

        async def work(desk):
            await tried(desk, "feed", **later)
            answer = await feed(desk, FeedRequest(placement="home", size=20))
            return "soon" in [one["item_id"] for one in answer["items"]]

        assert at_desk(tmp_path, work) is False


class TestFaults:
    def test_name_each_field_and_say_what_is_wrong(self, dry):
        found = dry("feed", placement="home", size=0, user="c0", at="noon")
        assert found["valid"] is False
        told = {one["field"]: one["message"] for one in found["faults"]}
        assert list(told) == ["at", "size", "user"]
        assert told["user"] == "is not a field of this request; look for a typo"
        assert "noon" in told["at"] or "time zone" in told["at"]
        assert "would be refused (400)" in found["would"][0]

    def test_are_those_that_only_the_shop_can_judge_too(self, dry):
        found = dry("feed", placement="hall")
        assert found["faults"][0]["field"] == "placement"
        assert "there is no placement 'hall'" in found["faults"][0]["message"]
        assert dry("catalogue", items=[{"item_id": "new"}])["faults"][0]["field"] == "items.0.kind"

    def test_inside_lists_have_their_place(self, dry):
        found = dry("events", events=[REQUESTS["events"]["events"][0], {"item_id": "r1"}])
        assert [one["field"] for one in found["faults"]] == ["events.1.event_type"]

    def test_of_the_whole_request_are_told_as_that(self, dry):
        fault = {"field": "request", "message": "give user_id or visitor_id"}
        assert dry("profile")["faults"] == [fault]


class TestFeeds:
    def test_say_what_would_be_decided_and_why(self, dry):
        found = dry("feed", **REQUESTS["feed"], recent=["nothing"])
        assert (found["decision"], found["reason"], found["rung"]) == (
            "show", "known_history", "one_to_one"
        )  # fmt: skip
        assert found["excluded"] == {"not_published_yet": 1, "unavailable": 1}
        assert found["would"] == [
            "show: 4 items on home, rung one_to_one, because of known_history",
            "ids that the catalogue lacks: nothing",
            "items that could not be shown: 1 not_published_yet, 1 unavailable",
        ]

    def test_name_the_arm(self, dry):
        held = changed(model(), experiments=[{"name": "test", "holdout": 1.0}])
        found = dry("feed", bundle=held, **REQUESTS["feed"])
        assert (found["rung"], found["reason"]) == ("one_for_all", "limit")
        assert "experiment test: arm holdout" in found["would"]

    def test_of_a_listing_page_lose_nothing(self, dry):
        assert dry("sort", **REQUESTS["sort"])["would"] == [
            "show: 3 items on home, rung one_to_one, because of known_history",
            "ids that the catalogue lacks: nothing", "ids that cannot be had now: sold",
        ]  # fmt: skip


class TestTold:
    def test_events_say_what_would_count(self, dry):
        one = {"item_id": "r1", "event_type": "view", "visitor_id": "v", "event_id": "7"}
        before = from_us(END_US - 1).isoformat()
        events = [one, one, {**one, "event_id": "8", "event_type": "search", "item_id": "new"},
                  {**one, "event_id": "9", "occurred_at": before}]  # fmt: skip
        assert dry("events", events=events)["would"] == [
            "3 events would be kept",
            "1 have an event_id that this batch gives twice: they count once",
            "3 events would count only if the event_id was not kept before",
            "of no interest to any ranker, as the config gives no signal: search",
            "items that the catalogue lacks would stay hidden: new",
            "1 event from before the model: no feed would change by that",
        ]

    @pytest.mark.parametrize(
        ("request_", "told"),
        [
            ({"answers": [{"question": "q", "answer": "roses"}]},
             "more of garden/roses would be shown"),
            ({"answers": [{"question": "q", "answer": "blue"}]},
             "'blue' names no category: it would change no order"),
            ({"answers": [{"question": "q", "answer": "skip"}]},
             "'q' would count as answered, and change no feed"),
            ({"less_of_categories": ["kitchen"]}, "less of kitchen would be shown"),
            ({"mute_brands": ["own"]}, "nothing of the brand Own would be shown"),
            ({"unmute_brands": ["own"]}, "Own could be shown again"),
            ({"personalise": True}, "feeds may use what is known of this person"),
            ({"personalise": False},
             "feeds would use nothing but the current visit: none above the rung `context`"),
        ],
    )  # fmt: skip
    def test_preferences_say_what_the_next_feed_would_obey(self, dry, request_, told):
        assert dry("preferences", user_id="c0", **request_)["would"] == [told]

    @pytest.mark.parametrize(
        ("device", "told"),
        [
            ("new", "the device new would be the customer c0's, with 0 events of its own"),
            ("known", "the device known would be the customer c0's, with 1 event of its own"),
            ("mine", "the device mine is the customer c0's already"),
            ("d0s", "the device d0s is another customer's: it would be shared, and so nobody's"),
            ("ours", "the device ours has had too many customers: it would stay nobody's"),
        ],
    )
    def test_identify_says_whose_the_device_would_be(self, dry, device, told):
        links = [("mine", "c0"), ("d0s", "d0"), ("ours", "c0"), ("ours", "d0")]
        facts = [view("r1", visitor_id="known"),
                 *(Link(visitor_id=v, user_id=u, at_us=1) for v, u in links)]  # fmt: skip
        assert dry("identify", facts, visitor_id=device, user_id="c0")["would"] == [told]

    def test_a_device_that_is_anothers_by_now_is_not_forgotten_with_a_customer(self, dry):
        """The model's log says that the phone is c0's."""
        moved = Link(visitor_id="phone", user_id="c1", at_us=1)
        assert not any("phone" in one for one in dry("forget", [moved], user_id="c0")["would"])

    def test_who_is_named_by_a_device_is_forgotten_with_all_that_the_log_knows(self, dry):
        tablet = Link(visitor_id="tablet", user_id="c0", at_us=1)
        told = dry("forget", [tablet], visitor_id="tablet")["would"]
        assert told[-1] == "the device phone would be forgotten, too"

    def test_forget_says_what_would_go(self, dry):
        facts = [view("r1", user_id="c0"), Link(visitor_id="tv", user_id="c0", at_us=1),
                 Answer(user_id="c0", question="q", answer="roses", answered_us=1)]  # fmt: skip
        assert dry("forget", facts, user_id="c0")["would"] == [
            "the customer c0 would be forgotten, with 1 linked device: 1 event and 1 answer of the "
            "service would go, and no feed would use what the model knows",
            "the device phone would be forgotten, too",
        ]

    def test_catalogue_says_what_was_and_what_would_be(self, dry):
        items = [{"item_id": "r1", "price": 9.0, "available": False, "title": "R1"},
                 {"item_id": "new", "kind": "article", "title": "New"},
                 {"item_id": "k1", "available": True}]  # fmt: skip
        assert dry("catalogue", items=items)["would"] == [
            "the item r1 would change: price None → 9.0, available True → False",
            "the item new would be added: kind article, title New",
            "the item k1 would stay as it is",
        ]


class TestIsTheTruth:
    """What the dry run says is what the real request then does."""

    def test_of_a_mute(self, tmp_path):
        asked = {"user_id": "c0", "mute_categories": ["garden/roses"]}

        async def work(desk):
            assert (await tried(desk, "preferences", **asked))["would"] == [
                "nothing of the category garden/roses would be shown"
            ]
            await preferences(desk, PreferencesRequest(**asked))
            answer = await feed(desk, FeedRequest(placement="home", user_id="c0", size=20))
            return {one["category"] for one in answer["items"]}

        assert "garden/roses" not in at_desk(tmp_path, work)

    def test_of_a_shared_device(self, tmp_path):
        async def work(desk):
            for user in ("c0", "d0"):
                request = {"visitor_id": "tv", "user_id": user}
                told = (await tried(desk, "identify", **request))["would"]
                notes = (await identify(desk, IdentifyRequest(**request)))["notes"]
            return told, notes

        told, notes = at_desk(tmp_path, work)
        assert "it would be shared, and so nobody's" in told[0]
        assert "had other customers" in notes[0]


def test_every_endpoint_that_can_be_tried_has_a_request_here():
    assert set(get_args(Endpoint)) == set(REQUESTS)
