"""Whose history a request gets: by the log, by what the service was told since, and by nobody.

In the log `c0`, `c1` … each looked at r1, r2 and t1, and the device `phone` is c0's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import pytest
from at_the_desk import at_the_desk
from readers import START, log, read, trained_on
from small_desk import END, END_US, MINUTE, at_desk

from serving import telling
from serving.api_told import (
    EventIn,
    EventsRequest,
    ForgetRequest,
    IdentifyRequest,
    PreferencesRequest,
    UnlinkRequest,
)
from serving.asking import people_of, who
from serving.state import Consent, Forget

LOGGED = ["r1", "r2", "t1"]  # what everybody of the log did


class Known(NamedTuple):
    """What is known of who asks: the items of before and of this visit, and two words."""

    before: list[str]
    visit: list[str]
    consent: bool
    unknown: bool


@pytest.fixture
def at(tmp_path):
    """`at(work)`: what the coroutine `work` gives at a desk."""
    return lambda work: at_desk(tmp_path, work)


@pytest.fixture(scope="module")
def tablet(new_shop):
    """A magazine whose log has a device `tab` that read a, b and c, and nobody's name on it."""
    tab = [{**read(None, item, START), "visitor_id": "tab"} for item in "abc"]
    return trained_on(new_shop(), [*log(), *tab])


async def ask(desk, user_id=None, visitor_id=None, recent=(), later=timedelta(0)) -> Known:
    """Who asks so long after the model's moment, or the newest event if that is later."""
    now = desk.now_us(END + later if later else None)
    asker = await who(desk.living, desk.state, user_id, visitor_id, now)
    people = people_of(desk.living, asker, desk.found(list(recent))[0])
    queries = people.known
    items = desk.living.catalogue.texts(queries.histories.items)
    start = int(queries.session_start[0])
    return Known(items[:start], items[start:], bool(people.consent[0]), bool(people.unknown[0]))


async def sees(desk, item, minutes=99, **who_did):
    event = EventIn(item_id=item, event_type="view", occurred_at=END + minutes * MINUTE, **who_did)
    await telling.events(desk, EventsRequest(events=[event]))


async def identify(desk, visitor_id, user_id):
    return await telling.identify(desk, IdentifyRequest(visitor_id=visitor_id, user_id=user_id))


async def unlink(desk, visitor_id, user_id):
    return await telling.unlink(desk, UnlinkRequest(visitor_id=visitor_id, user_id=user_id))


async def prefers(desk, **words):
    await telling.preferences(desk, PreferencesRequest(**words))


class TestACustomer:
    def test_has_what_the_log_says_and_what_was_told_since(self, at):
        async def work(desk):
            await sees(desk, "k1", user_id="c0")
            return await ask(desk, user_id="c0")

        assert at(work) == Known(LOGGED, ["k1"], consent=True, unknown=False)

    def test_is_the_same_with_and_without_their_device(self, at):
        async def work(desk):
            return await ask(desk, user_id="c0"), await ask(desk, "c0", "phone")

        alone, with_device = at(work)
        assert alone == with_device == Known(LOGGED, [], consent=True, unknown=False)

    def test_of_whom_nothing_is_known_is_unknown_until_something_is(self, at):
        async def work(desk):
            before = await ask(desk, user_id="new")
            await sees(desk, "k1", user_id="new")
            return before, await ask(desk, user_id="new")

        before, after = at(work)
        assert before == Known([], [], consent=True, unknown=True)
        assert after == Known([], ["k1"], consent=True, unknown=False)

    def test_on_somebody_elses_device_gets_their_own_history_only(self, at):
        async def work(desk):
            await sees(desk, "k1", visitor_id="phone")  # c0's, as the log has it
            return await ask(desk, "c1", "phone"), await ask(desk, user_id="c0")

        guest, owner = at(work)
        assert guest == Known(LOGGED, [], consent=True, unknown=False)
        assert owner.visit == ["k1"]


