"""A catalogue small enough to read: eight products, one letter each."""

from __future__ import annotations

from typing import Any

import numpy as np
import worlds

from features.config import KINDS
from features.types import DAY_US, IdTable, Texts
from training.arranging import Arranged, Turn, arrange
from training.catalogue import Catalogue
from training.ruling import Ruling
from training.rulings import Rulings

NOW_US = worlds.NOW_US
LETTERS = "abcdefgh"
BRANDS = ["Ada", "Ada", "Ada", "Bo", "Bo", "Bo", "Cy", "Cy"]
PATHS = ["x/1", "x/1", "x/2", "x/2", "y/1", "y/1", "y", None]
PRICES = [10, 20, 30, 40, 50, 60, 70, 80]
GONE = "h"  # sold out


def catalogue(**changes: Any) -> Catalogue:
    """a to h: of Ada abc, of Bo def, of Cy gh; h is sold out; a is a day old, b two, …"""
    n = len(LETTERS)
    tree = sorted({*filter(None, PATHS), "x", "y"})
    brands = sorted(set(BRANDS))
    whole = {
        "ids": IdTable.of(list(LETTERS)), "folded": IdTable.of(list(LETTERS)),
        "kinds": np.full(n, KINDS.index("product"), np.int8),
        "available": np.array([one not in GONE for one in LETTERS]),
        "prices": np.array(PRICES, np.float32), "list_prices": np.full(n, np.nan, np.float32),
        "born_us": NOW_US - np.arange(1, n + 1) * DAY_US,
        "currencies": Texts.of(["EUR"] * n), "titles": Texts.of([f"Item {i}" for i in LETTERS]),
        "categories": Texts.of(PATHS), "brands": Texts.of(BRANDS),
        "urls": Texts.of([""] * n), "image_urls": Texts.of([""] * n),
        "descriptions": Texts.of([""] * n),
        "sensitive": np.zeros(n, np.bool_), "people": np.zeros(n, np.int32),
        "repurchase_days": np.full(n, np.nan, np.float32),
        "category": np.array([tree.index(p) if p else -1 for p in PATHS], np.int32),
        "tree": Texts.of(tree),
        "brand": np.array([brands.index(one) for one in BRANDS], np.int32),
        "brand_names": Texts.of(brands),
    }  # fmt: skip
    return Catalogue(**{**whole, **changes})


def rulings(*rules: dict[str, Any], shelf: Catalogue | None = None, **config: Any) -> Rulings:
    """These rules over the eight."""
    shelf = shelf or catalogue()
    made = worlds.config(**{"shop": {"currency": "EUR"}, **config, "rules": list(rules)})
    return Rulings.of(made, shelf, shelf.available.copy(), NOW_US)


def ruling(*rules: dict[str, Any], shelf: Catalogue | None = None) -> Ruling:
    """What these rules come to on the home page for somebody unknown."""
    found = rulings(*rules, shelf=shelf).ruling("home", NOW_US)
    assert found is not None
    return found


def indices(letters: str) -> Any:
    return np.array([LETTERS.index(one) for one in letters], dtype=np.int32)


def letters(items: Any) -> str:
    return "".join(LETTERS[item] for item in items)


def arranged(
    *rules: dict[str, Any], ranked: str = LETTERS, size: int = 4, barred: str = "",
    shelf: Catalogue | None = None, turn: Turn | None = None,
) -> Arranged:  # fmt: skip
    """The feed of somebody for whom the ranker says `ranked`: as the policy makes it."""
    made = ruling(*rules, shelf=shelf)
    best = indices("".join(one for one in ranked if one not in barred))
    best = best[made.open[best]]
    if made.arrangement is None:
        k = min(size, len(best))
        none = np.zeros(k, np.int64)
        return Arranged(best[:k], np.arange(k), none, none.astype(np.int32))
    seen = best[: made.arrangement.depth(size)]
    for wanted, missing in made.arrangement.lacking(seen, size):
        more = best[wanted[best] & ~np.isin(best, seen)][:missing]
        seen = np.concatenate([seen, more])
    return arrange(seen, size, made.arrangement, turn or Turn(NOW_US, barred=indices(barred)))


def feed(*rules: dict[str, Any], **given: Any) -> str:
    """As `arranged`, the letters alone."""
    return letters(arranged(*rules, **given).items)
