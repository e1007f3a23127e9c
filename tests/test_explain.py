"""Explain: what was not shown, by reason and with counts; what puts each item in its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_desk
from msgspec import structs
from small_desk import END_US, LADDER, PLACES, at_desk, changed, model, view

from features.types import Ragged
from serving.api import Contribution, FeedRequest
from serving.asking import people_of, who
from serving.explain import Why, excluded, explained, why_of
from serving.feed import feed
from serving.state import Answer, ItemChange
from training.policy import Step, decide
from training.rankers.base import Allowed
from training.rankers.blend import BlendForest
from training.rankers.segment_popularity import SegmentPopularityRanker


@pytest.fixture
def at(tmp_path):
    """`at(work, facts)`: what the coroutine `work` gives at a desk that was told `facts`."""
    return lambda work, facts=(), bundle=None: at_desk(tmp_path, work, facts, bundle)


async def asked(desk, user=None, visitor=None, recent=()):
    """People of one, and the terms of `home` for them."""
    asker = await who(desk.living, desk.state, user, visitor, desk.now_us(None))
    people = people_of(desk.living, asker, desk.living.catalogue.find(list(recent)))
    return people, desk.terms("home", [], None)


def away(desk, people, **reasons):
    """The same people, from whom items are kept by reason; and the reasons."""
    rows = {name: desk.living.catalogue.find(items) for name, items in reasons.items()}
    kept = Ragged.of([np.concatenate(list(rows.values()))])
    return replace(people, away=kept), rows


LATER = view("a1", after=3000, user_id="y")  # a visit ends with half an hour of silence


class TestExcluded:
    def test_names_each_item_once_by_the_first_reason_that_holds(self, at):
        """r1 is disliked and muted and had; `sold` is out of stock, whatever was said of it."""

        async def work(desk):
            people, terms = await asked(desk, user="x")
            people, reasons = away(desk, people, muted=["r1", "r2", "sold"], shown=["r2", "t1"])
            return excluded(desk, people, terms, "home", Why(away=reasons))

        facts = [view("r1", kind="dislike", user_id="x"), view("r1", kind="purchase", user_id="x"),
                 view("k1", kind="purchase", user_id="x")]  # fmt: skip
        assert at(work, facts) == {
            "not_published_yet": 1,  # soon
            "unavailable": 1,  # sold
            "disliked": 1,  # r1
            "muted": 1,  # r2
            "shown": 1,  # t1
            "had": 1,  # k1
        }

    def test_and_what_can_be_shown_are_all_there_is(self, at):
        async def work(desk):
            people, terms = await asked(desk, user="h0")
            people, reasons = away(desk, people, muted=["k1"])
            free = Allowed(terms.items, Ragged.empty(1), terms.open).indices()
            shown = decide(desk.ladder, people, replace(terms, size=50)).items[0]
            return free.size, (shown >= 0).sum(), excluded(
                desk, people, terms, "home", Why(away=reasons)
            )  # fmt: skip

        free, shown, told = at(work)
        assert (free, shown) == (10, 8)  # of twelve products one is sold, one is announced
        assert shown + sum(told.values()) == len(PLACES)
        assert told == {"not_published_yet": 1, "unavailable": 1, "muted": 1, "had": 1}

    def test_counts_the_shops_rules_by_rule_and_what_they_do_not_name_as_rules(self, at):
        async def work(desk):
            people, terms = await asked(desk)
            find, n = desk.living.catalogue.find, len(desk.living.catalogue)
            open_ = terms.open.copy()
            open_[find(["r1", "r2", "t1"])] = False
            shut = {"unavailable": [], "hidden": ["r1"], "price": ["r1", "r2"]}
            closed = {name: np.isin(range(n), find(items)) for name, items in shut.items()}
            return excluded(desk, people, replace(terms, open=open_), "home", Why(closed=closed))

        assert at(work) == {
            "not_published_yet": 1, "unavailable": 1, "hidden": 1, "price": 1, "rules": 1
        }  # fmt: skip

    def test_what_a_rule_shows_although_it_is_sold_out_is_not_counted(self, at):
        async def work(desk):
            people, terms = await asked(desk)
            open_ = terms.open.copy()
            open_[desk.living.catalogue.find(["sold"])] = True
            return excluded(desk, people, replace(terms, open=open_), "home")

        assert at(work) == {"not_published_yet": 1}

    def test_is_about_the_category_that_was_asked_for(self, at):
        async def work(desk):
            people, terms = await asked(desk)
            found = []
            for path in ("kitchen", "garden", "garden/tools", "nowhere"):
                items = desk.shelf("home").within(desk.living, path)
                why = Why(category=path)
                found.append(excluded(desk, people, replace(terms, items=items), "home", why))
            return found

        facts = [ItemChange(item_id="t1", at_us=END_US + 1, available=False)]
        sold = {"unavailable": 1}
        assert at(work, facts) == [{"not_published_yet": 1, **sold}, sold, sold, {}]

    def test_tells_apart_what_a_person_the_page_and_the_rules_leave_out(self, at):
        """x muted r1, has r2 on the page, bought k1 lately, and has seen k2 here and t2 there."""
        rule = {"repurchase": True, "repurchase_days": 9, "seen": {"times": 1}, "hide": "price > 5"}
        home = {"home": {"kind": "product", "not_repeated_for_days": 9}, "hall": {}}
        bundle = changed(model(), repeat={"product": "allow"}, rules=[rule], placements=home)

        async def work(desk):
            asker = await who(desk.living, desk.state, "x", None, desk.now_us(None))
            shown = [(END_US, "home", ["k2"]), (END_US, "hall", ["t2"])]
            asker = replace(asker, recalled=structs.replace(asker.recalled, shown=shown))
            people, terms = await asked(desk, user="x")
            ruling = desk.ruling("home", people, "one_to_one", None)
            why = why_of(desk, asker, people, ("home", ruling), ["r2"])
            people, _ = away(desk, people, every=["r1", "r2", "k1", "k2", "t2"])
            return excluded(desk, people, replace(terms, open=ruling.open), "home", why)

        facts = [Answer(user_id="x", question="mute_item", answer="r1", answered_us=1),
                 view("k1", kind="purchase", user_id="x"),
                 ItemChange(item_id="t1", at_us=END_US + 1, price=9.0)]  # fmt: skip
        assert at(work, facts, bundle) == {
            "not_published_yet": 1, "unavailable": 1, "hidden": 1, "muted": 1,
            "on_this_page_or_before": 1, "bought_lately": 1, "shown_lately": 1, "seen_too_often": 1,
        }  # fmt: skip

    def test_is_told_with_explain_only(self, at):
        async def work(desk):
            told = [await feed(desk, FeedRequest(placement="home", explain=explain))
                    for explain in (True, False)]  # fmt: skip
            return told[0]["excluded"], "excluded" in told[1], "because" in told[1]["items"][0]

        assert at(work) == ({"not_published_yet": 1, "unavailable": 1}, False, False)


@pytest.fixture
def because(at):
    """Item -> [(of, text)] of an explained feed: `because(facts, **request)`."""

    def run(facts=(), bundle=None, **request):
        async def work(desk):
            asking = FeedRequest(placement="home", explain=True, **request)
            answer = await feed(desk, asking)
            for one in answer["items"]:
                [Contribution.model_validate(said) for said in one["because"]]
            return {one["item_id"]: [(said["of"], said["text"]) for said in one["because"]]
                    for one in answer["items"]}  # fmt: skip

        return at(work, facts, bundle)

    return run


class TestBecause:
    def test_tells_a_past_from_a_visit(self, because):
        told = because([view("r1", user_id="x"), LATER], user_id="x", recent=["r2"])
        assert told["t1"] == [
            ("session", "R2, in this visit"),
            ("history", "R1, before this visit"),
        ]

    def test_names_at_most_three(self, because):
        """What was bought says more than what was looked at."""
        past = [view(one, user_id="x") for one in ("r1", "t1", "r3")]
        past.append(view("r2", kind="purchase", user_id="x"))
        told = because([*past, LATER], user_id="x")
        assert [text[:2] for _, text in told["r1"]] == ["R2", "R1", "T1"]

    def test_of_a_lower_rung_nothing_from_above(self, at):
        """On rung context a ranker that could name the past names the visit only."""

        async def work(desk):
            desk.living.bundle.ladder[1] = replace(desk.ladder[0], rung="context")
            told = []
            for rung in ("one_to_one", "context"):
                answer = await feed(desk, FeedRequest(placement="home", user_id="x", recent=["r2"],
                                                      explain=True, highest_rung=rung))  # fmt: skip
                told.append({one["item_id"]: {said["text"] for said in one["because"]}
                             for one in answer["items"]}["t1"])  # fmt: skip
            return told

        assert at(work, [view("r1", user_id="x"), LATER]) == [
            {"R2, in this visit", "R1, before this visit"}, {"R2, in this visit"}
        ]  # fmt: skip

    def test_sensitive_items_are_never_named(self, because):
        """Who looks at h1 also looks at r1: it adds to r1's score, and is not named for it."""
        assert because(recent=["h1"])["r1"][0][0] == "popularity"
        told = because([view("h1", user_id="x"), view("r3", user_id="x"), LATER], user_id="x")
        assert told["r1"] == [("history", "R3, before this visit")]
        assert "H1" not in str(told)

    def test_neither_is_what_lies_in_a_category_of_sensitive_items_or_below_it(self, because):
        """h3 lies in health/care/mild; it is followed by r1 in many visits."""
        facts = [view(one, user_id=f"y{n}", after=n + step / 2)
                 for n in range(9) for step, one in enumerate(("h3", "r1"))]  # fmt: skip
        told = because(facts, recent=["h3"])
        assert told["r1"] == []
        assert "H3" not in str(told)

    def test_says_how_many_people_only_where_they_are_many(self, because):
        """h1 was bought by one; r1 was looked at by thirteen."""
        told = because()
        assert told["h1"] == [("popularity", "number 1 in popularity right now")]
        place, crowd = "number 3 in popularity right now", "13 people showed interest in it"
        assert told["r1"] == [("popularity", f"{place}; {crowd}")]

    def test_what_nobody_wants_is_from_the_shops_range(self, because):
        assert because(size=20)["t2"] == [("the shop", "from the shop's range, the newest first")]

    def test_names_the_group_only_where_many_want_the_item(self, at):
        """The group wants r1, as thirteen people do, and h1, as one does."""
        grouped = replace(model(), manifest={**model().manifest, "segments": ["gardeners"]})

        async def work(desk):
            people, terms = await asked(desk)
            people = replace(people, queries=replace(people.queries, segment=np.zeros(1, np.int16)))
            shares = np.full((1, len(desk.living.catalogue)), np.nan, dtype=np.float32)
            shares[0, desk.living.catalogue.find(["r1", "h1"])] = 0.5, 0.4
            ranker = SegmentPopularityRanker(shares, half_life_days=1, prior=1)
            desk.living.bundle.ladder[0] = Step("segment", "segment_popularity", ranker)
            items = [{"marks": [], "ranker": "segment_popularity"} for _ in range(2)]
            explained(desk, people, decide(desk.ladder, people, terms), items)
            return [[(one["of"], one["text"]) for one in item["because"]] for item in items]

        assert at(work, bundle=grouped) == [[("segment", "wanted in the group gardeners")], []]

    def test_says_what_was_left_to_chance_and_nothing_else(self, at):
        told = _explained(at, ranker="chance", marks=["explored"])
        assert told == [("chance", "shown by chance, to learn who wants it")]

    def test_says_what_the_shops_rules_did(self, at):
        marks = ["pinned", "boosted 5", "buried 1", "boosted", "of another kind"]
        assert [text for _, text in _explained(at, marks=marks, ranker="rules")] == [
            "the shop has given it this place", "moved up 5 places by the shop",
            "moved down 1 place by the shop", "moved up by the shop", "of another kind",
        ]  # fmt: skip


