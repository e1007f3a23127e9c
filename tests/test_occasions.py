"""Other occasions than one split: nothing of the future is known, and all are judged alike."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import yaml

from features.build import build
from features.config import load_config
from features.home import Home
from features.types import DAY_US, Ragged, to_us
from training.evaluation.occasions import last_left_out, next_in_session, weeks
from training.evaluation.protocol import Outcome, Priced, captured, evaluate
from training.evaluation.worth import Worth
from training.judging import Contender, paired, pooled
from training.recipe import Recipe
from training.slices import World, cuts, past_at, tasks_between

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 28
LADDER = [("one_to_one", "neighbours"), ("context", "neighbours"), ("one_for_all", "popularity")]


def rows(paid=True, planted=False):
    """Two tastes, a to d and p to s; everybody looks on each day of four weeks, and buys the last.

    In the last week the first taste looks at w, new to all. a costs 5, all else 1.
    """
    for day in range(DAYS):
        for person in range(6):
            taste = "abcd" if person < 3 else "pqrs"
            items = [taste[(day + person + step) % 4] for step in range(2)]
            if person < 3 and day >= 21:
                items[0] = "w"
            if planted and day >= 21:
                yield f"u{person},q,{START + timedelta(days=day, minutes=30)},{person}-{day},view,"
            for hour, item in enumerate(items):
                what = "purchase" if hour == 1 else "view"
                price = {"a": 5}.get(item, 1) if what == "purchase" and paid else ""
                at = START + timedelta(days=day, hours=hour)
                yield f"u{person},{item},{at},{person}-{day},{what},{price}"


def shop(base, **how):
    base.mkdir(exist_ok=True)
    log = ["person,item,at,visit,what,paid", *rows(**how)]
    (base / "log.csv").write_text("\n".join(log))
    told = {
        "shop": {"currency": "EUR", "consent_default": "yes"},
        "sources": {"events": {"path": "log.csv", "columns": {
            "occurred_at": "at", "event_type": "what", "item_id": "item", "user_id": "person",
            "session_id": "visit", "value": "paid"}}, "items": {"derive_from": "events"}},
        "signals": {"view": {"weight": 1}, "purchase": {"weight": 5, "had": True}},
        "repeat": {"product": "allow"},
        "training": {"test_days": 7},
    }  # fmt: skip
    (base / "feeds.yaml").write_text(yaml.safe_dump(told))
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    return World.of(config, build(config, base, home), home)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return shop(tmp_path_factory.mktemp("occasions") / "shop")


def cut_us(day):
    return to_us(START + timedelta(days=day))


def contender(world, learned_day=0, forest=None):
    recipe = Recipe(world.config.training, ["popularity", "neighbours"], LADDER)
    return Contender("v1", recipe, forest, cut_us(learned_day))


def names(world, items):
    return world.features.items.texts(np.asarray(items))


def judged(world, refit):
    """Everybody's feeds before the last two weeks, and again before the last day."""
    first = next(weeks(world, 2, refit=refit))
    past = past_at(world, cut_us(DAYS - 1))
    later = replace(first, past=past, tasks=tasks_between(world, past))
    return contender(world).judged(world, [first, later], refit=refit)


def place_of_w(world, outcomes, name):
    """Where the first person's feed has w."""
    feeds = next(one.feeds for one in outcomes if (one.name, one.task) == (name, "all"))
    return list(names(world, feeds[0][feeds[0] >= 0])).index("w")


class TestWeeks:
    def test_each_knows_all_before_it_and_is_asked_about_its_own_days(self, world):
        found = list(weeks(world, 3))
        ends = [one.past.timelines.occurred_us.max() for one in found]
        begins = [one.past.as_of_us for one in found]
        assert all(end < begin for end, begin in zip(ends, begins, strict=True))
        assert np.diff(begins).tolist() == [7 * DAY_US] * 2
        wanted = ["w" in names(world, one.tasks[0].truth.values) for one in found]
        assert wanted == [False, False, True], "w is of the last week alone"

    @pytest.mark.parametrize("refit", [True, False])
    def test_a_model_is_made_anew_before_each_or_once_before_the_first(self, world, refit):
        *_, last = judged(world, refit)
        feeds = next(one.feeds for one in last if (one.name, one.task) == ("neighbours", "all"))
        first = next(weeks(world, 2)).past.as_of_us
        late = past_at(world, cut_us(DAYS - 1))
        of_first, of_late = (
            evaluate(contender(world).fitted(world, past).steps[:1], "neighbours",
                     tasks_between(world, late)[0], len(world)).feeds[:, :4]
            for past in (past_at(world, first), late)
        )  # fmt: skip
        assert (of_first != of_late).any()
        assert (feeds[:, :4] == (of_late if refit else of_first)).all()

    def test_what_learns_live_follows_the_log_between_two_trainings(self, world):
        first, last = judged(world, refit=False)
        assert place_of_w(world, last, "popularity") < place_of_w(world, first, "popularity")

    def test_what_happens_later_changes_no_feed_of_a_week(self, world, tmp_path):
        seen = []
        for one in (world, shop(tmp_path / "planted", planted=True)):
            (found,) = contender(one).judged(one, [next(weeks(one, 2))])
            seen.append({(o.name, o.task): o.feeds.tolist() for o in found if o.task != "session"})
        assert seen[0] == seen[1]

    def test_too_many_weeks_say_so(self, world):
        with pytest.raises(ValueError, match="ask for fewer"):
            list(weeks(world, 9))


