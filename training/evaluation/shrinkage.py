"""Means of small groups, shrunk towards those of the groups that they are part of.

**Estimand**: the mean of a measure over the requests of a cell, were there endlessly many of them.

**Model**: normal means on a tree. A cell's true mean varies around its parent's with a variance of
its level, and what was measured varies around the true mean with the square of its standard error:
Fay & Herriot 1979 with more than one level. Given the variances the posterior is exact, by one pass
up the tree and one down (Pearl 1988, ch. 4; for Gaussian trees Chou, Willsky & Benveniste 1994).
A level's variance is its posterior mean under a flat prior on the standard deviation (Gelman 2006,
sec. 3.2), from how far siblings lie apart beyond their errors: never exactly 0, so that a few cells
that happen to agree are not taken to be one.

**Errors** are by person, whose requests are not independent: the ratio estimator's linearised
variance (Cochran 1977, sec. 6.3). A cell of few people borrows the mean variance within the finest
cells: it counts as much as PRIOR_PEOPLE of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from features.types import Float64, Int64

Measured = tuple[int, int, float, float]  # requests, people, mean, standard error
Key = tuple[int | None, ...]  # what a cell is of, from the coarsest down; None: of any
PRIOR_PEOPLE = 10.0
NOTHING_KNOWN = 1e6  # the variance between people where there is only one
_GRID = 200  # standard deviations that are weighed
Z = 1.959964


@dataclass(frozen=True)
class Cell:
    """What was measured in a cell, and what that says together with all others.

    requests, people: how many          mean, error: as measured, errors with some of all others'
    scatter: variance between the cell's own people
    shrunk, spread:   mean and standard deviation of the posterior
    """

    key: Key
    requests: int
    people: int
    mean: float
    error: float
    scatter: float
    shrunk: float
    spread: float

    def plain(self) -> tuple[float, float]:
        """95 % of the measured mean alone."""
        reach = self._reach() * self.error
        return self.mean - reach, self.mean + reach

    def interval(self) -> tuple[float, float]:
        """95 % of the shrunken mean."""
        reach = self._reach() * self.spread
        return self.shrunk - reach, self.shrunk + reach

    def _reach(self) -> float:
        """Standard errors to 95 %: Student's t, for the variance is estimated, too."""
        return float(stdtrit(self.people - 1 + PRIOR_PEOPLE, 0.975))

    def estimate(self) -> tuple[float, float, float]:
        """Mean with 95 %: of a finest cell shrunken, of one that is made of cells as measured.

        The model's mean of a cell that is made of others weighs these alike; what holds there for
        the requests that come is told by all of them together, and they are many.
        """
        if None in self.key:
            return self.mean, *self.plain()
        return self.shrunk, *self.interval()


def shrunken(values: Float64, persons: Int64, codes: Sequence[Int64]) -> dict[Key, Cell]:
    """The root, every cell, and all between, by key.

    values:  (q,) of each request           persons: (q,) int64, whose it is
    codes:   per level (q,) int64, from the coarsest down: requests of a cell agree in all of them
    """
    keys = _keys(codes, len(values))
    measured, own = _measured(values, persons, keys)
    parent = {key: parent_of(key) for key in measured if _depth(key)}
    depth = len(codes)
    spreads = [0.0] * (depth + 1)
    for level in range(1, depth + 1):
        spreads[level] = _level_variance(
            [(parent[key], *measured[key][2:]) for key in measured if _depth(key) == level]
        )
    found = posterior(measured, parent, spreads, depth)
    return {key: Cell(key, *measured[key], own[key], *found[key]) for key in measured}


def _keys(codes: Sequence[Int64], q: int) -> list[list[Key]]:
    """Per level, from the root down, the key of every request."""
    columns = [column.tolist() for column in codes]
    depth = len(columns)
    found: list[list[Key]] = []
    for level in range(depth + 1):
        rest = (None,) * (depth - level)
        found.append([tuple(c[i] for c in columns[:level]) + rest for i in range(q)])
    return found


def _depth(key: Key) -> int:
    return sum(part is not None for part in key)


def parent_of(key: Key) -> Key:
    """The cell that this one is a part of."""
    level = _depth(key) - 1
    return key[:level] + (None,) * (len(key) - level)


