"""What another policy would have earned, from the logs of the one that ran.

A row is a shown slot. Its weight is target / propensity: how much more often the policy to be
judged would have shown this item in this slot. Three estimators of the mean reward of a slot:

ips            mean of weight x reward (Horvitz & Thompson 1952): no bias, much noise
snips          the same over the mean weight (Swaminathan & Joachims 2015): a small bias that fades
               with the sample, less noise, never outside the range of the rewards
doubly_robust  a model's expectation, corrected by the weighted errors that it made on what was
               shown (Dudik, Langford & Li 2011): no bias, least noise where the model is good

All take it that the logged propensities are the true ones, that a slot's reward depends on its
context and its own item, not on the other slots' items, and that what the policy would show could
have been shown. `judge` and `difference` refuse where the logs cannot tell; the three functions
themselves compute whatever they are given. Clipped weights trade noise for a bias, which is bounded
in the estimate; they change nothing about what is refused.

Intervals are for 95 % and by cluster: from sums of the linearised influence over each cluster's
rows (Liang & Zeger 1986). Those sums are very skewed, for clicks are rare and great weights rarer,
so the t interval is corrected for their skewness (Hall 1992, "On the removal of skewness by
transformation"): at about 10 expected rewards the plain one held the truth in 92 % of simulated
cases, missing it on the upper side, this one in 97 %.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from features.types import Bool, Float64, Int64

Name = Literal["ips", "snips", "doubly_robust"]


class TooLittleOverlap(ValueError):
    """The logs cannot tell what the policy would have earned; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Below what `judge` and `difference` refuse."""

    effective_sample: float = 100.0  # clusters; so no cluster has more than a tenth of the weight
    rewards: float = 10.0  # expected among the effective rows at the logs' own rate
    weight_level: float = 0.999  # of the interval of the mean weight, which has to hold 1


LIMITS = Limits()
ROUNDING = 1e-7  # as good as nothing


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What was shown with which probability, and what came of it; one row per shown slot.

    reward:     (n,) float64, any unit
    propensity: (n,) float64 in (0, 1], with which the logging policy showed this item here
    target:     (n,) float64 in [0, 1], with which the policy to be judged would show it here
    cluster:    (n,) int64, person (or decision): rows of different clusters are independent
    predicted_shown:  (n,) float64, expected reward of the shown item, or None; from a model that
                      has not seen this cluster
    predicted_target: (n,) float64, expected reward of the policy to be judged, here; or None

    ValueError names the field, the first wrong row, and what to do.
    """

    reward: Float64
    propensity: Float64
    target: Float64
    cluster: Int64
    predicted_shown: Float64 | None = None
    predicted_target: Float64 | None = None

    def __post_init__(self) -> None:
        if not len(self.reward):
            raise ValueError("reward: no rows; there is nothing to judge a policy by")
        for name in (field.name for field in fields(self)):
            if (values := getattr(self, name)) is not None:
                _check_column(name, values, len(self.reward))
        if (self.predicted_shown is None) != (self.predicted_target is None):
            raise ValueError("give both predicted_shown and predicted_target, or neither")
        _check("propensity", self.propensity, (self.propensity <= 0) | (self.propensity > 1),
               "the logging policy could not have shown it so; log the propensity, in (0, 1], "
               "that the placement's exploration gave this item in this slot")  # fmt: skip
        _check("target", self.target, (self.target < 0) | (self.target > 1),
               "give the probability with which the policy would show this item in this "
               "slot")  # fmt: skip

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def weight(self) -> Float64:
        """(n,) how much more often the policy would have shown this item here."""
        return np.asarray(self.target / self.propensity)

    @cached_property
    def groups(self) -> tuple[Int64, int]:
        """Each row's cluster, (n,) numbered from 0, and how many there are."""
        distinct, group = np.unique(self.cluster, return_inverse=True)
        return group, distinct.size

    def by_cluster(self, values: Float64) -> Float64:
        """(clusters,) sums of `values` (n,)."""
        group, count = self.groups
        return np.bincount(group, values, minlength=count).astype(np.float64)


@dataclass(frozen=True)
class Estimate:
    """The mean reward of a slot under a policy, or the difference of two, with 95 %.

    effective_sample:     clusters that would tell as much if all weighed the same (Kish 1965);
                          of a difference: the smaller one of the two
    largest_weight_share: of all weight, on the heaviest cluster; of a difference: the larger one
    bias_bound:           how far clipping may have moved `value`, beside what the interval says
    """

    name: Name
    value: float
    low: float
    high: float
    effective_sample: float
    rows: int
    clusters: int
    largest_weight_share: float
    bias_bound: float = 0.0


def ips(logged: Logged, clip: float | None = None) -> Estimate:
    """Inverse propensity score; weights above `clip` count as `clip`, at the price of a bias."""
    return _estimate("ips", _parts("ips", logged, clip), logged)


