"""The store is away: feeds go on from the request and the model, and nothing else does."""

import asyncio
import shutil
import signal
import sqlite3
import time
from contextlib import asynccontextmanager, closing
from dataclasses import replace

import pytest
import small_desk
from small_desk import model, view

from features.home import Home
from features.options import STATE
from serving import listing, telling
from serving.api import FeedRequest, SimilarRequest, SortRequest
from serving.api_told import EventsRequest, ForgetRequest, PreferencesRequest
from serving.api_words import ProfileRequest, QuestionsRequest
from serving.decisions import DecisionLog
from serving.delivery import Holder
from serving.desk import Desk
from serving.feed import feed
from serving.living import Living
from serving.profile import profile
from serving.questions import questions
from serving.redis_state import RedisState
from serving.rulebook import Rulebook
from serving.similar import similar
from serving.state import StateUnavailable
from serving.states import Absent, state_of

pytest_plugins = ["redis_server"]
REST = 0.6  # seconds after which a store that was away is tried again


@pytest.fixture
def server(redis_started):
    return redis_started()


@asynccontextmanager
async def desk_on(state, path, *, alone=False):
    log = DecisionLog(path / "decisions", "worker")
    try:
        living = await Living.of(model(), state, alone=alone)
        yield Desk(living, state, Rulebook.of(None, living), log, b"x" * 32)
    finally:
        log.close()
        await state.close()


def ask(desk, **more):
    return feed(desk, FeedRequest(**{"placement": "home", **more}))


@pytest.fixture(scope="module")
def answers(redis_started, tmp_path_factory):
    """What a worker answers before, while and after its Redis is dead."""
    server, tmp_path = redis_started(), tmp_path_factory.mktemp("worker")

    async def main():
        state = RedisState(server.url, b"key")
        async with desk_on(state, tmp_path) as desk:
            before = await ask(desk, user_id="c0")
            server.send(signal.SIGKILL)
            during = {
                "feed": await ask(desk, user_id="c0"),
                "visit": await ask(desk, user_id="c0", recent=["k1"]),
                "stranger": await ask(desk),
                "sort": await listing.sort(desk, SortRequest(
                    placement="home", user_id="c0", item_ids=["t1", "r1"])),
                "question": await questions(desk, QuestionsRequest(user_id="c0")),
            }  # fmt: skip
            with pytest.raises(StateUnavailable):
                await desk.living.catch_up(state)
            goes_with = SimilarRequest(placement="home", item_id="r1")
            during["similar"] = await similar(desk, goes_with)
            during["later stranger"] = await ask(desk)
            server.start()
            await asyncio.sleep(REST)
            await desk.living.catch_up(state)
            return before, during, await ask(desk, user_id="c0")

    return asyncio.run(main())


class TestAnswers:
    def test_are_of_the_request_alone_and_say_so(self, answers):
        before, during, after = answers
        known = (before["reason"], before["rung"], before["degraded"])
        assert known == ("known_history", "one_to_one", False)
        found = during["feed"]
        assert (found["decision"], found["reason"], found["rung"], found["degraded"]) == (
            "show", "degraded", "one_for_all", True)  # fmt: skip
        assert [one["item_id"] for one in found["items"]] == [
            one["item_id"] for one in during["stranger"]["items"]
        ]
        assert (after["reason"], after["degraded"]) == ("known_history", False)

    def test_use_the_visit_that_the_request_tells_of(self, answers):
        found = answers[1]["visit"]
        assert (found["reason"], found["rung"]) == ("degraded", "context")
        assert found["items"][0]["ranker"] == "transitions"
        assert found["items"][0]["item_id"] == "k2"

    def test_a_page_comes_back_sorted_for_anybody(self, answers):
        found = answers[1]["sort"]
        assert sorted(found["item_ids"]) == ["r1", "t1"]
        assert (found["reason"], found["rung"], found["degraded"]) == (
            "degraded", "one_for_all", True)  # fmt: skip

    def test_where_nobody_is_asked_for_only_what_happened_of_late_is_missing(self, answers):
        """Marked once the worker knows that it does not hear of anything any more."""
        reasons = {name: (answers[1][name]["reason"], answers[1][name]["degraded"])
                   for name in ("stranger", "later stranger", "similar")}  # fmt: skip
        assert reasons == {"stranger": ("stranger", False), "later stranger": ("stranger", True),
                           "similar": ("current_session", True)}  # fmt: skip

    def test_nobody_is_asked_a_question(self, answers):
        assert answers[1]["question"]["question"] is None
        assert "cannot be looked up" in answers[1]["question"]["why"]