def _explained(at, marks=(), ranker="popularity"):
    """What is said of the first item of a stranger's feed."""

    async def work(desk):
        people, terms = await asked(desk)
        items = [{"marks": list(marks), "ranker": ranker}]
        explained(desk, people, decide(desk.ladder, people, terms), items)
        return [(one["of"], one["text"]) for one in items[0]["because"]]

    return at(work)


def test_of_a_blend_the_grounds_are_those_of_the_rankers_that_it_asks(at):
    async def work(desk):
        """The forest itself is not asked, so it needs no trees."""
        forest = BlendForest(model=None, side=None, inputs=list(small_desk.NAMES), candidates=9)
        step = Step("one_to_one", "blend", forest.bound(desk.bundle.rankers))
        people, terms = await asked(desk, user="d0", recent=["r1"])
        feeds = decide([desk.ladder[0]], people, replace(terms, size=6))
        desk.living.bundle.ladder[0] = step
        items = [{"marks": [], "ranker": "blend"} for _ in range((feeds.items[0] >= 0).sum())]
        explained(desk, people, feeds, items)
        shown = desk.living.catalogue.texts(feeds.items[0, : len(items)])
        return {item: [one["text"] for one in told["because"]]
                for item, told in zip(shown, items, strict=True)}  # fmt: skip

    told = at(work)
    assert told["k2"][:2] == ["K1, before this visit", "K2, before this visit"]
    assert told["k2"][2].startswith("number ")
    assert told["t1"][0] == "R1, in this visit"


