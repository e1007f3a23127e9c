"""Who likes what, when: the one true model behind looks, clicks and purchases."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from simulation.catalogue import Catalogue
from simulation.config import DAY_US, HOUR_US, SimulationConfig
from simulation.people import People
from simulation.words import Leaf

Times = NDArray[np.int64] | np.int64 | int  # microseconds since 1970 UTC

SHELF_CELLS = 12_000_000  # epochs x items held in memory: 96 MB
STYLE_STRENGTH = 0.55
PRICE_STRENGTH = 0.25
BARGAIN_STRENGTH = 4.0
MOST_CLICKS = 0.5  # nothing is clicked more often, however well it suits


@dataclass(frozen=True)
class Shelf:
    """What can be found when, for drawing items in proportion to their appeal.

    epoch_us:   length of an epoch, in which nothing changes
    cumulative: (n_epochs * n_items,) float64; epoch e holds e plus the shares summed so far
    season:     (n_epochs, n_leaves) float32, the demand over the year
    news:       (n_epochs, n_leaves) float32, the appeal of all articles of a leaf
    """

    start_us: int
    epoch_us: int
    cumulative: NDArray[np.float64]
    season: NDArray[np.float32]
    news: NDArray[np.float32]
    catalogue: Catalogue
    config: SimulationConfig

    def epoch(self, at_us: Times) -> NDArray[np.int64]:
        """The epoch of each time."""
        return np.asarray((at_us - self.start_us) // self.epoch_us)

    def draw(
        self, epoch: NDArray[np.int64], group: NDArray[np.int64], u: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """(n, k) items of each group found in each epoch; epoch, group: (n,); u: (n, k) in 0–1."""
        n = len(self.catalogue)
        begin, end = self.catalogue.group_start[group], self.catalogue.group_start[group + 1]
        row = epoch * n
        before = row + begin - 1  # the last cell of the epoch before may be rounded: use epoch
        low = np.where(begin > 0, self.cumulative[before], epoch)[:, None]
        width = self.cumulative[row + end - 1][:, None] - low
        # short of the end, lest rounding reaches into the next group
        keys = low + u * (1 - 1e-6) * width
        found = np.searchsorted(self.cumulative, keys.ravel(), side="right").reshape(u.shape)
        return np.asarray(found - row[:, None])


def make_shelf(config: SimulationConfig, catalogue: Catalogue) -> Shelf:
    """Sum up the appeal of all items, epoch by epoch."""
    hours = max(2, -(-24 * config.days * len(catalogue) // SHELF_CELLS))
    epochs = -(-24 * config.days // hours)
    leaves = catalogue.leaves
    cumulative = np.empty((epochs, len(catalogue)))
    news = np.empty((epochs, len(leaves)), dtype=np.float32)
    for epoch in range(epochs):
        begin = config.start_us + epoch * hours * HOUR_US
        strength = appeal(config, catalogue, begin, begin + hours * HOUR_US)
        total = np.cumsum(strength)
        cumulative[epoch] = epoch + total / total[-1]
        news[epoch] = np.add.reduceat(strength, catalogue.group_start[:-1])[len(leaves) :]
    return Shelf(
        config.start_us, hours * HOUR_US, cumulative.ravel(),
        _season(config, leaves, epochs, hours), news, catalogue, config,
    )  # fmt: skip


def appeal(
    config: SimulationConfig, catalogue: Catalogue, begin_us: Times, end_us: Times,
    item: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Quality x freshness of what is there from begin to end; 0 for the rest.

    item: (n,) rows of the catalogue, all if None; begin_us, end_us: one time, or (n,)
    """
    rows = slice(None) if item is None else item
    published_us = catalogue.published_us[rows]
    there = (published_us <= begin_us) & (catalogue.ends_us[rows] >= end_us)
    age_days = np.maximum(begin_us - published_us, 0) / DAY_US
    news = 0.04 + 0.5 ** (age_days / config.articles_half_life_days)
    novelty = 0.6 + 0.8 * 0.5 ** (age_days / config.products_half_life_days)
    attention = np.where(catalogue.article[rows], news, novelty)
    return np.asarray(there * catalogue.quality[rows] * attention)


def draw_leaf(rng: np.random.Generator, weight: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) one leaf per row of weight (n, n_leaves)."""
    until = np.cumsum(weight, axis=1)
    u = rng.random((len(weight), 1), dtype=np.float32) * until[:, -1:]
    return np.asarray(np.minimum((until <= u).sum(axis=1), weight.shape[1] - 1))


def fit(
    people: People, catalogue: Catalogue, person: NDArray[np.int64], item: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Log of how much better than average items suit people within their category.

    person, item: of shapes that broadcast; the result has the shape of both together
    """
    style = people.style[person] * catalogue.style[item]
    gap = people.price_level[person] - catalogue.price_level[item]
    saving = (people.bargain[person] - 0.33) * catalogue.discount[item]
    total = STYLE_STRENGTH * style.sum(axis=-1) + BARGAIN_STRENGTH * saving
    total -= PRICE_STRENGTH * np.where(catalogue.article[item], 0.5, gap * gap)
    return np.asarray(np.clip(total, -3, 2), dtype=np.float32)


def click_probability(
    shelf: Shelf, people: People, person: NDArray[np.int64], item: NDArray[np.int64],
    at_us: Times,
) -> NDArray[np.float32]:  # fmt: skip
    """The true probability that a person clicks an item once it is shown at that time.

    person, item: of shapes that broadcast; at_us: one time, or of the shape of item
    """
    leaf = shelf.catalogue.leaf[item]
    lift = len(shelf.catalogue.leaves) * people.taste[person, leaf]
    season = shelf.season[shelf.epoch(at_us), leaf]
    strength = season * appeal(shelf.config, shelf.catalogue, at_us, at_us, item)
    rate = shelf.config.click_scale * lift * strength
    rate = rate * np.exp(fit(people, shelf.catalogue, person, item))
    return np.asarray(-MOST_CLICKS * np.expm1(-rate / MOST_CLICKS), dtype=np.float32)


def _season(
    config: SimulationConfig, leaves: Sequence[Leaf], epochs: int, hours: int
) -> NDArray[np.float32]:
    """(n_epochs, n_leaves) demand over the year, a smooth wave with one peak."""
    times = [config.start + timedelta(hours=hours * epoch) for epoch in range(epochs)]
    month = np.array([time.timetuple().tm_yday for time in times]) / 365 * 12
    peak, swing = np.array([(leaf.peak - 0.5, leaf.swing) for leaf in leaves]).T
    wave = np.cos((month[:, None] - peak) * (2 * np.pi / 12))
    return np.asarray(np.exp(swing * wave), dtype=np.float32)
