"""Feeds of single people side by side: who asks, what they get, and how it is shown."""

import numpy as np
import pytest

from command.askers import Asker, answers, askers
from command.side_by_side import LARGEST, Card, beside, cards, compared, known, picture_of
from features.config import KINDS
from features.lifecycle import STAGES
from training.bundle import open_bundle


def feed(*item_ids):
    return [Card(one, one.upper(), "", "", None) for one in item_ids]


def marks(cards):
    return {card.item_id: card.mark for card in cards}


class TestCompared:
    def test_marks_what_only_one_has_and_what_moved(self):
        one, other = compared(feed("a", "b", "c", "d"), feed("c", "b", "e", "a"))
        assert marks(one) == {"a": "", "b": "", "c": "", "d": "only here"}
        assert marks(other) == {"c": "▲ 2", "b": "", "e": "new", "a": "▼ 3"}

    def test_feeds_that_are_the_same_have_no_marks(self):
        one, other = compared(feed("a", "b"), feed("a", "b"))
        assert set(marks(one).values()) == set(marks(other).values()) == {""}


class TestPage:
    def test_escapes_every_text_of_the_data(self):
        evil = '<script>"&'
        page = beside(evil, {evil: [Card(evil, evil, evil, evil, evil, evil)]})
        assert "<script>" not in page
        assert page.count("&lt;script&gt;&#34;&amp;") == 7

    def test_has_a_plain_box_where_there_is_no_picture(self):
        page = beside("who", {"left": feed("a")})
        assert '<div class="picture"></div>' in page
        assert "<img" not in page

    def test_a_shorter_column_ends_earlier(self):
        page = beside("who", {"left": feed("a"), "right": feed("b", "c")})
        assert page.count('class="card"') == 3
        assert page.count("<td>") == 4


class TestPicture:
    @pytest.fixture
    def shop(self, tmp_path):
        shop = tmp_path / "shop"
        shop.mkdir()
        (shop / "a.svg").write_text("<svg/>")
        (shop / "large.png").write_bytes(bytes(LARGEST + 1))
        (shop / "a.txt").write_text("text")
        (tmp_path / "outside.svg").write_text("<svg/>")
        return shop

    def test_a_file_of_the_shop_comes_as_its_content(self, shop):
        assert picture_of("a.svg", shop) == "data:image/svg+xml;base64,PHN2Zy8+"

    def test_a_web_address_stays_what_it_is(self, shop):
        assert picture_of("https://shop.example/a.jpg", shop) == "https://shop.example/a.jpg"

    @pytest.mark.parametrize(
        "url", ["", None, "none.svg", "large.png", "a.txt", "../outside.svg", "javascript:alert(1)"]
    )
    def test_anything_else_is_no_picture(self, shop, url):
        assert picture_of(url, shop) is None


@pytest.fixture(scope="module")
def bundle(trained):
    return open_bundle(trained.home, None)


@pytest.fixture(scope="module")
def home_page(bundle):
    return bundle.config.placements["home"]


class TestPeople:
    def test_are_customers_who_agreed_a_visitor_and_a_stranger(self, bundle, home_page):
        best, new, visitor, stranger = askers(bundle, home_page)
        rows = bundle.rows([*best.ids, *new.ids])
        assert [STAGES[stage] for stage in bundle.stages[rows]] == ["loyal", "new"]
        assert bundle.consent[rows].all()
        kinds = bundle.catalogue.kinds[bundle.catalogue.find(visitor.recent)]
        assert visitor.ids == []
        assert (kinds == KINDS.index("product")).sum() >= 2
        assert (stranger.ids, stranger.recent) == ([], [])

    def test_get_what_a_model_gives_them_on_the_placement(self, bundle, home_page):
        asking = askers(bundle, home_page)
        found = answers(bundle, home_page, asking, size=5, limit="one_to_one")
        items = [bundle.catalogue.find(one.feed["item_id"].to_pylist()) for one in found]
        assert [len(one) for one in items] == [5] * 4
        assert {KINDS[kind] for one in items for kind in bundle.catalogue.kinds[one]} == {"product"}
        assert "one_to_one" in found[0].feed["rung"].to_pylist()
        assert found[3].decision == "show: stranger"

    def test_get_nothing_more_personal_than_the_limit(self, bundle, home_page):
        found = answers(bundle, home_page, askers(bundle, home_page), size=5, limit="one_for_all")
        assert {rung for one in found for rung in one.feed["rung"].to_pylist()} == {"one_for_all"}

    def test_cards_tell_title_rung_ranker_reason_and_picture(self, bundle, home_page, trained):
        (answer,) = answers(bundle, home_page, [Asker("", [], [])], size=1, limit="one_to_one")
        (card,) = cards(answer.feed, bundle, trained.path.parent)
        item = bundle.catalogue.find([card.item_id])[0]
        assert card.title == bundle.catalogue.titles[item]
        assert (card.facts, card.why) == ("one for all · popularity", "popular right now")
        assert card.picture.startswith("data:image/svg+xml;base64,")

    def test_what_is_known_of_a_customer_is_their_past_newest_first(self, bundle, trained):
        lengths = np.diff(bundle.timelines.indptr)
        row = int(np.argmax(lengths))
        customer = Asker("", [bundle.persons.text(row)], [])
        past = bundle.timelines.items[slice(*bundle.timelines.indptr[row : row + 2])][::-1]
        wanted = bundle.catalogue.ids.texts(np.array(list(dict.fromkeys(past.tolist()))[:6]))
        found = known(bundle, customer, trained.path.parent, 6)
        assert [card.item_id for card in found] == wanted
        assert found[0].facts.endswith(("ago", "just now"))

    def test_what_is_known_of_a_visitor_is_their_visit_newest_first(self, bundle, trained):
        one, other = bundle.catalogue.ids.texts([3, 4])
        visitor = Asker("", [], [one, other, one, "no such item"])
        found = known(bundle, visitor, trained.path.parent, 6)
        assert [card.item_id for card in found] == [one, other]
        assert known(bundle, Asker("", [], []), trained.path.parent, 6) == []
