"""`feeds report data`: what it says, in a terminal and on a page, of logs of every kind."""

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import ibis
import pyarrow as pa
import pytest

from command import plots
from command.facts import attention, headlines
from command.report import seen_in, write_page
from command.sections import sections
from features.config import Config
from features.contract import TABLES, TYPES
from features.engine import materialise
from features.home import Home, write_json
from features.profile import profile
from features.types import DAY_US, to_us

NOON = to_us(datetime(2024, 6, 10, 12, tzinfo=UTC))
SCHEMA = ibis.schema(
    {"occurred_us": "int64"}
    | {c.name: TYPES[c.kind] for c in TABLES["events"] if c.name != "occurred_at"}
)
HTML = "<script>alert('$x$')</script> & [red]"
FULL = {
    "tables": [{"name": "events", "files": ["a.csv", "b.csv", "c.csv", "d.csv"], "left_out": 7,
                "read": 100, "accepted": 96, "rejected": 4, "reasons": {"item_id is missing": 4}}],
    "removed": {"exact duplicate": 3, "robot": 1}, "respelled_items": 2,
    "links": {"links_in_force": 5, "merged_devices": 4, "shared_devices": 1, "links_ended": 0},
    "stages": {"visitor": 3, "new": 2}, "segments": {"bargains": 4, HTML: 0},
    "segment_lines": {"bargains": f"4 people who wait for {HTML}"},
    "catalogue_profile": {"items": 9, "available": 8, "kinds": {"product": 9},
                          "null_shares": {"title": 0.0, "price": 0.5},
                          "median_prices": {"EUR": 12.5, "": 3.0}},
    "seconds": {"read": 1.25},
}  # fmt: skip


def ago(days, **row):
    return {"occurred_us": NOON - round(days * DAY_US), **row}


@pytest.fixture
def manifest(engine):
    """The manifest of a feature set of these events; the rest of an event is a customer's view."""

    def _manifest(*rows, digest="n" * 64, **more):
        full = [
            dict.fromkeys(SCHEMA.names)
            | {"occurred_us": NOON, "event_type": "view", "item_id": "a", "user_id": "u"} | row
            for row in rows
        ]  # fmt: skip
        table = ibis.memtable(pa.Table.from_pylist(full, SCHEMA.to_pyarrow()), schema=SCHEMA)
        found = profile(materialise(engine, "reported", table), NOON, engine.to_pyarrow)
        return json.loads(json.dumps({"digest": digest, "profile": found, **more}))

    return _manifest


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def seen(home, manifest):
    """What a report is about: these events, and those of the build before if there were some."""

    def _seen(*rows, before=(), signals=None, **more):
        if before:
            write_json(home.feature_sets / "old" / "manifest.json", manifest(*before))
            more["previous"] = "old"
        signals = signals or {"view": {"weight": 1}}
        config = {"sources": {"events": {"path": "events.csv"}}, "signals": signals}
        return seen_in(Config.model_validate(config), manifest(*rows, **more), home)

    return _seen


@pytest.fixture
def page(home):
    """The page of a report, as text."""

    def _page(seen):
        target = home.root / "reports" / "data.html"
        return write_page(seen, sections(seen), "the shop", target).read_text(encoding="utf-8")

    return _page


def told(seen):
    """All that the sections say, by their titles."""
    return {
        one.title: "\n".join([*("|".join(row) for row in one.rows), *one.notes])
        for one in sections(seen)
    }


