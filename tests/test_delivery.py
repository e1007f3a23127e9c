"""A worker takes up a new version when it is sound and warm, and serves two side by side."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from small_desk import PARTS, view
from versions import SIMILARITY, flip, other_factors, reseal, version

from features.decided import read_decisions, salt
from features.experiments import Experiment, assign
from features.home import Home
from serving import delivery, telling
from serving.api import FeedRequest, SortRequest
from serving.api_told import CatalogueRequest
from serving.api_words import ValidateRequest
from serving.delivery import Holder
from serving.feed import feed
from serving.listing import sort
from serving.sqlite_state import SqliteState
from serving.sqlite_tables import connect
from serving.validating import validate
from serving.warming import replayed
from training.leases import unleased

HALF = {"name": "half", "arms": {"before": {"share": 0.5, "model": "v1"}}}
BEFORE, USUAL = (
    next(name for name in (f"c{n}" for n in range(12))
         if assign(Experiment.model_validate(HALF), name) == arm)
    for arm in ("before", "usual")
)  # fmt: skip


@pytest.fixture
def home(tmp_path):
    """A home with version 1."""
    made = Home(tmp_path / "home")
    version(made, "v1")
    return made


@pytest.fixture(autouse=True)
def all_that_is_told(caplog):
    caplog.set_level(logging.INFO, logger="feeds.delivery")


@asynccontextmanager
async def worker(home, serving="v1"):
    """A worker that serves this version; what it follows is moved by hand."""
    holder = Holder(home)
    home.pointer.write_text(f"{serving}\n")
    await holder.refresh()
    try:
        yield holder
    finally:
        await holder.close()


def at_work(home, work: Callable[[Holder], Awaitable[object]], serving="v1"):
    """What `work` makes of a worker."""

    async def main():
        async with worker(home, serving) as holder:
            return await work(holder)

    return asyncio.run(main())


async def promoted(holder, name):
    holder.home.pointer.write_text(f"{name}\n")
    await holder.refresh()


async def served(holder, **asked):
    """The version that answers, and those whose cards it shows (by their prices)."""
    answer = await feed(holder.desk, FeedRequest(**{"placement": "home", **asked}))
    return answer["model_version"], {f"v{one['price']:.0f}" for one in answer["items"]}


def decided(home):
    """Every decision that was logged."""
    return [one for file in sorted(home.decisions.glob("*")) for one in read_decisions(file)]


def met(home):
    """How many names the store was told of."""
    return connect(home.state).execute("SELECT count(*) FROM met").fetchone()[0]


class TestASwap:
    def test_serves_what_the_pointer_names(self, home):
        version(home, "v2")

        async def work(holder):
            before = await served(holder)
            await promoted(holder, "v2")
            return before, await served(holder)

        assert at_work(home, work) == (("v1", {"v1"}), ("v2", {"v2"}))

    def test_lets_the_old_bundle_go(self, home, monkeypatch):
        monkeypatch.setattr(delivery, "LEAVING_SECONDS", 0.0)
        version(home, "v2")

        async def work(holder):
            with unleased(home.bundles / "v1") as free:
                held = not free
            await promoted(holder, "v2")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with unleased(home.bundles / "v1") as free:
                return held, free

        assert at_work(home, work) == (True, True)

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda at: flip(at / SIMILARITY), f"{SIMILARITY} is not what was written"),
            (lambda at: reseal(at, format_version=99), "it has format 99, this code reads"),
            (lambda at: shutil.rmtree(at / "timelines"), "timelines/indptr.npy cannot be read"),
            (shutil.rmtree, "No such file or directory"),
        ],
        ids=["corrupt", "foreign", "incomplete", "gone"],
    )
    def test_is_refused_where_the_new_one_fails_its_checks(self, home, caplog, spoil, said):
        spoil(version(home, "v2"))

        async def work(holder):
            await promoted(holder, "v2")
            return holder.refused, (await served(holder))[0]

        assert at_work(home, work) == ("v2", "v1")
        assert "cannot serve v2; v1 stays: " in caplog.text
        assert said in caplog.text

    def test_is_refused_where_the_new_one_gives_wrong_answers(self, home, caplog):
        version(home, "v2", {SIMILARITY: other_factors})

        async def work(holder):
            await promoted(holder, "v2")
            return holder.refused, (await served(holder))[0]

        assert at_work(home, work) == ("v2", "v1")
        assert "ranker neighbours answers otherwise than when it was trained" in caplog.text

    def test_is_tried_once_and_again_when_the_bundle_is_another(self, home, caplog):
        flip(version(home, "v2") / SIMILARITY)

        async def work(holder):
            await promoted(holder, "v2")
            await holder.refresh()
            told = caplog.text.count("cannot serve v2")
            shutil.rmtree(home.bundles / "v2")
            version(home, "v2")
            await holder.refresh()
            return told, holder.refused, await served(holder)

        assert at_work(home, work) == (1, None, ("v2", {"v2"}))


class TestWarmingUp:
    def test_fills_what_a_first_request_would_have_to_work_out(self, home):
        async def work(holder):
            return set(holder.desk._shelves), bool(holder.desk._cards)

        assert at_work(home, work) == ({"home", "magazine"}, True)

    def test_writes_nothing_of_what_it_replays(self, home):
        version(home, "v2")

        async def work(holder):
            holder.recent.append(FeedRequest(placement="home", user_id="c0"))
            await promoted(holder, "v2")
            holder.desk.introduce()
            return holder.desk.bundle.version

        assert at_work(home, work) == "v2"
        assert not decided(home)
        assert met(home) == 0

    def test_keeps_nobodys_name(self, home):
        async def work(holder):
            request = FeedRequest(placement="home", user_id="c0", visitor_id="phone", size=3)
            holder.remember(request)
            return holder.recent[-1]

        assert at_work(home, work) == FeedRequest(placement="home", size=3)

    def test_asks_the_store_where_the_store_lives(self, home):
        """Its connections belong to the worker's own event loop, not to the thread that warms."""
        version(home, "v2")
        threads = set()

        class Watched(SqliteState):
            async def recall(self, user_id, visitor_id):
                threads.add(threading.get_ident())
                return await super().recall(user_id, visitor_id)

        async def work(holder):
            await holder.state.close()
            holder.state = Watched(home.state, salt(home.salt))
            await promoted(holder, "v2")

        at_work(home, work)
        assert threads == {threading.get_ident()}

    def test_refuses_a_model_that_cannot_answer_what_the_old_one_answered(self, home, caplog):
        version(home, "v2", {"devices/rows.npy": lambda old: old + 1_000_000})

        async def work(holder):
            request = FeedRequest(placement="home", visitor_id="phone")
            await feed(holder.desk, request)
            holder.recent.append(request)
            await promoted(holder, "v2")
            return holder.refused, (await served(holder))[0]

        assert at_work(home, work) == ("v2", "v1")
        assert "v2 cannot answer a request for a feed (IndexError in " in caplog.text
        assert "phone" not in caplog.text

    def test_is_no_obstacle_to_a_config_that_has_lost_a_placement(self, home):
        version(home, "v2", placements={"home": PARTS["placements"]["home"]})

        async def work(holder):
            holder.recent.append(FeedRequest(placement="magazine"))
            await promoted(holder, "v2")
            return await served(holder)

        assert at_work(home, work) == ("v2", {"v2"})

    def test_ends_when_its_time_is_over(self, home):
        async def work(holder):
            requests = [FeedRequest(placement="home")] * 3
            desk, state = holder.desk, holder.state
            return [await replayed(desk, requests, state, seconds) for seconds in (0.0, 60.0)]

        assert at_work(home, work) == [0, 3]


