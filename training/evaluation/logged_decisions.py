"""What a model's policy would have earned where the log says with which chance each item was shown.

Shown slots are events with a `decision_id`, a `position` and a `propensity` (and the placement, if
it is known). What came of one is any event that the objective wants, of the same item and decision.
The estimates and when they refuse: `training.evaluation.off_policy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from features.config import KINDS, Placement
from features.home import Progress, silent
from features.types import DAY_US, Bool, Float64, Int32, Int64
from training.bundle import terms
from training.cooking import Cooked
from training.evaluation.off_policy import Logged
from training.evaluation.visits import Shelf, Visits
from training.policy import Step, decide
from training.rankers.live import followers
from training.slices import World, standing_at, take_in

STEP_US = DAY_US // 8  # what learns live has taken in what happened until one of them ago at most
_COLUMNS = ("person_index", "item_index", "occurred_us", "decision_id", "position", "propensity",
            "placement", "event_type")  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """Shown slots in the order of time, (n,) each.

    decisions: numbered from 0        positions: from 1        placements: index into `names`
    reward: 1 where something that the objective wants came of the slot, else 0
    """

    persons: Int64
    items: Int32
    at_us: Int64
    decisions: Int64
    positions: Int64
    placements: Int64
    propensity: Float64
    reward: Float64
    names: list[str]

    @classmethod
    def of(cls, world: World) -> Shown:
        """Of the world's log; raises ValueError where it says nothing of what was shown."""
        table = pq.read_table(world.features.directory / "events.parquet", columns=[*_COLUMNS])
        shown = table.filter(pa.compute.and_(
            pa.compute.is_valid(table["propensity"]), pa.compute.is_valid(table["decision_id"])
        )).sort_by("occurred_us")  # fmt: skip
        if not len(shown) or shown["position"].null_count:
            raise ValueError(
                "the log has no shown slots: give `decision_id`, `position` and `propensity` with "
                "the events that say what was shown (see docs/evidence.md, Off-policy)"
            )
        if (first := pa.compute.min(shown["position"]).as_py()) < 1:
            raise ValueError(f"position is {first} in a shown slot; count positions from 1")
        _, decisions = np.unique(shown["decision_id"].to_numpy(), return_inverse=True)
        placed = shown["placement"].fill_null("").combine_chunks().dictionary_encode()
        return cls(
            shown["person_index"].to_numpy().astype(np.int64),
            shown["item_index"].to_numpy().astype(np.int32), shown["occurred_us"].to_numpy(),
            decisions.astype(np.int64), shown["position"].to_numpy(),
            placed.indices.to_numpy().astype(np.int64), shown["propensity"].to_numpy(),
            _rewards(world, table, shown), [str(one) for one in placed.dictionary.to_pylist()],
        )  # fmt: skip


def _rewards(world: World, table: pa.Table, shown: pa.Table) -> Float64:
    wanted = [name for name, label in zip(world.config.signals, world.config.label_signals(),
                                          strict=True) if label]  # fmt: skip
    label = pa.compute.and_(
        pa.compute.is_in(table["event_type"], value_set=pa.array(wanted, pa.string())),
        pa.compute.and_(pa.compute.is_valid(table["decision_id"]),
                        pa.compute.is_null(table["propensity"])),
    )  # fmt: skip
    earned = table.filter(label)
    pairs = set(zip(earned["decision_id"].to_pylist(), earned["item_index"].to_pylist(),
                    strict=True))  # fmt: skip
    mine = zip(shown["decision_id"].to_pylist(), shown["item_index"].to_pylist(), strict=True)
    return np.array([pair in pairs for pair in mine], dtype=np.float64)


def logged(world: World, cooked: Cooked, shown: Shown, progress: Progress = silent) -> Logged:
    """The shown slots with what the policy of `cooked` would have put there: 1, or 0.

    cooked: fitted on what came before the first of them
    """
    begin_us, end_us = int(shown.at_us[0]), int(shown.at_us[-1]) + 1
    lived = followers(cooked.rankers, len(world), len(world))
    ladder = [replace(step, ranker=lived[step.name]) for step in cooked.steps]
    learners = [one for one in lived.values() if one.learns_live]
    consent = np.asarray(world.features.consent)
    shelf = Shelf(world.catalogue, standing_at(world, begin_us), consent)
    _, first = np.unique(shown.decisions, return_index=True)
    target = np.zeros(len(shown.items))
    for start in range(begin_us, end_us, STEP_US):
        progress("what the policy would show", (start - begin_us) / (end_us - begin_us))
        now = first[(shown.at_us[first] >= start) & (shown.at_us[first] < start + STEP_US)]
        for code, name in enumerate(shown.names):
            own = now[shown.placements[now] == code]
            if own.size:
                place = world.config.placements.get(name) or Placement(size=_size(shown, own))
                feeds = _feeds(world, ladder, (shown, own), shelf, place)
                _agree(shown, own, feeds, target)
        take_in(learners, world, start, min(start + STEP_US, end_us))
    return Logged(reward=shown.reward, propensity=shown.propensity, target=target,
                  cluster=shown.persons)  # fmt: skip


def _size(shown: Shown, own: Int64) -> int:
    """The longest of the named decisions' feeds, for a placement that the config does not name."""
    here = np.isin(shown.decisions, shown.decisions[own])
    return int(shown.positions[here].max())


def _feeds(
    world: World, ladder: Sequence[Step], asked: tuple[Shown, Int64], shelf: Shelf,
    place: Placement,
) -> Int32:  # fmt: skip
    """(len(own), size) what the policy shows in these decisions."""
    shown, own = asked
    log, catalogue = world.features.timelines, world.catalogue
    visits = _visits(world, shown.persons[own], shown.at_us[own])
    people = visits.people(log, world.config.signals, shelf)
    there: Bool = np.asarray(catalogue.born_us) <= shown.at_us[own].max()
    if place.kind is not None:
        there = there & (np.asarray(catalogue.kinds) == KINDS.index(place.kind))
    rules = terms(world.config, catalogue, np.flatnonzero(there).astype(np.int32), place.size,
                  highest_rung=place.highest_rung)  # fmt: skip
    return decide(ladder, people, rules).items


def _visits(world: World, persons: Int64, at_us: Int64) -> Visits:
    """Requests at these moments: what came before each is known, the visit that goes on as such."""
    log, gap = world.features.timelines, int(world.config.sessions.gap_minutes * 60e6)
    asked, starts = np.zeros(len(persons), np.int64), np.zeros(len(persons), np.int64)
    for row, (person, at) in enumerate(zip(persons.tolist(), at_us.tolist(), strict=True)):
        own = slice(log.indptr[person], log.indptr[person + 1])
        asked[row] = starts[row] = np.searchsorted(log.occurred_us[own], at, side="left")
        if asked[row] and at - log.occurred_us[own][asked[row] - 1] <= gap:
            session = log.sessions[own]
            starts[row] = np.flatnonzero(session == session[asked[row] - 1])[0]
    return Visits(persons, at_us, starts, asked, asked)


def _agree(shown: Shown, own: Int64, feeds: Int32, target: Float64) -> None:
    """Note in `target` the slots that hold what the policy has there."""
    row_of = np.full(int(shown.decisions.max()) + 1, -1)
    row_of[shown.decisions[own]] = np.arange(len(own))
    row = row_of[shown.decisions]
    here = (row >= 0) & (shown.positions <= feeds.shape[1])
    target[here] = feeds[row[here], shown.positions[here] - 1] == shown.items[here]
