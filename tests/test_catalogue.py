"""The catalogue: every item of table and log, once, as it stood at one moment."""

from datetime import UTC, datetime, timedelta

import ibis
import pyarrow as pa

from features.catalogue import catalogue, one_row_per_item
from features.contract import TABLES, TYPES

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SCHEMA = ibis.schema({c.name: TYPES[c.kind] for c in TABLES["items"]})


def items(*rows):
    full = [dict.fromkeys(SCHEMA) | {"kind": "product"} | row for row in rows]
    return ibis.memtable(pa.Table.from_pylist(full, SCHEMA.to_pyarrow()), schema=SCHEMA)


def seen(*ids):
    return ibis.memtable(pa.table({"item_id": pa.array(ids, pa.string())}))


def listed(engine, table, *ids):
    moment = ibis.literal(NOW, type=TYPES["time"])
    found = engine.to_pyarrow(catalogue(table, seen(*ids), moment)).to_pylist()
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
            {"item_id": "published", "published_at": NOW},
            {"item_id": "announced", "published_at": NOW + DAY},
            {"item_id": "running", "available_until": NOW + DAY},
            {"item_id": "over", "available_until": NOW},
            {"item_id": "over yet marked", "available": True, "available_until": NOW - DAY},
        )  # fmt: skip
        there = {row["item_id"] for row in listed(engine, table) if row["available"]}
        assert there == {"unknown", "yes", "published", "running"}


class TestItemsOutOfALog:
    def one(self, engine, column, values):
        rows = [{"item_id": "a", column: value} for value in values]
        found = one_row_per_item(items(*rows, {"item_id": "b"}), ["item_id", "kind", column])
        return {row["item_id"]: row[column] for row in engine.to_pyarrow(found).to_pylist()}

    def test_have_their_most_frequent_title(self, engine):
        assert self.one(engine, "title", ["x", "y", "y", None, None]) == {"a": "y", "b": None}

    def test_have_the_first_of_equally_frequent_titles(self, engine):
        assert self.one(engine, "title", ["y", "x"])["a"] == "x"

    def test_have_their_median_price(self, engine):
        assert self.one(engine, "price", [1.0, 99.0, 3.0, None]) == {"a": 3.0, "b": None}
        assert self.one(engine, "price", [1.0, 2.0])["a"] == 1.5

    def test_have_every_column_of_the_contract(self, engine):
        found = one_row_per_item(items({"item_id": "a"}), ["item_id"])
        assert set(found.columns) == set(SCHEMA)
