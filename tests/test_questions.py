"""Questions: the one whose answer would tell most is asked; who shows it already is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from small_desk import END_US, at_desk, changed, model, view

from features.options import AnswerOption, Preferences, Question
from features.types import DAY_US, MINUTE_US
from serving.api_words import QuestionsRequest, QuestionsResponse
from serving.questions import chances, entropy, questions
from serving.state import Answer, Consent, Link

NAN = np.nan
TOPIC = {"name": "topic", "text": "What do you like?", "answers": ["garden", "kitchen"]}
PART = {"name": "part", "text": "Which part of it?", "answers": ["roses", "garden/tools"]}
WAY = {"name": "way", "text": "For whom?", "answers": ["for me", "for others"]}
MANY = {"name": "many", "text": "Which?", "answers": ["a", "b", "c", "d"]}
NOW_US = END_US + 100 * MINUTE_US


class TestChances:
    """(what the person shows, what everybody said, what everybody did) -> what they will say."""

    @pytest.mark.parametrize(
        ("interest", "said", "done", "likely"),
        [
            ([0, 0], [0, 0], [0, 0], [0.5, 0.5]),  # nothing is known
            ([0, 0], [0, 0], [30, 10], [0.7, 0.3]),  # (30 + 10 * 0.5) / 50
            ([0, 0], [10, 0], [30, 10], [0.85, 0.15]),  # (10 + 10 * 0.7) / 20
            ([3, 0], [10, 0], [30, 10], [0.925, 0.075]),  # (3 + 3 * 0.85) / 6
            ([0, 27], [0, 0], [0, 0], [0.05, 0.95]),  # (0 + 3 * 0.5) / 30
            ([0, 0, NAN, NAN], [0, 0, NAN, NAN], [30, 10, NAN, NAN], [0.35, 0.15, 0.25, 0.25]),
            ([NAN, NAN], [NAN, NAN], [NAN, NAN], [0.5, 0.5]),  # no answer names a category
        ],
    )
    def test_lean_on_the_crowd_where_little_is_known(self, interest, said, done, likely):
        parts = (np.array(one, dtype=np.float64) for one in (interest, said, done))
        np.testing.assert_allclose(chances(*parts, weight=3.0), likely)

    @pytest.mark.parametrize(
        ("likely", "bits"),
        [([0.5, 0.5], 1), ([0.25] * 4, 2), ([1, 0], 0), ([0.5, 0.25, 0.25], 1.5)],
    )
    def test_what_is_open_tells_and_what_is_certain_does_not(self, likely, bits):
        assert entropy(np.array(likely)) == bits


@pytest.fixture
def ask(tmp_path):
    """The answer at a desk that has these questions: `ask([question, ...], facts, **request)`."""

    def run(asked, facts=(), bundle=None, options=None, **request):
        bundle = changed(bundle or model(), preferences={"questions": asked, **(options or {})})

        async def work(desk):
            found = await questions(desk, QuestionsRequest(**request))
            QuestionsResponse.model_validate(found)
            return found

        return at_desk(tmp_path, work, facts, bundle)

    return run


@pytest.fixture
def name(ask):
    """The name of the question that is asked, or None."""

    def run(*args, **request):
        found = ask(*args, **request)["question"]
        return found and found["name"]

    return run


def said(question, answer, days_ago=1.0, **who):
    return Answer(question=question, answer=answer, answered_us=NOW_US - round(days_ago * DAY_US),
                  **(who or {"user_id": "x"}))  # fmt: skip


NOW = view("a1", after=100, user_id="y")  # the clock shows the newest event


class TestWhich:
    def test_the_one_whose_answer_would_tell_most(self, name):
        """Of four equal answers one tells two bits, of two it tells one."""
        assert name([WAY, MANY]) == "many"
        assert name([MANY, WAY]) == "many"

    def test_of_equals_the_first_in_the_config(self, name):
        assert name([{**WAY, "name": "b"}, {**WAY, "name": "a"}]) == "b"

    def test_what_a_person_does_says_it_already(self, ask):
        """Roses for five, tools for none: 30 of interest where a fresh answer weighs 3."""
        facts = [view(one, kind="purchase", user_id="x", after=n)
                 for n, one in enumerate(("r1", "r2", "r3", "r1", "r2", "r3"))]  # fmt: skip
        before = ask([PART], user_id="x")
        after = ask([PART], facts, user_id="x")
        assert before["question"]["name"] == "part"
        assert (after["question"], after["expected_bits"] < 0.3) == (None, True)
        assert "says it already" in after["why"]

    def test_so_does_this_visit(self, ask):
        bits = [ask([PART], recent=recent)["expected_bits"]
                for recent in ([], ["r1"], ["r1", "r2", "r3"])]  # fmt: skip
        assert bits[0] > bits[1] > bits[2]

    def test_a_visit_to_both_sides_leaves_it_open(self, ask):
        both = ask([PART], recent=["t1", "t2", "r1"])["expected_bits"]
        assert both > ask([PART], recent=["r1"])["expected_bits"]

    def test_an_answer_to_another_question_tells_too(self, ask):
        told = [said("first", "garden/tools")]
        asked = [TOPIC]
        assert (ask(asked, [*told, NOW], user_id="x")["expected_bits"]
                < ask(asked, [NOW], user_id="z")["expected_bits"])  # fmt: skip

    def test_everybody_has_a_say(self, ask):
        """In the log 38 looks at the garden met 4 at the kitchen: (38 + 10 / 2) / (42 + 10) ..."""
        likely = (38 + 5) / 52
        likely = (1 + 10 * likely) / 11  # ... and one said `garden/tools`
        bits = entropy(np.array([likely, 1 - likely]))
        assert ask([TOPIC])["expected_bits"] == round(bits, 4)

    def test_sensitive_items_say_nothing(self, ask):
        care = {"name": "care", "text": "?", "answers": ["health/care", "stories"]}
        plain = ask([care])["expected_bits"]
        assert ask([care], recent=["h1", "h2"])["expected_bits"] == plain
        assert ask([care], recent=["a1"])["expected_bits"] != plain

    def test_below_the_bits_of_the_config_none_is_asked(self, name):
        assert name([WAY], options={"ask_above_bits": 1.0}) == "way"
        assert name([WAY], options={"ask_above_bits": 1.01}) is None

    def test_is_the_same_every_time(self, ask):
        assert ask([TOPIC, PART, MANY], user_id="c3") == ask([TOPIC, PART, MANY], user_id="c3")


class TestAnswered:
    @pytest.mark.parametrize(("days", "asked"), [(1, "other"), (179, "other"), (181, "way")])
    def test_what_was_answered_is_not_asked_again_for_so_long(self, name, days, asked):
        facts = [said("way", "for me", days), NOW]
        assert name([WAY, {**WAY, "name": "other"}], facts, user_id="x") == asked

    def test_who_would_rather_not_say_is_not_asked_again(self, ask):
        found = ask([WAY], [said("way", "skip"), NOW], user_id="x")
        assert (found["question"], found["why"]) == (None, "everything has been answered")

    def test_what_the_log_says_of_a_category_answers_the_question_that_names_it(self, name):
        """d0 said `garden/tools` before the model."""
        assert name([PART], user_id="d0") is None
        assert name([PART], user_id="d1") == "part"
        assert name([{**PART, "answers": ["roses", "kitchen"]}], user_id="d0") == "part"
        assert name([TOPIC], user_id="d1") == "topic"  # less of kitchen is no answer to it

    def test_a_device_has_the_answers_of_its_customer(self, name):
        facts = [Link(visitor_id="v", user_id="x", at_us=1), said("way", "for me"), NOW]
        assert name([WAY], facts, visitor_id="v") is None
        assert name([WAY], facts, visitor_id="w") == "way"


class TestNone:
    def test_without_questions(self, ask):
        assert ask([]) == {
            "question": None, "why": "the shop has no questions", "expected_bits": None
        }  # fmt: skip

    def test_without_consent(self, ask):
        facts = [Consent(user_id="x", personalise=False, at_us=1)]
        assert ask([WAY], facts, user_id="x")["why"] == "without consent nothing is asked"

    def test_of_a_stranger_where_silence_is_no_consent(self, name):
        shy = changed(model(), shop={"clock": "as_of", "consent_default": "no"})
        assert name([WAY], bundle=shy) is None
        assert name([WAY]) == "way"


class TestConfig:
    def test_an_answer_has_a_text_for_people_and_one_for_the_catalogue(self, ask):
        roses = AnswerOption(answer="garden/roses", text="Roses, of course").model_dump()
        found = ask([{**PART, "answers": [roses, "garden/tools"]}])["question"]["answers"]
        assert found == [
            {"answer": "garden/roses", "text": "Roses, of course"},
            {"answer": "garden/tools", "text": "garden/tools"},
        ]

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"answers": ["one"]}, "at least 2"),
            ({"answers": ["one", "one"]}, "given twice"),
            ({"answers": ["one", " Skip"]}, "who gives no answer"),
        ],
    )
    def test_a_question_needs_answers_that_differ(self, change, told):
        with pytest.raises(ValueError, match=told):
            Question.model_validate({**WAY, **change})

    def test_every_question_has_a_name_of_its_own(self):
        with pytest.raises(ValueError, match="'way'] is given twice"):
            Preferences.model_validate({"questions": [WAY, WAY]})
        with pytest.raises(ValueError, match="is also in `less`"):
            Preferences.model_validate({"questions": [{**WAY, "name": "less_of_this"}]})