class TestAVisitor:
    def test_has_what_was_done_under_this_name(self, at):
        async def work(desk):
            await sees(desk, "k1", visitor_id="tab")
            await sees(desk, "k2", visitor_id="other")
            return await ask(desk, visitor_id="tab"), await ask(desk, visitor_id="never-seen")

        tab, nobody = at(work)
        assert tab == Known([], ["k1"], consent=True, unknown=False)
        assert nobody == Known([], [], consent=True, unknown=False)

    def test_is_the_customer_whose_device_the_log_says_it_is(self, at):
        async def work(desk):
            before = await ask(desk, visitor_id="phone")
            await sees(desk, "k1", visitor_id="phone")
            return before, await ask(desk, user_id="c0")

        device, customer = at(work)
        assert device.before == LOGGED
        assert customer.visit == ["k1"], "what the device does is the customer's"

    def test_is_a_customer_from_the_moment_that_one_signs_in(self, at):
        async def work(desk):
            await sees(desk, "k1", visitor_id="tab")
            await identify(desk, "tab", "c1")
            return await ask(desk, user_id="c1"), await ask(desk, visitor_id="tab")

        customer, device = at(work)
        assert customer == device
        assert (customer.before, customer.visit) == (LOGGED, ["k1"]), "the anonymous part, too"

    def test_is_a_customer_after_an_event_with_both_names(self, at):
        async def work(desk):
            await sees(desk, "k1", visitor_id="tab")
            await sees(desk, "k2", minutes=100, visitor_id="tab", user_id="c1")
            return await ask(desk, visitor_id="tab")

        assert at(work).visit == ["k1", "k2"]

    def test_is_nobody_on_a_device_of_two_customers(self, at):
        async def work(desk):
            await sees(desk, "k1", visitor_id="tab")
            await identify(desk, "tab", "c1")
            notes = (await identify(desk, "tab", "d1"))["notes"]
            await sees(desk, "k2", minutes=100, visitor_id="tab")
            people = {"visitor_id": "tab"}, {"user_id": "c1"}, {"user_id": "d1"}
            return notes, [await ask(desk, **one) for one in people]

        notes, (device, first, second) = at(work)
        assert "other customers" in notes[0]
        assert device.before == []
        assert "k1" in first.visit, "it was theirs alone when they signed in"
        assert "k2" not in first.visit + second.visit, "it is not known who that was"

    def test_is_nobody_where_log_and_service_name_two_customers(self, at):
        async def work(desk):
            await identify(desk, "phone", "d1")
            return await ask(desk, visitor_id="phone")

        assert at(work) == Known([], [], consent=True, unknown=False)

    def test_is_nobody_where_another_than_the_logs_customer_was_seen_with_it(self, at):
        async def work(desk):
            await sees(desk, "k1", user_id="d1", visitor_id="phone")
            return await ask(desk, visitor_id="phone"), await ask(desk, user_id="d1")

        device, customer = at(work)
        assert device == Known([], [], consent=True, unknown=False)
        assert customer.visit == ["k1"]

    @pytest.mark.parametrize(("device", "owner"), [("phone", "c0"), ("tab", "c1")])
    def test_is_itself_again_once_it_is_unlinked(self, at, device, owner):
        async def work(desk):
            if device == "tab":
                await identify(desk, device, owner)
            await sees(desk, "k1", visitor_id=device)
            await unlink(desk, device, owner)
            await sees(desk, "k2", minutes=100, visitor_id=device)
            return await ask(desk, visitor_id=device), await ask(desk, user_id=owner)

        alone, customer = at(work)
        assert (alone.before, alone.visit) == ([], ["k2"])
        assert (customer.before, customer.visit) == (LOGGED, ["k1"]), "what was theirs stays so"

    def test_stays_whose_it_is_where_it_is_unlinked_from_somebody_else(self, at):
        async def work(desk):
            await identify(desk, "tab", "c1")
            told = [await unlink(desk, "tab", "d1"), await unlink(desk, "phone", "d1")]
            return told, [await ask(desk, visitor_id=one) for one in ("tab", "phone")]

        told, found = at(work)
        assert [one["kept"] for one in told] == [0, 0]
        assert "not linked" in told[0]["notes"][0]
        assert [one.before for one in found] == [LOGGED, LOGGED]


class TestADeviceThatTheLogHasWithoutACustomer:
    def past(self, tablet, tmp_path, *before, user_id="new"):
        """What is known of a customer of whom nothing is, who comes with `tab` after `before`."""

        async def work(desk):
            for visitor, user in before:
                await identify(desk, visitor, user)
            now = desk.now_us(None)
            asker = await who(desk.living, desk.state, user_id, "tab", now)
            people = people_of(desk.living, asker, desk.found([])[0])
            return desk.living.catalogue.texts(people.queries.histories.items)

        return at_the_desk(tablet, tmp_path, work)

    def test_lends_its_history_to_a_customer_who_has_done_nothing_yet(self, tablet, tmp_path):
        assert self.past(tablet, tmp_path) == ["a", "b", "c"]

    def test_is_its_customers_once_one_has_signed_in(self, tablet, tmp_path):
        assert self.past(tablet, tmp_path, ("tab", "new")) == ["a", "b", "c"]

    def test_lends_what_was_done_on_it_this_minute_as_well(self, tablet, tmp_path):
        async def work(desk):
            moment = START + timedelta(minutes=1)
            seen = EventIn(item_id="d", event_type="read", visitor_id="tab", occurred_at=moment)
            await telling.events(desk, EventsRequest(events=[seen]))
            asker = await who(desk.living, desk.state, "new", "tab", desk.now_us(None))
            people = people_of(desk.living, asker, desk.found([])[0])
            return desk.living.catalogue.texts(people.queries.histories.items)

        assert at_the_desk(tablet, tmp_path, work) == ["a", "b", "c", "d"]

    def test_lends_nothing_once_it_is_somebody_elses(self, tablet, tmp_path):
        assert self.past(tablet, tmp_path, ("tab", "r1")) == []

    def test_lends_nothing_once_it_was_shared(self, tablet, tmp_path):
        assert self.past(tablet, tmp_path, ("tab", "r1"), ("tab", "r2")) == []
        assert self.past(tablet, tmp_path, user_id=None) == []


