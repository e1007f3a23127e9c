"""What is told of an item, and how a catalogue goes on between two trainings."""

import numpy as np
import pytest
from shelves import catalogue

from features.types import Texts
from training.catalogue import MOST_TEXT, Catalogue
from training.open_catalogue import OpenCatalogue

LIST_PRICES = [12.5, np.nan, 30, 44, 50, 60, 70, 80]


@pytest.fixture
def shelf():
    """a to h, of which a was 12.50 and is described; there is no list price of b."""
    texts = Texts.of(["A fine one.", *[""] * 7])
    listed = catalogue(list_prices=np.array(LIST_PRICES, np.float32), descriptions=texts)
    return OpenCatalogue.opened(listed, room=1, currency="EUR")


def test_more_is_what_a_mail_shows_besides(shelf):
    assert shelf.more(0) == {"list_price": 12.5, "text": "A fine one."}
    assert shelf.more(1) == {"list_price": None, "text": ""}
    assert not {"list_price", "text"} & shelf.details(0).keys(), "the feed's answer stays as it is"


def test_of_an_item_that_appears_there_is_no_more(shelf):
    new = shelf.add("new")
    shelf.tell(new, price=9.0, title="New")
    assert shelf.more(new) == {"list_price": None, "text": ""}


def test_a_new_price_leaves_the_list_price_as_it_was(shelf):
    shelf.tell(0, price=8.0, currency="EUR")
    assert (shelf.details(0)["price"], shelf.more(0)["list_price"]) == (8.0, 12.5)


def test_in_another_currency_it_is_unknown(shelf):
    shelf.tell(0, price=8.0, currency="USD")
    assert (shelf.details(0)["price"], shelf.more(0)["list_price"]) == (8.0, None)


def test_what_is_told_stays_out_of_the_models_own_arrays():
    own = catalogue(list_prices=np.array(LIST_PRICES, np.float32))
    OpenCatalogue.opened(own, room=1, currency="EUR").tell(0, currency="USD")
    assert own.more(0)["list_price"] == 12.5


def test_a_bundle_has_the_beginnings_of_texts(shop):
    """A worker maps them all: a magazine's articles would be larger than the model."""
    long = " ".join(["word"] * MOST_TEXT)
    source = shop.file("items.parquet", [
        {"item_id": "a", "kind": "article", "text": long, "list_price": None},
        {"item_id": "b", "kind": "article", "text": "Short,\n as it is.", "list_price": 2.5},
    ])  # fmt: skip
    log = [{"item_id": one, "user_id": "u", "event_type": "view",
            "occurred_at": "2026-03-01T12:00:00Z"} for one in "ab"]  # fmt: skip
    features = shop.build({"events": shop.file("log.parquet", log), "items": source})
    known = Catalogue.of(features, "EUR")
    begun, whole = (known.more(index) for index in known.find(["a", "b"]).tolist())
    assert whole == {"list_price": 2.5, "text": "Short,\n as it is."}
    assert begun["text"].endswith("word …")
    assert MOST_TEXT - 10 < len(begun["text"]) <= MOST_TEXT
