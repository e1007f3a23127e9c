"""The service among people who mean it no good: every endpoint with every key, and bad requests."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection
from trained import ORIGIN

from benchmarks.operations.attacks import MARK, MOST_SECONDS, attacks, mended, send
from serving.keys import NEEDED, OF_A_PAGE

BODIES: dict[str, dict[str, Any]] = {  # one per endpoint that would be answered
    "feed": {"placement": "home", "size": 1},
    "sort": {"placement": "home", "item_ids": ["a"]},
    "similar": {"placement": "home", "item_id": "SKU-00001"},
    "block": {"user_id": "hostile", "mailing": "hostile", "consent_email": True},
    "questions": {"visitor_id": "hostile"},
    "profile": {"visitor_id": "hostile"},
    "validate": {"endpoint": "feed", "request": {"placement": "home"}},
    "events": {"events": [{"item_id": "a", "event_type": "view", "visitor_id": "hostile"}]},
    "identify": {"visitor_id": "hostile", "user_id": "hostile"},
    "unlink": {"visitor_id": "hostile", "user_id": "hostile"},
    "preferences": {"visitor_id": "hostile", "personalise": True},
    "catalogue": {"items": [{"item_id": "SKU-00001", "available": True}]},
    "forget": {"visitor_id": "hostile"},
}
MAY = {
    "nobody": (),
    "a stranger": (),
    "reader": tuple(one for one, scope in NEEDED.items() if scope == "read"),
    "writer": tuple(one for one, scope in NEEDED.items() if scope == "write"),
    "boss": tuple(NEEDED),
    "page": tuple(OF_A_PAGE),
}


@pytest.fixture(scope="module")
def client(guarded):
    with httpx.Client(base_url=guarded.url, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def docs(guarded, client) -> dict[str, Any]:
    """The service's own API page, with the ways that lead from one answer to another request."""
    page = mended(client.get("/docs.json", headers=guarded.bearer("boss")).json())
    for path in [one for one in page["paths"] if one[1:] not in NEEDED]:
        del page["paths"][path]
    for path in ("/feed", "/sort", "/similar"):  # of all names there is one that leads on
        body = page["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        body["properties"]["placement"] = {"enum": ["home"]}
        body["properties"].pop("cursor", None)
    for path, links in LINKS.items():
        told = page["paths"][path]["post"]["responses"]
        status = "202" if path == "/events" else "200"
        told[status] = {**told["200"], "links": links}
    return page


def _link(to: str, body: dict[str, Any]) -> dict[str, Any]:
    return {to: {"operationRef": f"#/paths/~1{to}/post", "requestBody": body}}


FIRST, WHO = "$response.body#/items/0/item_id", "$request.body#/visitor_id"
LINKS: dict[str, dict[str, Any]] = {
    "/feed": {
        **_link("similar", {"placement": "home", "item_id": FIRST}),
        **_link("preferences", {"visitor_id": WHO, "less_of_items": [FIRST]}),
        **_link("events", {"events": [{"item_id": FIRST, "event_type": "view", "visitor_id": WHO,
                                       "decision_id": "$response.body#/decision_id"}]}),
    },
    "/preferences": {**_link("profile", {"visitor_id": WHO}),
                     **_link("forget", {"visitor_id": WHO})},
    "/identify": _link("unlink", {"visitor_id": WHO, "user_id": "$request.body#/user_id"}),
    "/events": _link("feed", {"placement": "home", "recent": ["$request.body#/events/0/item_id"]}),
    "/forget": _link("feed", {"placement": "home", "visitor_id": WHO}),
}  # fmt: skip


def test_the_table_of_scopes_has_every_endpoint(docs):
    assert {path[1:] for path in docs["paths"]} == set(NEEDED) == set(BODIES)


@pytest.mark.parametrize("who", MAY)
@pytest.mark.parametrize("endpoint", NEEDED)
def test_an_endpoint_answers_who_may_ask_and_nobody_else(client, guarded, endpoint, who):
    headers = {"origin": ORIGIN} if who == "page" else {}
    if who in guarded.keys:
        headers |= guarded.bearer(who)
    elif who == "a stranger":
        headers["authorization"] = "Bearer fk_" + "A" * 43
    answer = client.post(f"/{endpoint}", json=BODIES[endpoint], headers=headers)
    if endpoint in MAY[who]:
        assert answer.status_code == (202 if endpoint == "events" else 200), answer.text
    else:
        assert answer.status_code == (403 if who in guarded.keys else 401)
        assert set(answer.json()) == {"error"}


REACHED = {  # kind of attack -> answers that show how far it got: past the door, and no further
    "field": {200, 400}, "raw": {400}, "fields": {400}, "torn": {400}, "bytes": {400},
    "whole": {400, 413}, "type": {200, 400}, "header": {200, 401}, "method": {405}, "path": {404},
}  # fmt: skip


def test_hostile_requests_are_answered_in_time_and_leave_no_trace(guarded):
    outcomes = list(send(guarded.url, guarded.keys["boss"], attacks(400, seed=7)))
    told = [(one.status, one.attack.kind, one.attack.path[:40], one.attack.body[:200])
            for one in outcomes if one.status >= 500 or not one.status]  # fmt: skip
    assert told == []
    assert max(one.seconds for one in outcomes) < MOST_SECONDS
    found = {kind: {one.status for one in outcomes if one.attack.kind == kind} for kind in REACHED}
    missed = {kind: (met, found[kind]) for kind, met in REACHED.items() if not met <= found[kind]}
    assert missed == {}
    assert MARK not in guarded.log
    assert "Traceback" not in guarded.log


CHECKS: list[CheckFunction] = [not_a_server_error, negative_data_rejection]
HURRY = settings(max_examples=12, derandomize=True, deadline=None, database=None,
                 stateful_step_count=5, suppress_health_check=list(HealthCheck))  # fmt: skip


@pytest.fixture(scope="module")
def schema(docs, guarded):
    found = schemathesis.openapi.from_dict(docs)
    found.config.update(base_url=guarded.url)
    return found


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("endpoint", NEEDED)
def test_what_its_own_page_allows_or_forbids_is_answered(schema, guarded, endpoint, mode):
    @HURRY
    @given(case=schema[f"/{endpoint}"]["POST"].as_strategy(generation_mode=mode))
    def each(case):
        judge(case, case.call(headers=guarded.bearer("boss")))

    each()


def test_what_follows_from_an_answer_is_answered(schema, guarded):
    answered = Counter()

    class Following(schema.as_state_machine()):
        def get_call_kwargs(self, case):
            return {"headers": guarded.bearer("boss")}

        def validate_response(self, response, case, **more):
            answered[case.path, response.status_code] += 1
            judge(case, response)

    Following.run(settings=HURRY)
    assert len({path for path, status in answered if status < 300}) >= 3  # it went from one on


def judge(case, response):
    case.validate_response(response, checks=CHECKS)
    assert response.elapsed < MOST_SECONDS
