"""Times that cannot be: in the future, before the item existed, or far from all other events."""

import pytest
from dirty_log import DAY, ITEMS, START, answers, full, struck_out

from features import impossible_times

FUTURE, EARLY, STRAY = "in the future", "before the item existed", "straggler"


def at(*days, **other):
    return [{"occurred_us": START + round(day * DAY)} | other for day in days]


class TestTheFuture:
    def test_begins_after_now(self, engine):
        rows = [{"occurred_us": START + one} for one in (-1, 0, 1)]
        assert struck_out(engine, impossible_times.in_the_future, rows, START) == {2: FUTURE}


def early(log, days):
    return impossible_times.before_published(log, ITEMS, days)


def disbelieved(log, days):
    return impossible_times.disbelieved(log, ITEMS, days)


class TestBeforePublished:
    def removed(self, engine, rows, days=1.0, **published):
        return struck_out(engine, early, rows, days, published=published or {"a": START})

    def test_an_event_cannot_come_before_its_item(self, engine):
        assert self.removed(engine, at(-2, 1, 2)) == {0: EARLY}

    def test_a_little_before_is_the_clock_or_the_zone(self, engine):
        assert self.removed(engine, at(-1, -1.1, 1, 2)) == {1: EARLY}
        assert self.removed(engine, at(-1, -1.1, 1, 2), days=0.0) == {0: EARLY, 1: EARLY}

    def test_an_item_with_most_events_too_early_has_a_wrong_date(self, engine):
        assert self.removed(engine, at(-2, -2, 1)) == {}
        assert self.removed(engine, at(-2, -2, 1, 1)) == {0: EARLY, 1: EARLY}

    def test_items_are_judged_one_by_one(self, engine):
        rows = [*at(-2, 1, 2), *at(-2, -2, 1, item_id="b"), *at(-2, item_id="unknown")]
        assert self.removed(engine, rows, a=START, b=START) == {0: EARLY}

    def test_without_a_date_nothing_is_early(self, engine):
        assert self.removed(engine, at(-2, 1, 2), a=None) == {}

    def test_items_with_a_wrong_date_are_listed(self, engine):
        rows = [*at(-2, 1, 2), *at(-2, -2, 1, item_id="b")]
        published = {"a": START, "b": START}
        assert answers(engine, disbelieved, full(*rows), 1.0, published=published) == [("b", 3, 2)]


class TestStragglers:
    def removed(self, engine, days, gap=90, share=0.001):
        rows = at(*days)
        return list(struck_out(engine, impossible_times.stragglers, rows, gap, share))

    @pytest.mark.parametrize("corrupt", [-19_000, -91, 200, 46_000])
    def test_one_corrupt_row_at_either_end_goes(self, engine, corrupt):
        assert self.removed(engine, [*range(50), corrupt]) == [50]

    def test_corrupt_rows_at_both_ends_and_far_from_each_other_go(self, engine):
        assert self.removed(engine, [-19_000, *range(50), 20_000, 46_000]) == [0, 51, 52]

    def test_a_log_that_is_one_block_loses_nothing(self, engine):
        assert self.removed(engine, range(0, 1_800, 90)) == []

    @pytest.mark.parametrize(("silence", "gone"), [(90, []), (90.001, [20])])
    def test_silence_is_measured_to_the_microsecond(self, engine, silence, gone):
        assert self.removed(engine, [*range(20), 19 + silence]) == gone

    def test_a_season_is_no_stray(self, engine):
        assert self.removed(engine, [*range(5), *range(200, 250)]) == []

    @pytest.mark.parametrize("strays", [3, 15])
    def test_the_share_says_how_many_may_go(self, engine, strays):
        days = [-200] * strays + list(range(100 - strays))
        assert self.removed(engine, days, share=(strays - 1) / 100) == []
        assert self.removed(engine, days, share=strays / 100) == list(range(strays))

    def test_a_young_shop_keeps_its_first_orders(self, engine):
        assert self.removed(engine, [-200, *range(9)]) == []
        assert self.removed(engine, [-200, *range(10)]) == [0]  # one for the ten that stay

    def test_a_log_full_of_silences_keeps_them(self, engine):
        assert self.removed(engine, [-400, -300, -200, -100, *range(20)]) == []
        assert self.removed(engine, range(0, 2_000, 100)) == []

    def test_one_end_does_not_answer_for_the_other(self, engine):
        assert self.removed(engine, [-400, -300, -200, -100, *range(20), 46_000]) == [24]

    def test_what_lies_between_two_large_blocks_stays(self, engine):
        assert self.removed(engine, [*range(30), 200, *range(400, 430)]) == []

    def test_a_share_of_nothing_takes_nothing(self, engine):
        assert self.removed(engine, [*range(50), 46_000], share=0.0) == []
