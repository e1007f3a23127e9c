"""Segments: by rule, by declared answer, and the seam for learned ones."""

import numpy as np
import pytest

from features.options import DeclaredSegment, LearnedSegment, RuleSegment
from features.segments import Answers, Segments, assign, current_answers, validate

PEOPLE = {"orders": np.array([0.0, 1.0, 5.0, 9.0]), "value": np.array([0.0, 90.0, 10.0, 90.0])}
FEW = RuleSegment(name="few", rule="orders < 2")
RICH = RuleSegment(name="rich", rule="value > 50")
TOPIC = DeclaredSegment(name="readers", declared="topic")


def answers(**questions):
    """Per question the (row, answer) pairs that are current."""
    return {
        question: Answers(np.array([row for row, _ in said]),
                          np.array([text for _, text in said], dtype=object))
        for question, said in questions.items()
    }  # fmt: skip


def names(segments: Segments):
    return [segments.name(row) for row in range(len(segments.members))]


def in_halves(_, candidates):
    """A clustering: the first half of the candidates, then the second."""
    place = np.cumsum(candidates) - 1
    groups = np.where(place < candidates.sum() / 2, 0, 1).astype(np.int16)
    return np.where(candidates, groups, -1).astype(np.int16), ["group 1", "group 2"]


class TestRules:
    def test_take_those_for_whom_they_hold_the_first_that_matches_wins(self):
        found = assign([FEW, RICH], PEOPLE, {})
        assert names(found) == ["few", "few", None, "rich"]
        assert found.names == ["few", "rich"]
        assert found.members.tolist() == [0, 0, -1, 1]
        assert found.members.dtype == np.int16

    def test_the_order_of_the_config_decides(self):
        assert names(assign([RICH, FEW], PEOPLE, {})) == ["few", "rich", None, "rich"]

    def test_a_segment_without_people_keeps_its_place(self):
        nobody = RuleSegment(name="nobody", rule="orders > 100")
        assert assign([nobody, FEW], PEOPLE, {}).names == ["nobody", "few"]

    def test_without_segments_nobody_is_in_one(self):
        assert names(assign([], PEOPLE, {})) == [None] * 4

    def test_a_fault_is_named_with_its_place(self):
        with pytest.raises(ValueError, match=r"^segments\.1\.rule: .*Did you mean 'orders'"):
            validate([FEW, RuleSegment(name="typo", rule="ordres > 1")])

    def test_rules_without_fault_are_accepted(self):
        validate([FEW, TOPIC, LearnedSegment(learned=2), RICH])


class TestDeclaredAnswers:
    SAID = answers(topic=[(0, "sport"), (2, "art"), (3, "sport"), (3, "art")])

    def test_make_a_segment_each_sorted_by_answer(self):
        found = assign([TOPIC], PEOPLE, self.SAID)
        assert found.names == ["readers: art", "readers: sport"]
        assert names(found) == ["readers: sport", None, "readers: art", "readers: art"]

    def test_that_are_listed_make_one_segment(self):
        spec = DeclaredSegment(name="players", declared="topic", answers=["sport", "chess"])
        assert names(assign([spec], PEOPLE, self.SAID)) == ["players", None, None, "players"]

    def test_to_a_question_that_nobody_was_asked_make_none(self):
        listed = DeclaredSegment(name="players", declared="game", answers=["chess"])
        asked = DeclaredSegment(name="gamers", declared="game")
        assert assign([listed, asked], PEOPLE, self.SAID).names == ["players"]

    def test_come_after_a_rule_that_takes_the_same_people(self):
        found = names(assign([FEW, TOPIC], PEOPLE, self.SAID))
        assert found == ["few", "few", "readers: art", "readers: art"]


