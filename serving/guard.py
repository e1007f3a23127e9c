"""The door of the service: who may come in, how often, with how much; before anything reads it.

Everything here runs for every request, so it is plain ASGI and costs microseconds. Nothing is ever
raised past it: an exception beyond BentoML's own handlers is answered only when its timeout ends.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.config import ConfigError, load_config
from features.options import ServiceOptions
from serving import telemetry
from serving.incidents import failed
from serving.keys import NEEDED, Key, Keyring
from serving.rates import Rates
from serving.refused import Refused

BODY_SECONDS = 4.0  # for all of a body to come; less than BentoML's own timeout of 5
KEYS_SECONDS = 1.0  # between two looks at the file of keys
ALWAYS_OPEN = frozenset({"/livez", "/readyz", "/healthz"})
PAGES = frozenset({"/", "/docs.json", "/schema.json", "/metrics"})
ASSETS = "/static_content/"  # of the page at /
LINKS = "/r/"  # of mails: whoever got one has no key
PROXIED = frozenset({b"forwarded", b"via", b"x-real-ip", b"x-forwarded-for", b"x-forwarded-host",
                     b"x-forwarded-proto"})  # fmt: skip
_QUIET_PAGE = (  # BentoML's page of the API would call Google
    b"content-security-policy",
    b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
)
OF_A_PAGE = "page:"  # before an event_id that a page has made
_IMPRESSION = re.compile(r"[0-9a-f]{24}\.[0-9]{1,7}")  # <decision_id>.<position>
_log = logging.getLogger("feeds.guard")
_asks: ContextVar[Key | None] = ContextVar("feeds_key", default=None)


def options_of(config: Path | None) -> ServiceOptions:
    """The section `service` of a feeds.yaml; the strict defaults where it cannot be read now."""
    if config is None:
        return ServiceOptions()
    try:
        return load_config(config).service
    except (ConfigError, OSError) as error:
        _log.error("origins and limits are the defaults: %s", error)
        return ServiceOptions()


def guarded(app: ASGIApp, options: ServiceOptions, keyring: Keyring) -> ASGIApp:
    """`app` behind the door; what the shop's own sites may ask from a browser is decided first."""
    guard = Guard(app, options, keyring)
    if not options.origins:
        return guard
    return CORSMiddleware(
        guard, allow_origins=options.origins, allow_methods=["POST"], allow_credentials=True,
        allow_headers=["content-type", "authorization", "x-api-key"], max_age=600,
        expose_headers=["retry-after"],
    )  # fmt: skip


def page_speaks_for_a_customer(request: object) -> str | None:
    """Where a request that came with a page's key names a customer, which no page may do.

    request: a parsed request of `serving.api`; None: it does not, or has another key
    """
    key = _asks.get()
    if key is None or not key.page:
        return None
    if getattr(request, "user_id", None) is not None:
        return "user_id"
    for place, event in enumerate(getattr(request, "events", ())):
        if event.user_id is not None:
            return f"events.{place}.user_id"
    return None


def of_the_page(request: object) -> None:
    """Give the event_ids that came with a page's key a namespace of their own, in place.

    Whoever opens the page has that key: it must not be able to use up the name of an order before
    the shop's server tells of it. An impression keeps its name, which `features.served` knows.
    """
    key = _asks.get()
    if key is None or not key.page:
        return
    for event in getattr(request, "events", ()):
        if event.event_id is not None and not _IMPRESSION.fullmatch(event.event_id):
            event.event_id = OF_A_PAGE + event.event_id


