"""The log of a worker: a line per event on stderr, for machines as JSON, for a terminal as text.

Who asked, for whom and what is in no line. What exceptions say is taken out before it gets here:
see serving/incidents.py.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

LOG = "FEEDS_LOG"  # environment: json | text; without it text on a terminal, else json
KINDS = ("json", "text")
_OTHERS = ("bentoml", "uvicorn", "uvicorn.error", "circus")  # they bring handlers of their own
_log = logging.getLogger("feeds.logs")


class Lines(logging.Formatter):
    """Time (UTC), level, logger, worker, model version and message of a record.

    model: the version that the worker serves now; None: none
    """

    def __init__(self, worker: str, model: Callable[[], str | None], *, as_json: bool) -> None:
        super().__init__()
        self.worker, self.model, self.as_json = worker, model, as_json

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback only where a developer asked for it."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message, version = record.getMessage(), self.model()
        if record.exc_info:
            message += f"\n{self.formatException(record.exc_info)}"
        if not self.as_json:
            who = f"{self.worker} {version}" if version else self.worker
            return f"{moment} {record.levelname} {record.name} [{who}] {message}"
        told = {
            "time": moment, "level": record.levelname, "logger": record.name,
            "worker": self.worker, "model": version, "message": message,
        }  # fmt: skip
        return msgspec.json.encode(told).decode()


def begin(worker: str, model: Callable[[], str | None] = lambda: None) -> None:
    """Send every log of this process through `Lines`, those of BentoML and uvicorn, too."""
    asked = os.environ.get(LOG)
    usual = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    kind = asked if asked in KINDS else usual
    handler.setFormatter(Lines(worker, model, as_json=kind == "json"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in _OTHERS:
        other = logging.getLogger(name)
        other.handlers.clear()
        other.propagate = True
    logging.getLogger("bentoml").setLevel(logging.WARNING)  # its own starts and stops; we tell ours
    logging.getLogger("feeds").setLevel(logging.INFO)
    if asked and asked not in KINDS:
        _log.warning("%s is %r and may be %s; it is %s now", LOG, asked, " or ".join(KINDS), kind)
