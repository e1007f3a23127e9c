"""What the service remembers: who owns an event, and what is kept. One contract for both stores."""

import asyncio
import logging
import sqlite3
from contextlib import closing

import pytest
from msgspec import structs

from features.decided import pseudonym
from features.options import Identity
from serving.redis_state import RedisState
from serving.sqlite_state import SqliteState
from serving.state import (
    Answer,
    Consent,
    Event,
    Forget,
    ItemChange,
    Link,
    Met,
    Recalled,
    Shown,
    StateUnavailable,
)  # fmt: skip

pytest_plugins = ["redis_server"]
KEY, SALT = b"key", "5a" * 16


@pytest.fixture(params=["sqlite", "redis"])
def opened(request, tmp_path):
    """Opens a new store, again and again the same: `opened(**identity)`."""
    if request.param == "sqlite":
        return lambda **more: SqliteState(tmp_path / "state.db", KEY, Identity(**more))
    url = f"{request.getfixturevalue('redis_server').url}?prefix={tmp_path.name}"
    return lambda **more: RedisState(url, KEY, Identity(**more))


@pytest.fixture
def kept_answers(request, tmp_path):
    """For which mailings of Ann an answer is kept: `kept_answers()`."""

    def in_sqlite():
        with closing(sqlite3.connect(tmp_path / "state.db")) as file:
            return {mailing for (mailing,) in file.execute("SELECT mailing FROM answered")}

    def in_redis():
        with request.getfixturevalue("redis_server").client() as client:
            (key,) = client.scan_iter(f"{tmp_path.name}:answered:u:ann")
            return set(client.hkeys(key))

    return in_sqlite if request.node.callspec.params["opened"] == "sqlite" else in_redis


@pytest.fixture
def told(opened):
    """Tell a new state some facts, then ask it: `told(facts, ask)`; it stays between calls."""

    def run(facts, ask=None, **identity):
        async def main():
            state = opened(**identity)
            try:
                new = await state.write(facts) if facts else []
                return new if ask is None else await ask(state)
            finally:
                await state.close()

        return asyncio.run(main())

    return run


def view(item, at=1, **who):
    return Event(item_id=item, event_type="view", occurred_us=at, **who)


def link(visitor, user, at=1, *, linked=True):
    return Link(visitor_id=visitor, user_id=user, at_us=at, linked=linked)


def recall(user=None, visitor=None):
    return lambda state: state.recall(user, visitor)


def items(recalled):
    return [item for item, *_ in recalled.events]


async def everything(state):
    return [(one.name, one.fact.item_id) for one in await state.since(0)]