class Guard:
    """Keys, rates and sizes; see docs/operations.md, "Closed doors"."""

    def __init__(self, app: ASGIApp, options: ServiceOptions, keyring: Keyring) -> None:
        self.app, self.keyring = app, keyring
        self.origins = frozenset(one.encode() for one in options.origins)
        self.most = options.max_body_kb * 1024
        self.rates = Rates(options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer what is wrong with it."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] in ALWAYS_OPEN:
            await self.app(scope, receive, send)
        elif scope["path"].startswith(LINKS):
            await self._follow_link(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As long as the service lives, follow the file of keys."""
        following = asyncio.create_task(self._follow())
        try:
            await self.app(scope, receive, send)
        finally:
            following.cancel()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(KEYS_SECONDS)
            self.keyring.refresh()

    async def _follow_link(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing of a body is read, and no key is looked at."""
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise Refused(*_BY_GET)
            self.rates.check_link(scope["client"])
        except Refused as refused:
            telemetry.refused(refused.reason)
            await refused.answer()(scope, receive, send)
            return
        await self._pass(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            endpoint = _place(scope)
            headers = dict(scope["headers"])
            key = self._key(scope, headers, endpoint)
            if endpoint is None:
                await self.app(scope, receive, _quiet(send))
                return
            _asks.set(key)
            self.rates.check(key, scope["client"])
            _is_json(headers)
            body = await self._body(headers, receive)
        except Refused as refused:
            telemetry.refused(refused.reason)
            await refused.answer()(scope, receive, send)
            return
        await self._pass(scope, _said(body, receive), send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is raised in here would else be answered only after seconds."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            answer = failed(error)
            if not begun:
                with suppress(Exception):
                    await answer(scope, receive, send)

    def _key(
        self, scope: Scope, headers: Mapping[bytes, bytes], endpoint: str | None
    ) -> Key | None:
        """The key that this request has, which may ask this; None: no key is needed.

        Raises Refused.
        """
        if self.keyring.open:
            if self.keyring.only_here and not _from_here(scope, headers):
                raise Refused(*_NOT_HERE)
            return None
        token, in_url = _token(headers), False
        if token is None and b"key=" in scope["query_string"]:
            token, in_url = _token_in_url(scope["query_string"]), True
        key = self.keyring.find(token) if token else None
        if key is None:
            raise Refused(*(_UNKNOWN if token else _MISSING))
        if in_url and not key.page:
            raise Refused(*_IN_URL)
        if endpoint is None:
            if key.page:
                raise Refused("scope", 403, "the key of a page may not look at this")
            return key
        if not key.may(endpoint):
            raise Refused("scope", 403, _may_not(key, endpoint))
        if key.page and headers.get(b"origin") not in self.origins:
            raise Refused(*_NOT_OURS)
        return key

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """All of it, in time and within the limit; raises Refused without reading the rest."""
        if _length(headers) > self.most:
            raise self._too_large()
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused("body", 400, "the body ended before its end", _CLOSE)
                    part = message.get("body", b"")
                    size += len(part)
                    if size > self.most:
                        raise self._too_large()
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            told = f"the body took longer than {BODY_SECONDS:g} s to come; send it again"
            raise Refused("slow", 408, told, _CLOSE) from None

    def _too_large(self) -> Refused:
        told = f"a request may have {self.most:,} bytes; send less at once"
        return Refused("body", 413, told, _CLOSE)


def _place(scope: Scope) -> str | None:
    """The endpoint that is asked; None: a page about the service. Raises Refused."""
    path: str = scope["path"]
    endpoint = path[1:]
    if endpoint in NEEDED:
        if scope["method"] != "POST":
            raise Refused("other", 405, f"ask {path} by POST", {"allow": "POST"})
        return endpoint
    if path in PAGES or path.startswith(ASSETS):
        if scope["method"] not in ("GET", "HEAD"):
            raise Refused(*_BY_GET)
        return None
    raise Refused("other", 404, "there is nothing here; GET /docs.json says what there is")


def _from_here(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Does a program of this machine ask, and for nobody else? A proxy says for whom."""
    if not PROXIED.isdisjoint(headers) or not scope["client"]:
        return False
    try:
        return ip_address(scope["client"][0]).is_loopback
    except ValueError:
        return False


def _token(headers: Mapping[bytes, bytes]) -> bytes | None:
    """What the headers have for a key; another scheme is a matter of what stands in front."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key")


def _token_in_url(query: bytes) -> bytes | None:
    """The key in the URL: navigator.sendBeacon can set no header."""
    found = parse_qs(query.decode("latin-1"), max_num_fields=20).get("key")
    return found[0].encode() if found else None


def _may_not(key: Key, endpoint: str) -> str:
    if key.page:
        return f"the key of a page may not ask {endpoint}"
    return f"this key may not ask {endpoint}: it needs the scope {NEEDED[endpoint]}"


def _length(headers: Mapping[bytes, bytes]) -> int:
    """What the sender says that the body has; it is counted all the same."""
    told = headers.get(b"content-length", b"0")
    return int(told) if told.isdigit() and len(told) < 20 else 0


def _is_json(headers: Mapping[bytes, bytes]) -> None:
    """Raises Refused for anything else; BentoML would try other readings."""
    if not headers.get(b"content-type", b"").lower().startswith(b"application/json"):
        raise Refused(*_NO_JSON)


def _said(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, and then what comes after it."""
    waiting = [body]

    async def said() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return said


def _quiet(send: Send) -> Send:
    """A `send` that keeps the pages about the service from loading anything from elsewhere."""

    async def quiet(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], _QUIET_PAGE]
        await send(message)

    return quiet


_BY_GET = ("other", 405, "ask this by GET", {"allow": "GET, HEAD"})
_CLOSE = {"connection": "close"}  # what comes after is not read
_ASK_BEARER = {"www-authenticate": "Bearer"}
_MISSING = ("key", 401, "send a key: `authorization: Bearer fk_…`", _ASK_BEARER)
_NOT_HERE = (
    "key", 401, "without keys only programs of the service's own machine may ask, and through no "
    "proxy; make a key with `feeds keys add`", _ASK_BEARER,
)  # fmt: skip
_UNKNOWN = ("key", 401, "this key is not valid here, or no longer; ask for another", _ASK_BEARER)
_IN_URL = (
    "key", 403, "a secret key does not belong in a URL: logs keep it. Send it as `authorization: "
    "Bearer fk_…`, and replace this one",
)  # fmt: skip
_NOT_OURS = ("origin", 403, "the key of a page counts on the shop's own sites only, as the config "
             "has them: service.origins")  # fmt: skip
_NO_JSON = (
    "json", 400, "the body must be JSON", None,
    ({"type": "value_error", "loc": ["content-type"],
      "msg": "send the header content-type: application/json"},),
)  # fmt: skip