def test_last_left_out_wants_everybodys_last_event_and_knows_the_rest(world):
    (task,) = last_left_out(world).tasks
    log = world.features.timelines
    assert len(task.people) == 6
    assert list(task.truth.values) == list(log.items[log.indptr[1:] - 1])
    assert len(task.people.queries.histories.items) == len(log.items) - 6


def test_next_in_session_knows_the_visit_and_nothing_of_the_person(world):
    past = past_at(world, cut_us(21))
    (task,) = next_in_session(world, past).tasks
    histories = task.people.queries.histories
    assert len(task.people) == 6 * 7, "each visit has one item before another"
    assert np.diff(histories.indptr).tolist() == [1] * 42
    assert set(names(world, list(task.truth.values))) == set("abcdpqrs")


def test_a_blend_that_learned_from_what_came_after_is_left_out(world):
    """`forest` stands for a blend: asked for on a past that it has seen, it would break."""
    early, late = past_at(world, cut_us(14)), past_at(world, cut_us(21))
    one = contender(world, learned_day=21, forest=object())
    assert "blend" not in one.fitted(world, early).rankers
    with pytest.raises(TypeError):
        one.fitted(world, late)


class TestWorth:
    def test_only_orders_are_money(self, world):
        worth = Worth.of(world.features, world.config)
        bought = world.features.timelines.signals == list(world.config.signals).index("purchase")
        assert worth.unit == "EUR"
        assert (np.isfinite(worth.values) == bought).all()

    def test_a_task_says_what_came_of_it_until_its_end(self, world):
        past = past_at(world, cut_us(21))
        first = tasks_between(world, past)[0].priced.take(np.array([0]))
        paid = dict(zip(names(world, first.truth.row(0)), first.value.tolist(), strict=True))
        assert paid == {"a": 10, "b": 1, "c": 2, "d": 2}
        short = tasks_between(world, past, cut_us(23))[0].priced.take(np.array([0]))
        assert short.value.tolist() == [1, 1]

    def test_a_log_without_money_is_worth_nothing(self, tmp_path):
        other = shop(tmp_path / "free", paid=False)
        assert Worth.of(other.features, other.config) is None
        assert all(t.priced is None for t in tasks_between(other, past_at(other, cut_us(21))))

    def test_who_wanted_nothing_that_is_worth_anything_is_left_out(self):
        priced = Priced(Ragged.of([[1], []]), np.array([4.0]))
        found = captured(np.array([[1, 2], [1, 2]], np.int32), priced)
        assert found["value_at_20"][0] == 4
        assert np.isnan(found["value_at_20"][1])


def outcome(name, values, task="all"):
    feeds = np.zeros((len(values), 1), np.int32)
    return Outcome(task, name, {"ndcg_at_20": np.array(values, float)}, {}, feeds)


def test_what_was_decided_is_counted(world):
    past = past_at(world, cut_us(21))
    task, steps = tasks_between(world, past)[0], contender(world).fitted(world, past).steps
    known = evaluate(steps, "policy", task, len(world))
    assert known.coverage["fallback_share"] == known.coverage["suppress_share"] == 0
    silent = replace(task, terms=replace(task.terms, items=np.empty(0, np.int32)))
    assert evaluate(steps, "policy", silent, len(world)).coverage["suppress_share"] == 1