class TestWhoOwnsAnEvent:
    def test_the_customer_else_the_linked_one_else_the_visitor_else_the_session(self, told):
        facts = [
            view("a", user_id="ann", visitor_id="other", session_id="s1"),
            link("phone", "ann"),
            view("b", visitor_id="phone", session_id="s1"),
            view("c", visitor_id="tv", session_id="s1"),
            view("d", session_id="s1"),
        ]
        assert told(facts, everything) == [
            ("u:ann", "a"), ("u:ann", "b"), ("v:tv", "c"), ("s:s1", "d")
        ]  # fmt: skip

    def test_a_link_brings_along_what_the_visitor_did_before(self, told):
        found = told([view("a", visitor_id="phone"), link("phone", "ann")], recall(user="ann"))
        assert (items(found), found.visitors) == (["a"], ["phone"])

    def test_a_link_never_takes_what_was_filed_under_another_customer(self, told):
        facts = [link("phone", "ann"), view("a", visitor_id="phone"), link("phone", "bob", at=2)]
        found = told(facts, recall(user="bob"), max_customers=2)
        assert (items(found), found.visitors) == ([], ["phone"])

    def test_an_event_with_both_ids_links_them_unless_the_config_says_no(self, told):
        both = [view("a", visitor_id="tv"), view("b", at=2, visitor_id="tv", user_id="ann")]
        assert items(told(both, recall(visitor="tv"), links_from_events=False)) == ["a"]
        assert items(told([view("c", at=3, visitor_id="tv", user_id="ann")],
                          recall(visitor="tv"))) == ["a", "b", "c"]  # fmt: skip

    def test_after_an_unlink_the_visitor_is_a_stranger_and_the_past_stays(self, told):
        facts = [
            link("phone", "ann"), view("a", visitor_id="phone"),
            link("phone", "ann", at=2, linked=False), view("b", at=3, visitor_id="phone"),
        ]  # fmt: skip
        device = told(facts, recall(visitor="phone"))
        assert (device.customer, items(device), device.unlinked) == (None, ["b"], True)
        assert items(told([], recall(user="ann"))) == ["a"]

    def test_a_late_unlink_does_not_end_a_newer_link(self, told):
        facts = [link("phone", "ann", at=5), link("phone", "ann", at=2, linked=False)]
        found = told(facts, recall(visitor="phone"))
        assert (found.customer, found.unlinked) == ("ann", False)

    def test_of_several_unlinks_the_last_by_its_own_time_counts(self, told):
        facts = [link("phone", "ann", at=at, linked=on) for at, on in ((1, 1), (5, 0), (2, 0))]
        assert told([*facts, link("phone", "ann", at=4)], recall(visitor="phone")).customer is None

    def test_who_is_linked_again_is_known_again(self, told):
        facts = [link("phone", "ann", at=at, linked=at != 2) for at in (1, 2, 3)]
        assert told(facts, recall(visitor="phone")).customer == "ann"

    def test_who_is_linked_again_at_once_is_known_where_the_clock_stands_still(self, told):
        facts = [link("phone", "ann", at=at, linked=on) for at, on in ((1, 1), (2, 0), (2, 1))]
        assert told(facts, recall(visitor="phone")).customer == "ann"

    def test_a_device_of_too_many_customers_is_nobodys(self, told):
        facts = [
            link("tablet", "ann"), view("a", visitor_id="tablet"), link("tablet", "bob", at=2),
            view("b", at=3, visitor_id="tablet"),
            view("c", at=4, visitor_id="tablet", user_id="bob"),
        ]  # fmt: skip
        device = told(facts, recall(visitor="tablet"))
        assert (device.customer, device.shared, items(device)) == (None, True, ["b"])
        assert items(told([], recall(user="ann", visitor="tablet"))) == ["a"]
        assert items(told([], recall(user="bob"))) == ["c"]

    def test_a_device_that_was_shared_stays_so_when_one_of_its_customers_goes(self, told):
        facts = [link("tablet", "ann"), link("tablet", "bob", at=2)]
        told([*facts, Forget(at_us=3, user_id="ann"), link("tablet", "bob", at=4)])
        found = told([], recall(visitor="tablet"))
        assert (found.customer, found.shared) == (None, True)