def snips(logged: Logged, clip: float | None = None) -> Estimate:
    """Self-normalised inverse propensity score; TooLittleOverlap where every weight is 0."""
    return _estimate("snips", _parts("snips", logged, clip), logged)


def doubly_robust(logged: Logged, clip: float | None = None) -> Estimate:
    """Doubly robust; ValueError without predictions."""
    return _estimate("doubly_robust", _parts("doubly_robust", logged, clip), logged)


def judge(logged: Logged, limits: Limits = LIMITS, clip: float | None = None) -> list[Estimate]:
    """Every estimate that the logs allow; raises TooLittleOverlap where they allow none."""
    if why := refusal(logged, limits):
        raise TooLittleOverlap(why)
    return [_estimate(name, _parts(name, logged, clip), logged) for name in _names(logged)]


def difference(
    logged: Logged, other_target: Float64, other_predicted: Float64 | None = None,
    limits: Limits = LIMITS,
) -> list[Estimate]:  # fmt: skip
    """What another policy would earn more than `logged.target`, both judged on the same rows.

    other_target:    (n,) as `target`; the propensities themselves stand for the policy that ran
    other_predicted: (n,) as `predicted_target`; without it there is no doubly robust difference
    Raises TooLittleOverlap where one of the two cannot be judged.
    """
    shown = None if other_predicted is None else logged.predicted_shown
    other = replace(
        logged, target=other_target, predicted_shown=shown, predicted_target=other_predicted
    )
    for which, policy in (("the first policy", logged), ("the other policy", other)):
        if why := refusal(policy, limits):
            raise TooLittleOverlap(f"{which}: {why}")
    pairs = [(name, _parts(name, logged), _parts(name, other)) for name in _names(other)]
    return [
        _estimate(name, _Parts(b.value - a.value, b.influence - a.influence), logged, other)
        for name, a, b in pairs
    ]


def refusal(logged: Logged, limits: Limits = LIMITS) -> str | None:
    """Why these logs cannot tell what the policy would earn, in a sentence; None: they can."""
    more = "log for longer, or raise exploration_share"
    weights = logged.by_cluster(logged.weight)
    if not weights.any():
        return f"the logs never show what the policy would show; {more}"
    mean = float(logged.weight.mean())
    influence = logged.by_cluster(logged.weight - mean) / len(logged)
    low, high = bounds(mean, influence, limits.weight_level)
    if not low - ROUNDING <= 1 <= high + ROUNDING:
        return (
            f"the mean weight is {mean:.3g} ({low:.3g} to {high:.3g}) and should be 1: the "
            "propensities are not those that were in force, or the policy would show what the "
            "logging policy could not"
        )
    effective, fewest = _kish(weights), limits.effective_sample
    if effective < fewest:
        of = f"{effective:.0f} of {weights.size:,} clusters"
        return f"the effective sample is {of}, below {fewest:.0f}; {more}"
    rewards = _kish(logged.weight) * np.count_nonzero(logged.reward) / len(logged)
    if rewards < limits.rewards:
        has = f"has room for {rewards:.1f} rewards"
        return f"the effective sample {has}, below {limits.rewards:.0f}; {more}"
    return None


def bounds(value: float, influence: Float64, level: float = 0.95) -> tuple[float, float]:
    """Bounds of an estimate whose error is about the sum of `influence` (clusters,).

    With T = (value - truth) / s and skewness a of the sum, T + a T^2 / 3 + a^2 T^3 / 27 + a / 6 is
    nearly normal (Hall 1992); it is solved for the truth here, with t for the normal
    and `level` the share of intervals that are to hold the truth.
    """
    count, squares = influence.size, float(influence @ influence)
    if count < 2:
        return -np.inf, np.inf
    if squares == 0:
        return value, value
    error = np.sqrt(squares * count / (count - 1))
    skewness = float((influence**3).sum() / squares**1.5)
    bound = stats.t.ppf((1 + level) / 2, count - 1)
    if abs(skewness) < ROUNDING:  # the limit of what follows
        return value - error * bound, value + error * bound
    both = 1 + skewness * (np.array([bound, -bound]) - skewness / 6)
    low, high = value - error * 3 / skewness * (np.cbrt(both) - 1)
    return float(low), float(high)


@dataclass(frozen=True)
class ActionMeans:
    """A small reward model: the mean reward of each action, learned on the other folds' people.

    An action is an item, or an item in a slot or a segment, as the caller numbers them.

    fold:  (n,) int64, of each row; all rows of a cluster are in one
    means: (folds, n_actions) float64, learned on the rows of all other folds
    """

    fold: Int64
    means: Float64

    def of(self, actions: Int64) -> Float64:
        """(n,) expected reward of one action per row."""
        return self.means[self.fold, actions]

    def under(self, policy: Float64, context: Int64) -> Float64:
        """(n,) expected reward of a policy: (contexts, n_actions) probabilities, and (n,) rows."""
        return (self.means @ policy.T)[self.fold, context]


