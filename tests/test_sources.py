"""Sources: the same log out of any kind of file, mapped by expressions, nothing lost on the way."""

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from conftest import rejected_row

from features.config import ConfigError
from features.expressions import parse

PLAIN = {"event_type": "'view'", "item_id": "item", "user_id": "who", "occurred_at": "at"}
ROW = {"at": "2024-03-01 10:00:00", "item": "a", "who": "u1"}
LOG = """at,what,item,who,qty
2024-01-05 10:00:00.25,view,007,17850.0,1
2024-01-05 10:00:00.5,purchase,7,,2
2024-07-05 10:00:00,view,550E8400-e29b-41d4-A716-446655440000,-9223372036854775808.0,1
"""
COLUMNS = {
    "occurred_at": "at", "event_type": "what", "item_id": "item", "user_id": "who",
    "session_id": "'s'", "quantity": "qty",
}  # fmt: skip


class TestFiveFormats:
    """One small log: float ids with gaps, leading zeros, a UUID, fractions of a second."""

    ROWS = (
        ("2024-01-05 10:00:00.25", "view", "007", 17850.0, 1),
        ("2024-01-05 10:00:00.5", "purchase", "7", None, 2),
        ("2024-07-05 10:00:00", "view", "550E8400-e29b-41d4-A716-446655440000", 3.0, 1),
    )

    def parquet(self, shop):
        names = ["at", "what", "item", "who", "qty"]
        return shop.file("log.parquet", [dict(zip(names, row, strict=True)) for row in self.ROWS])

    def csv(self, shop):
        rows = [",".join("" if v is None else str(v) for v in row) for row in self.ROWS]
        return shop.file("log.csv", "\n".join(["at,what,item,who,qty", *rows, ""]))

    def jsonl(self, shop):
        line = '{"at": "%s", "what": "%s", "item": "%s", "who": %s, "qty": %s}\n'
        text = "".join(line % tuple("null" if v is None else v for v in row) for row in self.ROWS)
        return shop.file("log.jsonl", text)

    def duckdb(self, shop):
        with duckdb.connect(str(shop.base / "log.duckdb")) as database:
            database.execute("CREATE TABLE log (\"at\" VARCHAR, what VARCHAR, item VARCHAR, "
                             "who DOUBLE, qty INT)")  # fmt: skip
            database.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", self.ROWS)
        return {"path": "log.duckdb", "table": "log"}

    def sqlite(self, shop):
        with closing(sqlite3.connect(shop.base / "log.sqlite")) as database, database:
            database.execute("CREATE TABLE log (at, what, item TEXT, who, qty)")
            database.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", self.ROWS)
        return {"path": "log.sqlite", "table": "log"}

    @pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "duckdb", "sqlite"])
    def test_every_format_gives_the_same_accepted_events(self, shop, kind):
        source = getattr(self, kind)(shop) | {"columns": COLUMNS, "timezone": "Europe/Berlin"}
        read = shop.read({"events": source})
        assert read.rejected == []
        assert [str(at) for at in read.column("occurred_at")] == [
            "2024-01-05 09:00:00.250000+00:00",
            "2024-01-05 09:00:00.500000+00:00",
            "2024-07-05 08:00:00+00:00",
        ]
        assert read.column("event_type") == ["view", "purchase", "view"]
        assert read.column("item_id") == ["007", "7", "550E8400-e29b-41d4-A716-446655440000"]
        assert read.column("user_id") == ["17850", None, "3"]
        assert read.column("quantity") == [1.0, 2.0, 1.0]
        assert read.column("source_row") == [1, 2, 3]


