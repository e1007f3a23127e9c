"""An experiment as the log tells it: its people, what each did in the days after meeting it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from features.config import Config
from features.experiments import Experiment
from features.feature_set import FeatureSet
from features.lifecycle import STAGES
from features.people_at import people_at
from features.segments import settled_name
from features.types import DAY_US, Bool, Float64, Int8, Int16, Int64, row_numbers, to_us
from training.evaluation.evidence import UNKNOWN
from training.evaluation.exposure import NEVER, Source, Span, Units, entries
from training.evaluation.mailed import Mailed
from training.evaluation.observed import Exposed, Observed, Outcomes, Window, observed_from
from training.evaluation.uplift import FEWEST, Design, Row, SampleRatio, read_out, sample_ratio
from training.slices import World

DAYS = 14  # of the window after entering, and of the one before
QUARTERS = 4  # of a permanent holdout the last so many are read
Cell = tuple[str, str]  # stage, segment


@dataclass(frozen=True)
class Reading:
    """What the log says of an experiment, or of one quarter of a permanent holdout.

    begin_us, end_us: who met it from the one on and before the other counts
    until_us:  the end of the log         days: of the window after entering
    observed:  who has had all of these days; `cell` is an index into `cells`, -1: too small a one
    cells:     stage and segment when it began, of those large enough to be read
    waiting:   people who have met it, and whose window is not over
    first_over_us: when the first window was over, or will be; None: nobody has met it
    left_out:  why -> how many people (of `currency`: orders) met it and are not counted
    """

    experiment: Experiment
    source: Source
    begin_us: int
    end_us: int
    until_us: int
    days: int
    observed: Observed
    cells: tuple[Cell, ...]
    waiting: int
    first_over_us: int | None
    left_out: dict[str, int]

    @property
    def design(self) -> Design:
        """What was decided before anybody looked."""
        return Design.of(self.experiment)

    @property
    def counts(self) -> Int64:
        """(arms,) the people that are counted."""
        return np.bincount(self.observed.arm, minlength=len(self.design.arms)).astype(np.int64)

    @cached_property
    def ratio(self) -> SampleRatio:
        """Do the arms hold as many people as they should?"""
        return sample_ratio(self.counts, self.design)

    @cached_property
    def rows(self) -> list[tuple[Cell | None, Row]]:
        """The read-out, with the cell that each row is of; None: everybody."""
        by_name = {" / ".join(cell): cell for cell in self.cells}
        found = read_out(self.observed, self.design, tuple(by_name))
        return [(by_name.get(row.cell), row) for row in found]


@dataclass(frozen=True)
class _Told:
    """What all spans of an experiment are read from.

    people: whom the hash deals     mails: where an arm goes without them
    foreign: orders that are not in the shop's currency
    """

    people: Units
    mails: Mailed | None
    outcomes: Outcomes
    foreign: int


def readings(world: World, experiment: Experiment, days: int = DAYS) -> list[Reading]:
    """The experiment as far as the log goes; of a permanent holdout its quarters, oldest first.

    Nothing where it has not begun, or runs for less than `days`.
    """
    log, length = world.features.timelines, days * DAY_US
    since, until = int(log.occurred_us.min()), world.features.as_of_us
    begin, end = since, until + 1
    if experiment.starts is not None:
        begin = max(begin, to_us(experiment.starts))
    if experiment.ends is not None:  # who enters later has the feed for less than the window
        last = to_us(experiment.ends) - length
        end = min(end, last + 1)
    if begin >= end:
        return []
    spans = _quarters(begin, end)[-QUARTERS:] if experiment.permanent else [Span(begin, end)]
    window = Window(length, since, until)
    mails = Mailed.of(world, experiment)
    people = Units.of(world, experiment, mails.beside if mails else ())
    outcomes, foreign = _outcomes(world)
    told = _Told(people, mails, outcomes, foreign)
    return [_read(world, experiment, span, (window, begin), told) for span in spans]


def _read(
    world: World, experiment: Experiment, span: Span, when: tuple[Window, int], told: _Told
) -> Reading:
    (window, begun_us), people = when, told.people
    source, first = entries(world, experiment, span, told.mails)
    met = first < NEVER
    held = people.held(first)
    cell, names = _cells(world, experiment, begun_us, people.known & ~held)
    exposed = Exposed(np.where(met & people.known & ~held, people.arm, -1), first, cell)
    done = exposed.arm >= 0
    done[done] = first[done] + window.length_us <= window.until_us
    waiting = int((exposed.arm >= 0).sum() - done.sum())
    counted = Exposed(np.where(done, exposed.arm, -1), np.where(met, first, 0), cell)
    entered = first[exposed.arm >= 0]
    left_out = {"session": int((met & ~people.known).sum()), "held": int((met & held).sum()),
                "currency": told.foreign}  # fmt: skip
    return Reading(
        experiment, source, span.begin_us, span.end_us, window.until_us,
        window.length_us // DAY_US, _observed(counted, told.outcomes, window, experiment), names,
        waiting, int(entered.min()) + window.length_us if entered.size else None, left_out,
    )  # fmt: skip


def _observed(
    exposed: Exposed, outcomes: Outcomes, window: Window, experiment: Experiment
) -> Observed:
    """The rows; of a permanent holdout `before` is what was before it began.

    What its people did before a later quarter is already what the holdout made of them: to take it
    out would take the effect out.
    """
    found = observed_from(exposed, outcomes, window)
    if not experiment.permanent:
        return found
    begun = np.full(len(exposed.arm), window.since_us)
    if experiment.starts is not None:
        begun = np.maximum(begun, to_us(experiment.starts))
    earlier = observed_from(Exposed(exposed.arm, begun), outcomes, window)
    return Observed(found.arm, found.first_us, found.outcome, earlier.before, found.cell)


def _quarters(begin_us: int, end_us: int) -> list[Span]:
    """The quarters of the calendar (UTC) from `begin_us` until before `end_us`, clipped to them."""
    months = np.array([begin_us, end_us - 1]).astype("datetime64[us]").astype("datetime64[M]")
    first, last = (int(month) // 3 * 3 for month in months.astype(np.int64))
    edges = np.arange(first, last + 4, 3).astype("datetime64[M]").astype("datetime64[us]")
    edges = np.clip(edges.astype(np.int64), begin_us, end_us)
    return [Span(int(one), int(other)) for one, other in pairwise(edges)]


def _outcomes(world: World) -> tuple[Outcomes, int]:
    """What the objective counts; and how many orders are not in the shop's currency."""
    log, config = world.features.timelines, world.config
    counts = np.flatnonzero(np.array(config.label_signals(), np.bool_)[log.signals])
    people, value, foreign = row_numbers(log.indptr), np.ones(len(counts)), 0
    if config.objective == "value":
        worth = _worth(world.features, config)[counts]
        foreign = int(np.isnan(worth).sum())
        value = np.nan_to_num(worth)
    return Outcomes(people[counts], log.occurred_us[counts], value), foreign


