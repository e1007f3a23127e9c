"""Everybody who visits: tastes, habits, devices, consent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.catalogue import STYLES, branch_demand
from simulation.config import DAY_US, HOUR_US, SECOND_US, SimulationConfig, Stage
from simulation.words import Leaf

DEVICES = 2  # visitor numbers DEVICES * person + 0 or 1; robots come after everybody
EMAIL_FREQUENCIES = (0.25, 0.5, 1.0)  # newsletters per week


@dataclass(frozen=True)
class People:
    """Customers first, then visitors who never log in; an item of a field per person.

    taste:        (n, n_leaves) float32, rows sum to 1: the share of a person's attention
    style:        (n, STYLES) float32; price_level: (n,) float32, standard scores
    bargain:      (n,) float32, 0 ignores discounts, 1 hunts them
    reading:      (n,) float32, share of articles among the items looked at
    activity:     (n,) mean 1, a power law
    first_day, last_day: (n,) days since the start between which the person visits
    joined_us:    (n,) microseconds since 1970, far future for visitors
    device:       (n, DEVICES) visitor numbers, -1 none; the first may be shared
    newsletters_per_week: (n,) 0 without consent
    """

    customers: int
    taste: NDArray[np.float32]
    style: NDArray[np.float32]
    price_level: NDArray[np.float32]
    bargain: NDArray[np.float32]
    reading: NDArray[np.float32]
    activity: NDArray[np.float64]
    first_day: NDArray[np.float64]
    last_day: NDArray[np.float64]
    joined_us: NDArray[np.int64]
    device: NDArray[np.int64]
    newsletters_per_week: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.taste)


def make_people(config: SimulationConfig, leaves: Sequence[Leaf]) -> People:
    """Draw everybody, independently of how the log is cut into chunks."""
    rng, n = config.rng(Stage.PEOPLE), config.customers + config.visitors
    customer = np.arange(n) < config.customers
    joined_day, first_day, last_day = _lifetimes(rng, config, customer)
    joined_us = config.start_us + (joined_day * DAY_US).astype(np.int64) // SECOND_US * SECOND_US
    frequency = rng.choice(np.array(EMAIL_FREQUENCIES, dtype=np.float32), n)
    return People(
        customers=config.customers,
        taste=_tastes(rng, config, leaves, n),
        style=rng.standard_normal((n, STYLES), dtype=np.float32),
        price_level=(0.7 * rng.standard_normal(n, dtype=np.float32)),
        bargain=rng.beta(0.6, 1.2, n).astype(np.float32),
        reading=rng.beta(1.3, 3.0, n).astype(np.float32),
        activity=_activity(rng, customer),
        first_day=first_day,
        last_day=last_day,
        joined_us=joined_us,
        device=_devices(rng, config, customer),
        newsletters_per_week=np.where(customer & (rng.random(n) < 0.7), frequency, 0),
    )


def _tastes(
    rng: np.random.Generator, config: SimulationConfig, leaves: Sequence[Leaf], n: int
) -> NDArray[np.float32]:
    """A Dirichlet over branches times one over the leaves of each: neighbours share fans."""
    names = list(dict.fromkeys(leaf.branch.name for leaf in leaves))
    demand = branch_demand(leaves)
    taste = np.empty((n, len(leaves)), dtype=np.float32)
    for name in names:
        own = [row for row, leaf in enumerate(leaves) if leaf.branch.name == name]
        alpha = config.branches_concentration * len(names) * demand[own].sum()
        within = rng.standard_gamma(config.leaves_concentration, (n, len(own))) + 1e-9
        weight = rng.standard_gamma(alpha, (n, 1)) + 1e-9
        taste[:, own] = weight * within / within.sum(axis=1, keepdims=True)
    taste /= taste.sum(axis=1, keepdims=True)
    return np.asarray(0.95 * taste + 0.05 * demand, dtype=np.float32)  # nobody hates all the rest


def _activity(rng: np.random.Generator, customer: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Few visit often, most now and then; strangers least."""
    activity = np.minimum(1 + rng.pareto(1.5, len(customer)), 40.0)
    activity *= np.where(customer, 1.0, 0.3)
    return np.asarray(activity / activity.mean())


def _lifetimes(
    rng: np.random.Generator, config: SimulationConfig, customer: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Day of joining, of the first visit and of the last, counted from the start."""
    n, days = len(customer), config.days
    old = rng.random(n) < 0.6
    joined = np.where(old, -rng.exponential(400.0, n) - 1, days * rng.uniform(0.03, 0.97, n))
    before = np.where(old, 0.0, joined - rng.uniform(0, 20, n))  # visits before joining
    some_day = rng.uniform(0, days, n)
    first = np.clip(np.where(customer, before, some_day), 0, days)
    leaves_at = np.maximum(first, joined) + rng.uniform(0.1, 1.0, n) * days
    stays = np.where(rng.random(n) < 0.8, days, leaves_at)
    last = np.where(customer, stays, first + 1 + rng.exponential(10.0, n))
    return np.where(customer, joined, 10 * days + 3650), first, np.clip(last, 0, days)


def _devices(
    rng: np.random.Generator, config: SimulationConfig, customer: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """(n, DEVICES) visitor numbers; some neighbours (2k, 2k + 1) share the first device."""
    n = len(customer)
    device = np.arange(n * DEVICES, dtype=np.int64).reshape(n, DEVICES)
    device[~(customer & (rng.random(n) < 0.35)), 1] = -1
    pairs = rng.random(config.customers // 2) < config.shared_device_share
    first = 2 * np.flatnonzero(pairs)
    device[first + 1, 0] = device[first, 0]
    return device


def weeks_left(config: SimulationConfig, people: People) -> NDArray[np.float64]:
    """(n,) weeks of the log in which a person can get the newsletter."""
    begin = np.clip(people.joined_us, config.start_us, config.end_us)
    return np.asarray((config.end_us - begin) / (7 * 24 * HOUR_US))
