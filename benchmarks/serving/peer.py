"""What the shell costs: the service itself, with a `feed` that answers 20 items from memory.

Served by the benchmark only. Options, types, middleware and start are the service's own.
"""

from __future__ import annotations

from typing import Any

import bentoml
import msgspec
from starlette.responses import Response

from serving.api import FeedRequest, FeedResponse
from serving.service import Feeds

ITEM = {
    "item_id": "i0000000", "kind": "product", "title": "Item number i0000000",
    "category": "b00/l00", "brand": "Brand 0", "price": 19.9, "currency": "EUR",
    "url": "/items/i0000000", "image_url": "/images/i0000000.webp", "rung": "one_to_one",
    "ranker": "als", "score": 0.123456789, "reason": "because you looked at Item number i0000001",
}  # fmt: skip
ANSWER = {
    "decision_id": "0" * 24, "decision": "show", "reason": "known_history", "rung": "one_to_one",
    "placement": "home", "model_version": "v1", "as_of": "2026-01-01T00:00:00+00:00",
    "unknown_items": [], "items": [{"position": place, **ITEM} for place in range(1, 21)],
}  # fmt: skip
BODY = msgspec.json.encode(ANSWER)


SERVICE: Any = Feeds  # the decorator made a service of the class


class _FromMemory(SERVICE.inner):  # type: ignore[misc]
    @bentoml.api  # type: ignore[untyped-decorator]
    async def feed(self, request: FeedRequest, /) -> FeedResponse:  # noqa: ARG002 - read by none
        """The same 20 items for everybody."""
        return Response(BODY, media_type="application/json")  # type: ignore[return-value]


Peer = bentoml.service(_FromMemory, **SERVICE.config)
for middleware, options in SERVICE.middlewares:
    Peer.add_asgi_middleware(middleware, **options)