class TestAnswers:
    def told(self, at, answer, question="topic", heeds=True, item="r1", near="r2"):
        """What answers put an item there; neighbours passes for content."""

        async def work(desk):
            if heeds:
                step = desk.ladder[0]
                desk.living.bundle.ladder[0] = Step(step.rung, "content", step.ranker)
            request = FeedRequest(placement="home", explain=True, user_id="x", recent=[near])
            answer = await feed(desk, request)
            one = next(one for one in answer["items"] if one["item_id"] == item)
            return [said["text"] for said in one["because"] if said["of"] == "answer"]

        said = Answer(user_id="x", question=question, answer=answer, answered_us=1)
        return at(work, [said])

    def test_that_name_its_category_or_one_above_it_are_named(self, at):
        assert LADDER[0][1] == "neighbours"
        assert self.told(at, "garden") == ["you told us of garden"]

    def test_that_ask_for_less_are_named_as_that(self, at):
        assert self.told(at, "roses", "less_of_this") == ["you asked for less of garden/roses"]

    @pytest.mark.parametrize("answer", ["kitchen", "health/care"])
    def test_of_other_categories_are_not(self, at, answer):
        assert self.told(at, answer) == []

    def test_of_one_before_it_are_not_either(self, at):
        assert self.told(at, "garden", item="k2", near="k1") == []
        assert self.told(at, "kitchen", item="k2", near="k1") == ["you told us of kitchen"]

    def test_of_a_sensitive_category_are_never_named(self, at):
        assert self.told(at, "health/care", item="h1", near="r3") == []

    def test_are_no_ground_for_a_ranker_that_does_not_look_at_them(self, at):
        assert self.told(at, "garden", heeds=False) == []


def test_the_counts_of_people_are_those_of_the_log():
    catalogue = model().catalogue
    assert catalogue.people[catalogue.find(["r1", "h1", "t2"])].tolist() == [13, 1, 0]
