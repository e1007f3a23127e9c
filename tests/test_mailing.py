"""What goes into mails, and whether there is one: the whole way at the small shop's desk."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from mail_desk import (
    BLOCK,
    SOON_US,
    SUITABLE,
    dressed,
    equipped,
    item_array,
    items_of,
    mails,
    read,
    saw,
    shop,
    with_contacts,
)
from mail_desk import decided as decided_in
from msgspec import structs
from small_desk import END_US, PLACES, at_desk, view

from features.decided import decision_files, read_decisions
from features.home import Home
from features.types import DAY_US, HOUR_US, Texts
from serving.mailing.dressing import mail_of
from serving.mailing.parts import Record
from serving.mailing.recipients import Given
from serving.mailing.run import Listed, decide_parts, remember
from serving.rendering import rendered
from serving.state import Answer, Consent, Event, Forget, ItemChange
from training.evaluation.evidence import Evidence, Weighed

EVERYBODY = [*(f"c{n}" for n in range(12)), "d0", "d1", "h0", "nobody"]
WEEK_US, MINUTES = 7 * DAY_US, 60_000_000


@pytest.fixture
def decided(tmp_path):
    """`mail_desk.decided` in a directory of its own each time."""
    calls = iter(range(99))
    return lambda *words, **more: decided_in(tmp_path / str(next(calls)), *words, **more)


def one(found, user_id="c0", placement="all"):
    return found[user_id][placement]


def why(found, user_id="c0"):
    """The decisions and reasons of somebody's blocks, each once."""
    return {(block.decision, block.reason) for block in found[user_id].values()}


class TestItems:
    def test_a_mail_has_what_suits_a_mail_and_nothing_else(self, decided):
        """Neither what is sensitive, nor what lies beside it, nor what is sold out or to come."""
        assert set(one(decided(["c0"], "all")).items) == SUITABLE
        assert set(PLACES) - SUITABLE == {"sold", "soon", "h1", "h2", "h3"}

    def test_no_item_stands_in_two_blocks(self, decided):
        found = decided(EVERYBODY, "top", "more", "all")
        for mail in found.values():
            assert sorted(items_of(mail)) == sorted(SUITABLE)

    def test_the_first_block_has_the_best_and_the_next_one_what_follows(self, decided):
        whole = one(decided(["c0"], "all")).items
        two = decided(["c0"], "more", "top")["c0"]
        assert two["more"].items + two["top"].items == whole[:4]

    def test_it_is_there_once_it_is_published(self, decided):
        assert "soon" in one(decided(["c0"], "all", at_us=END_US + DAY_US)).items

    def test_what_is_told_to_be_sold_out_is_not(self, decided):
        gone = ItemChange(item_id="r1", at_us=END_US, available=False)
        assert set(one(decided(["c0"], "all", facts=[gone])).items) == SUITABLE - {"r1"}

    def test_a_rule_that_shows_what_is_sold_out_is_for_pages(self, decided):
        found = decided(["c0"], "all", bundle=shop(rules=[{"available": False}]))
        assert set(one(found).items) == SUITABLE

    @pytest.mark.parametrize(
        ("lacks", "template", "left"),
        [
            ({"image_urls": ""}, "products", SUITABLE - {"r1"}),
            ({"urls": ""}, "articles", SUITABLE - {"r1"}),
            ({"prices": np.nan}, "products", SUITABLE - {"r1"}),
            ({"prices": np.nan}, "articles", SUITABLE),
        ],
    )
    def test_what_lacks_a_thing_that_the_template_shows_is_in_no_mail(
        self, decided, lacks, template, left
    ):
        places = {"all": {**BLOCK, "size": 9, "template": template}}
        bundle = shop(placements=places)
        (name, value), shelf = *lacks.items(), bundle.catalogue
        if name == "prices":
            array = item_array(bundle, {"r1": value}, 5)
        else:
            array = Texts.of([value if one == "r1" else f"/{one}" for one in
                              shelf.ids.texts(np.arange(len(shelf.ids)))])  # fmt: skip
        bundle = replace(bundle, catalogue=dressed(shelf, **{name: array}))
        assert set(one(decided(["c0"], "all", bundle=bundle)).items) == left

    def test_what_was_muted_or_disliked_is_in_no_mail(self, decided):
        facts = [
            Answer(user_id="c0", question="mute_item", answer="r3", answered_us=END_US),
            Answer(user_id="c0", question="mute_category", answer="kitchen", answered_us=END_US),
            view("t2", kind="dislike", user_id="c0"),
        ]
        found = decided(["c0", "c1"], "all", facts=facts)
        assert set(one(found).items) == {"r1", "r2", "t1"}
        assert set(one(found, "c1").items) == SUITABLE


