"""The build: from a log to a feature set, the same for the same inputs, nothing half written."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.build import build, input_digest
from features.config import ConfigError
from features.person_columns import PERSON_FEATURES
from features.reading import TooManyRejects, file_digests

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def event(item="a", days_ago=0.0, **other):
    return {"event_type": "view", "item_id": item, "user_id": "u",
            "occurred_at": NOW - days_ago * DAY, **other}  # fmt: skip


def people(features):
    return dict(zip(features.persons.texts(np.arange(len(features.persons))),
                    features.consent.tolist(), strict=True))  # fmt: skip


def content(features):
    """Everything that a feature set says, but for the time that it took and places in the files."""
    arrays = {
        str(path.relative_to(features.directory)): path.read_bytes()
        for path in sorted(features.directory.rglob("*.npy"))
    }
    tables = {
        path.name: [
            {name: value for name, value in row.items() if name not in ("row", "source_row")}
            for row in pq.read_table(path).to_pylist()
        ]
        for path in sorted(features.directory.glob("*.parquet"))
    }
    kept = ("as_of", "removed", "event_types", "respelled_items", "robots", "links", "stages",
            "segments", "segment_lines", "profile", "catalogue_profile", "text")  # fmt: skip
    return arrays, tables, {key: features.manifest[key] for key in kept}


class TestDigest:
    def test_the_same_inputs_are_built_once(self, shop):
        source = shop.file("l.parquet", [event()])
        first = shop.build({"events": source})
        log = first.directory / "events.parquet"
        written = log.stat().st_mtime_ns
        assert shop.build({"events": source}).digest == first.digest
        assert log.stat().st_mtime_ns == written

    def test_a_changed_byte_or_config_is_another_input(self, shop):
        def digest(text="item_id,n\na,1\n", as_of=None, source=(), **parts):
            path = {"events": shop.file("l.csv", text) | dict(source)}
            config = shop.config(path, **parts)
            return input_digest(config, shop.base, file_digests(config, shop.base), as_of)

        changes = [
            {}, {"text": "item_id,n\nb,1\n"}, {"as_of": NOW}, {"source": {"where": "n = 1"}},
            {"shop": {"timezone": "Asia/Tokyo"}}, {"contract": {"max_rejected_share": 0.5}},
            {"cleaning": {"non_products": ["x"]}}, {"signals": {"view": {"weight": 2}}},
            {"source": {"columns": {"item_id": "n"}}},
        ]  # fmt: skip
        assert len({digest(**change) for change in changes}) == len(changes)
        assert digest() == digest(contract={"max_rejected_share": 0.05}, training={"test_days": 3},
                                  engine={"threads": 1}, bounds={"volume_drop": None})  # fmt: skip

    def test_one_moment_in_two_zones_is_one_moment(self, shop):
        config = shop.config({"events": shop.file("l.csv", "item_id\n")})
        tokyo = NOW.astimezone(timezone(9 * timedelta(hours=1)))
        files = file_digests(config, shop.base)
        assert input_digest(config, shop.base, files, NOW) == input_digest(
            config, shop.base, files, tokyo
        )

    def test_two_builds_agree_in_every_number(self, shop, new_shop):
        rows = [event(item, n, user_id=f"u{n % 3}") for n, item in enumerate("abcabcaaab")]
        other = new_shop()
        builds = [one.build({"events": one.file("l.parquet", rows)}) for one in (shop, other)]
        assert content(builds[0]) == content(builds[1])
        assert builds[0].digest == builds[1].digest


PAST = (event("a", 2), event("A", 1.5), event("a", 1), event("b", 1, user_id="w"),
        event("b", 1.2, user_id=None, visitor_id="v"),
        event("a", 0.5, event_type="purchase", value=2.0, quantity=2))  # fmt: skip
LATER = st.lists(
    st.builds(
        lambda item, minutes, user, visitor, kind, title: event(
            item, -minutes / 1440, user_id=user, visitor_id=visitor, event_type=kind,
            title=title, price=9.0),
        st.sampled_from(["a", "A", "b", "new"]), st.integers(1, 60),
        st.sampled_from(["u", "w", "x"]), st.sampled_from(["v", None]),
        st.sampled_from(["view", "purchase", "return"]),
        st.sampled_from(["first", "second", None]),
    ), min_size=1, max_size=6,
)  # fmt: skip
LINKED = {"visitor_id": "z", "user_id": "w", "linked_at": NOW - DAY, "unlinked_at": None}


def answer(user, told, at):
    return {"user_id": user, "question": "topic", "answer": told, "answered_at": at}


def of_the_past(shop, later=(), customers=(), answers=(), links=(LINKED,)):
    """A build of NOW, whatever else the sources say."""
    past = [row | {"title": "first", "price": 1.0} for row in PAST]
    joined = {"user_id": "w", "joined_at": NOW - 9 * DAY}
    said = answer("w", "art", NOW - DAY)
    sources = {"events": shop.file("l.parquet", [*later, *past]),
               "items": {"derive_from": "events", "columns": {"title": "title", "price": "price"}},
               "customers": shop.file("c.parquet", [joined, *customers]),
               "identities": shop.file("i.parquet", links),
               "preferences": shop.file("p.parquet", [said, *answers])}  # fmt: skip
    segments = [{"name": "artists", "declared": "topic"}, {"learned": 2}]
    return shop.build(sources, as_of=NOW, segments=segments)


@pytest.fixture(scope="module")
def before(new_shop):
    return of_the_past(new_shop())


class TestAsOf:
    def test_is_the_last_accepted_event_and_not_the_wall_clock(self, shop):
        rows = [event(days_ago=3), event(days_ago=1.5), event(days_ago=0, item=None)]
        features = shop.build({"events": shop.file("l.parquet", rows)},
                              contract={"max_rejected_share": 0.5})  # fmt: skip
        assert features.as_of_us == (NOW - 1.5 * DAY).timestamp() * 1_000_000
        assert features.manifest["as_of"] == "2024-05-31T00:00:00+00:00"

    def test_before_the_first_event_there_is_nothing_to_describe(self, shop):
        source = shop.file("l.parquet", [event()])
        with pytest.raises(ValueError, match="is before the first event, 2024-06-01"):
            shop.build({"events": source}, as_of=NOW - DAY)
        assert not shop.home.feature_sets.exists()

    def test_needs_a_zone(self, shop):
        with pytest.raises(ValueError, match="has no time zone"):
            shop.build({"events": shop.file("l.parquet", [event()])}, as_of=datetime(2024, 6, 1))

    @settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
    @given(later=LATER)
    def test_what_comes_after_it_changes_nothing(self, before, new_shop, later):
        """Not events, nor links, unlinks and answers; not by a title, a spelling or a place."""
        after = of_the_past(
            new_shop(), later,
            customers=[{"user_id": "joins later", "joined_at": NOW + DAY}],
            answers=[answer("w", "food", NOW + DAY), answer("later", "food", NOW + DAY)],
            links=[{**LINKED, "visitor_id": "v", "linked_at": NOW + DAY},
                   {**LINKED, "unlinked_at": NOW + DAY}],
        )  # fmt: skip
        assert content(after) == content(before)
        assert before.manifest["segments"]["artists: art"] == 1


class TestWhatCannotHaveHappened:
    LOG = (*(event("ab"[n % 2], n / 10) for n in range(12)), event("c", -1))

    def test_one_event_of_the_next_century_is_not_the_moment(self, shop):
        odd = event("a") | {"occurred_at": datetime(2150, 1, 1, tzinfo=UTC)}
        features = shop.build({"events": shop.file("l.parquet", [*self.LOG, odd])})
        assert features.manifest["as_of"] == "2024-06-02T12:00:00+00:00"
        assert features.manifest["removed"] == {"in the future": 1}
        assert pq.read_table(features.directory / "removed.parquet").to_pylist() == [
            {"source_file": "l.parquet", "source_row": 14, "reason": "in the future"}
        ]

    def test_what_was_future_is_built_once_it_has_come(self, shop):
        source = {"events": shop.file("l.parquet", self.LOG)}
        assert shop.build(source, now=NOW + DAY / 2).manifest["as_of_us"] == NOW.timestamp() * 1e6
        assert shop.build(source, now=NOW + DAY * 0.9).manifest["removed"] == {"in the future": 1}
        assert shop.build(source, now=NOW + 2 * DAY).manifest["removed"] == {}

    def test_an_event_before_its_item_existed_is_out(self, shop):
        items = [{"item_id": one, "kind": "product", "published_at": NOW - days * DAY}
                 for one, days in (("a", 9), ("b", 9), ("c", 2))]  # fmt: skip
        late = [event("c", 8), event("c", 0.1), event("c", 0.2), event("a", 8.5)]
        sources = {"events": shop.file("l.parquet", [*self.LOG[:-1], *late]),
                   "items": shop.file("i.parquet", items)}  # fmt: skip
        features = shop.build(sources)
        assert features.manifest["removed"] == {"before the item existed": 1}
        assert not features.manifest["published_later_than_seen"]


class TestSeveralBuilds:
    def test_two_at_once_wait_for_one_another(self, shop):
        sources = {"events": shop.file("l.parquet", [event(n, 1) for n in "abc"])}
        config = shop.config(sources)
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(build, config, shop.base, shop.home) for _ in range(2)]
        assert both[0].result().digest == both[1].result().digest
        assert len(list(shop.home.feature_sets.iterdir())) == 1

    def test_one_that_fails_leaves_no_scratch_behind(self, shop):
        sources = {"events": shop.file("l.parquet", [event()])}
        with pytest.raises(ValueError, match="before the first event"):
            shop.build(sources, as_of=NOW - DAY)
        assert list(shop.home.scratch().iterdir()) == []

    def test_one_of_the_future_is_refused(self, shop):
        with pytest.raises(ValueError, match="is in the future"):
            shop.build({"events": shop.file("l.parquet", [event()])}, as_of=NOW + DAY, now=NOW)

    def test_one_of_the_past_knows_nothing_of_those_that_came_before_it(self, new_shop):
        rows = [event(f"i{n % 5}", n / 4, user_id=f"u{n % 9}") for n in range(60)]
        then = []
        for shop, earlier in ((new_shop(), False), (new_shop(), True)):
            sources = {"events": shop.file("l.parquet", rows)}
            if earlier:
                shop.build(sources, segments=[{"learned": 3}])
            then.append(shop.build(sources, as_of=NOW - 7 * DAY, segments=[{"learned": 3}]))
        assert content(then[0]) == content(then[1])


class TestPeople:
    def test_have_a_row_each_with_every_feature_once(self, shop):
        features = shop.build({"events": shop.file("l.parquet", [event()])})
        about = ["person_index", "person", "kind", "consent", "joined_us"]
        assert features.table("persons").columns.tolist() == [
            *about, *PERSON_FEATURES, "stage", "segment",
        ]  # fmt: skip

    def test_a_visitors_past_belongs_to_the_customer_it_turned_out_to_be(self, shop):
        rows = [event("a", 3, user_id=None, visitor_id="v"), event("b", 2, visitor_id="v"),
                event("c", 1, user_id=None, visitor_id="other")]  # fmt: skip
        features = shop.build({"events": shop.file("l.parquet", rows)})
        assert features.persons.texts(np.arange(2)) == ["u:u", "v:other"]
        assert np.diff(features.timelines.indptr).tolist() == [2, 1]
        assert features.devices.find(["v:v", "v:other", "v:x"]).tolist() == [0, -1, -1]

    def test_segments_keep_their_names_when_a_day_is_added(self, shop):
        def day(number):
            heavy = [event(f"i{n}", 9 - number - n / 50, user_id=f"h{n % 6}") for n in range(36)]
            light = [event("i1", 9 - number, user_id=f"l{number}{n}") for n in range(3)]
            return shop.file(f"day-{number}.parquet", heavy + light)

        found = []
        for number in range(2):
            day(number)
            built = shop.build({"events": {"path": "day-*.parquet"}}, segments=[{"learned": 2}],
                               bounds={"volume_rise": None})  # fmt: skip
            table = built.table("persons").set_index("person")
            found.append(table.segment[[f"u:h{n}" for n in range(6)]])
            assert set(built.manifest["segments"]) == set(table.segment)
            assert set(built.manifest["segment_lines"]) == set(table.segment)
        assert found[0].tolist() == found[1].tolist()
        assert built.manifest["previous"]


class TestConsent:
    EVENTS = (event(user_id="yes"), event(user_id="no"), event(user_id="silent"),
              event(user_id="unknown"), event(user_id=None, visitor_id="v"))  # fmt: skip
    SAID = ({"user_id": "yes", "consent_personalise": True},
            {"user_id": "no", "consent_personalise": False},
            {"user_id": "silent", "consent_personalise": None})  # fmt: skip

    @pytest.mark.parametrize("default", ["yes", "no"])
    def test_is_what_the_customers_table_says_else_the_default(self, shop, default):
        sources = {"events": shop.file("l.parquet", self.EVENTS),
                   "customers": shop.file("c.parquet", self.SAID)}  # fmt: skip
        features = shop.build(sources, shop={"consent_default": default})
        other = default == "yes"
        assert people(features) == {
            "u:yes": True, "u:no": False, "u:silent": other, "u:unknown": other, "v:v": other,
        }  # fmt: skip

    @pytest.mark.parametrize("default", ["yes", "no"])
    def test_is_the_default_for_all_without_such_a_table(self, shop, default):
        features = shop.build({"events": shop.file("l.parquet", self.EVENTS)},
                              shop={"consent_default": default})  # fmt: skip
        assert set(people(features).values()) == {default == "yes"}


@pytest.fixture(scope="module")
def dirty(new_shop):
    """A log with something of everything that cleaning takes out."""
    shop = new_shop()
    rows = [
        event("ab", 5, event_id="1"), event("AB", 4, event_id="2"),
        event("AB", 4, event_id="2"), event("AB", 3, event_id="3"),
        event("POST", 3, event_id="4"),
        event("c", 2, event_id="5", event_type="purchase", quantity=2),
        event("c", 1, event_id="6", event_type="return", quantity=1),
        event("d", 1, event_id="7", event_type="purchase", quantity=1),
        event("d", 1, event_id="8", event_type="return", quantity=1),
    ]  # fmt: skip
    kinds = [{"item_id": one, "kind": "product"} for one in ("Ab", "POST", "c")]
    sources = {"events": shop.file("l.parquet", rows), "items": shop.file("i.parquet", kinds)}
    return shop.build(sources, cleaning={"non_products": ["^POST$"]})


class TestCleaning:
    def test_what_was_taken_out_is_counted_by_its_reason(self, dirty):
        assert dirty.manifest["removed"] == {
            "exact duplicate": 1, "non-product": 1, "purchase returned in full": 1, "return": 2,
        }  # fmt: skip
        assert dirty.manifest["event_types"] == {"purchase": 1, "view": 3}

    def test_items_have_one_spelling_in_log_and_catalogue(self, dirty):
        assert dirty.item_table().item_id.tolist() == ["AB", "c"]
        assert dirty.manifest["respelled_items"] == 1
        assert dirty.items.texts(dirty.timelines.items) == ["AB", "AB", "AB", "c"]

    def test_a_pattern_that_the_engine_does_not_know_is_named(self, shop):
        source = shop.file("l.parquet", [event()])
        with pytest.raises(ConfigError, match=r"cleaning\.non_products: a pattern"):
            shop.build({"events": source}, cleaning={"non_products": ["(?!x)"]})

    def test_a_return_does_not_undo_a_look(self, shop):
        rows = [event("a", 3, event_type="purchase"), event("a", 2),
                event("a", 1, event_type="return")]  # fmt: skip
        features = shop.build({"events": shop.file("l.parquet", rows)})
        assert features.manifest["event_types"] == {"view": 1}


class TestItemsOutOfTheLog:
    ROWS = (
        event("a", 3, title="red", price=2.0), event("a", 2, title="Red", price=4.0),
        event("A", 1, title="Red", price=9.0), event("b", 1, user_id="robot", title="spam"),
        event("c", 1, event_type=None, title="broken"),
    )  # fmt: skip

    def test_are_made_of_the_events_that_count(self, shop):
        columns = {c: c for c in ("occurred_at", "event_type", "item_id", "user_id")}
        events = shop.file("l.parquet", self.ROWS) | {
            "columns": columns, "where": "user_id <> 'robot'",
        }  # fmt: skip
        items = {"derive_from": "events", "columns": {"title": "title", "price": "price"}}
        features = shop.build({"events": events, "items": items},
                              contract={"max_rejected_share": 0.5})  # fmt: skip
        (item,) = features.item_table().to_dict("records")
        assert (item["item_id"], item["title"], item["price"]) == ("a", "Red", 4.0)
        counts = {table["name"]: table["left_out"] for table in features.manifest["tables"]}
        assert counts == {"events": 1, "items": 1}


class TestNothingHalfWritten:
    GOOD, BAD = (event(),), (event(), event(item=None))

    def test_too_many_rejects_stop_the_build_and_the_last_good_one_stays(self, shop):
        good = shop.build({"events": shop.file("l.parquet", self.GOOD)})
        with pytest.raises(TooManyRejects, match=r"item_id is missing.*keeps serving"):
            shop.build({"events": shop.file("l.parquet", self.BAD)})
        assert list(shop.home.feature_sets.iterdir()) == [good.directory]
        refused = pq.read_table(shop.home.rejects)
        assert refused.column_names == [
            "source_file", "source_row", "reasons", "row", "table_name",
        ]  # fmt: skip
        assert refused["reasons"].to_pylist() == [["item_id is missing"]]

    @pytest.mark.parametrize(
        ("rows", "share", "told"),
        [(BAD[1:], 0.05, "1 of 1 rows"), (BAD[1:], 1, "no accepted event"),
         ([], 0.05, "no accepted event; run `feeds check`")],
        ids=["all rejected", "all rejected and allowed", "no rows"],
    )  # fmt: skip
    def test_a_log_without_a_good_event_makes_no_feature_set(self, shop, rows, share, told):
        table = pq.read_table(shop.base / shop.file("all.parquet", self.BAD)["path"])
        keep = [row in rows for row in self.BAD]
        source = shop.file("l.parquet", table.filter(keep))
        with pytest.raises(ValueError, match=told):
            shop.build({"events": source}, contract={"max_rejected_share": share})
        assert not shop.home.feature_sets.exists()

    def test_an_error_in_the_middle_leaves_nothing_behind(self, shop, monkeypatch):
        def broken(*_):
            raise OSError("disk full")

        monkeypatch.setattr("features.write.read_timelines", broken)
        with pytest.raises(OSError, match="disk full"):
            shop.build({"events": shop.file("l.parquet", self.GOOD)})
        assert list(shop.home.feature_sets.iterdir()) == []

    def test_a_missing_file_is_told_before_anything_is_read(self, shop):
        sources = {"events": shop.file("l.parquet", self.GOOD), "items": {"path": "nothing.csv"}}
        with pytest.raises(ConfigError, match=r"sources\.items\.path: no file matches"):
            shop.build(sources)
        assert not shop.home.rejects.exists()


def test_currencies_of_events_stay_with_them(shop):
    rows = [event(value=1.5, currency="EUR"), event("b", value=2.0, currency="JPY")]
    features = shop.build({"events": shop.file("l.parquet", rows)})
    events = pq.read_table(features.directory / "events.parquet").sort_by("item_index")
    assert events["currency"].to_pylist() == ["EUR", "JPY"]
    assert events["value"].to_pylist() == [1.5, 2.0]
