"""Segment popularity: whose tastes it tells, how far it leans, and what it finds on the past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import worlds

from features.training_options import SegmentPopularityOptions
from features.types import DAY_US
from training.fitting import CannotFit
from training.fitting.segment_popularity import fit_segment_popularity

FOREVER = 1e9  # days
PLAIN = SegmentPopularityOptions(half_life_days=[FOREVER], prior=[2])


def fitted(log, segments, options=PLAIN):
    parts = {"segments": np.array(segments, dtype=np.int16), "n_segments": max(segments) + 1}
    return fit_segment_popularity(worlds.past(log, **parts), options)


def asking(segments):
    """Strangers of these segments."""
    people = worlds.asking(worlds.timelines([]), [-1] * len(segments))
    return replace(people, segment=np.array(segments, dtype=np.int16))


def test_each_segment_gets_what_it_wants_itself():
    ranker = fitted(worlds.two_tastes(), [0] * 4 + [1] * 4)
    first, second = np.argsort(-ranker.score(asking([0, 1])), axis=1)[:, :4].tolist()
    assert set(first) <= {0, 1, 2, 3, 4, 9}
    assert set(second) <= {5, 6, 7, 8, 9}


def test_a_segment_starts_with_some_events_of_everybody():
    log = worlds.timelines([[0, 0, 0], [1]], n_items=3)
    shares = fitted(log, [0, 1]).shares  # of 4 events item 0 has 3; the prior are 2 events
    assert shares[0, :2] == pytest.approx([(3 + 1.5) / 5, 0.5 / 5])
    assert shares[1, :2] == pytest.approx([1.5 / 3, (1 + 0.5) / 3])


def test_people_in_no_segment_count_for_everybody_but_get_no_opinion():
    log = worlds.timelines([[0], [1]], n_items=3)
    ranker = fitted(log, [0, -1])
    assert ranker.shares[0, 1] == pytest.approx(2 * 0.5 / 3)
    assert np.isnan(ranker.score(asking([-1]))).all()


def test_nobody_has_an_opinion_on_what_nobody_wants():
    log = worlds.timelines([[0, 1], [1, 2]], n_items=5)
    log.signals[1:3] = worlds.DISLIKE  # both events on item 1
    scores = fitted(log, [0, 1]).score(asking([0, 1]))
    assert np.isnan(scores).tolist() == [[False, True, False, True, True]] * 2


@pytest.mark.parametrize(
    ("log", "segments"),
    [
        (worlds.two_tastes(), [-1] * 8),
        (worlds.timelines([[], [0]]), [0, -1]),
        (worlds.timelines([[0]], signal=worlds.DISLIKE), [0]),
        (worlds.timelines([]), [0]),
    ],
    ids=["no segments", "nothing done in one", "only dislikes", "nobody"],
)
def test_cannot_be_fitted_when_no_segment_wants_anything(log, segments):
    people = np.array(segments[: len(log)], dtype=np.int16)
    with pytest.raises(CannotFit, match=r"^segment_popularity: nobody"):
        fit_segment_popularity(worlds.past(log, segments=people, n_segments=1), PLAIN)


def _log(items_of, n_items, people=20, events=200):
    """People who act at random times of 40 days; `items_of` (person, days) says on what."""
    random = np.random.default_rng(0)
    days = np.sort(random.uniform(0, 40, (people, events)), axis=1)
    rows = [items_of(person, own, random).tolist() for person, own in enumerate(days)]
    log = worlds.timelines(rows, n_items=n_items)
    return replace(log, occurred_us=worlds.NOW_US - ((40 - days.ravel()) * DAY_US).astype(np.int64))


@pytest.mark.parametrize(("fashion_days", "found"), [(4.0, {0.25, 1}), (1000.0, {30, 90})])
def test_finds_how_fast_interest_fades(fashion_days, found):
    """Each segment has its own items; either one at a time is the fashion, or all are liked."""

    def items_of(person, days, random):
        fashion = (days / fashion_days).astype(int) % 50
        lasting = random.choice(50, days.size, p=(w := 1 / np.arange(1, 51)) / w.sum())
        wanted = np.where(random.random(days.size) < 0.8, fashion, lasting)
        return (wanted if fashion_days < 40 else lasting) + 50 * (person % 2)

    ranker = fitted(_log(items_of, 100), [0, 1] * 10, SegmentPopularityOptions(prior=[10]))
    assert ranker.half_life_days in found


@pytest.mark.parametrize(("apart", "found"), [(True, {1}), (False, {10_000})])
def test_finds_how_far_to_lean_on_everybody(apart, found):
    """Segments with tastes of their own lean little, segments that are the same by chance much."""

    def items_of(person, days, random):
        liked = random.choice(300, days.size, p=(w := 1 / np.arange(1, 301) ** 0.5) / w.sum())
        return (liked + 150 * (person % 2)) % 300 if apart else liked

    options = SegmentPopularityOptions(half_life_days=[FOREVER], prior=[1, 10_000])
    ranker = fitted(_log(items_of, 300), [0, 1] * 10, options)
    assert ranker.prior in found


def test_a_log_of_one_moment_is_fitted_with_the_settings_in_the_middle():
    log = worlds.timelines([[0], [1]])
    options = SegmentPopularityOptions(half_life_days=[1, 2, 3], prior=[1, 10, 100])
    ranker = fitted(log, [0, 1], options)
    assert (ranker.half_life_days, ranker.prior) == (2, 10)
