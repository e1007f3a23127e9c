"""Robots: they sweep the whole catalogue to a steady beat and never buy."""

import numpy as np
from numpy.typing import NDArray

from simulation.config import DAY_US, SECOND_US, SimulationConfig, Stage
from simulation.log import EventType, Log, new_log
from simulation.people import DEVICES
from simulation.world import World

SWEEP = 250  # items in one go
BEAT_SECONDS = (1.0, 4.0)  # between two looks, the same for all sweeps of a robot
JITTER_SECONDS = 0.005


def robot_count(config: SimulationConfig) -> int:
    """How many robots visit the shop."""
    if not config.dirt.robot_event_share:
        return 0
    return max(1, round(config.dirt.robots_per_person * (config.customers + config.visitors)))


def robot_visitor(world: World, robot: NDArray[np.int64]) -> NDArray[np.int64]:
    """The visitor number of each robot: after those of all people."""
    return len(world.people) * DEVICES + robot


def robot_events(world: World, chunk: int, chunks: int) -> Log:
    """The events of every chunks-th robot; sessions count from 0."""
    config, rng = world.config, world.config.rng(Stage.ROBOTS, chunk)
    robot = np.arange(chunk, robot_count(config), chunks)
    each = config.events * config.dirt.robot_event_share / max(robot_count(config), 1)
    sweeps = max(1, round(each / SWEEP))
    looks = round(each / sweeps)
    begin = rng.integers(0, config.days * DAY_US, (len(robot), sweeps, 1)) + config.start_us
    beat = rng.uniform(*BEAT_SECONDS, (len(robot), 1, 1))
    seconds = beat * np.arange(looks) + rng.normal(0, JITTER_SECONDS, (len(robot), sweeps, looks))
    at_us = begin + (seconds * SECOND_US).astype(np.int64)
    page = rng.integers(0, len(world.catalogue), (len(robot), 1, 1))
    item = (page + np.arange(sweeps * looks).reshape(1, sweeps, looks)) % len(world.catalogue)
    session = np.arange(len(robot) * sweeps).reshape(len(robot), sweeps, 1)
    visitor = robot_visitor(world, robot)[:, None, None]
    return _as_log(world, *np.broadcast_arrays(at_us, item, session, visitor))


def _as_log(world: World, *columns: NDArray[np.int64]) -> Log:
    """Views and reads of what can be found at the time."""
    at_us, item, session, visitor = (column.ravel() for column in columns)
    there = (world.catalogue.published_us[item] <= at_us) & (at_us < world.config.end_us)
    there &= (world.catalogue.ends_us[item] > at_us) & (at_us >= world.config.start_us)
    at_us, item, session, visitor = (c[there] for c in (at_us, item, session, visitor))
    article = world.catalogue.article[item]
    return new_log(
        len(item), np.where(article, EventType.READ, EventType.VIEW), item=item,
        occurred_us=at_us, session=session, visitor=visitor,
        duration_seconds=np.where(article, 1.0, np.nan),
    )  # fmt: skip