class TestWhatTheyHad:
    BOUGHT = view("r3", kind="purchase", user_id="c0")

    def shows(self, decided, days, bundle=None):
        found = decided(["c0", "c1"], "all", facts=[self.BOUGHT], at_us=END_US + days * DAY_US,
                        bundle=bundle or shop())  # fmt: skip
        assert "r3" in one(found, "c1").items
        return "r3" in one(found).items

    def test_is_not_shown_for_a_month(self, decided):
        assert not self.shows(decided, 29)
        assert self.shows(decided, 31)

    def test_is_shown_when_it_is_due_again(self, decided):
        bundle = shop(mail={"bought_again_after_days": 30})
        days = item_array(bundle, {"r3": 5}, np.nan)
        rhythm = replace(bundle, catalogue=replace(bundle.catalogue, repurchase_days=days))
        assert not self.shows(decided, 4, rhythm)
        assert self.shows(decided, 6, rhythm)

    def test_is_not_shown_at_all_where_the_shop_repeats_nothing(self, decided):
        assert not self.shows(decided, 99, shop(repeat={"product": "exclude"}))

    def test_is_not_shown_back_within_hours_of_a_look(self, decided):
        looked = [view("t2", user_id="c0")]
        soon = decided(["c0"], "all", facts=looked, at_us=END_US + 11 * HOUR_US)
        later = decided(["c0"], "all", facts=looked, at_us=END_US + 13 * HOUR_US)
        assert set(one(soon).items) == SUITABLE - {"t2"}
        assert set(one(later).items) == SUITABLE

    def test_is_not_looked_at_where_they_did_not_agree(self, decided):
        """To leave out what they bought would be to make use of it."""
        facts = [self.BOUGHT, Consent(user_id="c0", personalise=False, at_us=END_US + 2 * MINUTES)]
        assert set(one(decided(["c0"], "all", facts=facts)).items) == SUITABLE


class TestRepeats:
    @pytest.mark.parametrize(("days", "again"), [(13.9, False), (14.1, True)])
    def test_a_mail_does_not_repeat_another_block_s_items_within_the_window(
        self, decided, days, again
    ):
        before = [saw("c0", "more", ["r1", "t1"], round(days * DAY_US))]
        found = decided(["c0", "c1"], "all", shown=before)
        assert ({"r1", "t1"} <= set(one(found).items)) is again
        assert set(one(found, "c1").items) == SUITABLE

    def test_nor_what_the_site_has_shown_unless_it_may(self, decided):
        before = [saw("c0", "home", ["r1"], DAY_US)]
        assert "r1" not in one(decided(["c0"], "all", shown=before)).items
        may = shop(mail={"repeats_site": True})
        assert "r1" in one(decided(["c0"], "all", shown=before, bundle=may)).items

    def test_nor_what_the_site_has_shown_to_who_did_not_agree_to_be_known(self, decided):
        """What we have mailed ourselves is no secret of theirs; what they saw on the site is."""
        before = [saw("c0", "home", ["r1"], DAY_US), saw("c0", "top", ["r2"], DAY_US)]
        no = [Consent(user_id="c0", personalise=False, at_us=END_US + MINUTES)]
        assert set(one(decided(["c0"], "all", shown=before, facts=no)).items) == SUITABLE - {"r2"}

    def test_every_block_has_a_window_of_its_own(self, decided):
        places = {"top": {**BLOCK, "size": 9, "not_repeated_for_days": 3}}
        before = [saw("c0", "more", ["r1", "t1"], 5 * DAY_US)]
        found = decided(["c0"], "top", "all", shown=before, bundle=shop(placements=places))["c0"]
        assert set(found["top"].items) == SUITABLE
        assert found["all"].items == []

    def test_week_after_week_nobody_gets_an_item_twice_within_the_window(self, tmp_path):
        async def weeks(desk):
            return [read(await mails(desk, EVERYBODY, at_us=SOON_US + week * WEEK_US, sent=True))
                    for week in range(5)]  # fmt: skip

        each = at_desk(tmp_path, weeks, bundle=shop())
        for user_id in EVERYBODY:
            shown = [set(items_of(week[user_id])) for week in each]
            assert not any(one & two for one, two in pairwise(shown))
            assert shown[0] & shown[2], "two weeks later it may come again"


