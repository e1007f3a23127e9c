"""The section `mail` as the config has it today: links follow a changed site at once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from features.config import ConfigError, load_config
from features.mail_options import MailOptions

_log = logging.getLogger("feeds.mail")


@dataclass
class TodaysMail:
    """What `file` says; it is read when it is another than before.

    file: the feeds.yaml that is followed; None: there is none, the model's config counts
    """

    file: Path | None
    _stamp: tuple[int, int, int] | None = None
    _options: MailOptions | None = None

    def options(self, trained: MailOptions) -> MailOptions:
        """Today's, or those that were read last; `trained`: of the model, where none was."""
        if self.file is not None and (stamp := _stamp(self.file)) != self._stamp:
            self._stamp = stamp
            try:
                self._options = load_config(self.file).mail
            except (ConfigError, OSError) as error:
                _log.error("links of mails lead where they did: %s", error)
        return self._options or trained


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino
