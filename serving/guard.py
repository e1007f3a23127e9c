"""What is turned away at the door, before anything reads it."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class OnlyJson:
    """Refuses a POST that does not say that it is JSON; BentoML would try other readings."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400, or pass the request on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            kind = dict(scope["headers"]).get(b"content-type", b"").lower()
            if not kind.startswith(b"application/json"):
                await _REFUSAL(scope, receive, send)
                return
        await self.app(scope, receive, send)


_REFUSAL = Response(
    msgspec.json.encode(
        {
            "error": "the body must be JSON",
            "detail": [
                {
                    "type": "value_error",
                    "loc": ["content-type"],
                    "msg": "send the header content-type: application/json",
                }
            ],
        }
    ),
    400,
    media_type="application/json",
)