class TestTooFew:
    """Seven items suit a mail; `top` and `more` show four."""

    def shown(self, decided, policy, seen):
        places = {"top": {**BLOCK, "min_items": 2, "on_too_few": policy}}
        before = [saw("c0", "all", seen, DAY_US)]
        return decided(["c0"], "top", "more", bundle=shop(placements=places), shown=before)["c0"]

    def test_a_shorter_block_is_shown(self, decided):
        found = self.shown(decided, "shorter", SUITABLE - {"r1"})
        assert (found["top"].decision, found["top"].items) == ("show", ["r1"])
        assert (found["more"].decision, found["more"].reason) == ("suppress", "nothing_allowed")

    def test_a_suppressed_block_leaves_its_items_to_the_next_one(self, decided):
        found = self.shown(decided, "suppress", SUITABLE - {"r1"})
        assert (found["top"].decision, found["top"].reason) == ("suppress", "too_few_items")
        assert (found["more"].decision, found["more"].items) == ("show", ["r1"])

    def test_not_even_a_padded_block_repeats_what_was_shown(self, decided):
        assert self.shown(decided, "pad", SUITABLE - {"r1"})["top"].items == ["r1"]

    def test_a_padded_block_has_what_they_bought_long_ago(self, decided):
        """All but one thing, where the shop repeats nothing of its own accord."""
        lenient = {"bought_again_after_days": 0, "echo_after_hours": 0}
        bought = [
            Event(item_id=item, event_type="purchase", occurred_us=END_US + MINUTES, user_id="h0")
            for item in SUITABLE - {"r1"}
        ]
        for policy, many in [("pad", 2), ("shorter", 1)]:
            places = {"top": {**BLOCK, "min_items": 2, "on_too_few": policy}}
            bundle = shop(lenient, placements=places, repeat={"product": "exclude"})
            block = decided(["h0"], "top", bundle=bundle, facts=bought)["h0"]["top"]
            assert (block.items[0], len(block.items)) == ("r1", many)

    def test_a_mail_without_any_block_is_none(self, decided):
        found = decided(["c0"], shown=[saw("c0", "all", SUITABLE, DAY_US)])
        assert why(found) == {("suppress", "nothing_allowed")}


class TestNothingNew:
    def places(self):
        strict = {"min_items": 2, "not_repeated_for_days": 99, "on_too_few": "suppress"}
        return {"top": {**BLOCK, "not_repeated_for_days": None}, "more": {**BLOCK, **strict}}

    def found(self, decided, last, **withhold):
        before = [saw("c0", "all", SUITABLE, 9 * DAY_US), saw("c0", "top", last, 2 * DAY_US)]
        bundle = shop(placements=self.places(), withhold=withhold)
        return decided(["c0"], shown=before, bundle=bundle)

    def test_the_mail_that_says_what_the_last_one_said_is_not_sent(self, decided):
        """All blocks say why, the one too, that had too few items in any case."""
        assert why(self.found(decided, ["t1", "r2", "k1"])) == {("suppress", "nothing_new")}

    def test_one_item_more_is_enough_or_as_many_as_the_config_says(self, decided):
        assert self.found(decided, ["t1"])["c0"]["top"].items == ["t1", "r2"]
        assert why(self.found(decided, ["t1"], min_new_items=2)) == {("suppress", "nothing_new")}

    def test_it_is_not_asked_where_the_config_does_not(self, decided):
        found = self.found(decided, ["t1", "r2"], min_new_items=0)["c0"]
        assert found["top"].items == ["t1", "r2"]
        assert found["more"].reason == "nothing_allowed"

    def test_what_the_site_showed_was_no_mail(self, decided):
        bundle = shop(placements=self.places())
        before = [saw("c0", "home", ["t1", "r2"], DAY_US)]
        assert decided(["c0"], "top", shown=before, bundle=bundle)["c0"]["top"].items


