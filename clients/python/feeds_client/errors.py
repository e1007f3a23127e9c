"""What can go wrong, as one error that says what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import msgspec

# The shop can go on without a feed. Any other 4xx is a mistake in the request.
NOT_THE_REQUESTS_FAULT = frozenset({401, 403, 408, 429})


class FeedsError(Exception):
    """The service refused, or could not be asked.

    status:      of HTTP; None: no answer came (`__cause__` is httpx's error)
    field:       the field of the request that is at fault, such as `events.3.item_id`
    message:     what is wrong, in the service's words
    retry_after: seconds after which to try again, where the service says so
    """

    def __init__(
        self, message: str, *, status: int | None = None, field: str | None = None,
        retry_after: float | None = None,
    ) -> None:  # fmt: skip
        where = f"{field}: " if field else ""
        super().__init__(f"{status or 'no answer'}: {where}{message}")
        self.status, self.field, self.message = status, field, message
        self.retry_after = retry_after

    @property
    def request_is_wrong(self) -> bool:
        """Sent again, it would be refused again."""
        if self.status is None or self.status in NOT_THE_REQUESTS_FAULT:
            return False
        return 400 <= self.status < 500


class _Fault(msgspec.Struct):
    loc: list[str | int] = []
    msg: str = ""


class _Refusal(msgspec.Struct):
    error: str
    detail: list[_Fault] = []


@contextmanager
def no_answer_told() -> Iterator[None]:
    """What httpx calls many names is one error here."""
    try:
        yield
    except httpx.TransportError as error:
        told = str(error) or "gave up waiting"
        raise FeedsError(f"{type(error).__name__}: {told}") from error


def refused(answer: httpx.Response) -> FeedsError:
    """The error that an answer tells of; one that does not come from the service is told as is."""
    try:
        told = msgspec.json.decode(answer.content, type=_Refusal)
    except msgspec.DecodeError:
        told = _Refusal(answer.text[:200] or answer.reason_phrase)
    fault = told.detail[0] if told.detail else _Fault()
    return FeedsError(
        fault.msg or told.error,
        status=answer.status_code,
        field=".".join(map(str, fault.loc)) or None,
        retry_after=_seconds(answer.headers.get("retry-after")),
    )


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() else None