class TestWhatIsKept:
    def test_the_same_event_id_is_one_event_also_within_a_call(self, told):
        twice = [view("a", user_id="ann", event_id="e1"), view("b", user_id="ann", event_id="e1")]
        assert told([*twice, view("c", user_id="ann")]) == [True, False, True]
        assert told(twice) == [False, False]
        assert items(told([], recall(user="ann"))) == ["a", "c"]

    def test_a_call_is_kept_as_a_whole_or_not_at_all(self, told):
        impossible = view("b", at=2**80, user_id="ann")  # no 64-bit integer
        with pytest.raises(OverflowError):
            told([view("a", user_id="ann"), impossible])
        assert told([], everything) == []

    def test_one_call_that_cannot_be_kept_takes_no_other_along(self, told):
        async def together(state):
            bad = state.write([view("b", at=2**80, user_id="ann")])
            good = state.write([view("a", user_id="ann")])
            return await asyncio.gather(bad, good, return_exceptions=True)

        answers = told([], together)
        assert isinstance(answers[0], OverflowError)
        assert (answers[1], told([], everything)) == ([True], [("u:ann", "a")])

    def test_an_event_comes_back_with_all_that_was_said_of_it(self, told):
        full = view("a", user_id="ann", event_id="e", value=2.5, position=3, propensity=0.5)
        (filed,) = told([full], lambda state: state.since(0))
        assert filed.fact == full

    def test_the_newest_two_thousand_events_oldest_first(self, told):
        past = [view(f"i{at}", at=at, user_id="ann") for at in range(2100)]
        found = items(told(past[::-1], recall(user="ann")))
        assert found == [f"i{at}" for at in range(100, 2100)]

    def test_what_was_noted_is_there_after_the_next_commit(self, told):
        async def noted(state):
            for at in (1, 2):
                state.note(Shown(decision_id=f"d{at}", name="v:tv", placement="home",
                                 item_ids=["a", "b"], at_us=at))  # fmt: skip
            await state.write([view("z", visitor_id="tv")])
            return (await state.recall(None, "tv")).shown

        assert told([], noted) == [(1, "home", ["a", "b"]), (2, "home", ["a", "b"])]

    def test_that_somebody_got_a_feed_says_nothing_else_of_them(self, told):
        async def met(state):
            state.note(Met(salts={"u:ann": SALT}))
            await state.write([view("z", visitor_id="tv")])
            return await state.recall("ann", None)

        assert told([], met) == Recalled(customer="ann", salt=SALT)

    def test_of_two_salts_that_two_workers_made_all_take_the_same(self, told):
        async def met(state):
            for own in (SALT, "00" * 16):
                state.note(Met(salts={"v:tv": own}))
            await state.write([view("z", visitor_id="tv")])
            return (await state.recall(None, "tv")).salt

        assert told([], met) == "00" * 16

    def test_nothing_is_known_of_a_stranger(self, told):
        assert told([], recall()).customer is None
        assert told([view("a", user_id="ann")], recall(user="bob")).customer == "bob"

    def test_answers_of_all_names_in_the_order_of_time(self, told):
        facts = [
            Answer(question="topic", answer="art", answered_us=2, visitor_id="tv"),
            Answer(question="topic", answer="tea", answered_us=1, user_id="ann"),
            link("tv", "ann"),
        ]
        found = told(facts, recall(user="ann")).answers
        assert found == [("topic", "tea", 1), ("topic", "art", 2)]


class TestConsent:
    @pytest.mark.parametrize(
        ("customer", "browser", "consent"),
        [((True, 1), (False, 2), False), ((False, 1), (True, 2), True),
         ((True, 2), (False, 1), True), ((True, 1), (False, 1), False),
         (None, (False, 1), False)],
        ids=["refused on the browser since", "agreed on the browser since",
             "refused on the browser before", "both at one moment", "only the browser"],
    )  # fmt: skip
    def test_of_all_names_the_newest_word_counts(self, told, customer, browser, consent):
        said = [(customer, {"user_id": "ann"}), (browser, {"visitor_id": "tv"})]
        facts = [Consent(personalise=word[0], at_us=word[1], **who) for word, who in said if word]
        assert told([*facts, link("tv", "ann")], recall(user="ann")).consent is consent
        assert told([], recall(visitor="tv")).consent is consent

    def test_a_word_that_comes_late_does_not_undo_a_newer_one(self, told):
        said = [Consent(personalise=at != 2, at_us=at, user_id="ann") for at in (3, 2)]
        assert told(said, recall(user="ann")).consent is True

    def test_of_two_words_of_one_name_and_moment_the_later_told_counts(self, told):
        said = [Consent(personalise=word, at_us=2, user_id="ann") for word in (False, True)]
        assert told(said, recall(user="ann")).consent is True

    def test_where_nothing_was_said_the_state_knows_nothing(self, told):
        assert told([view("a", user_id="ann")], recall(user="ann")).consent is None

    def test_a_browser_that_refused_counts_when_its_customer_asks_with_it(self, told):
        no = [Consent(personalise=False, at_us=1, visitor_id="tv")]
        assert told(no, recall(user="ann", visitor="tv")).consent is False

    @pytest.mark.parametrize(
        "whose", [[link("tv", "bob")], [link("tv", "bob"), link("tv", "eve")],
                  [link("tv", "ann"), link("tv", "ann", at=2, linked=False)]],
        ids=["another's", "shared", "unlinked"],
    )  # fmt: skip
    def test_a_browser_that_is_not_hers_does_not_speak_for_a_customer(self, told, whose):
        no = Consent(personalise=False, at_us=1, visitor_id="tv")
        assert told([*whose, no], recall(user="ann", visitor="tv")).consent is None


