"""Typical people at the door, and the feeds that a model would give them: for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from command.demo import four_requests
from features.config import KINDS, RUNGS, Placement, Rung
from features.lifecycle import STAGES
from features.types import Bool
from training.batch import Served, as_table
from training.bundle import Bundle, terms
from training.people import people_of
from training.policy import Decision, Reason, decide

_CUSTOMERS = (  # by stage, the first of each line that there is one of
    {"loyal": "A loyal customer", "active": "An active customer"},
    {"new": "A new customer"},
)
_LEAST = 2  # items of the placement's kind in a visit that is worth looking at


@dataclass(frozen=True)
class Asker:
    """Somebody at the door.

    ids: marked ids that are given (u:customer, v:visitor), the surest first
    recent: ids of the items of this visit, oldest first
    """

    title: str
    ids: list[str]
    recent: list[str]


@dataclass(frozen=True)
class Answer:
    """What somebody gets: why in words, and the feed as rows of `training.batch.RANKED`."""

    decision: str
    feed: pa.Table


def askers(bundle: Bundle, placement: Placement) -> list[Asker]:
    """A well-known customer, a new one, a visitor in the middle of a visit, and a stranger.

    Each in the middle of their kind by how much they did. A customer is left out where there is
    none; of a log without visitors one is a customer who has not said who they are.
    """
    stages = np.asarray(bundle.stages)
    customers = np.char.startswith(bundle.persons.ids, b"u:")
    found = []
    for titles in _CUSTOMERS:
        for stage, title in titles.items():
            rows = _typical(bundle, customers & bundle.consent & (stages == STAGES.index(stage)))
            if rows:
                found.append(Asker(title, [bundle.persons.text(rows[0])], []))
                break
    rows = _typical(bundle, ~customers) + _typical(bundle, customers)
    visits = (_last_visit(bundle, row, placement) for row in rows)
    usual = four_requests(bundle).values()
    made_up = next(list(request["recent"]) for request in usual if "recent" in request)
    visit = next(chain((one for one in visits if one), [made_up]))
    return [*found, Asker("A visitor, in the middle of a visit", [], visit),
            Asker("A stranger", [], [])]  # fmt: skip


def answers(
    bundle: Bundle, placement: Placement, asking: Sequence[Asker], *, size: int, limit: Rung
) -> list[Answer]:
    """What a model gives each of them on a placement, with no higher rung than `limit`."""
    catalogue = bundle.catalogue
    seen = [catalogue.find(one.recent) for one in asking]
    people = people_of(bundle, [one.ids for one in asking], [one[one >= 0] for one in seen])
    wanted = terms(
        bundle.config, catalogue, catalogue.shown(placement.kind), size,
        highest_rung=min(limit, placement.highest_rung, key=RUNGS.index),
        ceiling=bundle.ceiling(placement.channel, placement.kind),
    )  # fmt: skip
    feeds = decide(bundle.ladder, people, wanted)
    names = [str(number) for number in range(len(asking))]
    rows = np.arange(len(asking))
    table = as_table(Served(rows, bundle, names, bundle.ladder, people, feeds))
    why = zip(feeds.decisions.tolist(), feeds.reasons.tolist(), strict=True)
    return [
        Answer(f"{Decision(decision).name}: {Reason(reason).name}".replace("_", " "),
               table.filter(pc.equal(table["person_id"], name)))
        for name, (decision, reason) in zip(names, why, strict=True)
    ]  # fmt: skip


def _typical(bundle: Bundle, of_them: Bool) -> list[int]:
    """Rows of the named people who did something, those in the middle first."""
    lengths = np.diff(bundle.timelines.indptr)
    rows = np.flatnonzero(of_them & (lengths > 0))
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    nearest = np.argsort(np.abs(np.arange(len(rows)) - len(rows) // 2), kind="stable")
    return [int(row) for row in ordered[nearest]]


def _last_visit(bundle: Bundle, row: int, placement: Placement) -> list[str]:
    """The items of somebody's last visit, oldest first; none if they hold too few of the kind."""
    log = bundle.timelines
    entries = slice(*log.indptr[row : row + 2].tolist())
    sessions, items = log.sessions[entries], log.items[entries]
    visit = items[sessions == sessions[-1]]
    own = visit if placement.kind is None else visit[
        bundle.catalogue.kinds[visit] == KINDS.index(placement.kind)
    ]  # fmt: skip
    return bundle.catalogue.ids.texts(visit) if len(np.unique(own)) >= _LEAST else []
