"""What a person does not want, and what they answered: the next feed obeys.

In the log `c0` looked at r1, r2 and t1.
"""

from __future__ import annotations

import pytest
from small_desk import END, MINUTE, PLACES, at_desk

from serving import telling
from serving.api import FeedRequest
from serving.api_told import (
    AnswerIn,
    EventIn,
    EventsRequest,
    IdentifyRequest,
    PreferencesRequest,
)
from serving.asking import people_of, who
from serving.feed import feed

LOGGED = ["r1", "r2", "t1"]


@pytest.fixture
def at(tmp_path):
    """`at(work)`: what the coroutine `work` gives at a desk."""
    return lambda work: at_desk(tmp_path, work)


async def people(desk, **name):
    """Who asks under this name, as the policy sees them."""
    asker = await who(
        desk.living, desk.state, name.get("user_id"), name.get("visitor_id"), desk.now_us(None)
    )
    return people_of(desk.living, asker, desk.found([])[0]).queries


async def history(desk, user_id):
    queries = await people(desk, user_id=user_id)
    return desk.living.catalogue.texts(queries.histories.items)


async def sees(desk, item, user_id):
    moment = END + 99 * MINUTE
    event = EventIn(item_id=item, event_type="view", occurred_at=moment, user_id=user_id)
    await telling.events(desk, EventsRequest(events=[event]))


async def prefers(desk, **words):
    await telling.preferences(desk, PreferencesRequest(**words))


class TestWhatIsNotWanted:
    def shown(self, at, **words):
        """What c0 is shown who has just looked at r1: items, and what they are said to go with."""

        async def work(desk):
            await sees(desk, "r1", "c0")
            if words:
                await prefers(desk, user_id="c0", **words)
            answer = await feed(desk, FeedRequest(placement="home", user_id="c0", size=9))
            return await history(desk, "c0"), answer["items"]

        return at(work)

    def test_without_a_word_roses_are_shown_and_speak_for_others(self, at):
        known, items = self.shown(at)
        assert "r3" in [one["item_id"] for one in items]
        assert known == [*LOGGED, "r1"]

    def test_a_muted_category_is_neither_shown_nor_a_reason(self, at):
        known, items = self.shown(at, mute_categories=["garden/roses"])
        assert not {one["item_id"] for one in items} & {"r1", "r2", "r3"}
        assert known == ["t1"]
        assert not [one["reason"] for one in items if "R1" in one["reason"]]

    def test_a_muted_brand_is_gone_and_comes_back(self, at):
        _, nothing = self.shown(at, mute_brands=["own"])  # everything here is of it
        _, again = self.shown(at, unmute_brands=["Own"])
        assert nothing == []
        assert "r3" in [one["item_id"] for one in again]

    def test_less_of_this_takes_the_item_away_and_leaves_its_category(self, at):
        known, items = self.shown(at, less_of_items=["r3"])
        ids = [one["item_id"] for one in items]
        assert "r3" not in ids
        assert {PLACES[one] for one in ids} & {"garden/tools", "kitchen"}
        assert known == [*LOGGED, "r1"]


class TestAnAnswer:
    def test_is_a_word_on_a_category_of_the_next_feed(self, at):
        async def work(desk):
            told = AnswerIn(question="topic", answer="Kitchen")
            await prefers(desk, visitor_id="tab", answers=[told])
            queries = await people(desk, visitor_id="tab")
            tree = desk.living.catalogue.tree
            return {tree[n]: float(w) for n, w in zip(
                queries.declared.indices, queries.declared.data, strict=True)}  # fmt: skip

        (category, weight), *others = at(work).items()
        assert (category, others) == ("kitchen", [])
        assert weight > 0


class TestAMute:
    @pytest.mark.parametrize("undone", [False, True])
    def test_is_no_answer_that_asks_for_more(self, at, undone):
        async def work(desk):
            await prefers(desk, visitor_id="tab", mute_categories=["garden"])
            if undone:
                await prefers(desk, visitor_id="tab", unmute_categories=["garden"])
            return (await people(desk, visitor_id="tab")).declared.nnz

        assert at(work) == 0

    def test_does_not_overrule_less_of_it(self, at):
        async def work(desk):
            await prefers(desk, visitor_id="tab", less_of_categories=["garden"])
            await prefers(desk, visitor_id="tab", mute_categories=["garden"])
            return (await people(desk, visitor_id="tab")).declared.data.tolist()

        (weight,) = at(work)
        assert weight < 0

    def test_of_an_item_can_be_taken_back(self, at):
        async def work(desk):
            found = []
            for words in ({"less_of_items": ["r2"]}, {"unmute_items": ["r2"]}):
                await prefers(desk, visitor_id="tab", **words)
                answer = await feed(desk, FeedRequest(placement="home", visitor_id="tab", size=20))
                found.append("r2" in [one["item_id"] for one in answer["items"]])
            return found

        assert at(work) == [False, True]


class TestASharedDevice:
    def test_does_not_know_what_was_said_on_it(self, at):
        async def work(desk):
            await prefers(desk, visitor_id="tab", mute_categories=["garden"])
            for customer in ("c1", "c2"):
                one = IdentifyRequest(visitor_id="tab", user_id=customer)
                await telling.identify(desk, one)
            answer = await feed(desk, FeedRequest(placement="home", visitor_id="tab", size=20))
            return answer["reason"], {one["category"].split("/")[0] for one in answer["items"]}

        reason, categories = at(work)
        assert reason == "stranger"
        assert "garden" in categories
