"""The service as its callers see it: a real BentoML server with two workers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace

import at_the_desk
import numpy as np
import pytest
from pydantic import ValidationError

from serving.api import FeedRequest, FeedResponse
from serving.asking import people_of, who
from serving.delivery import Holder
from serving.desk import BadRequest
from training.bundle import Bundle, open_bundle
from training.promotion import promote


@pytest.fixture(scope="session")
def bundle(trained) -> Bundle:
    return open_bundle(trained.home, None)


@pytest.fixture(scope="session")
def customer(bundle) -> str:
    """A customer with a history who consents."""
    lengths = np.diff(bundle.timelines.indptr)
    usable = np.char.startswith(bundle.persons.ids, b"u:") & np.asarray(bundle.consent)
    return bundle.persons.text(int(np.argmax(lengths * usable))).removeprefix("u:")


@pytest.fixture(scope="session")
def refuser(bundle) -> str:
    """A customer with a history who does not consent."""
    lengths = np.diff(bundle.timelines.indptr)
    usable = np.char.startswith(bundle.persons.ids, b"u:") & ~np.asarray(bundle.consent)
    return bundle.persons.text(int(np.argmax(lengths * usable))).removeprefix("u:")


@pytest.fixture(scope="session")
def session(bundle) -> list[str]:
    """Two products of one category."""
    first = int(np.flatnonzero(bundle.catalogue.kinds == 0)[0])
    return bundle.catalogue.ids.texts(np.array([first, first + 1]))


def ask(service, **request):
    answer = service.post("/feed", json={"placement": "home", **request})
    assert answer.status_code == 200, answer.text
    return FeedResponse.model_validate(answer.json())


class TestFourKindsOfPeople:
    def test_a_known_customer_gets_a_full_personal_feed(self, service, customer):
        feed = ask(service, user_id=customer)
        assert (feed.decision, feed.reason, feed.rung) == ("show", "known_history", "one_to_one")
        assert feed.items[0].rung == "one_to_one"
        assert len(feed.items) == 20

    def test_a_visitor_with_a_session_gets_what_goes_with_it(self, service, session):
        feed = ask(service, visitor_id="never-seen", recent=session)
        assert (feed.decision, feed.reason, feed.rung) == ("show", "current_session", "context")
        assert feed.items[0].rung == "context"
        assert len(feed.items) == 20

    def test_a_perfect_stranger_gets_what_is_popular(self, service):
        feed = ask(service)
        assert (feed.decision, feed.reason, feed.rung) == ("show", "stranger", "one_for_all")
        assert {item.reason for item in feed.items} == {"popular right now"}
        assert len(feed.items) == 20

    def test_an_unknown_user_id_gets_the_strangers_feed_and_is_told_so(self, service):
        feed = ask(service, user_id="nobody")
        assert feed.reason == "unknown_user"
        assert [i.item_id for i in feed.items] == [i.item_id for i in ask(service).items]

    def test_a_customer_without_consent_gets_no_personal_item(self, service, refuser, session):
        feed = ask(service, user_id=refuser)
        assert (feed.reason, feed.rung) == ("no_consent", "one_for_all")
        assert {item.rung for item in feed.items} == {"one_for_all"}
        assert not any("you " in item.reason for item in feed.items)
        assert ask(service, user_id=refuser, recent=session).rung == "context"


class TestAFeed:
    def test_has_distinct_items_in_order_of_position(self, service, customer):
        items = ask(service, user_id=customer, size=50).items
        assert [item.position for item in items] == list(range(1, 51))
        assert len({item.item_id for item in items}) == 50

    def test_shows_only_the_kind_of_its_placement(self, service, customer):
        assert {i.kind for i in ask(service, user_id=customer).items} == {"product"}
        magazine = ask(service, user_id=customer, placement="magazine")
        assert {i.kind for i in magazine.items} == {"article"}
        assert len(magazine.items) == 10

    def test_tells_title_price_and_model(self, service, bundle):
        feed = ask(service)
        assert feed.model_version == bundle.version
        assert feed.as_of == bundle.manifest["as_of"]
        first = feed.items[0]
        index = bundle.catalogue.ids.index(first.item_id)
        assert first.title == bundle.catalogue.titles[index] != ""
        assert first.price == pytest.approx(float(bundle.catalogue.prices[index]), abs=1e-3)
        assert first.currency == "EUR"

    def test_has_a_decision_id_of_its_own(self, service):
        assert len({ask(service).decision_id for _ in range(5)}) == 5

    def test_may_be_asked_to_be_less_personal_never_more(self, service, customer):
        less = ask(service, user_id=customer, highest_rung="one_for_all")
        assert (less.rung, less.reason) == ("one_for_all", "limit")
        more = ask(service, highest_rung="one_to_one")
        assert more.rung == "one_for_all"

    def test_names_recent_items_that_the_catalogue_lacks(self, service, session):
        feed = ask(service, recent=[*session, "no-such-item"])
        assert feed.unknown_items == ["no-such-item"]

    def test_knows_an_item_in_whatever_case_its_id_is_written(self, service, session):
        plain, shouted = (
            ask(service, recent=ids) for ids in (session, [s.swapcase() for s in session])
        )
        assert shouted.unknown_items == []
        assert [i.item_id for i in shouted.items] == [i.item_id for i in plain.items]

    def test_answers_the_same_twice(self, service, customer):
        once, again = (ask(service, user_id=customer).items for _ in range(2))
        assert once == again


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"placement": "home", "size": -1}, "size"),
        ({"placement": "home", "size": 201}, "size"),
        ({"placement": "home", "size": "3"}, "size"),
        ({"placement": "nowhere"}, "placement"),
        ({}, "placement"),
        ({"placement": "home", "sise": 3}, "sise"),
        ({"placement": "home", "recent": "abc"}, "recent"),
        ({"placement": "home", "recent": ["a"] * 501}, "recent"),
        ({"placement": "home", "recent": [7]}, "recent"),
        ({"placement": "home", "user_id": ""}, "user_id"),
        ({"placement": "home", "user_id": 17}, "user_id"),
        ({"placement": "home", "user_id": "a" * 257}, "user_id"),
        ({"placement": "home", "highest_rung": "telepathy"}, "highest_rung"),
    ],
)
def test_bad_input_is_a_400_that_names_the_field(service, body, field):
    answer = service.post("/feed", json=body)
    assert answer.status_code == 400
    assert field in {str(part) for fault in answer.json()["detail"] for part in fault["loc"]}


@pytest.mark.parametrize("body", [b'{"placement": ', b"[]", b"null", b"\xff\xfe", b"7"])
def test_what_is_no_json_object_is_a_400(service, body):
    answer = service.post("/feed", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"]
)
def test_a_body_that_does_not_say_that_it_is_json_is_a_400(service, kind):
    answer = service.post("/feed", content=b"zzz", headers={"content-type": kind})
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"] == ["content-type"]


def test_a_callers_mistake_leaves_neither_traceback_nor_values_in_the_log(service, trained):
    service.post("/feed", json={"placement": "home", "size": "my-secret-value"})
    time.sleep(0.3)
    log = (trained.home.root / "tmp" / "service.log").read_text()
    assert "my-secret-value" not in log
    assert "Traceback" not in log


def test_the_api_docs_describe_the_feed(service):
    docs = service.get("/docs.json").json()
    schemas = docs["components"]["schemas"]
    assert "/feed" in docs["paths"]
    assert set(FeedRequest.model_fields) <= set(json.dumps(schemas).replace('"', " ").split())


def test_the_service_says_when_it_is_ready(service):
    assert service.get("/livez").status_code == 200
    assert service.get("/readyz").status_code == 200


def test_workers_follow_the_pointer_without_a_failed_request(service, trained):
    from training.jobs import train

    version = train(
        trained.config, trained.path.parent, trained.home, rankers=["popularity"]
    ).version
    before = ask(service).model_version
    promote(trained.config, trained.home, version)
    seen, deadline = [], time.monotonic() + 10
    while time.monotonic() < deadline and seen[-8:] != [version] * 8:
        seen.append(ask(service).model_version)
        time.sleep(0.05)
    promote(trained.config, trained.home, before)
    assert set(seen) <= {before, version}
    assert seen[-8:] == [version] * 8


class TestWithoutAServer:
    def test_the_desk_and_the_api_agree_on_the_shape(self, bundle, tmp_path):
        answer = at_the_desk.ask(bundle, tmp_path, placement="home", explain=True)
        assert FeedResponse.model_validate(answer).decision == "show"

    def test_an_unknown_placement_is_named_with_those_that_exist(self, bundle, tmp_path):
        with pytest.raises(BadRequest, match="newsletter_top") as error:
            at_the_desk.ask(bundle, tmp_path, placement="hom")
        assert error.value.field == "placement"

    def test_a_request_without_a_placement_is_refused(self):
        with pytest.raises(ValidationError):
            FeedRequest.model_validate({})

    def test_the_clock_of_the_config_decides_how_old_a_history_is(self, bundle, customer, tmp_path):
        now = bundle.config.shop.model_copy(update={"clock": "now"})
        later = replace(bundle, config=bundle.config.model_copy(update={"shop": now}))

        async def weights(desk):
            asker = await who(desk.living, desk.state, customer, None, desk.now_us(None))
            return people_of(desk.living, asker, np.empty(0, np.int32)).queries.histories.weights

        fresh = at_the_desk.at_the_desk(bundle, tmp_path, weights)
        stale = at_the_desk.at_the_desk(later, tmp_path, weights)
        assert (stale < fresh).any()

    def test_only_a_shop_whose_clock_is_that_of_its_log_can_be_asked_of_a_moment(
        self, bundle, tmp_path
    ):
        now = bundle.config.shop.model_copy(update={"clock": "now"})
        later = replace(bundle, config=bundle.config.model_copy(update={"shop": now}))
        moment = "2026-12-01T00:00:00Z"
        assert at_the_desk.ask(bundle, tmp_path, placement="home", at=moment)["items"]
        with pytest.raises(BadRequest, match="clock: as_of"):
            at_the_desk.ask(later, tmp_path, placement="home", at=moment)

    def test_a_bundle_that_cannot_be_opened_leaves_the_old_one_serving(
        self, trained, tmp_path, caplog
    ):
        from features.home import Home

        home = Home(tmp_path)
        (tmp_path / "bundles").mkdir()
        (tmp_path / "bundles" / "v1").symlink_to(trained.home.bundles / "v1")
        (tmp_path / "bundles" / "v2").mkdir()
        (tmp_path / "bundles" / "v2" / "manifest.json").write_text('{"format_version": 99}')
        (tmp_path / "bundles" / "v4").mkdir()
        (tmp_path / "bundles" / "v4" / "manifest.json").write_text('{"format_version": 1}')

        async def work():
            holder, served = Holder(home), []
            for wanted in ("v1", "v2", "v3", "v4"):
                home.pointer.write_text(f"{wanted}\n")
                await holder.refresh()
                served.append(holder.desk and holder.desk.bundle.version)
            await holder.close()
            return served

        assert asyncio.run(work()) == ["v1"] * 4
        for broken in ("v2", "v3", "v4"):
            assert f"cannot serve {broken}; v1 stays" in caplog.text

    def test_serving_without_a_promoted_model_says_what_to_do(self, tmp_path):
        config = tmp_path / "feeds.yaml"
        config.write_text("sources: {events: {path: e.parquet}}\nsignals: {view: {weight: 1}}\n")
        run = subprocess.run(
            [sys.executable, "-m", "feeds", "serve", "-c", str(config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 1
        assert "feeds promote" in run.stderr
