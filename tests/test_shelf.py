"""What may be shown now, as slices: by kind and category, with what has changed since."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from at_the_desk import at_the_desk

from serving import telling
from serving.api_told import CatalogueRequest, ItemIn
from serving.shelf import Shelf
from training import bundle as bundles
from training.bundle import Bundle
from training.fitting import fit
from training.item_facts import ItemFacts
from training.past import Past
from training.recipe import Recipe

START = datetime(2026, 3, 1, tzinfo=UTC)
ITEMS = [
    {"item_id": "read", "kind": "article", "category": "garden"},
    {"item_id": "rose", "kind": "product", "category": "garden/plants"},
    {"item_id": "oak", "kind": "product", "category": "garden/plants/trees"},
    {"item_id": "spade", "kind": "product", "category": "garden/tools"},
    {"item_id": "gold", "kind": "product", "category": "garden plants"},  # no part of garden
    {"item_id": "lamp", "kind": "product"},
    {"item_id": "gone", "kind": "product", "category": "garden/plants", "available": False},
]


@pytest.fixture(scope="module")
def bundle(new_shop) -> Bundle:
    shop = new_shop()
    event = {"user_id": "u", "item_id": "rose", "event_type": "view", "occurred_at": START}
    sources = {"events": shop.file("e.parquet", [event]), "items": shop.file("i.parquet", ITEMS)}
    parts = {"shop": {"clock": "as_of", "consent_default": "yes"},
             "placements": {"home": {"kind": "product"}, "both": {}}}  # fmt: skip
    features, config = shop.build(sources, now=START, **parts), shop.config(sources, **parts)
    facts = ItemFacts.of(features)
    past = Past.plain(features.timelines, features.as_of_us, config.signals, facts)
    rankers = {"popularity": fit("popularity", past, config.training)}
    ladder = [("one_for_all", "popularity")]
    recipe = Recipe(config.training, ["popularity"], ladder)
    bundles.save(shop.home.bundles / "v1", features, config, rankers, recipe, {})
    return Bundle.open(shop.home.bundles / "v1")


@pytest.fixture
def shelf(bundle, tmp_path):
    """The ids that a shelf has: `shelf(kind, category, changes)`; None: of every category."""

    def _shelf(kind, category=None, *changes):
        async def work(desk):
            if changes:
                await telling.catalogue(desk, CatalogueRequest(items=list(changes)))
            found = Shelf.of(desk.living, kind)
            items = found.items if category is None else found.within(desk.living, category)
            every = np.arange(len(desk.living.catalogue), dtype=np.int32)[items]
            return set(desk.living.catalogue.texts(every[found.open[every]])), items

        return at_the_desk(bundle, tmp_path, work)

    return _shelf


@pytest.mark.parametrize(
    ("kind", "category", "ids"),
    [
        ("product", None, {"rose", "oak", "spade", "gold", "lamp"}),
        ("article", None, {"read"}),
        (None, None, {"read", "rose", "oak", "spade", "gold", "lamp"}),
        ("product", "garden", {"rose", "oak", "spade"}),
        ("product", "garden/plants", {"rose", "oak"}),
        ("product", "garden/plants/trees", {"oak"}),
        (None, "garden", {"read", "rose", "oak", "spade"}),
        ("article", "garden/tools", set()),
        ("product", "nowhere", set()),
    ],
)
def test_a_shelf_has_what_is_there_of_a_kind_and_a_category(shelf, kind, category, ids):
    assert shelf(kind, category)[0] == ids


def test_a_category_of_a_kind_is_a_slice(shelf):
    assert isinstance(shelf("product", "garden")[1], slice)


def test_what_comes_back_and_what_is_new_is_found_in_its_category(shelf):
    back = ItemIn(item_id="gone", available=True)
    new = ItemIn(item_id="elm", kind="product", category="garden/plants/trees")
    assert shelf("product", "garden/plants", back, new)[0] == {"rose", "oak", "gone", "elm"}
    assert shelf("product", "garden/plants/trees", back, new)[0] == {"oak", "elm"}
    assert shelf("product", None, new)[0] == {"rose", "oak", "spade", "gold", "lamp", "gone", "elm"}


def test_what_sells_out_is_gone_from_its_category(shelf):
    assert shelf("product", "garden", ItemIn(item_id="oak", available=False))[0] == {
        "rose", "spade",
    }  # fmt: skip


def test_what_moves_to_another_category_or_kind_is_found_there(shelf):
    moved = ItemIn(item_id="spade", category="garden/plants")
    assert shelf("product", "garden/plants", moved)[0] == {"rose", "oak", "spade"}
    assert shelf("product", "garden/tools", moved)[0] == set()
    assert shelf("product", "garden/plants/trees", moved)[0] == {"oak"}
    told = ItemIn(item_id="lamp", kind="article")
    assert shelf("article", None, told)[0] == {"read", "lamp"}
    assert shelf("product", None, told)[0] == {"rose", "oak", "spade", "gold"}


def test_a_category_that_the_model_does_not_know_is_of_the_nearest_above_it(shelf):
    new = ItemIn(item_id="fern", kind="product", category="garden/plants/shade/ferns")
    assert "fern" in shelf("product", "garden/plants", new)[0]
    assert "fern" not in shelf("product", "garden/plants/trees", new)[0]
