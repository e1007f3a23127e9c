"""Drift: what counts as a change, against what it is judged, and when a build stops."""

from itertools import pairwise
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.drift import SHIFTED, TooMuchChange, changes, stability_index, stop_if_beyond
from features.options import Bounds
from features.profile import day_number, iso_day
from features.types import DAY_US

MONDAY = day_number("2024-01-01")
BOUNDS = Bounds()  # half the volume may go, four times as much may come, 25 points of nulls
MONTH = [100] * 29  # the first day and 28 more; the day after them is the one that is not over


def part(events, nulls=None, types=None, channels=None):
    return {
        "events": events, "event_types": types or {"view": events}, "channels": channels or {},
        "null_shares": nulls or {}, "anonymous_share": 0.0, "visitor_share": 0.0,
        "session_only_share": 0.0,
    }  # fmt: skip


def build(days, recent=None, **counts):
    """The profile of a log with so many events on each day, built at noon of the last of them."""
    moment = (MONDAY + len(days) - 1) * DAY_US + DAY_US // 2
    given = [(iso_day(MONDAY + n), events) for n, events in enumerate(days) if events]
    return part(sum(days), **counts) | {
        "as_of_us": moment, "first_us": MONDAY * DAY_US, "last_us": moment, "days": given,
        "daily_types": {"view": [n for n in days if n]}, "gaps": [], "recent": recent,
    }  # fmt: skip


def beyond(before, after, bounds=BOUNDS):
    """The changes that stop a build: what, and by which bound."""
    return [(one.what, one.bound) for one in changes(before, after, bounds) if one.beyond]


RATE_FELL, RATE_ROSE = ("events a day", "volume_drop"), ("events a day", "volume_rise")
CUT, GREW = ("events in total", "volume_drop"), ("events in total", "volume_rise")


