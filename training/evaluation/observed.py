"""Who entered an experiment, and what each of them did in the window after that: one row a person.

Every person counts ONCE, with the outcome of a window of fixed length from the first exposure on,
and only when that window is over. So people follow one another as independent draws, which is what
an interval that is looked at every day rests on; an outcome that went on growing would break it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Bool, Float64, Int64


@dataclass(frozen=True)
class Observed:
    """People whose window is over, one row each.

    arm:      (n,) index into the design's arms
    first_us: (n,) when the person entered: the first feed of the experiment, microseconds UTC
    outcome:  (n,) clicks, orders or money in the window after entering
    before:   (n,) the same measure in a window that ended before entering; NaN: unknown
    cell:     (n,) index into the names of the cells, as of ENTERING (what the feed itself moves,
              a later stage for instance, is no cell); -1: in none; None: no cells
    """

    arm: Int64
    first_us: Int64
    outcome: Float64
    before: Float64
    cell: Int64 | None = None

    def __post_init__(self) -> None:
        for name in ("first_us", "outcome", "before", "cell"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.arm):
                raise ValueError(f"{name} has {len(column)} rows, arm has {len(self.arm)}")
        if (bad := np.flatnonzero(~np.isfinite(self.outcome))).size:
            raise ValueError(f"outcome of row {bad[0]} is not a number; who did nothing has 0")
        if (bad := np.flatnonzero(np.isinf(self.before))).size:
            raise ValueError(f"before of row {bad[0]} is infinite; what is unknown is NaN")
        if (bad := np.flatnonzero(self.arm < 0)).size:
            raise ValueError(f"arm of row {bad[0]} is {self.arm[bad[0]]}; leave out who is in none")

    def __len__(self) -> int:
        return len(self.arm)

    def take(self, rows: Int64 | Bool | slice) -> Observed:
        """The named people."""
        cell = None if self.cell is None else self.cell[rows]
        return Observed(
            self.arm[rows], self.first_us[rows], self.outcome[rows], self.before[rows], cell
        )


@dataclass(frozen=True)
class Exposed:
    """Who was dealt into an experiment, by person of the log: (n,) each.

    arm: -1 for people who never got a feed of it        first_us: when they first did
    cell: as in `Observed`
    """

    arm: Int64
    first_us: Int64
    cell: Int64 | None = None


@dataclass(frozen=True)
class Outcomes:
    """The events that count, in any order: person (m,), at_us (m,), value (m,) (1 per click)."""

    person: Int64
    at_us: Int64
    value: Float64


@dataclass(frozen=True)
class Window:
    """What of a log counts: so long after entering, and as long before it.

    The log runs from since_us to until_us. Who entered less than length_us before its end is not
    counted yet; who entered less than length_us after its start has no `before`.
    """

    length_us: int
    since_us: int
    until_us: int


def observed_from(exposed: Exposed, outcomes: Outcomes, window: Window) -> Observed:
    """One row per person whose window is over: what came of it, and what there was before.

    A permanent holdout is read quarter by quarter: give the first exposure of each quarter.
    """
    lost = np.flatnonzero((outcomes.person < 0) | (outcomes.person >= len(exposed.arm)))
    if lost.size:
        raise ValueError(
            f"person of event {lost[0]} is {outcomes.person[lost[0]]}; there are "
            f"{len(exposed.arm)} people: leave out whom the log does not know"
        )
    gone = outcomes.at_us - exposed.first_us[outcomes.person]
    after, ahead = (gone >= 0) & (gone < window.length_us), (gone < 0) & (gone >= -window.length_us)
    known = exposed.first_us - window.length_us >= window.since_us
    before = np.where(known, _sums(outcomes, ahead, len(exposed.arm)), np.nan)
    outcome = _sums(outcomes, after, len(exposed.arm))
    done = exposed.first_us + window.length_us <= window.until_us
    rows = np.flatnonzero((exposed.arm >= 0) & done)
    cell = None if exposed.cell is None else exposed.cell[rows]
    return Observed(exposed.arm[rows], exposed.first_us[rows], outcome[rows], before[rows], cell)


def _sums(outcomes: Outcomes, kept: Bool, people: int) -> Float64:
    """(people,) of the kept events the sum of the values of each person."""
    found = np.bincount(outcomes.person[kept], outcomes.value[kept], minlength=people)
    return np.asarray(found, dtype=np.float64)
