"""What went wrong, without whose it was: neither logs nor answers have values of a request.

The message of an exception may hold anything that came in, so only its type and the lines of code
are told. FEEDS_TRACEBACK=1 in the environment shows all of it, for who develops.
"""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from traceback import extract_tb
from typing import Any

import msgspec
from starlette.responses import Response

TRACEBACK = "FEEDS_TRACEBACK"
MOST_FRAMES, MOST_CAUSES = 8, 3
_log = logging.getLogger("feeds.incidents")


def failed(error: BaseException) -> Response:
    """The answer to a request that met an error of ours; the log has it under the same number."""
    incident = secrets.token_hex(6)
    _log.error("incident %s", incident, exc_info=error)
    told = "something went wrong here; the log of the service has it under this incident"
    body = msgspec.json.encode({"error": told, "incident": incident})
    return Response(body, 500, media_type="application/json")


def plain(error: BaseException | None) -> str:
    """Type and lines, innermost first, and what it came from: `KeyError at serving/feed.py:51`."""
    told: list[str] = []
    while error is not None and len(told) < MOST_CAUSES:
        frames = extract_tb(error.__traceback__)[-MOST_FRAMES:]
        lines = [f"{'/'.join(Path(one.filename).parts[-2:])}:{one.lineno}" for one in frames[::-1]]
        told.append(f"{type(error).__name__} at {' < '.join(lines) or 'an unknown line'}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "; from ".join(told)


def keep_values_out_of_logs() -> None:
    """From now on no logger of this process writes what an exception says, whoever raised it.

    A caller's mistake is no incident: it is answered, counted, and not logged at all.
    """
    if os.environ.get(TRACEBACK):
        return
    before = logging.getLogRecordFactory()

    def made(*args: Any, **more: Any) -> logging.LogRecord:
        record = before(*args, **more)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.error = type(error).__name__
            record.msg, record.args = f"{record.getMessage()}: {plain(error)}", None
            record.exc_info = record.exc_text = None
        return record

    logging.setLogRecordFactory(made)
    logging.getLogger("bentoml._internal.server.http_app").addFilter(_no_mistake)


def _no_mistake(record: logging.LogRecord) -> bool:
    return getattr(record, "error", None) != "ValidationError"
