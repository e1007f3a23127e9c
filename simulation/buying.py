"""What follows from a look: carts, purchases, refills, returns, and "less of this"."""

import numpy as np
from numpy.typing import NDArray

from simulation.appeal import fit
from simulation.browsing import (
    Looks,
    Sessions,
    known_as,
    look_events,
    make_looks,
    make_sessions,
)
from simulation.catalogue import Catalogue
from simulation.config import DAY_US, SECOND_US
from simulation.log import NONE, EventType, Log, new_log
from simulation.world import World

REFILLS = 4  # at most, after the first purchase of a consumable
RETURN_DAYS = (2.0, 20.0)  # after the purchase
ORDERED = 0.45  # of what lies in a cart
MOST_AT_ONCE = 8  # of one item in a cart


def site_events(world: World, rng: np.random.Generator, person: NDArray[np.int64]) -> Log:
    """All that happens on the site in one session per element of person, by people."""
    sessions = make_sessions(world, rng, person)
    looks = make_looks(world, rng, sessions)
    carts = _carts(world, rng, sessions, looks)
    purchases = _purchases(rng, carts, _checkouts(world, rng, sessions, looks))
    refills = _refills(world, rng, purchases, len(sessions))
    returns = _returns(world, rng, purchases)
    dislikes = _dislikes(rng, sessions, looks)
    views = look_events(world, rng, sessions, looks)
    log = np.concatenate([views, carts, purchases, refills, returns, dislikes])
    return np.asarray(log[log["occurred_us"] < world.config.end_us])


def _follow(looks: Looks, s: Sessions, rows: NDArray[np.intp], kind: EventType) -> Log:
    """Events of a kind after these looks, before the next one begins."""
    later = (0.6 * looks.seconds[rows] * SECOND_US).astype(np.int64)
    return new_log(
        len(rows), kind, item=looks.item[rows], user=looks.user[rows],
        occurred_us=looks.at_us[rows] + later,
        session=looks.session[rows], visitor=s.visitor[looks.session[rows]],
    )  # fmt: skip


def _carts(world: World, rng: np.random.Generator, s: Sessions, looks: Looks) -> Log:
    chance = _cart_chance(world.catalogue, looks.item, looks.fit)
    carts = _follow(looks, s, np.flatnonzero(rng.random(len(chance)) < chance), EventType.CART)
    several = _several(world.catalogue, carts["item"])
    carts["quantity"] = np.minimum(rng.geometric(1 - several), MOST_AT_ONCE)
    carts["value"] = np.round(carts["quantity"] * world.catalogue.price[carts["item"]], 2)
    return carts


def _cart_chance(
    catalogue: Catalogue, item: NDArray[np.int64], suits: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The probability that a look at an item puts it into the cart; an article never is."""
    chance = np.minimum(0.10 * np.exp(0.6 * suits), 0.5)
    return np.where(catalogue.article[item], 0, chance)


def _several(catalogue: Catalogue, item: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability of one more of the same in a cart."""
    return np.where(catalogue.refill_days[item] > 0, 0.45, 0.12)


def sales_of_a_look(
    world: World, person: NDArray[np.int64], item: NDArray[np.int64]
) -> NDArray[np.float64]:
    """EUR that a look brings on average in the order that ends its visit; of an article nothing.

    person, item: of shapes that broadcast. Neither refills nor returns are in it.
    """
    catalogue, suits = world.catalogue, fit(world.people, world.catalogue, person, item)
    several = _several(catalogue, item)
    pieces = (1 - several**MOST_AT_ONCE) / (1 - several)  # mean of a geometric, cut off
    paid = np.nan_to_num(catalogue.price[item]) * pieces
    return np.asarray(_cart_chance(catalogue, item, suits) * ORDERED * paid)


def _checkouts(world: World, rng: np.random.Generator, sessions: Sessions, looks: Looks) -> Log:
    """One record per session: when, and by whom, its order would be placed."""
    last = np.cumsum(sessions.looks) - 1
    pause = looks.seconds[last] + rng.uniform(30, 240, len(last))
    at_us = looks.at_us[last] + (pause * SECOND_US).astype(np.int64)
    user = known_as(world, sessions.person, at_us, sessions.login <= sessions.looks)
    return new_log(len(last), EventType.PURCHASE, user=user, occurred_us=at_us)


def _purchases(rng: np.random.Generator, carts: Log, checkouts: Log) -> Log:
    """The lines of the orders: all at the same moment, at the end of the session."""
    bought = carts[rng.random(len(carts)) < ORDERED].copy()
    order = checkouts[bought["session"]]
    bought["event_type"] = EventType.PURCHASE
    bought["occurred_us"], bought["user"] = order["occurred_us"], order["user"]
    return bought


def _refills(world: World, rng: np.random.Generator, purchases: Log, sessions: int) -> Log:
    """Views and purchases of consumables by customers who run out of them."""
    days = world.catalogue.refill_days[purchases["item"]]
    loyal = (days > 0) & (purchases["user"] != NONE) & (rng.random(len(days)) < 0.4)
    again = np.repeat(purchases[loyal], REFILLS)
    pace = np.repeat(days[loyal] * rng.uniform(0.85, 1.15, int(loyal.sum())), REFILLS)
    pace = pace * (1 + np.arange(len(again)) % REFILLS) + rng.uniform(-1, 1, len(again))
    again["occurred_us"] += (pace * DAY_US).astype(np.int64)
    end_us = np.minimum(world.catalogue.ends_us, world.config.end_us)[again["item"]]
    last_us = world.people.last_day[again["user"]] * DAY_US + world.config.start_us
    there = again["occurred_us"] < np.minimum(end_us, last_us)
    again = again[there]
    again["session"] = sessions + np.arange(len(again))
    views = new_log(len(again), EventType.VIEW)
    for name in ("item", "user", "visitor", "session"):
        views[name] = again[name]
    before = (rng.uniform(30, 300, len(again)) * SECOND_US).astype(np.int64)
    views["occurred_us"] = again["occurred_us"] - before
    return np.asarray(np.concatenate([views, again]))


def _returns(world: World, rng: np.random.Generator, purchases: Log) -> Log:
    """Durable things that come back, outside any session."""
    durable = world.catalogue.refill_days[purchases["item"]] == 0
    back = purchases[durable & (rng.random(len(durable)) < 0.09)].copy()
    back["event_type"], back["session"] = EventType.RETURN, NONE
    back["occurred_us"] += (rng.uniform(*RETURN_DAYS, len(back)) * DAY_US).astype(np.int64)
    return np.asarray(back)


def _dislikes(rng: np.random.Generator, s: Sessions, looks: Looks) -> Log:
    chance = np.minimum(0.005 * np.exp(-looks.fit), 0.1)
    rows = np.flatnonzero(rng.random(len(chance)) < chance)
    return _follow(looks, s, rows, EventType.DISLIKE)
