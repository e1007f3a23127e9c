"""Who met an experiment, when, and in which arm: by the log, and by the hash that deals.

Who met an experiment is told by what the shop showed, where the log has `impressions` (decisions
of the service are among them); else everybody who came counts, whatever they were shown (intention
to treat): no bias, only a smaller difference. Where an arm goes without mails it is told by the
decisions of mailings: see `mailed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from features.experiments import HOLDOUT, Experiment, assign_many
from features.types import Bool, Int64, row_numbers, to_us
from training.evaluation.mailed import Mailed
from training.slices import World

NEVER = np.iinfo(np.int64).max
Source = Literal["decisions", "impressions", "visits"]


@dataclass(frozen=True)
class Span:
    """A stretch of time in which people may meet an experiment: from begin_us, before end_us."""

    begin_us: int
    end_us: int

    def first(self, people: Int64, at_us: Int64, n_people: int) -> Int64:
        """(n_people,) the first moment of each within the span, NEVER for who has none."""
        here = (at_us >= self.begin_us) & (at_us < self.end_us)
        found = np.full(n_people, NEVER)
        np.minimum.at(found, people[here], at_us[here])
        return found


def entries(
    world: World, experiment: Experiment, span: Span, mails: Mailed | None = None
) -> tuple[Source, Int64]:
    """Which source tells who met the experiment, and (n_persons,) when each first did.

    mails: of an experiment on mails; behind the people of the log stand those of `mails.beside`
    """
    if mails is not None:
        people = len(world.features.persons) + len(mails.beside)
        return "decisions", span.first(mails.rows, mails.at_us, people)
    for source, told in SOURCES.items():
        found = told(world, experiment, span)
        if found is not None:
            return source, found
    raise ValueError(f"nothing in the log tells who met experiment {experiment.name!r}")


def _shown(world: World, experiment: Experiment, span: Span) -> Int64 | None:
    """By what the shop showed; None where the log has nothing shown in this time."""
    if not world.config.impressions:
        return None
    import pyarrow as pa  # here: a serving worker does without
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(
        world.features.directory / "events.parquet",
        columns=["person_index", "occurred_us", "placement"],
        filters=[("event_type", "in", world.config.impressions),
                 ("occurred_us", ">=", span.begin_us), ("occurred_us", "<", span.end_us)],
    )  # fmt: skip
    if not len(table):
        return None
    people, at_us = (table[name].to_numpy() for name in ("person_index", "occurred_us"))
    where = table["placement"]
    if experiment.placements is not None and where.null_count < len(where):
        on = pc.is_in(where, value_set=pa.array(experiment.placements, where.type))
        people, at_us = people[on.to_numpy()], at_us[on.to_numpy()]
    return span.first(people, at_us, len(world.features.persons))


def _came(world: World, _experiment: Experiment, span: Span) -> Int64:
    """By when people first did anything, on any placement.

    Not by clicks on the experiment's placements: an arm that earns more of them would have more
    people.
    """
    log = world.features.timelines
    return span.first(row_numbers(log.indptr), log.occurred_us, len(log))


SOURCES: dict[Source, Callable[[World, Experiment, Span], Int64 | None]] = {
    "impressions": _shown, "visits": _came,
}  # fmt: skip


@dataclass(frozen=True)
class Units:
    """Whom the hash can deal: customers and visitors, a linked visitor as its customer.

    known: (n_persons,) has an id that lasts        arm: (n_persons,) int64, -1 where not known
    untouched: holdouts without an end of other experiments: since when, and who is in them
    """

    known: Bool
    arm: Int64
    untouched: list[tuple[int, Bool]]

    @classmethod
    def of(cls, world: World, experiment: Experiment, beside: Sequence[str] = ()) -> Units:
        """Everybody in the log, and behind them `beside`: marked names that it does not know."""
        persons = world.features.persons
        marked = [*persons.texts(np.arange(len(persons))), *beside]
        known = np.array([one[:2] in ("u:", "v:") for one in marked], np.bool_)
        units = [one[2:] for one, is_known in zip(marked, known, strict=True) if is_known]

        def dealt(one: Experiment) -> Int64:
            arm = np.full(len(marked), -1, np.int64)
            arm[known] = assign_many(one, units)
            return arm

        untouched = [
            (to_us(one.starts) if one.starts else 0, dealt(one) == list(one.shares).index(HOLDOUT))
            for one in world.config.experiments
            if one.permanent and one.name != experiment.name and _meet(one, experiment)
        ]
        return cls(known, dealt(experiment), untouched)

    def held(self, first_us: Int64) -> Bool:
        """(n_persons,) who was in the permanent holdout of another experiment on entering?"""
        found = np.zeros(len(self.arm), np.bool_)
        for since, held in self.untouched:
            found |= held & (first_us >= since)
        return found


def _meet(one: Experiment, other: Experiment) -> bool:
    """Do they share a placement?"""
    if one.placements is None or other.placements is None:
        return True
    return bool(set(one.placements) & set(other.placements))
