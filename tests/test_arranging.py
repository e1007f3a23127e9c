"""The merchant's order: which rule wins over which, and what a feed comes to."""

from pathlib import Path

import numpy as np
import pytest
from shelves import LETTERS, NOW_US, arranged, feed, indices, letters, ruling

from training.arranging import (
    END,
    TOP,
    Arrangement,
    Limit,
    Mark,
    Pin,
    Promotion,
    Turn,
    arrange,
    turn_seed,
)  # fmt: skip
from training.race import likeness
from training.sorting import sort

ADA, BO, CY = "brand = 'Ada'", "brand = 'Bo'", "brand = 'Cy'"  # abc, def, g (and h, sold out)


def pin(item, position=1, **when):
    return {"pin": [{"item": item, "position": position, **when}]}


def boost(rule, by):
    return {"boost": [{"filter": rule, "by": by}]}


def bury(rule, by):
    return {"bury": [{"filter": rule, "by": by}]}


def promote(rule, share):
    return {"promote": {"filter": rule, "share": share}}


ONE_A_BRAND = {"max_per": {"brand": 1}}


CASES = [
    ("hide", "pin", [{"hide": "item_id = 'c'"}, pin("c")], {}, "abde"),
    ("only", "pin", [{"only": BO}, pin("a")], {}, "def"),
    ("price", "pin", [{"price": {"max": 25}}, pin("c")], {}, "ab"),
    ("out of stock", "pin", [pin("h")], {}, "abcd"),
    ("hide", "promote", [{"hide": CY}, promote(CY, 1)], {}, "abcd"),
    ("only", "promote", [{"only": BO}, promote(CY, 1)], {}, "def"),
    ("price", "promote", [{"price": {"max": 25}}, promote(CY, 1)], {}, "ab"),
    ("out of stock", "promote", [promote("item_id = 'h'", 1)], {}, "abcd"),
    ("hide", "boost", [{"hide": CY}, boost(CY, "top")], {}, "abcd"),
    ("only", "boost", [{"only": BO}, boost(CY, "top")], {}, "def"),
    ("price", "boost", [{"price": {"max": 25}}, boost(CY, "top")], {}, "ab"),
    ("out of stock", "boost", [boost("item_id = 'h'", "top")], {}, "abcd"),
    ("the person's dislike or mute", "pin", [pin("c")], {"barred": "c"}, "abde"),
    ("the person's dislike or mute", "promote", [promote(CY, 1)], {"barred": "g"}, "abcd"),
    ("the person's dislike or mute", "boost", [boost(CY, "top")], {"barred": "g"}, "abcd"),
    ("the first pin of a slot", "a second one there", [pin("c"), pin("d")], {}, "cdab"),
    ("the first pin", "another of the item", [pin("c", 2), pin("c", 1)], {}, "acbd"),
    ("pin", "max_per", [ONE_A_BRAND, pin("b"), pin("c", 2)], {}, "bcdg"),
    ("pin", "promote", [promote(CY, 1), pin("a")], {}, "agbc"),
    ("pin", "boost", [boost("item_id = 'd'", "top"), pin("c")], {}, "cdab"),
    ("pin", "bury", [bury("item_id = 'a'", "end"), pin("a")], {}, "abcd"),
    ("pin", "diversity", [{"diversity": 1}, pin("b", 2)], {}, "abed"),
    ("pin", "rotate", [{"rotate": 1}, pin("g", 1), pin("b", 2)], {"size": 2}, "gb"),
    ("max_per", "promote", [ONE_A_BRAND, promote(ADA, 1)], {"ranked": "gdabcef"}, "agd"),
    ("max_per", "boost", [ONE_A_BRAND, boost(ADA, "top")], {"ranked": "gdabcef"}, "agd"),
    ("max_per", "diversity", [ONE_A_BRAND, {"diversity": 0.9}], {}, "aeg"),
    ("promote", "boost", [promote(CY, 0.25), boost(BO, "top")], {}, "dgef"),
    ("promote", "bury", [promote(CY, 0.25), bury(CY, "end")], {}, "agbc"),
    ("promote", "diversity", [promote(ADA, 1), {"diversity": 1}], {}, "acbe"),
    ("promote", "rotate", [promote(CY, 1), {"rotate": 1}], {"size": 1}, "g"),
    ("bury: end", "boost: top", [boost("item_id = 'c'", "top"), bury("item_id = 'c'", "end")],
     {}, "abde"),
    ("boost: top", "bury by places", [boost(CY, "top"), bury(CY, 3)], {}, "gabc"),
    ("the stricter limit", "the other", [{"max_per": {"brand": 2}}, ONE_A_BRAND], {}, "adg"),
    ("the stricter price", "the other", [{"price": {"max": 45}}, {"price": {"max": 25}}], {},
     "ab"),
    ("hide", "only", [{"only": BO}, {"hide": "item_id = 'd'"}], {}, "ef"),
]  # fmt: skip


