"""What an experiment shows: by how much an arm beats the control, readable on every day it runs.

The `fixed` interval (Welch 1947) holds for ONE look, planned beforehand; the `always` interval
holds for all looks together: stop whenever you like.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from scipy.special import chdtrc, lambertw, stdtrit

from features.experiments import Experiment
from features.types import DAY_US, Float64, Int64
from training.evaluation.observed import Observed

Verdict = Literal["better", "worse", "open"]
FEWEST = 50  # people an arm; below it the normal approximation of the daily interval is not tried
SRM_ALARM = 0.001  # p below which the counts of the arms are not believed (Fabijan et al. 2019)
EVERYBODY = "all"  # the cell that holds all of them


@dataclass(frozen=True)
class Design:
    """What was decided before anybody looked.

    arms, shares: names and shares by index        control: the name all others are compared with
    planned:      people of two arms together at which the daily interval is tightest
    level:        chance of any false alarm among all comparisons of a kind
    """

    arms: tuple[str, ...]
    shares: tuple[float, ...]
    control: str
    planned: int = 10_000
    level: float = 0.05

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The design of an experiment of the config; arms as `assign_many` numbers them."""
        shares = experiment.shares
        return cls(
            tuple(shares), tuple(shares.values()), experiment.control, experiment.planned_people
        )

    def __post_init__(self) -> None:
        if self.control not in self.arms:
            raise ValueError(f"control {self.control!r} is no arm; choose from {list(self.arms)}")
        if len(self.shares) != len(self.arms) or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares {list(self.shares)} must be one per arm and sum to 1")

    def compared(self) -> list[str]:
        """The arms that people can be in, but for the control."""
        pairs = zip(self.arms, self.shares, strict=True)
        return [name for name, share in pairs if share > 0 and name != self.control]


@dataclass(frozen=True)
class Difference:
    """Arm minus control, in the unit of the outcome; lows and highs enclose the true difference.

    `relative` and its bounds (daily interval) are shares of the control's mean; NaN where that is
    not clearly above 0. variance_cut: share of the variance that `before` explained away.
    """

    people: int
    control_people: int
    mean: float
    control_mean: float
    uplift: float
    fixed_low: float
    fixed_high: float
    always_low: float
    always_high: float
    relative: float
    relative_low: float
    relative_high: float
    variance_cut: float


@dataclass(frozen=True)
class Row:
    """One line of the read-out: an arm against the control in one cell.

    level: of this row's intervals, after Bonferroni (see `read_out`)
    srm_p: of the sample-ratio check in the cell
    """

    arm: str
    control: str
    cell: str
    found: Difference
    level: float
    verdict: Verdict
    srm_p: float


@dataclass(frozen=True)
class SampleRatio:
    """Do the arms hold as many people as they should? p: of the chi-square test."""

    p: float
    sentence: str

    @property
    def alarm(self) -> bool:
        """Is the experiment not to be believed before the cause is found?"""
        return self.p < SRM_ALARM


@dataclass(frozen=True)
class Daily:
    """An arm against the control as it stood on each day; all (days,).

    until_us: people who entered before this moment are in; NaN bounds: too few of them
    """

    until_us: Int64
    people: Int64
    uplift: Float64
    fixed_low: Float64
    fixed_high: Float64
    always_low: Float64
    always_high: Float64


def cuped(outcome: Float64, before: Float64) -> tuple[Float64, float]:
    """(n,) outcome less what `before` foretold, and the share of variance that this took away.

    y - theta (x - mean x), theta = cov(y, x) / var(x) over all arms together (Deng, Xu, Kohavi &
    Walker 2013, CUPED); an unknown x is the mean of the known. The mean stays what it was.
    """
    known = np.isfinite(before)
    x = _centred(np.where(known, before, before[known].mean() if known.any() else 0.0))
    y = _centred(outcome)
    if not x.any() or not y.any():  # all alike foretell nothing, and need no foretelling
        return outcome, 0.0
    foretold = (x @ y) / (x @ x) * x
    left = y - foretold
    return outcome - foretold, 1 - float(left @ left) / float(y @ y)