class TestNoMail:
    """All reasons and their order: test_withholding.py. Here: where their facts come from."""

    def reason(self, decided, bundle, user_id="c0", **more):
        found = decided([user_id], bundle=bundle, **more)
        if items_of(found[user_id]):
            return None
        ((decision, reason),) = why(found, user_id)
        assert decision == "suppress"
        return reason

    @pytest.mark.parametrize(
        ("said", "default", "listed", "reason"),
        [
            (1, "no", None, None), (0, "yes", None, "no_email_consent"),
            (-1, "no", None, "no_email_consent"), (-1, "yes", None, None),
            (0, "no", True, "no_email_consent"), (1, "yes", False, "no_email_consent"),
            (-1, "no", True, None), (-1, "yes", False, "no_email_consent"),
        ],
    )  # fmt: skip
    def test_a_no_stands_whoever_said_it(self, decided, said, default, listed, reason):
        bundle = with_contacts(shop(withhold={"consent_default": default}),
                               c0={"consent_email": said})  # fmt: skip
        given = [Given(consent_email=listed)]
        assert self.reason(decided, bundle, given=given) == reason

    def test_of_whom_nothing_is_known_the_default_holds(self, decided):
        for default, reason in [("yes", None), ("no", "no_email_consent")]:
            bundle = shop(withhold={"consent_default": default})
            assert self.reason(decided, bundle, "nobody") == reason

    def test_they_rather_hear_elsewhere(self, decided):
        bundle = shop(withhold={"channel_question": "channel", "channel_answers": ["E-Mail"]})
        letters = with_contacts(bundle, c0={"channels": "letter"})
        mail = Answer(user_id="c0", question="channel", answer=" e-mail ", answered_us=END_US)
        sms = Answer(user_id="c0", question="channel", answer="sms", answered_us=END_US + 1)
        assert self.reason(decided, bundle) is None
        assert self.reason(decided, letters) == "other_channel"
        assert self.reason(decided, letters, facts=[mail]) is None
        assert self.reason(decided, bundle, facts=[mail, sms]) == "other_channel"

    def test_they_had_as_many_mails_as_they_want(self, decided):
        bundle = with_contacts(shop(), c0={"mails_per_week": 0.5})
        for days, reason in [(13, "frequency_reached"), (14, None)]:
            before = [saw("c0", "more", ["r1"], days * DAY_US), saw("c0", "home", ["r1"], DAY_US)]
            assert self.reason(decided, bundle, shown=before) == reason
        before = [saw("c0", "more", ["r1"], 6 * DAY_US)]
        for listed in (2, 0.1):  # of two words the more restrictive counts
            given = [Given(mails_per_week=listed)]
            assert self.reason(decided, bundle, shown=before, given=given) == "frequency_reached"

    def test_two_blocks_are_one_mail(self, decided):
        before = [saw("c0", "top", ["r1"], DAY_US), saw("c0", "more", ["r2"], DAY_US)]
        given = [Given(mails_per_week=2)]
        assert self.reason(decided, shop(), shown=before, given=given) is None

    def test_they_have_just_bought(self, decided):
        bundle = shop(withhold={"just_bought_days": 2})
        bought = [view("r1", kind="purchase", user_id="c0")]
        assert self.reason(decided, bundle, facts=bought) == "just_bought"
        assert self.reason(decided, bundle, facts=[view("r1", user_id="c0")]) is None
        later = {"facts": bought, "at_us": END_US + 3 * DAY_US}
        assert self.reason(decided, bundle, **later) is None

    def test_they_did_nothing_for_long(self, decided):
        """c0 was there ten days ago, d0 forty."""
        bundle = shop(withhold={"stale_after_days": 30})
        assert self.reason(decided, bundle) is None
        assert self.reason(decided, bundle, "d0") == "stale_profile"
        assert self.reason(decided, bundle, "d0", facts=[view("r1", user_id="d0")]) is None

    def test_who_does_not_agree_to_be_known_is_neither_stale_nor_known_too_little(self, decided):
        bundle = shop(withhold={"stale_after_days": 30, "min_events": 9,
                                "low_confidence": "suppress"})  # fmt: skip
        no = [Consent(user_id="d0", personalise=False, at_us=END_US)]
        found = decided(["d0"], bundle=bundle, facts=no)
        assert why(found, "d0") == {("show", "no_consent")}
        assert {rung for block in found["d0"].values() for rung in block.item_rung} == {
            "one_for_all"
        }

    def test_a_holdout_of_an_experiment_gets_none(self, decided):
        held = {"name": "mails", "placements": ["more"],
                "arms": {"silent": {"share": 0.5, "mail": False}}}  # fmt: skip
        found = decided(EVERYBODY, bundle=shop(experiments=[held]))
        arms = {user_id: mail["more"].arm["mails"] for user_id, mail in found.items()}
        assert set(arms.values()) == {"silent", "usual"}
        for user_id, arm in arms.items():
            silent = {("suppress", "holdout")}
            assert (why(found, user_id) == silent) is (arm == "silent")
            assert found[user_id]["top"].arm == {}, "it does not run there, but the mail is one"

    def test_an_experiment_on_models_is_dealt_to_nobody(self, decided):
        versions = {"name": "models", "arms": {"new": {"share": 1, "model": "v1"}}}
        assert one(decided(["c0"], "all", bundle=shop(experiments=[versions]))).arm == {}

    def test_who_was_forgotten_gets_none_until_they_agree_anew(self, decided):
        """Nothing of before is used then, not what the table of customers said either."""
        told = {"c0": {"first_names": "Zoe", "languages": "de", "mails_per_week": 0}}
        bundle = with_contacts(
            shop(messages=[{"text": "{first_name|You}!"}], withhold={"stale_after_days": 1}), **told
        )
        gone = [Forget(user_id="c0", at_us=END_US + MINUTES)]
        assert self.reason(decided, bundle, facts=gone) == "forgotten"
        given = [Given(consent_email=True)]
        assert self.reason(decided, bundle, facts=gone, given=given) == "forgotten"
        back = [*gone, Consent(user_id="c0", personalise=True, at_us=END_US + 2 * MINUTES)]
        block = decided(["c0"], bundle=bundle, facts=back)["c0"]["top"]
        assert (block.decision, block.reason) == ("show", "unknown_user")
        assert (block.headline, block.language) == ("You!", "en")

    def test_nothing_of_the_forgotten_tells_who_they_were(self, decided):
        gone = [Forget(user_id="c0", at_us=END_US + MINUTES)]
        first, second = (decided(["c0"], facts=gone)["c0"]["top"] for _ in range(2))
        assert first.pseudonym != second.pseudonym
        assert (first.segment, first.stage, first.language) == ("", "", "en")


