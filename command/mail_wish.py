"""What `feeds mail` is asked for, and whether it can be done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from command.mail_list import read_list
from features.config import Config
from features.mail_options import EMAIL
from features.types import MAX_ID, to_us
from serving.desk import Desk
from serving.mailing.run import Listed, customers_of


@dataclass(frozen=True)
class Wish:
    """What the command was asked for.

    name:  of the mailing; None: by the day
    trial: nothing is remembered: neither what was shown, nor the decisions
    at:    the moment, for shops with `clock: as_of`
    """

    placements: tuple[str, ...]
    out: Path
    recipients: Path | None = None
    name: str | None = None
    model: str | None = None
    html: bool = False
    trial: bool = False
    at: datetime | None = None

    @property
    def at_us(self) -> int | None:
        """The moment, microseconds since 1970 UTC; None: the present."""
        return None if self.at is None else to_us(self.at)

    def listed(self, desk: Desk) -> Listed:
        """Whom it is for: the given list, else all customers of the model."""
        if self.recipients is not None:
            return read_list(self.recipients)
        return Listed(customers_of(desk))


def check(config: Config, wish: Wish) -> None:
    """Raise ValueError for what makes no mailing; it says which option to change."""
    places = {name: one for name, one in config.placements.items() if one.channel == EMAIL}
    if not wish.placements:
        raise ValueError(f"name the blocks of the mail with --placement; there are {list(places)}")
    for name in wish.placements:
        if name not in places:
            raise ValueError(f"--placement {name}: no placement with `channel: {EMAIL}` has this "
                             f"name; there are {list(places)}")  # fmt: skip
    if len(set(wish.placements)) < len(wish.placements):
        raise ValueError("--placement: a placement is named twice; a block is in a mail once")
    if wish.name is not None and (len(wish.name) > MAX_ID or "\0" in wish.name):
        raise ValueError(f"--mailing: at most {MAX_ID} characters, for it is in every link")
    if wish.at is not None and config.shop.clock != "as_of":
        raise ValueError(
            "--at is for shops with `clock: as_of`; this one lives by the wall's clock"
        )
