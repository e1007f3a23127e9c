"""Which version is served, who said so, and what a scheduler may leave to `feeds retrain`."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from features.config import load_config
from features.drift import TooMuchChange
from features.home import Busy, Home
from features.reading import TooManyRejects
from training import promotion
from training.bundle import NoModel, open_bundle
from training.promotion import Overtaken, Word
from training.retraining import retrain
from training.tracking import Tracker

START = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = """
sources: {events: {path: events-*.jsonl}}
signals: {purchase: {weight: 5, had: true}, view: {weight: 1}}
training: {rankers: [popularity, neighbours], bootstrap_draws: 100}
"""


def events(days, people=24):
    """Every day everybody views and buys: the even ones even items, the odd ones odd items."""
    return [
        {"occurred_at": (START + timedelta(days=day, minutes=17 * person + step)).isoformat(),
         "event_type": kind, "item_id": f"i{(person % 2) + 2 * ((day + person + step) % 6)}",
         "user_id": f"p{person}"}
        for day in days for person in range(people)
        for step, kind in enumerate(("view", "purchase"))
    ]  # fmt: skip


def write(base, name, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (base / f"events-{name}.jsonl").write_text(text, encoding="utf-8")


class Shop:
    """A config, its log and its home."""

    def __init__(self, base):
        self.base, self.home = base, Home(base / ".feeds")

    @property
    def config(self):
        return load_config(self.base / "feeds.yaml")

    @property
    def tracker(self):
        return Tracker(self.home, self.config)

    def retrain(self):
        return retrain(self.config, self.base, self.home)

    def promote(self, version, word=None):
        return promotion.promote(self.config, self.home, version, word)

    def serving(self):
        """The pointer, which the alias has to agree with."""
        assert self.home.current() == f"v{self.tracker.champion()}"
        return self.home.current()

    def how(self):
        return [(reign.version, reign.how) for reign in promotion.reigns(self.home)]

    def add(self, name, rows):
        write(self.base, name, rows)

    def configure(self, old, new):
        path = self.base / "feeds.yaml"
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A shop whose first model `feeds retrain` has trained, judged and promoted."""
    made = Shop(tmp_path_factory.mktemp("first"))
    (made.base / "feeds.yaml").write_text(CONFIG)
    write(made.base, "1", events(range(40)))
    return made, made.retrain()


@pytest.fixture(scope="module")
def three(first):
    """The same with three registered versions, alike, of which nothing is served."""
    shop, _ = first
    made = Shop(shop.base.parent / "three")
    shutil.copytree(shop.base, made.base)
    for number in (2, 3):
        copy = made.home.scratch() / "copy"
        shutil.copytree(made.home.bundles / "v1", copy)
        assert made.tracker.record(copy, params={}, metrics={}, tags={}, plots={}) == number
        copy.rename(made.home.bundles / f"v{number}")
    made.home.pointer.unlink()
    made.home.champions.unlink()
    return made


@pytest.fixture(scope="module")
def newer(first):
    """The same, retrained with three days more."""
    made = Shop(first[0].base.parent / "newer")
    shutil.copytree(first[0].base, made.base)
    made.add("2", events(range(40, 43)))
    return made, made.retrain()


@pytest.fixture
def again(first, tmp_path):
    """A copy of the first shop, to be spoilt."""
    shutil.copytree(first[0].base, tmp_path / "shop")
    return Shop(tmp_path / "shop")


@pytest.fixture
def shop(three, tmp_path):
    """A copy of the shop with three versions."""
    shutil.copytree(three.base, tmp_path / "shop")
    return Shop(tmp_path / "shop")


class TestTheRecord:
    def test_says_who_was_champion_from_when_to_when_and_by_whose_word(self, shop, monkeypatch):
        monkeypatch.setenv("FEEDS_BY", "ada")
        shop.promote("v1", Word("gate"))
        shop.promote("v2", Word("force", "the sale starts today"))
        one, two = promotion.reigns(shop.home)
        assert (one.version, one.how, one.by) == ("v1", "gate", "ada")
        assert one.until == two.since
        assert (two.version, two.how, two.why, two.until) == (
            "v2", "force", "the sale starts today", None,
        )  # fmt: skip

    def test_only_grows(self, shop):
        shop.promote("v1")
        before = shop.home.champions.read_bytes()
        shop.promote("v2")
        assert shop.home.champions.read_bytes().startswith(before)

    def test_has_no_line_where_nothing_changes(self, shop):
        shop.promote("v1")
        shop.promote("v1")
        assert shop.how() == [("v1", "unjudged")]

    def test_survives_a_line_that_a_crash_cut_short(self, shop):
        shop.promote("v1")
        with shop.home.champions.open("a") as record:
            record.write('{"version": "v2", "sin')
        shop.promote("v3")
        assert shop.how() == [("v1", "unjudged"), ("v3", "unjudged")]

    def test_names_a_version_that_came_to_serve_by_another_way(self, shop):
        shop.promote("v1")
        shop.home.pointer.write_text("v2\n")
        done = shop.promote("v3")
        assert "CURRENT named v2, the alias v1" in done.repaired
        assert shop.how() == [("v1", "unjudged"), ("v2", "found"), ("v3", "unjudged")]

    def test_wants_a_reason_for_force(self):
        with pytest.raises(ValueError, match="--why"):
            Word("force", " ")


