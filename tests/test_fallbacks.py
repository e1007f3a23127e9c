"""`feeds report fallbacks`: counts of a log of decisions that one can add up by hand."""

from __future__ import annotations

import json
import time

import msgspec
import pytest

from command import fallbacks
from command.decision_counts import counted
from features.config import Config
from features.decided import Decided
from features.home import Home
from features.types import DAY_US
from serving.why import WHY

LAST = 20_000  # the newest day of the log, since 1970: 2024-10-04
CONFIG = {
    "sources": {"events": {"path": "e.parquet"}}, "signals": {"view": {"weight": 1}},
    "shop": {"clock": "as_of"},
}  # fmt: skip


def decision(day=LAST, decision="show", rung="one_to_one", reason="known_history", **more):
    told = {
        "decision_id": "d", "person": "", "placement": "home", "channel": "site",
        "decision": decision, "reason": reason, "rung": rung, "model_version": "v1",
        "rules_version": "none", "latency_us": 1000, "item_ids": [], "rungs": [], "rankers": [],
        "positions": [],
    }  # fmt: skip
    return Decided(at_us=day * DAY_US + 5, **{**told, **more})


def nothing(day=LAST, **more):
    return decision(day, "suppress", "one_for_all", "too_few_items", **more)


@pytest.fixture
def logged(tmp_path):
    """A home whose log of decisions has these lines, in files that begin at these moments."""

    def _logged(*decisions, name="20241004T000000.000000Z-w1.jsonl", torn=""):
        home = Home(tmp_path / "home")
        home.decisions.mkdir(parents=True, exist_ok=True)
        lines = [msgspec.json.encode(one).decode() for one in decisions]
        (home.decisions / name).write_text("\n".join([*lines, torn]))
        return home

    return _logged


def count(home, days=7, **shop):
    told = {**CONFIG, "shop": {**CONFIG["shop"], **shop}}
    return counted(Config.model_validate(told), home, days)


def table(counts, title):
    found = next(one for one in fallbacks.sections(counts) if one.title == title)
    return [dict(zip(found.head, row, strict=True)) for row in found.rows]


class TestShares:
    def test_of_ten_decisions_six_are_shown_three_fall_back_and_one_stays_empty(self, logged):
        lower = [decision(decision="fallback", rung="context", reason="no_opinion")] * 3
        counts = count(logged(*[decision()] * 6, *lower, nothing()))
        (row,) = table(counts, "What each placement got")
        assert row["decisions"] == "10"
        assert (row["shown"], row["fallback"], row["nothing"]) == ("60.0%", "30.0%", "10.0%")

    def test_each_placement_and_each_version_has_a_line_of_its_own(self, logged):
        home = logged(decision(), decision(placement="news"), nothing(placement="news"),
                      decision(model_version="v2"))  # fmt: skip
        by_place = table(count(home), "What each placement got")
        assert [(row["placement"], row["nothing"]) for row in by_place] == [
            ("home", "0.0%"), ("news", "50.0%"),
        ]  # fmt: skip
        by_version = table(count(home), "Model versions")
        assert [(row["version"], row["decisions"]) for row in by_version] == [
            ("v1", "3"), ("v2", "1"),
        ]  # fmt: skip

    def test_rungs_are_told_apart_and_what_fell_back_is_on_none(self, logged):
        counts = count(logged(decision(), decision(rung="context", reason="current_session"),
                              decision(decision="fallback", rung="context", reason="no_opinion"),
                              nothing()))  # fmt: skip
        assert table(counts, "How personal: home") == [
            {"got": got, "decisions": "1", "share": "25.0%"}
            for got in ("one-to-one", "context", "fallback", "nothing shown")
        ]

    def test_time_is_told_in_milliseconds(self, logged):
        counts = count(logged(*(decision(latency_us=1000 * n) for n in range(1, 102))))
        (row,) = table(counts, "What each placement got")
        assert (row["ms, half"], row["ms, 99 %"]) == ("51.0", "100.0")


class TestReasons:
    def test_only_what_is_below_one_to_one_has_a_reason_why(self, logged):
        refused = [decision(rung="one_for_all", reason="no_consent")] * 2
        counts = count(logged(decision(), *refused, decision(rung="segment", reason="limit")))
        rows = table(counts, "Why the rung was not higher")
        assert [(r["rung"], r["reason"], r["decisions"], r["share"]) for r in rows] == [
            ("one for all", "no_consent", "2", "50.0%"), ("segment", "limit", "1", "25.0%"),
        ]  # fmt: skip
        assert rows[0]["means"] == "they have not agreed to be known"

    def test_every_reason_of_the_policy_has_words(self):
        from training.policy import Reason

        assert {reason.name for reason in Reason} == set(WHY)

    def test_an_empty_feed_tells_what_emptied_it(self, logged):
        counts = count(logged(decision(), nothing()))
        (row,) = table(counts, "Nothing shown, by reason")
        assert (row["reason"], row["share"]) == ("too_few_items", "50.0%")