def action_means(
    logged: Logged, actions: Int64, n_actions: int, folds: int = 5, seed: int = 0
) -> ActionMeans:
    """Fit the model to (n,) shown `actions`, cross-fitted by cluster (Chernozhukov et al. 2018)."""
    _check("actions", actions, (actions < 0) | (actions >= n_actions),
           f"number the actions from 0 to {n_actions - 1}")  # fmt: skip
    group, count = logged.groups
    fold = (np.random.default_rng(seed).permutation(count) % folds)[group]
    others = [fold != one for one in range(folds)]
    means = [_shrunken(logged.reward[rows], actions[rows], n_actions) for rows in others]
    return ActionMeans(fold, np.stack(means))


def _shrunken(reward: Float64, actions: Int64, n_actions: int) -> Float64:
    """(n_actions,) means shrunk to the overall one by credibility (Bühlmann & Straub 1970).

    With few rows or little difference between actions, an action has the overall mean.
    """
    rows = np.bincount(actions, minlength=n_actions).astype(np.float64)
    overall = float(reward.mean()) if reward.size else 0.0
    above = np.bincount(actions, reward - overall, minlength=n_actions)
    means = np.divide(above, rows, out=np.zeros(n_actions), where=rows > 0)
    seen, total = np.count_nonzero(rows), rows.sum()
    within = between = 0.0
    if 1 < seen < total:
        within = float(((reward - overall - means[actions]) ** 2).sum()) / (total - seen)
        between = (rows @ means**2 - (seen - 1) * within) / (total - rows @ rows / total)
    believed = above / (rows + within / between) if between > 0 else np.zeros(n_actions)
    return np.asarray(overall + believed)


class _Parts(NamedTuple):
    """An estimate, the influence (n,) of each row on it, and what clipping may have moved it."""

    value: float
    influence: Float64
    bias_bound: float = 0.0


def _parts(name: Name, logged: Logged, clip: float | None = None) -> _Parts:
    if clip is not None and not clip > 0:
        raise ValueError(f"clip is {clip}; give a weight above 0, or None")
    reward, full, n = logged.reward, logged.weight, len(logged)
    weight = full if clip is None else np.minimum(full, clip)
    cut = float((full - weight).sum())
    if name == "snips":
        if (total := float(weight.sum())) == 0:
            raise TooLittleOverlap("the logs never show what the policy would show")
        value = float(weight @ reward) / total
        bias = float(np.ptp(reward)) * cut / (total + cut)
        return _Parts(value, weight * (reward - value) / total, bias)
    expected: Float64 | float = 0.0
    surprise = reward
    if name == "doubly_robust":
        if logged.predicted_shown is None or logged.predicted_target is None:
            raise ValueError("doubly robust needs predictions; `action_means` can make them")
        expected, surprise = logged.predicted_target, reward - logged.predicted_shown
    each = expected + weight * surprise
    value = float(each.mean())
    return _Parts(value, (each - value) / n, float(np.abs(surprise).max()) * cut / n)


def _names(logged: Logged) -> tuple[Name, ...]:
    both: tuple[Name, ...] = ("ips", "snips")
    return both if logged.predicted_target is None else (*both, "doubly_robust")


def _estimate(name: Name, parts: _Parts, *judged: Logged) -> Estimate:
    """An estimate about one policy, or two, judged on the same rows."""
    logs = judged[0]
    low, high = bounds(parts.value, logs.by_cluster(parts.influence))
    weights = [one.by_cluster(one.weight) for one in judged]
    return Estimate(
        name, parts.value, low, high,
        effective_sample=min(_kish(w) for w in weights),
        rows=len(logs),
        clusters=logs.groups[1],
        largest_weight_share=max(float(w.max() / w.sum()) if w.any() else 0.0 for w in weights),
        bias_bound=parts.bias_bound,
    )  # fmt: skip


def _kish(weights: Float64) -> float:
    """Effective sample size: how many equal weights would be as noisy (Kish 1965)."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _check_column(name: str, values: Float64 | Int64, rows: int) -> None:
    if values.shape != (rows,):
        raise ValueError(f"{name} has shape {values.shape}, not ({rows},): one for each row")
    if values.dtype.kind not in ("iu" if name == "cluster" else "iuf"):
        raise ValueError(f"{name} has dtype {values.dtype}; give numbers (of clusters: integers)")
    _check(name, values, ~np.isfinite(values), "leave the row out, or mend it")


def _check(name: str, values: Float64 | Int64, wrong: Bool, advice: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} of row {row} is {values[row]}: {advice}")
