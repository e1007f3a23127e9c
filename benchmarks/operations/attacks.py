"""Hostile requests, made by chance with a seed; and what became of each.

Every request carries MARK somewhere in what it sends, so that a log can be searched for it.
"""

from __future__ import annotations

import gzip
import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

MARK = "zqxmark"
MOST_SECONDS = 5.0  # an answer that takes longer is a hang
LONG, MANY, DEEP = 1_000_000, 100_000, 100_000
VALID: Mapping[str, Any] = {
    "feed": {"placement": "home", "user_id": MARK, "visitor_id": MARK, "recent": [MARK],
             "item_id": MARK, "category": MARK, "exclude": [MARK], "size": 3, "explain": True,
             "highest_rung": "segment", "cursor": MARK, "at": "2026-12-01T08:30:00Z"},
    "sort": {"placement": "home", "visitor_id": MARK, "item_ids": [MARK, "b"], "sort_by": "price",
             "descending": True, "recent": [MARK]},
    "similar": {"placement": "home", "item_id": MARK, "size": 3, "exclude": [MARK]},
    "questions": {"user_id": MARK, "visitor_id": MARK, "recent": [MARK]},
    "profile": {"user_id": MARK, "visitor_id": MARK, "placement": "home"},
    "validate": {"endpoint": "feed", "request": {"placement": "home", "user_id": MARK}},
    "events": {"events": [{"item_id": MARK, "event_type": "view", "user_id": MARK,
                           "visitor_id": MARK, "session_id": MARK, "event_id": MARK, "value": 3.5,
                           "currency": "EUR", "quantity": 1.0, "duration_seconds": 2.0,
                           "placement": "home", "decision_id": MARK, "position": 1,
                           "propensity": 0.5, "channel": "site",
                           "occurred_at": "2026-01-01T00:00:00Z"}]},
    "identify": {"visitor_id": MARK, "user_id": MARK},
    "unlink": {"visitor_id": MARK, "user_id": MARK},
    "preferences": {"user_id": MARK, "visitor_id": MARK, "personalise": True,
                    "answers": [{"question": MARK, "answer": MARK}], "less_of_items": [MARK],
                    "less_of_categories": [MARK], "mute_brands": [MARK], "unmute_items": [MARK]},
    "catalogue": {"items": [{"item_id": MARK, "kind": "product", "price": 1.5, "currency": "EUR",
                             "title": MARK, "category": MARK, "brand": MARK, "url": MARK,
                             "image_url": MARK, "language": "en", "available": True,
                             "published_at": "2026-01-01T00:00:00Z", "sensitive": False}]},
    "forget": {"user_id": MARK, "visitor_id": MARK},
}  # fmt: skip
RAW = (  # values that no encoder would write
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "9" * 5000, "1e-400", "0x1f",
    "01", '"\\ud800"', f'"\\ud800{MARK}"', '"\\u0000"', f'"{MARK}\\u0000"',
    f'"{MARK}\\u0007\\u001b[31m"', f'"{MARK}\\n{MARK}"', "'single'", f'"{MARK}',
    "undefined", "{}", "[]", "[[[[[[[[]]]]]]]]",
    "null", '{"__proto__": 1}', f'{{"{MARK}": 1, "{MARK}": 2}}',
)  # fmt: skip
NASTY: Sequence[Any] = (
    None, True, False, 0, -1, 2**31, 2**63, -(2**63), 2**64, 1e308, -1e308, 5e-324, 0.1, "", " ",
    "0", MARK, f"{MARK}' OR 1=1 --", f"{MARK}%s%n%d", f"{MARK}{{0.__class__}}", f"../../{MARK}",
    "\u202e",
    f"{MARK}\u0000", "é" * 200, "😀" * 64, "\uffff", f"<script>{MARK}</script>",
    f"{MARK} " * 100,
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z", "2026-01-01",
    "now", [], {}, [[]], [None], [{}], {"a": MARK}, [MARK] * 3, "x" * 257, MARK * 200, [MARK] * 501,
    [MARK] * 2001, ["x" * 256] * 500,
)  # fmt: skip
TYPES = ("application/json", "application/json; charset=utf-16", "APPLICATION/JSON", "text/plain",
         "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/xml",
         "application/vnd.bentoml+pickle", "application/jsonp", "", f"{MARK}/{MARK}")  # fmt: skip
