"""Splits: what lies before a cut, what lies after it, and nothing on the wrong side."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features import split
from features.timelines import Timelines
from features.types import DAY_US, row_numbers

VIEW, DISLIKE = 0, 1


def log(*rows):
    """Per person: (item, day) or (item, day, session) or (item, day, session, signal)."""
    left_out = (0, VIEW)
    flat = [(*event, *left_out[len(event) - 2 :]) for row in rows for event in row]
    items, days, sessions, signals = np.array(flat or np.empty((0, 4))).T
    return Timelines(
        np.cumsum([0, *map(len, rows)]), items.astype(np.int32), signals.astype(np.int8),
        (days * DAY_US).astype(np.int64), sessions.astype(np.int32), 10,
    )  # fmt: skip


def row(item_days):
    return sorted(item_days, key=lambda event: event[1])


LOGS = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.floats(-40, 40).map(lambda d: round(d, 2))),
             max_size=8).map(row),
    min_size=1, max_size=5,
).filter(any).map(lambda rows: log(*rows))  # fmt: skip


def counted(*parts):
    """How often each event of each person is in the parts."""
    found = [key for part in parts for key in zip(row_numbers(part.indptr).tolist(),
             part.items.tolist(), part.occurred_us.tolist(), strict=True)]  # fmt: skip
    return sorted(found)


class TestInTime:
    LOG = log([(0, -30), (1, -5), (2, 0)], [(3, -10)])

    def test_leaves_the_same_people_on_both_sides_of_the_cut(self):
        parts = split.time_split(self.LOG, -10 * DAY_US)
        assert parts.past.items.tolist() == [0]
        assert parts.future.items.tolist() == [1, 2, 3]
        assert parts.future.indptr.tolist() == [0, 2, 3]

    @given(timelines=LOGS, day=st.integers(-40, 40))
    def test_no_past_holds_an_event_from_the_cut_on(self, timelines, day):
        parts = split.time_split(timelines, day * DAY_US)
        assert (parts.past.occurred_us < parts.cut_us).all()
        assert (parts.future.occurred_us >= parts.cut_us).all()
        assert counted(parts.past, parts.future) == counted(timelines)

    def test_cuts_off_a_tenth_of_the_log_between_a_day_and_four_weeks(self):
        assert split.cut_for_test(self.LOG, None) == -3 * DAY_US
        assert split.cut_for_test(log([(0, -1), (0, 0)]), None) == -DAY_US // 2, "half at most"
        assert split.cut_for_test(log([(0, -1000), (0, 0)]), None) == -28 * DAY_US

    def test_cuts_off_as_many_days_as_the_config_says(self):
        assert split.cut_for_test(self.LOG, 0.5) == -DAY_US // 2

    def test_needs_an_event_with_a_signal(self):
        with pytest.raises(ValueError, match="no event that carries a signal; see `signals:`"):
            split.cut_for_test(log([]), None)


class TestRollingWeeks:
    def test_end_with_the_last_event_and_come_oldest_first(self):
        timelines = log([(0, 0), (1, 6), (2, 7.5), (3, 14), (4, 14.5), (5, 21)])
        weeks = list(split.rolling_weeks(timelines, 2))
        assert [week.future.items.tolist() for week in weeks] == [[2, 3], [4, 5]]
        assert [week.past.items.tolist() for week in weeks] == [[0, 1], [0, 1, 2, 3]]
        assert weeks[-1].cut_us == 14 * DAY_US + 1

    def test_may_end_earlier(self):
        timelines = log([(0, 0), (1, 3), (2, 9), (3, 10)])
        (week,) = split.rolling_weeks(timelines, 1, until_us=10 * DAY_US)
        assert week.past.items.tolist() == [0]
        assert week.future.items.tolist() == [1, 2], "a week holds its first moment, not its end"

    @given(timelines=LOGS, weeks=st.integers(1, 4))
    def test_use_every_event_once_and_never_learn_from_the_future(self, timelines, weeks):
        times = timelines.occurred_us
        begin = times.max() + 1 - weeks * 7 * DAY_US
        assume(times.min() < begin)
        windows = list(split.rolling_weeks(timelines, weeks))
        for one in windows:
            assert (one.past.occurred_us < one.cut_us).all()
            assert (one.future.occurred_us >= one.cut_us).all()
            known = timelines.where(times < one.cut_us)
            assert counted(one.past) == counted(known), "all that was known by then"
        futures = [one.future for one in windows]
        assert counted(*futures) == counted(timelines.where(times >= begin))

    @pytest.mark.parametrize(
        ("days", "weeks", "told"),
        [(13, 2, r"weeks is 2, which leaves no past: .* the log covers 1\.86 weeks; ask for fewer"),
         (14, 0, "weeks is 0; ask for at least one")],
    )  # fmt: skip
    def test_refuse_a_log_that_is_too_short(self, days, weeks, told):
        with pytest.raises(ValueError, match=told):
            split.rolling_weeks(log([(0, 0), (1, days)]), weeks)

    def test_need_something_before_the_first_of_them(self):
        with pytest.raises(ValueError, match="weeks is 1, which leaves no past"):
            split.rolling_weeks(log([(0, 0)]), 1, until_us=7 * DAY_US)

    def test_need_an_event_with_a_signal(self):
        with pytest.raises(ValueError, match="no event that carries a signal"):
            split.rolling_weeks(log([]), 1)


class TestLeaveLastOut:
    def test_takes_the_last_event_of_everybody_who_has_two(self):
        parts = split.leave_last_out(log([(0, 1), (1, 2), (2, 2)], [], [(3, 9)], [(4, 1), (5, 3)]))
        assert parts.past.items.tolist() == [0, 1, 3, 4]
        assert parts.future.items.tolist() == [2, 5]
        assert parts.future.indptr.tolist() == [0, 1, 1, 1, 2]
        assert parts.cut_us == 9 * DAY_US + 1

    @given(timelines=LOGS)
    def test_uses_every_event_once(self, timelines):
        parts = split.leave_last_out(timelines)
        assert counted(parts.past, parts.future) == counted(timelines)
        lengths = np.diff(timelines.indptr)
        assert np.diff(parts.future.indptr).tolist() == (lengths > 1).astype(int).tolist()
        assert (parts.past.occurred_us < parts.cut_us).all()

    def test_of_nobody_is_nothing(self):
        parts = split.leave_last_out(log([], []))
        assert len(parts.past) == len(parts.future) == 2
        assert parts.cut_us == 0


def moments(found):
    parts = (found.rows, found.session_starts, found.positions, found.items)
    return list(zip(*(part.tolist() for part in parts), strict=True))


SESSIONS = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(0, 2),
                       st.integers(VIEW, DISLIKE)), max_size=9).map(row),
    min_size=1, max_size=4,
).map(lambda rows: log(*rows))  # fmt: skip


class TestNextItemOfASession:
    def test_is_every_item_but_the_first_with_what_was_known_before_it(self):
        timelines = log([(9, 1, 0), (0, 5, 1), (1, 6, 1), (2, 7, 1)], [(3, 8, 0), (4, 8, 0)])
        found = split.session_next_item(timelines, 5 * DAY_US)
        assert moments(found) == [(0, 1, 2, 1), (0, 1, 3, 2), (1, 0, 1, 4)]

    def test_a_session_that_began_before_the_cut_is_not_asked(self):
        timelines = log([(0, 4, 0), (1, 6, 0), (2, 7, 0)])
        assert not len(split.session_next_item(timelines, 5 * DAY_US))

    def test_nor_is_its_second_stretch_after_another_one_in_between(self):
        timelines = log([(0, 4, 0), (1, 6, 1), (2, 7, 1), (3, 8, 0), (4, 9, 0)])
        assert moments(split.session_next_item(timelines, 5 * DAY_US)) == [(0, 1, 2, 2)]

    def test_only_a_wanted_signal_can_be_what_came_next(self):
        timelines = log([(0, 1, 0), (1, 2, 0, DISLIKE), (2, 3, 0)])
        wanted = np.array([True, False])
        assert moments(split.session_next_item(timelines, 0, wanted=wanted)) == [(0, 0, 2, 2)]

    def test_some_positions_of_each_session_are_drawn_by_the_seed(self):
        timelines = log([(n % 10, n, n // 20) for n in range(40)])
        every = moments(split.session_next_item(timelines, 0))
        some = [moments(split.session_next_item(timelines, 0, per_session=3, seed=seed))
                for seed in (1, 1, 2)]  # fmt: skip
        assert some[0] == some[1] != some[2]
        for drawn in some:
            assert drawn == sorted(drawn)
            assert set(drawn) < set(every)
            assert [start for _, start, _, _ in drawn] == [0] * 3 + [20] * 3
        with pytest.raises(ValueError, match="per_session is 0"):
            split.session_next_item(timelines, 0, per_session=0)

    @given(timelines=SESSIONS, day=st.integers(0, 20))
    def test_is_asked_within_one_session_from_the_cut_on(self, timelines, day):
        found = split.session_next_item(timelines, day * DAY_US)
        rows, sessions = row_numbers(timelines.indptr), timelines.sessions
        for person, start, position, item in moments(found):
            begin = timelines.indptr[person]
            stretch = slice(begin + start, begin + position + 1)
            assert position > start
            assert (rows[stretch] == person).all()
            assert len(set(sessions[stretch])) == 1
            assert timelines.items[begin + position] == item
            visit = (rows == person) & (sessions == sessions[begin + position])
            assert timelines.occurred_us[visit].min() >= day * DAY_US

    @given(timelines=SESSIONS)
    def test_leaves_out_only_first_items_when_nothing_began_before(self, timelines):
        rows, sessions = row_numbers(timelines.indptr), timelines.sessions
        changes = (np.diff(rows) != 0) | (np.diff(sessions) != 0)
        stretches = 1 + np.count_nonzero(changes) if len(rows) else 0
        assert len(split.session_next_item(timelines, 0)) == len(rows) - stretches

    @given(timelines=SESSIONS, most=st.integers(1, 3))
    def test_at_most_so_many_of_each_are_drawn_and_all_where_there_are_no_more(
        self, timelines, most
    ):
        every = split.session_next_item(timelines, 0)
        some = split.session_next_item(timelines, 0, per_session=most, seed=7)
        keys, counts = np.unique([every.rows, every.session_starts], axis=1, return_counts=True)
        kept, left = np.unique([some.rows, some.session_starts], axis=1, return_counts=True)
        assert kept.tolist() == keys.tolist()
        assert left.tolist() == np.minimum(counts, most).tolist()