LIFE = (
    view("a", visitor_id="tv"), link("tv", "ann"), view("b", user_id="ann"),
    Answer(question="topic", answer="tea", answered_us=1, visitor_id="tv"),
    Consent(personalise=True, at_us=1, user_id="ann"), view("c", user_id="bob"),
)  # fmt: skip


class TestForget:
    @pytest.mark.parametrize("who", [{"user_id": "ann"}, {"visitor_id": "tv"}])
    def test_everything_goes_under_all_names_and_of_no_one_else(self, told, who):
        told([*LIFE, Forget(at_us=9, **who)])
        for asked in ({"user": "ann"}, {"visitor": "tv"}):
            found = told([], recall(**asked))
            assert (found.events, found.answers) == ([], [])
            assert (found.forgotten, found.forgotten_us, found.consent) == (True, 9, False)
        assert items(told([], recall(user="bob"))) == ["c"]

    def test_what_comes_late_from_before_it_is_not_kept(self, told):
        late = [view("late", at=9, user_id="ann"), view("later", at=10, visitor_id="tv")]
        assert told([*LIFE, Forget(at_us=9, user_id="ann"), *late])[-2:] == [False, True]
        assert items(told([], recall(user="ann"))) == []

    def test_a_salt_that_comes_late_is_kept_only_of_who_is_known_again(self, told):
        async def met(state):
            await state.write([*LIFE, Forget(at_us=9, user_id="ann"),
                               view("d", at=10, visitor_id="tv")])  # fmt: skip
            state.note(Met(salts={"u:ann": SALT, "v:tv": SALT}))
            await state.write([view("z", user_id="bob")])
            return [(await state.recall(*who)).salt for who in (("ann", None), (None, "tv"))]

        assert told([], met) == [None, SALT]

    def test_who_comes_back_and_agrees_is_known_from_then_on(self, told):
        back = [Consent(personalise=True, at_us=10, user_id="ann"),
                view("d", at=10, user_id="ann")]  # fmt: skip
        found = told([*LIFE, Forget(at_us=9, user_id="ann"), *back], recall(user="ann"))
        assert (items(found), found.consent, found.forgotten_us) == (["d"], True, 9)

    def test_what_is_said_after_it_counts_also_where_the_clock_stands_still(self, told):
        back = Consent(personalise=True, at_us=9, user_id="ann")
        assert told([*LIFE, Forget(at_us=9, user_id="ann"), back],
                    recall(user="ann")).consent is True  # fmt: skip

    def test_a_word_of_before_under_a_name_that_is_new_does_not_bring_anybody_back(self, told):
        old = Consent(personalise=True, at_us=8, visitor_id="pc")
        facts = [Forget(at_us=9, user_id="ann"), old, link("pc", "ann", at=10)]
        assert told(facts, recall(user="ann")).consent is False

    def test_of_several_forgotten_names_the_newest_moment_counts(self, told):
        facts = [Forget(at_us=9, visitor_id="tv"), Forget(at_us=5, user_id="ann")]
        assert told([*facts, link("tv", "ann", at=10)], recall(user="ann")).forgotten_us == 9

    def test_who_was_not_forgotten_has_no_such_moment(self, told):
        found = told(LIFE, recall(user="bob"))
        assert (found.forgotten, found.forgotten_us) == (False, None)

    def test_a_follower_misses_nothing_that_comes_after(self, told):
        async def seqs(state):
            before = (await state.since(0))[-1].seq
            await state.write([Forget(at_us=9, user_id="ann"), view("z", user_id="eve")])
            return [one.fact.item_id for one in await state.since(before)]

        assert told([view("a", user_id="ann")], seqs) == ["z"]


