"""`feeds report evidence`: what it says of evidence whose answers are plain to see."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from command import heat
from command.evidence import bottom, cells, fading, ladder, write_page
from command.heat import Scale
from training.evaluation.evidence import Evidence, Gain, Weighed

BOLD = "<b>big & loud</b>"
SAYS = "Personalising products pays where the table says climb: +0.2000 ndcg@20."


def gain(rung, over, mean, verdict):
    return Gain(rung, over, mean, mean - 0.05, mean + 0.05, verdict)


def later(mean, wide=0.05):
    return {"requests": 50, "people": 40, "gain": mean, "low": mean - wide, "high": mean + wide,
            "plain": mean, "plain_low": mean - wide, "plain_high": mean + wide}  # fmt: skip


def cell(segment, stage, rung="context", mean=0.2, visit="browsing", **more):
    """A cell of products on the site: context gains 0.2, no other rung anything."""
    gains = [gain("context", "one_for_all", 0.2, "climb"),
             gain("segment", "context", -0.1, "stay"),
             gain("one_to_one", "context", 0.0, "unknown")]  # fmt: skip
    about = {"rests_on": "offline", "requests": 60, "people": 50, "gains": gains,
             "later": later(mean)}  # fmt: skip
    parts = {"kind": "product", "channel": "site", "visit": visit, "stage": stage}
    return Weighed(**parts, segment=segment, rung=rung, **about | more)


PAYS = cell("garden", "new", mean=0.2)
OPEN = cell(BOLD, "new", mean=0.01, requests=70)
LOSES = cell("garden", "lapsed", mean=-0.2)
SAME = cell("unknown", "unknown", rung="one_for_all", mean=0.004)
NOT_ASKED = cell("late", "lapsed", later=None)
SMALL = cell("late", "new", people=3, requests=4)
ABOVE = cell(None, None)


def evidence(*weighed, **more):
    bottom_line = {
        "kind": "product", "requests": 500, "feeds_a_month": 1234, "ndcg_never": 0.1,
        "ndcg_always": 0.25, "ndcg_by_evidence": 0.3, "less_personal": 0.4, "could": 0.9,
        "over_never": {"mean": 0.2, "low": 0.15, "high": 0.25},
        "over_always": {"mean": 0.05, "low": 0.01, "high": 0.09}, "says": SAYS,
    }  # fmt: skip
    periods = [
        {"from": f"2024-06-0{day}T00:00:00+00:00", "kind": "product", "rung": "context",
         "requests": 250, "mean": mean, "low": mean - 0.02, "high": mean + 0.02}
        for day, mean in ((1, 0.3), (4, 0.2), (7, 0.1))
    ]  # fmt: skip
    found = Evidence("ndcg@20", "parent", 0.0, [ABOVE, *weighed], "2024-06-04T12:00:00+00:00",
                     periods, [bottom_line])  # fmt: skip
    return replace(found, **more)


ALL = (PAYS, OPEN, LOSES, SAME, NOT_ASKED, SMALL)


def tiles(*weighed):
    """(segment, stage) -> tile, of a map with one panel."""
    (panel,), _ = heat.panels(evidence(*weighed))
    return {
        (segment, stage): tile
        for segment, row in panel.rows
        for stage, tile in zip(panel.stages, row, strict=True)
    }


class TestMap:
    def test_shows_the_gain_of_what_is_served(self):
        found = tiles(*ALL)
        assert (found["garden", "new"].rung, found["garden", "new"].gain) == ("context", "+0.200")
        assert found["garden", "new"].tone == "more"
        assert (found["garden", "lapsed"].tone, found["garden", "lapsed"].gain) == (
            "less", "-0.200")  # fmt: skip

    def test_is_blank_where_nobody_asked_and_pale_where_nobody_asked_later(self):
        found = tiles(*ALL)
        assert found["in no segment", "new"] is None
        assert found["late", "lapsed"].tone == "none"
        assert found["late", "lapsed"].gain == "not asked later"

    def test_marks_what_may_be_chance(self):
        assert tiles(*ALL)[BOLD, "new"].tone == "open"
        assert tiles(*ALL)[BOLD, "new"].gain == "+0.010 open"

    def test_one_feed_for_all_gains_nothing_over_itself(self):
        tile = tiles(*ALL)["in no segment", "not known"]
        assert (tile.rung, tile.gain, tile.tone) == ("one for all", "", "same")

    def test_who_has_just_come_has_no_context_and_is_served_one_feed_for_all(self):
        arriving = cell("garden", "new", visit="arriving")
        assert heat.rung(arriving) == 0
        assert [one.rung for one in heat.gains(arriving)] == ["segment", "one_to_one"]
        assert heat.over(arriving, arriving.gains[1]) == "one for all"
        assert heat.over(PAYS, PAYS.gains[1]) == "context"

    def test_the_most_gain_has_the_most_colour(self):
        found = tiles(cell("a", "new", mean=0.4), cell("b", "new", mean=0.1))
        assert found["a", "new"].much == 1.0
        assert found["b", "new"].much == 0.25

    def test_the_unknown_come_last_and_stages_in_the_order_of_life(self):
        (panel,), _ = heat.panels(evidence(*reversed(ALL)))
        assert panel.stages == ["new", "lapsed", "not known"]
        assert [name for name, _ in panel.rows][-1] == "in no segment"

    def test_a_panel_of_few_people_is_only_told(self):
        few = replace(ABOVE, channel="email", people=7)
        panels, told = heat.panels(evidence(PAYS, few))
        assert [one.title for one in panels] == ["Products, site, browsing"]
        assert told == ["Products, email, browsing: only 7 people"]


class TestWords:
    @pytest.mark.parametrize(
        ("rung", "rests_on", "verdict"),
        [("context", "offline", "climb"), ("segment", "offline", "stay"),
         ("one_to_one", "offline", "unknown"), ("one_for_all", "offline", "unknown"),
         ("segment", "online", "climb"), ("one_for_all", "online", "stay")],
    )  # fmt: skip
    def test_a_verdict_is_of_what_is_served(self, rung, rests_on, verdict):
        assert heat.verdict(cell("a", "new", rung=rung, rests_on=rests_on)) == verdict

    @pytest.mark.parametrize(
        ("top", "written"), [(0.4, "+0.123"), (4, "+0.12"), (400, "+0.1"), (0.004, "+0.12346")]
    )
    def test_gains_are_written_to_a_hundredth_of_the_largest(self, top, written):
        assert Scale("EUR a feed", top).text(0.123456) == written
        assert Scale("EUR a feed", top).text(-1e-9) == written.translate(
            str.maketrans("123456", "000000"))  # fmt: skip


class TestSections:
    def test_the_bottom_line_sets_by_evidence_beside_never_and_always(self):
        (row,) = bottom(evidence(), Scale("ndcg@20", 0.2)).rows
        assert row[:5] == ("products", "1,234", "0.100", "0.300", "0.250")
        assert row[5].split() == ["+0.200", "+0.150", "to", "+0.250"]
        assert row[6].split() == ["+0.050", "+0.010", "to", "+0.090"]
        assert row[7] == "40.0%"

    def test_cells_come_by_traffic_and_the_small_ones_are_counted(self):
        section = cells(evidence(*ALL), Scale("ndcg@20", 0.2), 30)
        assert section.rows[0][4] == BOLD
        assert section.rows[0][8].startswith("+0.010 open\n")
        assert "0, the same feed" in [row[8] for row in section.rows]
        assert len(section.rows) == 5
        assert section.notes == [
            "cells of fewer than 30 people each: 1, with 4 of 314 requests"]  # fmt: skip

    def test_the_ladder_tells_each_step_and_over_what(self):
        section = ladder(evidence(PAYS), "product", Scale("ndcg@20", 0.2))
        assert [row[:2] for row in section.rows] == [
            ("context over one for all\nbrowsing, site", "climb"),
            ("segment over context\nbrowsing, site", "stay"),
            ("one-to-one over context\nbrowsing, site", "unknown"),
        ]

    @pytest.mark.parametrize(
        ("means", "words"), [((0.3, 0.1), "less in"), ((0.1, 0.3), "more in"),
                             ((0.2, 0.21), "no clear change")],
    )  # fmt: skip
    def test_a_gain_fades_when_the_intervals_part(self, means, words):
        periods = [one | {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}
                   for one, mean in zip(evidence().periods[::2], means, strict=True)]  # fmt: skip
        section = fading(evidence(periods=periods), "product", Scale("ndcg@20", 0.2))
        assert section.notes[0].startswith(f"context: {words}")


class Cells(HTMLParser):
    """Classes and text of the data cells in the heat maps, and every tag and target."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.fetches, self.tiles, self._open = set(), [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.tags.add(tag)
        self.fetches += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag == "td":
            self._open = any(word in ("tile", "blank") for word in about.get("class", "").split())
            self.tiles += [[about["class"], ""]] if self._open else []

    def handle_data(self, text):
        if self._open:
            self.tiles[-1][1] += text.strip()

    def handle_endtag(self, tag):
        self._open = self._open and tag != "td"


