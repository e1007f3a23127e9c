"""A worker's world: what it has been told is in the next feed, and as the replay would have it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from at_the_desk import at_the_desk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import DAY, SECOND, START, trained, written

from features.types import to_us
from serving import telling
from serving.api import FeedRequest
from serving.api_told import CatalogueRequest, EventIn, EventsRequest, ItemIn
from serving.desk import BadRequest
from serving.feed import feed
from serving.living import Living
from serving.sqlite_state import SqliteState
from serving.state import ItemChange
from training.batch import Wish, rank_people
from training.open_catalogue import NoRoom


@pytest.fixture(scope="module")
def model(new_shop):
    """Of the magazine, which shows what only an event has named, as a log of events does."""
    bundle = trained(new_shop())
    shown = bundle.config.catalogue.model_copy(update={"unlisted": "show"})
    return replace(bundle, config=bundle.config.model_copy(update={"catalogue": shown}))


def event(item, moment, user="n1", **more):
    told = {"user_id": user, "item_id": item, "event_type": "read", "occurred_at": moment, **more}
    return EventIn(**told)


async def tell(desk, *events):
    return await telling.events(desk, EventsRequest(events=list(events)))


async def ids(desk, moment, **who):
    answer = await feed(desk, FeedRequest(placement="home", at=moment, **who))
    return [one["item_id"] for one in answer["items"]]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["r1", "r3", "n1", "n2"]),
        st.sampled_from(["a", "b", "c", "d", "e", "new", "hot"]),
        st.integers(1, 3600),  # seconds since the step before
        st.booleans(),  # is it a request, or an event?
    ),
    min_size=3, max_size=14,
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_the_service_gives_what_the_replay_gives(model, tmp_path_factory, steps):
    """Events and requests in any order: `feeds rank --stream` offline, and one by one online."""
    directory, moment, script = tmp_path_factory.mktemp("one"), START + DAY, []
    for user, item, seconds, asks in steps:
        moment += timedelta(seconds=seconds)
        script.append((user, item, moment, asks))
    requests = [(f"{n}", one) for n, one in enumerate(script) if one[3]]
    told = [one for one in script if not one[3]]
    if not requests or not told:
        return
    stream = written(directory, [
        {"user_id": u, "item_id": i, "event_type": "read", "occurred_at": m} for u, i, m, _ in told
    ])  # fmt: skip
    people = pa.table({"person_id": [n for n, _ in requests],
                       "user_id": [one[0] for _, one in requests],
                       "at": [one[2] for _, one in requests]})  # fmt: skip
    offline = rank_people(model, people, Wish(20, stream=stream)).to_pylist()

    async def online(desk):
        found = {}
        for n, (user, item, moment, asks) in enumerate(script):
            if asks:
                found[f"{n}"] = await ids(desk, moment, user_id=user)
            else:
                await tell(desk, event(item, moment, user))
        return found

    answers = at_the_desk(model, directory, online)
    for name, items in answers.items():
        assert items == [row["item_id"] for row in offline if row["person_id"] == name], name


class TestAnEvent:
    def test_is_in_the_next_feed(self, model, tmp_path):
        async def work(desk):
            before = await ids(desk, START + DAY, user_id="n1")
            await tell(desk, event("d", START + DAY))
            return before, await ids(desk, START + DAY + SECOND, user_id="n1")

        before, after = at_the_desk(model, tmp_path, work)
        assert "d" in before
        assert "d" not in after, "an article is read once"

    def test_counts_once_however_often_it_is_sent(self, model, tmp_path):
        async def work(desk):
            one = event("d", START + DAY, event_id="7")
            first, again = await tell(desk, one), await tell(desk, one)
            recalled = await desk.state.recall("n1", None)
            return first, again, len(recalled.events)

        first, again, kept = at_the_desk(model, tmp_path, work)
        assert (first["accepted"], first["duplicates"]) == (1, 0)
        assert (again["accepted"], again["duplicates"]) == (0, 1)
        assert kept == 1

    def test_from_before_the_models_moment_is_kept_and_moves_nothing(self, model, tmp_path):
        async def work(desk):
            before = desk.living.bundle.rankers["popularity"].pace.counters.sums.copy()
            told = await tell(desk, event("hot", START - DAY))
            after = desk.living.bundle.rankers["popularity"].pace.counters.sums
            return told, np.array_equal(before, after)

        told, same = at_the_desk(model, tmp_path, work)
        assert told["accepted"] == 1
        assert same

    def test_on_an_item_that_nobody_has_listed_is_not_shown_where_the_shop_lists_its_items(
        self, model, tmp_path
    ):
        hiding = model.config.catalogue.model_copy(update={"unlisted": "hide"})
        shop = replace(model, config=model.config.model_copy(update={"catalogue": hiding}))

        async def work(desk):
            await tell(desk, *(event("hot", START + DAY, f"n{n}") for n in range(9)))
            hidden = await ids(desk, START + DAY + SECOND)
            listed = ItemIn(item_id="hot", kind="article", title="Hot")
            await telling.catalogue(desk, CatalogueRequest(items=[listed]))
            return hidden, await ids(desk, START + DAY + SECOND)

        hidden, shown = at_the_desk(shop, tmp_path, work)
        assert "hot" not in hidden
        assert shown.index("hot") < shown.index("e"), "its readers were counted all the while"

    def test_of_a_time_that_has_not_come_is_refused_whatever_the_clock(self, model, tmp_path):
        async def work(desk):
            with pytest.raises(BadRequest, match="is in the future"):
                await tell(desk, event("d", START + 365_000 * DAY))
            return desk.living.newest_us

        assert at_the_desk(model, tmp_path, work) == to_us(START), "everybody's clock stands"


class TestTheCatalogue:
    def test_what_sells_out_is_gone_and_comes_back(self, model, tmp_path):
        async def work(desk):
            found = [await ids(desk, START + DAY)]
            for there in (False, True):
                told = CatalogueRequest(items=[ItemIn(item_id="d", available=there)])
                await telling.catalogue(desk, told)
                found.append(await ids(desk, START + DAY))
            return found

        before, sold_out, back = at_the_desk(model, tmp_path, work)
        assert "d" in before
        assert sorted(sold_out) == sorted(set(before) - {"d"})
        assert back == before

    def test_what_was_told_holds_for_a_worker_that_starts_later(self, model, tmp_path):
        async def work(desk):
            told = CatalogueRequest(items=[ItemIn(item_id="d", available=False)])
            await telling.catalogue(desk, told)
            later = await Living.of(model, desk.state)
            return later.opened[later.catalogue.find(["d"])[0]]

        assert not at_the_desk(model, tmp_path, work)

    def test_what_was_told_before_the_model_was_made_is_in_the_models_table(self, model, tmp_path):
        async def work(desk):
            before = ItemChange(item_id="d", at_us=to_us(START) - 1, available=False)
            await desk.state.write([before])
            later = await Living.of(model, desk.state)
            return later.opened[later.catalogue.find(["d"])[0]]

        assert at_the_desk(model, tmp_path, work)

    def test_an_announced_article_opens_at_its_moment(self, model, tmp_path):
        async def work(desk):
            return [await ids(desk, START + 2 * DAY - SECOND), await ids(desk, START + 2 * DAY)]

        before, then = at_the_desk(model, tmp_path, work)
        assert "soon" not in before
        assert "soon" in then

    def test_what_is_sold_out_before_it_appears_does_not_appear(self, model, tmp_path):
        async def work(desk):
            told = CatalogueRequest(items=[ItemIn(item_id="soon", available=False)])
            await telling.catalogue(desk, told)
            return await ids(desk, START + 2 * DAY)

        assert "soon" not in at_the_desk(model, tmp_path, work)

    def test_a_new_price_is_on_the_next_card(self, model, tmp_path):
        async def work(desk):
            await feed(desk, FeedRequest(placement="home"))
            told = CatalogueRequest(items=[ItemIn(item_id="d", price=3.5, title="Dee")])
            await telling.catalogue(desk, told)
            answer = await feed(desk, FeedRequest(placement="home"))
            return next(one for one in answer["items"] if one["item_id"] == "d")

        card = at_the_desk(model, tmp_path, work)
        assert (card["price"], card["title"]) == (3.5, "Dee")

    def test_an_event_that_needs_more_room_is_not_lost(self, model, tmp_path):
        async def work(desk):
            small = await Living.of(model, desk.state, room=2)
            await tell(desk, *(event(f"x{n}", START + DAY) for n in range(3)))
            with pytest.raises(NoRoom):
                await small.catch_up(desk.state)
            with pytest.raises(NoRoom):
                await small.catch_up(desk.state)  # whoever looks again is told again

        at_the_desk(model, tmp_path, work)

    def test_a_fact_that_cannot_be_taken_in_stops_nothing(self, model, tmp_path, caplog):
        async def work(desk):
            odd = ItemChange(item_id="d", at_us=to_us(START) + 1, kind="no such kind")
            await desk.state.write([odd])
            await desk.living.catch_up(desk.state)
            await tell(desk, event("d", START + DAY))
            return await ids(desk, START + DAY + SECOND, user_id="n1")

        assert "d" not in at_the_desk(model, tmp_path, work), "read, after the odd fact"
        assert "left out what came with facts 1 to 1" in caplog.text

    def test_more_new_items_than_there_is_room_for_make_the_world_anew(self, model, tmp_path):
        """A worker that starts later needs the room at once."""

        async def work(desk):
            await tell(desk, *(event(f"x{n}", START + DAY) for n in range(20)))
            living = await Living.of(model, desk.state, room=5)
            return living.catalogue.room, living.catalogue.find(["x0", "x19"]).min()

        room, place = at_the_desk(model, tmp_path, work)
        assert room == 20
        assert place >= 0

    def test_beyond_a_limit_items_that_appear_are_left_out_and_all_others_go_on(
        self, model, tmp_path, caplog, monkeypatch
    ):
        monkeypatch.setattr("serving.living.MOST_ROOM", 20)

        async def work(desk):
            await tell(desk, *(event(f"x{n}", START + DAY) for n in range(20)))
            living = await Living.of(model, desk.state, room=5)
            told = [event("y1", START + DAY), event("y2", START + DAY, "n7"),
                    event("d", START + DAY, "n7")]  # fmt: skip
            listed = ItemChange(item_id="y3", at_us=to_us(START + DAY), kind="article")
            await tell(desk, told[0])
            await desk.state.write([listed])
            await living.catch_up(desk.state)
            before = wanted(living)
            await tell(desk, *told[1:])
            await living.catch_up(desk.state)
            found = living.catalogue.find(["x19", "y1", "y2", "y3"]).tolist()
            return [one >= 0 for one in found], wanted(living) > before

        def wanted(living):
            counters = living.bundle.rankers["popularity"].pace.counters
            return counters.at(to_us(START + DAY))[0, living.catalogue.find(["d"])[0]]

        found, counted = at_the_desk(model, tmp_path, work)
        assert (found, counted) == ([True, False, False, False], True)
        assert caplog.text.count("others are left out until the next training") == 1


def test_a_second_worker_follows(model, tmp_path):
    """Two worlds on one store: what the one is told, the other takes in."""

    async def work(desk):
        store = SqliteState(tmp_path / "state.db", b"key")
        other = await Living.of(model, store)
        await tell(desk, *(event("e", START + DAY, f"n{n}") for n in range(9)))
        await other.catch_up(store)
        await store.close()
        return [one.bundle.rankers["popularity"].pace.counters.at(to_us(START + 2 * DAY))
                   for one in (desk.living, other)]  # fmt: skip

    one, other = at_the_desk(model, tmp_path, work)
    np.testing.assert_array_equal(one, other)
