"""`feeds report uplift`: what it says of experiments whose answers are plain to see."""

from __future__ import annotations

from html.parser import HTMLParser

import logged
import pytest
from logged import did
from test_online_evidence import RUNG, crowd

from command import evidence as of_evidence
from command import heat
from command.uplift import headline, told, write_page
from features.experiments import Experiment, assign
from features.types import to_us
from training.evaluation.experiment_log import readings

LOUD = "<b>big & loud</b>"


@pytest.fixture
def tell(tmp_path):
    """What is said of the one experiment of a log."""

    def _tell(rows, experiment=RUNG, days=14, **parts):
        world = logged.world(tmp_path, list(rows), logged.config(experiment, **parts))
        return told(world, world.config.experiments[0], days)

    return _tell


def section(found, title):
    return next(one for one in found.sections if one.title.startswith(title))


class TestWords:
    def test_a_clear_gain_is_a_sentence_with_its_numbers(self, tell):
        found = tell(crowd(RUNG, {"less": 2}))
        assert found.mood == "better"
        assert found.says == [
            "less does better than usual: 3.90 clicks a person in 14 days against 2.03, +1.87 "
            "(95 % +1.65 to +2.09), or +92.1%."
        ]
        assert found.more[0] == (
            "less (50.0%: feeds up to segment); usual (50.0%: what everybody gets). On all "
            "placements. All are compared with usual."
        )
        assert "as many people as planned" in found.more[-1]

    def test_its_mirror_is_worse_and_no_difference_open(self, tell):
        assert tell(crowd(RUNG, {"usual": 2})).mood == "worse"
        found = tell(crowd(RUNG, {}))
        assert found.mood == "open"
        assert found.says[0].startswith("Whether less beats usual is open: 1.90 clicks")

    def test_few_people_are_too_early(self, tell):
        found = tell(crowd(RUNG, {}, people=60))
        assert "Too early to compare less with usual: it takes 50 people in each" in found.says[0]

    def test_arms_that_are_not_alike_cannot_be_told_apart(self, tell):
        dealt = Experiment(**RUNG)
        kept = [
            row
            for row in crowd(RUNG, {"less": 2})
            if assign(dealt, row["who"][2:]) == "usual" or row["who"][-1] not in "123"
        ]
        found = tell(kept)
        assert found.mood == "worse"
        assert "cannot be told" in found.says[0]
        assert "Sample ratio mismatch" in found.more[-1]

    def test_before_any_window_is_over_it_says_when_the_first_will_be(self, tell):
        found = tell([did("u:ann", 12), did("u:bob", 20)])
        assert found.says == ["Nobody's 14 days are over yet; the first person's will be on "
                              "2026-03-27."]  # fmt: skip
        assert found.sections == []
        assert "2 people whose 14 days are not over yet" in found.left.notes

    @pytest.mark.parametrize(
        ("about", "says"),
        [({"starts": "2026-08-01T00:00:00Z"}, "It begins on 2026-08-01; the log ends on 2026-04"),
         ({"ends": "2026-03-19T00:00:00Z"}, "runs for less than 14 days"),
         ({"starts": "2020-01-01T00:00:00Z", "ends": "2020-03-01T00:00:00Z"}, "too late")],
    )  # fmt: skip
    def test_without_a_reading_it_says_why(self, tell, about, says):
        (said,) = tell([did("u:ann", 12), did("u:last", 60)], {**RUNG, **about}).says
        assert says in said

    def test_it_says_who_counts_and_what_does_not(self, tell):
        rows = [did("s:1", 12), did("u:ann", 12), did("u:last", 60)]
        found = tell(rows)
        assert "everybody who came" in section(found, "People").about
        assert "1 known by one visit only: no arm can be dealt to them" in found.left.notes
        shown = [*rows, did("u:ann", 13, "shown")]
        again = tell(shown, impressions=["shown"])
        assert "people who were shown something (shown)" in section(again, "People").about