@pytest.mark.parametrize(("winner", "loser", "rules", "given", "shown"), CASES)
def test_one_rule_beats_another(winner, loser, rules, given, shown):
    assert feed(*rules, **given) == shown, f"{winner} beats {loser}"


def test_there_is_a_case_for_every_line_of_the_page():
    page = (Path(__file__).parent.parent / "docs" / "rules.md").read_text(encoding="utf-8")
    table = page.partition("| this | beats | because |")[2].partition("\n\n")[0]
    rows = [line.replace("`", "").split(" | ") for line in table.splitlines()[2:]]
    told = {
        (winner, loser)
        for winners, losers, _ in rows
        for winner in winners.removeprefix("| ").split(", ")
        for loser in losers.split(", ")
    }
    of_the_policy = {("pin", loser) for loser in ("seen", "repurchase", "repeat")}
    assert of_the_policy < told
    assert told - of_the_policy <= {(winner, loser) for winner, loser, *_ in CASES}


class TestMoves:
    @pytest.mark.parametrize(
        ("rules", "shown"),
        [
            ([boost("item_id = 'd'", 2)], "adbc"),
            ([boost("item_id = 'd'", 9)], "dabc"),
            ([boost("item_id = 'd'", "top")], "dabc"),
            ([bury("item_id = 'b'", 1)], "acbd"),
            ([bury("item_id = 'b'", 9)], "acde"),
            ([bury(ADA, "end")], "defg"),
            ([boost("item_id = 'd'", 2), bury("item_id = 'd'", 1)], "abdc"),
            ([boost(CY, "top"), boost("item_id = 'f'", "top")], "fgab"),
        ],
    )
    def test_are_by_places_whatever_the_ranker(self, rules, shown):
        assert feed(*rules) == shown

    def test_are_told_for_each_item(self):
        found = arranged(boost("item_id = 'd'", 2), bury("item_id = 'b'", 1))
        assert letters(found.items) == "adcb"
        assert found.marks.tolist() == [0, Mark.boosted, 0, Mark.buried]
        assert found.moved.tolist() == [0, 2, 0, -1]


class TestPins:
    def test_hold_between_two_moments(self):
        when = {"starts": "2023-11-14T22:00:00Z", "until": "2023-11-14T22:13:20Z"}
        us = [NOW_US - 1, NOW_US, NOW_US - 800_000_000 - 1]  # NOW_US is 22:13:20
        feeds = [feed(pin("g", **when), turn=Turn(moment)) for moment in us]
        assert feeds == ["gabc", "abcd", "abcd"]

    def test_need_not_be_among_the_candidates(self):
        found = arranged(pin("g", 2), ranked="abc")
        assert letters(found.items) == "agbc"
        assert found.places.tolist() == [0, -1, 1, 2]
        assert found.marks.tolist() == [0, Mark.pinned, 0, 0]

    def test_move_up_where_the_feed_ends_before_their_slot(self):
        assert feed(pin("g", 4), ranked="ab") == "abg"

    def test_beyond_the_feed_are_not_shown(self):
        assert feed(pin("g", 5)) == "abcd"

    def test_are_neither_boosted_nor_buried(self):
        found = arranged(pin("g"), boost(CY, "top"))
        assert (found.marks.tolist(), found.moved.tolist()) == ([Mark.pinned, 0, 0, 0], [0] * 4)

    def test_that_cannot_be_shown_leave_their_slots(self):
        assert feed(pin("h"), pin("b"), barred="b") == "acde"

    def test_count_their_positions_over_all_pages(self):
        rules = [pin("h", 1), pin("g", 2), pin("f", 6)]
        assert feed(*rules, turn=Turn(NOW_US, barred=indices("g"), offset=4)) == "afbc"


