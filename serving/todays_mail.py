"""Mails and messages as the config has them today: nothing of them was learned."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from features.config import Config, ConfigError, load_config

_log = logging.getLogger("feeds.mail")


@dataclass
class TodaysMail:
    """What `file` says of mails; it is read when it is another than before.

    file: the feeds.yaml that is followed; None: there is none, the model's config counts
    """

    file: Path | None
    reading: int = 0  # how often it has been read
    _stamp: tuple[int, int, int] | None = None
    _today: Config | None = None

    def of(self, trained: Config) -> Config:
        """The model's config with today's `mail` and `messages`.

        Where the file cannot be used, what it said last counts, and the log says so.
        """
        if self.file is not None and (stamp := _stamp(self.file)) != self._stamp:
            self._stamp, self.reading = stamp, self.reading + 1
            try:
                self._today = load_config(self.file)
            except (ConfigError, OSError) as error:
                _log.error("mails stay as they were: %s", error)
        if self._today is None:
            return trained
        told = {"mail": self._today.mail, "messages": self._today.messages}
        return trained.model_copy(update=told)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino
