"""A desk that answers as another would and keeps nothing: for dry runs, and to warm up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from serving.decisions import Decided, DecisionLog
from serving.desk import Desk
from serving.state import Event, Fact, Filed, Met, Recalled, Shown, State


def dry(desk: Desk, state: State) -> Desk:
    """The same desk with nothing to write on; what is announced for later stays announced.

    state: an `Unwritten` one
    """
    living = replace(desk.living, births=np.empty(0, np.int64))
    others = {version: dry(other, state) for version, other in desk.others.items()}
    return replace(
        desk, living=living, state=state, log=Unlogged(), random=np.random.default_rng(),
        others=others, _met={}, _new={},  # nor is anybody met
    )  # fmt: skip


class Unlogged(DecisionLog):
    """A log that nobody reads."""

    def __init__(self) -> None:
        self.dropped = 0

    def write(self, decided: Decided) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


@dataclass
class Unwritten:
    """A state that says what it knows, and keeps what it is told to itself."""

    state: State
    facts: list[Fact] = field(default_factory=list)

    async def write(self, facts: Sequence[Fact]) -> list[bool]:
        """As if all of it were new."""
        self.facts += facts
        return [True] * len(facts)

    def note(self, seen: Shown | Met) -> None:
        """Nothing was shown."""

    async def keep(self, seen: Sequence[Shown | Met]) -> None:
        """Nothing was shown."""

    async def recall(self, user_id: str | None, visitor_id: str | None) -> Recalled:
        """What is there."""
        return await self.state.recall(user_id, visitor_id)

    async def recall_all(self, user_ids: Sequence[str]) -> list[Recalled]:
        """What is there."""
        return await self.state.recall_all(user_ids)

    async def whose(self, pseudonym: str) -> str | None:
        """What is there."""
        return await self.state.whose(pseudonym)

    async def once(self, name: str, mailing: str, answer: bytes, seconds: float) -> bytes:
        """Nothing was said before, and nothing is kept."""
        del name, mailing, seconds
        return answer

    async def said_before(self, name: str, mailing: str, seconds: float) -> bytes | None:
        """Nothing was."""
        del name, mailing, seconds
        return None

    async def since(self, seq: int, most: int = 1000) -> list[Filed]:
        """Nothing: a dry run takes nothing in."""
        del seq, most
        return []

    async def first_after(self, moment_us: int) -> int:
        """What is there."""
        return await self.state.first_after(moment_us)

    async def tail(self, names: Sequence[str], before: int, most: int) -> dict[str, list[Event]]:
        """What is there."""
        return await self.state.tail(names, before, most)

    async def close(self) -> None:
        """The state is not ours."""
