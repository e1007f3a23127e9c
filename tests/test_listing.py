"""The order of a listing page: all of its items, in the order for whoever looks at it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small_desk import END, PLACES, at_desk, changed, model, view

from serving import telling
from serving.api import SortRequest, SortResponse
from serving.api_told import CatalogueRequest, ItemIn, PreferencesRequest
from serving.listing import sort
from training.item_facts import UNBORN

PAGE = ["k2", "k1", "r3", "r1"]  # by popularity it is r3, r1, k2, k1
PRICES = {"k2": 20.0, "k1": 5.0, "r3": 10.0}  # r1 has none
PIN = {"pin": [{"item": "k1", "position": 1}]}
BOOST = {"boost": [{"filter": "item_id = 'r1'", "by": 1}]}
HIDE = {"hide": "item_id = 'r3'"}


@pytest.fixture
def page(tmp_path):
    """`page(rules, facts, **request)`: the answer to a listing page of PAGE."""

    def answer(*rules, facts=(), **request):
        async def work(desk):
            items = [ItemIn(item_id=one, price=price) for one, price in PRICES.items()]
            await telling.catalogue(desk, CatalogueRequest(items=items))
            asked = {"placement": "home", "item_ids": PAGE, **request}
            found = await sort(desk, SortRequest(**asked))
            assert SortResponse.model_validate(found)
            return found

        return at_desk(tmp_path, work, facts, changed(model(), rules=list(rules)))

    return answer


def letters(answer):
    return " ".join(answer["item_ids"])


class TestWhichGoesFirst:
    """Shopper, pins, boosts, relevance: each beats those that come after it."""

    @pytest.mark.parametrize(
        ("rules", "sort_by", "order"),
        [
            ([], None, "r3 r1 k2 k1"),
            ([BOOST], None, "r1 r3 k2 k1"),
            ([BOOST, PIN], None, "k1 r1 r3 k2"),
            ([BOOST, PIN], "price", "k1 r3 k2 r1"),
            ([BOOST, PIN], "title", "k1 k2 r1 r3"),
            ([HIDE], None, "r1 k2 k1 r3"),
            ([HIDE], "price", "k1 k2 r1 r3"),
            ([HIDE, {"pin": [{"item": "r3", "position": 1}]}], None, "r1 k2 k1 r3"),
        ],
        ids=["relevance", "boost", "pin over boost", "price over pin", "title over pin",
             "hidden is behind the rest", "for a shopper who sorts, too", "hidden beats pin"],
    )  # fmt: skip
    def test_the_order_is(self, page, rules, sort_by, order):
        assert letters(page(*rules, sort_by=sort_by)) == order

    def test_among_equals_for_the_shopper_pins_boosts_and_relevance_decide(self, page):
        """Nothing here has a date of its own, so all are equally new."""
        assert letters(page(BOOST, PIN, sort_by="newest")) == "k1 r1 r3 k2"


class TestTheShoppersOwnOrder:
    @pytest.mark.parametrize(
        ("sort_by", "descending", "order"),
        [
            ("price", False, "k1 r3 k2 r1"),  # who has no price comes last
            ("price", True, "k2 r3 k1 r1"),  # in both directions
            ("title", False, "k1 k2 r1 r3"),
            ("title", True, "r3 r1 k2 k1"),
            ("popularity", False, "r3 r1 k2 k1"),  # the most popular first
            ("popularity", True, "k1 k2 r1 r3"),
        ],
    )
    def test_is(self, page, sort_by, descending, order):
        answer = page(sort_by=sort_by, descending=descending, explain=True)
        assert letters(answer) == order
        assert {one["ranker"] for one in answer["placed"]} == {"shopper"}

    def test_by_newest_has_what_has_just_been_listed_first(self, page, tmp_path):
        async def work(desk):
            items = [
                ItemIn(item_id="fresh", kind="product"),
                ItemIn(item_id="older", kind="product", published_at=END - timedelta(days=1)),
            ]
            await telling.catalogue(desk, CatalogueRequest(items=items))
            undated = int(desk.living.catalogue.find(["k2"])[0])
            desk.living.catalogue.tell(undated, born_us=UNBORN)
            asked = {"placement": "home", "item_ids": ["k2", "k1", "older", "fresh"]}
            return [await sort(desk, SortRequest(**asked, sort_by="newest", descending=turned))
                    for turned in (False, True)]  # fmt: skip

        newest, oldest = at_desk(tmp_path / "other", work)
        assert letters(newest) == "fresh older k1 k2", "nobody knows since when there is a k2"
        assert letters(oldest) == "k1 older fresh k2"


class TestWhoLooks:
    def test_a_stranger_gets_the_order_of_popularity(self, page):
        answer = page(explain=True)
        assert (answer["decision"], answer["reason"], answer["rung"]) == (
            "show", "stranger", "one_for_all",
        )  # fmt: skip
        assert [one["ranker"] for one in answer["placed"]] == ["popularity"] * 4

    def test_a_visitor_gets_what_goes_with_this_visit_first(self, page):
        answer = page(recent=["k1"], explain=True)
        assert letters(answer).startswith("k2")
        assert answer["reason"] == "current_session"
        assert answer["placed"][0]["rung"] == "context"

    def test_a_customer_gets_their_own(self, page):
        answer = page(user_id="d0")  # looked at k1 and k2
        assert (answer["reason"], answer["rung"]) == ("known_history", "one_to_one")
        assert letters(answer).startswith("k")

    def test_of_whom_a_lower_rung_speaks_gets_a_fallback(self, page):
        """d0 has only looked at k1 and k2, which say nothing of health."""
        answer = page(item_ids=["h3"], user_id="d0")
        assert (answer["decision"], answer["reason"]) == ("fallback", "no_opinion")

    def test_what_was_bought_stays_on_the_page(self, page):
        bought = view("k2", kind="purchase", user_id="d0")
        assert "k2" in page(user_id="d0", facts=[bought])["item_ids"][:2]

    def test_what_is_disliked_stands_behind_the_rest(self, page):
        disliked = view("r3", kind="dislike", visitor_id="tab")
        assert letters(page(visitor_id="tab", facts=[disliked])) == "r1 k2 k1 r3"

    def test_what_is_muted_stands_behind_the_rest(self, tmp_path):
        async def work(desk):
            told = PreferencesRequest(visitor_id="tab", mute_categories=["garden"])
            await telling.preferences(desk, told)
            return await sort(desk, SortRequest(placement="home", visitor_id="tab", item_ids=PAGE))

        assert letters(at_desk(tmp_path, work)).split()[:2] == ["k2", "k1"]


class TestNothingIsLost:
    def test_what_cannot_be_had_is_near_the_end_and_what_nobody_knows_at_the_end(self, page):
        answer = page(item_ids=["?2", "sold", "r1", "?1", "soon", "a1", "k1", "r1"])
        assert letters(answer) == "r1 r1 k1 a1 sold soon ?2 ?1"
        assert answer["unknown_items"] == ["?2", "?1"]
        assert answer["unavailable_items"] == ["sold", "soon", "a1"], "a1 is no product"

    def test_what_is_sold_out_is_behind_the_rest_however_cheap(self, page):
        answer = page(item_ids=["?", "k1", "soon", "sold", "r3"], sort_by="title")
        assert letters(answer) == "k1 r3 sold soon ?"

    def test_ids_come_back_as_they_were_written(self, page):
        assert letters(page(item_ids=["K2", "r3"])) == "r3 K2"

    def test_a_page_of_unknown_ids_comes_back_as_it_is(self, page):
        answer = page(item_ids=["?2", "?1"], user_id="d0")
        assert letters(answer) == "?2 ?1"
        assert (answer["decision"], answer["reason"]) == ("fallback", "no_opinion")

    def test_a_page_of_which_nothing_is_wanted_comes_back_too(self, page):
        disliked = view("r3", kind="dislike", visitor_id="tab")
        answer = page(item_ids=["r3"], visitor_id="tab", facts=[disliked])
        assert letters(answer) == "r3"
        assert (answer["decision"], answer["reason"]) == ("fallback", "no_opinion")

    def test_two_thousand_ids_are_sorted_and_one_more_is_refused(self, page):
        ids = [f"?{n}" for n in range(1999)]
        assert page(item_ids=[*ids, "r1"])["item_ids"] == ["r1", *ids]
        with pytest.raises(ValidationError, match="at most 2000"):
            SortRequest(placement="home", item_ids=[*ids, "r1", "r3"])

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        ids=st.lists(
            st.sampled_from([*PLACES, "a1", "?1", "?2", "?3", "R1"]), min_size=1, max_size=30
        ),
        request_=st.fixed_dictionaries(
            {
                "sort_by": st.sampled_from([None, "price", "newest", "popularity", "title"]),
                "descending": st.booleans(),
                "user_id": st.sampled_from([None, "c0", "nobody"]),
                "recent": st.lists(st.sampled_from(["k1", "r1", "?"]), max_size=2),
            }
        ),
        rules=st.lists(st.sampled_from([PIN, BOOST, HIDE, {"available": False}]), unique_by=str),
    )
    def test_whatever_is_asked_the_same_ids_come_back(self, tmp_path_factory, ids, request_, rules):
        async def work(desk):
            return await sort(desk, SortRequest(placement="home", item_ids=ids, **request_))

        bundle = changed(model(), rules=rules)
        answer = at_desk(tmp_path_factory.mktemp("page"), work, bundle=bundle)
        assert sorted(answer["item_ids"]) == sorted(ids)
        unknown = [one for one in ids if one.startswith("?")]
        assert answer["unknown_items"] == unknown
        assert answer["item_ids"][len(ids) - len(unknown) :] == unknown


@pytest.mark.parametrize(
    ("arm", "arms"),
    [({"highest_rung": "context"}, {"test": "other"}), ({"model": "v2"}, {})],
    ids=["a rung", "a model that is not here"],
)
def test_an_experiment_is_dealt_where_its_arms_are_in_effect(tmp_path, arm, arms):
    test = {"name": "test", "arms": {"other": {"share": 0.5, **arm}, "more": {"share": 0.5}}}
    bundle = changed(model(), experiments=[test])

    async def work(desk):
        request = SortRequest(placement="home", user_id="c0", item_ids=PAGE)
        return (await sort(desk, request))["arms"]

    assert at_desk(tmp_path, work, bundle=bundle) == arms


def test_with_explain_each_item_says_why_it_stands_there(page):
    placed = page(PIN, BOOST, explain=True)["placed"]
    assert [(one["position"], one["item_id"], one["marks"]) for one in placed] == [
        (1, "k1", ["pinned"]), (2, "r1", ["boosted"]), (3, "r3", []), (4, "k2", []),
    ]  # fmt: skip
    assert page()["decision_id"] != page()["decision_id"]