def test_items_are_counted_by_who_chose_them(logged):
    counts = count(logged(decision(rankers=["als", "als", "rules"]), decision(rankers=["als"])))
    rows = table(counts, "Who chose the items")
    assert [(r["ranker"], r["items"], r["share"]) for r in rows] == [
        ("als", "3", "75.0%"), ("rules", "1", "25.0%"),
    ]  # fmt: skip


class TestDays:
    def test_are_counted_back_from_the_newest_decision_where_the_clock_stands_still(self, logged):
        home = logged(*(decision(LAST - back) for back in (0, 1, 2, 30)))
        assert len(count(home, days=2).cells) == 2
        assert len(count(home, days=31).cells) == 4

    def test_end_today_where_the_clock_goes(self, logged):
        today = time.time_ns() // 1000 // DAY_US
        home = logged(decision(today), decision(today - 1), decision(LAST),
                      name="29990101T000000.000000Z-w1.jsonl")  # fmt: skip
        assert len(count(home, days=2, clock="now").cells) == 2

    def test_a_file_that_is_too_old_is_not_read_where_the_clock_goes(self, logged):
        today = time.time_ns() // 1000 // DAY_US
        home = logged(decision(today), name="20200101T000000.000000Z-w1.jsonl")
        with pytest.raises(ValueError, match="look further back"):
            count(home, clock="now")

    def test_without_any_decision_it_says_what_to_do(self, tmp_path):
        with pytest.raises(ValueError, match="feeds serve"):
            count(Home(tmp_path))


class TestAttention:
    def test_a_day_that_falls_back_more_than_the_days_before_is_told(self, logged):
        before = [decision(LAST - 1)] * 100
        lower = [decision(decision="fallback", rung="context", reason="no_opinion")] * 10
        counts = count(logged(*before, *[decision()] * 90, *lower))
        assert fallbacks.attention(counts) == [
            "home: fallback 10.0% on 2024-10-04, 0.0% in the days before"
        ]

    def test_a_day_like_the_others_or_of_few_decisions_is_not(self, logged):
        assert fallbacks.attention(count(logged(decision(LAST - 1), nothing()))) == []

    def test_lines_that_cannot_be_read_are_counted_and_told(self, logged):
        counts = count(logged(decision(), torn='{"decision_id": "d", "at_'))
        assert fallbacks.attention(counts) == [
            "lines of the log that cannot be read and are not counted: 1"
        ]

    def test_a_rung_that_there_is_not_makes_a_line_unreadable(self, logged):
        assert count(logged(decision(), decision(rung="telepathy"))).torn == 1


class TestCommand:
    def test_shows_tables_and_writes_a_page_with_a_picture_per_placement(self, run, shop, logged):
        home = logged(decision(), nothing(placement="<b>news</b>"))
        shop.config(CONFIG["sources"], **{k: v for k, v in CONFIG.items() if k != "sources"})
        call = ("report", "fallbacks", "-c", shop.base / "feeds.yaml", "--home", home.root)
        code, out, err = run(*call, "--days", 3)
        assert code == 0, err
        assert "What each placement got" in out
        page = (home.root / "reports" / "fallbacks.html").read_text()
        assert page.count("<svg") == 2
        assert "&lt;b&gt;news" in page
        assert "<b>news" not in page
        assert "2024-10-02 to 2024-10-04" in page

    def test_needs_decisions(self, run, shop):
        shop.config(CONFIG["sources"])
        code, _, err = run("report", "fallbacks", "-c", shop.base / "feeds.yaml")
        assert code == 1
        assert "no decision was logged" in err


def test_the_log_is_read_as_the_service_writes_it(tmp_path):
    """Whatever field a decision gains, the report reads what is written."""
    from serving.decisions import DecisionLog

    home = Home(tmp_path)
    log = DecisionLog(home.decisions, "w1")
    log.write(decision(rankers=["als"], arms={"purpose": "holdout"}))
    log.close()
    (cell,) = count(home).cells.values()
    assert cell.items() == {"als": 1}
    assert json.loads(next(home.decisions.iterdir()).read_text())["rankers"] == ["als"]
