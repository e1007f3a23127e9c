"""A desk is warmed before it answers: requests are replayed at it, and nothing is written."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from serving.api import FeedRequest
from serving.desk import BadRequest, Desk
from serving.dry import Unwritten, dry
from serving.feed import feed
from serving.state import State, StateUnavailable
from training.bundle import Bundle, NoModel
from training.probes import Probes

KEPT = 200  # of the newest requests, in memory only
SECONDS = 2.0  # that a replay takes at most
PAUSE = 0.002  # seconds after each, for the requests that the old desk answers meanwhile


async def replayed(
    desk: Desk, requests: Sequence[FeedRequest], state: State, seconds: float = SECONDS
) -> int:
    """Answer `requests` at a desk that does not serve yet, the newest first; how many it answered.

    state: the desk's, callable from here; it is read only

    Raises NoModel at the first that it cannot answer. What another config has no word for any more
    (a placement, a category) is no fault of the model, nor is a store that is away.
    """
    until, done = time.perf_counter() + seconds, 0
    here = dry(desk, Unwritten(state))
    for request in reversed(requests):
        if time.perf_counter() >= until:
            break
        try:
            await feed(here, request)
            done += 1
            await asyncio.sleep(PAUSE)
        except BadRequest:
            continue
        except StateUnavailable:
            break
        except Exception as error:  # values stay out of it: they may be somebody's
            raise NoModel(
                f"{desk.bundle.version} cannot answer a request for a feed "
                f"({type(error).__name__} in {_place(error)}); serve another version, or train anew"
            ) from None
    return done


def usual(bundle: Bundle, probes: Probes) -> Iterator[FeedRequest]:
    """For every placement that has feeds, those of whom the model's probes know."""
    for row in range(len(probes.persons)):
        user_id, visitor_id = _named(bundle, int(probes.persons[row]))
        recent = bundle.catalogue.texts(probes.recent.row(row))
        for name, place in bundle.config.placements.items():
            if not place.sort_only:
                yield FeedRequest(
                    placement=name, user_id=user_id, visitor_id=visitor_id, recent=recent
                )


def _named(bundle: Bundle, row: int) -> tuple[str | None, str | None]:
    """The ids of a row of the model's people: as a customer, as a visitor."""
    if row < 0:
        return None, None
    mark, _, one = bundle.persons.text(row).partition(":")
    return (one, None) if mark == "u" else (None, one)


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
