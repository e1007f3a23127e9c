"""All that stays the same from chunk to chunk."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from simulation.appeal import Shelf, make_shelf
from simulation.catalogue import Catalogue, make_catalogue
from simulation.config import DAY_US, HOUR_US, SHOP_ZONE, SimulationConfig, Stage
from simulation.people import People, make_people

WEEKDAYS = (1.0, 0.95, 0.95, 1.0, 0.9, 1.15, 1.35)  # Monday to Sunday
HOURS = (3, 1, 1, 1, 1, 2, 5, 9, 12, 13, 14, 15, 17, 15, 13, 13, 14, 17, 21, 26, 28, 24, 15, 7)


@dataclass(frozen=True)
class Calendar:
    """When people visit, in the local time of the shop.

    visits_until:  (days + 1,) share of all visits before each midnight
    hours_until:   (25,) share of a day's visits before each full hour
    utc_offset_us: (days,) local minus UTC at noon
    """

    start_us: int
    visits_until: NDArray[np.float64]
    hours_until: NDArray[np.float64]
    utc_offset_us: NDArray[np.int64]

    def draw(
        self, rng: np.random.Generator, first_day: NDArray[np.float64],
        last_day: NDArray[np.float64],
    ) -> NDArray[np.int64]:  # fmt: skip
        """(n,) times of visits between the days, in microseconds since 1970."""
        midnights = np.arange(len(self.visits_until))
        low = np.interp(first_day, midnights, self.visits_until)
        high = np.interp(last_day, midnights, self.visits_until)
        share = low + rng.random(len(low)) * (high - low)
        day = np.interp(share, self.visits_until, midnights).astype(np.int64)
        day = np.minimum(day, len(self.utc_offset_us) - 1)
        hour = np.interp(rng.random(len(low)), self.hours_until, np.arange(25))
        since = day * DAY_US + (hour * HOUR_US).astype(np.int64) - self.utc_offset_us[day]
        return np.asarray(self.start_us + since % (len(self.utc_offset_us) * DAY_US))


@dataclass(frozen=True)
class World:
    """A shop, its magazine and its people."""

    config: SimulationConfig
    catalogue: Catalogue
    shelf: Shelf
    people: People
    calendar: Calendar


def make_world(config: SimulationConfig) -> World:
    """Draw a world; it does not depend on how the log is cut into chunks."""
    catalogue = make_catalogue(config)
    shelf = make_shelf(config, catalogue)
    return World(config, catalogue, shelf, make_people(config, catalogue.leaves), _calendar(config))


def _calendar(config: SimulationConfig) -> Calendar:
    days = [config.start + timedelta(days=day, hours=12) for day in range(config.days)]
    offsets = [day.astimezone(SHOP_ZONE).utcoffset() or timedelta() for day in days]
    weekly = np.array([WEEKDAYS[day.weekday()] for day in days])
    mood = config.rng(Stage.CALENDAR).lognormal(0, 0.08, config.days)  # weather, paydays, …
    growth = 1 + 0.2 * np.arange(config.days) / config.days
    return Calendar(
        start_us=config.start_us,
        visits_until=_shares_until(weekly * mood * growth),
        hours_until=_shares_until(np.array(HOURS, dtype=np.float64)),
        utc_offset_us=np.array([int(o.total_seconds()) * 1_000_000 for o in offsets]),
    )


def _shares_until(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.r_[0.0, np.cumsum(weight)] / weight.sum())
