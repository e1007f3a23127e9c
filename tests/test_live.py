"""Live counters: the same numbers however the events come in, and at whatever moment one looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from features.live import Counters, Reach, Trails, Transitions
from features.timelines import Timelines
from features.training_options import Training
from features.types import DAY_US, Ragged
from training.fitting import fit
from training.item_facts import UNBORN, ItemFacts
from training.rankers import popularity
from training.rankers.base import Allowed, Queries
from training.rankers.popularity import Pace, PopularityRanker

N_ITEMS = 5
MONTH_AGO_US = worlds.NOW_US - 30 * DAY_US
events = st.lists(
    st.tuples(
        st.integers(0, 2),  # person
        st.integers(0, N_ITEMS - 1),  # item
        st.sampled_from([worlds.VIEW, worlds.PURCHASE, worlds.DISLIKE]),
        st.sampled_from([0, 0, 1, 60_000_000, DAY_US // 3, 4 * DAY_US]),  # since the one before
    ),
    max_size=25,
)
sizes = st.lists(st.integers(1, 6), max_size=25)


def log_of(told):
    """Timelines, and for every entry how many events had come before it, over all people."""
    times = MONTH_AGO_US + np.cumsum([gap for *_, gap in told], dtype=np.int64)
    people = np.array([person for person, *_ in told], dtype=np.int64)
    order = np.argsort(people, kind="stable")
    lengths = np.bincount(people, minlength=3)

    def column(place, kind):
        return np.array([one[place] for one in told], dtype=kind)[order]

    log = Timelines(
        np.append(0, np.cumsum(lengths)), column(1, np.int32), column(2, np.int8), times[order],
        np.zeros(len(told), np.int32), N_ITEMS,
    )  # fmt: skip
    return log, order


def batches(log, arrival, cuts, begin=0):
    """The trails of each batch of arrivals: everything until its end, only the batch is fresh."""
    ends = (begin + np.cumsum(cuts, dtype=np.int64)).tolist()
    for end in [*[e for e in ends if e < len(arrival)], len(arrival)]:
        known = arrival < end
        fresh = (arrival >= begin)[known]
        yield Trails.of(log.where(known), worlds.SIGNALS, fresh)
        begin = end


def matrix(counted, moment_us=worlds.NOW_US):
    found = np.zeros((N_ITEMS, N_ITEMS))
    items = np.arange(N_ITEMS, dtype=np.int32)
    places, targets, sums = counted.rows(items, np.full(N_ITEMS, moment_us))
    np.add.at(found, (places, targets), sums)
    return found


def assert_same(one, other):
    """Equal to 1e-9 relative, of logarithms to base 2."""
    finite = np.isfinite(one)
    assert (finite == np.isfinite(other)).all()
    np.testing.assert_allclose(np.exp2(one[finite] - other[finite]), 1, rtol=1e-9)


class TestCounters:
    def test_an_event_weighs_half_after_each_half_life(self):
        counters = Counters.empty(np.array([1.0, 2.0]), 2, MONTH_AGO_US)
        items, weights = np.array([1, 1], np.int32), np.array([1.0, 4.0])
        counters.add(items, weights, worlds.NOW_US - np.array([2, 4]) * DAY_US)
        decayed = np.exp2(counters.at(worlds.NOW_US))
        np.testing.assert_allclose(decayed, [[0, 0.25 + 4 / 16], [0, 0.5 + 4 / 4]], rtol=1e-12)
        later = np.exp2(counters.at(worlds.NOW_US + 2 * DAY_US))
        np.testing.assert_allclose(later, decayed * [[1 / 4], [1 / 2]], rtol=1e-12)

    @settings(max_examples=60, deadline=None)
    @given(told=events, cuts=sizes, days=st.sampled_from([0.001, 0.3, 90.0]))
    def test_are_the_same_at_once_one_by_one_or_in_batches(self, told, cuts, days):
        log, arrival = log_of(told)
        half_lives = np.array([days, 7.0])
        found = []
        for parts in (cuts, [], [1] * len(told)):
            counters = Counters.empty(half_lives, N_ITEMS, worlds.NOW_US)
            for trails in batches(log, arrival, parts):
                new = trails.fresh
                counters.add(trails.items[new], trails.weights[new], trails.occurred_us[new])
            found.append(counters)
        assert_same(found[0].sums, found[1].sums)
        assert_same(found[2].sums, found[1].sums)

    def test_neither_overflow_nor_forget(self):
        """Ten years at a half-life of minutes: the older of two old items stays behind."""
        counters = Counters.empty(np.array([0.005]), 3, MONTH_AGO_US)
        years = np.array([0, 5, 10]) * 365 * DAY_US
        counters.add(np.arange(3, dtype=np.int32), np.ones(3), MONTH_AGO_US + years)
        logs = counters.at(MONTH_AGO_US + int(years[2]))[0]
        assert np.isfinite(logs).all()
        assert logs[0] < logs[1] < logs[2] == 0

    def test_grow_as_copies(self):
        counters = Counters.empty(np.array([1.0]), 2, MONTH_AGO_US)
        grown = counters.grown(4)
        grown.add(np.array([3], np.int32), np.ones(1), np.array([worlds.NOW_US]))
        assert np.isneginf(counters.sums).all()
        assert counters.newest_us[0] == MONTH_AGO_US
        assert np.isfinite(grown.sums).tolist() == [[False, False, False, True]]


def counted(rows, *, ordered=True, window=2, decay=0.5, times=None):
    """Transitions of one event a day and person, read as if none had faded."""
    log = worlds.timelines(rows, signal=worlds.VIEW, n_items=N_ITEMS)
    if times is not None:
        log = replace(log, occurred_us=np.asarray(times, dtype=np.int64))
    reach = Reach(window, decay, ordered)
    trails = Trails.of(log, worlds.SIGNALS)
    return matrix(Transitions.of(trails, N_ITEMS, reach, 1e9, worlds.NOW_US, 9))


class TestTransitions:
    def test_lead_forward_and_fade_with_distance(self):
        found = counted([[0, 1, 2, 3]])
        expected = np.zeros((N_ITEMS, N_ITEMS))
        expected[[0, 1, 2], [1, 2, 3]] = 1
        expected[[0, 1], [2, 3]] = 0.5
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_looking_twice_on_end_is_one_look_from_which_one_goes(self):
        found = counted([[0, 1, 1, 2]])
        assert found[1, 2] == pytest.approx(1)
        assert found[0, 2] == pytest.approx(0.5)
        assert found[0, 1] == pytest.approx(2), "and two arrivals"

    def test_do_not_lead_from_one_person_to_another(self):
        assert counted([[0, 1], [2, 3]])[1, 2] == 0

    def test_a_basket_has_no_order(self):
        bill = [worlds.NOW_US - 7] * 4
        found = counted([[0, 1, 2, 3]], ordered=False, times=bill)
        everything = np.zeros((N_ITEMS, N_ITEMS))
        everything[:4, :4] = 1 - np.eye(4)
        np.testing.assert_allclose(found, everything, rtol=1e-6)

    def test_after_a_basket_comes_the_next_in_order(self):
        times = [worlds.NOW_US - 9, worlds.NOW_US - 9, worlds.NOW_US - 5]
        found = counted([[0, 1, 2]], ordered=False, times=times)
        assert found[0, 1] == found[1, 0] == pytest.approx(1)
        assert found[1, 2] == pytest.approx(1)
        assert found[2, 1] == 0

    def test_halve_with_time(self):
        log = worlds.timelines([[0, 1]], signal=worlds.VIEW, n_items=N_ITEMS)
        trails = Trails.of(log, worlds.SIGNALS)
        found = Transitions.of(trails, N_ITEMS, Reach(1, 1.0, True), 1.0, worlds.NOW_US, 9)
        assert matrix(found)[0, 1] == pytest.approx(0.5)  # the second came a day ago
        assert matrix(found, worlds.NOW_US + 2 * DAY_US)[0, 1] == pytest.approx(0.125)

    def test_only_the_strongest_are_kept_but_all_are_counted(self):
        log = worlds.timelines([[0, 1], [0, 1], [0, 2], [0, 3]], n_items=N_ITEMS)
        trails = Trails.of(log, worlds.SIGNALS)
        found = Transitions.of(trails, N_ITEMS, Reach(1, 1.0, True), 1e9, worlds.NOW_US, 1)
        row = matrix(found)[0]
        assert np.flatnonzero(row).tolist() == [1]
        assert np.exp2(found.given.at(worlds.NOW_US)[0, 0]) == pytest.approx(2 * row[1])

    @settings(max_examples=60, deadline=None)
    @given(told=events, cuts=sizes, first=st.integers(0, 25), ordered=st.booleans(),
           days=st.sampled_from([0.3, 90.0]))  # fmt: skip
    def test_are_the_same_fitted_or_told_event_by_event(self, told, cuts, first, ordered, days):
        log, arrival = log_of(told)
        reach = Reach(3, 0.7, ordered)

        def fitted(known):
            trails = Trails.of(log.where(known), worlds.SIGNALS)
            return Transitions.of(trails, N_ITEMS, reach, days, worlds.NOW_US, N_ITEMS)

        whole, live = fitted(arrival >= 0), fitted(arrival < first).grown(N_ITEMS)
        for trails in batches(log, arrival, cuts, begin=first):
            live.add(trails)
        np.testing.assert_allclose(matrix(live), matrix(whole), rtol=1e-9)
        assert_same(live.given.sums, whole.given.sums)
        assert_same(live.taken.sums, whole.taken.sums)


def popular(counts, born_days_ago, freshness_days=None):
    """Items with so many events at this moment, born so many days ago (None: nobody knows)."""
    counters = Counters.empty(np.array([1.0]), len(counts), worlds.NOW_US)
    told = np.flatnonzero(counts).astype(np.int32)
    counters.add(told, np.array(counts, float)[told], np.full(told.size, worlds.NOW_US))
    born = [UNBORN if days is None else worlds.NOW_US - int(days * DAY_US)
            for days in born_days_ago]  # fmt: skip
    pace = Pace(counters, 1.0, freshness_days)
    return PopularityRanker(pace, pace, np.array(born))


def asked(ranker, now_us=worlds.NOW_US):
    return ranker.score(Queries.of_strangers(1, ranker.born_us.size, now_us))[0]


class TestPopularity:
    def test_what_is_wanted_more_comes_first(self):
        scores = asked(popular([1, 3, 2], [1, 1, 1]))
        assert scores[1] > scores[2] > scores[0] > 0

    def test_an_items_age_halves_its_score_every_so_often(self):
        fading = asked(popular([4, 2, 1], [4, 2, 0], freshness_days=2.0))
        assert fading[0] == fading[1] == fading[2]
        assert (np.diff(asked(popular([4, 2, 1], [4, 2, 0]))) < 0).all()

    def test_items_without_an_event_come_after_the_others_newest_first(self):
        scores = asked(popular([1, 0, 0, 0], [9, 5, 1, None]))
        assert np.argsort(-scores).tolist() == [0, 2, 1, 3]
        assert scores[0] > 0 >= scores[1:].max()

    def test_what_is_announced_comes_last_until_it_is_born(self):
        ranker = popular([1, 0, 0], [9, 5, -2])
        assert np.argsort(-asked(ranker)).tolist() == [0, 1, 2]
        assert np.argsort(-asked(ranker, worlds.NOW_US + 3 * DAY_US)).tolist() == [0, 2, 1]

    def test_a_follower_counts_on_and_leaves_the_fitted_one_as_it_is(self):
        fitted = popular([1, 2], [9, 9])
        live = fitted.follower(3)
        assert asked(live)[2] == -1
        for minutes in range(3):
            moment = np.array([worlds.NOW_US + minutes * 60_000_000])
            live.observe(Trails(np.array([2], np.int32), np.ones(1), moment, np.zeros(1, np.int64),
                                np.ones(1, np.bool_)))  # fmt: skip
        assert asked(live).argmax() == 2
        assert live.born_us[2] == worlds.NOW_US, "as old as its first event"
        assert asked(fitted).argmax() == 1

    @pytest.mark.parametrize("freshness_days", [None, 0.5])
    @pytest.mark.parametrize("ahead", [False, True])  # is an item counted long before it is born?
    def test_a_follower_keeps_the_first_ones_ready(self, freshness_days, ahead, monkeypatch):
        """Of 40 items the order of 8 is kept; what is asked for goes beyond them."""
        monkeypatch.setattr(popularity, "MOST_WANTED", 8)
        random, n = np.random.default_rng(3), 40
        counts, born = random.integers(1, 4, n).astype(float), random.uniform(0, 2, n)
        counts[5], born[5] = 0.01, -6 if ahead else 6  # so it rises though nobody wants it
        live = popular(counts, born, freshness_days).follower(n)
        now_us = worlds.NOW_US
        for _ in range(60):
            now_us += int(random.exponential(0.1) * DAY_US)
            many = int(random.integers(1, 4))
            live.observe(Trails(
                random.integers(6, 10, many).astype(np.int32), random.uniform(1, 5, many),
                np.full(many, now_us), np.arange(many), np.ones(many, np.bool_),
            ))  # fmt: skip
            stranger = Queries.of_strangers(1, n, now_us)
            away = random.choice(n, 6, replace=False)
            open_ = random.random(n) < 0.8
            allowed = Allowed(slice(0, 30), Ragged.of([away]), open_)
            left = np.flatnonzero(open_[:30] & ~np.isin(np.arange(30), away))
            shown = live.top(stranger, 4, allowed)
            scores = live.score(stranger)[0]
            order = left[np.argsort(-scores[left], kind="stable")][:4]
            assert shown.items[0].tolist() == order.tolist()
            np.testing.assert_allclose(shown.scores[0], scores[order], rtol=1e-6)

    def test_a_follower_fades_at_the_pace_that_is_best_when_live(self):
        """An item is all the fashion for two hours, and then as good as forgotten."""
        random, n_items = np.random.default_rng(0), 300
        days = np.sort(random.uniform(0, 20, 4000))
        lasting = random.choice(60, 4000, p=(w := 1 / np.arange(1, 61)) / w.sum())
        items = np.where(random.random(4000) < 0.3, 60 + (days * 12).astype(int), lasting)
        times = worlds.NOW_US - ((20 - days) * DAY_US).astype(np.int64)
        log = replace(worlds.timelines([items.tolist()], n_items=n_items), occurred_us=times)
        ranker = fit("popularity", worlds.past(log), Training())
        assert ranker.live.half_life_days < ranker.pace.half_life_days
        assert ranker.follower(n_items).pace.half_life_days == ranker.live.half_life_days

    def test_finds_that_only_new_items_are_wanted(self):
        """Every quarter of a day a new article comes and is all that anybody reads that day."""
        random, n_items = np.random.default_rng(0), 160
        days = np.sort(random.uniform(0, 40, 4000))
        items = np.maximum((days * 4).astype(int) - random.integers(0, 4, 4000), 0)
        times = worlds.NOW_US - ((40 - days) * DAY_US).astype(np.int64)
        log = replace(worlds.timelines([items.tolist()], n_items=n_items), occurred_us=times)
        born = worlds.NOW_US - ((40 - np.arange(n_items) / 4) * DAY_US).astype(np.int64)
        facts = replace(ItemFacts.unknown(n_items), born_us=born)
        ranker = fit("popularity", worlds.past(log, items=facts), Training())
        assert ranker.pace.freshness_days in {0.25, 1}
        assert set(np.argsort(-asked(ranker))[:4]) == {156, 157, 158, 159}

    def test_without_interest_the_newest_comes_first(self):
        born = np.array([1, 3, 2], dtype=np.int64)
        facts = replace(ItemFacts.unknown(3), born_us=born)
        nobody = worlds.timelines([[0]], signal=worlds.DISLIKE, n_items=3)
        ranker = fit("popularity", worlds.past(nobody, items=facts), Training())
        assert np.argsort(-asked(ranker)).tolist() == [1, 2, 0]
