"""The door of the service: who is turned away, with which words, and what nobody has to read."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time

import httpx
import pytest
from trained import ORIGIN

from features.home import Home
from features.options import ServiceOptions
from serving import guard
from serving.api import FeedRequest
from serving.delivery import Holder
from serving.guard import Guard, options_of
from serving.incidents import keep_values_out_of_logs
from serving.keys import Keyring, add_key, revoke_key
from serving.rates import Rates
from serving.refused import Refused

FEED = {"placement": "home", "size": 1}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(guarded):
    with httpx.Client(base_url=guarded.url, timeout=10) as client:
        yield client


@pytest.fixture
def ask(client, guarded):
    """Ask with one of the keys; the key of a page from its own site, unless said otherwise."""

    def asked(path, body, name, **headers):
        origin = {"origin": ORIGIN} if name == "page" else {}
        return client.post(path, json=body, headers={**guarded.bearer(name), **origin, **headers})

    return asked


class TestWithoutAKey:
    @pytest.mark.parametrize("path", ["/livez", "/readyz"])
    def test_whoever_asks_hears_how_the_service_is(self, client, path):
        assert client.get(path).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/docs.json", "/schema.json", "/metrics"])
    def test_nobody_sees_what_is_about_the_service(self, client, guarded, path):
        assert client.get(path).status_code == 401
        assert client.get(path, headers=guarded.bearer("reader")).status_code == 200
        assert client.get(path, headers=guarded.bearer("page")).status_code == 403

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"authorization": "Bearer fk_no"},
            {"authorization": "Basic YTpi"},
            {"authorization": "Bearer"},
            {"x-api-key": "shop"},
        ],
    )
    def test_the_answer_says_what_to_do_and_not_which_keys_there_are(self, client, headers):
        answer = client.post("/feed", json=FEED, headers=headers)
        assert answer.status_code == 401
        assert set(answer.json()) == {"error"}
        assert "key" in answer.json()["error"]
        assert not {"reader", "writer", "boss"} & set(answer.text.split())
        assert answer.headers["www-authenticate"] == "Bearer"

    def test_what_is_not_there_is_not_there(self, client):
        assert client.get("/nothing").status_code == 404
        assert client.post("/feed/", json=FEED).status_code == 404
        wrong = client.get("/feed")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_a_key_may_come_in_either_header(client, guarded):
    token = guarded.keys["reader"]
    of_a_proxy = {"authorization": "Basic YTpi"}
    for headers in ({"authorization": f"bearer {token}"}, {"x-api-key": token},
                    {"x-api-key": token, **of_a_proxy}):  # fmt: skip
        assert client.post("/feed", json=FEED, headers=headers).status_code == 200


def test_workers_follow_the_keys_without_a_restart(client, guarded):
    def becomes(status):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if client.post("/feed", json=FEED, headers={"x-api-key": token}).status_code == status:
                return True
            time.sleep(0.1)
        return False

    token = add_key(guarded.home, "late", ["read"])
    assert becomes(200)
    revoke_key(guarded.home, "late")
    assert becomes(401)


class TestTheKeyOfAPage:
    def test_counts_from_the_shops_sites_only(self, ask):
        assert ask("/feed", FEED, "page").status_code == 200
        for other in ("https://evil.example", f"{ORIGIN}.evil.example", "null", ""):
            answer = ask("/feed", FEED, "page", origin=other)
            assert answer.status_code == 403
            assert "service.origins" in answer.json()["error"]

    def test_may_come_in_the_url_for_a_beacon_sets_no_header(self, client, guarded):
        sent = {"params": {"key": guarded.keys["page"]}, "headers": {"origin": ORIGIN}}
        assert client.post("/feed", json=FEED, **sent).status_code == 200

    def test_a_secret_key_may_not(self, client, guarded):
        answer = client.post("/feed", json=FEED, params={"key": guarded.keys["reader"]})
        assert answer.status_code == 403
        assert "URL" in answer.json()["error"]

    @pytest.mark.parametrize(
        ("path", "body", "place"),
        [
            ("/feed", {**FEED, "user_id": "c-1"}, "user_id"),
            ("/sort", {"placement": "home", "item_ids": ["a"], "user_id": "c-1"}, "user_id"),
            ("/questions", {"user_id": "c-1"}, "user_id"),
            ("/preferences", {"user_id": "c-1", "personalise": True}, "user_id"),
            (
                "/events",
                {"events": [{"item_id": "a", "event_type": "view", "visitor_id": "v"},
                            {"item_id": "a", "event_type": "view", "user_id": "c-1"}]},
                "events.1.user_id",
            ),
        ],
    )  # fmt: skip
    def test_speaks_for_visitors_only(self, ask, path, body, place):
        answer = ask(path, body, "page")
        assert answer.status_code == 403
        assert answer.json()["error"].startswith(f"{place}: ")
        assert "c-1" not in answer.text

    def test_lets_a_visitor_say_what_they_want(self, ask):
        said = {"visitor_id": "guard-1", "personalise": True}
        assert ask("/preferences", said, "page").json()["kept"] == 1

    def test_cannot_use_up_the_name_of_an_order(self, ask):
        def told(name, event_id):
            event = {"item_id": "a", "event_type": "purchase", "visitor_id": "v-1",
                     "event_id": event_id}  # fmt: skip
            answer = ask("/events", {"events": [event]}, name).json()
            return answer["accepted"], answer["duplicates"]

        assert told("page", "order-1001") == (1, 0)
        assert told("page", "order-1001") == (0, 1)  # sent again it is the same
        assert told("writer", "order-1001") == (1, 0)
        impression = "0123456789abcdef01234567.3"
        assert told("page", impression) == (1, 0)
        assert told("writer", impression) == (0, 1)  # as a build names it, whoever tells of it

    def test_counts_per_address(self, ask):
        def status(address):
            return ask("/feed", FEED, "page", **{"x-forwarded-for": address})

        told = (status("203.0.113.9") for _ in range(250))
        answered, refused = 0, next(told)
        while refused.status_code == 200:
            answered, refused = answered + 1, next(told)
        assert 120 <= answered <= 240  # 120 a minute, and a minute may begin between
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "120 per 1 minute" in refused.json()["error"]
        assert status("203.0.113.10").status_code == 200


ASKS = {"access-control-request-method": "POST",
        "access-control-request-headers": "content-type"}  # fmt: skip


class TestABrowser:
    def test_of_the_shops_site_may_send_a_beacon(self, client, guarded):
        answer = client.options("/events", headers={"origin": ORIGIN, **ASKS})
        assert answer.status_code == 200
        told = answer.headers
        assert told["access-control-allow-origin"] == ORIGIN
        assert told["access-control-allow-credentials"] == "true"
        assert told["access-control-max-age"] == "600"
        assert "content-type" in told["access-control-allow-headers"]

    def test_of_another_site_hears_no_yes(self, client):
        answer = client.options("/events", headers={"origin": "https://evil.example", **ASKS})
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers

    def test_may_read_the_answer_and_the_refusal(self, client, ask):
        refused = client.post("/feed", json=FEED, headers={"origin": ORIGIN})
        assert refused.status_code == 401
        for answer in (refused, ask("/feed", FEED, "page")):
            assert answer.headers["access-control-allow-origin"] == ORIGIN
        other = ask("/feed", FEED, "reader", origin="https://evil.example")
        assert "access-control-allow-origin" not in other.headers

    def test_hears_nothing_of_origins_where_the_config_has_none(self, service):
        answer = service.post("/feed", json=FEED, headers={"origin": ORIGIN})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]


class TestABody:
    LIMIT = 1024 * 1024

    def connected(self, guarded, length):
        url = httpx.URL(guarded.url)
        talk = socket.create_connection((url.host, url.port), timeout=10)
        talk.sendall(
            f"POST /feed HTTP/1.1\r\nhost: x\r\n{length}\r\nx-api-key: {guarded.keys['reader']}\r\n"
            "content-type: application/json\r\n\r\n".encode()
        )
        return talk

    def test_that_says_it_is_too_large_is_refused_unread(self, guarded):
        with self.connected(guarded, "content-length: 100000000") as talk:
            answer = b"".join(iter(lambda: talk.recv(4096), b"")).decode()
        assert answer.startswith("HTTP/1.1 413")
        assert "connection: close" in answer
        assert "1,048,576 bytes" in answer

    def test_in_chunks_is_read_up_to_the_limit_and_no_further(self, guarded):
        chunk, sent = b"10000\r\n" + b" " * 0x10000 + b"\r\n", 0
        with self.connected(guarded, "transfer-encoding: chunked") as talk:
            try:
                while sent < 100e6:
                    talk.sendall(chunk)
                    sent += len(chunk)
            except OSError:  # the service has hung up
                pass
        assert self.LIMIT <= sent < 12 * self.LIMIT  # the rest of it is in the kernel's buffers

    def test_just_within_the_limit_is_read(self, client, guarded):
        body = b"{" + b" " * (self.LIMIT - 2) + b"}"
        answer = client.post("/feed", content=body, headers={**JSON, **guarded.bearer("reader")})
        assert (answer.status_code, len(body)) == (400, self.LIMIT)
        more = client.post(
            "/feed", content=body + b" ", headers={**JSON, **guarded.bearer("reader")}
        )
        assert more.status_code == 413

    def test_that_does_not_come_is_not_waited_for(self, monkeypatch, tmp_path):
        monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
        waits = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive():
            return waits.pop() if waits else await asyncio.sleep(60)

        status, headers, _ = asyncio.run(behind_the_guard(tmp_path, None, receive))
        assert status == 408
        assert headers["connection"] == "close"

    @pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data; boundary=x"])
    def test_has_to_say_that_it_is_json(self, client, guarded, kind):
        headers = {"content-type": kind, **guarded.bearer("reader")}
        answer = client.post("/feed", content=b"{}", headers=headers)
        assert answer.status_code == 400
        assert answer.json()["detail"][0]["loc"] == ["content-type"]


async def behind_the_guard(tmp_path, app, receive=None, only_here=False, **more):
    """Status, headers and body of the answer to one request, of an open guard before `app`."""
    sent = []

    async def whole():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/feed", "query_string": b"",
             "headers": [(b"content-type", b"application/json")], "client": None}  # fmt: skip
    scope |= {**more, "headers": [*scope["headers"], *more.get("headers", [])]}
    ring = Keyring(tmp_path / "keys.json", no_keys_is_open=True, only_here=only_here)
    await Guard(app, ServiceOptions(), ring)(scope, receive or whole, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[-1]["body"]


class TestOpenHereWithoutKeys:
    @staticmethod
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    def status(self, tmp_path, client, *headers, **more):
        asked = behind_the_guard(tmp_path, self.app, only_here=True, client=client,
                                 headers=list(headers), **more)  # fmt: skip
        return asyncio.run(asked)[0]

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1"])
    def test_a_program_of_this_machine_is_answered(self, tmp_path, address):
        assert self.status(tmp_path, (address, 1)) == 200

    @pytest.mark.parametrize("client", [("192.168.1.7", 1), ("unknown", 0), None])
    def test_another_is_not(self, tmp_path, client):
        assert self.status(tmp_path, client) == 401

    @pytest.mark.parametrize("path", ["/feed", "/forget"])
    @pytest.mark.parametrize("header", [b"x-forwarded-for", b"forwarded", b"via", b"x-real-ip"])
    def test_a_proxy_of_this_machine_is_not(self, tmp_path, path, header):
        assert self.status(tmp_path, ("127.0.0.1", 1), (header, b"127.0.0.1"), path=path) == 401

    def test_so_it_is_with_a_service_that_feeds_serve_starts_here(self, service):
        assert service.post("/feed", json=FEED).status_code == 200
        through = service.post("/feed", json=FEED, headers={"x-forwarded-for": "203.0.113.9"})
        assert through.status_code == 401
        assert "feeds keys add" in through.json()["error"]


class TestRates:
    def test_hold_for_each_key_by_itself(self, tmp_path):
        rates = Rates(ServiceOptions(requests_per_second=0.001))  # one in 1,000 s
        reader, writer = (self.key(tmp_path, name) for name in ("reader", "writer"))
        rates.check(reader, None)
        rates.check(writer, None)
        with pytest.raises(Refused, match="1 per 1000 second") as refused:
            rates.check(reader, None)
        assert (refused.value.status, refused.value.reason) == (429, "rate")
        assert 1 <= int(refused.value.headers["retry-after"]) <= 1000

    def test_are_not_there_unless_the_config_has_them(self, tmp_path):
        rates, reader = Rates(ServiceOptions()), self.key(tmp_path, "reader")
        for _ in range(1000):
            rates.check(reader, None)

    def test_take_a_line_of_ipv6_for_one_address(self, tmp_path):
        rates, page = Rates(ServiceOptions(page_requests_per_minute=1)), self.key(tmp_path, "page")
        rates.check(page, ("2001:db8:1:2::3", 1))
        rates.check(page, ("2001:db8:1:3::3", 1))
        with pytest.raises(Refused):
            rates.check(page, ("2001:db8:1:2:ffff::1", 1))

    def test_bear_whatever_a_proxy_says_the_address_is(self, tmp_path):
        rates, page = Rates(ServiceOptions()), self.key(tmp_path, "page")
        for client in (None, ("", 0), ("unknown", 0), ("x" * 100_000, 0), ("::ffff:1.2.3.4", 1)):
            rates.check(page, client)

    @staticmethod
    def key(tmp_path, name):
        token = add_key(Home(tmp_path / name), name, ["read"], page=name == "page")
        return Keyring(tmp_path / name / "keys.json").find(token.encode())


class TestAnErrorOfOurs:
    @pytest.fixture(autouse=True)
    def as_in_a_worker(self):
        """The rule for logs holds for a whole process: only for these tests here."""
        before = logging.getLogRecordFactory()
        keep_values_out_of_logs()
        yield
        logging.setLogRecordFactory(before)

    @staticmethod
    async def broken(scope, receive, send):
        try:
            {}["user-4711"]
        except KeyError as error:
            raise ValueError("somebody@example.com asked for {rope}") from error

    def test_has_a_number_under_which_the_log_tells_of_it(self, tmp_path, caplog):
        status, _, body = asyncio.run(behind_the_guard(tmp_path, self.broken))
        told = json.loads(body)
        assert status == 500
        assert set(told) == {"error", "incident"}
        lines = [one for one in caplog.text.splitlines() if told["incident"] in one]
        assert len(lines) == 1
        assert "ValueError at tests/test_guard.py:" in lines[0]
        assert "KeyError at tests/test_guard.py:" in lines[0]

    def test_tells_nobody_what_was_asked(self, tmp_path, caplog):
        _, _, body = asyncio.run(behind_the_guard(tmp_path, self.broken))
        for secret in ("user-4711", "somebody@example.com", "rope", "Traceback"):
            assert secret not in caplog.text
            assert secret not in body.decode()

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML, when it is imported
    def test_in_a_handler_is_told_alike(self, tmp_path, caplog):
        from serving.service import Feeds

        async def work(desk, request):
            raise KeyError(request.user_id)

        service = Feeds.inner.__new__(Feeds.inner)  # without BentoML around it
        service.holder = Holder(Home(tmp_path), desk=object())
        request = FeedRequest(placement="home", user_id="user-4711")
        answer = asyncio.run(service._answer(work, request))
        assert answer.status_code == 500
        assert json.loads(answer.body)["incident"] in caplog.text
        assert "KeyError at tests/test_guard.py:" in caplog.text
        assert "user-4711" not in caplog.text + answer.body.decode()

    def test_of_any_logger_keeps_its_values_out(self, caplog):
        try:
            int("4711-somebody")
        except ValueError:
            logging.getLogger("another.library").exception("%s failed", "step 1")
        assert "step 1 failed: ValueError at tests/test_guard.py:" in caplog.text
        assert "somebody" not in caplog.text


class TestAMistakeOfTheCaller:
    def test_is_told_by_place_and_rule_without_what_was_sent(self, ask, guarded):
        bad = {**FEED, "size": "marker-1", "recent": ["marker-2" * 99], "at": "marker-3"}
        answer = ask("/feed", bad, "reader")
        assert answer.status_code == 400
        assert [(one["type"], one["loc"]) for one in answer.json()["detail"]] == [
            ("string_too_long", ["recent", 0]), ("value_error", ["at"]), ("int_type", ["size"]),
        ]  # fmt: skip
        assert {len(one) for one in answer.json()["detail"]} == {3}
        assert "marker" not in answer.text
        assert "marker" not in guarded.log

    def test_is_not_logged_at_all(self, ask, guarded):
        before = guarded.log
        ask("/feed", {"placement": 7}, "reader")
        time.sleep(0.3)
        assert guarded.log == before

    def test_told_a_thousand_times_is_told_briefly(self, ask):
        answer = ask("/events", {"events": [{}] * 1000}, "writer")
        detail = answer.json()["detail"]
        assert len(detail) == 21
        assert detail[0] == {"type": "missing", "loc": ["events", 0, "item_id"],
                             "msg": "Field required"}  # fmt: skip
        assert detail[-1]["msg"] == "there are 1,980 more faults"

    def test_of_a_very_long_name_is_cut(self, ask):
        detail = ask("/feed", {**FEED, "x" * 100_000: 1}, "reader").json()["detail"]
        assert detail[0]["loc"] == ["x" * 100]

    @pytest.mark.parametrize("field", ["user_id", "visitor_id", "item_id", "category"])
    def test_an_id_has_no_nul(self, ask, field):
        answer = ask("/feed", {**FEED, field: "a\0"}, "reader")
        assert answer.json()["detail"][0]["loc"] == [field]


def test_a_config_that_cannot_be_read_gives_the_strict_defaults(tmp_path, caplog):
    (tmp_path / "feeds.yaml").write_text("service: {origins: nothing}")
    assert options_of(tmp_path / "feeds.yaml").origins == []
    assert "origins and limits are the defaults" in caplog.text
    assert options_of(None) == ServiceOptions()