MAIL = Shown(decision_id="d", name="u:ann", placement="top", item_ids=["a", "b"], at_us=5)


class TestMany:
    def test_are_recalled_each_as_alone(self, told):
        """Of everybody something else is known; the newest 2,000 events and 200 feeds count."""
        facts = [
            *LIFE, link("phone", "bob"), Consent(personalise=False, at_us=3, visitor_id="phone"),
            Answer(question="q", answer="later", answered_us=4, user_id="bob"),
            Answer(question="q", answer="sooner", answered_us=2, visitor_id="phone"),
            *[view(f"i{n}", at=n // 2, user_id="eve") for n in range(2003)],
            link("eves", "eve"), view("z", user_id="zoe"), Forget(at_us=9, user_id="zoe"),
        ]  # fmt: skip
        asked = ["eve", "nobody", "bob", "zoe", "ann", "bob", "met"]

        async def ask(state):
            feeds = [Shown(decision_id=str(n), name="u:eve", placement="home", item_ids=["a"],
                           at_us=n) for n in range(203)]  # fmt: skip
            older = structs.replace(feeds[0], name="v:eves", at_us=-1)
            await state.keep([*feeds, older, MAIL, Met(salts={"u:met": SALT})])
            alone = [await state.recall(one, None) for one in asked]
            return await state.recall_all(asked), alone, await state.recall_all([])

        together, alone, nobody = told(facts, ask)
        assert together == alone
        assert nobody == []
        assert len(together[0].events) == 2000
        assert [at for at, *_ in together[0].shown] == list(range(3, 203))
        assert [answer for _, answer, _ in together[2].answers] == ["sooner", "later"]
        assert together[2].consent is False
        assert together[-1].salt == SALT

    def test_what_is_kept_is_there_at_once_and_twice_the_same_is_one(self, told):
        other = [structs.replace(MAIL, decision_id="e"), structs.replace(MAIL, placement="below"),
                 structs.replace(MAIL, at_us=6)]  # fmt: skip

        async def ask(state):
            await state.keep([MAIL, MAIL, *other])
            await state.keep([MAIL])
            return (await state.recall("ann", None)).shown

        assert sorted(told([], ask)) == [
            (5, "below", ["a", "b"]), (5, "top", ["a", "b"]), (5, "top", ["a", "b"]),
            (6, "top", ["a", "b"]),
        ]  # fmt: skip

    def test_mails_are_remembered_beside_the_site_s_feeds_the_newest_200_of_both(self, told):
        """However often somebody comes to the site; a mail and a feed of one moment are two."""

        def feeds(name, first, last, **more):
            return [Shown(decision_id="d", name=name, placement="top", item_ids=[str(at)],
                          at_us=at, **more) for at in range(first, last)]  # fmt: skip

        async def ask(state):
            mails = feeds("u:ann", 0, 203, mail=True)
            await state.keep([*mails, *mails, *feeds("u:ann", 202, 453), met])
            await state.keep(feeds("v:tv", 400, 401, mail=True))
            alone, other = await state.recall("ann", None), await state.recall(None, "pc")
            (both,) = await state.recall_all(["ann"])
            await state.write([Forget(at_us=9, user_id="ann")])
            await state.keep(mails)  # from a mailing that was being made
            return alone, other, both, await state.recall("ann", None)

        met = Met(salts={"u:ann": SALT})
        alone, other, both, gone = told([link("tv", "ann"), view("a", visitor_id="pc")], ask)
        assert alone == both
        assert alone.shown == [(at, "top", [str(at)]) for at in range(253, 453)]
        assert alone.mailed == [(at, "top", [str(at)]) for at in (*range(4, 203), 400)]
        assert (other.shown, other.mailed) == ([], [])
        assert (gone.shown, gone.mailed) == ([], [])


class TestWhose:
    CALLED = pseudonym(KEY, "u:ann", SALT)

    def test_decisions_are_is_known_of_customers_who_were_met(self, told):
        async def ask(state):
            await state.keep([Met(salts={"u:ann": SALT, "v:tv": SALT})])
            device = pseudonym(KEY, "v:tv", SALT)
            return [await state.whose(one) for one in (self.CALLED, device, "5" * 32)]

        assert told([], ask) == ["u:ann", None, None]

    def test_nobody_who_was_forgotten_is_known_by_it_again(self, told):
        async def ask(state):
            met = [Met(salts={"u:ann": SALT})]
            await state.keep(met)
            await state.write([Forget(at_us=9, user_id="ann")])
            gone = await state.whose(self.CALLED)
            await state.keep(met)  # from a mailing that was being made
            return gone, await state.whose(self.CALLED), (await state.recall("ann", None)).salt

        assert told([], ask) == (None, None, None)


class TestOnce:
    def test_the_first_answer_stands_for_the_name_and_the_mailing(self, told):
        async def ask(state):
            first = await state.once("u:ann", "welcome", b"\x00one", 60)
            asked = (("u:ann", "welcome"), ("u:bob", "welcome"), ("u:ann", "basket"))
            others = [await state.once(*one, b"two", 60) for one in asked]
            there = await state.said_before("u:ann", "welcome", 60)
            return first, others, [there, await state.said_before("u:ann", "-", 60)]

        assert told([], ask) == (b"\x00one", [b"\x00one", b"two", b"two"], [b"\x00one", None])

    def test_of_many_who_ask_at_one_moment_all_get_one_answer(self, opened):
        async def main():
            workers = [opened() for _ in range(2)]
            told = await asyncio.gather(
                *(one.once("u:ann", "welcome", b"%d" % n, 60) for n, one in enumerate(workers * 20))
            )
            for one in workers:
                await one.close()
            return set(told)

        assert len(asyncio.run(main())) == 1

    def test_an_answer_that_is_too_old_gives_way_and_does_not_stay(self, told, kept_answers):
        async def ask(state):
            await state.once("u:ann", "short", b"one", 0.05)
            await state.once("u:ann", "long", b"one", 60)
            await asyncio.sleep(0.06)
            gone = await state.said_before("u:ann", "short", 0.05)
            young = await state.said_before("u:ann", "long", 0.05)
            again = await state.once("u:ann", "other", b"two", 60)
            return gone, young, again, kept_answers()

        assert told([], ask) == (None, None, b"two", {"long", "other"})

    def test_it_goes_with_the_person_and_is_not_kept_of_who_was_forgotten(self, told):
        async def ask(state):
            await state.once("u:ann", "welcome", b"one", 60)
            await state.write([Forget(at_us=9, user_id="ann")])
            gone = await state.said_before("u:ann", "welcome", 60)
            answer = await state.once("u:ann", "welcome", b"two", 60)
            nothing = await state.said_before("u:ann", "welcome", 60)
            await state.write([Consent(personalise=True, at_us=10, user_id="ann")])
            await state.once("u:ann", "welcome", b"three", 60)
            return gone, answer, nothing, await state.said_before("u:ann", "welcome", 60)

        assert told([], ask) == (None, b"two", None, b"three")


class TestFollowing:
    def test_events_and_changes_of_items_come_in_one_order_page_by_page(self, told):
        facts = [
            view("a", user_id="ann"), ItemChange(item_id="a", at_us=1, available=False),
            ItemChange(item_id="new", at_us=2, kind="article", title="New"),
            view("b", user_id="ann"),
        ]  # fmt: skip

        async def paged(state):
            first = await state.since(0, most=2)
            return [one.fact for one in [*first, *await state.since(first[-1].seq, most=9)]]

        assert told(facts, paged) == facts

    def test_what_came_before_an_event_the_newest_of_each_person(self, told):
        past = [view(f"i{at}", at=at, user_id="ann") for at in range(4)]

        async def tail(state):
            last = (await state.since(0))[3].seq
            found = await state.tail(["u:ann", "u:bob"], last, 2)
            return {name: [event.item_id for event in events] for name, events in found.items()}

        assert told(past, tail) == {"u:ann": ["i1", "i2"], "u:bob": []}

    @pytest.mark.parametrize(
        ("moment", "items"),
        [(0, ["a", "b", "lamp", "c"]), (4, ["b", "lamp", "c"]), (5, ["lamp", "c"]),
         (6, ["lamp", "c"]), (7, ["c"]), (8, [])],
    )  # fmt: skip
    def test_begins_right_before_the_first_fact_after_a_moment(self, told, moment, items):
        facts = [
            view("a", at=4, user_id="ann"), view("b", at=5, user_id="ann"),
            ItemChange(item_id="lamp", at_us=6, available=False), view("c", at=8, user_id="ann"),
        ]  # fmt: skip

        async def after(state):
            return [one.fact.item_id for one in await state.since(await state.first_after(moment))]

        assert told(facts, after) == items

    def test_what_comes_after_it_may_be_older_than_the_moment(self, told):
        facts = [view(item, at=at, user_id="ann") for item, at in (("a", 1), ("b", 9), ("c", 2))]

        async def after(state):
            return [one.fact.item_id for one in await state.since(await state.first_after(5))]

        assert told(facts, after) == ["b", "c"]

    def test_begins_with_what_is_to_come_where_nothing_is_after_the_moment(self, told):
        async def after(state):
            begin = [await state.first_after(9)]
            await state.write([view("b", at=2, user_id="ann")])
            return [*begin, *((one.seq, one.fact.item_id) for one in await state.since(begin[0]))]

        assert told([], lambda state: state.first_after(9)) == 0
        assert told([view("a", at=1, user_id="ann")], after) == [1, (2, "b")]

    def test_what_one_worker_was_told_the_other_recalls(self, opened):
        async def two():
            one, other = opened(), opened()
            await one.write([view("a", user_id="ann")])
            found = await other.recall("ann", None)
            await asyncio.gather(one.close(), other.close())
            return items(found)

        assert asyncio.run(two()) == ["a"]


class TestTroubles:
    def test_a_note_that_cannot_be_kept_takes_nothing_along_and_is_said_once(self, told, caplog):
        async def noted(state):
            for at in (1, 2**80, 3, 2**81):  # no 64-bit integer
                state.note(Shown(decision_id="d", name="u:ann", placement="home", item_ids=["a"],
                                 at_us=at))  # fmt: skip
            new = await state.write([view("a", user_id="ann")])
            found = await state.recall("ann", None)
            return new, items(found), [at for at, *_ in found.shown]

        with caplog.at_level(logging.WARNING, "feeds.state"):
            assert told([], noted) == ([True], ["a"], [1, 3])
        assert [record.message.split(" (")[0] for record in caplog.records] == [
            "notes of what was shown that were not kept: 1"
        ]

    def test_nobody_does_nothing(self):
        with pytest.raises(ValueError, match="needs user_id, visitor_id or session_id"):
            view("a")

    def test_a_closed_state_takes_nothing(self, opened):
        async def late():
            state = opened()
            await state.close()
            await state.write([view("a", user_id="ann")])

        with pytest.raises(StateUnavailable, match="closed"):
            asyncio.run(late())