class TestLessPersonal:
    def test_of_whom_too_little_is_known_gets_no_more_than_a_segment(self, decided):
        """d0 has done two things, c0 three."""
        found = decided(["c0", "d0"], bundle=shop(withhold={"min_events": 3}))
        assert why(found, "d0") == {("fallback", "low_confidence")}
        assert "one_to_one" not in {rung for b in found["d0"].values() for rung in b.item_rung}
        assert found["d0"]["top"].rung == "one_for_all", "this ladder has no step for segments"
        assert why(found) == {("show", "known_history")}

    def test_a_stale_profile_may_be_a_reason_for_it_too(self, decided):
        options = {"stale_after_days": 30, "stale": "fallback"}
        found = decided(["d0"], bundle=shop(withhold=options))
        assert why(found, "d0") == {("fallback", "stale_profile")}

    def test_a_visit_is_over_when_a_mail_is_read(self, decided):
        """On the site c0 would get what goes with k1, consent or not."""
        facts = [Consent(user_id="c0", personalise=False, at_us=END_US),
                 view("k1", after=55, user_id="c0")]  # fmt: skip
        block = decided(["c0"], facts=facts, bundle=shop({"echo_after_hours": 0}))["c0"]["top"]
        assert (block.reason, block.rung) == ("no_consent", "one_for_all")

    def test_a_placement_and_an_arm_may_allow_less(self, decided):
        arm = {"name": "plain", "placements": ["more"],
               "arms": {"plain": {"share": 1, "highest_rung": "one_for_all"}}}  # fmt: skip
        found = decided(["c0"], bundle=shop(experiments=[arm]))["c0"]
        assert (found["top"].rung, found["more"].rung) == ("one_to_one", "one_for_all")
        assert found["more"].reason == "limit"

    def test_the_evidence_may_say_that_it_does_not_pay(self, decided):
        """In mails, whatever it says of the site: who gets a mail is in no visit."""
        cells = [
            Weighed("arriving", "product", channel, None, None, rung, "offline", 99, 99, [])
            for channel, rung in [("email", "one_for_all"), ("site", "one_to_one")]
        ]
        found = Evidence("clicks", "climb", 0.0, cells, "", [], [])
        flat = replace(shop(), evidence=found)
        assert why(decided(["c0"], bundle=flat)) == {("show", "does_not_pay")}


