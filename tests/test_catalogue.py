"""The catalogue: every item of table and log, once, as it stood at one moment."""

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import SCHEMA, catalogue, categories, category_path, details
from features.catalogue import one_row_per_item as one_row
from features.types import DAY_US

NOW = 20_000 * DAY_US
LOG = ibis.schema({"item_index": "int32", "person_index": "int32", "occurred_us": "int64"})


def items(*rows):
    schema = ibis.schema(SCHEMA)
    full = [dict.fromkeys(SCHEMA) | {"kind": "product"} | row for row in rows]
    return ibis.memtable(pa.Table.from_pylist(full, schema.to_pyarrow()), schema=schema)


def seen(*ids):
    return ibis.memtable(pa.table({"item_id": pa.array(ids, pa.string())}))


def log(*rows):
    """Events as (item_index, person_index, days ago)."""
    named = [dict(zip(LOG, (i, p, NOW - int(d * DAY_US)), strict=True)) for i, p, d in rows]
    return ibis.memtable(pa.Table.from_pylist(named, LOG.to_pyarrow()), schema=LOG)


def listed(engine, table, *ids):
    found = engine.to_pyarrow(catalogue(table, seen(*ids), NOW)).to_pylist()
    return sorted(found, key=lambda row: row["item_index"])


class TestCatalogue:
    def test_lies_in_the_order_kind_available_category_id(self, engine):
        table = items(
            {"item_id": "p3", "category": "b"}, {"item_id": "p2", "category": "b"},
            {"item_id": "p9", "category": "a", "available": False},
            {"item_id": "p1"}, {"item_id": "P4", "category": "a/b"},
            {"item_id": "n1", "kind": "article", "category": "z"},
        )  # fmt: skip
        found = listed(engine, table)
        assert [row["item_id"] for row in found] == ["n1", "p1", "P4", "p2", "p3", "p9"]
        assert [row["item_index"] for row in found] == list(range(6))

    def test_keeps_a_category_and_all_below_it_in_one_piece(self, engine):
        paths = ["a b", "a/c", "a-b", "a", "a/b/c", "ab"]
        found = listed(engine, items(*({"item_id": p, "category": p} for p in paths)))
        assert [row["item_id"] for row in found] == ["a", "a/b/c", "a/c", "a b", "a-b", "ab"]

    def test_has_items_that_only_the_log_knows_once(self, engine):
        found = listed(engine, items({"item_id": "a"}), "a", "b", "b")
        assert [(row["item_id"], row["kind"], row["available"]) for row in found] == [
            ("a", "product", True), ("b", "product", True),
        ]  # fmt: skip

    def test_takes_those_for_the_one_kind_that_the_shop_has(self, engine):
        found = listed(engine, items({"item_id": "a", "kind": "article"}), "b")
        assert {row["kind"] for row in found} == {"article"}
        both = items({"item_id": "a", "kind": "article"}, {"item_id": "c"})
        assert {r["item_id"]: r["kind"] for r in listed(engine, both, "b")}["b"] == "product"

    def test_needs_no_table(self, engine):
        found = listed(engine, None, "b", "a")
        assert [row["item_id"] for row in found] == ["a", "b"]
        assert found[0]["kind"] == "product"
        assert set(found[0]) == {*SCHEMA, "item_index"}

    def test_knows_what_is_there_at_the_moment(self, engine):
        table = items(
            {"item_id": "unknown"}, {"item_id": "yes", "available": True},
            {"item_id": "no", "available": False},
            {"item_id": "published", "published_us": NOW},
            {"item_id": "announced", "published_us": NOW + 1},
            {"item_id": "running", "available_until_us": NOW + 1},
            {"item_id": "over", "available_until_us": NOW},
            {"item_id": "over yet marked", "available": True, "available_until_us": NOW - DAY_US},
        )  # fmt: skip
        found = listed(engine, table)
        assert len(found) == 8
        there = {row["item_id"] for row in found if row["available"]}
        assert there == {"unknown", "yes", "published", "running"}