@pytest.mark.parametrize(
    ("work", "request_"),
    [
        (telling.events, EventsRequest(events=[
            {"item_id": "r1", "event_type": "view", "visitor_id": "tv"}])),
        (telling.preferences, PreferencesRequest(user_id="c0", personalise=False)),
        (telling.forget, ForgetRequest(user_id="c0")),
        (profile, ProfileRequest(user_id="c0")),
    ],
    ids=["events", "preferences", "forget", "profile"],
)  # fmt: skip
def test_what_cannot_be_kept_or_looked_up_is_refused(server, tmp_path, work, request_):
    async def main():
        async with desk_on(RedisState(server.url, b"key"), tmp_path) as desk:
            server.send(signal.SIGKILL)
            with pytest.raises(StateUnavailable, match="cannot be reached now"):
                await work(desk, request_)

    asyncio.run(main())


class TestTheFollower:
    def test_goes_on_where_it_was_and_counts_nothing_twice(self, redis_started, tmp_path):
        server = redis_started("--appendfsync", "always")

        async def main():
            state, other = RedisState(server.url, b"key"), RedisState(server.url, b"key")
            async with desk_on(state, tmp_path) as desk:
                await other.write([view("k1", after=1, visitor_id="tv")])
                await desk.living.catch_up(state)
                server.send(signal.SIGKILL)
                for one in (state, other):  # the other is of a worker that follows, too
                    with pytest.raises(StateUnavailable):
                        await desk.living.catch_up(one)
                server.start()
                await asyncio.sleep(REST)
                await other.since(0)
                await other.write([view("k2", after=2, visitor_id="tv")])
                await desk.living.catch_up(state)
                await other.close()
                fresh = await Living.of(model(), state)
                anew = replace(desk, living=fresh)
                return desk.living.seq, fresh.seq, desk.popularity(), anew.popularity()

        seq, fresh, counted, wanted = asyncio.run(main())
        assert seq == fresh == 2
        assert counted.tolist() == wanted.tolist()


class TestAtTheStart:
    def test_a_worker_serves_without_its_redis_and_follows_when_it_comes(
        self, redis_started, tmp_path, monkeypatch
    ):
        server = redis_started()
        monkeypatch.setenv(STATE, server.url)
        shutil.copytree(small_desk.directory(), tmp_path / "bundles" / "v1")
        (tmp_path / "CURRENT").write_text("v1\n")

        async def main():
            holder = Holder(Home(tmp_path))
            writer = state_of(Home(tmp_path))
            await writer.write([view("k1", visitor_id="tv")])
            await writer.close()
            server.send(signal.SIGKILL)
            await holder.refresh()
            first = await ask(holder.desk, visitor_id="tv")
            server.start()
            await asyncio.sleep(REST)
            await holder.catch_up()
            second = await ask(holder.desk, visitor_id="tv")
            await holder.close()
            return first, second, holder.desk.living.seq

        first, second, seq = asyncio.run(main())
        assert (first["reason"], first["degraded"]) == ("degraded", True)
        assert (second["reason"], second["degraded"], seq) == ("current_session", False, 1)

    def test_a_redis_of_another_home_is_not_served_with(
        self, server, tmp_path, monkeypatch, caplog
    ):
        monkeypatch.setenv(STATE, server.url)
        for name in ("one", "other"):
            shutil.copytree(small_desk.directory(), tmp_path / name / "bundles" / "v1")
            (tmp_path / name / "CURRENT").write_text("v1\n")

        async def main():
            found = []
            for name in ("one", "other"):
                holder = Holder(Home(tmp_path / name))
                await holder.refresh()
                found.append(holder.desk is not None)
                if holder.desk is not None:
                    await holder.state.write([view("k1", visitor_id="tv")])
                await holder.close()
            return found

        assert asyncio.run(main()) == [True, False]
        assert "copy that home's file `salt`" in caplog.text

    def test_a_file_that_cannot_be_opened_is_tried_again(self, tmp_path):
        """Something else lies where it should."""
        home = Home(tmp_path)
        home.state.mkdir()

        async def main():
            state = state_of(home)
            assert isinstance(state, Absent)
            with pytest.raises(StateUnavailable, match="cannot be opened now: unable to open"):
                await state.write([view("k1", visitor_id="tv")])
            home.state.rmdir()
            time.sleep(REST)
            new = await state.write([view("k1", visitor_id="tv")])
            await state.close()
            return new

        assert asyncio.run(main()) == [True]


def test_a_file_that_cannot_be_read_any_more_degrades_too(tmp_path):
    async def broken(desk):
        before = await ask(desk, user_id="c0")
        with closing(sqlite3.connect(tmp_path / "state.db")) as file:
            file.execute("DROP TABLE names")
        return before["reason"], (await ask(desk, user_id="c0"))["reason"]

    assert small_desk.at_desk(tmp_path, broken) == ("known_history", "degraded")