class TestSections:
    def test_the_table_has_both_arms_line_by_line(self, tell):
        (row,) = section(tell(crowd(RUNG, {"less": 2})), "What it shows").rows
        assert row[0] == "less\nover usual"
        assert sum(int(n) for n in row[1].split("\n")) == 500
        assert row[5] == "better"

    def test_day_by_day_ends_with_what_it_comes_to(self, tell):
        found = tell(crowd(RUNG, {"less": 2}))
        (whole,) = section(found, "What it shows").rows
        last = section(found, "Day by day").rows[-1]
        assert (last[1], f"{last[2]}\n{last[3]}") == ("500", whole[3])

    def test_people_are_beside_what_was_planned(self, tell):
        rows = section(tell(crowd(RUNG, {})), "People").rows
        assert [(arm, due) for arm, _, due in rows] == [("less", "250"), ("usual", "250")]
        assert sum(int(n) for _, n, _ in rows) == 500

    def test_a_holdout_is_told_by_quarters_the_newest_that_can_be_compared_first(self, tmp_path):
        holdout = {"name": "purpose", "holdout": 0.5}
        rows = [*crowd(holdout, {"usual": 2}), *(did(f"u:p{n}", 50) for n in range(20)),
                did("u:last", 100)]  # fmt: skip
        world = logged.world(tmp_path, rows, logged.config(holdout))
        found = readings(world, world.config.experiments[0])
        assert len(found[0].observed) == 500
        assert len(found[1].observed) < 50
        assert headline(found) is found[0]
        quarters = section(told(world, world.config.experiments[0], 14), "Quarter by quarter")
        assert [(row[0], row[5]) for row in quarters.rows] == [
            ("2026-03-12", "better"), ("2026-04-01", "open")]  # fmt: skip


class Read(HTMLParser):
    """Every tag and target of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.fetches = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.fetches += [v for k, v in attrs if k in ("src", "href", "xlink:href")]


class TestPage:
    @pytest.fixture
    def page(self, tell, tmp_path):
        def _page(shop="the shop"):
            found = [tell(crowd(RUNG, {"less": 2}))]
            target = tmp_path / "uplift.html"
            return found, write_page(found, shop, to_us(logged.START), target).read_text("utf-8")

        return _page

    def test_has_the_verdict_and_needs_nothing_else(self, page):
        (found,), text = page()
        assert f"<strong>{found.says[0]}</strong>" in text
        read = Read(text)
        assert not read.tags & {"script", "link", "img", "iframe"}
        assert all(target.startswith("#") for target in read.fetches)
        assert text == page()[1]

    def test_shows_text_of_the_shop_as_text(self, page):
        _, text = page(LOUD)
        assert LOUD not in text
        assert "&lt;b&gt;big &amp; loud" in text


class TestCommand:
    def test_without_an_experiment_it_says_what_to_write(self, run, shop):
        shop.config({"events": {"path": "none.csv"}})
        code, _, err = run("report", "uplift", "-c", shop.base / "feeds.yaml")
        assert code == 1
        assert "- {name: purpose, holdout: 0.05}" in err

    def test_days_go_with_uplift_only(self, run):
        code, _, err = run("report", "data", "--days", "7")
        assert code == 2
        assert "report uplift" in err

    def test_tells_here_and_on_the_page(self, run, shop):
        rows = [{"occurred_at": "2026-03-01T10:00:00Z", "event_type": "view", "item_id": "i",
                 "user_id": "ann"},
                {"occurred_at": "2026-03-05T10:00:00Z", "event_type": "view", "item_id": "i",
                 "user_id": "bob"}]  # fmt: skip
        shop.config({"events": shop.file("events.parquet", rows)},
                    experiments=[{"name": "purpose", "holdout": 0.05}])  # fmt: skip
        call = ("report", "uplift", "-c", shop.base / "feeds.yaml", "--home", shop.home.root)
        code, out, _ = run(*call)
        page = (shop.home.root / "reports" / "uplift.html").read_text("utf-8")
        assert code == 0
        says = "Nobody's 14 days are over yet; the first person's will be on 2026-03-15."
        assert says in " ".join(out.split())
        assert says.replace("'", "&#39;") in page
        assert "Too early" in " ".join(run(*call, "--days", "3")[1].split())


class TestInTheReportOfEvidence:
    def test_a_cell_that_an_experiment_decided_is_marked(self):
        from test_evidence_report import PAYS, SAME, cell, evidence

        online = cell("garden", "lapsed", rests_on="online")
        (panel,), _ = heat.panels(evidence(PAYS, SAME, online))
        words = {tile.rung for _, row in panel.rows for tile in row if tile}
        assert words == {"context", "one for all", f"context {heat.ONLINE}"}
        (sentence,) = of_evidence.by_experiment(evidence(PAYS, SAME, online))
        assert sentence.startswith("1 of 3 cells rest on an experiment")
        assert of_evidence.by_experiment(evidence(PAYS)) == []