class TestRules:
    def test_hold_in_a_mail_as_on_a_page(self, decided):
        rules = [
            {"hide": "item_id = 'r1'", "placement": "all"},
            {"pin": [{"item": "t2", "position": 2}], "placement": "all"},
            {"max_per": {"category": 1}, "placement": "more"},
        ]
        bundle = shop(rules=rules, placements={"more": {**BLOCK, "size": 9}})
        found = decided(["c0", "c1"], "all", bundle=bundle)
        for user_id in ("c0", "c1"):
            block = found[user_id]["all"]
            assert set(block.items) == SUITABLE - {"r1"}
            assert (block.items[1], block.mark[1]) == ("t2", ["pinned"])
        limited = decided(["c0"], "more", bundle=bundle)["c0"]["more"].items
        assert sorted(PLACES[item] for item in limited) == [
            "garden/roses", "garden/tools", "kitchen",
        ]  # fmt: skip

    @pytest.mark.parametrize("item", ["sold", "h1", "h3"])
    def test_a_pin_of_what_suits_no_mail_is_as_if_it_were_not_there(self, decided, item):
        rules = [{"pin": [{"item": item, "position": 1}]}]
        assert set(one(decided(["c0"], "all", bundle=shop(rules=rules))).items) == SUITABLE

    def test_a_pin_repeats_nothing(self, decided):
        rules = [{"pin": [{"item": "r1", "position": 1}]}]
        before = [saw("c0", "top", ["r1"], DAY_US)]
        found = decided(["c0", "c1"], bundle=shop(rules=rules), shown=before)
        assert "r1" not in items_of(found["c0"])
        assert found["c1"]["top"].items[0] == "r1"
        assert "r1" not in found["c1"]["more"].items, "the pin is on both blocks, the item in one"

    def test_a_set_of_rules_is_the_arm_s_that_names_it(self, decided):
        rules = [{"hide": "category LIKE 'kitchen%'", "set": "garden"}]
        arm = {"name": "shelf", "arms": {"garden": {"share": 0.5, "rules": "garden"}}}
        found = decided(EVERYBODY, "all", bundle=shop(rules=rules, experiments=[arm]))
        for mail in found.values():
            hidden = {"k1", "k2"} if mail["all"].arm == {"shelf": "garden"} else set()
            assert set(mail["all"].items) == SUITABLE - hidden


MESSAGES = [
    {"name": "hello", "text": "Hello, {first_name|dear reader}"},
    {"name": "hello", "text": "Hallo, {first_name|lieber Gast}", "language": "de"},
    {"name": "more", "text": "And more", "placements": ["more"]},
]


