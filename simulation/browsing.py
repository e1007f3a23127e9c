"""Sessions, and what is looked at in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.appeal import draw_leaf, fit
from simulation.config import SECOND_US
from simulation.log import NONE, EventType, Log, Placement, new_log
from simulation.world import World

PROPOSALS = 4  # items somebody glances at before choosing one of them
NEVER = 2**30  # login after so many looks
JOINING_US = 60 * SECOND_US  # from the begin of a session to the account opened in it
LONGEST = 60  # looks in a session
LOGGED_IN, HALFWAY = 0.70, 0.85  # cumulative: from the first look, in between, not at all


@dataclass(frozen=True)
class Sessions:
    """Visits to the site in order of time; one element per session.

    person: row in People; start_us: microseconds since 1970; looks: how many
    focus: the leaf it is about; magazine: mainly for reading
    login: looks before somebody with an account logs in; visitor: visitor number, -1 in the app
    """

    person: NDArray[np.int64]
    start_us: NDArray[np.int64]
    looks: NDArray[np.int64]
    focus: NDArray[np.int64]
    magazine: NDArray[np.bool_]
    login: NDArray[np.int64]
    visitor: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.person)


@dataclass(frozen=True)
class Looks:
    """Items looked at, session by session; one element per look.

    session: row in Sessions; item: row in Catalogue; fit: see appeal.fit
    at_us: when; seconds: for how long, after which the next look begins
    user: customer number, -1 before login
    """

    session: NDArray[np.int64]
    item: NDArray[np.int64]
    fit: NDArray[np.float32]
    at_us: NDArray[np.int64]
    seconds: NDArray[np.float64]
    user: NDArray[np.int64]


def make_sessions(world: World, rng: np.random.Generator, person: NDArray[np.int64]) -> Sessions:
    """One session per element of person, which may repeat (sorted)."""
    people = world.people
    start_us = world.calendar.draw(rng, people.first_day[person], people.last_day[person])
    joins = _joining(world, person)
    start_us = np.where(joins, people.joined_us[person] - JOINING_US, start_us)
    order = np.argsort(start_us, kind="stable")
    person, start_us, joins = person[order], start_us[order], joins[order]
    looks = np.minimum(rng.geometric(1 / world.config.session_items_mean, len(person)), LONGEST)
    login = np.where(joins, 0, _logins(rng, looks))
    device = people.device[person, rng.integers(0, 4, len(person)) // 3]
    device = np.where(device == NONE, people.device[person, 0], device)
    in_app = (login == 0) & (rng.random(len(person)) < 0.08)
    in_app &= start_us >= people.joined_us[person]
    magazine = rng.random(len(person)) < people.reading[person]
    return Sessions(
        person=person, start_us=start_us, looks=looks,
        focus=_focus(world, rng, person, start_us, magazine), magazine=magazine,
        login=login, visitor=np.where(in_app, NONE, device),
    )  # fmt: skip


def _focus(
    world: World, rng: np.random.Generator, person: NDArray[np.int64],
    start_us: NDArray[np.int64], magazine: NDArray[np.bool_],
) -> NDArray[np.int64]:  # fmt: skip
    """(n,) what each session is about: taste and season, and for readers what is new."""
    epoch = world.shelf.epoch(start_us)
    weight = world.people.taste[person] * world.shelf.season[epoch]
    weight[magazine] *= world.shelf.news[epoch[magazine]]
    return draw_leaf(rng, weight)


def _joining(world: World, person: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The sessions in which somebody opens an account: the first of each new customer."""
    first = np.r_[True, person[1:] != person[:-1]][: len(person)]
    joined_us = world.people.joined_us[person]
    inside = (joined_us >= world.config.start_us + JOINING_US) & (joined_us < world.config.end_us)
    return np.asarray(first & inside)


