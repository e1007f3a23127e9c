"""The endpoint `block`: one mail for one person, the same for an hour, logged once."""

from __future__ import annotations

import asyncio
from itertools import chain
from uuid import uuid4

import httpx
import pytest
from bs4 import BeautifulSoup
from mail_desk import SUITABLE, equipped, shop
from msgspec import structs
from small_desk import END_US, at_desk, view

from features.decided import decision_files, read_decisions
from serving.api_mail import BlockRequest, BlockResponse
from serving.desk import BadRequest
from serving.mailing import block as endpoint
from serving.mailing.block import block
from serving.state import Consent, Forget, StateUnavailable
from serving.states import Absent

ASKED = {"user_id": "c0", "mailing": "basket", "placements": ["top", "more"]}


def asking(**told):
    return BlockRequest(**{**ASKED, **told})


def at_a_desk(path, work, *facts, **told):
    """What `work` gives at a desk that writes mails, and the decisions that it logged."""

    async def done(desk):
        equipped(desk)
        return await work(desk)

    found = at_desk(path, done, facts, shop(**told))
    return found, [one for file in decision_files(path / "decisions") for one in
                   read_decisions(file)]  # fmt: skip


def answers(path, *requests, facts=(), **told):
    """The answers to these requests, one after the other, and the log."""

    async def work(desk):
        return [await block(desk, one) for one in requests]

    return at_a_desk(path, work, *facts, **told)


def items(answer):
    return [[item.item_id for item in one.items] for one in answer["blocks"]]


def all_items(answer):
    return sorted(chain.from_iterable(items(answer)))


class TestTheAnswer:
    def test_has_the_blocks_that_a_mailing_would_have(self, tmp_path):
        (answer,), log = answers(tmp_path, asking())
        assert items(answer) == [["t1", "r2"], ["r1", "r3"]]
        assert (answer["decision"], answer["reason"]) == ("show", "known_history")
        assert not answer["again"]
        assert [line.item_ids for line in log] == items(answer)
        assert {(line.mailing, line.channel) for line in log} == {("basket", "email")}
        assert BlockResponse.model_validate(structs_out(answer)).blocks[0].placement == "top"

    def test_has_all_placements_of_mails_where_none_is_named(self, tmp_path):
        (answer,), _ = answers(tmp_path, asking(placements=None))
        assert [one.placement for one in answer["blocks"]] == ["top", "more", "all"]
        assert all_items(answer) == sorted(SUITABLE)

    def test_says_why_there_is_no_mail_and_logs_it(self, tmp_path):
        (answer,), log = answers(tmp_path, asking(consent_email=False, format="html"))
        assert (answer["decision"], answer["reason"]) == ("suppress", "no_email_consent")
        assert items(answer) == [[], []]
        assert answer["html"] is answer["text"] is None
        assert [line.reason for line in log] == ["no_email_consent"] * 2

    def test_is_a_page_or_blocks_for_another_frame(self, tmp_path):
        made = [answers(tmp_path / form, asking(format=form))[0][0] for form in ("html", "blocks")]
        whole, part = (BeautifulSoup(one["html"], "html.parser") for one in made)
        assert whole.html is not None
        assert part.html is None
        assert "R2" in whole.get_text()
        assert "R2" in part.get_text()
        assert "https://shop.example/p/r2" in made[1]["text"]

    def test_counts_as_a_mail_from_then_on(self, tmp_path):
        first, second = asking(), asking(mailing="other", at="2026-03-02T12:00:00Z")
        (one, two), _ = answers(tmp_path, first, second)
        assert not set(all_items(one)) & set(all_items(two))
        (_, none), log = answers(tmp_path / "2", first, second, withhold={"mails_per_week": 1})
        assert none["reason"] == "frequency_reached"
        assert len(log) == 4

    def test_of_a_placement_that_is_none_of_mails_is_an_error(self, tmp_path):
        with pytest.raises(BadRequest, match="'home'") as told:
            answers(tmp_path, asking(placements=["top", "home"]))
        assert told.value.field == "placements.1"

    def test_of_a_desk_without_mails_says_why(self, tmp_path):
        async def work(desk):
            with pytest.raises(BadRequest, match="this desk writes no mails"):
                await block(desk, asking())

        at_desk(tmp_path, work)

    def test_is_none_without_the_store(self, tmp_path):
        """Nobody knows who said no."""

        async def work(desk):
            desk.state = Absent(lambda: desk.state, "it is away")
            with pytest.raises(StateUnavailable):
                await block(desk, asking())

        _, log = at_a_desk(tmp_path, work)
        assert log == []


LATER = {"at": "2026-03-01T12:30:00Z"}


