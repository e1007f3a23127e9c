"""The items as numbers: where they belong, how good they are, when they can be found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.config import DAY_US, HOUR_US, SimulationConfig, Stage
from simulation.words import Leaf, tree_for

NEVER_US = np.int64(2**62)
STYLES = 2  # say, rustic to modern and plain to playful


@dataclass(frozen=True)
class Catalogue:
    """All items, sorted by group: products by leaf, then articles by leaf.

    leaves:       the category tree of this shop
    leaf:         (n_items,) position in leaves; article: (n_items,) bool
    group_start:  (2 * n_leaves + 1,) group g holds items group_start[g] to group_start[g + 1];
                  g = leaf for products, n_leaves + leaf for articles; no group is empty
    number:       (n_items,) number in the item id, by time of publication
    brand:        (n_items,) position in the brands (or authors) of the branch
    quality:      (n_items,) float, log-normal: why some items are popular with everybody
    style:        (n_items, STYLES) float32, near the style of the brand
    price, list_price: (n_items,) EUR, NaN for articles; price_level: standard scores in the leaf
    discount:     (n_items,) float32, 1 - price / list_price
    published_us, ends_us: (n_items,) microseconds since 1970; found from the one to the other
    sold_out:     (n_items,) bool, no longer available at the end of the log
    """

    leaves: tuple[Leaf, ...]
    leaf: NDArray[np.int64]
    article: NDArray[np.bool_]
    group_start: NDArray[np.int64]
    number: NDArray[np.int64]
    brand: NDArray[np.int64]
    quality: NDArray[np.float64]
    style: NDArray[np.float32]
    price: NDArray[np.float64]
    list_price: NDArray[np.float64]
    price_level: NDArray[np.float32]
    discount: NDArray[np.float32]
    published_us: NDArray[np.int64]
    ends_us: NDArray[np.int64]
    sold_out: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.leaf)

    @property
    def refill_days(self) -> NDArray[np.float64]:
        """(n_items,) days until a consumable is bought again; 0 where it is not one."""
        days = np.array([leaf.refill_days for leaf in self.leaves])
        return np.where(self.article, 0.0, days[self.leaf])


def make_catalogue(config: SimulationConfig) -> Catalogue:
    """Draw the items of a shop."""
    rng, leaves = config.rng(Stage.CATALOGUE), tree_for(config.items)
    articles = round(config.items * config.article_share)
    articles = int(np.clip(articles, len(leaves), config.items - len(leaves)))
    article = np.arange(config.items) >= config.items - articles
    leaf = np.r_[_leaf_of(rng, leaves, config.items - articles), _leaf_of(rng, leaves, articles)]
    group_start = np.searchsorted(leaf + len(leaves) * article, np.arange(2 * len(leaves) + 1))
    staple = np.zeros(config.items, dtype=bool)  # one per group that is always there
    staple[group_start[:-1]] = True
    published_us = _published(rng, config, article, staple)
    ends_us, sold_out = _endings(rng, config, published_us, staple)
    brand, style = _brands(rng, leaves, leaf, article)
    price, list_price, price_level = _prices(rng, leaves, leaf, article)
    return Catalogue(
        leaves=leaves, leaf=leaf, article=article, group_start=group_start,
        number=_numbers(published_us, article), brand=brand, style=style,
        quality=rng.lognormal(-0.5, 1.0, config.items),  # mean 1
        price=price, list_price=list_price, price_level=price_level,
        discount=np.nan_to_num(1 - price / list_price).astype(np.float32),
        published_us=published_us, ends_us=ends_us, sold_out=sold_out,
    )  # fmt: skip


def branch_demand(leaves: Sequence[Leaf]) -> NDArray[np.float64]:
    """(n_leaves,) demand of each leaf's branch, shared evenly among its leaves; sums to 1."""
    siblings = [sum(other.branch is leaf.branch for other in leaves) for leaf in leaves]
    demand = np.array([leaf.branch.demand for leaf in leaves]) / siblings
    return np.asarray(demand / demand.sum())