class TestWords:
    def found(self, decided, **more):
        bundle = with_contacts(
            shop(messages=MESSAGES), c0={"first_names": "Zoe"}, c1={"languages": "de-AT"}
        )
        return decided(["c0", "c1", "nobody"], bundle=bundle, **more)

    def test_are_in_the_reader_s_language_with_their_name(self, decided):
        found = self.found(decided)
        assert [mail["top"].headline for mail in found.values()] == [
            "Hello, Zoe", "Hallo, lieber Gast", "Hello, dear reader",
        ]  # fmt: skip
        assert [mail["top"].language for mail in found.values()] == ["en", "de-AT", "en"]
        assert {mail["top"].message for mail in found.values()} == {"hello"}
        assert found["c0"]["more"].headline == "And more"

    def test_the_list_knows_names_and_languages_better(self, decided):
        given = [Given(first_name="Zo"), Given(language="fr"), Given(language="de")]
        assert [mail["top"].headline for mail in self.found(decided, given=given).values()] == [
            "Hello, Zo", "Hello, dear reader", "Hallo, lieber Gast",
        ]  # fmt: skip

    def test_a_block_without_items_says_nothing(self, decided):
        block = self.found(decided, shown=[saw("c0", "all", SUITABLE, DAY_US)])["c0"]["top"]
        assert (block.message, block.headline) == ("", "")

    def test_segment_and_stage_are_known_only_of_who_agreed(self, decided):
        bundle = shop(messages=[{"text": "Welcome", "stage": "new"}, {"text": "Hello"}])
        no = [Consent(user_id="c1", personalise=False, at_us=END_US)]
        found = decided(["c0", "c1"], bundle=bundle, facts=no)
        assert found["c0"]["top"].headline == "Welcome"
        assert found["c1"]["top"].headline == "Hello"
        assert (found["c0"]["top"].stage, found["c1"]["top"].stage) == ("new", "")

    @pytest.mark.parametrize(
        ("name", "told", "in_html"),
        [("Zoe \n & Co", "Zoe & Co", "Zoe &amp; Co"), ("<b>Zoe</b>", "dear reader", "dear reader"),
         ("{{ password }}", "dear reader", "dear reader")],
    )  # fmt: skip
    def test_a_name_is_text_and_what_is_none_is_not_told(self, tmp_path, name, told, in_html):
        async def work(desk):
            mailer = equipped(desk)
            blocks = await mails(desk, ["c0"], given=[Given(first_name=name)])
            mail = mailer.dressing_of("week", SOON_US).dressed(blocks, range(2))
            return mail, rendered(mail_of(mail, desk.bundle.config), mailer.templates)

        mail, made = at_desk(tmp_path, work, bundle=shop(messages=MESSAGES))
        assert mail.subject == f"Hello, {told}"
        assert f"Hello, {in_html}" in made.html
        assert f"Hello, {told}" in made.text


LIVES = [  # of whom the store knows something: they are looked at one by one
    view("k1", user_id="c3"), view("r3", kind="purchase", user_id="c5"),
    Consent(user_id="c7", personalise=False, at_us=END_US),
    Forget(user_id="c9", at_us=END_US), view("t2", user_id="new"),
    Answer(user_id="d0", question="mute_item", answer="r1", answered_us=END_US),
]  # fmt: skip
SHOWN = [saw("c2", "home", ["r1"], DAY_US), saw("c4", "top", ["t1", "r2"], 9 * DAY_US)]


class TestABatch:
    def test_is_what_each_would_get_alone_in_any_order(self, tmp_path):
        """Some the store knows, others it does not; each has the same blocks in every company."""
        who = [*EVERYBODY, "new"]
        held = {"name": "letters", "placements": ["top", "more"],
                "arms": {"silent": {"share": 0.2, "mail": False}}}  # fmt: skip
        bundle = shop(
            rules=[{"rotate": 1.0, "placement": "more"}, {"max_per": {"category": 1},
                                                          "stage": "new", "placement": "top"}],
            withhold={"min_events": 3, "just_bought_days": 1}, experiments=[held],
        )  # fmt: skip

        async def work(desk):
            await desk.state.keep(SHOWN)
            await mails(desk, who)  # they are met, so that their pseudonyms stand
            random, found = np.random.default_rng(3), []
            for many in (len(who), 1, 5):
                order = random.permutation(len(who))
                for first in range(0, len(who), many):
                    own = [who[at] for at in order[first : first + many]]
                    blocks = await mails(desk, own)
                    assert blocks.user_ids[::2] == blocks.user_ids[1::2] == own
                    found.append(read(blocks))
            return found

        each = at_desk(tmp_path, work, LIVES, bundle)
        together, *rest = each
        reasons = {block.reason for mail in together.values() for block in mail.values()}
        assert {"holdout", "just_bought", "low_confidence", "known_history", "forgotten",
                "no_consent"} <= reasons  # fmt: skip
        assert sum(len(one) for one in rest) == 2 * len(who)
        for part in rest:
            for user_id, mail in part.items():
                for name, block in mail.items():
                    expected = together[user_id][name]
                    if user_id == "c9":  # nobody can tell them again
                        block.pseudonym = expected.pseudonym
                    assert block == expected

    def test_decides_the_same_again_under_the_same_ids(self, tmp_path):
        async def work(desk):
            return [await mails(desk, ["c0", "c1"]) for _ in range(2)]

        first, second = at_desk(tmp_path, work, bundle=shop())
        assert first.decision_ids == second.decision_ids
        assert len(set(first.decision_ids)) == 4