def _logins(rng: np.random.Generator, looks: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) looks before login, for those who have an account."""
    u, halfway = rng.random(len(looks)), 1 + rng.integers(0, looks)
    return np.where(u < LOGGED_IN, 0, np.where(u < HALFWAY, halfway, NEVER))


def known_as(
    world: World, person: NDArray[np.int64], at_us: NDArray[np.int64], ready: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """(n,) customer number of people who are ready to log in and have an account, else -1."""
    return np.where(ready & (at_us >= world.people.joined_us[person]), person, NONE)


def make_looks(world: World, rng: np.random.Generator, sessions: Sessions) -> Looks:
    """Choose the items of all sessions: mostly of one category, by appeal and fit."""
    session = np.repeat(np.arange(len(sessions)), sessions.looks)
    first = np.cumsum(sessions.looks) - sessions.looks
    nth = np.arange(len(session)) - first[session]
    person = sessions.person[session]
    item, suits = _choose(world, rng, sessions, session)
    seconds = 2 + rng.lognormal(np.log(world.config.gap_seconds), 0.8, len(session))
    reading = rng.lognormal(np.log(world.config.reading_seconds), 0.8, len(session))
    article = world.catalogue.article[item]
    seconds = np.where(article, 2 + reading * np.exp(0.3 * suits), seconds)
    until = np.cumsum(seconds) - seconds
    since = until - until[first][session] if len(session) else until
    at_us = sessions.start_us[session] + (since * SECOND_US).astype(np.int64)
    user = known_as(world, person, at_us, nth >= sessions.login[session])
    return Looks(
        session=session, item=item, fit=suits, seconds=seconds, at_us=at_us, user=user
    )  # fmt: skip


def _choose(
    world: World, rng: np.random.Generator, sessions: Sessions, session: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(n,) the item of each look, and how well it suits the person."""
    catalogue, person = world.catalogue, sessions.person[session]
    article = rng.random(len(session)) < np.where(sessions.magazine[session], 0.85, 0.1)
    group = _leaves(world, rng, sessions, session) + len(catalogue.leaves) * article
    epoch = world.shelf.epoch(sessions.start_us)[session]
    glances = world.shelf.draw(epoch, group, rng.random((len(session), PROPOSALS)))
    suits = fit(world.people, catalogue, person[:, None], glances)
    # an exponential race: a glance wins with probability proportional to exp(fit)
    race = rng.standard_exponential(glances.shape, dtype=np.float32) * np.exp(-suits)
    winner = (np.arange(len(session)), np.argmin(race, axis=1))
    return glances[winner], suits[winner]


def _leaves(
    world: World, rng: np.random.Generator, sessions: Sessions, session: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The leaf of each look: the focus, now and then its neighbour, or another love."""
    focus, u = sessions.focus[session], rng.random(len(session))
    share = world.config.focus_share
    leaf = np.where(u < share, focus, _neighbours(world)[focus])
    stray = np.flatnonzero(u > (1 + share) / 2)
    leaf[stray] = draw_leaf(rng, world.people.taste[sessions.person[session[stray]]])
    return leaf


def _neighbours(world: World) -> NDArray[np.int64]:
    """(n_leaves,) the next leaf of the same branch, the first after the last."""
    names = [leaf.branch.name for leaf in world.catalogue.leaves]
    following = [row + 1 if names[row + 1 : row + 2] == [name] else names.index(name)
                 for row, name in enumerate(names)]  # fmt: skip
    return np.array(following)


def look_events(world: World, rng: np.random.Generator, s: Sessions, looks: Looks) -> Log:
    """The views and reads of all looks."""
    article = world.catalogue.article[looks.item]
    n, u = len(article), rng.random(len(article))
    where = np.select(
        [u < 0.3, u < 0.75, u < 0.85],
        [Placement.HOME, Placement.CATEGORY_PAGE, Placement.SEARCH],
        default=NONE,
    )
    return new_log(
        n, np.where(article, EventType.READ, EventType.VIEW),
        item=looks.item, user=looks.user, occurred_us=looks.at_us,
        visitor=s.visitor[looks.session], session=looks.session,
        placement=np.where(article, np.where(u < 0.7, Placement.MAGAZINE, NONE), where),
        duration_seconds=np.where(article, np.round(looks.seconds - 2, 1), np.nan),
    )  # fmt: skip