class TestIds:
    def ids(self, shop, source, **columns):
        mapped = {"occurred_at": "TIMESTAMP '2024-01-01'", "event_type": "'view'", **columns}
        return shop.read({"events": source | {"columns": mapped}}).column("item_id")

    def test_whole_numbers_of_any_size_are_kept(self, shop):
        numbers = [-(2**63), 2**63 - 1, 0]
        source = shop.file("log.parquet", pa.table({"id": pa.array(numbers, pa.int64())}))
        assert self.ids(shop, source, item_id="id", user_id="'u'") == [str(n) for n in numbers]

    def test_unsigned_and_huge_numbers_in_json_are_kept(self, shop):
        source = shop.file("log.jsonl", '{"id": 18446744073709551615}\n{"id": 1}\n')
        assert self.ids(shop, source, item_id="id", user_id="'u'") == ["18446744073709551615", "1"]

    def test_ids_of_several_kinds_in_one_json_column_are_kept(self, shop):
        source = shop.file("log.jsonl", '{"id": "a"}\n{"id": 7}\n{"id": "007"}\n')
        assert self.ids(shop, source, item_id="id", user_id="'u'") == ["a", "7", "007"]

    def test_a_field_inside_a_json_object_can_be_an_id(self, shop):
        source = shop.file("log.jsonl", '{"item": {"id": "x1"}}\n{"item": {"id": "x2"}}\n')
        assert self.ids(shop, source, item_id="item.id", user_id="'u'") == ["x1", "x2"]

    @pytest.mark.parametrize("value", ['{"x": 1}', "[1, 2]"])
    def test_an_object_or_a_list_is_no_id(self, shop, value):
        line = '{"occurred_at":"2024-01-01","event_type":"view","item_id":%s,"user_id":"u"}\n'
        source = shop.file("events.jsonl", line % value)
        with pytest.raises(ConfigError, match=r"columns\.item_id: is of type"):
            shop.read({"events": source})

    def test_leading_zeros_survive_inside_an_expression_too(self, shop):
        source = shop.file("log.csv", "code,n\n007,1\n010,2\n")
        assert self.ids(shop, source, item_id="'sku-' || code", user_id="n") == [
            "sku-007",
            "sku-010",
        ]

    def test_a_column_that_is_no_id_keeps_its_numbers_though_it_is_called_like_one(self, shop):
        source = shop.file("log.csv", "event_id,item\n1704067200,a\n")
        columns = {"occurred_at": "to_timestamp(event_id)", "item_id": "item", "user_id": "'u'"}
        assert self.ids(shop, source, **columns) == ["a"]


class TestColumns:
    def test_names_with_blanks_brackets_and_quotes_are_columns(self, shop):
        row = {"at [utc]": ROW["at"], "Item No.": "a", "the user's id": "u1"}
        names = {"occurred_at": "at [utc]", "item_id": "Item No.", "user_id": "the user's id"}
        read = shop.read({"events": shop.file("l.parquet", [row]) | {"columns": PLAIN | names}})
        assert (read.column("item_id"), read.column("user_id")) == (["a"], ["u1"])

    def test_such_names_can_be_part_of_an_expression(self, shop):
        row = ROW | {"Unit Price": 2.5, "q[1]": 4}
        columns = PLAIN | {"value": '"Unit Price" * "q[1]"'}
        read = shop.read({"events": shop.file("l.parquet", [row]) | {"columns": columns}})
        assert read.column("value") == [10.0]
        assert read.report.unused == []

    def test_without_a_mapping_columns_go_by_the_contracts_names(self, shop):
        row = {"occurred_at": ROW["at"], "event_type": "view", "item_id": "a", "user_id": 5, "x": 1}
        read = shop.read({"events": shop.file("l.parquet", [row])})
        assert read.column("user_id") == ["5"]
        assert read.report.unused == ["x"]

    def test_constants_and_cases_are_expressions(self, shop):
        columns = PLAIN | {"event_type": "CASE WHEN item = 'a' THEN 'buy' ELSE 'see' END"}
        rows = [ROW, ROW | {"item": "b"}]
        read = shop.read({"events": shop.file("l.parquet", rows) | {"columns": columns}})
        assert read.column("event_type") == ["buy", "see"]

    def test_an_expression_that_fails_on_one_row_rejects_that_row_only(self, shop):
        rows = [ROW | {"y": 2024}, ROW | {"y": 999999999}, ROW | {"y": 2025}]
        columns = PLAIN | {"occurred_at": "make_timestamp(y, 1, 1, 0, 0, 0)"}
        read = shop.read({"events": shop.file("l.parquet", rows) | {"columns": columns}})
        assert [at.year for at in read.column("occurred_at")] == [2024, 2025]
        assert read.reasons() == {2: ["occurred_at is missing"]}

    def test_rows_that_where_leaves_out_are_counted_and_not_judged(self, shop):
        rows = [ROW, ROW | {"item": None, "who": "robot"}, ROW | {"who": None}]
        source = shop.file("l.parquet", rows) | {"columns": PLAIN, "where": "who <> 'robot'"}
        read = shop.read({"events": source})
        assert (read.report.left_out, read.report.accepted, read.report.rejected) == (2, 1, 0)