@pytest.fixture
def page(tmp_path):
    """The page of evidence, as text."""

    def _page(found, shop="the shop"):
        return write_page(found, shop, "v3", tmp_path / "evidence.html").read_text("utf-8")

    return _page


class TestPage:
    def test_begins_with_the_bottom_line_and_has_every_cell(self, page):
        text = page(evidence(*ALL))
        assert f"<strong>{SAYS}</strong>" in text
        assert "is better than always serving the most personal feed" in text
        found = Cells(text).tiles
        assert ["tile more", "context+0.200"] in found
        assert ["tile open", "context+0.010 open"] in found
        assert ["tile none", "contextnot asked later"] in found
        assert found.count(["blank", ""]) == 12 - len(ALL)

    def test_shows_text_of_the_shop_as_text(self, page):
        text = page(evidence(*ALL), BOLD)
        assert BOLD not in text
        assert text.count("&lt;b&gt;big &amp; loud&lt;/b&gt;") >= 4

    def test_needs_nothing_else_and_is_the_same_every_time(self, page):
        text = page(evidence(*ALL))
        read = Cells(text)
        assert not read.tags & {"script", "link", "img", "iframe", "object"}
        assert all(target.startswith("#") for target in read.fetches)
        assert not re.search(r"@import|url\((?!#)", text)
        assert page(evidence(*ALL)) == text

    def test_says_what_is_served_where_the_verdict_is_unknown(self, page):
        assert "serves the less personal feed" in page(evidence(PAYS, on_unknown="stay"))
        assert "serves what the larger group says" in page(evidence(PAYS))