class TestPromotions:
    def test_lift_what_is_missing_for_their_share_and_mark_it(self):
        found = arranged(promote(CY, 0.25))
        assert letters(found.items) == "agbc"  # 1 of 4, owed from the second slot on
        assert found.marks.tolist() == [0, Mark.promoted, 0, 0]

    def test_leave_alone_what_has_its_share_on_merit(self):
        found = arranged(promote(ADA, 0.5))
        assert (letters(found.items), found.marks.any()) == ("abcd", False)

    def test_take_turns(self):
        assert feed(promote(BO, 0.5), promote(CY, 0.5)) == "dgea"

    @pytest.mark.parametrize(
        ("share", "owed"), [(0.2, [0, 0, 1, 1, 1]), (0.5, [1, 1, 2, 2, 3]), (0.1, [0, 0, 0, 0, 1])]
    )
    def test_owe_the_nearest_whole_number(self, share, owed):
        promotion = Promotion(np.ones(1, np.bool_), share)
        assert [promotion.due(slots) for slots in (1, 2, 3, 4, 5)] == owed

    def test_are_asked_for_where_the_ranker_found_too_few(self):
        order = ruling(promote(CY, 0.5)).arrangement
        ((wanted, missing),) = order.lacking(indices("abcd"), 4)
        assert (letters(np.flatnonzero(wanted)), missing) == ("g", 2)
        assert order.lacking(indices("g"), 2) == []


class TestLimits:
    def test_stop_a_group_that_is_full(self):
        assert feed({"max_per": {"brand": 2}}) == "abde"

    def test_count_what_is_pinned_once(self):
        assert feed({"max_per": {"brand": 2}}, pin("c")) == "cade"

    @pytest.mark.parametrize(("depth", "shown"), [(None, "aceg"), (1, "ae"), (2, "aceg")])
    def test_compare_paths_as_deep_as_they_are_told(self, depth, shown):
        rule = {"max_per": {"category": 1}} | ({"category_depth": depth} if depth else {})
        assert feed(rule) == shown

    def test_never_hold_for_items_without_a_group(self):
        there = np.ones(3, np.bool_)
        order = Arrangement(there, limits=(Limit(np.array([-1, -1, 0], np.int32), 1),))
        assert arrange(np.arange(3, dtype=np.int32), 3, order, Turn(0)).items.tolist() == [0, 1, 2]


class TestDiversity:
    def test_likeness_is_the_share_of_what_both_are_made_of(self):
        parts = np.array([[0, 1, 7], [0, 1, 7], [0, 2, 7], [0, -1, -1], [-1, -1, -1]], np.int32)
        alike = likeness(parts)
        assert alike[0].tolist() == pytest.approx([1, 1, 2 / 3, 1 / 2, 0])
        assert alike[4].tolist() == [0] * 5
        assert (alike == alike.T).all()

    def test_an_item_quite_like_another_falls_by_dial_over_rest_feeds(self):
        # a and b are alike; at a dial of 0.2 b falls by 0.2 / 0.8 of 4 places: level with c, d next
        parts = np.array([[0], [0], [1], [2], [3]], np.int32)
        there = np.ones(5, np.bool_)
        orders = [
            arrange(np.arange(5, dtype=np.int32), 4,
                    Arrangement(there, parts=parts, diversity=dial), Turn(0)).items.tolist()
            for dial in (0.0, 0.19, 0.21, 0.32, 0.34)
        ]  # fmt: skip
        assert orders == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 2, 1, 3], [0, 2, 1, 3], [0, 2, 3, 1]]

    def test_marks_what_went_before_a_better_one(self):
        parts = np.array([[0], [0], [1], [2], [3]], np.int32)
        order = Arrangement(np.ones(5, np.bool_), parts=parts, diversity=0.21)
        found = arrange(np.arange(5, dtype=np.int32), 4, order, Turn(0))
        assert found.marks.tolist() == [0, Mark.diversified, 0, 0]