@pytest.mark.parametrize(
    ("text", "path"),
    [("a/b", "a/b"), ("a//b", "a/b"), ("/a", "a"), ("a/ ", "a"), (" a b / c ", "a b/c"),
     ("/ / /", None), ("", None), (None, None), ("Möbel\t/\nSofas", "Möbel/Sofas")],
)  # fmt: skip
def test_a_category_path_has_no_empty_parts(engine, text, path):
    (row,) = listed(engine, items({"item_id": "i", "category": text}))
    assert row["category"] == path
    again = category_path(ibis.literal(path, type="string"))
    assert engine.to_pyarrow(again).as_py() == path


class TestItemsOutOfALog:
    def one(self, engine, column, values, mapped=None):
        rows = [{"item_id": "a", column: value} for value in values]
        found = one_row(items(*rows, {"item_id": "b"}), ["item_id", "kind", mapped or column])
        return {row["item_id"]: row[column] for row in engine.to_pyarrow(found).to_pylist()}

    def test_have_their_most_frequent_title(self, engine):
        assert self.one(engine, "title", ["x", "y", "y", None, None]) == {"a": "y", "b": None}

    def test_have_the_first_of_equally_frequent_titles(self, engine):
        assert self.one(engine, "title", ["y", "x"])["a"] == "x"

    def test_have_their_median_price(self, engine):
        assert self.one(engine, "price", [1.0, 99.0, 3.0, None]) == {"a": 3.0, "b": None}
        assert self.one(engine, "price", [1.0, 2.0])["a"] == 1.5

    def test_are_there_from_the_earliest_publication_to_the_latest_end(self, engine):
        times = [9, 5, 9, 5, None]
        first = self.one(engine, "published_us", times, mapped="published_at")
        last = self.one(engine, "available_until_us", times[::-1], mapped="available_until")
        assert (first, last) == ({"a": 5, "b": None}, {"a": 9, "b": None})

    def test_have_every_column_of_the_catalogue(self, engine):
        found = one_row(items({"item_id": "a"}), ["item_id"])
        assert dict(found.schema()) == dict(ibis.schema(SCHEMA))


def described(engine, rows, events=(), new_days=14):
    """The details of items a, b, c …, by id."""
    known = catalogue(items(*rows), seen(), NOW)
    ids = {row["item_index"]: row["item_id"] for row in engine.to_pyarrow(known).to_pylist()}
    found = engine.to_pyarrow(details(known, log(*events), NOW, new_days)).to_pylist()
    return {ids[row["item_index"]]: row for row in found}


class TestWhatTheLogSaysOfAnItem:
    def test_is_when_it_was_seen_how_often_and_by_how_many(self, engine):
        found = described(engine, [{"item_id": "a"}, {"item_id": "b"}],
                          [(0, 1, 9), (0, 1, 4), (0, 2, 6)])  # fmt: skip
        assert found["a"] | {"item_index": 0} == {
            "item_index": 0, "first_seen_us": NOW - 9 * DAY_US, "last_seen_us": NOW - 4 * DAY_US,
            "events": 3, "people": 2, "age_days": 9.0, "new": True, "price_relative": None,
        }  # fmt: skip
        assert (found["b"]["events"], found["b"]["people"]) == (0, 0)
        assert found["b"]["first_seen_us"] is found["b"]["last_seen_us"] is None


class TestAge:
    @pytest.mark.parametrize(
        ("published", "first_seen", "age", "new"),
        [(20, None, 20.0, False), (14, None, 14.0, True), (20, 3, 20.0, False),
         (None, 3, 3.0, True), (None, 14.5, 14.5, False), (-2, None, 0.0, True),
         (None, None, None, False)],
        ids=["published", "just new", "published counts", "first seen", "seen long ago",
             "announced", "nothing is known"],
    )  # fmt: skip
    def test_is_since_publication_else_since_first_seen(
        self, engine, published, first_seen, age, new
    ):
        when = None if published is None else NOW - published * DAY_US
        events = [] if first_seen is None else [(0, 0, first_seen), (0, 0, 1)]
        row = described(engine, [{"item_id": "a", "published_us": when}], events)["a"]
        assert (row["age_days"], row["new"]) == (age, new)


def priced(*rows):
    """Items a, b, c … as (price, category) or with what a row says changed."""
    full = []
    for name, (price, category, *more) in zip("abcdefgh", rows, strict=False):
        full.append({"item_id": name, "price": price, "category": category, "currency": "EUR"})
        full[-1] |= more[0] if more else {}
    return full