class TestCommand:
    def test_tells_the_same_here_and_on_the_page(self, trained, run):
        manifest = json.loads((trained.home.bundles / "v1" / "manifest.json").read_text())
        told = manifest["evidence"]
        assert not isinstance(told, str), told
        code, out, _ = run("report", "evidence", "-c", trained.path)
        page = trained.home.root / "reports" / "evidence.html"
        assert code == 0
        assert str(page) in out.replace("\n", "")
        for line in told["bottom"]:
            assert line["says"] in " ".join(out.split())
            assert line["says"] in page.read_text("utf-8")

    def test_without_evidence_says_why_and_what_to_do(self, trained, run, tmp_path):
        bare = _with_evidence(trained.home, tmp_path, "evidence: nobody asked for anything")
        code, _, err = run("report", "evidence", "-c", trained.path, "--home", bare)
        assert code == 1
        assert "model v1 has no evidence: nobody asked for anything." in " ".join(err.split())
        assert "feeds train" in err

    def test_a_model_goes_with_evidence_only(self, trained, run):
        code, _, err = run("report", "data", "-c", trained.path, "--model", "v1")
        assert code == 2
        assert "report evidence" in err


def _with_evidence(home, base, told):
    """A copy of the home's first bundle with another word on its evidence."""
    shutil.copytree(home.bundles / "v1", base / "bundles" / "v1")
    manifest = base / "bundles" / "v1" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"evidence": told}))
    return base
