"""The state in Redis: the same as in SQLite, whoever else is there, and when it is not there."""

import asyncio
import logging
import signal
import time
from contextlib import asynccontextmanager, closing
from itertools import chain, product
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from msgspec import structs
from test_state import LIFE, items, link, view

from features.config import ConfigError
from features.decided import pseudonym
from features.options import Identity
from features.told import COLUMNS
from features.told_in_redis import InRedis
from features.told_in_sqlite import InSqlite
from serving.redis_reads import BLOCK
from serving.redis_state import RedisState
from serving.sqlite_state import SqliteState
from serving.state import (
    Answer,
    Consent,
    Event,
    ForeignState,
    Forget,
    ItemChange,
    Link,
    Met,
    Shown,
    StateUnavailable,
)  # fmt: skip
from serving.trips import Breaker, Trips

pytest_plugins = ["redis_server"]
KEY, SALTS = b"key", ("5a" * 16, "00" * 16)


@asynccontextmanager
async def opened(url, key=KEY, **identity):
    state = RedisState(url, key, Identity(**identity))
    try:
        yield state
    finally:
        await state.close()


def done(url, work, *, key=KEY, **identity):
    """What `work` gives with the state at `url`."""

    async def main():
        async with opened(url, key, **identity) as state:
            return await work(state)

    return asyncio.run(main())


@pytest.fixture
def place(redis_server):
    return f"{redis_server.url}?prefix={uuid4().hex}"


USERS, VISITORS = ("ann", "bob"), ("tv", "pc")
moments = some.integers(1, 4)
someone = some.sampled_from(USERS)
device = some.sampled_from(VISITORS)
either = some.one_of(some.tuples(someone, some.none()), some.tuples(some.none(), device),
                     some.tuples(someone, device))  # fmt: skip
ids = some.one_of(either, some.just((None, None)))
FACTS = some.one_of(
    some.builds(
        lambda who, at, event_id: Event(
            item_id="i", event_type="view", occurred_us=at, user_id=who[0], visitor_id=who[1],
            session_id="s", event_id=event_id),
        ids, moments, some.sampled_from([None, None, "e1", "e2"])),
    some.builds(Link, visitor_id=device, user_id=someone, at_us=moments, linked=some.booleans()),
    some.builds(lambda at, on: link("tv", "ann", at, linked=on), moments, some.booleans()),
    some.builds(lambda who, at, answer: Answer(question="q", answer=answer, answered_us=at,
                                               user_id=who[0], visitor_id=who[1]),
                either, moments, some.sampled_from("xyz")),
    some.builds(lambda who, at, word: Consent(personalise=word, at_us=at, user_id=who[0],
                                              visitor_id=who[1]), either, moments, some.booleans()),
    some.builds(lambda who, at: Forget(at_us=at, user_id=who[0], visitor_id=who[1]),
                either, moments),
    some.builds(ItemChange, item_id=some.just("i"), at_us=moments, price=some.just(2.5)),
    some.builds(lambda name, at, mail: Shown(decision_id="d", name=name, placement="home",
                                             item_ids=["i"], at_us=at, mail=mail),
                some.sampled_from(["u:ann", "v:tv", "v:pc"]), moments, some.booleans()),
    some.builds(lambda name, own: Met(salts={name: own}),
                some.sampled_from(["u:ann", "u:bob", "v:tv"]), some.sampled_from(SALTS)),
)  # fmt: skip


def in_order(one):
    """Feeds of one moment have no order."""
    return structs.replace(one, shown=sorted(one.shown), mailed=sorted(one.mailed))


async def everything(state):
    """All that a state can be asked, of everybody there can be."""
    people = [await state.recall(*who) for who in product((None, *USERS), (None, *VISITORS))]
    asked = (*USERS, "nobody", "ann")
    many = await state.recall_all(asked)
    assert [in_order(one) for one in many] == [
        in_order(await state.recall(user, None)) for user in asked
    ]
    called = [pseudonym(KEY, name, own) for name in ("u:ann", "u:bob", "v:tv") for own in SALTS]
    filed = await state.since(0)
    names = sorted({one.name for one in filed if one.name})
    return {
        "people": [in_order(one) for one in people],
        "whose": [await state.whose(one) for one in called],
        "filed": filed,
        "page": await state.since(1, most=2),
        "after": [await state.first_after(moment) for moment in range(6)],
        "tail": await state.tail(names, len(filed), 2) if names else {},
    }


