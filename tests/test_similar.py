"""What goes with an item, whoever looks at it; in the shop most people go from r1 to r2 to t1."""

from __future__ import annotations

import pytest
from small_desk import at_desk, changed, model, view

from serving.api import FeedResponse, SimilarRequest
from serving.api_told import CatalogueRequest, ItemIn
from serving.desk import BadRequest
from serving.similar import similar
from serving.telling import catalogue


@pytest.fixture
def go_with(tmp_path):
    """`go_with(item, rules, facts, **request)`: the answer."""

    def answer(item, *, rules=(), facts=(), bundle=None, **request):
        async def work(desk):
            asked = {"placement": "home", "item_id": item, **request}
            found = await similar(desk, SimilarRequest(**asked))
            assert FeedResponse.model_validate(found)
            return found

        return at_desk(tmp_path, work, facts, changed(bundle or model(), rules=list(rules)))

    return answer


def ids(answer):
    return [one["item_id"] for one in answer["items"]]


def test_is_what_people_went_on_to(go_with):
    answer = go_with("r1")
    assert ids(answer)[0] == "r2"
    assert (answer["decision"], answer["reason"], answer["rung"]) == (
        "show", "current_session", "context",
    )  # fmt: skip
    assert "R1" in answer["items"][0]["reason"]


def test_is_never_the_item_itself_nor_what_the_page_shows(go_with):
    answer = go_with("r1", size=20, exclude=["r2", "T1", "no-such-item"])
    assert not {"r1", "r2", "t1"} & set(ids(answer))
    assert answer["unknown_items"] == ["no-such-item"]


def test_has_the_size_the_kind_and_the_rules_of_the_placement(go_with):
    assert len(ids(go_with("r1"))) == 4
    assert ids(go_with("r1", placement="magazine")) == ["a1"]
    assert "r2" not in ids(go_with("r1", size=20, rules=[{"hide": "item_id = 'r2'"}]))
    pinned = go_with("r1", rules=[{"pin": [{"item": "k1", "position": 1}]}])["items"][0]
    assert (pinned["item_id"], pinned["ranker"], pinned["marks"]) == ("k1", "rules", ["pinned"])


def test_of_what_nobody_has_seen_it_is_what_is_popular(go_with):
    answer = go_with("t2")
    assert (answer["decision"], answer["reason"]) == ("fallback", "no_opinion")
    assert {one["reason"] for one in answer["items"]} == {"popular right now"}


def test_of_what_is_sold_out_it_is_still_asked_for(go_with):
    after = [view("sold", after=1, visitor_id="x"), view("k2", after=2, visitor_id="x")]
    assert ids(go_with("sold", facts=after))[0] == "k2"


def test_where_a_placement_may_know_nothing_it_is_what_is_popular(go_with):
    places = {"home": {"kind": "product", "size": 4, "highest_rung": "one_for_all"}}
    answer = go_with("r1", bundle=changed(model(), placements=places))
    assert (answer["reason"], answer["rung"]) == ("limit", "one_for_all")


def test_a_live_event_is_in_the_next_answer(go_with):
    crowd = [view(item, after=n + step / 2, visitor_id=f"x{n}")
             for n in range(1, 30) for step, item in enumerate(["t2", "k1"])]  # fmt: skip
    assert ids(go_with("t2", facts=crowd))[0] == "k1"


def test_a_sensitive_item_is_never_named_as_a_reason(go_with):
    crowd = [view(item, after=n + step / 2, visitor_id=f"x{n}")
             for n in range(1, 30) for step, item in enumerate(["h1", "k1"])]  # fmt: skip
    first = go_with("h1", facts=crowd, explain=True)["items"][0]
    assert first["item_id"] == "k1"
    assert "H1" not in str([first["reason"], first["because"]])


def test_what_is_new_has_neighbours_as_soon_as_people_go_on_from_it(tmp_path):
    async def work(desk):
        await catalogue(desk, CatalogueRequest(items=[ItemIn(item_id="new", kind="product")]))
        await desk.state.write([view("new", after=1, visitor_id="x"),
                                view("k1", after=2, visitor_id="x")])  # fmt: skip
        await desk.living.catch_up(desk.state)
        return await similar(desk, SimilarRequest(placement="home", item_id="new"))

    assert ids(at_desk(tmp_path, work))[0] == "k1"


def test_an_unknown_item_is_refused_by_name(go_with):
    with pytest.raises(BadRequest, match="no-such-item") as error:
        go_with("no-such-item")
    assert error.value.field == "item_id"


def test_nobody_is_looked_at(go_with, tmp_path):
    """A request has no field for a person, and what c0 did an hour ago changes nothing for it."""
    assert {"user_id", "visitor_id", "recent"}.isdisjoint(SimilarRequest.model_fields)
    before = ids(go_with("r1", size=20))
    assert before == ids(go_with("r1", size=20, facts=[view("t2", kind="dislike", user_id="c0")]))