class TestSections:
    def test_tell_all_that_the_manifest_knows(self, seen):
        found = told(seen({}, ago(1), ago(4, user_id=None, visitor_id="v"), **FULL))
        assert "events|100|96|4|4.0%" in found["What was read"]
        assert "a.csv, b.csv, c.csv, …; `where` left out 7 rows" in found["What was read"]
        assert "events: 4 rows: item_id is missing" in found["What was read"]
        assert found["Volume"] == "2024-06-03|2|0.5\n2024-06-10|1|1.0"
        assert found["Gaps"] == "1 of one or two days"
        assert "nothing to compare with" in found["Since the build before"]
        assert "a device only|33.3%|33.3%" in found["Who is known"]
        assert "devices of several customers, kept apart: 1" in found["Who is known"]
        assert found["What people did"] == "view|3|100.0%"
        assert "user_id|33.3%|33.3%" in found["Empty columns"]
        assert "never filled: session_id, sequence" in found["Empty columns"]
        assert found["Catalogue"].splitlines() == [
            "items|9", "available|8", "of kind product|9", "without price|50.0%",
            "median price, EUR|12.50", "median price, no currency|3.00", "every item has: title",
        ]  # fmt: skip
        assert found["What cleaning took out"].splitlines() == [
            "exact duplicate|3|100.0%", "robot|1|33.3%", "2 spellings of items joined",
        ]  # fmt: skip
        assert found["Lifecycle stages"] == "visitor|3|60.0%\nnew|2|40.0%"
        assert "bargains|4|80.0%" in found["Segments"]
        assert "in no segment|1|20.0%" in found["Segments"]
        assert "bargains: 4 people who wait for" in found["Segments"]

    def test_tell_the_volume_by_week_and_of_a_long_log_by_month(self, seen):
        weeks = told(seen({}, ago(1), ago(1), ago(9)))["Volume"].splitlines()
        assert weeks == ["2024-05-27|1|0.5", "2024-06-03|2|0.3", "2024-06-10|1|1.0"]
        months = told(seen({}, ago(10), ago(130), ago(131)))["Volume"].splitlines()
        assert months == ["2024-01|1|1.0", "2024-02|1|0.0", "2024-03|0|0.0", "2024-04|0|0.0",
                          "2024-05|1|0.0", "2024-06|1|0.1"]  # fmt: skip

    def test_tell_the_last_year_of_a_log_and_sum_up_what_was_earlier(self, seen):
        rows = told(seen(*[ago(30.4 * n) for n in range(24)]))["Volume"].splitlines()
        assert len(rows) == 14
        assert rows[-1] == "events before that: 11"

    def test_tell_the_long_gaps_one_by_one_and_count_the_short_ones(self, seen):
        some = told(seen({}, ago(2), ago(6), ago(15)))["Gaps"].splitlines()
        assert some == ["2024-05-27|2024-06-03|8", "2024-06-05|2024-06-07|3",
                        "1 of one or two days"]  # fmt: skip
        many = told(seen(*[ago(5 * n) for n in range(20)]))["Gaps"].splitlines()
        assert len(many) == 14
        assert many[-1] == "and 6 more of 3 days or longer"
        assert told(seen({}))["Gaps"] == "no gaps"

    def test_tell_what_has_changed_since_the_build_before(self, seen):
        before = [ago(20 - n % 10, channel="site") for n in range(200)]
        now = [ago(n % 20, channel="email", user_id=None, visitor_id="v") for n in range(300)]
        found = told(seen(*now, before=before))
        assert "events in total|200|300|▲ +50%|400%" in found["Since the build before"]
        assert "user_id empty|0.0%|100.0%|▲ +100.0 pts|25 pts" in found["Since the build before"]
        assert re.search(r"mix of channels\|\|\d+\.\d\d\|shifted", found["Since the build before"])
        assert "a known customer|0.0%|0.0%|100.0%" in found["Who is known"]
        assert "user_id|100.0%|100.0%|0.0%" in found["Empty columns"]

    def test_tell_of_an_event_type_that_has_gone(self, seen):
        found = told(seen({}, {}, before=[{"event_type": "look"}, {}]))
        assert found["What people did"] == "view|2|100.0%|50.0%\nlook|0|0.0%|50.0%"

    def test_leave_out_what_is_not_known(self, seen):
        assert list(told(seen({}))) == [
            "Volume", "Gaps", "Since the build before", "Who is known", "What people did",
            "Empty columns",
        ]  # fmt: skip