def _measured(
    values: Float64, persons: Int64, keys: Sequence[Sequence[Key]]
) -> tuple[dict[Key, Measured], dict[Key, float]]:
    """Key -> requests, people, mean, standard error; key -> the variance between its people."""
    found: dict[Key, Measured] = {}
    scatters: dict[Key, float] = {}
    everybody = _within(values, persons, keys)
    for level in keys:
        names = list(dict.fromkeys(level))
        place = {name: n for n, name in enumerate(names)}
        own = np.array([place[name] for name in level], dtype=np.int64)
        requests, people, mean, scatter = _variance_by_person(values, persons, own)
        pooled = (people * scatter + PRIOR_PEOPLE * everybody) / (people + PRIOR_PEOPLE)
        error = np.sqrt(pooled / people)
        for n, name in enumerate(names):
            found[name] = (int(requests[n]), int(people[n]), float(mean[n]), float(error[n]))
            scatters[name] = float(scatter[n])
    return found, scatters


def _within(values: Float64, persons: Int64, keys: Sequence[Sequence[Key]]) -> float:
    """The mean variance between the people of a cell, of the finest level that has two in one."""
    for level in reversed(keys):
        place = {name: n for n, name in enumerate(dict.fromkeys(level))}
        own = np.array([place[name] for name in level], dtype=np.int64)
        _, people, _, scatter = _variance_by_person(values, persons, own)
        if (people > 1).any():
            return float(np.average(scatter, weights=np.maximum(people - 1, 0)))
    return NOTHING_KNOWN


def _variance_by_person(
    values: Float64, persons: Int64, cells: Int64
) -> tuple[Int64, Int64, Float64, Float64]:
    """Per cell: requests, people, mean, and the variance between people of their part in it."""
    n = int(cells.max()) + 1
    _, pair = np.unique(cells * (persons.max() + 1) + persons, return_inverse=True)
    own = np.zeros(pair.max() + 1, dtype=np.int64)
    own[pair] = cells
    sums, counts = np.bincount(pair, values), np.bincount(pair)
    requests = np.bincount(cells, minlength=n)
    people = np.bincount(own, minlength=n)
    mean = np.bincount(cells, values, minlength=n) / requests
    part = (sums - mean[own] * counts) / (requests / people)[own]
    scatter = np.bincount(own, part**2, minlength=n) / np.maximum(people - 1, 1)
    return requests, people, mean, scatter


def _level_variance(children: Sequence[tuple[Key, float, float]]) -> float:
    """How much true means vary around their parent's: (parent, mean, error) of every cell."""
    families: dict[Key, list[tuple[float, float]]] = {}
    for parent, mean, error in children:
        families.setdefault(parent, []).append((mean, error))
    told = [np.array(family) for family in families.values() if len(family) > 1]
    if not told:
        return 0.0
    widest = max(float(np.ptp(family[:, 0])) for family in told)
    if widest == 0:
        return 0.0
    grid = np.linspace(0, 2 * widest, _GRID)
    weight = np.zeros(_GRID)
    for family in told:
        means, errors = family[:, 0], family[:, 1]
        spread = errors**2 + grid[:, None] ** 2 + 1e-300
        total = (1 / spread).sum(axis=1)
        middle = (means / spread).sum(axis=1) / total
        away = ((means - middle[:, None]) ** 2 / spread).sum(axis=1)
        weight += -0.5 * (np.log(spread).sum(axis=1) + np.log(total) + away)
    likely = np.exp(weight - weight.max())
    return float((likely * grid**2).sum() / likely.sum())


def posterior(
    measured: dict[Key, Measured], parent: dict[Key, Key],
    spreads: Sequence[float], depth: int,
) -> dict[Key, tuple[float, float]]:  # fmt: skip
    """Key -> mean and standard deviation, given the variances of the levels.

    measured: key -> requests, people, mean, standard error; only the finest cells' count
    parent:   of every key but the root's        spreads: variance by level, the root's is not used
    """
    precision = dict.fromkeys(measured, 0.0)  # of what a node's own subtree says
    pull = dict.fromkeys(measured, 0.0)  # precision x mean
    told: dict[Key, tuple[float, float]] = {}  # what a node says to its parent
    order = sorted(measured, key=_depth, reverse=True)
    for key in order:
        if _depth(key) == depth:
            _, _, mean, error = measured[key]
            precision[key] = 1 / max(error**2, _TINY)
            pull[key] = mean * precision[key]
        if key in parent:
            spread = 1 / precision[key] + spreads[_depth(key)]
            told[key] = (1 / spread, pull[key] / precision[key] / spread)
            precision[parent[key]] += told[key][0]
            pull[parent[key]] += told[key][1]
    for key in reversed(order):
        if key in parent:
            above = parent[key]
            rest = precision[above] - told[key][0]
            if rest > 1e-12 * precision[above]:  # else the cell is all that there is
                spread = 1 / rest + spreads[_depth(key)]
                precision[key] += 1 / spread
                pull[key] += (pull[above] - told[key][1]) / rest / spread
    return {key: (pull[key] / precision[key], precision[key] ** -0.5) for key in measured}


_TINY = 1e-24  # below it a variance is none
