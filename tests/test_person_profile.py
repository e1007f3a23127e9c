"""Profile: all that is known of a person, in words they may read; nothing sensitive by its name."""

from __future__ import annotations

import pytest
from small_desk import END_US, at_desk, changed, model, view

from features.types import DAY_US
from serving.api_words import ProfileRequest, ProfileResponse
from serving.desk import BadRequest
from serving.profile import profile
from serving.state import Answer, Consent, Forget, ItemChange, Link


@pytest.fixture
def told(tmp_path):
    """The profile at a desk that was told `facts`: `told(facts, user_id="x")`."""

    def run(facts=(), bundle=None, **request):
        async def work(desk):
            found = await profile(desk, ProfileRequest(**request))
            ProfileResponse.model_validate(found)
            return found

        return at_desk(tmp_path, work, facts, bundle)

    return run


def said(question, answer, at_us=END_US, **who):
    return Answer(question=question, answer=answer, answered_us=at_us, **(who or {"user_id": "x"}))


class TestWhatIsKnown:
    def test_is_what_was_done_by_type_since_when_and_mostly_what(self, told):
        """In the log c0 looked at r1, r2 and t1; since then bought r3 and searched."""
        found = told([view("r3", kind="purchase", user_id="c0"),
                      view("r3", kind="search", user_id="c0")], user_id="c0")  # fmt: skip
        assert found["since"] == "2026-02-19T11:57:00+00:00"
        assert found["done"] == {"view": 3, "purchase": 1, "search": 1}
        shares = {one["category"]: one["share"] for one in found["favourites"]}
        assert list(shares) == ["garden/roses", "garden/tools"]
        assert shares["garden/roses"] == pytest.approx((5 + 2 * 0.794) / (5 + 3 * 0.794), abs=1e-3)
        assert found["words"][0] == (
            "Since 2026-02-19 you did this here: 3 x view, 1 x purchase, 1 x search"
        )

    def test_of_answers_the_newest_of_each_question_and_those_of_the_log(self, told):
        facts = [said("way", "for me", END_US - DAY_US, user_id="d0"),
                 said("way", "for others", user_id="d0")]  # fmt: skip
        found = told(facts, user_id="d0")["answers"]
        assert [(one["question"], one["answer"]) for one in found] == [
            (None, "garden/tools"), ("way", "for others"),
        ]  # fmt: skip

    def test_of_mutes_those_that_hold_and_they_do_not_undo_what_was_done(self, told):
        facts = [view("r1", user_id="x"), said("mute_brand", "Own"), said("mute_item", "k1"),
                 said("mute_category", "kitchen"), said("unmute_category", "kitchen")]  # fmt: skip
        found = told(facts, user_id="x")
        assert found["muted"] == {"categories": [], "brands": ["Own"], "items": ["K1"]}
        assert (found["answers"], found["done"], found["favourites"]) == ([], {"view": 1}, [])
        assert "You do not want to see Own, K1" in found["words"]

    def test_says_who_said_that_it_may_be_used(self, told):
        consents = {
            "c0": (True, "the shop's data"), "x": (False, "the person"),
            "nobody": (True, "the shop's default"),
        }  # fmt: skip
        facts = [Consent(user_id="x", personalise=False, at_us=1)]
        for name, expected in consents.items():
            assert tuple(told(facts, user_id=name)["consent"].values()) == expected

    def test_counts_the_devices_of_the_log_and_of_the_service(self, told):
        facts = [Link(visitor_id=one, user_id="c0", at_us=1) for one in ("tv", "phone")]
        assert told(user_id="c0")["ids"]["devices"] == 1
        assert told(facts, user_id="c0")["ids"]["devices"] == 2

    def test_a_person_without_anything_is_told_so(self, told):
        found = told(user_id="nobody")
        assert (found["known"], found["since"], found["done"]) == (False, None, {})
        assert found["words"][0] == "We know nothing about you"


