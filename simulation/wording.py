"""Titles and texts of the items, from a small grammar and the words of each category."""

from dataclasses import dataclass

import numpy as np

from simulation.catalogue import Catalogue
from simulation.config import SimulationConfig, Stage
from simulation.words import Leaf

ARTICLE_TITLES = (
    "How to {task}",
    "{Topic}: where to begin",
    "Six mistakes to avoid when you {task}",
    "What we learned from a year of {topic}",
    "How to {task} without fuss",
    "In praise of {topic}",
    "A beginner's guide: how to {task}",
    "{Topic}, explained in ten pictures",
    "How we {task}, step by step",
    "What to know before you {task}",
)
LEADS = (
    "A short guide to {topic}, with pictures for every step.",
    "Everything you need to {task}, and a few things you do not.",
    "Our readers asked how to {task}. Here is what has worked for us.",
    "There is more to {topic} than most of us were told.",
    "It is easier than it looks to {task}, and it saves money.",
    "Years of {topic} in a five-minute read.",
)
TIPS = (
    "We also look at {goods} and say which are worth the money.",
    "With notes on choosing {goods}.",
    "All it takes is patience, a free morning and a little help from {goods}.",
    "At the end: the {goods} we would buy again.",
    "Includes answers to your questions about {goods}.",
)


@dataclass(frozen=True)
class Wording:
    """What items say: one entry per item of the catalogue."""

    titles: list[str]
    texts: list[str]
    brands: list[str]


def make_wording(config: SimulationConfig, catalogue: Catalogue) -> Wording:
    """Word all items; titles are unique within a category, numbered where words run out."""
    rng = config.rng(Stage.WORDING)
    wording = Wording([], [], [])
    for group, begin in enumerate(catalogue.group_start[:-1]):
        leaf = catalogue.leaves[group % len(catalogue.leaves)]
        article = group >= len(catalogue.leaves)
        size = int(catalogue.group_start[group + 1] - begin)
        makers = leaf.branch.authors if article else leaf.branch.brands
        brands = [makers[brand] for brand in catalogue.brand[begin : begin + size]]
        known = _article_titles(leaf) if article else _product_titles(leaf)
        titles = _enough(rng, known, size)
        say = _article_text if article else _product_text
        words = zip(titles, brands, rng.random((size, 2)).tolist(), strict=True)
        wording.texts.extend(say(leaf, title, brand, *pick) for title, brand, pick in words)
        wording.titles.extend(titles)
        wording.brands.extend(brands)
    return wording


def _product_titles(leaf: Leaf) -> list[list[str]]:
    """Plain titles first, then those with a variant."""
    plain = [f"{adjective} {noun}" for adjective in leaf.adjectives for noun in leaf.nouns]
    return [plain, [f"{title}, {variant}" for title in plain for variant in leaf.variants]]


def _article_titles(leaf: Leaf) -> list[list[str]]:
    titles = {
        title.format(task=task, topic=leaf.topic, Topic=_capital(leaf.topic))
        for title in ARTICLE_TITLES
        for task in leaf.tasks
    }
    return [sorted(titles)]


def _enough(rng: np.random.Generator, titles: list[list[str]], size: int) -> list[str]:
    """So many titles in mixed order; the second round of the same words gets a number."""
    known = [part[row] for part in titles for row in rng.permutation(len(part))]
    rounds = -(-size // len(known))
    numbered = [f"{title}, no. {n}" for n in range(2, rounds + 1) for title in known]
    return (known + numbered)[:size]


def _product_text(leaf: Leaf, title: str, brand: str, feature: float, use: float) -> str:
    return f"{title} by {brand}. {_one(leaf.features, feature)} {_one(leaf.uses, use)}"


def _article_text(leaf: Leaf, title: str, _: str, lead: float, tip: float) -> str:
    """The lead speaks of the task in the title, or else of any task of the category."""
    told = [task for task in leaf.tasks if task in title]
    text = f"{_one(LEADS, lead)} {_one(TIPS, tip)}"
    task = told[0] if told else _one(leaf.tasks, lead * len(LEADS) % 1)
    return text.format(task=task, topic=leaf.topic, goods=leaf.goods)


def _one(choices: tuple[str, ...], share: float) -> str:
    """The choice at a share between 0 and 1 of the way."""
    return choices[int(share * len(choices))]


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