class TestGoingBack:
    def test_goes_one_champion_further_each_time(self, shop):
        for version in ("v1", "v2", "v3"):
            shop.promote(version)
        assert [promotion.back(shop.config, shop.home).version for _ in range(2)] == ["v2", "v1"]
        assert shop.serving() == "v1"
        assert shop.how()[-2:] == [("v2", "back"), ("v1", "back")]

    def test_leaves_out_a_version_that_is_gone_and_says_so(self, shop):
        for version in ("v1", "v2", "v3"):
            shop.promote(version)
        shutil.rmtree(shop.home.bundles / "v2")
        shop.tracker.connect().delete_model_version("feeds", "2")
        done = promotion.back(shop.config, shop.home)
        assert (done.version, shop.serving()) == ("v1", "v1")
        assert "no model v2 is registered" in done.gone[0]

    def test_is_refused_where_nothing_was_before(self, shop):
        shop.promote("v1")
        with pytest.raises(NoModel, match="no champion before"):
            promotion.back(shop.config, shop.home)
        assert shop.serving() == "v1"


class TestWithdrawn:
    def test_is_whom_somebody_went_back_from_or_forced_another_upon(self, shop):
        shop.promote("v1", Word("gate"))
        shop.promote("v2", Word("gate"))
        assert promotion.withdrawn(shop.home) == set()  # v1 was followed, not withdrawn
        shop.promote("v3", Word("force", "the sale starts today"))
        assert promotion.withdrawn(shop.home) == {"v2"}
        promotion.back(shop.config, shop.home)
        assert promotion.withdrawn(shop.home) == {"v3"}  # v2 serves again


class TestAChampionThatChangesWhileANewOneIsJudged:
    def test_stops_the_promotion(self, shop):
        shop.promote("v1")

        def meanwhile(_what, _share):
            shop.promote("v2", Word("force", "the sale starts today"))

        with pytest.raises(Overtaken, match=r"v3 was judged against v1.* v2 serves.*run it again"):
            promotion.promote_if_it_passes(shop.config, shop.home, "v3", progress=meanwhile)
        assert shop.serving() == "v2"
        assert shop.how() == [("v1", "unjudged"), ("v2", "force")]

    @pytest.mark.parametrize("expected", [None, "v2"])
    def test_is_told_from_the_one_that_was_expected(self, shop, expected):
        shop.promote("v1")
        with pytest.raises(Overtaken):
            promotion.promote(shop.config, shop.home, "v3", expected=expected)
        promotion.promote(shop.config, shop.home, "v3", expected="v1")
        assert shop.serving() == "v3"


class TestTheCommand:
    def test_asks_the_gate_and_serves_what_passes(self, run, shop):
        code, told, _ = run("promote", "-c", shop.base / "feeds.yaml", "v3")
        assert code == 0
        assert "recent popularity" in told
        assert shop.serving() == "v3"
        assert shop.how() == [("v3", "gate")]

    def test_exits_with_1_and_moves_nothing_when_the_gate_refuses(self, run, shop):
        shop.promote("v1")
        shop.configure("weight: 1}", "weight: 2}")
        code, told, err = run("promote", "-c", shop.base / "feeds.yaml", "v3")
        assert code == 1
        assert "`signals` changed since" in told
        assert "v3 is refused; serving: v1" in err
        assert shop.serving() == "v1"

    def test_forces_with_a_reason(self, run, shop):
        shop.configure("weight: 1}", "weight: 2}")
        code, _, _ = run(
            "promote", "-c", shop.base / "feeds.yaml", "v2", "--force", "--why", "a demo at noon"
        )
        assert code == 0
        assert promotion.reigns(shop.home)[-1].why == "a demo at noon"

    def test_goes_back(self, run, shop):
        shop.promote("v1")
        shop.promote("v2")
        code, told, _ = run("promote", "-c", shop.base / "feeds.yaml", "--back")
        assert (code, shop.serving()) == (0, "v1")
        assert "serving v1, before: v2" in told

    @pytest.mark.parametrize(
        "words", [["--force"], ["--why", "x"], ["--force", "--why", " "], ["--back", "v1"],
                  ["--back", "--force", "--why", "x"]],
    )  # fmt: skip
    def test_called_wrongly_exits_with_2(self, run, three, words):
        code, _, _ = run("promote", "-c", three.base / "feeds.yaml", *words)
        assert code == 2
        assert three.home.current() is None