class TestForAnHour:
    def test_the_answer_stands_whatever_happens_meanwhile(self, tmp_path):
        async def work(desk):
            first = await block(desk, asking())
            await desk.state.write([view(item, user_id="c0") for item in ("k1", "k2", "t2")])
            return first, await block(desk, asking(**LATER))

        (first, again), log = at_a_desk(tmp_path, work)
        assert (first.pop("again"), again.pop("again")) == (False, True)
        assert first == again
        assert len(log) == 2

    def test_it_stands_in_every_worker(self, tmp_path):
        """It is in the store, and not in a worker's memory."""
        (first,), _ = answers(tmp_path, asking())
        (again,), log = answers(tmp_path, asking(**LATER))
        assert (again["again"], items(again)) == (True, items(first))
        assert len(log) == 2

    def test_it_stands_as_a_page_too(self, tmp_path):
        (first, again), _ = answers(tmp_path, asking(), asking(format="html", **LATER))
        assert again["again"]
        assert again["blocks"] == first["blocks"]
        assert "R2" in again["html"]

    @pytest.mark.parametrize(
        "other", [{"mailing": "birthday"}, {"placements": ["top"]}, {"user_id": "c1"},
                  {"language": "de"}, {"consent_email": True}],
    )  # fmt: skip
    def test_another_question_has_another_answer(self, tmp_path, other):
        (first, second), log = answers(tmp_path, asking(), asking(**other))
        assert not second["again"]
        ids = [one.decision_id for one in (*first["blocks"], *second["blocks"])]
        assert len(set(ids)) == len(ids) == len(log)

    def test_whoever_no_longer_agrees_has_another_answer(self, tmp_path):
        async def work(desk):
            first = await block(desk, asking())
            await desk.state.write([Consent(user_id="c0", personalise=False, at_us=END_US)])
            second = await block(desk, asking())
            await desk.state.write([Forget(user_id="c0", at_us=END_US + 1)])
            return first, second, await block(desk, asking(at="2026-03-01T12:01:00Z"))

        each, log = at_a_desk(tmp_path, work)
        assert [one["reason"] for one in each] == ["known_history", "no_consent", "forgotten"]
        assert [one["again"] for one in each] == [False] * 3
        assert len({line.decision_id for line in log}) == len(log) == 6

    def test_then_it_is_decided_anew(self, tmp_path, monkeypatch):
        monkeypatch.setattr(endpoint, "STANDS_SECONDS", 0.05)

        async def work(desk):
            first = await block(desk, asking())
            await asyncio.sleep(0.1)
            return first, await block(desk, asking(at="2026-03-02T12:00:00Z"))

        (first, second), log = at_a_desk(tmp_path, work)
        assert not second["again"]
        assert items(first) != items(second)
        assert len(log) == 4

    def test_two_at_the_same_moment_get_one_answer_and_one_is_logged(self, tmp_path):
        """Whether the store has met them or not."""

        async def work(desk):
            both = [asking(), asking()]
            other = [asking(mailing="other"), asking(mailing="other")]
            return [await asyncio.gather(*(block(desk, one) for one in pair))
                    for pair in (both, other)]  # fmt: skip

        pairs, log = at_a_desk(tmp_path, work)
        for first, second in pairs:
            assert sorted([first.pop("again"), second.pop("again")]) == [False, True]
            assert first == second
        assert len({line.decision_id for line in log}) == len(log) == 4


def structs_out(answer):
    """As JSON has it."""
    return {**answer, "blocks": [structs.asdict(one) | {"items": [structs.asdict(item) for item in
            one.items]} for one in answer["blocks"]]}  # fmt: skip


class TestTheService:
    """Two workers who do not know this customer; who may ask at all: test_hostile.py."""

    READER = f"block-{uuid4().hex}"

    def ask(self, service, **told):
        """From whichever worker the connection leads to."""
        body = {"user_id": self.READER, "mailing": "basket", "consent_email": True, **told}
        return httpx.post(f"{service.base_url}/block", json=body, timeout=10)

    def test_every_worker_gives_the_same_answer_for_an_hour(self, service):
        workers, told = set(), []
        for _ in range(40):
            answer = self.ask(service)
            assert answer.status_code == 200, answer.text
            workers.add(answer.headers["x-feeds-worker"])
            told.append(answer.json())
            if len(workers) == 2:
                break
        assert len(workers) == 2
        first, *rest = told
        assert not first.pop("again")
        assert (first["decision"], first["reason"]) == ("show", "unknown_user")
        assert {one.pop("again") for one in rest} == {True}
        assert all(one == first for one in rest)

    def test_the_mail_itself_is_a_page_and_where_there_is_none_nothing(self, service):
        page = self.ask(service, user_id=uuid4().hex, format="html")
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["x-feeds-decision"] == "show"
        assert "</html>" in page.text
        none = self.ask(service, format="html", consent_email=False)
        assert (none.status_code, none.content) == (204, b"")
        assert none.headers["x-feeds-decision"] == "suppress"
        assert none.headers["x-feeds-reason"] == "no_email_consent"

    def test_a_placement_that_is_none_of_mails_is_named(self, service):
        answer = self.ask(service, placements=["home"])
        assert answer.status_code == 400
        assert answer.json()["detail"][0]["loc"] == ["placements", 0]
