"""What the system must find out by itself: written apart, for judging it only."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from simulation.appeal import click_probability
from simulation.config import SimulationConfig, Stage
from simulation.names import item_ids, user_ids, visitor_ids
from simulation.people import People
from simulation.robots import robot_count, robot_visitor
from simulation.tables import write_table
from simulation.world import World


def write_truth(out: Path, world: World) -> None:
    """Write tastes, persons, robots and click probabilities to out/truth."""
    truth = out / "truth"
    truth.mkdir(exist_ok=True)
    person_id = _person_ids(world.people)
    paths = [leaf.path for leaf in world.catalogue.leaves]
    tastes = dict(zip(paths, world.people.taste.T, strict=True))
    write_table(truth / "tastes.parquet", {"person_id": person_id, **tastes})
    robots = robot_visitor(world, np.arange(robot_count(world.config)))
    write_table(truth / "robots.parquet", {"visitor_id": visitor_ids(robots)})
    _write_persons(truth / "persons.parquet", world.people, person_id)
    _write_clicks(truth / "click_probabilities.parquet", world)


def _person_ids(people: People) -> pa.Array:
    """The user id of a customer, the visitor id of anybody else."""
    n = people.customers
    return pa.concat_arrays([user_ids(np.arange(n)), visitor_ids(people.device[n:, 0])])


def _write_persons(path: Path, people: People, person_id: pa.Array) -> None:
    """One row per person and device."""
    person, slot = np.nonzero(people.device >= 0)
    user = user_ids(person).to_numpy(zero_copy_only=False)
    write_table(
        path,
        {
            "person_id": person_id.take(pa.array(person)),
            "user_id": pa.array(user, mask=person >= people.customers),
            "visitor_id": visitor_ids(people.device[person, slot]),
            "discount_sensitivity": people.bargain[person],
            "price_level": people.price_level[person],
            "article_share": people.reading[person],
            "relative_activity": people.activity[person],
        },
    )


def _write_clicks(path: Path, world: World) -> None:
    """True click probabilities at the end of the log, of a sample of customers, all items."""
    customer = sample_customers(world.config, len(world.catalogue))
    item = np.arange(len(world.catalogue))
    chance = click_probability(
        world.shelf, world.people, customer[:, None], item, world.config.end_us - 1
    )
    rows = np.repeat(np.arange(len(customer)), len(item))
    write_table(
        path,
        {
            "user_id": user_ids(customer).take(pa.array(rows)),
            "item_id": pa.array(item_ids(world.catalogue)).take(
                pa.array(np.tile(item, len(customer)))
            ),
            "probability": chance.ravel(),
        },
    )


def sample_customers(config: SimulationConfig, items: int) -> NDArray[np.int64]:
    """(n,) sorted customer numbers, so many that the table stays small."""
    size = max(1, min(config.customers, config.truth_cells // items))
    return np.sort(config.rng(Stage.TRUTH).choice(config.customers, size, replace=False))