class TestCurrentAnswers:
    def current(self, *rows):
        people, questions, texts, moments = zip(*rows, strict=True)
        found = current_answers(
            np.array(people), np.array(questions, dtype=object), np.array(texts, dtype=object),
            np.array(moments),
        )  # fmt: skip
        return {
            question: sorted(zip(said.people.tolist(), said.texts.tolist(), strict=True))
            for question, said in found.items()
        }

    def test_are_those_of_the_latest_moment_per_person_and_question(self):
        found = self.current((0, "topic", "art", 5), (0, "topic", "sport", 9),
                             (1, "topic", "art", 1), (0, "size", "M", 2))  # fmt: skip
        assert found == {"topic": [(0, "sport"), (1, "art")], "size": [(0, "M")]}

    def test_are_several_when_they_were_given_at_once(self):
        found = self.current((0, "topic", "art", 9), (0, "topic", "sport", 9), (0, "topic", "x", 8))
        assert found == {"topic": [(0, "art"), (0, "sport")]}

    def test_of_nobody_are_none(self):
        none = np.empty(0, dtype=object)
        assert current_answers(np.empty(0, np.int64), none, none, np.empty(0, np.int64)) == {}


class TestLearnedGroups:
    def test_take_everybody_not_yet_taken(self):
        found = assign([FEW, LearnedSegment(learned=2)], PEOPLE, {}, in_halves)
        assert names(found) == ["few", "few", "group 1", "group 2"]

    def test_within_a_segment_refine_it_and_leave_the_others(self):
        specs = [FEW, RICH, LearnedSegment(learned=2, within="few")]
        found = assign(specs, PEOPLE, {}, in_halves)
        assert names(found) == ["few: group 1", "few: group 2", None, "rich"]

    def test_within_a_declared_segment_refine_all_its_answers(self):
        specs = [TOPIC, LearnedSegment(learned=2, within="readers")]
        said = answers(topic=[(0, "art"), (1, "sport")])
        found = assign(specs, PEOPLE, said, in_halves)
        assert names(found) == ["readers: group 1", "readers: group 2", None, None]

    def test_leave_people_of_no_group_where_they_are(self):
        def nobody(_, candidates):
            return np.full(len(candidates), -1, dtype=np.int16), ["group 1"]

        found = assign([FEW, LearnedSegment(learned=2, within="few")], PEOPLE, {}, nobody)
        assert names(found) == ["few", "few", None, None]

    def test_are_left_out_until_somebody_finds_them(self):
        assert names(assign([LearnedSegment(learned=2), FEW], PEOPLE, {}))[0] == "few"

    def test_see_only_their_candidates(self):
        seen = []

        def look(spec, candidates):
            seen.append((spec.learned, candidates.tolist()))
            return in_halves(spec, candidates)

        assign([FEW, LearnedSegment(learned=3), LearnedSegment(learned=2, within="few")], PEOPLE,
               {}, look)  # fmt: skip
        assert seen == [(3, [False, False, True, True]), (2, [True, True, False, False])]


def test_one_person_gets_the_segment_by_its_name():
    specs = [RICH, TOPIC, FEW]
    said = answers(topic=[(0, "sport"), (2, "art")])
    together = names(assign(specs, PEOPLE, said))
    for row in range(4):
        one = {name: values[row : row + 1] for name, values in PEOPLE.items()}
        own = {q: Answers(a.people[a.people == row] * 0, a.texts[a.people == row])
               for q, a in said.items()}  # fmt: skip
        assert assign(specs, one, own).name(0) == together[row]


def test_segments_of_one_name_are_one():
    same = RuleSegment(name="readers: art", rule="orders = 5")
    found = assign([same, TOPIC], PEOPLE, answers(topic=[(0, "art")]))
    assert found.names == ["readers: art"]
    assert names(found) == ["readers: art", None, "readers: art", None]


def test_too_many_answers_say_what_to_do():
    rows = 40_000
    said = Answers(np.arange(rows), np.arange(rows).astype(str).astype(object))
    with pytest.raises(ValueError, match="list the `answers`"):
        assign([TOPIC], {"orders": np.zeros(rows)}, {"topic": said})
