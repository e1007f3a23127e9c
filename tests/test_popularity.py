"""Popularity: decayed interest, tables over windows, what rises, and when people buy again."""

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import worlds

from features.options import PopularityTables
from features.popularity import recent_popularity, repurchase, trending, windows
from features.types import DAY_US

NOW = worlds.NOW_US
HOUR = DAY_US // 24
SIGNALS, VIEW, PURCHASE, DISLIKE = worlds.SIGNALS, 0, 1, 2
CATEGORIES = ["a", "a/b", "a/b/c", "x", None]  # of items 0 to 4
LOG = {"person_index": "int32", "item_index": "int32", "signal": "int8", "had": "boolean",
       "occurred_us": "int64", "session": "int32", "channel": "string"}  # fmt: skip


def table(columns, rows):
    schema = ibis.schema(columns)
    return ibis.memtable(pa.Table.from_pylist(rows, schema.to_pyarrow()), schema=schema)


def log(*rows):
    """Of (person, item, hours ago), and what else is to be said in a dict after them."""
    full = []
    for person, item, hours, *more in rows:
        other = more[0] if more else {}
        full.append({
            "person_index": person, "item_index": item, "occurred_us": NOW - int(hours * HOUR),
            "signal": VIEW, "session": 0, "channel": "site", **other,
        })  # fmt: skip
    return table(LOG, [row | {"had": row["signal"] == PURCHASE} for row in full])


ITEMS = table({"item_index": "int32", "category": "string"},
              [{"item_index": n, "category": c} for n, c in enumerate(CATEGORIES)])  # fmt: skip


def segments(of):
    rows = [{"person_index": person, "segment": name} for person, name in of.items()]
    return table({"person_index": "int32", "segment": "string"}, rows)


def rows_of(engine, expression, *columns):
    found = engine.to_pyarrow(expression).to_pylist()
    return sorted(tuple(row[c] for c in columns) for row in found)


def test_recent_popularity_counts_everybody_with_one_half_life():
    past = worlds.timelines([[0, 1], [0]], signal=VIEW)
    disliked = worlds.timelines([[2]], signal=DISLIKE)
    found = recent_popularity(past, NOW, 1.0, SIGNALS)
    np.testing.assert_allclose(found[:3], [0.25 + 0.5, 0.5, 0])
    assert not recent_popularity(disliked, NOW, 1.0, SIGNALS).any()


def popular(engine, events, scope, *, of=None, **options):
    """name, hours, place, item, events, people, interest of one scope."""
    told = PopularityTables(**{"windows_hours": [1, 24], **options})
    found = windows(events, ITEMS, NOW, told, SIGNALS, person_segments=of and segments(of))
    columns = ("name", "hours", "place", "item_index", "events", "people", "interest")
    return rows_of(engine, found.filter(found.scope == scope), *columns)


