"""The category tree and its words, from words.toml."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Branch:
    """A top category: share of the demand, hue of its pictures, who makes and writes."""

    name: str
    demand: float
    hue: int  # degrees
    brands: tuple[str, ...]
    authors: tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """A leaf of the category tree, with the words its items are made of."""

    path: str
    branch: Branch
    price: float  # median list price, EUR
    glyph: str
    peak: int  # month of highest demand
    swing: float  # log of demand at the peak over the yearly mean
    refill_days: float  # 0: not a consumable
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    variants: tuple[str, ...]
    features: tuple[str, ...]
    uses: tuple[str, ...]
    tasks: tuple[str, ...]
    topic: str
    goods: str  # what an article of this category recommends
    sensitive: bool = False


@cache
def tree() -> tuple[Leaf, ...]:
    """All leaves, those of a branch side by side."""
    words = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))
    branches = {
        name: Branch(name, b["demand"], b["hue"], tuple(b["brands"]), tuple(b["authors"]))
        for name, b in words["branches"].items()
    }
    return tuple(_leaf(entry, branches) for entry in words["leaves"])


def tree_for(items: int) -> tuple[Leaf, ...]:
    """The leaves a shop of this size can fill: at least four items each."""
    return tree()[: max(1, items // 4)]


def _leaf(entry: dict[str, object], branches: dict[str, Branch]) -> Leaf:
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    branch = branches[str(entry["path"]).split("/")[0]]
    return Leaf(**{**entry, **lists, "branch": branch})  # type: ignore[arg-type]