def _centred(values: Float64) -> Float64:
    """(n,) values less their mean; all 0 where they are alike but for rounding."""
    if not values.size:
        return values
    off = values - values.mean()
    off -= off.mean()  # which rounding has left
    alike = np.abs(off).max() <= 1e-12 * np.abs(values).max()
    return np.zeros_like(off) if alike else off


def always_factor(people: float, planned: int, level: float) -> float:
    """How many standard errors the interval reaches that holds at every look.

    sqrt((u + 1) / u * log((u + 1) / level^2)), u = people rho^2: Robbins' normal mixture, as the
    asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024 ("Time-
    uniform central limit theory and asymptotic confidence sequences", section 2; theirs times
    sqrt(t) / sigma). rho makes it smallest at `planned`: planned rho^2 = -W_-1(-level^2 / e) - 1.
    """
    best = -float(lambertw(-(level**2) / np.e, k=-1).real) - 1
    u = people * best / planned
    return float(np.sqrt((u + 1) / u * np.log((u + 1) / level**2)))


def difference(arm: Float64, control: Float64, planned: int, level: float) -> Difference:
    """Means of two arms compared; bounds are NaN below 2 people, the daily ones below FEWEST.

    In the daily interval a person counts as one draw of Y A / p - Y (1 - A) / (1 - p) around the
    arms' means (the same paper on randomised experiments), whose standard error is Welch's. A small
    arm that has not met its rare large orders yet looks poor and sure at once; so the pooled error
    is taken where it is larger. With arms of one size the two are the same.
    """
    (n, mean, noise), (m, base, other) = (_mean(one) for one in (arm, control))
    error, gap = float(np.sqrt(noise + other)), mean - base
    freedom = n + m - 2.0
    if error != 0:
        freedom = error**4 / (noise**2 / max(n - 1, 1) + other**2 / max(m - 1, 1))
    fixed = float(stdtrit(freedom, 1 - level / 2)) * error
    always = share = slack = np.nan
    if min(n, m) >= FEWEST:
        pooled = (noise * n * (n - 1) + other * m * (m - 1)) / (n + m - 2) * (1 / n + 1 / m)
        always = always_factor(n + m, planned, level) * max(error, float(np.sqrt(pooled)))
    if base > 3 * np.sqrt(other):  # the delta method needs a control that is clearly above 0
        share = mean / base - 1
        slack = always * float(np.sqrt(noise + (1 + share) ** 2 * other)) / (base * (error or 1))
    return Difference(
        n, m, mean, base, gap, gap - fixed, gap + fixed, gap - always, gap + always,
        share, share - slack, share + slack, 0.0,
    )  # fmt: skip


def _mean(values: Float64) -> tuple[int, float, float]:
    """How many, their mean, and the variance of that mean; NaN where there are too few."""
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    return n, mean, float(values.var(ddof=1)) / n if n > 1 else np.nan


def compare(observed: Observed, design: Design, arm: str, level: float) -> Difference:
    """One arm against the control, `before` taken out by CUPED over these two arms."""
    one, other = design.arms.index(arm), design.arms.index(design.control)
    pair = observed.take((observed.arm == one) | (observed.arm == other))
    adjusted, cut = cuped(pair.outcome, pair.before)
    mine = pair.arm == one
    found = difference(adjusted[mine], adjusted[~mine], design.planned, level)
    return replace(found, variance_cut=cut)


