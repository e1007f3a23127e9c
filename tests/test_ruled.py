"""The merchant's rules in a feed: what the policy serves under them."""

from __future__ import annotations

import pytest
import yaml
from at_the_desk import at_the_desk
from readers import DAY, START, read, trained

from serving import telling
from serving.api import FeedRequest, SimilarRequest
from serving.api_told import CatalogueRequest, EventIn, EventsRequest, ItemIn, PreferencesRequest
from serving.feed import feed
from serving.similar import similar
from serving.state import Consent


@pytest.fixture(scope="module")
def place(new_shop):
    """The magazine's directory, its bundle and its config."""
    shop = new_shop()
    return shop, trained(shop)


@pytest.fixture
def under(place, tmp_path):
    """Do some work at a desk whose config has these rules: `under(rules, work)`."""
    shop, bundle = place

    def _under(rules, work):
        config = yaml.safe_load((shop.base / "feeds.yaml").read_text())
        path = tmp_path / "feeds.yaml"
        path.write_text(yaml.safe_dump({**config, "rules": rules}))
        return at_the_desk(bundle, tmp_path, work, config=path)

    return _under


async def home(desk, **more):
    return await feed(desk, FeedRequest(placement="home", **more))


def ids(answer):
    return [one["item_id"] for one in answer["items"]]


def test_without_rules_the_rankers_order_stands(under):
    answer = under([], home)
    assert ids(answer) == ["c", "b", "a", "d", "e"]
    assert answer["rules_version"] == "none"


def test_what_is_hidden_is_not_shown(under):
    answer = under([{"hide": "item_id IN ('b', 'd')"}], home)
    assert ids(answer) == ["c", "a", "e"]
    assert answer["rules_version"] != "none"


def test_a_pin_has_its_place_and_says_so(under):
    answer = under([{"pin": [{"item": "e", "position": 2}]}], home)
    assert ids(answer) == ["c", "e", "b", "a", "d"]
    assert answer["items"][1]["marks"] == ["pinned"]
    assert answer["decision"] == "show"


def test_a_pin_from_outside_a_short_feed_is_fetched(under):
    rule = [{"pin": [{"item": "e", "position": 1}]}]
    answer = under(rule, lambda desk: home(desk, size=2))
    assert ids(answer) == ["e", "c"]
    assert (answer["decision"], answer["reason"]) == ("show", "stranger")


def test_a_pin_that_no_ranker_may_show_says_who_put_it_there(under):
    """r1 has read d, and an article is read once: but a pin is a pin."""
    rule = [{"pin": [{"item": "d", "position": 1}]}]
    answer = under(rule, lambda desk: home(desk, user_id="r1"))
    first = answer["items"][0]
    assert (first["item_id"], first["ranker"], first["score"]) == ("d", "rules", None)
    assert first["reason"] == "picked by the shop"


def test_a_pin_does_not_show_what_a_person_does_not_want(under):
    rule = [{"pin": [{"item": "d", "position": 1}]}]

    async def work(desk):
        await telling.preferences(desk, PreferencesRequest(user_id="n1", less_of_items=["d"]))
        return await home(desk, user_id="n1")

    assert "d" not in ids(under(rule, work))


def test_a_pin_that_sells_out_gives_its_place_back(under):
    rule = [{"pin": [{"item": "e", "position": 1}]}]

    async def work(desk):
        before = ids(await home(desk))
        sold = CatalogueRequest(items=[ItemIn(item_id="e", available=False)])
        await telling.catalogue(desk, sold)
        return before, ids(await home(desk))

    assert under(rule, work) == (["e", "c", "b", "a", "d"], ["c", "b", "a", "d"])


def test_a_boost_goes_up_by_places(under):
    answer = under([{"boost": [{"filter": "item_id = 'd'", "by": 2}]}], home)
    assert ids(answer) == ["c", "d", "b", "a", "e"]
    assert answer["items"][1]["marks"] == ["boosted 2"]


def test_rules_hold_on_their_placement_only(under, place):
    rule = [{"placement": "home", "hide": "item_id = 'c'"}]

    async def work(desk):
        return await similar(desk, SimilarRequest(placement="home", item_id="b"))

    assert "c" not in ids(under(rule, work))
    assert ids(under([], work))[0] == "c"


def test_a_changed_file_is_followed_and_a_broken_one_is_not(under, tmp_path, caplog):
    async def work(desk):
        path, found = tmp_path / "feeds.yaml", []
        config = yaml.safe_load(path.read_text())
        for rules in ([{"hide": "item_id = 'c'"}], [{"hide": "colour = 'red'"}], []):
            path.write_text(yaml.safe_dump({**config, "rules": rules}, sort_keys=False))
            desk.rulebook.refresh()
            answer = await home(desk)
            found.append((answer["rules_version"] == "none", ids(answer)[0]))
        return found

    assert under([], work) == [(False, "b"), (False, "b"), (True, "c")]
    assert "colour" in caplog.text


def test_what_was_shown_often_and_never_clicked_is_not_shown_again(under):
    rule = [{"seen": {"times": 2}}]

    async def work(desk):
        found = []
        for _ in range(3):
            found.append(ids(await home(desk, visitor_id="v1", size=2)))
            while len((await desk.state.recall(None, "v1")).shown) < len(found):
                pass
        return found

    assert under(rule, work) == [["c", "b"], ["c", "b"], ["a", "d"]]


def test_without_consent_nobody_remembers_what_was_shown(under):
    rule = [{"seen": {"times": 1}}]

    async def work(desk):
        refusal = PreferencesRequest(visitor_id="v1", personalise=False)
        await telling.preferences(desk, refusal)
        found = [ids(await home(desk, visitor_id="v1", size=2)) for _ in range(2)]
        await desk.state.write([Consent(personalise=False, at_us=2, visitor_id="v2")])  # commits
        return found, (await desk.state.recall(None, "v1")).shown

    assert under(rule, work) == ([["c", "b"], ["c", "b"]], [])


def test_the_item_of_the_page_is_not_on_it_again(under):
    answer = under([], lambda desk: home(desk, item_id="c", explain=True))
    assert "c" not in ids(answer)
    assert answer["excluded"]["on_this_page_or_before"] == 1


def test_what_was_clicked_is_shown_on(under):
    rule = [{"seen": {"times": 1}}, {"only": "item_id IN ('d', 'e')"}]

    async def work(desk):
        first = ids(await home(desk, visitor_id="v1", size=1))
        while not (await desk.state.recall(None, "v1")).shown:
            pass
        clicked = EventIn(**read(None, "d", START + DAY, visitor_id="v1"))
        await telling.events(desk, EventsRequest(events=[clicked]))
        return first, ids(await home(desk, visitor_id="v1", size=5))

    first, then = under(rule, work)
    assert first == ["d"]
    assert then == ["e"], "an article is read once, whatever the rule says"
