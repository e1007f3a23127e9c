"""What a merchant may write in `rules:`, what is told of a mistake, and what it means for items."""

import numpy as np
import pytest
import worlds
from shelves import NOW_US, catalogue, indices, letters, ruling, rulings

from features.config import Config, ConfigError, load_config
from features.feed_rules import ITEM_COLUMNS, rules_version
from features.types import DAY_US, Texts
from training.item_columns import ancestry, item_columns
from training.open_catalogue import OpenCatalogue
from training.rulings import Rulings, UnknownPin

BEFORE = """sources: {events: {path: events.parquet}}
signals: {view: {weight: 1}, purchase: {weight: 5, had: true}}
segments: [{name: readers, rule: "orders > 1"}]
experiments: [{name: calm, arms: {quiet: {share: 0.5, rules: less}}}]
rules:
  - {set: less, max_per: {brand: 1}}
"""


@pytest.mark.parametrize(
    ("rule", "where", "what"),
    [
        ("{hide: \"brnd = 'X'\"}", "rules.1.hide", "an item has no column 'brnd'"),
        ("{hide: \"brnd = 'X'\"}", "rules.1.hide", "Did you mean 'brand'?"),
        ("{hide: price}", "rules.1.hide", "needs a condition, and price is a number"),
        ("{only: \"kind = 'prodct'\"}", "rules.1.only", "Did you mean 'product'?"),
        ('{boost: [{filter: "price >", by: 3}]}', "rules.1.boost.0.filter", "no SQL condition"),
        ('{boost: [{filter: "true", by: 0}]}', "rules.1.boost.0.by", "greater than or equal to 1"),
        ('{bury: [{filter: "true", by: top}]}', "rules.1.bury.0.by", "'end'"),
        ('{promote: {filter: "true", share: 1.5}}', "rules.1.promote.share", "less than or equal"),
        ("{pin: [{item: a, position: 0}]}", "rules.1.pin.0.position", "greater than or equal to 1"),
        ("{pin: [{item: a, position: 1, until: 2026-12-24}]}", "rules.1.pin.0.until", "time zone"),
        ("{price: {}}", "rules.1.price", "give `min`, `max` or both"),
        ("{price: {min: 3, max: 2}}", "rules.1.price", "max 2 is below min 3"),
        ("{max_per: {colour: 1}}", "rules.1.max_per.colour", "not a key of the config"),
        ("{max_per: {brand: 1}, category_depth: 1}", "rules.1", "category_depth needs `max_per"),
        ("{rotate: 0.1, repurchase_days: 3}", "rules.1", "repurchase_days needs"),
        ("{diversity: 2}", "rules.1.diversity", "less than or equal to 1"),
        ("{placement: home}", "rules.1", "does nothing"),
        ("{placement: hme, rotate: 0.1}", "rules.1.placement", "no placement ['hme']"),
        ("{placement: [home, x], rotate: 0.1}", "rules.1.placement", "no placement ['x']"),
        ("{segment: reders, rotate: 0.1}", "rules.1.segment", "choose from ['readers']"),
        ("{stage: asleep, rotate: 0.1}", "rules.1.stage", "'lapsing'"),
        ("{set: les, rotate: 0.1}", "rules.1.set", "no arm of an experiment has `rules: les`"),
        ("{starts: 2026-01-02T00:00:00Z, ends: 2026-01-01T00:00:00Z, rotate: 0.1}", "rules.1",
         "must be after starts"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line(tmp_path, rule, where, what):
    (tmp_path / "feeds.yaml").write_text(f"{BEFORE}  - {rule}\n")
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "feeds.yaml")
    assert str(error.value).startswith(f"{tmp_path}/feeds.yaml:7: {where}")
    assert what in str(error.value)


def test_an_arm_that_turns_on_a_set_without_rules_is_a_fault(tmp_path):
    (tmp_path / "feeds.yaml").write_text(BEFORE.replace("set: less, ", ""))
    with pytest.raises(ConfigError, match=r"feeds.yaml:4: experiments.0.arms: 'quiet' turns on"):
        load_config(tmp_path / "feeds.yaml")


def test_a_rule_survives_being_written_into_a_bundle():
    config = worlds.config(rules=[{"price": {"max": 5}, "starts": "2026-01-01T00:00:00Z"}])
    again = Config.model_validate(config.model_dump(mode="json"))
    assert again.rules == config.rules
    assert rules_version(again.rules) == rules_version(config.rules)


def test_the_version_names_the_rules():
    few, more = (worlds.config(rules=[{"rotate": r}]).rules for r in (0.1, 0.2))
    assert rules_version([]) == "none"
    assert len({rules_version(few), rules_version(more), rules_version(few + more)}) == 3


class TestColumnsOfItems:
    def test_are_what_the_catalogue_says(self):
        shelf = catalogue(prices=np.array([1.5, *[np.nan] * 7], np.float32))
        found = item_columns(shelf, ITEM_COLUMNS, NOW_US)
        first = {name: values[0] for name, values in found.items()}
        assert first == {
            "item_id": "a", "kind": "product", "category": "x/1", "brand": "Ada",
            "title": "Item a", "price": 1.5, "currency": "EUR", "age_days": 1.0, "available": True,
        }  # fmt: skip
        assert found["category"][7] is None
        assert np.isnan(found["price"][1])

    def test_of_some_items_are_those_of_all(self):
        shelf, some = catalogue(), indices("hb")
        whole, part = (item_columns(shelf, ITEM_COLUMNS, NOW_US, at) for at in (None, some))
        for name in ITEM_COLUMNS:
            assert part[name].tolist() == whole[name][some].tolist()

    def test_of_an_open_catalogue_are_what_was_told_since(self):
        shelf = OpenCatalogue.opened(catalogue(), room=3, currency="EUR")
        new = shelf.add("new")
        shelf.tell(new, kind="article", title="News", brand="Bo", price=None, born_us=NOW_US)
        shelf.tell(0, title="Other", price=3.0)
        found = item_columns(shelf, ITEM_COLUMNS, NOW_US)
        assert [found[name][new] for name in ("item_id", "kind", "title", "brand", "age_days")] == [
            "new", "article", "News", "Bo", 0.0,
        ]  # fmt: skip
        assert (found["title"][0], found["price"][0]) == ("Other", 3.0)
        assert found["item_id"][-1] is None

    def test_ancestry_is_the_path_from_the_top(self):
        tree = Texts.of(["x", "x/1", "x/1/i", "y"])
        assert ancestry(tree).tolist() == [
            [0, -1, -1], [0, 1, -1], [0, 1, 2], [3, -1, -1], [-1, -1, -1],
        ]  # fmt: skip


def shown(*rules, shelf=None):
    return letters(np.flatnonzero(ruling(*rules, shelf=shelf).open))


class TestWhatMayBeShown:
    @pytest.mark.parametrize(
        ("rules", "left"),
        [
            ([{"hide": "price > 25"}], "ab"),
            ([{"only": "category LIKE 'x/%'"}], "abcd"),
            ([{"hide": "age_days >= 3"}], "ab"),
            ([{"price": {"min": 20, "max": 40}}], "bcd"),
            ([{"available": False}], "abcdefgh"),
            ([{"hide": "brand = 'Ada'"}, {"hide": "brand = 'Bo'"}], "g"),
            ([{"rotate": 0.1}], "abcdefg"),
        ],
    )
    def test_is_what_every_rule_leaves(self, rules, left):
        assert shown(*rules) == left

    def test_within_price_bounds_is_no_product_without_a_price_in_the_shops_currency(self):
        prices = np.array([np.nan, 20, 20, np.nan, 20, 20, 20, 20], np.float32)
        kinds = np.array([0, 0, 0, 1, 1, 0, 0, 0], np.int8)  # d and e are articles
        money = Texts.of(["EUR", "EUR", "USD", *["EUR"] * 5])
        shelf = catalogue(prices=prices, kinds=kinds, currencies=money)
        assert shown({"price": {"max": 30}}, shelf=shelf) == "bdefg"

    def test_what_is_out_of_stock_may_be_shown_but_not_what_is_not_out_yet(self):
        born = NOW_US - np.array([*[DAY_US] * 7, -DAY_US])
        assert shown({"available": False}, shelf=catalogue(born_us=born)) == "abcdefg"
        shelf = OpenCatalogue.opened(catalogue(), room=2, currency="EUR")
        shelf.tell(shelf.add("new"), available=False)
        made = rulings({"available": False}, shelf=shelf).ruling("home", NOW_US)
        assert letters(np.flatnonzero(made.open)) == "abcdefgh"

    def test_is_of_the_placements_kind(self):
        kinds = np.array([0, 1] * 4, np.int8)
        found = rulings({"rotate": 0.1}, shelf=catalogue(kinds=kinds),
                        placements={"home": {"kind": "article"}})  # fmt: skip
        assert letters(np.flatnonzero(found.ruling("home", NOW_US).open)) == "bdf"

    def test_what_is_not_has_every_reason(self):
        made = ruling({"hide": "brand = 'Cy'"}, {"price": {"max": 15}})
        closed = {reason: letters(np.flatnonzero(one)) for reason, one in made.closed.items()}
        assert closed == {"unavailable": "h", "hidden": "gh", "price": "bcdefgh"}


class TestWhoseRulesHold:
    RULES = (
        {"placement": "home", "hide": "item_id = 'a'"},
        {"placement": ["basket"], "hide": "item_id = 'b'"},
        {"segment": "readers", "hide": "item_id = 'c'"},
        {"stage": "lapsed", "hide": "item_id = 'd'"},
        {"starts": "2023-11-14T22:13:20Z", "ends": "2023-11-14T22:13:21Z",
         "hide": "item_id = 'e'"},
        {"set": "less", "hide": "item_id = 'f'"},
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("asked", "hidden"),
        [
            (("home", NOW_US - 1), "a"),
            (("home", NOW_US), "ae"),
            (("home", NOW_US + 1_000_000), "a"),
            (("basket", NOW_US - 1), "b"),
            (("home", NOW_US - 1, "readers"), "ac"),
            (("home", NOW_US - 1, None, "lapsed"), "ad"),
            (("home", NOW_US - 1, "readers", "new", "less"), "acf"),
        ],
    )
    def test_is_by_place_person_time_and_arm(self, asked, hidden):
        found = rulings(
            *self.RULES,
            placements={"home": {}, "basket": {}},
            segments=[{"name": "readers", "rule": "orders > 1"}],
            experiments=[{"name": "e", "arms": {"quiet": {"share": 0.5, "rules": "less"}}}],
        ).ruling(*asked)
        assert letters(np.flatnonzero(found.closed["hidden"])) == hidden

    def test_nothing_is_made_where_no_rule_holds(self):
        assert rulings().ruling("home", NOW_US) is None
        placements = {"home": {}, "basket": {}}
        only_there = rulings({"placement": "basket", "rotate": 0.1}, placements=placements)
        assert only_there.ruling("home", NOW_US) is None

    def test_rules_that_change_no_order_need_no_arranging(self):
        assert ruling({"hide": "item_id = 'a'"}).arrangement is None

    def test_what_holds_together_is_worked_out_once(self):
        found = rulings({"rotate": 0.1})
        assert found.ruling("home", NOW_US) is found.ruling("home", NOW_US, "s", "new")


class TestAChangedItem:
    RULES = (
        {"hide": "price > 50"}, {"price": {"max": 45}}, {"available": True, "rotate": 0.1},
        {"boost": [{"filter": "available AND price < 15", "by": "top"}], "bury": [
            {"filter": "title = 'Bad'", "by": "end"}], "promote": {"filter": "price < 15",
            "share": 0.5}, "max_per": {"category": 1}, "category_depth": 1, "diversity": 0.5,
         "repurchase": True, "repurchase_days": 9},
    )  # fmt: skip

    def test_is_as_if_everything_had_been_worked_out_anew(self):
        shelf = OpenCatalogue.opened(catalogue(), room=2, currency="EUR")
        opened = shelf.available.copy()
        config = worlds.config(shop={"currency": "EUR"}, rules=list(self.RULES))
        kept = Rulings.of(config, shelf, opened, NOW_US)
        before = kept.ruling("home", NOW_US)
        new = shelf.add("new")
        opened[new] = True
        shelf.tell(new, price=12.0, category="x/1", brand="Cy")
        shelf.tell(0, price=99.0, title="Bad")
        shelf.tell(1, available=False)
        opened[1] = False
        kept.refresh(NOW_US, np.array([0, 1, new], np.int32))
        anew = Rulings.of(config, shelf, opened, NOW_US).ruling("home", NOW_US)
        assert np.flatnonzero(before.open).tolist() == [*indices("cd"), new]
        np.testing.assert_equal(arrays_of(before), arrays_of(anew))

    def test_may_be_one_that_a_pin_waits_for(self):
        shelf = OpenCatalogue.opened(catalogue(), room=2, currency="EUR")
        opened = shelf.available.copy()
        config = worlds.config(rules=[{"pin": [{"item": "news", "position": 1}], "rotate": 0.1}])
        kept = Rulings.of(config, shelf, opened, NOW_US)
        assert kept.unknown_pins() == [UnknownPin(0, 0, "news")]
        assert kept.ruling("home", NOW_US).arrangement.pins == ()
        new = shelf.add("news")
        opened[new] = True
        kept.refresh(NOW_US, np.array([new], np.int32))
        assert kept.unknown_pins() == []
        assert [one.item for one in kept.ruling("home", NOW_US).arrangement.pins] == [new]

    def test_grows_older(self):
        kept = rulings({"hide": "age_days > 7.5"})
        made = kept.ruling("home", NOW_US)
        assert (kept.age, letters(np.flatnonzero(made.open))) == (True, "abcdefg")
        kept.refresh(NOW_US + 2 * DAY_US)
        assert letters(np.flatnonzero(made.open)) == "abcde"


def arrays_of(made):
    order = made.arrangement
    return {
        "open": made.open, **made.closed, "days": made.repurchase_days, "places": order.places,
        "parts": order.parts, "codes": order.limits[0].codes,
        "wanted": [one.wanted for one in (*order.promotions, *order.sought)],
    }  # fmt: skip


class TestWhatAPersonHadOrSaw:
    def test_a_product_bought_within_its_interval_is_kept_away(self):
        usual = np.array([10, np.nan, 10, *[np.nan] * 5], np.float32)
        kinds = np.array([0, 0, 1, *[0] * 5], np.int8)  # c is an article
        shelf = catalogue(repurchase_days=usual, kinds=kinds)
        log = worlds.timelines([[0, 1, 2]], n_items=8, days_apart=3)  # 9, 6 and 3 days ago
        histories = log.histories(NOW_US, worlds.SIGNALS)
        had = np.array([False, True, False])

        def away(rule):
            return ruling(rule, shelf=shelf).bought_lately(histories, had).tolist()

        assert away({"repurchase": True}) == [True, False, False]
        assert away({"repurchase": True, "repurchase_days": 7}) == [True, True, False]
        assert away({"rotate": 0.1}) == [False, False, False]

    def test_looking_is_not_buying(self):
        log = worlds.timelines([[0]], n_items=8, signal=worlds.VIEW)
        made = ruling({"repurchase": True, "repurchase_days": 7})
        had = np.array([False, True, False])
        assert not made.bought_lately(log.histories(NOW_US, worlds.SIGNALS), had).any()

    def test_an_item_shown_so_often_without_a_click_is_not_shown_again(self):
        made = ruling({"seen": {"times": 3, "within_days": 7}})
        items = indices("aaabbcccc")
        days = np.array([1, 2, 3, 1, 2, 1, 2, 3, 4])
        shown_us = NOW_US - days * DAY_US
        tired = made.seen_too_often(items, shown_us, indices(""), NOW_US)
        assert letters(tired) == "ac"
        assert letters(made.seen_too_often(items, shown_us, indices("a"), NOW_US)) == "c"
        later = NOW_US + 5 * DAY_US  # of a's and c's only those of up to 2 days ago still count
        assert letters(made.seen_too_often(items, shown_us, indices(""), later)) == ""
