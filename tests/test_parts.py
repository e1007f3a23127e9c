"""Parts: a file is read once, and what comes of many days is what one file of all would give."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from features.parts import reports_of
from features.reading import file_digests, read_tables

START = datetime(2024, 6, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def day(number, **other):
    """A day's log: four people, their items, one broken row."""
    rows = [
        {"occurred_at": START + number * DAY + timedelta(minutes=n), "event_type": "view",
         "item_id": f"i{(number + n) % 5}", "user_id": f"u{n % 4}", **other}
        for n in range(12)
    ]  # fmt: skip
    return [*rows, rows[0] | {"item_id": None}]


def read(shop, shop_keys=None, **parts):
    """Read all days; which files were opened for it, and the tables."""
    config = shop.config({"events": {"path": "day-*.parquet"}}, shop=shop_keys or {}, **parts)
    before = kept(shop)
    tables = read_tables(config, shop.home, file_digests(config, shop.base))
    return {name for name, when in kept(shop).items() if before.get(name) != when}, tables


def kept(shop):
    """The files of which a part is kept, and when it was written."""
    found = {}
    for report in shop.home.parts.glob("*/report.json"):
        (table,) = reports_of(report.parent)
        found |= dict.fromkeys(table.files, (report.parent.name, report.stat().st_mtime_ns))
    return found


class TestOnce:
    def test_a_new_days_file_is_all_that_is_read(self, shop):
        for number in range(3):
            shop.file(f"day-{number}.parquet", day(number))
        assert read(shop)[0] == {"day-0.parquet", "day-1.parquet", "day-2.parquet"}
        assert read(shop)[0] == set()
        shop.file("day-3.parquet", day(3))
        opened, tables = read(shop)
        assert opened == {"day-3.parquet"}
        assert (tables.report("events").accepted, tables.report("events").rejected) == (48, 4)

    def test_a_changed_file_is_read_again_and_its_old_part_is_gone(self, shop):
        for number in range(2):
            shop.file(f"day-{number}.parquet", day(number))
        read(shop)
        shop.file("day-1.parquet", day(1)[:5])
        opened, tables = read(shop)
        assert opened == {"day-1.parquet"}
        assert tables.report("events").accepted == 12 + 5
        assert len([one for one in shop.home.parts.iterdir() if one.is_dir()]) == 2

    @pytest.mark.parametrize(
        "change", [{"contract": {"max_rejected_share": 0.9}}, {"signals": {"view": {"weight": 3}}}]
    )
    def test_what_does_not_change_a_row_reads_nothing_again(self, shop, change):
        shop.file("day-0.parquet", day(0))
        read(shop)
        assert read(shop, **change)[0] == set()

    def test_another_zone_reads_everything_again(self, shop):
        shop.file("day-0.parquet", day(0))
        read(shop)
        assert read(shop, {"timezone": "Asia/Tokyo"})[0] == {"day-0.parquet"}

    def test_a_column_that_a_later_file_brings_is_null_in_those_before(self, shop):
        shop.file("day-0.parquet", day(0))
        read(shop)
        shop.file("day-1.parquet", day(1, channel="app"))
        opened, tables = read(shop)
        assert "day-1.parquet" in opened
        channels = [pq.read_table(file)["channel"].to_pylist() for file in tables.files["events"]]
        assert set(channels[0]) == {None}
        assert set(channels[1]) == {"app"}

    def test_a_day_on_which_a_csv_column_is_empty_keeps_its_type(self, shop):
        head = "occurred_at,event_type,item_id,user_id,q,p\n"
        shop.file("day-0.csv", head)
        shop.file("day-1.csv", head + "2024-06-01 10:00:00,buy,a,u,2,1.5\n")
        shop.file("day-2.csv", head + "2024-06-02 10:00:00,buy,a,u,,1.5\n")
        names = ("occurred_at", "event_type", "item_id", "user_id")
        columns = {name: name for name in names} | {"value": "q * p"}
        config = shop.config({"events": {"path": "day-*.csv", "columns": columns}})
        tables = read_tables(config, shop.home, file_digests(config, shop.base))
        values = [pq.read_table(file)["value"].to_pylist() for file in tables.files["events"]]
        assert values == [[], [3.0], [None]]


class TestManyDaysAreOneLog:
    def test_day_by_day_and_at_once_give_the_same_feature_set(self, new_shop):
        """Duplicates, returns and spellings across the edge of days are found either way."""
        logs = [day(number) for number in range(2)]
        logs[1].append(logs[0][3])  # delivered again a day later
        logs[1].append(logs[0][0] | {"event_type": "return"})
        logs[1].append(logs[0][0] | {"item_id": "I1", "occurred_at": START + 1.5 * DAY})
        grown, whole = new_shop(), new_shop()
        items = {"derive_from": "events", "columns": {"title": "'item ' || item_id"}}
        sources = {"events": {"path": "day-*.parquet"}, "items": items}
        more = {"contract": {"max_rejected_share": 0.5},
                "segments": [{"name": "busy", "rule": "events > 6"}]}  # fmt: skip
        for number, rows in enumerate(logs):
            grown.file(f"day-{number}.parquet", rows)
            built = grown.build(sources, **more)
            whole.file(f"day-{number}.parquet", rows)
        at_once = whole.build(sources, **more)
        assert built.digest == at_once.digest
        assert built.manifest["removed"] == {"exact duplicate": 1, "return": 1}
        assert built.manifest["respelled_items"] == 1
        for key in ("removed", "stages", "segments", "profile", "rows", "links"):
            assert built.manifest[key] == at_once.manifest[key], key
        files = [sorted(file for file in one.directory.rglob("*") if file.suffix in
                        (".parquet", ".npy")) for one in (built, at_once)]  # fmt: skip
        assert len(files[0]) == len(files[1]) > 20
        for mine, theirs in zip(*files, strict=True):
            if mine.suffix == ".npy":
                np.testing.assert_array_equal(np.load(mine), np.load(theirs), err_msg=mine.name)
            else:
                assert pq.read_table(mine).equals(pq.read_table(theirs)), mine.name
