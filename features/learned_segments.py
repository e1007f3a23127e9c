"""Learned segments: groups of people who behave alike, with names that a marketer understands.

k-means (Lloyd 1982, seeded by k-means++, Arthur & Vassilvitskii 2007) on people features, of
everybody or of a larger segment. A group is named by what sets it apart, and keeps number and name
from build to build as long as it is made of the same people.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from features import segment_names
from features.segment_names import HOUR, Profile, trait
from features.types import Bool, Bytes, Float32, Float64, Int16, Int64

CLIP = 3.0  # standard deviations: nobody is so far out as to be a group alone
OUTERMOST = 0.01  # of the people, at either end
SAMPLE = 200_000  # people who shape the groups; everybody is then put into the nearest
SAME = 1 / 3  # Jaccard of two groups of one size that share half of their people
THEME_WEIGHT = {"interest": 3.0}  # every other theme counts 1, however many columns speak of it
_STARTS = 4  # of k-means from scratch; the best is taken


@dataclass(frozen=True)
class Candidates:
    """The people to group.

    ids:     (n,) distinct bytes, as in an `IdTable`
    columns: name -> (n,) float64, NaN where unknown: the features that `segment_names.TRAITS`
             lists, and shares named "interest: CATEGORY" and "channel: NAME"
    rows:    (n,) who takes part
    """

    ids: Bytes
    columns: Mapping[str, Float64]
    rows: Bool

    def __post_init__(self) -> None:
        for name, values in self.columns.items():
            trait(name)  # raises for a column that cannot be spoken of
            if len(values) != len(self.ids):
                raise ValueError(f"{name}: {len(values)} values for {len(self.ids)} people")

    def in_order(self) -> Int64:
        """Who takes part, in the order of their ids: the order of the rows must not matter."""
        chosen = np.flatnonzero(self.rows)
        chosen = chosen[np.argsort(self.ids[chosen], kind="stable")]
        ids = self.ids[chosen]
        if (ids[1:] == ids[:-1]).any():
            raise ValueError("ids of people must be distinct")
        return chosen


@dataclass(frozen=True)
class Scaling:
    """How features become points whose distance says how alike two people are.

    Counts, money and days are taken as log1p, an hour as a point on a circle; then all is
    standardised and clipped. What is unknown lies in the middle, so it makes no group by itself.

    features: names, in order; the hour of the day makes two columns, every other feature one
    middle, spread: (n_columns,) mean and standard deviation of what is known, its outermost
              values (`OUTERMOST`) drawn in; spread 0: constant
    """

    features: list[str]
    middle: Float64
    spread: Float64

    @classmethod
    def of(cls, columns: Mapping[str, Float64], rows: Int64) -> Scaling:
        """The scaling of the named `rows`."""
        known = [_usual(part[np.isfinite(part)]) for name in columns
                 for part in _shaped(name, columns[name][rows])]  # fmt: skip
        middle = np.array([part.mean() if part.size else 0 for part in known], np.float64)
        spread = np.array([part.std() if part.size else 0 for part in known], np.float64)
        return cls(list(columns), middle, np.where(spread > 1e-9, spread, 0))

    @property
    def places(self) -> list[slice]:
        """The columns of each feature."""
        ends = np.cumsum([1 + (name == HOUR) for name in self.features]).tolist()
        return [slice(*pair) for pair in zip([0, *ends[:-1]], ends, strict=False)]

    @property
    def weights(self) -> Float64:
        """(n_columns,) by which a standard deviation counts, so that no theme outvotes another."""
        wide = [(trait(name).theme, place.stop - place.start)
                for name, place in zip(self.features, self.places, strict=True)]  # fmt: skip
        themes = np.array([theme for theme, width in wide for _ in range(width)], dtype=object)
        counts = [max((self.spread[themes == theme] > 0).sum(), 1) for theme in themes]
        shares = [THEME_WEIGHT.get(theme, 1.0) for theme in themes]
        weights: Float64 = np.sqrt(np.array(shares, np.float64) / np.array(counts, np.float64))
        return weights

    def points(self, columns: Mapping[str, Float64], rows: Int64 | slice) -> Float32:
        """(len(rows), n_columns), rounded so that the last bits of a sum cannot move anybody."""
        parts = [part for name in self.features for part in _shaped(name, columns[name][rows])]
        scale, weights = np.where(self.spread > 0, self.spread, np.inf), self.weights
        points = np.empty((len(parts[0]) if parts else 0, len(parts)), np.float32)
        for column, part in enumerate(parts):
            standard = np.clip((part - self.middle[column]) / scale[column], -CLIP, CLIP)
            points[:, column] = np.round(np.nan_to_num(standard), 4) * weights[column]
        return points

    def moved(self, centres: Float64, to: Scaling) -> Float64:
        """`centres` among these points as centres among those of another scaling."""
        plain = centres / self.weights * self.spread + self.middle
        return (plain - to.middle) / np.where(to.spread > 0, to.spread, np.inf) * to.weights


def _usual(known: Float64) -> Float64:
    """One fantastic value must not make all others look alike."""
    if not known.size:
        return known
    low, high = np.quantile(known, [OUTERMOST, 1 - OUTERMOST])
    return np.clip(known, low, high)


def _shaped(name: str, values: Float64) -> list[Float64]:
    """The columns of one feature before they are standardised; what is no number is unknown."""
    values = np.where(np.isfinite(values), values, np.nan)
    if name == HOUR:
        angle = values * (2 * np.pi / 24)
        return [np.cos(angle), np.sin(angle)]
    return [np.sign(values) * np.log1p(np.abs(values)) if trait(name).skewed else values]


@dataclass(frozen=True)
class LearnedGroups:
    """Groups of people, numbered from 0.

    ids, labels: (n,) everybody and the group of each, -1: took no part
    names:       of the groups, distinct
    sizes:       (n_groups,) people
    centres:     (n_groups, n_columns) among the points of `scaling`
    profile:     what sets the groups apart
    """

    ids: Bytes
    labels: Int16
    names: list[str]
    sizes: Int64
    centres: Float64
    scaling: Scaling
    profile: Profile

    def describe(self, group: int) -> str:
        """One sentence: how many they are, and the figures that set them apart."""
        return segment_names.described(self.profile, group, int(self.sizes[group]))

    def assign(self, columns: Mapping[str, Float64]) -> Int16:
        """(n,) the nearest group of each person, the one that `learn` would give; -1 without any.

        columns: as `Candidates.columns`; raises ValueError where one is missing
        """
        if missing := [name for name in self.scaling.features if name not in columns]:
            raise ValueError(f"groups were learned on {missing}; give these columns too")
        return _nearest(self.scaling.points(columns, slice(None)), self.centres)


def learn(
    candidates: Candidates, groups: int, *, seed: int, previous: LearnedGroups | None = None,
    taken: Collection[str] = (),
) -> LearnedGroups:  # fmt: skip
    """Part the candidates into at most `groups` groups; fewer where fewer people differ.

    A group that shares enough people with one of the `previous` build (`SAME`) keeps its name, and
    its number unless there are no longer so many. `taken`: names that other segments have. The same
    people give the same groups, in whatever order they come.
    """
    if groups < 1:
        raise ValueError(f"groups is {groups}; give at least 1")
    rows = candidates.in_order()
    scaling = Scaling.of(candidates.columns, rows)
    points = scaling.points(candidates.columns, rows)
    centres = _centres(points, groups, seed, _start(previous, scaling, groups))
    inhabited, found = np.unique(_nearest(points, centres), return_inverse=True)
    centres = centres[inhabited]
    kept = {} if previous is None else _matched(candidates.ids[rows], found, previous)
    numbers = _numbered(np.bincount(found, minlength=len(centres)), kept)
    labels = np.full(len(candidates.ids), -1, np.int16)
    labels[rows] = numbers[found]
    centres = centres[np.argsort(numbers)]
    profile = _profile(candidates.columns, rows, labels[rows], centres, scaling)
    old = {} if previous is None else {
        int(numbers[new]): previous.names[number] for new, number in kept.items()
        if previous.names[number] not in taken
    }  # fmt: skip
    names = segment_names.named(profile, old, taken)
    sizes = np.bincount(labels[rows], minlength=len(centres)).astype(np.int64)
    return LearnedGroups(candidates.ids, labels, names, sizes, centres, scaling, profile)


def _start(previous: LearnedGroups | None, scaling: Scaling, groups: int) -> Float64 | None:
    """Where the previous build ended, if it can be compared."""
    if previous is None or previous.scaling.features != scaling.features:
        return None
    if len(previous.names) != groups:
        return None
    return previous.scaling.moved(np.asarray(previous.centres), scaling)


def _centres(points: Float32, groups: int, seed: int, start: Float64 | None) -> Float64:
    from sklearn.cluster import KMeans  # who only assigns, as serving does, needs no scikit-learn

    if len(points) > SAMPLE:
        drawn = np.random.default_rng(seed).choice(len(points), SAMPLE, replace=False)
        points = points[np.sort(drawn)]
    groups = _distinct(points, groups)
    if not groups:
        return np.zeros((0, points.shape[1]))
    if start is None or len(start) != groups:
        means = KMeans(groups, n_init=_STARTS, random_state=seed)
    else:
        means = KMeans(groups, init=start.astype(np.float32), n_init=1, random_state=seed)
    with threadpool_limits(1):  # threads add up in any order: two builds would differ
        return np.asarray(means.fit(points).cluster_centers_, dtype=np.float64)


def _distinct(points: Float32, most: int) -> int:
    """How many different points there are, counted up to `most`."""
    few = len(np.unique(points[: 100 * most], axis=0))
    return min(most, few if few >= most else len(np.unique(points, axis=0)))


def _nearest(points: Float32, centres: Float64) -> Int16:
    if not len(centres):
        return np.full(len(points), -1, np.int16)
    near = centres.astype(np.float32)
    distance = (near**2).sum(axis=1) - 2 * (points @ near.T)  # less what is the same for all
    nearest: Int16 = distance.argmin(axis=1).astype(np.int16)
    return nearest


def _matched(ids: Bytes, found: Int64, previous: LearnedGroups) -> dict[int, int]:
    """Number of a group now -> its number in the previous build, by the people of both builds.

    The pairs that share most in all (Hungarian method), where Jaccard reaches `SAME`: at that each
    of two groups of one size has half of its people in the other.
    """
    was = np.flatnonzero(previous.labels >= 0)
    _, mine, theirs = np.intersect1d(
        ids, previous.ids[was], assume_unique=True, return_indices=True
    )
    shape = (int(found.max(initial=-1)) + 1, len(previous.names))
    both = np.zeros(shape)
    np.add.at(both, (found[mine], previous.labels[was][theirs]), 1)
    either = both.sum(axis=1, keepdims=True) + both.sum(axis=0) - both
    share = both / np.maximum(either, 1)
    pairs = zip(*linear_sum_assignment(share, maximize=True), strict=True)
    return {int(new): int(old) for new, old in pairs if share[new, old] >= SAME}


def _numbered(sizes: Int64, kept: dict[int, int]) -> Int64:
    """The number of each group: its old one, else the lowest free one, the largest group first."""
    numbers = np.array([kept.get(group, -1) for group in range(len(sizes))], np.int64)
    numbers[numbers >= len(sizes)] = -1
    free = np.setdiff1d(np.arange(len(sizes)), numbers)
    waiting = np.flatnonzero(numbers < 0)
    numbers[waiting[np.argsort(-sizes[waiting], kind="stable")]] = free
    return numbers


def _profile(
    columns: Mapping[str, Float64], rows: Int64, labels: Int16, centres: Float64, scaling: Scaling
) -> Profile:
    groups, standard = len(centres), centres / scaling.weights
    effects = np.zeros((groups, len(columns)))
    means, overall = np.zeros((groups, len(columns))), np.zeros(len(columns))
    everybody = np.zeros(len(rows), np.int16)
    for feature, (name, place) in enumerate(zip(columns, scaling.places, strict=True)):
        values = columns[name][rows]
        means[:, feature], steady = _means(name, values, labels, groups)
        overall[feature] = _means(name, values, everybody, 1)[0][0]
        far = standard[:, place]
        effects[:, feature] = np.hypot(*far.T) * steady if name == HOUR else far[:, 0]
    return Profile(list(columns), effects, means, overall)


def _means(name: str, values: Float64, labels: Int16, groups: int) -> tuple[Float64, Float64]:
    """The mean of what is known in each group, and for hours how far they agree (0 to 1)."""
    known = np.isfinite(values)
    values, labels = values[known], labels[known]
    count = np.bincount(labels, minlength=groups).astype(np.float64)
    count[count == 0] = np.nan

    def mean(part: Float64) -> Float64:
        return np.bincount(labels, part, minlength=groups) / count

    if name != HOUR:
        return mean(values), np.ones(groups)
    x, y = (mean(part) for part in _shaped(name, values))
    return np.round(np.arctan2(y, x) * (12 / np.pi)) % 24, np.nan_to_num(np.hypot(x, y))
