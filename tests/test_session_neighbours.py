"""Session neighbours: V-SKNN by hand, by brute force, and what its options are for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from features.training_options import SessionNeighboursOptions
from features.types import DAY_US
from training.fitting import CannotFit
from training.fitting.session_neighbours import fit_session_neighbours

FOREVER = 1e9  # days
PLAIN = SessionNeighboursOptions(rarity=0, half_life_days=FOREVER)


def sessions(rows, ages=None):
    """A person and a session per row; `ages` in days, else all of one moment."""
    log = worlds.timelines(rows)
    days = np.repeat(ages if ages is not None else np.ones(len(rows)), np.diff(log.indptr))
    occurred = worlds.NOW_US - (days * DAY_US).astype(np.int64)
    return replace(log, sessions=np.zeros_like(log.sessions), occurred_us=occurred)


def fitted(rows, options=PLAIN, ages=None):
    return fit_session_neighbours(worlds.past(sessions(rows, ages)), options)


def scores(ranker, present):
    """What a stranger with this session is shown: item -> score."""
    row = ranker.score(worlds.asking(worlds.timelines([]), [-1], [present]))[0]
    return {item: pytest.approx(score) for item, score in enumerate(row) if not np.isnan(score)}


def test_the_nearest_sessions_vote_for_their_items_with_the_square_of_the_cosine():
    ranker = fitted([[0, 1], [0, 2, 3], [4, 5]])
    assert scores(ranker, [0]) == {0: 1 / 2 + 1 / 3, 1: 1 / 2, 2: 1 / 3, 3: 1 / 3}


def test_the_newest_event_of_the_session_counts_most():
    ranker = fitted([[0, 1], [2, 3]])
    length = 1 + 1 / 4  # weights 1 and 1/2
    assert scores(ranker, [0, 2])[3] == 1 / 2 / length
    assert scores(ranker, [0, 2])[1] == 1 / 8 / length


def test_the_session_counts_more_than_what_was_before_it():
    ranker = fitted([[0, 1], [2, 3], [4, 5]])
    before = worlds.timelines([[0]], signal=worlds.VIEW)
    now = ranker.score(worlds.asking(before, [0], [[2, 4]]))[0]
    assert now[5] > now[3] > now[1]


def test_what_was_long_ago_counts_less_without_a_session():
    ranker = fitted([[0, 1], [2, 3]])
    now = ranker.score(worlds.asking(worlds.timelines([[0, 2]], days_apart=50), [0]))[0]
    assert now[3] > now[1]


def test_old_sessions_have_less_of_a_vote():
    ranker = fitted([[0, 1], [0, 2]], PLAIN.model_copy(update={"half_life_days": 30}), [10, 40])
    found = ranker.score(worlds.asking(worlds.timelines([]), [-1], [[0]]))[0]
    assert found[2] == pytest.approx(found[1] / 2)


def test_votes_for_rare_items_count_more():
    rows = [[0, 1, 2], [2, 3], [2, 4], [2, 5]]
    found = scores(fitted(rows, PLAIN.model_copy(update={"rarity": 0.5})), [0])
    assert found[1] == 1 / 3 * (1 + 0.5 * np.log(4))
    assert found[2] == 1 / 3


@pytest.mark.parametrize(
    ("option", "heard"), [("sample", {0, 3}), ("neighbours", {0, 1}), ("sessions", {0, 3})]
)
def test_only_the_newest_or_nearest_session_speaks_when_just_one_may(option, heard):
    rows, ages = [[0, 1], [0, 2, 4], [0, 3, 5, 6]], [30, 20, 10]
    if option != "neighbours":
        rows[2] = [0, 3]
    found = fitted(rows, PLAIN.model_copy(update={option: 1}), ages)
    assert scores(found, [0]).keys() == heard


def test_only_the_newest_events_of_who_asks_are_looked_at():
    ranker = fitted([[0, 1], [2, 3], [4, 5]], PLAIN.model_copy(update={"history": 2}))
    assert scores(ranker, [0, 2, 4]).keys() == {2, 3, 4, 5}


def test_the_parts_of_the_history_add_up_to_the_score():
    ranker = fitted([[0, 1, 2], [0, 3], [1, 2, 3], [4, 5]], SessionNeighboursOptions())
    people = worlds.asking(worlds.timelines([[0, 1, 4]]), [0])
    shown = np.arange(worlds.N_ITEMS, dtype=np.int32)
    parts = ranker.contributions(people.histories.interest(), shown)
    np.testing.assert_allclose(parts.sum(axis=0), np.nan_to_num(ranker.score(people)[0]), rtol=1e-5)


def test_an_item_is_shown_because_of_the_event_that_led_to_it():
    ranker = fitted([[0, 1], [2, 3], [4, 5]])
    people = worlds.asking(worlds.timelines([[0]]), [0], [[2, 4]])
    shown = np.array([[1, 3, 5, 9, -1]], dtype=np.int32)
    assert ranker.anchors(people, shown).tolist() == [[0, 2, 4, -1, -1]]
    both = worlds.asking(worlds.timelines([]), [-1], [[0, 4]])
    newest = fitted([[0, 5], [4, 5]]).anchors(both, np.array([[5]], dtype=np.int32))
    assert newest.tolist() == [[4]]


@pytest.mark.parametrize("rows", [[], [[]], [[0], [1]], [[3, 3, 3]]])
def test_cannot_be_fitted_without_a_session_of_two_items(rows):
    with pytest.raises(CannotFit, match=r"^session_neighbours: no session"):
        fitted(rows)


def test_a_dislike_makes_no_session():
    log = sessions([[0, 1]])
    disliked = replace(log, signals=np.array([worlds.PURCHASE, worlds.DISLIKE], dtype=np.int8))
    with pytest.raises(CannotFit):
        fit_session_neighbours(worlds.past(disliked), PLAIN)


def by_brute_force(rows, present, sample):
    """V-SKNN as the paper tells it, with sets and dicts; rows: oldest session first."""
    weights = {}
    for place, item in enumerate(reversed(present), start=1):
        weights[item] = weights.get(item, 0) + 1 / place
    length = sum(w * w for w in weights.values()) ** 0.5
    sharing = [set(row) for row in rows if len(set(row)) > 1 and set(row) & weights.keys()]
    scores = {}
    for held in sharing[-sample:]:
        cosine = sum(weights.get(item, 0) for item in held) / length / len(held) ** 0.5
        for item in held:
            scores[item] = scores.get(item, 0) + cosine**2
    return scores


ITEM = st.integers(0, worlds.N_ITEMS - 1)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(ITEM, max_size=5), max_size=12),
    present=st.lists(ITEM, min_size=1, max_size=6),
    sample=st.integers(1, 6),
)
def test_agrees_with_brute_force(rows, present, sample):
    rows = [[0, 1], *rows]
    options = PLAIN.model_copy(update={"sample": sample})
    ranker = fitted(rows, options, np.arange(len(rows), 0, -1))
    assert by_brute_force(rows, present, sample) == scores(ranker, present)