REFUSED = {
    "a query": "(SELECT max(item) FROM log)",
    "a query in IN": "item IN (SELECT 'a')",
    "an aggregate": "max(item)",
    "a window": "row_number() OVER ()",
    "the clock": "now()",
    "the clock by another name": "localtimestamp",
    "chance": "random()",
    "a file": "read_csv('/etc/passwd')",
    "a file as text": "read_text('/etc/passwd')",
    "the environment": "getenv('HOME')",
    "a setting": "current_setting('memory_limit')",
    "two statements": "item; DROP TABLE x",
    "a statement": "DROP TABLE x",
    "nothing": " ",
    "all columns": "*",
    "an open quote": "'view",
    "broken SQL": "item +* 2",
    "a parameter": "$1",
    "many rows of one": "unnest([1, 2])",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_an_expression_that_is_more_than_one_value_of_its_row_is_refused(text):
    with pytest.raises(ConfigError, match=r"sources\.events\.columns\.item_id: "):
        parse(text, ["item"], where="sources.events.columns.item_id")


def test_every_function_that_may_answer_differently_tomorrow_is_refused():
    with duckdb.connect() as database:
        found = database.execute(
            "SELECT DISTINCT function_name, function_type FROM duckdb_functions() "
            "WHERE function_name ~ '^[a-z_0-9]+$' AND (function_type = 'aggregate' OR "
            "function_type = 'scalar' AND stability <> 'CONSISTENT')"
        ).fetchall()
    allowed = []
    for name, kind in found:
        for arguments in ("", "item", "item, item"):
            try:
                parse(f"{name}({arguments})", ["item"], where="here")
            except ConfigError:
                continue
            allowed.append((name, kind, arguments))
    assert not allowed


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"columns": PLAIN | {"user_id": "wo"}},
         "sources.events.columns.user_id: the source has no column 'wo'.*Did you mean 'who'?"),
        ({"columns": PLAIN | {"item_id": "upper(itm)"}}, "columns.item_id.*Did you mean 'item'?"),
        ({"columns": PLAIN | {"usr_id": "who"}},
         "sources.events.columns: the contract has no column 'usr_id'.*Did you mean 'user_id'?"),
        ({"columns": {"item_id": "item"}}, "sources.events has no .*occurred_at.*add `columns"),
        ({"columns": PLAIN, "where": "wo = 'x'"}, "sources.events.where: .*Did you mean 'who'?"),
        ({"columns": PLAIN, "where": "item"}, "sources.events.where: 'item' is no condition"),
        ({"columns": PLAIN | {"quantity": "item * who"}}, "sources.events.columns.quantity: "),
        ({"columns": PLAIN | {"quantity": "[1, 2]"}}, "columns.quantity: is of type array"),
        ({"columns": PLAIN | {"occurred_at": "1704067200"}},
         "columns.occurred_at: is a number, not a time; write `to_timestamp"),
        ({"columns": PLAIN, "format": "sqlite"}, "name the `table:` inside log.parquet"),
        ({"columns": PLAIN, "format": "jsonl"}, "sources.events: .*log.parquet"),
        ({"path": "log*.parq"}, "sources.events.path: no file matches .*relative to the config"),
        ({"path": "."}, "is a directory; name its files"),
        ({"path": "feeds.yaml"}, "cannot tell the format .*'feeds.yaml'.*set `format:`"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_used_names_its_key_and_what_to_do(shop, changes, told):
    source = shop.file("log.parquet", [ROW]) | changes
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        shop.read({"events": source})


class TestTimes:
    def moments(self, shop, source, **parts):
        read = shop.read({"events": source | {"columns": PLAIN, **parts}})
        assert read.rejected == []
        return [f"{at:%d.%m. %H:%M}" for at in read.column("occurred_at")]

    LOCAL = ("2011-07-01 12:00:00", "2011-12-01 12:00:00", "2011-10-30 01:30:00",
             "2011-03-27 01:30:00")  # fmt: skip

    def test_naive_times_are_the_shops_summer_winter_and_the_hours_between(self, shop):
        rows = [ROW | {"at": at} for at in self.LOCAL]
        source = shop.file("l.parquet", rows)
        assert self.moments(shop, source, timezone="Europe/London") == [
            "01.07. 11:00", "01.12. 12:00", "30.10. 01:30", "27.03. 01:30",
        ]  # fmt: skip

    def test_naive_timestamps_are_read_like_naive_texts(self, shop):
        rows = pa.Table.from_pylist([ROW | {"at": at} for at in self.LOCAL])
        typed = rows.set_column(0, "at", rows["at"].cast(pa.timestamp("us")))
        texts = self.moments(shop, shop.file("a.parquet", rows), timezone="Europe/London")
        assert self.moments(shop, shop.file("b.parquet", typed), timezone="Europe/London") == texts

    def test_the_zone_of_the_shop_holds_where_the_source_names_none(self, shop):
        read = shop.read({"events": shop.file("l.parquet", [ROW]) | {"columns": PLAIN}},
                         shop={"timezone": "America/New_York"})  # fmt: skip
        assert str(read.column("occurred_at")[0]) == "2024-03-01 15:00:00+00:00"

    def test_a_day_alone_is_its_midnight_in_the_shop(self, shop):
        source = shop.file("l.csv", "at,item,who\n2024-07-02,a,u\n")
        assert self.moments(shop, source, timezone="Europe/Berlin") == ["01.07. 22:00"]

    OFFSETS = ("2024-01-01T10:00:00+02:00", "2024-01-01T08:00:00Z", "2024-01-01 08:00:00.5+00",
               "2024-01-01 03:00:00-0500", "2024-01-01 08:00:00 UTC")  # fmt: skip

    @pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
    @pytest.mark.parametrize("times", [OFFSETS, OFFSETS[:1] * 2, OFFSETS[1:2] * 2],
                             ids=["many", "one offset", "UTC"])  # fmt: skip
    def test_an_offset_in_the_text_overrules_the_zone(self, shop, kind, times):
        rows = [ROW | {"at": at} for at in times]
        text = {
            "parquet": rows,
            "csv": "at,item,who\n" + "".join(f"{at},a,u\n" for at in times),
            "jsonl": "".join(f'{{"at": "{at}", "item": "a", "who": "u"}}\n' for at in times),
        }[kind]
        source = shop.file(f"l.{kind}", text)
        assert self.moments(shop, source, timezone="Asia/Tokyo") == ["01.01. 08:00"] * len(times)

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_times_with_and_without_an_offset_may_stand_in_one_column(self, shop, kind):
        times = ["2024-01-01T10:00:00+02:00", "2024-01-01T17:00:00"]
        text = {
            "csv": "at,item,who\n" + "".join(f"{at},a,u\n" for at in times),
            "jsonl": "".join(f'{{"at": "{at}", "item": "a", "who": "u"}}\n' for at in times),
        }[kind]
        source = shop.file(f"l.{kind}", text)
        assert self.moments(shop, source, timezone="Asia/Tokyo") == ["01.01. 08:00"] * 2

    def test_numbers_of_seconds_become_times_by_an_expression(self, shop):
        source = shop.file("l.parquet", [ROW | {"at": 1704096000}])
        columns = PLAIN | {"occurred_at": "to_timestamp(at)"}
        read = shop.read({"events": source | {"columns": columns}})
        assert str(read.column("occurred_at")[0]) == "2024-01-01 08:00:00+00:00"

    def test_a_time_that_is_none_rejects_its_row(self, shop):
        times = ["yesterday", "2024-13-01", "1704096000", "infinity", "0001-01-01", " "]
        source = shop.file("l.parquet", [ROW | {"at": at} for at in times])
        read = shop.read({"events": source | {"columns": PLAIN}})
        told = ["occurred_at is no time"] * 5 + ["occurred_at is missing"]
        assert [row["reasons"] for row in read.rejected] == [[one] for one in told]


class TestManyFiles:
    def test_files_come_in_the_order_of_their_names_each_with_rows_from_one(self, shop):
        shop.file("log-2.csv", "at,item,who\n2024-01-01,c,u\n")
        shop.file("log-1.csv", "at,item,who\n2024-01-01,a,u\n2024-01-01,b,u\n")
        read = shop.read({"events": {"path": "log-*.csv", "columns": PLAIN}})
        assert read.column("item_id") == ["a", "b", "c"]
        assert read.column("source_row") == [1, 2, 1]
        assert [Path(file).name for file in read.column("source_file")] == [
            "log-1.csv", "log-1.csv", "log-2.csv",
        ]  # fmt: skip
        assert read.report.files == ["log-1.csv", "log-2.csv"]

    def test_columns_are_matched_by_name_whatever_their_order(self, shop):
        shop.file("log-1.csv", "at,item,who\n2024-01-01,a,u\n")
        shop.file("log-2.csv", "who,at,item,new\nv,2024-01-01,b,1\n")
        read = shop.read({"events": {"path": "log-*.csv", "columns": PLAIN}})
        assert (read.column("item_id"), read.column("user_id")) == (["a", "b"], ["u", "v"])

    def test_ids_that_are_numbers_in_one_file_only_are_text_in_all(self, shop):
        shop.file("log-1.csv", "at,item,who\n2024-01-01,007,u\n")
        shop.file("log-2.csv", "at,item,who\n2024-01-01,x7,u\n")
        read = shop.read({"events": {"path": "log-*.csv", "columns": PLAIN}})
        assert read.column("item_id") == ["007", "x7"]

    def test_several_formats_under_one_path_are_refused(self, shop):
        shop.file("log.csv", "at,item,who\n")
        shop.file("log.parquet", [ROW])
        with pytest.raises(ConfigError, match="one format per source"):
            shop.read({"events": {"path": "log.*", "columns": PLAIN}})

    def test_a_file_whose_name_looks_like_a_pattern_is_itself(self, shop):
        (shop.base / "shop [1]").mkdir()
        source = shop.file("shop [1]/log*.csv", "at,item,who\n2024-01-01,a,u\n")
        assert shop.read({"events": source | {"columns": PLAIN}}).column("item_id") == ["a"]

    def test_a_packed_file_is_what_its_name_says_inside(self, shop):
        import gzip

        line = b'{"at": "2024-01-01", "item": "a", "who": "u"}\nno json\n'
        source = shop.file("log.jsonl.gz", gzip.compress(line))
        read = shop.read({"events": source | {"columns": PLAIN}})
        assert read.column("item_id") == ["a"]
        assert rejected_text(read) == ["no json"]


def rejected_text(read):
    return [row["row"] for row in read.rejected]


class TestUnreadableLines:
    CSV = "at,item,who\n2024-01-01,a,u\n2024-01-01,b\n2024-01-01,c,u,9\n2024-01-01,d,\n"

    def test_lines_of_csv_that_are_no_rows_are_rejected_at_their_place(self, shop):
        read = shop.read({"events": shop.file("l.csv", self.CSV) | {"columns": PLAIN}})
        assert read.column("source_row") == [1]
        assert rejected_text(read)[:2] == ["2024-01-01,b", "2024-01-01,c,u,9"]
        assert read.reasons() == {
            2: ["unreadable line: missing columns"],
            3: ["unreadable line: too many columns"],
            4: ["user_id, visitor_id, session_id are all missing"],
        }
        assert read.report.read == 4
        assert read.report.reasons["unreadable line: missing columns"] == 1

    def test_each_table_answers_for_its_own_lines(self, shop):
        items = shop.file("i.csv", "item_id,kind\na,product\nb\n")
        events = shop.file("l.csv", self.CSV) | {"columns": PLAIN}
        read = shop.read({"events": events, "items": items}, "items")
        assert (read.report.accepted, read.report.rejected) == (1, 1)
        assert [row["table_name"] for row in read.rejected] == ["items"] + ["events"] * 3

    def test_lines_that_are_no_json_object_are_rejected_at_their_place(self, shop):
        good = '{"at": "2024-01-01", "item": "%s", "who": "u"}'
        lines = [good % "a", '{"at": "2024', "", "[1]", good % "b", "{}"]
        source = shop.file("l.jsonl", "\n".join(lines) + "\n")
        read = shop.read({"events": source | {"columns": PLAIN}})
        assert read.column("item_id") == ["a", "b"]
        assert read.column("source_row") == [1, 4]
        assert rejected_text(read)[:2] == ['{"at": "2024', "[1]"]
        assert read.reasons()[2] == ["unreadable line: not a JSON object"]
        assert read.reasons()[5][0] == "occurred_at is missing"
        assert read.report.read == 5

    def test_bytes_that_are_no_utf8_spoil_their_line_only(self, shop):
        text = "at,item,who\n2024-01-01,a,u\n2024-01-01,caf\xe9,u\n".encode("latin-1")
        read = shop.read({"events": shop.file("l.csv", text) | {"columns": PLAIN}})
        assert read.column("item_id") == ["a"]
        assert read.reasons() == {2: ["unreadable line: invalid encoding"]}


class TestRowsThatAreNotThere:
    def test_a_table_without_rows_is_read_as_one(self, shop):
        schema = pa.schema({"at": pa.timestamp("us"), "item": pa.string(), "who": pa.string()})
        source = shop.file("l.parquet", schema.empty_table())
        assert shop.read({"events": source | {"columns": PLAIN}}).report.read == 0
        header = shop.file("l.csv", "at,item,who\n")
        assert shop.read({"events": header | {"columns": PLAIN}}).report.read == 0

    def test_a_sqlite_table_without_rows_is_read_as_one(self, shop):
        with closing(sqlite3.connect(shop.base / "l.db")) as database:
            database.execute("CREATE TABLE log (at, item, who)")
        source = {"path": "l.db", "table": "log", "columns": PLAIN}
        assert shop.read({"events": source}).report.read == 0

    @pytest.mark.parametrize("name", ["l.parquet", "l.csv", "l.jsonl", "l.duckdb", "l.sqlite"])
    def test_an_empty_file_is_named(self, shop, name):
        source = shop.file(name, b"") | {"columns": PLAIN, "table": "log"}
        with pytest.raises(ConfigError, match=rf"sources\.events.*{name}"):
            shop.read({"events": source})

    def test_a_day_without_lines_among_others_is_no_fault(self, shop):
        shop.file("l-1.jsonl", '{"at": "2024-01-01", "item": "a", "who": "u"}\n')
        shop.file("l-2.jsonl", "")
        read = shop.read({"events": {"path": "l-*.jsonl", "columns": PLAIN}})
        assert read.column("item_id") == ["a"]

    def test_a_column_of_nulls_only_is_missing_values_not_numbers(self, shop):
        rows = [{"visitor_id": "v", "user_id": "u", "linked_at": ROW["at"], "unlinked_at": None}]
        identities = shop.file("i.parquet", rows)
        events = shop.file("l.parquet", [ROW]) | {"columns": PLAIN}
        read = shop.read({"events": events, "identities": identities}, "identities")
        assert read.column("unlinked_at") == [None]


class TestDatabases:
    def test_a_table_that_is_not_there_is_named_with_those_that_are(self, shop):
        with duckdb.connect(str(shop.base / "l.duckdb")) as database:
            database.execute("CREATE TABLE log AS SELECT 1 AS x")
        with closing(sqlite3.connect(shop.base / "l.sqlite")) as database:
            database.execute("CREATE TABLE log (x)")
        for name in ("l.duckdb", "l.sqlite"):
            source = {"path": name, "table": "logs", "columns": PLAIN}
            with pytest.raises(ConfigError, match=rf"table: {name}: .*no table 'logs'.*'log'\?"):
                shop.read({"events": source})

    def test_a_file_that_is_no_database_is_named(self, shop):
        for name in ("l.duckdb", "l.sqlite"):
            source = shop.file(name, "hello, this is no database at all") | {"table": "log"}
            with pytest.raises(ConfigError, match=rf"sources\.events: .*{name}"):
                shop.read({"events": source})

    def test_events_and_items_may_lie_in_one_duckdb_file(self, shop):
        with duckdb.connect(str(shop.base / "l.duckdb")) as database:
            database.execute("CREATE SCHEMA web")
            log = """SELECT TIMESTAMP '2024-01-01' AS "at", 'a' AS item, 'u' AS who"""
            database.execute(f"CREATE TABLE web.log AS {log}")
            database.execute("CREATE VIEW items AS SELECT 'a' AS item_id, 'product' AS kind")
        events = {"path": "l.duckdb", "table": "web.log", "columns": PLAIN}
        items = {"path": "l.duckdb", "table": "items"}
        read = shop.read({"events": events, "items": items}, "items")
        assert read.column("item_id") == ["a"]

    def test_sqlite_columns_of_several_types_are_text(self, shop):
        with closing(sqlite3.connect(shop.base / "l.sqlite")) as database, database:
            database.execute("CREATE TABLE log (at, item, who, empty)")
            rows = [(ROW["at"], 7, "u", None), (ROW["at"], "007", 5, None)]
            database.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
        columns = PLAIN | {"channel": "empty"}
        read = shop.read({"events": {"path": "l.sqlite", "table": "log", "columns": columns}})
        assert (read.column("item_id"), read.column("user_id")) == (["7", "007"], ["u", "5"])


def test_a_reject_shows_the_row_as_the_source_has_it(shop):
    row = {"at": "soon", "item": "a", "who": None, "note [x]": 'a "b"'}
    source = shop.file("l.parquet", [ROW | {"note [x]": None}, row]) | {"columns": PLAIN}
    read = shop.read({"events": source})
    (reject,) = read.rejected
    assert rejected_row(reject) == row
    assert (reject["table_name"], reject["source_file"], reject["source_row"]) == (
        "events", "l.parquet", 2,
    )  # fmt: skip