HEADERS: Sequence[Mapping[str, str]] = (
    {"content-encoding": "gzip"}, {"accept": f"{MARK}/*"}, {"cookie": f"{MARK}=1; " * 500},
    {"x-forwarded-for": f"{MARK}, 1.2.3.4"}, {"x-forwarded-for": "::ffff:999.1.1.1"},
    {"x-forwarded-proto": MARK}, {"origin": f"https://{MARK}.example"}, {"origin": "null"},
    {"expect": "100-continue"}, {"range": "bytes=0-1"}, {"host": f"{MARK}.example:99999"},
    {"authorization": f"Bearer {MARK}"}, {"authorization": f"Basic {MARK}"}, {"x-api-key": MARK},
    {"authorization": "Bearer \xff\xfe"}, {MARK: "x" * 30_000}, {"upgrade": "h2c"},
    {"te": "trailers"}, {"traceparent": MARK}, {"user-agent": MARK},
)  # fmt: skip
METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", MARK.upper())
PATHS = (f"/{MARK}", "//feed", "/feed/", "/feed%00", "/feed/../forget", "/%2e%2e/etc/passwd",
         f"/feed?key={MARK}", f"/feed?{MARK}", "/metrics", "/docs.json", "/static_content/../x",
         f"/{MARK}" * 1000, "/feed;x", "/FEED", "/task", f"/feed?key={'%00' * 50}")  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """One request; `kind` says what is wrong with it."""

    kind: str
    path: str
    body: bytes
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of an attack: the status (0: the connection was closed without one), and when."""

    attack: Attack
    status: int
    body: bytes
    seconds: float


def attacks(count: int, seed: int = 0) -> Iterator[Attack]:
    """So many of all kinds, over all endpoints."""
    random = np.random.default_rng(seed)
    kinds = (_field, _field, _field, _field, _raw_field, _raw_field, _fields, _torn, _bytes, _whole,
             _typed, _headed, _misled)  # fmt: skip
    for _ in range(count):
        endpoint = list(VALID)[random.integers(len(VALID))]
        yield kinds[random.integers(len(kinds))](random, endpoint)


def send(url: str, key: str, wanted: Iterator[Attack]) -> Iterator[Outcome]:
    """Ask one after the other, over one connection for as long as that stays open."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as line:
        for attack in wanted:
            headers = {"content-type": "application/json", "authorization": f"Bearer {key}",
                       **attack.headers}  # fmt: skip
            began = time.perf_counter()
            status, body = _answer(line, attack, headers)
            yield Outcome(attack, status, body, time.perf_counter() - began)


