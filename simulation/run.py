"""The simulation from end to end, in bounded memory."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from simulation.buying import site_events
from simulation.config import SimulationConfig, SimulationReport, Stage
from simulation.dirt import soil
from simulation.log import EVENT_TYPES, NONE, Log
from simulation.mail import expected_mail, mail_events, mail_factor
from simulation.names import item_ids, user_ids, visitor_ids
from simulation.people import DEVICES
from simulation.robots import robot_count, robot_events
from simulation.shop import links, write_customers, write_items, write_preferences
from simulation.tables import EVENTS, IDENTITIES, EventNames, table_writer
from simulation.truth import write_truth
from simulation.wording import make_wording
from simulation.world import World, make_world

Progress = Callable[[str, float], None]
PILOT_SESSIONS = 4_000  # tried out to learn how many events a session makes


def simulate(
    config: SimulationConfig, out: Path, *, progress: Progress | None = None
) -> SimulationReport:
    """Write the tables, pictures and feeds.yaml of a simulated shop to `out`, and its truth.

    events.parquet comes in chunks of people, one row group each: it is ordered by arrival within
    a row group only, so a reader sorts by time itself. The same config makes the same bytes.
    progress: called with a stage and the share of it that is done (0–1)
    """
    began = time.perf_counter()
    tell = progress or _quiet
    out.mkdir(parents=True, exist_ok=True)
    tell("world", 0.0)
    world = make_world(config)
    _write_tables(out, world)
    counts, dirt, chunks = _write_log(out, world, tell)
    tell("truth", 0.0)
    write_truth(out, world)
    tell("truth", 1.0)
    return SimulationReport(
        events=counts.total(), by_type={name: counts[name] for name in EVENT_TYPES},
        dirt=dict(dirt), chunks=chunks, seconds=time.perf_counter() - began,
        customers=config.customers, visitors=config.visitors, robots=robot_count(config),
        items=config.items,
    )  # fmt: skip


def _quiet(stage: str, share: float) -> None:
    """Tell nobody."""


def _write_tables(out: Path, world: World) -> None:
    """All tables but the log and what is learnt from it."""
    config, catalogue, people = world.config, world.catalogue, world.people
    write_items(out, config, catalogue, make_wording(config, catalogue))
    write_customers(out, config, people)
    write_preferences(out, config, people, catalogue)
    shutil.copyfile(Path(__file__).with_name("feeds.yaml"), out / "feeds.yaml")


def _write_log(out: Path, world: World, tell: Progress) -> tuple[Counter[str], Counter[str], int]:
    """Write events.parquet and identities.parquet, chunk by chunk."""
    counts: Counter[str] = Counter()
    dirt: Counter[str] = Counter()
    names, visits = _event_names(world), _visits(world)
    bounds = _chunk_bounds(world, visits)
    first_event = first_session = 0
    with (
        table_writer(out / "events.parquet", EVENTS) as events,
        table_writer(out / "identities.parquet", IDENTITIES) as identities,
    ):
        for chunk, (log, found, linked) in enumerate(_chunks(world, visits, bounds)):
            log["event"] += first_event
            log["session"][log["session"] != NONE] += first_session
            first_event = int(log["event"].max(initial=first_event)) + 1
            first_session = int(log["session"].max(initial=first_session)) + 1
            events.write_table(names.table(log))
            identities.write_table(pa.table(linked, schema=IDENTITIES))
            counts.update(dict(zip(EVENT_TYPES, _per_type(log), strict=True)))
            dirt.update(found)
            tell("events", (chunk + 1) / (len(bounds) - 1))
    return counts, dirt, len(bounds) - 1


def _chunks(
    world: World, visits: NDArray[np.int64], bounds: NDArray[np.int64]
) -> Iterator[tuple[Log, Counter[str], dict[str, object]]]:
    """The log of the people between two bounds, what is wrong with it, and their devices."""
    config, chunks = world.config, len(bounds) - 1
    factor = mail_factor(config, world.people)
    for chunk in range(chunks):
        first, last = int(bounds[chunk]), int(bounds[chunk + 1])
        person = np.repeat(np.arange(first, last), visits[first:last])
        site = site_events(world, config.rng(Stage.SESSIONS, chunk), person)
        mail = mail_events(world, config.rng(Stage.MAIL, chunk), first, last, factor)
        robots = robot_events(world, chunk, chunks)
        robots["session"] += site["session"].max(initial=NONE) + 1
        rng = config.rng(Stage.DIRT, chunk)
        linked = links(site, rng, config.end_us)
        log, found = soil(config.dirt, rng, np.concatenate([site, mail, robots]))
        yield log, found, linked


def _visits(world: World) -> NDArray[np.int64]:
    """(n,) sessions of each person, so many that the wanted number of events comes out."""
    config, people = world.config, world.people
    share = people.activity / people.activity.sum()
    rng = config.rng(Stage.PILOT)
    pilot = rng.multinomial(PILOT_SESSIONS, share)
    log = site_events(world, rng, np.repeat(np.arange(len(people)), pilot))
    extras = soil(config.dirt, rng, log)[0]
    wanted = config.events * (1 - config.dirt.robot_event_share)
    wanted -= expected_mail(config, people) * (1 + config.dirt.duplicate_share)
    sessions = round(max(wanted, 0) / max(len(extras) / PILOT_SESSIONS, 1))
    return np.asarray(config.rng(Stage.PILOT, 1).multinomial(sessions, share))


def _chunk_bounds(world: World, visits: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n_chunks + 1,) rows of People that cut them into chunks of about as many events each."""
    config = world.config
    chunks = max(1, round(config.events / config.chunk_events))
    until = np.cumsum(visits + visits.mean() / 10)
    inner = np.searchsorted(until, until[-1] * np.arange(1, chunks) / chunks)
    return np.asarray(np.r_[0, inner, len(visits)])


def _event_names(world: World) -> EventNames:
    everybody = len(world.people) * DEVICES + robot_count(world.config)
    return EventNames(
        item_ids(world.catalogue),
        user_ids(np.arange(world.people.customers)),
        visitor_ids(np.arange(everybody)),
    )


def _per_type(log: Log) -> list[int]:
    return [int(n) for n in np.bincount(log["event_type"], minlength=len(EVENT_TYPES))]