class TestConsent:
    @pytest.mark.parametrize("said_by", [{"user_id": "c0"}, {"visitor_id": "phone"}])
    @pytest.mark.parametrize("asked_as", [{"user_id": "c0"}, {"visitor_id": "phone"}])
    def test_refused_under_one_name_is_refused_under_all(self, at, said_by, asked_as):
        async def work(desk):
            await prefers(desk, personalise=False, **said_by)
            return await ask(desk, **asked_as)

        assert at(work) == Known([], [], consent=False, unknown=False)

    def test_refused_by_the_device_can_be_given_by_its_customer(self, at):
        async def work(desk):
            words = [({"visitor_id": "phone"}, False), ({"user_id": "c0"}, True)]
            for minute, (name, word) in enumerate(words):
                told = Consent(personalise=word, at_us=END_US + minute, **name)
                await desk.state.write([told])
            return await ask(desk, user_id="c0", visitor_id="phone")

        assert at(work).consent

    def test_without_it_this_visit_still_counts(self, at):
        async def work(desk):
            await sees(desk, "k1", user_id="c0")
            await prefers(desk, user_id="c0", personalise=False)
            return await ask(desk, user_id="c0", recent=["k2"])

        assert at(work) == Known([], ["k1", "k2"], consent=False, unknown=False)

    def test_can_be_given_again(self, at):
        async def work(desk):
            for word in (False, True):
                await prefers(desk, user_id="c0", personalise=word)
            return await ask(desk, user_id="c0")

        assert at(work).consent
        assert at(work).before == LOGGED


class TestWhoIsForgotten:
    @pytest.mark.parametrize("name", [{"user_id": "c0"}, {"visitor_id": "phone"}])
    @pytest.mark.parametrize("asked_as", [{"user_id": "c0"}, {"visitor_id": "phone"}])
    def test_has_no_history_under_any_name(self, at, name, asked_as):
        async def work(desk):
            await sees(desk, "k1", user_id="c0")
            await telling.forget(desk, ForgetRequest(**name))
            return await ask(desk, **asked_as)

        found = at(work)
        assert (found.before, found.visit, found.consent) == ([], [], False)

    def test_begins_anew_by_agreeing_anew_and_the_models_past_stays_forgotten(self, at):
        async def work(desk):
            await telling.forget(desk, ForgetRequest(user_id="c0"))
            await prefers(desk, user_id="c0", personalise=True)
            await sees(desk, "k1", user_id="c0")
            return await ask(desk, user_id="c0")

        assert at(work) == Known([], ["k1"], consent=True, unknown=False)

    def test_has_again_what_a_later_model_knows_of_the_time_since(self, at):
        """Forgotten before the last thing that the log has of c0, and agreed again."""

        async def work(desk):
            log, row = desk.living.base.timelines, desk.living.base.persons.index("u:c0")
            last = int(log.occurred_us[log.indptr[row + 1] - 1])
            told = [Forget(at_us=last - 1, user_id="c0"),
                    Consent(personalise=True, at_us=last, user_id="c0")]  # fmt: skip
            await desk.state.write(told)
            return await ask(desk, user_id="c0")

        assert at(work).before == LOGGED[-1:]


class TestAVisit:
    def test_is_open_until_a_silence_of_half_an_hour(self, at):
        async def work(desk):
            await sees(desk, "k1", visitor_id="tab")
            return [await ask(desk, visitor_id="tab", later=minutes * MINUTE)
                    for minutes in (99 + 30, 99 + 31)]  # fmt: skip

        still, over = at(work)
        assert (still.before, still.visit) == ([], ["k1"])
        assert (over.before, over.visit) == (["k1"], [])

    def test_begins_anew_after_the_silence(self, at):
        async def work(desk):
            await sees(desk, "k1", visitor_id="tab")
            await sees(desk, "k2", minutes=99 + 31, visitor_id="tab")
            return await ask(desk, visitor_id="tab")

        found = at(work)
        assert (found.before, found.visit) == (["k1"], ["k2"])

    def test_begins_anew_with_a_new_session_id(self, at):
        async def work(desk):
            await sees(desk, "k1", visitor_id="tab", session_id="s1")
            await sees(desk, "k2", minutes=100, visitor_id="tab", session_id="s2")
            return await ask(desk, visitor_id="tab")

        found = at(work)
        assert (found.before, found.visit) == (["k1"], ["k2"])


def test_what_an_event_told_of_and_recent_repeats_counts_once(at):
    async def work(desk):
        await sees(desk, "k1", visitor_id="tab")
        return await ask(desk, visitor_id="tab", recent=["k1", "k2"])

    assert at(work).visit == ["k1", "k2"]
