"""The Python client: it knows all that the service knows, waits for nobody, and tells once."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import threading
import time
import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from feeds_client import AsyncFeedsClient, FeedsClient, FeedsError, endpoints

OWN = {"from_fallback"}  # what the client says and the service does not
METHODS = ("feed", "sort", "similar", "block", "questions", "profile", "validate", "events",
           "identify", "unlink", "preferences", "catalogue", "forget")  # fmt: skip


class Waiting:
    """The async client, asked like the other one."""

    def __init__(self, *args, **more):
        self.loop = asyncio.new_event_loop()
        self.inner = AsyncFeedsClient(*args, **more)

    def __getattr__(self, name):
        method = getattr(self.inner, name)
        return lambda **request: self.loop.run_until_complete(method(**request))

    def close(self):
        self.loop.run_until_complete(self.inner.aclose())
        self.loop.close()


@pytest.fixture(params=[FeedsClient, Waiting], ids=["sync", "async"])
def connect(request) -> Iterator[typing.Callable]:
    """Makes a client of either kind, closed at the end."""
    made = []

    def client(url, *args, **more):
        made.append(request.param(url, *args, **more))
        return made[-1]

    yield client
    for one in made:
        one.close()


@pytest.fixture
def client(connect, service):
    """A client of the real service."""
    return connect(str(service.base_url), timeout=10)


@pytest.fixture(scope="module")
def a_product(service) -> str:
    """The most popular product."""
    return service.post("/feed", json={"placement": "home"}).json()["items"][0]["item_id"]


@pytest.fixture(scope="module")
def docs(service):
    """The service's own account of itself."""
    return service.get("/docs.json").json()


class TestItKnowsAllThatTheServiceKnows:
    """Held against /docs.json: a field that the service gets has to come here, too."""

    def test_every_endpoint(self, docs):
        served = {path.strip("/") for path, how in docs["paths"].items() if "post" in how}
        assert served == set(METHODS)

    @pytest.mark.parametrize("kind", [FeedsClient, AsyncFeedsClient])
    @pytest.mark.parametrize("method", METHODS)
    def test_every_field_of_a_request(self, docs, kind, method):
        hints = typing.get_type_hints(getattr(kind, method), include_extras=True)
        (ours,) = typing.get_args(hints["request"])
        content = docs["paths"][f"/{method}"]["post"]["requestBody"]["content"]
        assert_same_request(ours, content["application/json"]["schema"], docs)

    @pytest.mark.parametrize("kind", [FeedsClient, AsyncFeedsClient])
    @pytest.mark.parametrize("method", METHODS)
    def test_every_field_of_an_answer(self, docs, kind, method):
        ours = typing.get_type_hints(getattr(kind, method))["return"]
        assert getattr(endpoints, method.upper()).answer is ours
        content = docs["paths"][f"/{method}"]["post"]["responses"]["200"]["content"]
        assert_same_answer(ours, content["application/json"]["schema"], docs)

    @pytest.mark.parametrize("method", METHODS)
    def test_both_clients_have_the_same_words(self, method):
        sync, later = (getattr(kind, method) for kind in (FeedsClient, AsyncFeedsClient))
        assert inspect.signature(sync) == inspect.signature(later)
        assert sync.__doc__ == later.__doc__
        assert inspect.iscoroutinefunction(later)