class TestRotation:
    def test_is_the_same_for_a_person_and_an_hour(self):
        hour = 3_600_000_000
        first = turn_seed("u:1", 5 * hour)
        assert turn_seed("u:1", 6 * hour - 1) == first
        assert len({first, turn_seed("u:1", 6 * hour), turn_seed("u:2", 5 * hour)}) == 3

    def test_varies_the_order_by_no_more_than_its_share_of_the_feed(self):
        order = Arrangement(np.ones(100, np.bool_), rotation=0.3)
        items = np.arange(100, dtype=np.int32)
        feeds = [arrange(items, 10, order, Turn(0, seed=seed)).items for seed in range(50)]
        assert len({tuple(one) for one in feeds}) > 40
        assert max(abs(one - np.arange(10)).max() for one in feeds) == 2  # below 0.3 of 10

    def test_marks_what_stands_elsewhere(self):
        order = Arrangement(np.ones(100, np.bool_), rotation=0.3)
        found = arrange(np.arange(100, dtype=np.int32), 10, order, Turn(0, seed=1))
        elsewhere = found.items != np.arange(10)
        assert elsewhere.any()
        assert (found.marks == np.where(elsewhere, Mark.rotated, 0)).all()


def random_order(rng, n):
    """Any rules at once, but limits."""
    return {
        "pins": tuple(Pin(int(rng.integers(n)), int(rng.integers(8))) for _ in range(2)),
        "promotions": (Promotion(rng.random(n) < 0.2, 0.3),),
        "places": rng.choice([0, 0, 0, 5, -5, 12], n).astype(np.int32), "farthest": (12, 5),
        "parts": rng.integers(-1, 4, (n, 3)).astype(np.int32),
        "diversity": float(rng.choice([0, 0.3, 0.7])), "rotation": float(rng.choice([0, 0.5])),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "depth"),
    [
        ({}, 10),
        ({"pins": (Pin(0, 0), Pin(1, 1))}, 12),
        ({"farthest": (3, 4)}, 17),
        ({"farthest": (500, 500)}, 60),  # not deeper than five feeds
        ({"rotation": 0.25}, 13),
        ({"diversity": 0.5}, 20),
        ({"diversity": 1.0}, 50),
        ({"limits": (Limit(np.zeros(1, np.int32), 1),)}, 50),
    ],
)
def test_how_many_candidates_ten_places_want(parts, depth):
    assert Arrangement(np.ones(1, np.bool_), **parts).depth(10) == depth


@pytest.mark.parametrize("seed", range(30))
class TestWhateverTheRules:
    def test_a_feed_has_no_item_twice_and_none_that_nobody_named(self, seed):
        rng = np.random.default_rng(seed)
        codes = rng.integers(-1, 6, 60).astype(np.int32)
        there = rng.random(60) < 0.9
        order = Arrangement(there, limits=(Limit(codes, 2),), **random_order(rng, 60))
        items = rng.permutation(np.flatnonzero(there))[:40].astype(np.int32)
        found = arrange(items, 12, order, Turn(0, seed, barred=items[:1]))
        shown = found.items.tolist()
        pinned = found.marks == Mark.pinned
        assert len(set(shown)) == len(shown) <= 12
        assert set(shown) <= {*items.tolist(), *(one.item for one in order.pins)}
        assert there[found.items].all()
        groups = codes[found.items[~pinned]]
        assert np.bincount(groups[groups >= 0], minlength=6).max() <= 2
        among = found.places >= 0
        assert (items[found.places[among]] == found.items[among]).all()

    def test_what_lies_deeper_than_depth_cannot_come_in(self, seed):
        rng = np.random.default_rng(seed)
        moves = random_order(rng, 400) | {"promotions": ()}
        order = Arrangement(np.ones(400, np.bool_), **moves)
        items = rng.permutation(400).astype(np.int32)
        seen = items[: order.depth(12)]
        few, all_ = (arrange(one, 12, order, Turn(0, seed)).items for one in (seen, items))
        assert few.tolist() == all_.tolist()


