"""A request that goes no further, and how the answer looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response


class Refused(Exception):
    """Raised to turn a request away; make a new one each time, for a traceback grows on it.

    reason: one of `telemetry.REFUSALS`, by which these are counted
    """

    def __init__(
        self, reason: str, status: int, error: str, headers: Mapping[str, str] | None = None,
        detail: Sequence[Mapping[str, Any]] = (),
    ) -> None:  # fmt: skip
        super().__init__(error)
        self.reason, self.status, self.error = reason, status, error
        self.headers, self.detail = dict(headers or {}), list(detail)

    def answer(self) -> Response:
        """As the other errors of the service look."""
        body: dict[str, Any] = {"error": self.error}
        if self.detail:
            body["detail"] = self.detail
        encoded = msgspec.json.encode(body)
        return Response(encoded, self.status, self.headers, media_type="application/json")