class TestVolume:
    @pytest.mark.parametrize(
        ("new", "found"),
        [
            ([100], []),
            ([50], []),
            ([49], [RATE_FELL]),
            ([500], []),
            ([501], [RATE_ROSE]),
            ([100, 0, 0], [RATE_FELL]),
            ([0] * 40, [RATE_FELL]),
            ([100, 900, 100, 100], []),
        ],
        ids=["as ever", "half", "less than half", "five times", "more", "days without an event",
             "nothing any more", "one wild day among four"],
    )  # fmt: skip
    def test_the_days_that_have_ended_since_are_judged_by_the_weeks_before(self, new, found):
        assert beyond(build([*MONTH, 40]), build([*MONTH, *new, 30])) == found

    def test_a_day_that_is_not_over_is_no_drop(self):
        assert beyond(build([*MONTH, 50]), build([*MONTH, 100, 1])) == []
        assert beyond(build([*MONTH, 50]), build([*MONTH, 51])) == []

    @pytest.mark.parametrize("dead", [30, 33, 38])
    def test_with_a_build_every_noon_each_day_is_judged_by_one_of_them(self, dead):
        days = [100] * 40
        days[dead] = 0
        builds = [build([*days[:n], 50]) for n in range(30, 40)]
        stopped = [
            len(after["days"]) for before, after in pairwise(builds)
            if beyond(before, after)
        ]  # fmt: skip
        assert stopped == [dead + 1]

    def test_a_shop_may_be_closed_on_sundays(self):
        weeks = [100] * 6 + [0]
        sunday = [*(weeks * 5)[:34]]  # up to Saturday; Sunday comes next
        assert beyond(build([*sunday, 0]), build([*sunday, 0, 50])) == []
        monday = weeks * 5
        assert beyond(build([*monday, 50]), build([*monday, 0, 50])) == [RATE_FELL]

    def test_a_newsletter_may_go_out_on_mondays(self):
        weeks, bounds = [1000] + [100] * 6, Bounds(volume_rise=2)
        monday, tuesday = weeks * 5, [*(weeks * 5), 1000]
        assert beyond(build([*monday, 9]), build([*monday, 1000, 9]), bounds) == []
        assert beyond(build([*tuesday, 9]), build([*tuesday, 1000, 9]), bounds) == [RATE_ROSE]

    @pytest.mark.parametrize("new", [0, 1, 9])
    def test_what_chance_does_to_a_small_shop_is_no_change(self, new):
        assert beyond(build([4] * 30), build([4] * 29 + [new, 4]), Bounds(volume_rise=1)) == []

    def test_a_shop_that_swings_may_swing_on_but_not_for_a_week(self):
        swinging = [190, 10, 150, 100, 50, 20, 180, 60, 140, 90, 110] * 3
        assert beyond(build([*swinging, 9]), build([*swinging, 10, 9])) == []
        assert beyond(build([*swinging, 9]), build([*swinging, *[10] * 7, 9])) == [RATE_FELL]

    def test_the_first_day_of_a_log_may_be_half_a_day(self):
        assert beyond(build([1, 10, 9]), build([1, 10, 30, 9])) == []
        assert beyond(build([1, 9]), build([1, 100, 9])) == []

    @pytest.mark.parametrize(
        ("before", "after", "found"),
        [
            ([*MONTH, 100], [100] * 10, [CUT]),
            ([*MONTH, 100], [*MONTH[:16], 1], []),
            ([200], [90], [CUT]),
            ([200], [1001], [GREW]),
            ([200], [1000], []),
            ([2], [1], []),
            ([1], [9], []),
            ([100] * 30, [100] * 300, []),
        ],
        ids=["a third is left", "more than half is left", "one day, cut", "one day, six times",
             "one day, five times", "one of two", "nine of one", "many days more"],
    )  # fmt: skip
    def test_a_log_that_shrinks_has_been_cut(self, before, after, found):
        assert beyond(build(before), build(after)) == found

    def test_weeks_without_an_event_are_nothing_to_judge_by(self):
        silent = [100] * 5 + [0] * 40
        found = changes(build(silent), build([*silent, 3000, 9]), BOUNDS)
        assert [change.what for change in found if change.kind == "volume"] == ["events in total"]
        assert not any(change.beyond for change in found)

    def test_says_what_fell_from_what_to_what_and_names_the_bound(self):
        found = changes(build([1204] * 30), build([1204] * 29 + [310, 9]), BOUNDS)
        assert found[0].sentence == (
            "events a day fell from 1,204 to 310 (-74%); bounds.volume_drop allows 50%"
        )
        assert (found[0].before, found[0].after, found[0].limit) == (1204, 310, 0.5)
        assert found[0].change == pytest.approx(-0.7425, abs=1e-4)

    @pytest.mark.parametrize("new", [0, 10_000])
    def test_without_bounds_a_build_goes_on(self, new):
        free = Bounds(volume_drop=None, volume_rise=None, null_share_change=None)
        assert beyond(build([*MONTH, 9]), build([*MONTH, new, 9]), free) == []


class TestNullShares:
    @pytest.mark.parametrize(
        ("before", "after", "events", "found"),
        [
            (0.1, 0.34, 1000, []),
            (0.1, 0.36, 1000, [("channel empty", "null_share_change")]),
            (0.9, 0.1, 1000, [("channel empty", "null_share_change")]),
            (0.0, 1.0, 100, [("channel empty", "null_share_change")]),
            (0.0, 0.5, 4, []),
        ],
        ids=["within", "filled before", "empty before", "gone", "chance"],
    )
    def test_of_any_column_may_move_so_far(self, before, after, events, found):
        old, new = (build([events], nulls={"channel": s, "value": 0.5}) for s in (before, after))
        assert beyond(old, new) == found

    def test_are_judged_in_the_last_weeks_too_where_a_long_log_hides_them(self):
        old = build([100_000], recent=part(1000, {"channel": 0.0}), nulls={"channel": 0.0})
        new = build([101_000], recent=part(1000, {"channel": 0.9}), nulls={"channel": 0.01})
        assert beyond(old, new) == [("channel empty, last 28 days", "null_share_change")]
        (hidden, seen) = (c for c in changes(old, new, BOUNDS) if c.kind == "share")
        assert (hidden.change, seen.change) == (pytest.approx(0.01), pytest.approx(0.9))
        assert seen.sentence == (
            "channel is empty in 90% of the events, last 28 days; before in 0%, and "
            "bounds.null_share_change allows 25 points"
        )

    def test_of_a_log_that_is_all_recent_are_told_once(self):
        one = build([10], recent=part(10, {"channel": 0.5}), nulls={"channel": 0.5})
        assert [c.what for c in changes(one, one, BOUNDS) if c.kind == "share"] == ["channel empty"]

    def test_of_a_column_that_was_not_counted_before_are_not_compared(self):
        found = changes(build([10], nulls={"old": 0.0}), build([10], nulls={"new": 1.0}), BOUNDS)
        assert not [change for change in found if change.kind == "share"]


COUNTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 1000), min_size=1)


class TestMix:
    def test_is_measured_as_the_textbook_does(self):
        index = stability_index({"a": 500_000, "b": 500_000}, {"a": 800_000, "b": 200_000})
        assert index == pytest.approx(0.3 * log(0.8 / 0.5) - 0.3 * log(0.2 / 0.5), rel=1e-4)

    @given(before=COUNTS, after=COUNTS)
    def test_is_a_distance(self, before, after):
        index = stability_index(before, after)
        assert index >= 0
        assert index == pytest.approx(stability_index(after, before))
        assert stability_index(before, before) == 0

    @pytest.mark.parametrize(
        ("after", "shifted", "words"),
        [({"view": 500, "buy": 500}, False, "is as before"),
         ({"view": 700, "buy": 300}, False, "has moved a little"),
         ({"view": 900, "buy": 100}, True, "has shifted"),
         ({"look": 500, "buy": 500}, True, "has shifted")],
        ids=["same", "a little", "a lot", "renamed"],
    )  # fmt: skip
    def test_is_told_and_stops_nothing(self, after, shifted, words):
        old, new = build([1000], types={"view": 500, "buy": 500}), build([1000], types=after)
        (mix,) = (change for change in changes(old, new, BOUNDS) if change.kind == "mix")
        assert mix.notable == shifted
        assert words in mix.sentence
        assert not mix.beyond
        stop_if_beyond([mix])

    def test_of_very_few_events_shifts_by_chance(self):
        many = [f"type {n}" for n in range(300)]
        old = build([300], types=dict.fromkeys(many, 1))
        new = build([300], types=dict.fromkeys(many[:150], 2))
        (mix,) = (change for change in changes(old, new, BOUNDS) if change.kind == "mix")
        assert mix.after > SHIFTED
        assert not mix.notable

    def test_of_channels_is_compared_where_both_name_some(self):
        names = [
            [change.what for change in changes(build([9], channels=old), build([9], channels=new),
                                               BOUNDS) if change.kind == "mix"]
            for old, new in ([{}, {}], [{"site": 9}, {}], [{"site": 9}, {"site": 9}])
        ]  # fmt: skip
        types = "mix of event types"
        assert names == [[types], [types], [types, "mix of channels"]]


class TestStop:
    def test_names_every_bound_and_keeps_what_it_found(self):
        old = build([*MONTH, 9], nulls={"user_id": 0.0})
        new = build([*MONTH, 10, 9], nulls={"user_id": 0.9})
        found = changes(old, new, BOUNDS)
        with pytest.raises(TooMuchChange) as stop:
            stop_if_beyond(found)
        assert stop.value.changes == found
        assert str(stop.value) == (
            "events a day fell from 100 to 10 (-90%); bounds.volume_drop allows 50%; user_id is "
            "empty in 90% of the events; before in 0%, and bounds.null_share_change allows 25 "
            "points. If this is meant, raise bounds.volume_drop, bounds.null_share_change in the "
            "config (null: no bound); if not, mend the log. What was built before keeps serving."
        )

    def test_the_same_log_again_goes_on(self):
        one = build([*MONTH, 9], nulls={"user_id": 0.4}, channels={"site": 3})
        found = changes(one, one, BOUNDS)
        stop_if_beyond(found)
        assert [change.change for change in found] == [0] * len(found)
