"""How models are judged: who is asked, what counts as wanted, and which rungs are kept."""

from __future__ import annotations

import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from features.split import cut_for_test, time_split
from features.timelines import Timelines
from features.types import DAY_US
from training.bundle import alone
from training.evaluation import protocol
from training.evaluation.ladder import Gain, choose_ladder, gains_of
from training.fitting import fit
from training.policy import kept_away


class Shelf:
    """As much of a catalogue as judging needs: ten products."""

    kinds = np.zeros(worlds.N_ITEMS, dtype=np.int8)

    def __len__(self) -> int:
        return worlds.N_ITEMS


def log(*rows):
    """Rows of (item, signal, day); days from 0 on."""
    lengths = [len(row) for row in rows]
    flat = [event for row in rows for event in row]
    items, signals, days = (np.array(c) for c in zip(*flat, strict=True))
    return Timelines(
        np.cumsum([0, *lengths]), items.astype(np.int32), signals.astype(np.int8),
        (worlds.NOW_US + days * DAY_US).astype(np.int64), days.astype(np.int32), worlds.N_ITEMS,
    )  # fmt: skip


V, P, D = worlds.VIEW, worlds.PURCHASE, worlds.DISLIKE
NO_FEEDS = np.empty((0, 20), dtype=np.int32)
CUT = worlds.NOW_US + 10 * DAY_US


def asked(timelines, **config):
    settings_ = worlds.config(**config)
    made = protocol.tasks(time_split(timelines, CUT), settings_, Shelf())
    return {task.name: task for task in made}


def truth(task):
    return [task.truth.row(row).tolist() for row in range(len(task.truth))]


class TestWhoIsAskedWhat:
    def test_people_with_a_past_are_asked_for_all_and_for_what_they_did_not_have(self):
        tasks = asked(log([(0, P, 1), (0, P, 11), (3, V, 12)]))
        assert truth(tasks["all"]) == [[0, 3]]
        assert truth(tasks["discovery"]) == [[3]]

    def test_a_product_only_looked_at_can_still_be_discovered(self):
        assert truth(asked(log([(0, V, 1), (0, P, 11)]))["discovery"]) == [[0]]

    def test_whoever_wants_nothing_new_is_not_asked_for_it(self):
        assert "discovery" not in asked(log([(0, P, 1), (0, P, 11)]))

    def test_only_what_the_objective_wants_is_wanted(self):
        tasks = asked(log([(0, P, 1), (2, V, 11), (3, P, 12)]), objective="orders")
        assert truth(tasks["all"]) == [[3]]

    def test_a_dislike_is_not_wanted_and_keeps_its_item_away(self):
        tasks = asked(log([(0, P, 1), (4, D, 2), (4, V, 11), (5, V, 12)]))
        assert truth(tasks["all"]) == [[5]]

    def test_people_without_a_past_are_shown_in_the_middle_of_their_visit(self):
        task = asked(log([(1, V, 11), (2, V, 12), (3, V, 13), (4, V, 14)]))["session"]
        assert truth(task) == [[3, 4]]
        assert task.people.queries.histories.items.tolist() == [1, 2]

    def test_people_with_a_past_are_shown_once_more_as_if_it_were_hidden(self):
        task = asked(log([(0, P, 1), (1, V, 11), (2, V, 12)]))["session"]
        assert truth(task) == [[2]]
        assert task.people.queries.histories.items.tolist() == [1]

    def test_nobody_to_ask_is_no_task(self):
        assert asked(log([(1, V, 1)])) == {}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 20)), max_size=8),
        min_size=1, max_size=6,
    ).filter(lambda rows: any(rows))
)  # fmt: skip
def test_what_is_kept_away_from_a_feed_is_never_wanted_of_it(rows):
    for task in asked(log(*[sorted(row, key=lambda e: e[2]) for row in rows])).values():
        away = kept_away(task.people, task.terms)
        for row in range(len(task.people)):
            assert not set(away.row(row)) & set(task.truth.row(row))
            assert len(task.truth.row(row))