class TestNotNamed:
    def test_sensitive_items_and_categories_are_counted(self, told):
        """h0 bought h1 before; now reads of care, says so, and mutes another such item."""
        facts = [view("h2", user_id="h0"), said("topic", "health/care", user_id="h0"),
                 said("mute_item", "h2", user_id="h0")]  # fmt: skip
        found = told(facts, user_id="h0")
        assert found["not_named"] == 4
        assert found["done"] == {"view": 3, "purchase": 1}
        assert [one["category"] for one in found["favourites"]] == ["garden/roses"]
        assert not any(word in str(found) for word in ("health", "H1", "H2", "h1", "h2"))

    def test_nor_are_other_items_of_such_a_category(self, told):
        plain = ItemChange(
            item_id="plain", at_us=END_US + 1, kind="product", category="health/care"
        )
        found = told([plain, view("plain", user_id="x")], user_id="x")
        assert (found["favourites"], found["not_named"]) == ([], 1)


class TestWho:
    def test_a_linked_device_is_its_customer_whose_name_is_not_given_away(self, told):
        found = told(visitor_id="phone")
        assert found["done"] == {"view": 3}
        assert found["ids"] == {
            "user_id": None, "visitor_id": "phone", "customer": True, "devices": 1
        }  # fmt: skip
        assert "c0" not in str(found)

    def test_a_device_of_several_customers_knows_nobody(self, told):
        facts = [view("r1", visitor_id="tablet"), Link(visitor_id="tablet", user_id="c0", at_us=1),
                 Link(visitor_id="tablet", user_id="d0", at_us=2), view("k1", visitor_id="tablet"),
                 said("way", "for me", visitor_id="tablet")]  # fmt: skip
        found = told(facts, visitor_id="tablet")
        assert (found["known"], found["done"], found["answers"]) == (False, {}, [])
        assert [one["reason"] for one in found["feeds"]] == ["stranger", "stranger"]

    def test_of_who_was_forgotten_nothing_is_left(self, told):
        facts = [view("r1", user_id="c0"), Forget(user_id="c0", at_us=END_US)]
        found = told(facts, user_id="c0")
        assert (found["known"], found["done"], found["answers"], found["ids"]["devices"]) == (
            False, {}, [], 0
        )  # fmt: skip
        assert found["consent"] == {"personalise": False, "said_by": "forgotten"}
        assert found["words"][:2] == [
            "You asked us to forget you, and we did", "We know nothing about you"
        ]  # fmt: skip


class TestFeeds:
    def why(self, found):
        return {one["placement"]: (one["rung"], one["reason"]) for one in found["feeds"]}

    def test_every_placement_says_what_it_may_know_and_why(self, told):
        """The magazine allows no more than the context."""
        found = told(user_id="c0")
        assert self.why(found) == {
            "home": ("one_to_one", "known_history"), "magazine": ("one_for_all", "limit")
        }  # fmt: skip
        assert "home: it goes by what you did here before" in found["words"]

    def test_one_placement_can_be_asked_for(self, told):
        assert list(self.why(told(user_id="c0", placement="home"))) == ["home"]
        with pytest.raises(BadRequest, match="there is no placement 'hall'"):
            told(user_id="c0", placement="hall")

    def test_without_consent_the_past_is_out(self, told):
        found = told([Consent(user_id="c0", personalise=False, at_us=1)], user_id="c0")
        assert self.why(found)["home"] == ("one_for_all", "no_consent")
        assert found["done"] == {"view": 3}
        assert "Feeds may use nothing but this visit" in found["words"]

    def test_an_arm_that_lowers_the_rung_is_named(self, told):
        test = [{"name": "test", "holdout": 1.0}]
        found = told(bundle=changed(model(), experiments=test), user_id="c0", placement="home")
        assert found["feeds"][0]["arms"] == {"test": "holdout"}
        assert self.why(found)["home"] == ("one_for_all", "limit")

    def test_the_shops_rules_hold(self, told):
        hidden = changed(model(), rules=[{"placement": "home", "hide": "kind = 'product'"}])
        found = told(bundle=hidden, user_id="c0", placement="home")
        assert self.why(found)["home"] == ("one_to_one", "nothing_allowed")