class TestTwoVersionsSideBySide:
    @pytest.fixture
    def home(self, home):
        """Version 2 is the champion; half of the people go on with version 1."""
        version(home, "v2", experiments=[HALF])
        return home

    @pytest.mark.parametrize(
        ("who", "answers"),
        [({"user_id": BEFORE}, "v1"), ({"user_id": USUAL}, "v2"), ({}, "v2")],
        ids=["in the arm", "usual", "a stranger"],
    )
    def test_everybody_is_answered_by_the_version_of_their_arm(self, home, who, answers):
        asked = at_work(home, lambda holder: served(holder, **who), "v2")
        assert asked == (answers, {answers})

    def test_a_visitor_is_in_the_arm_of_the_customer_whose_device_it_is(self, home):
        by_name = at_work(home, lambda holder: served(holder, user_id="c0"), "v2")
        assert at_work(home, lambda holder: served(holder, visitor_id="phone"), "v2") == by_name

    def test_listing_pages_are_sorted_by_it_as_well(self, home):
        async def work(holder):
            asked = [SortRequest(placement="home", user_id=one, item_ids=["r1", "k1"])
                     for one in (BEFORE, USUAL)]  # fmt: skip
            return [(await sort(holder.desk, one))["model_version"] for one in asked]

        assert at_work(home, work, "v2") == ["v1", "v2"]

    def test_decisions_say_which(self, home):
        async def work(holder):
            for one in (BEFORE, USUAL):
                await feed(holder.desk, FeedRequest(placement="home", user_id=one))

        at_work(home, work, "v2")
        found = [(one.arms, one.model_version) for one in decided(home)]
        assert found == [({"half": "before"}, "v1"), ({"half": "usual"}, "v2")]

    def test_a_dry_run_writes_nothing_there_either(self, home):
        async def work(holder):
            asked = {"placement": "home", "user_id": BEFORE}
            request = ValidateRequest(endpoint="feed", request=asked)
            return (await validate(holder.desk, request))["would"][1]

        assert at_work(home, work, "v2") == "experiment half: arm before"
        assert not decided(home)
        assert met(home) == 0

    def test_both_follow_the_store(self, home):
        async def work(holder):
            await holder.state.write([view("r3", user_id="c0")])
            await holder.catch_up()
            return [one.living.newest_us for one in holder.desk.together]

        first, second = at_work(home, work, "v2")
        assert first == second > 0

    def test_both_sell_out_at_once_where_it_was_told(self, home):
        async def work(holder):
            gone = {"item_id": "r1", "available": False}
            await telling.catalogue(holder.desk, CatalogueRequest(items=[gone]))
            return [one.living.opened[one.found(["r1"])[0][0]] for one in holder.desk.together]

        assert at_work(home, work, "v2") == [False, False]

    def test_the_old_champion_goes_on_as_it_is_when_it_becomes_an_arm(self, home):
        async def work(holder):
            living = holder.desk.living
            await promoted(holder, "v2")
            return holder.desk.others["v1"].living is living

        assert at_work(home, work, "v1")

    def test_a_version_that_is_not_here_leaves_its_experiment_undealt(self, home, caplog):
        shutil.rmtree(home.bundles / "v1")

        async def work(holder):
            arms = (await feed(holder.desk, FeedRequest(placement="home", user_id=BEFORE)))["arms"]
            return arms, await served(holder, user_id=BEFORE)

        assert at_work(home, work, "v2") == ({}, ("v2", {"v2"}))
        assert caplog.text.count("nobody is in the experiments on v1: ") == 1

    def test_and_is_dealt_as_soon_as_it_is_here(self, home):
        shutil.rmtree(home.bundles / "v1")

        async def work(holder):
            version(home, "v1")
            await holder.refresh()
            return await served(holder, user_id=BEFORE)

        assert at_work(home, work, "v2") == ("v1", {"v1"})

    def test_a_version_without_a_placement_of_the_experiment_is_not_dealt(self, home, caplog):
        places = {**PARTS["placements"], "basket": {"size": 2}}
        version(home, "v3", placements=places, experiments=[HALF])
        assert at_work(home, lambda h: served(h, user_id=BEFORE), "v3") == ("v3", {"v3"})
        assert "v1 was trained without the placement 'basket'; limit the experiment" in caplog.text

    def test_an_experiment_that_is_over_opens_nothing(self, home):
        over = {**HALF, "ends": "2020-01-01T00:00:00Z"}
        version(home, "v3", experiments=[over])

        async def work(holder):
            return list(holder.desk.others), holder.absent

        assert at_work(home, work, "v3") == ([], {})

    def test_a_third_version_may_stand_beside_them(self, home):
        version(home, "v3")
        arms = {"old": {"share": 0.4, "model": "v1"}, "odd": {"share": 0.4, "model": "v2"},
                "same": {"share": 0.1, "model": "champion"}}  # fmt: skip
        version(home, "v4", experiments=[{"name": "three", "arms": arms}])

        async def work(holder):
            return {(await served(holder, user_id=f"c{n}"))[0] for n in range(12)}

        assert at_work(home, work, "v4") == {"v1", "v2", "v4"}


def test_more_new_items_than_there_is_room_for_keep_both_versions_serving(home, monkeypatch):
    monkeypatch.setattr(delivery, "ROOM", 1)
    version(home, "v2", experiments=[HALF])

    async def work(holder):
        new = [{"item_id": f"n{n}", "kind": "product"} for n in range(3)]
        await telling.catalogue(holder.desk, CatalogueRequest(items=new))
        await holder.catch_up()
        return [one.found(["n2"])[1] for one in holder.desk.together]

    assert at_work(home, work, "v2") == [[], []]