def _answer(
    line: http.client.HTTPConnection, attack: Attack, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    try:
        with suppress(OSError):  # who sends too much is hung up on, and has an answer all the same
            line.request(attack.method, attack.path, attack.body, headers)
        answer = line.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        line.close()
        return 0, b""


def mended(page: Any) -> Any:
    """The service's page of its API as pydantic means it: BentoML writes 3.0.2 and drops `null`."""
    if isinstance(page, list):
        return [mended(one) for one in page]
    if not isinstance(page, dict):
        return page
    found = {name: mended(value) for name, value in page.items()}
    if "openapi" in found:
        found["openapi"] = "3.1.0"
    if found.get("default", "") is None and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    return found


def _pick(random: np.random.Generator, among: Sequence[Any]) -> Any:
    return among[random.integers(len(among))]


def _field(random: np.random.Generator, endpoint: str) -> Attack:
    """One field, at any depth, has a value that it should not have."""
    body = json.loads(json.dumps(VALID[endpoint]))
    _put(random, body, _pick(random, NASTY) if random.random() < 0.97 else MARK * (LONG // 7))
    return Attack("field", f"/{endpoint}", _encoded(body))


def _raw_field(random: np.random.Generator, endpoint: str) -> Attack:
    """One field is something that is no JSON, or just so."""
    body = json.loads(json.dumps(VALID[endpoint]))
    _put(random, body, "@@")
    text = json.dumps(body).replace('"@@"', _pick(random, RAW), 1)
    return Attack("raw", f"/{endpoint}", text.encode())


def _fields(random: np.random.Generator, endpoint: str) -> Attack:
    """Every field by chance: none of them as it was, some left out, some that nobody knows."""
    names = [*VALID[endpoint], MARK, "__class__", ""]
    body = {name: _pick(random, NASTY) for name in names if random.random() < 0.7}
    return Attack("fields", f"/{endpoint}", _encoded(body))


def _torn(random: np.random.Generator, endpoint: str) -> Attack:
    """A body that ends, or has another byte, somewhere."""
    body = bytearray(_encoded(VALID[endpoint]))
    place = int(random.integers(len(body)))
    if random.random() < 0.5:
        return Attack("torn", f"/{endpoint}", bytes(body[:place]))
    body[place] = int(random.integers(256))
    return Attack("torn", f"/{endpoint}", bytes(body))


def _bytes(random: np.random.Generator, endpoint: str) -> Attack:
    """What is no text at all."""
    valid = _encoded(VALID[endpoint])
    noise = random.bytes(int(random.integers(1, 2000)))
    several = (noise, b"\xff\xfe" + valid, b"\xef\xbb\xbf" + valid, valid.decode().encode("utf-16"),
               gzip.compress(valid), b"\x00" * 100, valid + valid, valid + noise)  # fmt: skip
    return Attack("bytes", f"/{endpoint}", _pick(random, several))


def _whole(random: np.random.Generator, endpoint: str) -> Attack:
    """A body that is JSON, and much too much or quite another thing."""
    name = next(iter(VALID[endpoint]))
    deep = int(random.integers(2, DEEP))
    several = (
        b"", b"[]", b"null", b"7", json.dumps(MARK).encode(), b"[" * deep,
        b"[" * deep + b"]" * deep,
        b'{"a":' * deep + b"1" + b"}" * deep, b'{"%s":' % name.encode() + b"[" * deep,
        _encoded({name: [{}] * MANY}), _encoded({name: [MARK] * MANY}),
        _encoded({f"{MARK}{n}": 1 for n in range(50_000)}), _encoded({MARK * 10_000: 1}),
        b'{"%s":"' % name.encode() + b"x" * LONG + b'"}', b" " * LONG, b"x" * (2 * LONG),
        _encoded({"endpoint": "validate", "request": VALID["validate"]}),
        _encoded({"endpoint": endpoint, "request": VALID[endpoint]}),
        _encoded({name: VALID[endpoint][name], "events": VALID["events"]["events"] * 1000}),
    )  # fmt: skip
    return Attack("whole", f"/{endpoint}", _pick(random, several))


def _typed(random: np.random.Generator, endpoint: str) -> Attack:
    """Another kind of content, or none."""
    kind = {"content-type": _pick(random, TYPES)}
    return Attack("type", f"/{endpoint}", _encoded(VALID[endpoint]), headers=kind)


def _headed(random: np.random.Generator, endpoint: str) -> Attack:
    """A header that is odd."""
    body = _encoded(VALID[endpoint])
    return Attack("header", f"/{endpoint}", body, headers=_pick(random, HEADERS))


def _misled(random: np.random.Generator, endpoint: str) -> Attack:
    """Another method, or a path where nothing is."""
    body = _encoded(VALID[endpoint])
    if random.random() < 0.5:
        return Attack("method", f"/{endpoint}", body, method=_pick(random, METHODS))
    return Attack("path", _pick(random, PATHS), body)


def _put(random: np.random.Generator, body: Any, value: Any) -> None:
    """Somewhere in `body`."""
    while True:
        place = _pick(random, list(body) if isinstance(body, dict) else range(len(body)))
        inner = body[place]
        if not isinstance(inner, dict | list) or not inner or random.random() < 0.3:
            body[place] = value
            return
        body = inner


def _encoded(body: Any) -> bytes:
    return json.dumps(body).encode()
