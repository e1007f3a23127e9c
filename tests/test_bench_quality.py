"""The quality benchmark asks everybody the same, keeps the future hidden and counts fairly."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml

from benchmarks.quality import report
from benchmarks.quality.compare import Rules, compare, summarise
from benchmarks.quality.field import Entry, Field
from benchmarks.quality.moments import Moment
from benchmarks.quality.others import Replay, leave_one_out
from benchmarks.quality.peers.base import SIZE, best, filled, user_items
from benchmarks.quality.peers.implicit_library import ALS, BM25, COSINE
from benchmarks.quality.peers.popular import Newest, Popularity, RepeatThenPopular
from benchmarks.quality.peers.two_stage import fit_ease
from benchmarks.quality.tuning import search, shown
from features.build import build
from features.config import load_config
from features.home import Home
from features.types import DAY_US, Ragged, to_us
from training.past import Past
from training.policy import kept_away
from training.slices import World

START = datetime(2026, 1, 1, tzinfo=UTC)
CUT_US = to_us(START + timedelta(days=20))
CONFIG = {
    "sources": {"events": {"path": "log.csv", "columns": {
        "occurred_at": "occurred_at", "event_type": "'view'", "item_id": "item",
        "user_id": "person", "session_id": "visit"}},
        "items": {"derive_from": "events", "columns": {"kind": "'article'"}}},
    "signals": {"view": {"weight": 1, "half_life_days": 10}},
    "repeat": {"article": "allow"}, "objective": "clicks",
    "training": {"test_days": 10},
}  # fmt: skip
# person, item, hour: two tastes, a to d and p to s; days 20 to 30 are asked about
PAST = [(f"u{n}", item, 24 * day + n) for n in range(8)
        for day, item in enumerate("abcd" if n < 4 else "pqrs")]  # fmt: skip
LATER = [("u0", "a", 500), ("u0", "x", 501), ("u0", "b", 502), ("u0", "c", 503),
         ("u5", "x", 510), ("u9", "p", 600), ("u9", "q", 601), ("u1", "x", 720)]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    base = tmp_path_factory.mktemp("quality")
    lines = [f"{p},{i},{START + timedelta(hours=h)},{p}-{h // 24}" for p, i, h in PAST + LATER]
    (base / "log.csv").write_text("\n".join(["person,item,occurred_at,visit", *lines]))
    (base / "feeds.yaml").write_text(yaml.safe_dump(CONFIG))
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    return World.of(config, build(config, base, home), home)


@pytest.fixture(scope="module")
def moment(world: World) -> Moment:
    log = world.features.timelines.where(world.features.timelines.occurred_us < CUT_US)
    past = Past.plain(log, CUT_US, world.config.signals, world.items)
    return Moment(world, CUT_US, CUT_US + 11 * DAY_US, past)


def names(world, items):
    return [world.features.items.text(int(i)) for i in items if i >= 0]


class TestOrdering:
    def test_the_best_come_first_equal_ones_in_catalogue_order(self):
        assert best(np.array([[1, 3, 1, 2]], np.float32), Ragged.of([[]]), 4).tolist() == [
            [1, 3, 0, 2]
        ]

    def test_what_is_kept_away_or_without_opinion_is_not_shown(self):
        scores = np.array([[np.nan, 3, 1, 2]], np.float32)
        assert best(scores, Ragged.of([[1]]), 4).tolist() == [[3, 2, -1, -1]]

    def test_a_small_catalogue_makes_a_short_feed(self):
        assert best(np.array([[1.0]], np.float32), Ragged.of([[]]), 3).tolist() == [[0, -1, -1]]

    def test_a_short_feed_is_filled_without_showing_anything_twice(self):
        feeds, rest = np.array([[4, 2, -1, -1]], np.int32), np.array([[2, 7, 4, 1]], np.int32)
        assert filled(feeds, rest).tolist() == [[4, 2, 7, 1]]


class TestWhatIsAsked:
    def test_a_session_is_a_visit_after_the_cut_and_its_second_half_is_wanted(self, world, moment):
        task = moment.tasks["session"]
        found = {
            tuple(names(world, task.people.queries.take(np.array([row])).histories.items)): sorted(
                names(world, task.truth.row(row))
            )
            for row in range(len(task.people))
        }
        assert found == {("a", "x"): ["b", "c"], ("p",): ["q"]}

    def test_nobody_in_a_session_is_known(self, moment):
        assert (moment.tasks["session"].people.queries.session_start == 0).all()

    def test_people_with_a_past_are_asked_what_they_do_next(self, world, moment):
        truth = moment.tasks["all"].truth
        assert sorted(names(world, truth.values)) == list("abcxxx")

    def test_the_slice_before_ends_where_this_one_begins(self, moment):
        earlier = moment.earlier()
        assert earlier.until_us == moment.cut_us
        assert earlier.until_us - earlier.cut_us == moment.until_us - moment.cut_us


class TestReplay:
    def test_a_request_is_the_first_reading_and_knows_what_was_strictly_before_it(
        self, world, moment
    ):
        replay = Replay.of(moment)
        wanted = names(world, replay.task.truth.values)
        assert wanted == ["x", "x", "p", "q", "x"]
        histories = replay.task.people.queries.histories
        known = [names(world, histories.take(np.array([row])).items) for row in range(len(wanted))]
        assert known == [
            [*"abcd", "a"], [*"pqrs"], [], ["p"], [*"abcd"]
        ]  # fmt: skip
        assert (histories.ages_days > 0).all()

    def test_live_popularity_has_counted_every_click_until_then_and_none_after(self, world, moment):
        replay = Replay.of(moment)
        feeds = replay.live(0.5)
        assert "x" not in names(world, feeds[0])  # nobody had read it
        assert names(world, feeds[1])[:4] == ["c", "b", "x", "a"]  # an hour each apart
        assert names(world, feeds[2])[0] == "x"

    def test_newest_first_goes_by_the_first_reading(self, world, moment):
        assert names(world, Replay.of(moment).live(None)[2])[0] == "x"

    def test_every_request_belongs_to_one_night_that_ends_before_it(self, moment):
        replay = Replay.of(moment)
        nights = list(replay.nights())
        assert sorted(np.concatenate([rows for _, rows in nights])) == [0, 1, 2, 3, 4]
        for night, rows in nights:
            assert (replay.at_us[rows] >= night.cut_us).all()
            assert (replay.at_us[rows] < night.cut_us + DAY_US).all()


class TestPeers:
    @pytest.mark.parametrize("peer", [ALS, BM25, COSINE], ids=lambda peer: peer.name)
    def test_the_library_recommends_within_the_taste(self, world, moment, peer):
        settings = dict(peer.firsts[0]) | ({"factors": 4} if peer is ALS else {})
        task = moment.tasks["session"]
        feeds = peer.fit(moment, settings).feeds(task)
        row = np.flatnonzero(np.diff(task.people.queries.histories.indptr) == 1)[0]  # saw p
        assert set(names(world, feeds[row])[:3]) <= set("pqrs")

    def test_a_row_without_a_history_gets_nothing_from_it(self, moment):
        task = Replay.of(moment).task
        feeds = BM25.fit(moment, BM25.firsts[0]).feeds(task)
        assert (feeds[2] == -1).all()

    def test_ease_recommends_within_the_taste(self, world, moment):
        feeds = fit_ease(moment, 1.0).feeds(moment.tasks["session"])
        assert set(names(world, feeds[1])[:3]) <= set("pqrs")

    def test_what_a_person_had_most_often_comes_first(self, world, moment):
        task = Replay.of(moment).task
        feeds = RepeatThenPopular().fit(moment, {"half_life_days": 7}).feeds(task)
        assert names(world, feeds[0])[:4] == ["a", "d", "c", "b"]  # a twice, then the newest

    def test_a_peer_never_shows_what_it_has_not_seen(self, world, moment):
        for peer in (Popularity(), Newest()):
            feeds = peer.fit(moment, peer.firsts[0]).feeds(moment.tasks["all"])
            assert "x" not in names(world, feeds[0])

    def test_weightings(self, world, moment):
        log, signals = world.features.timelines, world.config.signals
        assert user_items(log, signals, "count").max() == 2
        assert user_items(log, signals, "binary").max() == 1


def test_tuning_takes_the_best_of_the_trials_for_every_task(moment):
    floor = Popularity().fit(moment, {"half_life_days": 7})
    found = search(Popularity(), moment, floor, trials=1)
    assert found.trials == len(Popularity.firsts)  # all half-lives, however few trials
    assert set(found.settings) == set(moment.tasks)


def test_a_feed_of_a_peer_is_as_long_as_ours(moment):
    task = moment.tasks["session"]
    floor = Popularity().fit(moment, {"half_life_days": 7})
    feeds = shown(COSINE.fit(moment, COSINE.firsts[0]), task, floor)
    away = kept_away(task.people, task.terms)
    assert feeds.shape == (len(task.people), SIZE)
    for row in range(len(feeds)):
        shown_ = feeds[row][feeds[row] >= 0]
        assert len(set(shown_)) == len(shown_) == 8  # all that was seen before the cut
        assert not set(shown_) & set(away.row(row))


def test_leaving_one_out_wants_the_last_event_of_everybody(world):
    (task,) = leave_one_out(world).tasks.values()
    known = task.people.queries.histories
    assert sorted(names(world, task.truth.values)) == sorted(
        "c" + "d" * 2 + "x" * 2 + "s" * 3 + "q"
    )
    assert len(known.items) == len(world.features.timelines.items) - len(task.people)


def test_leaving_one_out_asks_everybody_at_the_moment_of_that_event(world):
    (task,) = leave_one_out(world).tasks.values()
    log = world.features.timelines
    last = log.indptr[1:][task.rows] - 1
    queries = task.people.queries
    assert list(queries.now_us) == list(log.occurred_us[last])
    youngest = queries.histories.ages_days[queries.histories.indptr[1:] - 1]
    waited = (log.occurred_us[last] - log.occurred_us[last - 1]) / DAY_US
    np.testing.assert_allclose(youngest, waited, rtol=1e-5)


def test_leaving_one_out_wants_nothing_twice_where_nothing_is_shown_again(world):
    once = world.config.model_copy(update={"repeat": world.config.repeat.model_copy(
        update={"article": "exclude"})})  # fmt: skip
    (task,) = leave_one_out(replace(world, config=once)).tasks.values()
    away = kept_away(task.people, task.terms)
    assert len(task.people) > 0
    assert not any(np.isin(task.truth.row(r), away.row(r)).any() for r in range(len(task.people)))


class TestComparing:
    def entries(self, task):
        right = np.full((len(task.people), SIZE), -1, np.int32)
        for row in range(len(right)):
            right[row, 0] = task.truth.row(row)[0]
        wrong = np.full_like(right, -1)
        make = lambda name, feeds: Entry(name, {task.name: feeds}, 1.0, {})  # noqa: E731
        return make("right", right), make("wrong", wrong)

    def rows(self, moment, *, ours, peers):
        task = moment.tasks["all"]
        made = dict(zip(("right", "wrong"), self.entries(task), strict=True))
        pick = lambda which: [made[name] for name in which]  # noqa: E731
        return compare("log", task, pick(ours), pick(peers), Rules(draws=200))

    def test_what_is_clearly_better_than_the_best_peer_is_above(self, moment):
        *_, mine = self.rows(moment, ours=["right"], peers=["wrong"])
        assert (mine.name, mine.verdict) == ("right", "above")
        assert mine.gap.mean == pytest.approx(mine.ndcg.mean)

    def test_what_is_clearly_worse_is_below(self, moment):
        *_, mine = self.rows(moment, ours=["wrong"], peers=["right"])
        assert mine.verdict == "below"

    def test_the_same_feeds_are_level_with_the_best_peer_not_with_any(self, moment):
        first, _, mine = self.rows(moment, ours=["right"], peers=["wrong", "right"])
        assert (first.name, mine.verdict, mine.gap.low, mine.gap.high) == ("right", "level", 0, 0)

    def test_one_of_ours_may_be_called_like_a_peer(self, moment):
        task = moment.tasks["all"]
        right, wrong = self.entries(task)
        peer, mine = compare("log", task, [right], [replace(wrong, name="right")], Rules(draws=200))
        assert (peer.ours, mine.ours, mine.verdict) == (False, True, "above")

    def test_the_summary_counts(self, moment):
        rows = self.rows(moment, ours=["right"], peers=["wrong"])
        rows += self.rows(moment, ours=["right"], peers=["wrong", "right"])
        found = summarise([row for row in rows if row.ours], "right")
        assert (found.asked, found.at_or_above, found.clearly_above) == (2, 2, 1)

    def test_the_report_holds_every_row_and_draws_it(self, moment, tmp_path):
        rows = self.rows(moment, ours=["right"], peers=["wrong"])
        report.write_json(tmp_path / "q.json", rows, {})
        told = json.loads((tmp_path / "q.json").read_text())["rows"]
        assert [row["name"] for row in told] == ["wrong", "right"]
        report.plot(tmp_path / "q.png", rows)
        assert (tmp_path / "q.png").read_bytes().startswith(b"\x89PNG")
        (table,) = report.tables(rows)
        assert table.row_count == 2


def test_what_a_peer_showed_is_kept_for_the_next_run(moment, tmp_path):
    field = Field(moment, moment, None, tmp_path, 1, {"half_life_days": 7.0})
    first, again = field.enter(Newest()), field.enter(Newest())
    assert first.about["trials"] == again.about["trials"] == 1
    assert all((first.feeds[name] == again.feeds[name]).all() for name in first.feeds)