def test_what_comes_after_the_cut_changes_no_query():
    before = [(0, P, 1), (1, P, 2)]
    one, other = (asked(log([*before, (item, P, 12)])) for item in (3, 4))
    for name in one:
        mine, theirs = (t[name].people.queries.histories for t in (one, other))
        assert mine.items.tolist() == theirs.items.tolist() == [0, 1]
        assert mine.ages_days.tolist() == theirs.ages_days.tolist() == [9, 8]


@pytest.mark.parametrize(("days", "expected"), [(5.0, 5), (None, 2)])
def test_the_test_slice_is_a_tenth_of_the_log_unless_given(days, expected):
    timelines = log([(0, V, 0), (1, V, 20)])
    assert cut_for_test(timelines, days) == worlds.NOW_US + (20 - expected) * DAY_US


class TestEvidence:
    def outcomes(self, gap, people=200):
        random = np.random.default_rng(0)
        base = random.random(people)
        noise = random.normal(0, 0.05, people)
        made = []
        for name, values in {"popularity": base, "als": base + gap + noise}.items():
            made.append(protocol.Outcome("all", name, {"ndcg_at_20": values}, {}, NO_FEEDS))
        return made

    @pytest.mark.parametrize(("gap", "verdict"), [(0.1, "climb"), (-0.1, "stay"), (0.0, "unknown")])
    def test_a_verdict_is_only_given_when_the_interval_is_clear(self, gap, verdict):
        (gain,) = gains_of(self.outcomes(gap), "allow", 500, 0)
        assert gain.verdict == verdict
        assert gain.low < gain.gain < gain.high

    def test_a_ranker_that_is_clearly_worse_than_popularity_does_not_speak(self):
        measured = gains_of(self.outcomes(-0.1), "allow", 500, 0)
        assert choose_ladder(measured, ["popularity", "als"]) == [("one_for_all", "popularity")]

    def test_two_people_decide_nothing(self):
        one = Gain("one_to_one", "als", "all", 2, -0.1, -0.2, -0.05)
        assert one.verdict == "unknown"
        assert choose_ladder([one], ["popularity", "als"])[0] == ("one_to_one", "als")

    def test_the_better_ranker_speaks_first_and_popularity_last(self):
        gain = Gain("one_to_one", "als", "all", 99, 0.1, 0.05, 0.2)
        better = Gain("one_to_one", "neighbours", "all", 99, 0.2, 0.1, 0.3)
        ladder = choose_ladder([gain, better], ["als", "popularity", "neighbours"])
        assert ladder == [
            ("one_to_one", "neighbours"), ("one_to_one", "als"),
            ("context", "neighbours"), ("context", "als"), ("one_for_all", "popularity"),
        ]  # fmt: skip


def test_personal_rankers_beat_popularity_where_tastes_differ():
    """Two tastes, half of each person's items held out: the tastes must be found."""
    random = np.random.default_rng(1)
    rows = []
    for person in range(60):
        taste = random.permutation(5) + 5 * (person % 2)
        rows.append([(int(i), P, 1 + n) for n, i in enumerate(taste[:3])]
                    + [(int(i), P, 11 + n) for n, i in enumerate(taste[3:])])  # fmt: skip
    config = worlds.config(training={"als": {"factors": 2, "regularization": 1}})
    split = time_split(log(*rows), CUT)
    fitted = {
        name: fit(name, worlds.past(split.past, CUT), config.training)
        for name in ("popularity", "als", "neighbours")
    }
    task = {t.name: t for t in protocol.tasks(split, config, Shelf())}["discovery"]
    found = {
        name: protocol.evaluate(alone(name, ranker), name, task, worlds.N_ITEMS)
        for name, ranker in fitted.items()
    }
    scores = {name: one.values["ndcg_at_10"].mean() for name, one in found.items()}
    assert scores["als"] > scores["popularity"] + 0.2
    assert scores["neighbours"] > scores["popularity"] + 0.2