class TestParity:
    @settings(max_examples=50, deadline=None,
              suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
    @given(told=some.lists(FACTS, max_size=25), many=some.booleans(), linking=some.booleans())
    def test_both_stores_know_the_same_after_the_same(
        self, redis_server, tmp_path, told, many, linking
    ):
        identity = Identity(max_customers=2 if many else 1, links_from_events=linking)
        run = uuid4().hex

        async def told_to(state):
            new = []
            for fact in told:
                if isinstance(fact, Shown | Met):
                    state.note(fact)
                    await state.write([])
                else:
                    new += await state.write([fact])
            found = await everything(state)
            await state.close()
            return new, found

        def built(records):
            with closing(records):
                tables = {name: list(chain(*records.rows(name))) for name in COLUMNS}
                return tables, sorted(records.met()), records.forgotten()

        async def both():
            return (
                await told_to(RedisState(f"{redis_server.url}?prefix={run}", KEY, identity)),
                await told_to(SqliteState(tmp_path / run, KEY, identity)),
            )

        (in_redis, found), (in_sqlite, wanted) = asyncio.run(both())
        assert in_redis == in_sqlite
        assert found == wanted
        in_redis = built(InRedis(f"{redis_server.url}?prefix={run}", KEY))
        assert in_redis == built(InSqlite(tmp_path / run))

    def test_pages_of_a_long_log(self, place):
        """More than a block of facts, with a gap where somebody was forgotten."""

        async def life(state):
            await state.write([view(f"g{n}", at=n, user_id="gone") for n in range(BLOCK + 5)])
            await state.write([view(f"a{n}", at=n, user_id="ann") for n in range(BLOCK + 5)])
            await state.write([view("last", at=9 * BLOCK, user_id="ann"),
                               Forget(at_us=9 * BLOCK, user_id="gone")])  # fmt: skip
            begin = await state.first_after(BLOCK + 3)
            first = (await state.since(0, most=1))[0].fact.item_id
            return first, [one.fact.item_id for one in await state.since(begin)]

        assert done(place, life) == ("a0", [f"a{BLOCK + 4}", "last"])


class TestWhoseItIs:
    def test_a_home_with_another_salt_is_refused_with_what_to_do(self, place):
        async def tell(state):
            return await state.write([view("a", user_id="ann")])

        assert done(place, tell) == [True]
        with pytest.raises(ForeignState, match="copy that home's file `salt`"):
            done(place, tell, key=b"another")
        with pytest.raises(ValueError, match="another `salt`"):
            done(place, lambda state: state.recall("ann", None), key=b"another")

    def test_a_state_of_another_version_is_refused(self, place, redis_server):
        prefix = place.rpartition("=")[2]
        with redis_server.client() as client:
            client.set(f"{prefix}:stamp", "7 whoever")
        with pytest.raises(ForeignState, match="version 7, this program keeps 1"):
            done(place, lambda state: state.since(0))

    def test_a_build_refuses_them_too_and_one_that_is_away(self, place, redis_started):
        done(place, lambda state: state.write([view("a", user_id="ann")]))
        for key in (b"another", None):
            with pytest.raises(ConfigError, match="another `salt`"):
                InRedis(place, key)
        server = redis_started()
        server.send(signal.SIGKILL)
        with pytest.raises(ConfigError, match=r"cannot be read: .*; build when it is back"):
            InRedis(server.url, KEY)

    def test_those_who_were_met_before_mails_are_known_by_their_pseudonyms(
        self, place, redis_server
    ):
        done(place, lambda state: state.keep([Met(salts={"u:ann": SALTS[0]})]))
        prefix = place.rpartition("=")[2]
        with redis_server.client() as client:
            client.delete(*(f"{prefix}:{one}" for one in ("called", "calls", "called_all")))

        async def ask(state):
            found, until = None, time.monotonic() + 5
            while found is None and time.monotonic() < until:
                found = await state.whose(pseudonym(KEY, "u:ann", SALTS[0]))
                await asyncio.sleep(0.01)
            return found

        assert done(place, ask) == "u:ann"

    def test_two_prefixes_are_two_stores(self, place):
        async def nothing(state):
            return await state.since(0)

        done(place, lambda state: state.write([view("a", user_id="ann")]))
        assert done(f"{place}-other", nothing, key=b"another") == []

    def test_nothing_of_the_key_and_no_name_of_the_forgotten_is_in_redis(self, redis_server, place):
        prefix = place.rpartition("=")[2]
        done(place, lambda state: state.write([*LIFE, Forget(at_us=9, user_id="ann")]))
        with redis_server.client() as client:
            assert client.hgetall(f"{prefix}:forgotten") == {
                pseudonym(KEY, "u:ann"): "9", pseudonym(KEY, "v:tv"): "9"}  # fmt: skip
            keys = [key.removeprefix(prefix) for key in client.scan_iter(f"{prefix}*")]
        assert not [key for key in keys if "ann" in key or "tv" in key]


class TestWhatIsForgotten:
    def test_leaves_the_append_only_file_too(self, redis_started):
        server = redis_started()

        async def life(state):
            for seen in (Met(salts={"u:ann-zq7": SALTS[0]}),
                         Shown(decision_id="d", name="u:ann-zq7", placement="home",
                               item_ids=["a"], at_us=1)):  # fmt: skip
                state.note(seen)
            await state.write([
                view("a", visitor_id="tv-zq7", event_id="e-zq7"), link("tv-zq7", "ann-zq7"),
                Answer(question="topic", answer="tea", answered_us=1, user_id="ann-zq7"),
                Consent(personalise=True, at_us=1, user_id="ann-zq7")])  # fmt: skip
            await state.once("u:ann-zq7", "welcome", b"zq7 is told", 60)
            await asyncio.sleep(0.1)
            called = pseudonym(KEY, "u:ann-zq7", SALTS[0])
            assert await state.whose(called) == "u:ann-zq7"
            assert b"zq7 is told" in server.files()
            await state.write([Forget(at_us=9, user_id="ann-zq7")])
            until = time.monotonic() + 10
            while b"zq7" in server.files() and time.monotonic() < until:
                await asyncio.sleep(0.05)
            assert b"zq7" not in server.files()
            assert SALTS[0].encode() not in server.files()
            assert called.encode() not in server.files()

        done(server.url, life)

    def test_says_so_where_redis_does_not_allow_it(self, redis_started, caplog):
        server = redis_started("--rename-command", "BGREWRITEAOF", "")
        with caplog.at_level(logging.WARNING, "feeds.state"):
            done(server.url, lambda state: state.write([Forget(at_us=9, user_id="ann")]))
        assert "holds what was forgotten until it is written anew" in caplog.text


class TestAway:
    def test_a_redis_that_keeps_nothing_is_said(self, redis_started, caplog):
        server = redis_started("--appendonly", "no", "--maxmemory", "99mb",
                               "--maxmemory-policy", "allkeys-lru")  # fmt: skip
        with caplog.at_level(logging.WARNING, "feeds.state"):
            done(server.url, lambda state: state.since(0))
        assert "set `appendonly yes`" in caplog.text
        assert "set `maxmemory-policy noeviction`" in caplog.text

    def test_a_full_redis_refuses_and_keeps_nothing_and_reads_go_on(self, redis_started):
        server = redis_started()

        async def full(state):
            await state.write([view("a", user_id="ann")])
            with server.client() as client:
                client.config_set("maxmemory", 1)
                with pytest.raises(StateUnavailable, match="maxmemory"):
                    await state.write([view("b", user_id="ann"), view("c", user_id="ann")])
                during = items(await state.recall("ann", None))
                client.config_set("maxmemory", 0)
            await state.write([view("d", user_id="ann")])
            return during, items(await state.recall("ann", None))

        assert done(server.url, full) == (["a"], ["a", "d"])

    def test_what_was_acknowledged_survives_the_death_of_redis(self, redis_started):
        server = redis_started("--appendfsync", "always")

        async def life(state):
            acknowledged = []
            for n in range(50):
                assert await state.write([view(str(n), at=n, user_id="ann", event_id=str(n))])
                acknowledged.append(str(n))
            server.send(signal.SIGKILL)
            with pytest.raises(StateUnavailable, match="cannot be reached"):
                await state.write([view("x", user_id="ann")])
            server.start()
            await asyncio.sleep(0.6)
            await state.since(0)
            again = await state.write([view("0", user_id="ann", event_id="0")])
            return acknowledged, items(await state.recall("ann", None)), again

        acknowledged, kept, again = done(server.url, life)
        assert kept == acknowledged
        assert again == [False]

    def test_one_that_does_not_answer_costs_one_wait_and_then_nobody_waits(self, redis_started):
        server = redis_started()

        async def life(state):
            await state.write([view("a", user_id="ann")])
            server.send(signal.SIGSTOP)
            waits = []
            for _ in range(20):
                begun = time.monotonic()
                with pytest.raises(StateUnavailable):
                    await state.recall("ann", None)
                waits.append(time.monotonic() - begun)
            server.send(signal.SIGCONT)
            await asyncio.sleep(0.6)
            with pytest.raises(StateUnavailable):  # who asks leaves it to the follower
                await state.recall("ann", None)
            await state.since(0)
            return waits, items(await state.recall("ann", None))

        waits, after = done(server.url, life)
        assert 0.2 < waits[0] < 3
        assert sorted(waits[1:])[-3] < 0.1  # a busy machine may hold up one or two
        assert after == ["a"]

    def test_a_store_that_has_lost_its_last_facts_goes_on_above_them(self, place, redis_server):
        """A follower that has seen number 2 would else never see the next number 2."""

        async def life(state):
            await state.write([view(item, user_id="ann") for item in "ab"])
            assert [one.seq for one in await state.since(0)] == [1, 2]
            with redis_server.client() as client:
                prefix = place.rpartition("=")[2]
                client.delete(*client.scan_iter(f"{prefix}*"))
            await state.write([view("c", user_id="ann")])
            return [(one.seq, one.fact.item_id) for one in await state.since(2)]

        assert done(place, life) == [(3, "c")]

    def test_a_note_that_cannot_be_kept_is_counted_and_said(self, redis_started, caplog):
        server = redis_started()

        async def life(state):
            await state.since(0)
            server.send(signal.SIGKILL)
            state.note(Shown(decision_id="d", name="u:ann", placement="home", item_ids=["a"],
                             at_us=1))  # fmt: skip

        with caplog.at_level(logging.WARNING, "feeds.state"):
            done(server.url, life)
        assert "notes of what was shown that were not kept: 1 (the store cannot be" in caplog.text


class TestTrips:
    def test_what_is_asked_meanwhile_shares_the_next_trip(self):
        seen = []

        async def trip(asked):
            seen.append(list(asked))
            await asyncio.sleep(0.01)
            return [one * 2 for one in asked]

        async def main():
            trips = Trips(trip, most=3)
            first = asyncio.create_task(trips.ask(1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return await asyncio.gather(first, *(trips.ask(n) for n in range(2, 7)))

        assert asyncio.run(main()) == [2, 4, 6, 8, 10, 12]
        assert seen == [[1], [2, 3, 4], [5, 6]]

    def test_a_trip_that_fails_fails_for_all_who_went_along_and_for_nobody_else(self):
        async def trip(asked):
            if 0 in asked:
                raise StateUnavailable("away")
            return asked

        async def main():
            trips = Trips(trip, most=2)
            return await asyncio.gather(*(trips.ask(n) for n in (0, 1, 2)), return_exceptions=True)

        answers = asyncio.run(main())
        assert [type(one) for one in answers] == [StateUnavailable, StateUnavailable, int]

    def test_who_leaves_takes_nobody_along(self):
        async def trip(asked):
            await asyncio.sleep(0.01)
            return asked

        async def main():
            trips = Trips(trip, most=9)
            leaving, staying = (asyncio.create_task(trips.ask(n)) for n in (1, 2))
            await asyncio.sleep(0)
            leaving.cancel()
            return await staying

        assert asyncio.run(main()) == 2


class TestBreaker:
    def test_after_a_failure_nobody_tries_for_a_while_then_one_does(self):
        breaker = Breaker(rest_seconds=0.3)
        assert breaker.allows()
        breaker.failed()
        assert not breaker.allows()
        time.sleep(0.31)
        assert not breaker.allows(patience=9)
        assert [breaker.allows(), breaker.allows()] == [True, False]
        breaker.worked()
        assert [breaker.allows(), breaker.allows()] == [True, True]