class TestRetraining:
    def test_trains_judges_and_promotes_the_first_model(self, first):
        shop, done = first
        assert done.judged.verdict.passed
        assert done.sentence.endswith("serving: v1, before: nothing")
        assert (shop.serving(), shop.how()) == ("v1", [("v1", "retrain")])

    def test_does_nothing_where_nothing_is_new(self, run, first):
        shop, _ = first
        code, told, _ = run("retrain", "-c", shop.base / "feeds.yaml")
        assert code == 0
        assert "nothing new: v1 was made from the log up to 2026-02-09" in told
        assert shop.tracker.versions() == [1]

    def test_brings_new_data_into_service(self, newer):
        shop, done = newer
        assert (shop.serving(), shop.how()[-1]) == ("v2", ("v2", "retrain"))
        assert open_bundle(shop.home, "champion").manifest["as_of"].startswith("2026-02-12")
        assert "before: v1" in done.sentence

    def test_leaves_what_was_withdrawn_withdrawn_until_the_data_change(self, run, newer, tmp_path):
        shutil.copytree(newer[0].base, tmp_path / "shop")
        again = Shop(tmp_path / "shop")
        promotion.back(again.config, again.home)
        code, told, _ = run("retrain", "-c", again.base / "feeds.yaml")
        assert code == 0
        assert "v2 was withdrawn" in told
        assert (again.serving(), again.tracker.versions()) == ("v1", [1, 2])
        again.add("3", events(range(43, 44)))
        assert again.retrain().judged.version == "v3"
        assert again.serving() == "v3"

    def test_judges_what_was_trained_before_and_trains_it_no_more(self, first, tmp_path):
        shutil.copytree(first[0].base, tmp_path / "shop")
        shop = Shop(tmp_path / "shop")
        shop.home.pointer.unlink()
        done = shop.retrain()
        assert done.trained is None
        assert (shop.serving(), shop.tracker.versions()) == ("v1", [1])

    def test_too_many_rejects_leave_the_champion_serving(self, run, again):
        again.add("2", [{"occurred_at": "yesterday", "event_type": "view"}] * 900)
        with pytest.raises(TooManyRejects):
            again.retrain()
        code, _, err = run("retrain", "-c", again.base / "feeds.yaml")
        assert code == 1
        assert "rejects.parquet" in err
        assert (again.serving(), again.tracker.versions()) == ("v1", [1])

    def test_a_log_that_moved_too_far_leaves_the_champion_serving(self, again):
        again.add("1", events(range(40), people=4))
        with pytest.raises(TooMuchChange, match=r"bounds\.volume_drop"):
            again.retrain()
        assert (again.serving(), again.tracker.versions()) == ("v1", [1])

    def test_a_training_that_fails_leaves_the_champion_serving(self, again):
        again.configure("bootstrap_draws: 100", "test_days: 400")
        with pytest.raises(ValueError, match="test_days"):
            again.retrain()
        assert (again.serving(), again.tracker.versions()) == ("v1", [1])

    def test_a_refusal_leaves_the_champion_serving_and_exits_with_1(self, run, again):
        again.configure("[popularity, neighbours]", "[popularity]")
        code, told, _ = run("retrain", "-c", again.base / "feeds.yaml")
        assert code == 1
        assert "v2 was trained from the log up to 2026-02-09" in told
        assert told.strip().endswith("refused; serving: v1, as before")
        assert (again.serving(), again.how()) == ("v1", [("v1", "retrain")])

    def test_a_second_one_at_the_same_time_says_so(self, again):
        with (
            again.home.locked("retrain.lock"),
            pytest.raises(Busy, match="another `feeds retrain`"),
        ):
            again.retrain()
        assert again.serving() == "v1"
