"""The command line as a user meets it: what it prints, what it writes, how it exits."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import feeds
from training.bundle import open_bundle

BIN = Path(sys.executable).parent


@pytest.fixture
def run(capfd, monkeypatch):
    """Run one command in this process; returns exit code, standard output, standard error."""

    def _run(*words):
        monkeypatch.setattr(sys, "argv", ["feeds", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            sys.exit(feeds.main())
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return _run


@pytest.fixture
def people(trained, tmp_path):
    """Some of every kind: customers of the log, a session, somebody unknown."""
    bundle = open_bundle(trained.home, None)
    known = [bundle.persons.text(i)[2:] for i in range(20) if bundle.persons.ids[i][:2] == b"u:"]
    session = bundle.catalogue.ids.texts(bundle.timelines.items[:3])
    frame = pd.DataFrame(
        {
            "person_id": [*known, "a-session", "nobody"],
            "recent": [*([None] * len(known)), [*session, "no-such-item"], []],
        }
    )
    frame.to_parquet(tmp_path / "people.parquet")
    return tmp_path / "people.parquet", frame


class TestRank:
    def test_writes_exactly_size_rows_for_each_person(self, run, trained, people, tmp_path):
        path, frame = people
        out = tmp_path / "ranked.parquet"
        code, told, _ = run("rank", "-c", trained.path, "--people", path, "--out", out, "--size", 7)
        ranked = pd.read_parquet(out)
        assert code == 0
        assert list(ranked) == [
            "person_id", "item_id", "rank", "score", "rung", "ranker", "reason",
        ]  # fmt: skip
        assert ranked.groupby("person_id")["rank"].agg(list).map(tuple).unique().tolist() == [
            tuple(range(1, 8))
        ]
        assert set(ranked.person_id) == set(frame.person_id)
        assert not ranked.duplicated(["person_id", "item_id"]).any()
        assert "1 of 4 recent items are not in its catalogue" in told

    def test_gives_the_policys_choice_and_says_why(self, run, trained, people, tmp_path):
        path, _ = people
        run("rank", "-c", trained.path, "--people", path, "--out", tmp_path / "r.parquet")
        first = pd.read_parquet(tmp_path / "r.parquet").query("rank == 1").set_index("person_id")
        assert first.loc["nobody", "rung"] == "one_for_all"
        assert first.loc["nobody", "reason"] == "popular right now"
        assert first.loc["a-session", "rung"] == "context"
        assert (first.reason != "").all()

    def test_a_rung_is_a_limit(self, run, trained, people, tmp_path):
        path, _ = people
        out = tmp_path / "r.parquet"
        run("rank", "-c", trained.path, "--people", path, "--out", out, "--rung", "context")
        assert "one_to_one" not in set(pd.read_parquet(out).rung)

    def test_a_ranker_can_be_made_to_speak_first(self, run, trained, people, tmp_path):
        path, _ = people
        out = tmp_path / "r.parquet"
        run("rank", "-c", trained.path, "--people", path, "--out", out, "--ranker", "popularity")
        assert set(pd.read_parquet(out).ranker) == {"popularity"}

    def test_a_size_beyond_the_catalogue_gives_the_whole_of_it(
        self, run, trained, people, tmp_path
    ):
        path, _ = people
        out = tmp_path / "r.parquet"
        run("rank", "-c", trained.path, "--people", path, "--out", out, "--size", 5000,
            "--repeat", "allow")  # fmt: skip
        bundle = open_bundle(trained.home, None)
        available = int(bundle.catalogue.available.sum())
        rows = pd.read_parquet(out).groupby("person_id").size()
        assert rows.loc["nobody"] == available

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"user": ["a"]}, "person_id"),
            ({"person_id": ["a"], "extra": [1]}, "extra"),
            ({"person_id": ["a", None]}, "row 2"),
            ({"person_id": ["a"], "recent": ["i1"]}, "row 1"),
        ],
    )
    def test_people_that_cannot_be_read_are_refused_by_name(
        self, run, trained, tmp_path, columns, said
    ):
        pd.DataFrame(columns).to_parquet(tmp_path / "p.parquet")
        out = tmp_path / "r.parquet"
        code, _, err = run(
            "rank", "-c", trained.path, "--people", tmp_path / "p.parquet", "--out", out
        )
        assert code == 1
        assert said in err
        assert not out.exists()

    def test_whole_floats_and_numbers_are_the_ids_they_look_like(self, trained, tmp_path):
        from training.batch import Requests

        frame = pd.DataFrame(
            {"person_id": [17850.0, 12.0], "recent": [[1, 2], [-3499919498720038879]]}
        )
        frame.to_parquet(tmp_path / "p.parquet")
        read = Requests.of(pq.read_table(tmp_path / "p.parquet"))
        assert read.person_id == ["17850", "12"]
        assert read.recent == [["1", "2"], ["-3499919498720038879"]]


class TestPromote:
    def test_moves_pointer_and_alias_together_and_repairs_a_disagreement(self, run, trained):
        from training.tracking import Tracker

        code, told, _ = run("promote", "-c", trained.path, "v1")
        assert (code, trained.home.current()) == (0, "v1")
        assert Tracker(trained.home, trained.config).champion() == 1
        trained.home.pointer.write_text("v9\n")
        _, told, _ = run("promote", "-c", trained.path, "1")
        assert "repaired: CURRENT named v9, the alias v1" in told
        assert trained.home.current() == "v1"

    def test_refuses_a_version_that_is_not_there_and_moves_nothing(self, run, trained):
        before = trained.home.current()
        code, _, err = run("promote", "-c", trained.path, "v999")
        assert code == 1
        assert "v1" in err
        assert trained.home.current() == before

    def test_brings_a_bundle_back_from_the_registry(self, run, trained):
        import shutil

        shutil.move(trained.home.bundles / "v1", trained.home.root / "elsewhere")
        code, _, _ = run("promote", "-c", trained.path, "v1")
        assert code == 0
        assert open_bundle(trained.home, "v1").version == "v1"


def test_the_registered_model_ranks_as_an_mlflow_model(trained):
    import mlflow

    from training.tracking import Tracker

    Tracker(trained.home, trained.config).connect()
    model = mlflow.pyfunc.load_model("models:/feeds@champion")
    ranked = model.predict([{"person_id": "nobody"}])
    assert [place.rank for place in ranked] == list(range(1, 21))


def test_a_bundle_keeps_the_signals_in_the_order_that_its_codes_mean(trained):
    assert list(open_bundle(trained.home, "v1").config.signals) == list(trained.config.signals)


def test_a_run_records_what_it_was_made_of(trained):
    from training.tracking import Tracker

    client = Tracker(trained.home, trained.config).connect()
    version = client.get_model_version("feeds", "1")
    run = client.get_run(version.run_id)
    assert (
        run.data.tags["feature_digest"]
        == open_bundle(trained.home, "v1").manifest["feature_digest"]
    )
    assert run.data.metrics["all/policy/ndcg_at_20"] > 0
    assert run.data.params["als.factors"] == "64"
    plots = {artifact.path for artifact in client.list_artifacts(version.run_id, "plots")}
    assert plots == {"plots/ndcg_at_20.png", "plots/recall_at_20.png"}


def test_check_reports_and_exits_by_the_threshold(run, trained, tmp_path):
    code, told, _ = run("check", "-c", trained.path, "--home", tmp_path / "home")
    assert code == 0
    assert "item_id is missing" in told
    assert (tmp_path / "home" / "rejects.parquet").exists()
    strict = tmp_path / "strict.yaml"
    text = trained.path.read_text().replace(
        ": events.parquet", f": {trained.path.parent}/events.parquet"
    )
    for name in ("items", "customers", "identities", "preferences"):
        text = text.replace(f"path: {name}.parquet", f"path: {trained.path.parent}/{name}.parquet")
    strict.write_text(text + "\ncontract: {max_rejected_share: 0.0}\n")
    code, _, err = run("check", "-c", strict, "--home", tmp_path / "home")
    assert code == 1
    assert "max_rejected_share" in err


def test_build_reports_what_cleaning_took_out(run, trained, tmp_path):
    code, told, _ = run("build", "-c", trained.path, "--home", tmp_path / "home")
    assert code == 0
    assert "exact duplicate" in told
    assert "non-product" in told


def test_evaluate_shows_the_split_or_judges_given_truth(run, trained, people, tmp_path):
    code, told, _ = run("evaluate", "-c", trained.path, "--model", "v1")
    assert code == 0
    assert "popularity" in told
    path, _ = people
    run("rank", "-c", trained.path, "--people", path, "--out", tmp_path / "r.parquet", "--size", 20)
    best = pd.read_parquet(tmp_path / "r.parquet").query("rank == 1")[["person_id", "item_id"]]
    best.to_parquet(tmp_path / "truth.parquet")
    code, told, _ = run("evaluate", "-c", trained.path, "--people", path,
                        "--truth", tmp_path / "truth.parquet")  # fmt: skip
    assert code == 0
    assert "1.000" in told, "who wants what the model ranks first is served perfectly"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--rankers", "als,telepathy"], "telepathy"),
        (["rank", "--people", "p.parquet", "--out", "r.parquet", "--rung", "cellar"], "cellar"),
        (["demo", "--example", "online_retail"], "--data"),
        (["tarin"], "tarin"),
    ],
)
def test_a_wrong_call_exits_with_2(run, trained, words, said):
    code, _, err = run(*words, *(["-c", trained.path] if words[0] in ("train", "rank") else []))
    assert code == 2
    assert said in err


def test_a_missing_config_says_what_to_do(run, tmp_path):
    code, _, err = run("train", "-c", tmp_path / "feeds.yaml")
    assert code == 1
    assert "does not exist" in err


def test_a_ranker_that_cannot_fit_is_skipped_and_said(run, tmp_path):
    """A log in which nobody did anything before the test slice but dislike."""
    rows = [("2026-01-01", "dislike", "i1", "a"), ("2026-01-20", "view", "i2", "b")]
    frame = pd.DataFrame(rows, columns=["occurred_at", "event_type", "item_id", "user_id"])
    frame.to_csv(tmp_path / "events.csv", index=False)
    (tmp_path / "feeds.yaml").write_text(
        "sources: {events: {path: events.csv}}\n"
        "signals: {view: {weight: 1}, dislike: {weight: -1}}\n"
    )
    code, told, err = run("train", "-c", tmp_path / "feeds.yaml")
    assert code == 0, err
    assert "skipped als" in told
    assert "ladder: one_for_all (popularity)" in told