class TestComparing:
    def test_gains_are_paired(self):
        low = np.linspace(0, 1, 50)
        (gap,) = paired([outcome("a", low), outcome("b", low + 0.1)], "a", 200, seed=0)
        assert (gap["name"], gap["against"], gap["people"]) == ("b", "a", 50)
        assert gap["low"] == pytest.approx(0.1)
        assert gap["high"] == pytest.approx(0.1)

    def test_an_unknown_name_is_refused_with_those_that_there_are(self):
        with pytest.raises(ValueError, match=r"no 'c'.*\['a'\]"):
            paired([outcome("a", [1.0])], "c", 200, seed=0)

    def test_whoever_comes_in_several_weeks_counts_once(self, world):
        one, two = list(weeks(world, 2))
        ask = lambda occasion, people: replace(  # noqa: E731
            occasion, tasks=[occasion.tasks[0].take(np.array(people))]
        )
        parts = [[outcome("a", [0.0, 1.0])], [outcome("a", [0.5])]]
        (whole,) = pooled(parts, [ask(one, [0, 1]), ask(two, [1])])
        assert list(whole.decisive) == [0, 0.75]


class TestCommand:
    def test_judges_weeks_and_writes_everything(self, run, trained, tmp_path):
        code, told, err = run("evaluate", "-c", trained.path, "--by", "weeks", "--weeks", 2,
                              "--slices", "--out", tmp_path / "all.csv")  # fmt: skip
        assert code == 0, err
        assert "all weeks" in told
        table = pd.read_csv(tmp_path / "all.csv")
        assert table["occasion"].nunique() == 3, "two weeks, and both together"
        assert {"stage", "kind", "demand"} <= set(table["slice"].dropna())
        gains = table[table["against"].notna()]
        assert set(gains["against"]) == {"popularity"}
        assert "policy up to context" in set(gains["name"])

    def test_compares_with_what_is_named_or_says_what_there_is(self, run, trained):
        code, told, _ = run("evaluate", "-c", trained.path, "--by", "split", "--against", "als")
        assert code == 0
        assert "over als" in told
        assert "What feeds are like" in told
        code, _, err = run("evaluate", "-c", trained.path, "--by", "split", "--against", "luck")
        assert code == 1
        assert "no 'luck'" in err

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (["--by", "moon"], 2, "moon"),
            (["--refit"], 2, "--by weeks"),
            (["--by", "split", "--weeks", "2"], 2, "--by weeks"),
            (["--by", "split", "--logged"], 2, "by one of"),
            (["--by", "split", "--against", "v1"], 1, "the model itself"),
            (["--by", "split", "--out", "x.txt"], 1, ".parquet or .csv"),
        ],
    )
    def test_a_wrong_wish_is_refused(self, run, trained, words, code, said):
        found, _, err = run("evaluate", "-c", trained.path, *words)
        assert found == code
        assert said in err

    def test_asks_visits_and_counts_people(self, run, trained, tmp_path):
        code, told, err = run("evaluate", "-c", trained.path, "--by", "session-next",
                              "--out", tmp_path / "next.parquet")  # fmt: skip
        assert code == 0, err
        assert "what came next at a few places" in told
        table = pd.read_parquet(tmp_path / "next.parquet")
        config = trained.config
        world = World.of(config, build(config, trained.path.parent, trained.home), trained.home)
        past = past_at(world, cuts(config, world.features).test_us)
        (task,) = next_in_session(world, past).tasks
        people = len(np.unique(task.rows))
        assert people < len(task.rows)
        assert set(table.query("slice.isna()")["people"]) == {people}

    def test_leaves_the_last_out_and_says_what_for(self, run, trained):
        code, told, _ = run("evaluate", "-c", trained.path, "--by", "leave-last-out")
        assert code == 0
        assert "only to compare sequence models" in " ".join(told.split())


class TestTwoModels:
    def test_are_compared_on_what_neither_has_learned_from(self, run, trained, tmp_path):
        base = tmp_path / "shop"
        shutil.copytree(trained.path.parent, base)
        before = f"{START + timedelta(days=45):%Y-%m-%d}"
        code, _, err = run("train", "-c", base / "feeds.yaml", "--as-of", before,
                           "--rankers", "popularity,als")  # fmt: skip
        assert code == 0, err
        code, told, err = run("evaluate", "-c", base / "feeds.yaml", "--model", "v2",
                              "--against", "v1")  # fmt: skip
        assert code == 0, err
        assert "over v1" in told
        assert "trained at different times" in " ".join(told.split())


class TestObjective:
    def test_of_value_lets_value_decide(self, world):
        by_value = replace(world, config=world.config.model_copy(update={"objective": "value"}))
        (plain, *_), (valued, *_) = (tasks_between(w, past_at(w, cut_us(21)))
                                     for w in (world, by_value))  # fmt: skip
        ladder = contender(world).fitted(world, past_at(world, cut_us(21))).steps
        one, other = (evaluate(ladder, "policy", task, len(world)) for task in (plain, valued))
        for found, metric in ((one, "ndcg_at_20"), (other, "value_ndcg_at_20")):
            assert found.decisive is dict(found.values)[metric]
        assert (one.decisive != other.decisive).any()