def _worth(features: FeatureSet, config: Config) -> Float64:
    """(m,) of every entry of the timelines its value; NaN: in another currency than the shop's."""
    table = features.beside(["value", "currency"]).to_pandas()
    own = table["currency"] == config.shop.currency
    return np.asarray(table["value"].fillna(0.0).where(own), dtype=np.float64)


def _cells(
    world: World, experiment: Experiment, moment_us: int, dealt: Bool
) -> tuple[Int64, tuple[Cell, ...]]:
    """The cell of everybody when it began, -1 where that is small; and the names of the others.

    dealt: (n,) who counts: the people of the log, and perhaps some of whom it knows nothing

    A cell is read if its smallest arm would hold FEWEST of its people, did they all come: by what
    was known before anybody could look, so that the level is shared among cells fixed beforehand.
    Of who came later, or may not be known, nothing is known: they are a cell too.
    """
    log, consent = world.features.timelines, np.asarray(world.features.consent)
    before = np.bincount(row_numbers(log.indptr)[log.occurred_us < moment_us], minlength=len(log))
    seen = np.zeros(len(dealt), np.bool_)
    seen[: len(log)] = (before > 0) & consent
    nobody: tuple[Cell, ...] = ()
    if not seen.any():
        return np.full(len(dealt), -1, np.int64), nobody
    who = people_at(world.config, world.features, moment_us, world.home)
    segments = np.array([*(settled_name(world.config.segments, n) for n in who.names), UNKNOWN])
    stages = np.array([*STAGES, UNKNOWN])
    told: dict[str, Any] = {
        "stage": stages[_where(seen, who.stages)],
        "segment": segments[_where(seen, who.segments)],
    }
    pairs = list(zip(told["stage"].tolist(), told["segment"].tolist(), strict=True))
    names = sorted(set(pairs), key=lambda one: (stages.tolist().index(one[0]), one[1]))
    place = {name: n for n, name in enumerate(names)}
    codes = np.array([place[pair] for pair in pairs], np.int64)
    least = FEWEST / min(share for share in experiment.shares.values() if share > 0)
    sizes = np.bincount(codes[dealt], minlength=len(names))
    kept = np.array([n for n, name in enumerate(names)
                     if sizes[n] >= least or name == (UNKNOWN, UNKNOWN)], np.int64)  # fmt: skip
    new = np.full(len(names), -1, np.int64)
    new[kept] = np.arange(len(kept))
    return new[codes], tuple(names[n] for n in kept)


def _where(seen: Bool, codes: Int8 | Int16) -> Int64:
    """(n,) the code of who was seen, -1 of all others; of the last people there are none."""
    found = np.full(len(seen), -1, np.int64)
    found[: len(codes)] = np.where(seen[: len(codes)], codes, -1)
    return found