class TestAttention:
    def test_is_not_called_for_when_all_is_well(self, seen):
        assert attention(seen({}, ago(1), ago(3))) == []

    @pytest.mark.parametrize(
        ("rows", "more", "sentence"),
        [
            ([{}, ago(5)], {}, "nothing was recorded for 4 days, 2024-06-06 to 2024-06-09"),
            ([{}], {"tables": FULL["tables"]},
             "events: 4.0% of the rows are rejected; above 5.0% a build stops"),
            ([{}], {"removed": {"robot": 9}}, "cleaning took out 100.0% of the events"),
            ([{"event_type": "look"}], {}, "signals without a single event: view"),
            ([{}], {"segments": {"a": 0, "b": 2}}, "segments without anybody: a"),
            ([{}], {"before": [{"user_id": None, "visitor_id": "v"}] * 99},
             "user_id is empty in 0% of the events; before in 100%"),
        ],
    )  # fmt: skip
    def test_is_called_in_a_sentence(self, seen, rows, more, sentence):
        assert any(sentence in one for one in attention(seen(*(rows * 9), **more)))

    def test_headlines_come_first(self, seen):
        assert headlines(seen({}, ago(1, user_id=None, visitor_id="v"), **FULL)) == {
            "events": "2", "first day": "2024-06-09", "last day": "2024-06-10",
            "events without a customer": "50.0%", "people": "5", "items available": "8 of 9",
        }  # fmt: skip


LOGS = {
    "one event": [{}],
    "one moment": [{}] * 5,
    "days without events around": [ago(30), ago(20)],
    "no channel, no session": [{}, ago(1)],
    "300 event types": [{"event_type": f"type {n}"} for n in range(300)],
    "thousands of days": [ago(n * 10) for n in range(500)],
    "a stray event of 1900": [{}, {"occurred_us": -2_208_988_800_000_000}],
    "strange names": [{"event_type": one, "channel": one} for one in (HTML, "_a", "买 🎉", "a\nb")],
    "everything": [{name: {"string": "x"}.get(str(kind), 1) for name, kind in SCHEMA.items()}
                   | {"occurred_us": NOON}],
}  # fmt: skip