def _leaf_of(rng: np.random.Generator, leaves: Sequence[Leaf], n: int) -> NDArray[np.int64]:
    """(n,) sorted leaves, each at least once."""
    every = np.arange(len(leaves))
    drawn = rng.choice(every, n - len(leaves), p=branch_demand(leaves))
    return np.sort(np.r_[every, drawn])


def _published(
    rng: np.random.Generator,
    config: SimulationConfig,
    article: NDArray[np.bool_],
    staple: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """(n_items,) most products are there at the start, most articles arrive on the way."""
    n = len(article)
    old = staple | (rng.random(n) < np.where(article, 0.3, 0.7))
    age = np.where(article, 60, 730) * rng.random(n) + 1
    hours = np.where(old, -24 * age, 24 * config.days * rng.random(n))
    return np.asarray(config.start_us + hours.astype(np.int64) * HOUR_US)


def _endings(
    rng: np.random.Generator,
    config: SimulationConfig,
    published_us: NDArray[np.int64],
    staple: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """When an item disappears (mostly never), and whether because it was sold out."""
    u = np.where(staple, 1.0, rng.random(len(published_us)))
    begin = np.maximum(published_us, config.start_us)
    span = np.maximum(config.end_us - begin, DAY_US)
    gone = begin + (span * rng.uniform(0.3, 1.0, len(u))).astype(np.int64) // HOUR_US * HOUR_US
    later = config.end_us + rng.integers(1, 60, len(u)) * DAY_US
    ends = np.where(u < 0.05, gone, np.where(u < 0.08, later, NEVER_US))
    return ends, (u < 0.03) & (gone < config.end_us)


def _brands(
    rng: np.random.Generator,
    leaves: Sequence[Leaf],
    leaf: NDArray[np.int64],
    article: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The brand (author) of each item, and the item's style near that of the brand."""
    branches = [x.branch for x in leaves]
    makers = np.array([[len(b.brands), len(b.authors)] for b in branches])
    brand = (rng.random(len(leaf)) ** 1.5 * makers[leaf, article.astype(int)]).astype(np.int64)
    known = {b.name: row for row, b in enumerate({b.name: b for b in branches}.values())}
    row = np.array([known[b.name] for b in branches])[leaf]
    styles = rng.standard_normal((len(known), 2, makers.max(), STYLES))
    near = 0.3 * rng.standard_normal((len(leaf), STYLES))
    return brand, (styles[row, article.astype(int), brand] + near).astype(np.float32)


def _prices(
    rng: np.random.Generator,
    leaves: Sequence[Leaf],
    leaf: NDArray[np.int64],
    article: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Price and list price in EUR, and how dear the item is for its category."""
    median = np.array([x.price for x in leaves])[leaf]
    list_price = median * rng.lognormal(0.0, 0.4, len(leaf))
    list_price = np.maximum(np.round(list_price * 2) / 2 - 0.05, 0.95)
    off = rng.choice([0.1, 0.15, 0.2, 0.25, 0.3, 0.4], len(leaf))
    price = np.round(list_price * np.where(rng.random(len(leaf)) < 0.35, 1 - off, 1.0), 2)
    level = np.clip(np.log(price / median) / 0.4, -2.5, 2.5)
    price, list_price = np.where(article, np.nan, price), np.where(article, np.nan, list_price)
    return price, list_price, np.where(article, 0, level).astype(np.float32)


def _numbers(published_us: NDArray[np.int64], article: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n_items,) 1, 2, … by time of publication, products and articles each for themselves."""
    number = np.empty(len(published_us), dtype=np.int64)
    for kind in (False, True):
        rows = np.flatnonzero(article == kind)
        number[rows[np.argsort(published_us[rows], kind="stable")]] = np.arange(len(rows)) + 1
    return number