class TestWindows:
    def test_hold_what_is_younger_than_they_are_long(self, engine):
        events = log((1, 0, 0), (1, 0, 0.999), (1, 0, 1), (2, 0, 23.9), (2, 0, 24))
        assert popular(engine, events, "overall") == [
            ("", 1.0, 1, 0, 2, 1, 2.0), ("", 24.0, 1, 0, 4, 2, 4.0),
        ]  # fmt: skip

    def test_count_people_once_however_often_they_come(self, engine):
        events = log((1, 0, 0.5), (1, 0, 5), (1, 0, 6, {"channel": "app"}), (2, 0, 7))
        assert [row[5] for row in popular(engine, events, "overall")] == [1, 2]
        assert popular(engine, events, "channel") == [
            ("app", 24.0, 1, 0, 1, 1, 1.0),
            ("site", 1.0, 1, 0, 1, 1, 1.0), ("site", 24.0, 1, 0, 3, 2, 3.0),
        ]  # fmt: skip

    def test_know_nothing_that_comes_later(self, engine):
        assert popular(engine, log((1, 0, -0.1)), "overall") == []

    def test_count_only_interest(self, engine):
        bought, disliked, searched = ({"signal": s} for s in (PURCHASE, DISLIKE, -1))
        events = log((1, 0, 0, bought), (1, 0, 0, disliked), (1, 1, 0, disliked),
                     (1, 2, 0, searched))  # fmt: skip
        assert popular(engine, events, "overall", windows_hours=[1]) == [("", 1.0, 1, 0, 1, 1, 5.0)]

    def test_an_event_counts_for_every_prefix_of_its_items_category(self, engine):
        events = log((1, 2, 0), (2, 1, 0), (2, 2, 0), (3, 3, 0), (3, 4, 0))
        found = popular(engine, events, "category", windows_hours=[1])
        assert [row[:1] + row[2:5] for row in found] == [
            ("a", 1, 2, 2), ("a", 2, 1, 1), ("a/b", 1, 2, 2), ("a/b", 2, 1, 1), ("a/b/c", 1, 2, 2),
            ("x", 1, 3, 1),
        ]  # fmt: skip

    def test_tell_segments_apart_and_leave_out_who_has_none(self, engine):
        events = log((1, 0, 0), (2, 1, 0), (3, 1, 0), (9, 2, 0))
        found = popular(engine, events, "segment", windows_hours=[1], of={1: "p", 2: "q", 3: "q"})
        assert [row[:1] + row[2:6] for row in found] == [("p", 1, 0, 1, 1), ("q", 1, 1, 2, 2)]
        assert len(popular(engine, events, "overall", windows_hours=[1], of={1: "p"})) == 3

    def test_order_by_interest_then_people_then_item_and_keep_the_first(self, engine):
        bought = {"signal": PURCHASE}
        events = log((1, 3, 0, bought), *[(1, 0, 0)] * 4, *[(n, 2, 0) for n in (1, 1, 2, 3)],
                     *[(n, 1, 0) for n in (1, 1, 2, 3)])  # fmt: skip
        found = popular(engine, events, "overall", windows_hours=[1], top=3)
        assert [(row[2], row[3]) for row in found] == [(1, 3), (2, 1), (3, 2)]

    @pytest.mark.parametrize(("seed", "spans"), [(0, [1, 3, 10, 24]), (1, [5])])
    def test_are_what_a_loop_over_the_events_counts(self, engine, seed, spans):
        random, of = np.random.default_rng(seed), {0: "p", 1: "q"}
        rows = [(int(random.integers(4)), int(random.integers(5)), int(random.integers(-2, 30)),
                 {"signal": int(random.integers(-1, 3)),
                  "channel": ["site", "app", None][random.integers(3)]})
                for _ in range(300)]  # fmt: skip
        expected: dict[tuple, list] = {}
        for person, item, hours, more in rows:
            weight = [1, 5, -1, 0][more["signal"]]
            path = (CATEGORIES[item] or "").split("/")
            prefixes = ["/".join(path[:n]) for n in range(1, len(path) + 1)]
            cells = [("overall", ""), ("channel", more["channel"]), ("segment", of.get(person)),
                     *(("category", name or None) for name in prefixes)]  # fmt: skip
            for scope, name in cells:
                for span in spans:
                    if weight > 0 and 0 <= hours < span and name is not None:
                        cell = expected.setdefault((scope, name, span, item), [0, set(), 0])
                        cell[0] += 1
                        cell[1].add(person)
                        cell[2] += weight
        options = PopularityTables(windows_hours=spans)
        found = windows(log(*rows), ITEMS, NOW, options, SIGNALS, person_segments=segments(of))
        columns = ("scope", "name", "hours", "item_index", "events", "people", "interest")
        assert rows_of(engine, found, *columns) == sorted(
            (*key, count, len(people), interest) for key, (count, people, interest)
            in expected.items()
        )  # fmt: skip


def rising(engine, events, **options):
    told = PopularityTables(trending_min_events=3, **options)
    found = rows_of(engine, trending(events, NOW, told, SIGNALS), "item_index", "recent", "before",
                    "rise")  # fmt: skip
    return {item: (recent, before, rise) for item, recent, before, rise in found}


def spread(item, count, newest, oldest):
    """`count` events of an item, evenly between two ages in hours."""
    return [(n, item, hours) for n, hours in enumerate(np.linspace(newest, oldest, count))]


