"""The service without an index, however many items there are: to hold the other against."""

from __future__ import annotations

import sys
from typing import Any

import bentoml

from serving.service import Feeds
from training import retrieval

retrieval.EXACT_BELOW = sys.maxsize
SERVICE: Any = Feeds  # the decorator made a service of the class


class _Exact(SERVICE.inner):  # type: ignore[misc]
    """As it is."""


Exact = bentoml.service(_Exact, **SERVICE.config)
for middleware, options in SERVICE.middlewares:
    Exact.add_asgi_middleware(middleware, **options)
