"""Key messages: who is told what, in which language, with which merge fields."""

from datetime import UTC, datetime
from itertools import permutations
from typing import ClassVar

import pytest
import worlds
from at_the_desk import ask
from small_desk import changed, model

from features.config import ConfigError, load_config
from features.messages import Message, chosen, filled, in_order

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def told(*messages, segment="fans", stage="new", language="de-AT", placement="mail", now=NOW):
    """The text that a new fan who reads Austrian German is told in the mail."""
    found = chosen(in_order(messages), now, segment, stage, language, placement)
    return None if found is None else found.text


def message(text="it", **more):
    return Message(text=text, **more)


class TestWhoIsToldIt:
    @pytest.mark.parametrize(
        ("asked", "fits"),
        [
            ({}, True),
            ({"segment": "fans", "stage": "new", "placements": ["home", "mail"]}, True),
            ({"segment": "others"}, False),
            ({"stage": "loyal"}, False),
            ({"placements": ["home"]}, False),
            ({"language": "en"}, False),
            ({"ends": NOW}, False),
            ({"starts": NOW}, True),
        ],
    )
    def test_is_whoever_it_does_not_leave_out(self, asked, fits):
        assert (told(message(**asked)) == "it") == fits

    @pytest.mark.parametrize(
        ("language", "readers"),
        {
            "de": ["de", "de-AT", "de_at", "DE"],
            "de-AT": ["de-AT", "de_at"],
            "de_AT": ["de-AT", "de_at"],
            None: ["de", "de-AT", "de_at", "DE", "den", "en"],
        }.items(),
    )
    def test_reads_the_language_or_a_dialect_of_it(self, language, readers):
        asked = message(language=language)
        every = ["de", "de-AT", "de_at", "DE", "den", "en"]
        assert [one for one in every if told(asked, language=one)] == readers

    def test_may_be_in_no_segment_and_no_stage(self):
        assert told(message(segment="fans"), segment=None) is None
        assert told(message(stage="new"), stage=None) is None

    def test_wherever_it_may_be_where_no_placement_is_asked_for(self):
        assert told(message(placements=["home"]), placement=None) == "it"


class TestOfSeveral:
    ONES: ClassVar = [
        message("first of all", priority=1),
        message("asks for most", segment="fans", stage="new", placements=["mail"]),
        message("the exact language", language="de-AT", stage="new"),
        message("two", language="de", segment="fans"),
        message("one", placements=["mail"]),
        message("for all"),
    ]

    def test_priority_comes_first_then_what_asks_for_most(self):
        for way in permutations(self.ONES, 6):
            assert in_order(way) == self.ONES

    def test_of_equals_the_one_written_first(self):
        one, other = message("one", stage="new"), message("other", segment="fans")
        assert (told(one, other), told(other, one)) == ("one", "other")


class TestMergeFields:
    @pytest.mark.parametrize(
        ("text", "name", "reads"),
        [
            ("{first_name|there}, look", "Ann", "Ann, look"),
            ("{first_name|there}, look", "", "there, look"),
            ("Look{first_name|}", "", "Look"),
            ("{first_name|you}: {first_name|it}", "Ann", "Ann: Ann"),
            ("{first_name|you} & <b>", "A\r\nB", "A B & <b>"),
            ("no field", "Ann", "no field"),
        ],
    )  # fmt: skip
    def test_are_filled_as_plain_text(self, text, name, reads):
        assert filled(text, {"first_name": name}) == reads

    def test_nobody_knows_get_their_defaults(self):
        assert filled("{first_name|there}", {}) == "there"


class TestTheConfig:
    @pytest.mark.parametrize(
        ("told", "where", "what"),
        [
            ('{text: "{name|there}"}', "messages.0.text", "no merge field {name|there}; there is"),
            ('{text: "{{ first_name }}"}', "messages.0.text", "no merge field { first_name }"),
            ('{text: "{first_name}"}', "messages.0.text", "such as {first_name|there}, or {first"),
            ('{text: "a", language: german}', "messages.0.language", "pattern"),
            ('{text: "a", placements: []}', "messages.0.placements", "at least 1"),
            ('{text: "a", placements: [mail]}', "messages.0.placements",
             "there is no placement 'mail'; choose from ['home']"),
        ],
    )  # fmt: skip
    def test_names_the_message_that_cannot_be(self, tmp_path, told, where, what):
        path = tmp_path / "feeds.yaml"
        path.write_text(
            "sources: {events: {path: e.csv}}\nsignals: {view: {weight: 1}}\n"
            f"messages:\n  - {told}\n"
        )
        with pytest.raises(ConfigError) as error:
            load_config(path)
        assert f"feeds.yaml:4: {where}: " in str(error.value)
        assert what in str(error.value)

    def test_translations_share_a_name(self):
        words = [{"name": "hi", "text": "Hi"}, {"name": "hi", "text": "Hallo", "language": "de"}]
        assert len(worlds.config(messages=words).messages) == 2
        again = {"name": "hi", "text": "Servus", "language": "DE"}
        with pytest.raises(ValueError, match=r"messages\.2: 'hi' is given twice"):
            worlds.config(messages=[*words, again])


def test_the_site_speaks_the_shops_language_and_fills_in_defaults(tmp_path):
    words = [
        {"name": "hi", "text": "Hi"},
        {"name": "hi", "language": "de", "text": "Hallo {first_name|du}"},
        {"name": "read", "language": "de", "text": "Lies", "placements": ["magazine"]},
    ]
    german = changed(model(), messages=words, shop={**model().config.shop.model_dump(),
                                                    "language": "de-CH"})  # fmt: skip
    answer = ask(german, tmp_path, placement="home", user_id="c0")
    assert answer["message"] == {"name": "hi", "text": "Hallo du"}
    assert ask(german, tmp_path, placement="magazine")["message"]["text"] == "Lies"