def found(schema, docs):
    """The schema itself, behind references, lists and what may be null."""
    if "$ref" in schema:
        return found(docs["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], docs)
    for inner in schema.get("anyOf", []):
        if inner.get("type") != "null":
            return found(inner, docs)
    return found(schema["items"], docs) if "items" in schema else schema


def inner_types(hint) -> list:
    """All types in a type."""
    return [hint, *(found for part in typing.get_args(hint) for found in inner_types(part))]


def assert_same_request(ours, schema, docs):
    hints = typing.get_type_hints(ours)
    assert set(hints) == set(schema["properties"]), ours.__name__
    assert ours.__required_keys__ == set(schema.get("required", [])), ours.__name__
    for name, hint in hints.items():
        for one in filter(typing.is_typeddict, inner_types(hint)):
            assert_same_request(one, found(schema["properties"][name], docs), docs)


def assert_same_answer(ours, schema, docs):
    hints = typing.get_type_hints(ours)
    assert set(hints) - OWN == set(schema["properties"]), ours.__name__
    for name, hint in hints.items():
        for one in inner_types(hint):
            if isinstance(one, type) and issubclass(one, msgspec.Struct):
                assert_same_answer(one, found(schema["properties"][name], docs), docs)


class TestAtTheRealService:
    def test_a_feed_has_items_with_words_and_prices(self, client):
        feed = client.feed(placement="home", size=3, explain=True)
        assert (feed.decision, feed.reason, len(feed.items)) == ("show", "stranger", 3)
        assert not feed.from_fallback
        assert feed.items[0].title
        assert feed.items[0].because[0].of == "popularity"

    def test_what_is_told_is_in_the_next_feed(self, client, a_product):
        visitor = "client-shopper"  # in no holdout of the shop's experiment
        event = {"item_id": a_product, "event_type": "view", "visitor_id": visitor}
        kept = client.events(events=[event])
        assert (kept.accepted, kept.duplicates) == (1, 0)
        assert client.feed(placement="home", visitor_id=visitor).reason == "current_session"

    def test_an_event_with_an_id_counts_once_however_often_it_is_sent(self, client, a_product):
        event = {"item_id": a_product, "event_type": "view", "visitor_id": "client-twice",
                 "event_id": uuid4().hex}  # fmt: skip
        counts = [client.events(events=[event]) for _ in range(2)]
        assert [(one.accepted, one.duplicates) for one in counts] == [(1, 0), (0, 1)]

    def test_every_other_endpoint_answers(self, client, a_product):
        person = {"visitor_id": f"client-{uuid4().hex}"}
        customer = {**person, "user_id": f"client-{uuid4().hex}"}
        assert client.sort(placement="home", item_ids=["x", a_product]).unknown_items == ("x",)
        assert client.similar(placement="home", item_id=a_product, size=2).rung == "context"
        mail = client.block(user_id=customer["user_id"], mailing="hello", consent_email=False)
        assert (mail.decision, mail.reason) == ("suppress", "no_email_consent")
        assert client.questions(**person).why
        assert client.preferences(**person, personalise=True).kept == 1
        assert client.profile(**person).consent.personalise
        assert client.validate(endpoint="feed", request={"placement": "home"}).valid
        assert client.identify(**customer).kept == 1
        assert client.unlink(**customer).kept == 1
        assert client.catalogue(items=[{"item_id": a_product, "available": True}]).kept == 1
        assert client.forget(**person).notes

    def test_a_moment_is_a_datetime_with_a_time_zone(self, client):
        asked = client.feed(placement="home", at=datetime(2030, 1, 1, tzinfo=UTC))
        assert asked.decision == "show"
        with pytest.raises(FeedsError, match="time zone"):
            client.feed(placement="home", at=datetime(2030, 1, 1))

    def test_a_refusal_names_status_field_and_what_is_wrong(self, client):
        with pytest.raises(FeedsError, match="give user_id, visitor_id or session_id") as refusal:
            client.events(events=[{"item_id": "a", "event_type": "view"}])
        assert refusal.value.status == 400
        assert refusal.value.field == "events.0"

    def test_a_fallback_hides_no_mistake_in_the_request(self, client):
        with pytest.raises(FeedsError, match="there is no placement"):
            client.feed(placement="hom", fallback=["sku-1"])

    def test_what_json_has_no_word_for_is_an_error_and_not_null(self, client):
        with pytest.raises(ValueError, match="not JSON compliant"):
            client.catalogue(items=[{"item_id": "a", "price": float("nan")}])


class Scripted(ThreadingHTTPServer):
    """Answers with what the script says, in turn, and remembers what it got."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.got, self.keys = [], [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.server.keys.append(self.headers["authorization"])
        status, headers, answer = self.server.script.pop(0)
        if status is None:  # hangs up
            self.close_connection = True
            return
        time.sleep(headers.get("x-sleep", 0))
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "content-length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


KEPT = (202, {}, {"accepted": 1, "duplicates": 0, "without_signal": 0})
BUSY = (503, {"retry-after": "0"}, {"error": "the state cannot be written now"})
HUNG_UP = (None, {}, None)
SLOW = (202, {"x-sleep": 1.0}, {})
EVENT = {"item_id": "a", "event_type": "view", "visitor_id": "v"}


class TestSentAgain:
    @pytest.mark.parametrize("first", [BUSY, HUNG_UP, (429, {}, {"error": "too many"})],
                             ids=["503", "hung up", "429"])  # fmt: skip
    def test_what_was_refused_for_the_moment_or_never_arrived(self, connect, server, first):
        server.script = [first, first, KEPT]
        assert connect(server.url).events(events=[EVENT]).accepted == 1
        assert len(server.got) == 3

    def test_an_event_has_the_same_id_each_time_so_it_counts_once(self, connect, server):
        server.script = [BUSY, KEPT, KEPT]
        client = connect(server.url)
        client.events(events=[EVENT, {**EVENT, "event_id": "mine"}])
        client.events(events=[EVENT])
        first, again, other = ([e["event_id"] for e in one["events"]] for one in server.got)
        assert first == again
        assert first[1] == "mine"
        assert first[0] != other[0]
        assert "event_id" not in EVENT

    def test_as_late_as_the_service_asks(self, connect, server):
        server.script = [(503, {"retry-after": "1"}, {"error": "busy"}), KEPT]
        began = time.monotonic()
        connect(server.url).events(events=[EVENT])
        assert 1 <= time.monotonic() - began < 3

    def test_not_when_the_service_asks_for_more_time_than_there_is(self, connect, server):
        server.script = [(503, {"retry-after": "60"}, {"error": "busy"})]
        began = time.monotonic()
        with pytest.raises(FeedsError, match="busy") as refusal:
            connect(server.url).events(events=[EVENT])
        assert time.monotonic() - began < 2
        assert (refusal.value.status, refusal.value.retry_after) == (503, 60)

    def test_not_for_ever(self, connect, server):
        server.script = [BUSY] * 9
        with pytest.raises(FeedsError, match="503"):
            connect(server.url).events(events=[EVENT])
        assert len(server.got) == 4

    @pytest.mark.parametrize("status", [400, 401, 403, 413, 500])
    def test_nothing_that_would_be_refused_again(self, connect, server, status):
        server.script = [(status, {}, {"error": "no"}), KEPT]
        with pytest.raises(FeedsError, match=f"{status}: no"):
            connect(server.url).events(events=[EVENT])

    def test_what_took_a_proxy_too_long_is_told_again_and_not_asked_again(self, connect, server):
        late = (504, {}, {"error": "no answer in time"})
        server.script = [late, KEPT]
        assert connect(server.url).events(events=[EVENT]).accepted == 1
        server.script = [late, late]
        with pytest.raises(FeedsError, match="504: no answer in time"):
            connect(server.url).feed(placement="home")
        assert len(server.script) == 1

    def test_what_took_too_long_is_told_again_and_not_asked_again(self, connect, server):
        server.script = [SLOW, KEPT]
        assert connect(server.url, timeout=0.4).events(events=[EVENT]).accepted == 1
        server.script = [SLOW, SLOW]
        with pytest.raises(FeedsError, match="no answer") as error:
            connect(server.url, timeout=0.4).feed(placement="home")
        assert error.value.status is None
        assert len(server.script) == 1


FEED = {"decision_id": "d", "decision": "show", "reason": "stranger", "rung": "one_for_all",
        "placement": "home", "arms": {}, "model_version": "v9", "rules_version": "none",
        "as_of": "", "unknown_items": [], "message": None, "next_cursor": None,
        "items": [{"item_id": "a", "position": 1, "rung": "psychic"}]}  # fmt: skip


class TestAFallback:
    @pytest.mark.parametrize("answer", [
        (503, {"retry-after": "1"}, {"error": "no model"}), (500, {}, b"<h1>oops</h1>"),
        (401, {}, {"error": "key"}), (200, {}, b"<h1>a proxy</h1>"), (200, {}, {"items": []}),
        (200, {"x-sleep": 0.3}, FEED), HUNG_UP,
    ], ids=["503", "500", "401", "not json", "not a feed", "slow", "hung up"])  # fmt: skip
    def test_is_what_a_page_shows_when_the_service_cannot_be_asked(
        self, connect, server, answer, caplog
    ):
        server.script = [answer] * 4
        began = time.monotonic()
        feed = connect(server.url, timeout=0.1).feed(
            placement="home", visitor_id="secret-visitor", fallback=["sku-2", "sku-1"]
        )
        assert time.monotonic() - began < 2
        assert [(i.item_id, i.position) for i in feed.items] == [("sku-2", 1), ("sku-1", 2)]
        assert feed.from_fallback
        assert (feed.decision, feed.reason, feed.decision_id) == ("fallback", "unreachable", "")
        assert "the feed of home is the fallback" in caplog.text
        assert "secret-visitor" not in caplog.text

    def test_is_shown_at_once_when_nobody_listens(self, connect):
        began = time.monotonic()
        feed = connect("http://127.0.0.1:9").feed(placement="home", fallback=[])
        assert time.monotonic() - began < 2
        assert (feed.from_fallback, feed.items) == (True, ())

    def test_is_not_shown_when_a_second_attempt_succeeds(self, connect, server):
        server.script = [HUNG_UP, (200, {}, FEED)]
        assert connect(server.url).feed(placement="home", fallback=["x"]).decision_id == "d"


class TestAnOlderClient:
    def test_leaves_out_what_it_does_not_know(self, connect, server):
        newer = {**FEED, "mood": "sunny", "items": [{**FEED["items"][0], "smell": "of roses"}]}
        server.script = [(200, {}, newer)]
        feed = connect(server.url).feed(placement="home")
        assert feed.items[0].rung == "psychic"
        assert not hasattr(feed, "mood")


def test_the_key_is_sent_as_bearer_and_shown_nowhere(connect, server):
    server.script = [(200, {}, FEED), (401, {}, {"error": "unknown key"})]
    client = connect(server.url, "fk_very-secret")
    client.feed(placement="home")
    assert server.keys == ["Bearer fk_very-secret"]
    with pytest.raises(FeedsError) as refusal:
        client.feed(placement="home")
    assert "very-secret" not in repr(refusal.value) + repr(client)


def test_the_first_lines_of_its_page_work(service):
    page = (Path(__file__).parent.parent / "clients" / "python" / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1)
    code = code.replace("https://feeds.example.com", str(service.base_url).rstrip("/"))
    shop: dict = {}
    exec(code, shop)
    shop["feeds"].close()
    assert shop["feed"].items
