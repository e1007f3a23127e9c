"""What the service is told, by its callers, on a real server: it counts on every worker.

The workers share nothing but the store. A new connection may reach either of them; the header
`x-feeds-worker` says which has answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from training.bundle import Bundle, open_bundle

WORKERS = 2
SOON = 3.0  # seconds from the answer on, until every worker knows: one, where nothing else runs
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def bundle(trained) -> Bundle:
    return open_bundle(trained.home, None)


@pytest.fixture(scope="module")
def customers(bundle) -> list[str]:
    """Customers with a history who consent; other tests use the one with the longest."""
    lengths = np.diff(bundle.timelines.indptr)
    usable = np.char.startswith(bundle.persons.ids, b"u:") & np.asarray(bundle.consent)
    order = np.argsort(-lengths * usable, kind="stable")
    return [bundle.persons.text(int(row)).removeprefix("u:") for row in order[5:10]]


def send(service: httpx.Client, endpoint: str, **body: Any) -> httpx.Response:
    """Over a connection of its own."""
    return httpx.post(service.base_url.join(endpoint), json=body, timeout=10)


def tell(service: httpx.Client, endpoint: str, **body: Any) -> Answer:
    answer = send(service, endpoint, **body)
    assert answer.status_code in (200, 202), answer.text
    return dict(answer.json())


def everywhere(service: httpx.Client, endpoint: str, **body: Any) -> list[Answer]:
    """The answer of every worker."""
    found: dict[str, Answer] = {}
    for _ in range(400):
        answer = send(service, endpoint, **body)
        assert answer.status_code == 200, answer.text
        found[answer.headers["x-feeds-worker"]] = answer.json()
        if len(found) == WORKERS:
            return list(found.values())
    raise AssertionError("one worker alone took 400 connections")


def soon(
    service: httpx.Client, holds: Callable[[Answer], bool], endpoint: str, **body: Any
) -> list[Answer]:
    """The answers of all workers, which must hold within a second, and go on holding."""
    deadline = time.monotonic() + SOON
    while not all(holds(one) for one in everywhere(service, endpoint, **body)):
        assert time.monotonic() < deadline, f"{endpoint} {body}: not within {SOON} s"
    found = [one for _ in range(5) for one in everywhere(service, endpoint, **body)]
    assert all(holds(one) for one in found)
    return found


def ids(answer: Answer) -> list[str]:
    return [one["item_id"] for one in answer["items"]]


def view(item: str, **more: Any) -> dict[str, Any]:
    return {"item_id": item, "event_type": "view", **more}


@pytest.fixture(scope="module")
def popular(service) -> list[str]:
    """What a stranger is shown."""
    return ids(tell(service, "feed", placement="home"))


class TestEvents:
    def test_are_acknowledged_with_202_and_count_on_every_worker_within_a_second(
        self, service, popular
    ):
        asked = {"placement": "home", "visitor_id": "told-1"}
        assert {one["reason"] for one in everywhere(service, "feed", **asked)} == {"stranger"}
        answer = send(service, "events", events=[view(popular[3], visitor_id="told-1")])
        assert answer.status_code == 202
        assert answer.json() == {"accepted": 1, "duplicates": 0, "without_signal": 0}
        soon(service, lambda one: one["reason"] == "current_session", "feed", **asked)

    def test_move_what_is_popular_on_every_worker(self, service, popular):
        """A crowd comes for an item that nobody was shown."""
        last = ids(tell(service, "feed", placement="home", size=100))[-1]
        crowd = [view(last, visitor_id=f"told-crowd-{n}") for n in range(300)]
        tell(service, "events", events=crowd)
        soon(service, lambda one: ids(one)[0] == last, "feed", placement="home")

    def test_count_once_whichever_worker_gets_them_again(self, service, popular):
        batch = [view(one, visitor_id="told-2", event_id=f"told-2-{one}") for one in popular[:3]]
        first = tell(service, "events", events=batch)
        again = [tell(service, "events", events=batch) for _ in range(20)]
        new = view(popular[4], visitor_id="told-2", event_id="told-2-new")
        more = tell(service, "events", events=[*batch, new])
        assert (first["accepted"], first["duplicates"]) == (3, 0)
        assert {(one["accepted"], one["duplicates"]) for one in again} == {(0, 3)}
        assert (more["accepted"], more["duplicates"]) == (1, 3)

    @pytest.mark.parametrize(
        ("bad", "place"),
        [
            ({"event_type": "view", "visitor_id": "v"}, "events.3.item_id"),
            (view("", visitor_id="v"), "events.3.item_id"),
            (view(7, visitor_id="v"), "events.3.item_id"),
            (view("a" * 257, visitor_id="v"), "events.3.item_id"),
            (view("a"), "events.3"),
            (view("a", visitor_id="v", when="now"), "events.3.when"),
            (view("a", visitor_id="v", occurred_at="2026-05-01T08:00:00"), "events.3.occurred_at"),
            (view("a", visitor_id="v", occurred_at="yesterday"), "events.3.occurred_at"),
            (
                view("a", visitor_id="v", occurred_at="0001-01-01T00:00:00+14:00"),
                "events.3.occurred_at",
            ),
            (view("a", visitor_id="v", position=0), "events.3.position"),
            (view("a", visitor_id="v", position=2**70), "events.3.position"),
            (view("a", visitor_id="v", propensity=1.5), "events.3.propensity"),
            (view("a", visitor_id="v", currency="euro"), "events.3.currency"),
        ],
    )
    def test_one_of_which_is_bad_are_a_400_that_names_it_and_none_is_kept(
        self, service, popular, bad, place
    ):
        name = f"told-{place}-{len(str(bad))}"
        good = [view(one, visitor_id=name, event_id=f"{name}-{one}") for one in popular[:3]]
        answer = send(service, "events", events=[*good, bad])
        assert answer.status_code == 400
        places = [".".join(map(str, fault["loc"])) for fault in answer.json()["detail"]]
        assert place in places
        assert tell(service, "events", events=good)["duplicates"] == 0

    def test_of_more_than_a_thousand_are_refused(self, service, popular):
        batch = [view(popular[0], visitor_id="told-3")] * 1001
        assert send(service, "events", events=batch).status_code == 400
        assert send(service, "events", events=[]).status_code == 400


class TestWhoIsWho:
    def test_a_device_is_a_customers_from_identify_to_unlink(self, service, customers):
        asked = {"placement": "home", "visitor_id": "told-tab"}
        names = {"visitor_id": "told-tab", "user_id": customers[0]}
        tell(service, "identify", **names)
        personal = soon(service, lambda one: one["reason"] == "known_history", "feed", **asked)
        assert all(ids(one) == ids(personal[0]) for one in personal)
        tell(service, "unlink", **names)
        soon(service, lambda one: one["reason"] == "stranger", "feed", **asked)


class TestWishes:
    def test_a_muted_category_is_gone_at_once_on_every_worker(self, service):
        asked = {"placement": "home", "visitor_id": "told-4"}
        first = tell(service, "feed", **asked)["items"][0]["category"].split("/")[0]
        tell(service, "preferences", visitor_id="told-4", mute_categories=[first])
        for answer in everywhere(service, "feed", **asked):
            assert len(answer["items"]) == 20
            assert not [one for one in answer["items"] if one["category"].split("/")[0] == first]
        tell(service, "preferences", visitor_id="told-4", unmute_categories=[first])
        for answer in everywhere(service, "feed", **asked):
            assert [one for one in answer["items"] if one["category"].split("/")[0] == first]

    def test_consent_withdrawn_in_mid_session_is_obeyed_at_once_on_every_worker(
        self, service, customers, popular
    ):
        user, asked = customers[1], {"placement": "home", "user_id": customers[1], "size": 100}
        before = everywhere(service, "feed", **asked)
        assert {one["rung"] for answer in before for one in answer["items"]} >= {"one_to_one"}
        tell(service, "events", events=[view(popular[2], user_id=user)])
        tell(service, "preferences", user_id=user, personalise=False)
        for answer in [one for _ in range(5) for one in everywhere(service, "feed", **asked)]:
            assert answer["reason"] == "no_consent"
            assert {one["rung"] for one in answer["items"]} <= {"context", "one_for_all"}
            assert not [one for one in answer["items"] if one["reason"].startswith("because you")]
        tell(service, "preferences", user_id=user, personalise=True)
        soon(service, lambda one: one["reason"] != "no_consent", "feed", **asked)

    def test_who_is_forgotten_is_unknown_at_once_on_every_worker(self, service, customers):
        asked = {"placement": "home", "user_id": customers[2]}
        assert tell(service, "feed", **asked)["reason"] == "known_history"
        told = tell(service, "forget", user_id=customers[2])
        assert "nothing of this person is used" in told["notes"][0]
        for answer in everywhere(service, "feed", **asked):
            assert (answer["reason"], answer["rung"]) == ("unknown_user", "one_for_all")

    @pytest.mark.parametrize(
        ("body", "place"),
        [
            ({"user_id": "x"}, "answers"),
            ({"personalise": True}, ""),
            ({"user_id": "x", "mute_brands": ["no-such-brand"]}, "mute_brands.0"),
            ({"user_id": "x", "less_of_items": ["no-such-item"]}, "less_of_items.0"),
            ({"user_id": "x", "mute_categories": ["no/such"]}, "mute_categories.0"),
            ({"user_id": "x", "personalise": "no"}, "personalise"),
        ],
    )
    def test_a_wish_that_means_nothing_is_a_400_that_names_it(self, service, body, place):
        answer = send(service, "preferences", **body)
        assert answer.status_code == 400
        assert answer.json()["error"] == "1 validation error for PreferencesRequest"
        assert place in [".".join(map(str, fault["loc"])) for fault in answer.json()["detail"]]


class TestTheCatalogue:
    def test_what_sells_out_is_gone_from_every_worker_within_a_second_and_comes_back(
        self, service, popular
    ):
        gone = popular[1]
        tell(service, "catalogue", items=[{"item_id": gone, "available": False}])
        asked = {"placement": "home", "size": 100}
        soon(service, lambda one: gone not in ids(one), "feed", **asked)
        tell(service, "catalogue", items=[{"item_id": gone, "available": True}])
        soon(service, lambda one: gone in ids(one), "feed", **asked)

    def test_a_price_is_on_every_workers_cards_within_a_second(self, service, popular):
        def cost(answer: Answer) -> set[float]:
            return {one["price"] for one in answer["items"] if one["item_id"] == popular[0]}

        tell(service, "catalogue", items=[{"item_id": popular[0], "price": 3.21}])
        soon(service, lambda one: cost(one) == {3.21}, "feed", placement="home", size=100)

    def test_a_new_item_is_known_to_every_worker_within_a_second(self, service):
        new = {"item_id": "told-new", "kind": "product", "title": "New", "price": 1.5,
               "published_at": "2026-01-01T00:00:00Z"}  # fmt: skip
        tell(service, "catalogue", items=[new])
        asked = {"placement": "home", "item_ids": ["told-new"]}
        soon(service, lambda one: one["unknown_items"] == one["unavailable_items"] == [],
             "sort", **asked)  # fmt: skip
        soon(service, lambda one: one["items"] != [], "similar", placement="home",
             item_id="told-new")  # fmt: skip

    def test_more_new_items_than_there_is_room_for_are_known_to_every_worker_soon(self, service):
        """A worker keeps a thousand places; for more it makes its world anew."""
        for batch in range(2):
            items = [{"item_id": f"told-{batch}-{n}", "kind": "product", "available": False}
                     for n in range(1000)]  # fmt: skip
            assert tell(service, "catalogue", items=items)["kept"] == 1000
        asked = {"placement": "home", "item_ids": ["told-0-0", "told-1-999"]}
        soon(service, lambda one: one["unknown_items"] == [], "sort", **asked)


def test_the_api_docs_have_every_endpoint_with_an_example(service):
    docs = service.get("/docs.json").json()
    for endpoint in ("feed", "sort", "similar", "events", "identify", "unlink", "preferences",
                     "questions", "profile", "validate", "forget", "catalogue"):  # fmt: skip
        body = docs["paths"][f"/{endpoint}"]["post"]["requestBody"]["content"]["application/json"]
        assert body["schema"]["example"], endpoint
