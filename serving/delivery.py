"""Follow the pointer file: a promoted bundle is opened beside and swapped in by one reference."""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import dataclass

from features.home import Home
from serving.feed import Desk
from training.bundle import Bundle

POLL_SECONDS = 0.5
_log = logging.getLogger("feeds.delivery")


@dataclass
class Holder:
    """The one mutable place of a worker: the desk that answers now."""

    home: Home
    desk: Desk | None = None

    def refresh(self) -> None:
        """Open what the pointer names; what cannot be opened leaves the old one in place."""
        wanted = self.home.current()
        if wanted is None or (self.desk is not None and self.desk.bundle.version == wanted):
            return
        try:
            self.desk = Desk.of(Bundle.open(self.home.bundles / wanted))
        except ValueError:
            _log.exception(
                "cannot serve %s; %s stays", wanted, self.desk and self.desk.bundle.version
            )
            return
        gc.collect()
        gc.freeze()  # what a bundle holds lives as long as it does: no need to look at it again
        _log.info("serving %s", wanted)

    async def follow(self) -> None:
        """Refresh for ever, off the event loop."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:
                _log.exception("following the pointer failed; trying again")