class TestWhatIsRemembered:
    RECORD = Record(
        mailing="week", model_version="v1", rules_version="none", as_of="", at_us=SOON_US,
        placements=("top", "more"), recipients=3, chunk=2, digest="list",
    )  # fmt: skip
    WHO = ("c0", "silent", "c1")

    def sent(self, path, record=RECORD, times=1):
        """What the store knows afterwards, and the log of decisions."""
        bundle = with_contacts(shop(messages=[{"name": "hello", "text": "Hello"}]))
        given = [Given(), Given(consent_email=False), Given()]

        async def work(desk):
            for _ in range(times):
                out = path / f"out-{record.mailing}"
                await decide_parts(equipped(desk), record, Listed(self.WHO, given), out)
                await remember(desk.state, Home(path), record, out)
            return await desk.state.recall_all(self.WHO)

        known = at_desk(path, work, bundle=bundle)
        files = decision_files(Home(path).decisions)
        return known, [line for file in files for line in read_decisions(file)]

    def test_is_what_everybody_was_shown_and_every_decision(self, tmp_path):
        known, lines = self.sent(tmp_path)
        assert [len(one.mailed) for one in known] == [2, 0, 2]
        assert [(line.placement, line.decision, line.reason) for line in lines] == [
            ("top", "show", "known_history"), ("more", "show", "known_history"),
            ("top", "suppress", "no_email_consent"), ("more", "suppress", "no_email_consent"),
            ("top", "show", "known_history"), ("more", "show", "known_history"),
        ]  # fmt: skip
        assert {(line.mailing, line.channel, line.at_us) for line in lines} == {
            ("week", "email", SOON_US)
        }
        assert [line.message for line in lines] == ["hello", "", "", "", "hello", ""]
        first = lines[0]
        assert first.positions == [1, 2]
        assert [first.item_ids, lines[1].item_ids] == [ids for _, _, ids in known[0].mailed]
        assert lines[2].item_ids == []
        assert len({line.decision_id for line in lines}) == len(lines)

    def test_counts_once_however_often_it_is_told(self, tmp_path):
        once, again = self.sent(tmp_path / "1"), self.sent(tmp_path / "2", times=3)
        assert [one.mailed for one in once[0]] == [one.mailed for one in again[0]]
        assert len(once[1]) == len(again[1]) == 6

    def test_two_mailings_of_one_moment_are_both_logged(self, tmp_path):
        """In a shop with `clock: as_of` the moment is the same until something happens."""
        self.sent(tmp_path)
        _, lines = self.sent(tmp_path, structs.replace(self.RECORD, mailing="other"))
        assert {line.mailing for line in lines} == {"week", "other"}
        assert len({line.decision_id for line in lines}) == len(lines) == 12

    def test_who_comes_back_is_met_anew(self, tmp_path):
        """A click on a link of theirs is theirs."""
        back = [Forget(user_id="c0", at_us=END_US + MINUTES),
                Consent(user_id="c0", personalise=True, at_us=END_US + 2 * MINUTES)]  # fmt: skip

        async def work(desk):
            desk.salt = b"key"  # the store's own, as in a shop's home
            blocks = await mails(desk, ["c0", "c1"])
            return [await desk.state.whose(name) for name in blocks.pseudonyms[::2]]

        assert at_desk(tmp_path, work, back, shop()) == ["u:c0", "u:c1"]
        gone = at_desk(tmp_path / "gone", work, back[:1], shop())
        assert gone == [None, "u:c1"]