class TestSorting:
    SCORES = np.array([8, 7, 6, 5, 4, 3, 2, 1], np.float32)  # a is best

    def sorted(self, given, *rules, explicit=None, scores=None):
        """The order of a list in which `?` is an id that nobody knows."""
        items = np.array([LETTERS.find(one) for one in given], dtype=np.int32)
        relevance = np.where(items < 0, np.nan, self.SCORES[items]) if scores is None else scores
        keys = None if explicit is None else np.array(explicit, dtype=np.float64)
        order = ruling(*rules).arrangement if rules else None
        found = sort(items, relevance.astype(np.float32), order, Turn(NOW_US), keys)
        return "".join(given[place] for place in found.order)

    def test_is_by_relevance_and_unknown_ids_keep_their_order_at_the_end(self):
        assert self.sorted("?cab!d") == "abcd?!"

    def test_what_has_no_score_follows_what_has_one(self):
        assert self.sorted("abc", scores=np.array([np.nan, 1, 2])) == "cba"

    def test_moves_by_places_and_then_pins(self):
        rules = [boost("item_id = 'd'", 2), bury("item_id = 'a'", "end"), pin("c")]
        assert self.sorted("dcba?", *rules) == "cdba?"

    def test_what_may_not_be_shown_stands_behind_what_may(self):
        rules = [{"hide": "item_id = 'a'"}, pin("a"), boost("item_id = 'h'", "top")]
        assert self.sorted("?hab", *rules) == "bah?"

    def test_not_even_the_shoppers_own_sort_puts_what_may_not_be_shown_first(self):
        """a is hidden and h is sold out: behind the rest, and there in the shopper's order."""
        rules = [{"hide": "item_id = 'a'"}, boost("item_id = 'h'", "top")]
        assert self.sorted("?abh!c", *rules, explicit=[0, 2, 4, 1, 0, 3]) == "cbha?!"

    def test_the_shoppers_own_sort_comes_first_and_rules_break_its_ties(self):
        rules = [boost("item_id = 'd'", "top"), pin("c")]
        prices = [30, 10, 10, 10, np.nan]
        assert self.sorted("abcd?", *rules, explicit=prices) == "cdba?"
        assert self.sorted("abcd?", *rules, explicit=[1, 2, 3, 4, 0]) == "abcd?"

    def test_a_pin_of_what_is_not_in_the_list_is_nothing(self):
        assert self.sorted("ab", pin("g"), pin("b")) == "ba"

    @pytest.mark.parametrize("others", ["", "???", "h", "h??"])
    def test_a_pin_counts_places_of_what_may_be_shown_and_at_most_to_its_end(self, others):
        assert self.sorted(others + "abc", pin("a", 5)) == "bca" + others
        assert self.sorted("abc" + others, pin("c", 2)) == "acb" + others

    @pytest.mark.parametrize("seed", range(20))
    def test_never_loses_or_invents_an_id(self, seed):
        rng = np.random.default_rng(seed)
        items = rng.integers(-1, 50, 300).astype(np.int32)
        parts = {"places": rng.choice([0, 3, -3, TOP, END], 50).astype(np.int32)}
        order = Arrangement(rng.random(50) < 0.8, pins=(Pin(3, 2), Pin(4, 2), Pin(9, 290)), **parts)
        keys = rng.choice([1.0, 2.0, np.nan], 300) if seed % 2 else None
        scores = rng.choice([1.0, 2.0, np.nan], 300).astype(np.float32)
        found = sort(items, scores, order, Turn(0), keys)
        assert sorted(found.order.tolist()) == list(range(300))
