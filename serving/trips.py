"""Ways to a store on another machine: what many want goes together, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Told = TypeVar("Told")
REST_SECONDS = 0.5  # after a failure nobody tries for so long


class Breaker:
    """Whether it makes sense to try: after a failure nobody does for a while, then only one."""

    def __init__(self, rest_seconds: float = REST_SECONDS) -> None:
        self._rest = rest_seconds
        self._until: float | None = None  # None: all is well

    def allows(self, patience: float = 0.0) -> bool:
        """May this one try? Whoever may must tell how it went.

        patience: seconds for which it leaves the first attempt after a failure to others
        """
        now = time.monotonic()
        if self._until is None:
            return True
        if now < self._until + patience:
            return False
        self._until = now + self._rest  # the others wait for how this one fares
        return True

    def worked(self) -> None:
        """It answered."""
        self._until = None

    def failed(self) -> None:
        """It did not."""
        self._until = time.monotonic() + self._rest


class Trips(Generic[Asked, Told]):
    """One trip at a time; what is asked for meanwhile shares the next one.

    trip: does it for several at once, in their order
    most: weight of what goes together, or a little more
    """

    def __init__(
        self, trip: Callable[[Sequence[Asked]], Awaitable[Sequence[Told]]], most: int,
        weight: Callable[[Asked], int] = lambda _: 1,
    ) -> None:  # fmt: skip
        self._trip, self._most, self._weight = trip, most, weight
        self._waiting: deque[tuple[Asked, asyncio.Future[Told]]] = deque()
        self._under_way: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, one: Asked) -> Told:
        """Go along with the next trip; raises what that raises."""
        told: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, told))
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._go())
        return await told

    async def done(self) -> None:
        """When nobody waits any more."""
        while self._under_way is not None:
            await asyncio.wait([self._under_way])

    async def _go(self) -> None:
        try:
            while self._waiting:
                if not (together := self._next()):
                    continue
                try:
                    answers = await self._trip([one for one, _ in together])
                except Exception as error:
                    for _, told in together:
                        if not told.done():
                            told.set_exception(error)
                else:
                    for (_, told), answer in zip(together, answers, strict=True):
                        if not told.done():
                            told.set_result(answer)
        finally:
            self._under_way = None

    def _next(self) -> list[tuple[Asked, asyncio.Future[Told]]]:
        together: list[tuple[Asked, asyncio.Future[Told]]] = []
        weight = 0
        while self._waiting and (not together or weight < self._most):
            one, told = self._waiting.popleft()
            if not told.done():  # else whoever asked has left
                together.append((one, told))
                weight += self._weight(one)
        return together
