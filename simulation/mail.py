"""The weekly newsletter: what was sent to whom, and what was clicked."""

import numpy as np
from numpy.typing import NDArray

from simulation.appeal import click_probability, draw_leaf
from simulation.config import DAY_US, HOUR_US, SECOND_US, SimulationConfig
from simulation.log import EventType, Log, Placement, new_log
from simulation.people import People, weeks_left
from simulation.world import World

SEND_DAY, SEND_HOUR = 3, 7  # day of the week of the log, hour UTC
CLICKS_PER_SEND, ITEMS_TWICE = 0.05, 0.06  # for planning only


def mail_factor(config: SimulationConfig, people: People) -> float:
    """The share of newsletters that goes out, so that mail stays a share of all events."""
    newsletters = float(people.newsletters_per_week @ weeks_left(config, people))
    wanted = config.email_event_share * config.events
    return min(1.0, wanted / max(newsletters * _events_per_mail(config), 1.0))


def expected_mail(config: SimulationConfig, people: People) -> float:
    """Roughly how many events the mail will make."""
    newsletters = float(people.newsletters_per_week @ weeks_left(config, people))
    return mail_factor(config, people) * newsletters * _events_per_mail(config)


def mail_events(
    world: World, rng: np.random.Generator, first: int, last: int, factor: float
) -> Log:
    """Sends to and clicks of the people in first..last; one event per item of a newsletter."""
    person, at_us = _recipients(world, rng, first, last, factor)
    person, at_us, item = _contents(world, rng, person, at_us)
    article = world.catalogue.article[item]
    sends = new_log(
        len(item), EventType.EMAIL_SEND, item=item, user=person, occurred_us=at_us,
        placement=np.where(article, Placement.NEWSLETTER_TOP, Placement.NEWSLETTER_PRODUCT),
    )  # fmt: skip
    chance = click_probability(world.shelf, world.people, person, item, at_us)
    clicks = sends[rng.random(len(chance)) < chance].copy()
    clicks["event_type"] = EventType.EMAIL_CLICK
    delay = rng.lognormal(np.log(world.config.email_delay_hours), 1.2, len(clicks)) * HOUR_US
    clicks["occurred_us"] += delay.astype(np.int64) + SECOND_US
    log = np.concatenate([sends, clicks])
    return log[log["occurred_us"] < world.config.end_us]


def _events_per_mail(config: SimulationConfig) -> float:
    return (config.email_articles + 1) * (1 - ITEMS_TWICE) * (1 + CLICKS_PER_SEND)


def _recipients(
    world: World, rng: np.random.Generator, first: int, last: int, factor: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Who gets a newsletter when: one element per newsletter."""
    config, people = world.config, world.people
    weeks = np.arange(-(-(config.days - SEND_DAY) // 7)) if config.days > SEND_DAY else np.arange(0)
    at_us = config.start_us + (7 * weeks + SEND_DAY) * DAY_US + SEND_HOUR * HOUR_US
    chance = factor * people.newsletters_per_week[first:last, None]
    gets = rng.random((last - first, len(weeks))) < chance
    gets &= people.joined_us[first:last, None] < at_us
    person, week = np.nonzero(gets)
    spread = rng.integers(0, 1800 * SECOND_US, len(person))  # it takes half an hour to send
    return person + first, at_us[week] + spread


def _contents(
    world: World, rng: np.random.Generator, person: NDArray[np.int64], at_us: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The articles and the product of each newsletter: half by taste, half for everybody."""
    size = world.config.email_articles + 1
    mail = np.repeat(np.arange(len(person)), size)
    nth = np.arange(len(mail)) % size
    taste = world.people.taste[person[mail]]
    crowd = world.people.taste[rng.integers(0, len(world.people), len(mail))]
    leaf = draw_leaf(rng, np.where((nth % 2 == 0)[:, None], taste, crowd))
    group = leaf + len(world.catalogue.leaves) * (nth < size - 1)
    epoch = world.shelf.epoch(at_us)[mail]
    item = world.shelf.draw(epoch, group, rng.random((len(mail), 1)))[:, 0]
    _, once = np.unique(mail * len(world.catalogue) + item, return_index=True)
    once.sort()
    return person[mail[once]], at_us[mail[once]], item[once]
