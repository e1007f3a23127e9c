"""What is remembered of mails, however often somebody comes to the site."""

from __future__ import annotations

import pytest
from mail_desk import BLOCK, SITE, SOON_US, SUITABLE, decided, items_of, saw, shop
from msgspec import structs
from small_desk import at_desk, changed, model

from features.types import DAY_US
from serving.api import FeedRequest
from serving.feed import feed
from serving.mailing.recipients import Given

VISITS = [saw("c0", "home", ["a1"], round((3 - n / 100) * DAY_US)) for n in range(250)]
ONE_A_WEEK = [Given(mails_per_week=1)]


class TestAnActiveCustomer:
    """c0 came 250 times since the last mail: more feeds than are remembered."""

    def test_has_as_many_mails_as_they_want_and_no_more(self, tmp_path):
        before = [saw("c0", "top", ["r1"], 4 * DAY_US), *VISITS]
        found = decided(tmp_path, ["c0"], shown=before, given=ONE_A_WEEK)["c0"]
        assert {block.reason for block in found.values()} == {"frequency_reached"}

    def test_gets_no_item_twice(self, tmp_path):
        before = [saw("c0", "top", ["r1", "t1"], 4 * DAY_US), *VISITS]
        found = decided(tmp_path, ["c0"], "all", shown=before)["c0"]
        assert set(items_of(found)) == SUITABLE - {"r1", "t1"}


class TestABlockWithAnotherName:
    """What was once `old` is `top` by now; the model knows of no `old`."""

    BEFORE = saw("c0", "old", ["r1", "t1"], 4 * DAY_US)

    def test_was_a_mail(self, tmp_path):
        found = decided(tmp_path, ["c0"], shown=[self.BEFORE], given=ONE_A_WEEK)["c0"]
        assert {block.reason for block in found.values()} == {"frequency_reached"}

    def test_is_not_repeated_even_where_a_mail_may_repeat_the_site(self, tmp_path):
        may = shop(mail={"repeats_site": True})
        found = decided(tmp_path, ["c0"], "all", shown=[self.BEFORE], bundle=may)["c0"]
        assert set(items_of(found)) == SUITABLE - {"r1", "t1"}


class TestTheSite:
    """c0 never looked at k1, k2 and r3: for them to be there says nothing of clicks."""

    @pytest.mark.parametrize(("placement", "tired"), [("top", {"k1", "k2"}), ("home", {"r3"})])
    def test_a_feed_does_not_repeat_what_its_own_placement_has_shown_by_feed_or_mail(
        self, tmp_path, placement, tired
    ):
        mail = saw("c0", "top", ["k1"], DAY_US)
        before = [mail, structs.replace(mail, item_ids=["k2"], mail=False),
                  saw("c0", "home", ["r3"], DAY_US)]  # fmt: skip
        assert self.shown(tmp_path, placement, before) == {"k1", "k2", "r3"} - tired

    def test_what_was_mailed_was_not_seen_on_the_site(self, tmp_path):
        before = [saw("c0", "top", ["k1"], DAY_US), saw("c0", "hall", ["k2"], DAY_US)]
        rules = [{"seen": {"times": 1}}]
        assert self.shown(tmp_path, "home", before, rules) == {"k1", "r3"}

    def shown(self, path, placement, before, rules=()):
        """Which of the three a feed of c0 has."""
        places = {"home": {**SITE, "size": 9}, "top": {**BLOCK, "size": 9}, "hall": SITE}
        bundle = changed(model(), placements=places, rules=list(rules), repeat={})

        async def work(desk):
            await desk.state.keep(before)
            desk.living.advance(SOON_US)
            told = await feed(desk, FeedRequest(placement=placement, user_id="c0"))
            return {one["item_id"] for one in told["items"]} & {"k1", "k2", "r3"}

        return at_desk(path, work, bundle=bundle)
