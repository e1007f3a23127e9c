"""Pages of a feed by cursor: what one page has shown no later one shows, whatever happens between.

The shop has ten products that can be had; a page has four.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode
from dataclasses import replace

import numpy as np
import pytest
from small_desk import at_desk, changed, model, view

from serving import cursor
from serving.api import FeedRequest
from serving.api_told import CatalogueRequest, ItemIn
from serving.desk import BadRequest
from serving.feed import feed
from serving.telling import catalogue

OPEN = ["h1", "h2", "h3", "k1", "k2", "r1", "r2", "r3", "t1", "t2"]


async def page(desk, before=None, **more):
    """The next page after the answer `before`."""
    told = {"cursor": before["next_cursor"]} if before else {}
    return await feed(desk, FeedRequest(**{"placement": "home", **told, **more}))


def ids(*answers):
    return [one["item_id"] for answer in answers for one in answer["items"]]


def test_every_item_is_on_one_page_and_positions_go_on(tmp_path):
    async def work(desk):
        first = await page(desk)
        second = await page(desk, first)
        return first, second, await page(desk, second)

    pages = at_desk(tmp_path, work)
    assert sorted(ids(*pages)) == OPEN
    assert [len(one["items"]) for one in pages] == [4, 4, 2]
    assert [one["position"] for answer in pages for one in answer["items"]] == list(range(1, 11))


def test_the_last_page_has_no_cursor(tmp_path):
    async def work(desk):
        return await page(desk, size=10), await page(desk, size=11)

    full, short = at_desk(tmp_path, work)
    assert full["next_cursor"], "a full page may have another one after it"
    assert short["next_cursor"] is None


def test_after_a_last_page_that_was_full_there_is_an_empty_one(tmp_path):
    async def work(desk):
        return await page(desk, await page(desk, size=10), size=10)

    empty = at_desk(tmp_path, work)
    assert (empty["decision"], empty["reason"]) == ("suppress", "nothing_allowed")
    assert empty["items"] == []
    assert empty["next_cursor"] is None


@pytest.fixture
def strict():
    """The shop with a placement that would rather show nothing than fewer than three items."""
    places = {"home": {"size": 4, "min_items": 3, "on_too_few": "suppress", "kind": "product"}}
    return changed(model(), placements=places)


def test_a_last_page_may_be_short_where_a_feed_may_not(strict, tmp_path):
    async def work(desk):
        second = await page(desk, await page(desk))
        return await page(desk, second)

    assert len(at_desk(tmp_path, work, bundle=strict)["items"]) == 2


def test_who_asks_for_fewer_than_the_least_gets_them(strict, tmp_path):
    assert len(at_desk(tmp_path, lambda desk: page(desk, size=2), bundle=strict)["items"]) == 2


def test_nothing_repeats_although_everything_moves_in_between(tmp_path):
    """A crowd comes for what was at the end, the visitor looks around, something is new."""

    async def work(desk):
        answers = [await page(desk, visitor_id="tab")]
        crowd = [view("t2", after=n, visitor_id=f"x{n}") for n in range(1, 30)]
        await desk.state.write([*crowd, view("k1", after=31, visitor_id="tab")])
        new = CatalogueRequest(items=[ItemIn(item_id="new", kind="product")])
        await catalogue(desk, new)
        while answers[-1]["next_cursor"]:
            answers.append(await page(desk, answers[-1], visitor_id="tab"))
        return answers

    pages = at_desk(tmp_path, work)
    assert sorted(ids(*pages)) == sorted([*OPEN, "new"])
    assert {"t2", "k2"} <= set(ids(pages[1])), "what is wanted now is on the next page"


def test_a_pin_is_on_its_page_only(tmp_path):
    async def work(desk):
        answers = [await page(desk)]
        while answers[-1]["next_cursor"]:
            answers.append(await page(desk, answers[-1]))
        return answers

    rules = [{"pin": [{"item": "t2", "position": 2}, {"item": "h2", "position": 6}]}]
    pages = at_desk(tmp_path, work, bundle=changed(model(), rules=rules))
    assert sorted(ids(*pages)) == OPEN
    assert ids(pages[0])[1] == "t2"
    assert ids(pages[1])[1] == "h2", "positions of pins count from the first page on"


def test_a_cursor_of_another_model_goes_on(tmp_path):
    first = at_desk(tmp_path, page)
    other = replace(model(), version="v2")
    second = at_desk(tmp_path, lambda desk: page(desk, first), bundle=other)
    assert second["model_version"] == "v2"
    assert not set(ids(first)) & set(ids(second))


class TestACursorThatWeDidNotWrite:
    @pytest.mark.parametrize(
        "told",
        ["", "x", "?", "öö", "AAAA", "null",
         urlsafe_b64encode(b'["r1"]').decode(),  # not packed
         urlsafe_b64encode(zlib.compress(b'{"r1": 1}')).decode(),
         urlsafe_b64encode(zlib.compress(b"[1, 2]")).decode(),
         urlsafe_b64encode(zlib.compress(b'["r1"]')[:-2]).decode(),  # all of it, unchecked
         urlsafe_b64encode(zlib.compress(b'["' + b"r" * 50_000_000 + b'"]')).decode()],
        ids=["empty", "short", "no base64", "no ascii", "no zlib", "a word", "not packed",
             "an object", "numbers", "checksum cut", "50 MB"],
    )  # fmt: skip
    def test_is_refused(self, told):
        with pytest.raises(BadRequest, match="next_cursor") as error:
            cursor.read(told)
        assert error.value.field == "cursor"

    def test_is_refused_whichever_letter_was_changed(self):
        written = cursor.write([], [{"item_id": one} for one in OPEN], 10)
        read = []
        for place, letter in enumerate(written.rstrip("=")):
            other = "A" if letter != "A" else "B"
            try:
                read.append(cursor.read(written[:place] + other + written[place + 1 :]))
            except BadRequest:
                continue
        assert all(one == OPEN for one in read), "a last letter may have bits to spare"
        assert len(read) <= 1

    @pytest.mark.parametrize("letters", range(0, 50, 7))
    def test_is_refused_when_cut(self, letters):
        written = cursor.write([], [{"item_id": one} for one in OPEN], 10)
        with pytest.raises(BadRequest):
            cursor.read(written[:letters])


class TestPagesEnd:
    def test_after_a_thousand_items(self):
        shown = [f"sku-{n}" for n in range(990)]
        page_of = [{"item_id": f"more-{n}"} for n in range(10)]
        assert cursor.write(shown[:-1], page_of, 10)
        assert cursor.write(shown, page_of, 10) is None

    def test_where_a_cursor_would_be_too_long_to_be_sent_back(self):
        random = np.random.default_rng(1)
        rows = [{"item_id": random.bytes(128).hex()} for _ in range(400)]  # as long as ids may be
        written = cursor.write([], rows[:150], 150)
        assert len(cursor.read(FeedRequest(placement="home", cursor=written).cursor)) == 150
        assert cursor.write([one["item_id"] for one in rows[:200]], rows[200:], 200) is None