class TestTrending:
    OLD = ((9, 4, 5000),)  # the log reaches far back

    def test_compares_the_last_day_with_the_week_before_it(self, engine):
        events = log(*self.OLD, *spread(0, 10, 0, 23), *spread(0, 14, 25, 191), (0, 0, 400),
                     *spread(1, 3, 0, 20), *spread(1, 56, 25, 191), (1, 1, 400))  # fmt: skip
        found = rising(engine, events)
        assert found[0] == (10, 2.0, pytest.approx((10 + 5) / (2 + 5)))
        assert found[1] == (3, 8.0, pytest.approx((3 + 5) / (8 + 5)))

    def test_needs_so_many_recent_events(self, engine):
        events = log(*self.OLD, *spread(0, 2, 0, 23), *spread(1, 3, 0, 23))
        assert set(rising(engine, events)) == {1}

    def test_a_young_item_is_compared_with_its_own_time(self, engine):
        events = log(*self.OLD, *spread(0, 6, 0, 23), *spread(0, 6, 30, 72))
        assert rising(engine, events)[0][:2] == (6, 3.0)

    def test_few_events_of_a_short_past_are_not_scaled_up(self, engine):
        events = log(*self.OLD, *spread(0, 6, 0, 23), (0, 0, 25))
        assert rising(engine, events)[0][:2] == (6, 1.0)

    def test_what_is_all_new_is_expected_nowhere(self, engine):
        events = log(*self.OLD, *spread(0, 5, 0, 10))
        assert rising(engine, events)[0] == (5, 0.0, 2.0)

    def test_a_log_of_hours_is_compared_hour_by_hour(self, engine):
        events = log(*spread(0, 4, 0, 0.9), *spread(0, 6, 1.5, 13))
        assert rising(engine, events)[0][:2] == (4, 0.5)

    @pytest.mark.parametrize(
        ("hours", "recent", "past"),
        [([48], 48, 336), ([48, 96], 48, 96), ([6, 12, 48], 12, 48), ([720, 24], 24, 720)],
    )
    def test_takes_the_longest_window_up_to_a_day_else_the_shortest(
        self, engine, hours, recent, past
    ):
        oldest = [(0, 0, recent + past - 0.1), (0, 0, recent + past + 0.1)]
        events = log(*self.OLD, *spread(0, 3, 0, recent - 0.1), *oldest)
        before = rising(engine, events, windows_hours=hours)[0][1]
        assert before == pytest.approx(recent / past)

    def test_dislikes_are_no_trend(self, engine):
        events = log(*self.OLD, *[(n, 0, 1, {"signal": DISLIKE}) for n in range(9)])
        assert rising(engine, events) == {}

    def test_knows_nothing_that_comes_later(self, engine):
        assert rising(engine, log(*self.OLD, *spread(0, 5, -9, -1))) == {}


def bought(person, item, days_ago, session):
    return (person, item, days_ago * 24, {"signal": PURCHASE, "session": session})


def again(engine, *rows, people=1):
    found = repurchase(log(*rows), PopularityTables(repurchase_min_people=people))
    return rows_of(engine, found, "item_index", "people", "intervals", "median_days", "mean_days")


class TestRepurchase:
    def test_is_the_time_between_visits_that_bought_the_item(self, engine):
        assert again(
            engine, bought(1, 0, 30, 0), bought(1, 0, 20, 1), bought(1, 0, 16, 2),
            bought(2, 0, 9, 0), bought(2, 0, 8, 1), bought(3, 0, 9, 0), bought(3, 1, 8, 1),
        ) == [(0, 2, 3, 4.0, 5.0)]  # fmt: skip

    def test_a_visit_counts_once_from_its_first_event(self, engine):
        assert again(
            engine, bought(1, 0, 10, 0), bought(1, 0, 9.5, 0), bought(1, 0, 4, 1)
        ) == [(0, 1, 1, 6.0, 6.0)]  # fmt: skip

    def test_looking_is_not_buying(self, engine):
        assert again(engine, (1, 0, 48), (1, 0, 24, {"session": 1})) == []

    @pytest.mark.parametrize(("people", "items"), [(1, [0, 1]), (2, [1]), (3, [])])
    def test_needs_so_many_people(self, engine, people, items):
        rows = [bought(p, i, 9 - s, s) for p, i in ((1, 0), (1, 1), (2, 1)) for s in (0, 1, 2)]
        assert [row[0] for row in again(engine, *rows, people=people)] == items


WRITTEN = {
    "windows": (windows(log((1, 0, 0)), ITEMS, NOW, PopularityTables(), SIGNALS),
                {"scope": "string", "name": "string", "item_index": "int32", "hours": "double",
                 "events": "int64", "people": "int64", "interest": "double", "place": "int32"}),
    "trending": (trending(log((1, 0, 0)), NOW, PopularityTables(), SIGNALS),
                 {"item_index": "int32", "recent": "int64", "before": "double", "rise": "double"}),
    "repurchase": (repurchase(log((1, 0, 0)), PopularityTables()),
                   {"item_index": "int32", "people": "int64", "intervals": "int64",
                    "median_days": "double", "mean_days": "double"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_has_the_types_that_are_promised(engine, tmp_path, name):
    expression, types = WRITTEN[name]
    engine.to_parquet(expression, tmp_path / "table.parquet")
    schema = pq.read_schema(tmp_path / "table.parquet")
    assert dict(zip(schema.names, map(str, schema.types), strict=True)) == types
