"""What is asked of a shop: known, anonymous and filtered people, and a page to sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.serving.load import prepared
from benchmarks.serving.shops import BRANCHES, Shop, item_id, path_of, person_id

DIFFERENT = 512  # bodies of each kind, asked in turn
SORTED = 500  # ids of a page
Body = dict[str, Any]


def known(shop: Shop, random: np.random.Generator) -> Body:
    """A customer with a history."""
    return {"placement": "home", "user_id": person_id(int(random.integers(shop.people)))}


def anonymous(shop: Shop, random: np.random.Generator) -> Body:
    """A visitor nobody has met, with five items of one neighbourhood just seen."""
    first = int(random.integers(0, max(shop.items - 10, 1)))
    seen = first + random.permutation(min(10, shop.items))[:5]
    ids = [item_id(number) for number in seen.tolist()]
    return {"placement": "home", "visitor_id": f"w{random.integers(10**9)}", "recent": ids}


def filtered(shop: Shop, random: np.random.Generator) -> Body:
    """A customer on the page of a category: a twentieth of the catalogue."""
    branch = path_of(int(random.integers(0, BRANCHES)))
    return {**known(shop, random), "category": branch}


def sort(shop: Shop, random: np.random.Generator) -> Body:
    """A customer's page of 500 ids."""
    chosen = random.choice(shop.items, min(SORTED, shop.items), replace=False)
    return {**known(shop, random), "item_ids": [item_id(number) for number in chosen.tolist()]}


ASKS: dict[str, tuple[str, Callable[[Shop, np.random.Generator], Body]]] = {
    "known": ("/feed", known),
    "anonymous": ("/feed", anonymous),
    "filtered": ("/feed", filtered),
    "sort 500": ("/sort", sort),
}


def requests_of(shop: Shop, ask: str, seed: int = 0) -> list[bytes]:
    """Prepared requests of one kind."""
    random = np.random.default_rng(seed)
    path, body = ASKS[ask]
    return prepared(path, [body(shop, random) for _ in range(DIFFERENT)])