class TestRelativePrice:
    def relative(self, engine, *rows):
        found = described(engine, priced(*rows))
        return [found[name]["price_relative"] for name in sorted(found)]

    def test_is_the_price_over_the_median_of_its_category(self, engine):
        rows = [(2.0, "a"), (4.0, "a"), (12.0, "a"), (90.0, "b"), (90.0, "b"), (90.0, "b")]
        assert self.relative(engine, *rows) == [0.5, 1, 3, 1, 1, 1]

    def test_counts_what_lies_below_a_category_too(self, engine):
        rows = [(2.0, "a"), (4.0, "a/b"), (12.0, "a/c"), (90.0, "b")]
        assert self.relative(engine, *rows)[:3] == [0.5, 1, 3]

    def test_of_a_category_with_few_prices_is_that_of_the_one_above(self, engine):
        rows = [(5.0, "a/b/c"), (5.0, "a/b/c"), (10.0, "a/d"), (20.0, "a/e"), (40.0, "z")]
        assert self.relative(engine, *rows) == [2 / 3, 2 / 3, 4 / 3, 8 / 3, 4]

    def test_of_items_without_a_category_is_that_of_all(self, engine):
        assert self.relative(engine, (5.0, None), (10.0, "a"), (20.0, "b")) == [0.5, 1, 2]

    def test_never_mixes_currencies_or_kinds(self, engine):
        others = [(900.0, "a", {"currency": "JPY"}), (7.0, "a", {"kind": "article"}),
                  (3.0, "a", {"currency": None})]  # fmt: skip
        assert self.relative(engine, (2.0, "a"), *others) == [1, 1, 1, 1]

    def test_is_unknown_without_a_price_and_where_everything_is_free(self, engine):
        assert self.relative(engine, (None, "a"), (0.0, "a"), (0.0, "a")) == [None, None, None]
        assert self.relative(engine, (0.0, "a"), (2.0, "a"), (2.0, "a")) == [0, 1, 1]

    def test_of_items_that_are_gone_counts(self, engine):
        gone = {"available": False}
        assert self.relative(engine, (2.0, "a"), (4.0, "a", gone), (8.0, "a", gone))[0] == 0.5


def tree(engine, *rows):
    known = catalogue(items(*rows), seen(), NOW)
    found = engine.to_pyarrow(categories(known)).to_pylist()
    return sorted(found, key=lambda row: row["category_index"])


class TestCategoryTree:
    def test_has_every_prefix_of_every_path(self, engine):
        found = tree(engine, {"item_id": "1", "category": "a/b/c"},
                     {"item_id": "2", "category": "d", "available": False},
                     {"item_id": "3", "category": "a/b/c"}, {"item_id": "4", "category": "a/e"},
                     {"item_id": "5", "category": "a/e", "available": False},
                     {"item_id": "6"})  # fmt: skip
        assert [tuple(row.values()) for row in found] == [
            (0, "a", "a", None, 1, 4, 3),
            (1, "a/b", "b", 0, 2, 2, 2),
            (2, "a/b/c", "c", 1, 3, 2, 2),
            (3, "a/e", "e", 0, 2, 2, 1),
            (4, "d", "d", None, 1, 1, 0),
        ]

    def test_of_a_shop_without_categories_is_empty(self, engine):
        assert tree(engine, {"item_id": "1"}) == []
        assert tree(engine) == []

    @settings(max_examples=15, deadline=None)
    @given(paths=st.lists(
        st.lists(st.sampled_from(["a", "b", "a b", "Ä"]), min_size=1, max_size=3), max_size=8
    ))  # fmt: skip
    def test_counts_add_up_and_parents_come_first(self, engine, paths):
        found = tree(engine, *({"item_id": str(n), "category": "/".join(p)}
                               for n, p in enumerate(paths)))  # fmt: skip
        for row in found:
            parts = row["path"].split("/")
            assert row["items"] == sum(path[: row["depth"]] == parts for path in paths)
            assert (row["depth"], row["name"]) == (len(parts), parts[-1])
            parent = row["parent_index"]
            above = None if parent is None else found[parent]["path"].split("/")
            assert above == (parts[:-1] or None)
        prefixes = {tuple(path[:n]) for path in paths for n in range(1, len(path) + 1)}
        assert [tuple(row["path"].split("/")) for row in found] == sorted(prefixes)