class Page(HTMLParser):
    """The tags that a page is made of, and what it would fetch."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.fetches = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.fetches += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class TestPage:
    @pytest.mark.parametrize("rows", LOGS.values(), ids=LOGS)
    def test_is_whole_and_needs_nothing_else_and_has_sound_drawings(self, seen, page, rows):
        text = page(seen(*rows, before=rows, **FULL))
        read = Page(text)
        assert read.open == []
        assert not read.tags & {"script", "link", "img", "iframe", "object"}
        assert all(target.startswith("#") for target in read.fetches)
        assert not re.search(r"@import|url\((?!#)", text)
        drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
        assert len(drawings) >= 3
        for drawing in drawings:
            ElementTree.fromstring(drawing)
            assert "var(--ink)" in drawing
            assert not re.search(r"#0[0-9a-f]{5}", drawing), "a colour without a name"

    def test_shows_text_of_the_data_as_text(self, seen, page):
        text = page(seen({"event_type": HTML, "channel": HTML}, **FULL))
        assert "<script" not in text
        assert "&lt;script&gt;alert(&#39;$x$&#39;)&lt;/script&gt; &amp; [red]" in text

    def test_says_the_same_as_the_terminal(self, seen, page):
        about = seen({}, ago(4), before=[{}, {}], **FULL)
        text = page(about).replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
        text = text.replace("&amp;", "&")
        for section in sections(about):
            for word in (section.title, section.about, section.worry, *section.notes):
                assert word in text
            for cell in (cell for row in section.rows for cell in row):
                assert f">{cell}</td>" in text
        assert all(f"<li>{sentence}</li>" in text for sentence in attention(about))

    def test_is_the_same_page_for_the_same_log_and_replaces_the_last(self, seen, page, home):
        first = page(seen({}, ago(2)))
        assert page(seen({}, ago(2))) == first
        assert page(seen({}, ago(3))) != first
        assert [file.name for file in (home.root / "reports").iterdir()] == ["data.html"]


class TestPlots:
    @pytest.mark.parametrize(
        ("days", "unit"),
        [(0, "events a day"), (399, "events a day"), (400, "events in 7 days"),
         (4000, "events in 28 days"), (40_000, "events in 364 days")],
    )  # fmt: skip
    def test_a_long_log_is_drawn_by_the_week_or_longer(self, seen, days, unit):
        assert f">{unit}</text>" in plots.volume(seen({}, ago(days)).profile)

    @pytest.mark.parametrize("name", ["$a$", r"$\no", "a_{b}^", "_hidden", "x" * 90])
    def test_names_are_drawn_as_they_are_or_shortened(self, name):
        drawn = plots.bars([name], {"now": [1.0], "before": [2.0]}, "people")
        shown = f"{name[:15]}…{name[-10:]}" if len(name) > 26 else name
        assert re.search(f"> ?{re.escape(shown)}</text>", drawn)

    def test_the_trend_is_a_line_of_text_with_blanks_where_nothing_is(self, seen):
        rows = [ago(0)] * 8 + [ago(1)] * 4 + [ago(3)]
        assert plots.trend(seen(*rows).profile) == "▁ ▄█"
        assert len(plots.trend(seen({}, ago(5000)).profile)) <= 60


class TestBefore:
    def test_a_feature_set_that_is_gone_is_not_compared_with(self, seen):
        assert seen({}, previous="gone").changes == []
        assert seen({}, previous=None).changes == []

    def test_a_feature_set_that_counted_nothing_cannot_be_reported(self, home):
        config = Config.model_validate(
            {"sources": {"events": {"path": "e"}}, "signals": {"view": {"weight": 1}}}
        )
        with pytest.raises(ValueError, match="delete its directory under"):
            seen_in(config, {"digest": "x" * 64}, home)


class TestCommand:
    def test_a_report_of_no_kind_is_a_wrong_call(self, run):
        code, _, err = run("report", "everything")
        assert code == 2
        assert "'everything' is none of data, evidence" in err

    def test_data_from_one_build_to_the_next_until_one_is_stopped(self, run, shop):
        call = ("report", "data", "-c", shop.base / "feeds.yaml", "--home", shop.home.root)
        page = shop.home.root / "reports" / "data.html"
        shop.config({"events": shop.file("l.parquet", _days([40] * 20))})
        code, out, _ = run(*call)
        assert code == 0
        assert "no build before this one" in out
        assert str(page) in out.replace("\n", "")
        assert f"Data report: {shop.base.name}" in page.read_text(encoding="utf-8")

        shop.file("l.parquet", _days([40] * 21 + [30]))
        code, out, _ = run(*call)
        assert code == 0
        assert re.search(r"events a day +40 +40 +", out)
        last = page.read_text(encoding="utf-8")

        shop.file("l.parquet", _days([40] * 21 + [3, 3, 40]))
        code, out, err = run(*call)
        assert code == 1
        assert "Beyond the bounds" in out
        assert "events a day fell from 40 to 3 (-92%); bounds.volume_drop allows 50%" in err
        assert "What was built before keeps serving" in err
        assert page.read_text(encoding="utf-8") == last


def _days(counts):
    """Views, so many on each day from the first of March, over the whole of the day."""
    return [
        {"occurred_at": datetime(2024, 3, 1 + day, n * 24 // events, 30, n % 60, tzinfo=UTC),
         "event_type": "view", "item_id": f"i{n % 7}", "user_id": f"u{n % 11}"}
        for day, events in enumerate(counts) for n in range(events)
    ]  # fmt: skip