def sample_ratio(counts: Int64, design: Design) -> SampleRatio:
    """Chi-square of the people (arms,) against the shares; the alarm is p < SRM_ALARM.

    Fabijan et al. 2019, "Diagnosing sample ratio mismatch in online controlled experiments". The
    strict limit is for many looks; it is no always-valid test.
    """
    shares = np.array(design.shares)
    if len(counts) != len(shares) or counts[shares == 0].any():
        raise ValueError(f"counts {counts.tolist()} do not fit the shares {shares.tolist()} of "
                         f"{list(design.arms)}; were they changed on the way?")  # fmt: skip
    expected = (shares * counts.sum())[shares > 0]
    real = counts[shares > 0]
    if not counts.sum() or len(real) < 2:
        return SampleRatio(1.0, "Nothing to compare yet.")
    p = float(chdtrc(len(real) - 1, ((real - expected) ** 2 / expected).sum()))
    if p >= SRM_ALARM:
        return SampleRatio(p, f"The arms hold as many people as planned (p = {p:.2g}).")
    worst = int(np.argmax(np.abs(real - expected) / np.sqrt(expected)))
    name = design.arms[np.flatnonzero(shares)[worst]]
    return SampleRatio(
        p, f"Sample ratio mismatch: {real[worst]:,} people in {name!r}, {expected[worst]:,.0f} "
        f"expected (p = {p:.1g}). People get lost or are added after they were dealt: find out "
        "where before you believe any difference.",
    )  # fmt: skip


def read_out(observed: Observed, design: Design, cells: tuple[str, ...] = ()) -> list[Row]:
    """Every arm against the control, for everybody and then cell by cell.

    The level is shared out (Bonferroni): over the arms for everybody, over arms x cells for the
    cells. So with 95 % NO interval of the cells misses, on any day, however often all are read.
    The verdict follows the daily interval; it is `open` while a sample ratio is in alarm.
    """
    names, each = design.compared(), design.level / max(len(design.compared()), 1)
    whole = sample_ratio(_counts(observed, design), design)
    rows = [_row(observed, design, (name, EVERYBODY), each, whole) for name in names]
    for code, cell in enumerate(cells):
        if observed.cell is None:
            raise ValueError(f"cells {list(cells)} are named, but the people have no `cell`")
        mine = observed.take(observed.cell == code)
        ratio = whole if whole.alarm else sample_ratio(_counts(mine, design), design)
        rows += [_row(mine, design, (name, cell), each / len(cells), ratio) for name in names]
    return rows


def _counts(observed: Observed, design: Design) -> Int64:
    if (bad := np.flatnonzero(observed.arm >= len(design.arms))).size:
        raise ValueError(f"arm of row {bad[0]} is {observed.arm[bad[0]]}; there are "
                         f"{len(design.arms)}: {list(design.arms)}")  # fmt: skip
    return np.bincount(observed.arm, minlength=len(design.arms)).astype(np.int64)


def _row(
    observed: Observed, design: Design, where: tuple[str, str], level: float, ratio: SampleRatio
) -> Row:
    arm, cell = where
    found = compare(observed, design, arm, level)
    verdict: Verdict = "open"
    if not ratio.alarm and (found.always_low > 0 or found.always_high < 0):
        verdict = "better" if found.always_low > 0 else "worse"
    return Row(arm, design.control, cell, found, level, verdict, ratio.p)


def daily(observed: Observed, design: Design, arm: str) -> Daily:
    """The comparison for everybody as it stood at the end of each day (UTC) of entering."""
    level = design.level / max(len(design.compared()), 1)
    ordered = observed.take(np.argsort(observed.first_us, kind="stable"))
    days = np.unique(ordered.first_us // DAY_US)
    ends = (np.arange(days[0], days[-1] + 1) + 1) * DAY_US if days.size else np.empty(0, np.int64)
    looks = [compare(ordered.take(slice(0, int(last))), design, arm, level)
             for last in np.searchsorted(ordered.first_us, ends)]  # fmt: skip

    def column(name: str) -> Float64:
        return np.array([getattr(look, name) for look in looks], dtype=np.float64)

    people = np.array([look.people + look.control_people for look in looks], dtype=np.int64)
    bounds = ("fixed_low", "fixed_high", "always_low", "always_high")
    return Daily(ends.astype(np.int64), people, column("uplift"), *map(column, bounds))
