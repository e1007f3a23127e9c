"""The command line as a user meets it: what it prints, what it writes, how it exits."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.config import load_config
from features.home import Home
from features.training_options import RANKER_NAMES
from features.types import DAY_US, from_us
from training.batch import Wish, rank_people
from training.bundle import open_bundle
from training.jobs import train

BIN = Path(sys.executable).parent


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
        read = Requests.of(pq.read_table(tmp_path / "p.parquet"), "UTC")
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
    assert int(run.data.params["als.factors"]) == trained.config.training.als.factors
    plots = {artifact.path for artifact in client.list_artifacts(version.run_id, "plots")}
    assert plots == {
        "plots/ndcg_at_20.png", "plots/recall_at_20.png",
        "plots/learning_sequence.png", "plots/learning_content.png",
    }  # fmt: skip


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
    assert "1.000 1.000–1.000" in told, "who wants what the model ranks first is served perfectly"


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


def small(base, rows, customers=None, training=""):
    """The config of a shop with these rows (time, type, item, user), and perhaps customers."""
    columns = ["occurred_at", "event_type", "item_id", "user_id"]
    pd.DataFrame(rows, columns=columns).to_csv(base / "events.csv", index=False)
    sources = "events: {path: events.csv}"
    if customers is not None:
        (base / "customers.csv").write_text(customers)
        sources += ", customers: {path: customers.csv}"
    (base / "feeds.yaml").write_text(
        f"sources: {{{sources}}}\n"
        "shop: {clock: as_of, consent_default: yes}\n"
        "contract: {max_rejected_share: 1}\n"
        f"training: {{rankers: [popularity, neighbours, als]{training}}}\n"
        "signals: {view: {weight: 1}, dislike: {weight: -1}}\n"
    )
    return base / "feeds.yaml"


@pytest.fixture
def log(run, tmp_path):
    """Train on a log; exit code and what was said."""
    return lambda *rows, **more: run("train", "-c", small(tmp_path, *rows, **more))


VIEWS = [
    (f"2026-01-{d:02}", "view", f"i{(d * u) % 7}", f"u{u}")
    for d in range(1, 21)
    for u in range(1, 9)
]


class TestSmallLogs:
    def test_a_ranker_that_cannot_fit_is_skipped_and_said(self, log):
        code, told, err = log([("2026-01-01", "dislike", "i1", "a")])
        assert code == 0, err
        assert "skipped als" in told
        assert "one_for_all: popularity" in told

    @pytest.mark.parametrize("rows", [VIEWS[:1], [("2026-01-01 10:00", *r[1:]) for r in VIEWS]])
    def test_a_log_of_one_moment_is_trained_on_and_not_judged(self, log, rows):
        code, told, err = log(rows)
        assert code == 0, err
        assert "Nobody could be asked" in told

    def test_a_log_of_hours_is_split_within_them(self, log):
        code, told, err = log([(f"2026-01-01 {n % 17:02}:30", *r[1:]) for n, r in enumerate(VIEWS)])
        assert code == 0, err
        assert "judged on what came after" in told

    def test_a_test_slice_longer_than_the_log_is_refused_in_a_sentence(self, log):
        code, _, err = log(VIEWS, training=", test_days: 400")
        assert code == 1
        assert "training.test_days is 400, but the log covers 19 days" in err


CUSTOMERS = "user_id,consent_personalise\nu1,no\nquiet,no\nu2,withdrawn\nu3,yes\nu4,yes\nu4,no\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Of a shop whose customers have said all kinds of things."""
    path = small(tmp_path_factory.mktemp("consent"), VIEWS, customers=CUSTOMERS)
    home = Home(path.parent / ".feeds")
    train(load_config(path), path.parent, home)
    return open_bundle(home, None)


class TestConsent:
    @pytest.mark.parametrize(
        ("user", "consent"),
        [("u1", False), ("quiet", False), ("u2", False), ("u3", True), ("u4", False), ("u5", True)],
    )
    def test_is_what_the_table_says_and_the_most_restrictive_of_it(self, bundle, user, consent):
        """quiet has no event, u2's answer cannot be read, u4 says both, u5 is not in the table."""
        assert bundle.consent[bundle.persons.index(f"u:{user}")] == consent

    def test_whoever_refuses_under_one_id_is_not_known_by_another(self, bundle):
        from training.people import people_of

        nothing = np.empty(0, dtype=np.int32)
        both = people_of(bundle, [["u:quiet", "u:u3"]], [nothing])
        assert not both.consent[0]
        assert both.queries.session_start[0] > 0, "the history of the id that has one"

    def test_no_reason_tells_what_a_refuser_did_before(self, bundle):
        people = pa.table({"person_id": ["u1", "u3"], "recent": [["i1"], ["i1"]]})
        ranked = rank_people(bundle, people).to_pandas()
        refuser = set(ranked[ranked.person_id == "u1"].reason)
        assert not any("you looked at" in reason for reason in refuser)
        assert any("you looked at" in r for r in ranked[ranked.person_id == "u3"].reason)


def test_a_people_file_from_a_filtered_frame_is_read(run, trained, tmp_path):
    frame = pd.DataFrame({"person_id": ["a", "b", "a", "a"]})
    frame[frame.person_id == "a"].to_parquet(tmp_path / "p.parquet")
    out = tmp_path / "r.parquet"
    code, told, _ = run(
        "rank", "-c", trained.path, "--people", tmp_path / "p.parquet", "--out", out
    )
    assert code == 0
    assert "2 people have a person_id that came before" in told


def test_every_fitted_ranker_can_be_asked_for(trained):
    bundle = open_bundle(trained.home, "v1")
    assert set(bundle.rankers) == set(RANKER_NAMES) - {"graph"}
    people = pa.table({"person_id": [bundle.persons.text(0).removeprefix("u:")]})
    for name in bundle.rankers:
        ranked = rank_people(bundle, people, Wish(ranker=name))
        assert ranked.num_rows == 20


@pytest.mark.parametrize("clock", ["as_of", "now"])
def test_batch_and_service_give_the_same_feed_whatever_the_clock(trained, tmp_path, clock):
    from at_the_desk import ask_all

    bundle = open_bundle(trained.home, "v1")
    place = bundle.config.placements["home"].model_copy(update={"kind": None})
    changed = {"placements": {"home": place}, "experiments": [],
               "shop": bundle.config.shop.model_copy(update={"clock": clock})}  # fmt: skip
    config = bundle.config.model_copy(update=changed)
    served = replace(
        bundle, config=config, evidence=None
    )  # which is of a channel; a batch has none
    moment = from_us(bundle.as_of_us + DAY_US) if clock == "as_of" else datetime.now(UTC)
    users = [bundle.persons.text(i)[2:] for i in range(12)]
    people = pa.table({"person_id": users, "at": [moment] * len(users)})
    ranked = rank_people(served, people, Wish(size=5)).to_pandas()
    at = {"at": moment} if clock == "as_of" else {}
    requests = [{"placement": "home", "user_id": user, "size": 5, **at} for user in users]
    for user, feed in zip(users, ask_all(served, tmp_path, requests), strict=True):
        mine = ranked[ranked.person_id == user].item_id.tolist()
        assert [item["item_id"] for item in feed["items"]] == mine
