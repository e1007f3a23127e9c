"""Which versions contain whom, the proof of it, and how `feeds retrain` closes that."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from test_promotion import CONFIG, Shop, events, write
from typer.testing import CliRunner

import feeds
from features.decided import pseudonym, salt
from features.erasure import forgotten, proofs
from features.home import Home
from serving.sqlite_state import SqliteState
from serving.state import Event, Forget, Link
from training import forgetting
from training.bundle import Bundle, bundle_versions
from training.forgetting import record_pending, settle

WHO = "p3"
PLACES = {"experiments": "artifact_location", "runs": "artifact_uri",
          "logged_models": "artifact_location", "model_versions": "storage_location"}  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A shop of 24 customers p0 … p23, of whom p3 has a device; v1 serves."""
    made = Shop(tmp_path_factory.mktemp("first"))
    (made.base / "feeds.yaml").write_text(CONFIG)
    rows = events(range(40))
    for row in rows:
        row["visitor_id"] = "phone" if row["user_id"] == WHO else None
    write(made.base, "1", rows)
    made.retrain()
    return made


def copied(first, base):
    """A copy of a shop, to be changed; the places that MLflow has kept are those of the copy."""
    shutil.copytree(first.base, base)
    with closing(sqlite3.connect(Home(base / ".feeds").tracking_database)) as database:
        for table, column in PLACES.items():
            told = (str(first.base), str(base))
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", told)
        database.commit()
    return Shop(base)


@pytest.fixture
def shop(first, tmp_path):
    return copied(first, tmp_path / "shop")


@pytest.fixture(scope="module")
def anew(first, tmp_path_factory):
    """The same, after somebody whom it does not know was forgotten, with a build since."""
    shop = copied(first, tmp_path_factory.mktemp("anew") / "shop")
    for words in (["forget", "--visitor", "nobody"], ["build"]):
        told = CliRunner().invoke(feeds.app, [*words, "-c", str(shop.base / "feeds.yaml")])
        assert told.exit_code == 0, told.output
    return shop


@pytest.fixture
def proven(anew, tmp_path):
    return copied(anew, tmp_path / "shop")


@pytest.fixture(scope="module")
def retrained(first, tmp_path_factory):
    """The same with a v2 that lies in MLflow alone, after p3 was forgotten and v3 trained."""
    shop = copied(first, tmp_path_factory.mktemp("retrained") / "shop")
    copy = shop.home.scratch() / "copy"
    shutil.copytree(shop.home.bundles / "v1", copy)
    shop.tracker.record(copy, params={}, metrics={}, tags={}, plots={})
    shutil.rmtree(copy)
    at_us = Bundle.open(shop.home.bundles / "v1").as_of_us
    tell(shop, Forget(user_id=WHO, at_us=at_us), Forget(visitor_id="phone", at_us=at_us))
    return shop, shop.retrain()


def tell(shop, *facts):
    async def telling():
        state = SqliteState(shop.home.state, salt(shop.home.salt))
        await state.write(facts)
        found = await state.recall(WHO, None)
        await state.close()
        return found

    return asyncio.run(telling())


def hidden(shop, name):
    return pseudonym(salt(shop.home.salt), name)


def knows(directory: Path, name: str) -> bool:
    return Bundle.open(directory).rows([name])[0] >= 0


def config_of(shop):
    return ("-c", shop.base / "feeds.yaml")


class TestForgetting:
    def test_blocks_at_once_and_names_what_still_contains_the_person(self, shop, run):
        tell(shop, Event(item_id="i1", event_type="view", occurred_us=1, user_id=WHO),
             Link(visitor_id="tv", user_id=WHO, at_us=1))  # fmt: skip
        code, out, err = run("forget", *config_of(shop), WHO)
        assert code == 0, err
        assert "v1: until `feeds retrain`" in out
        (proof,) = proofs(shop.home)
        assert proof.pseudonyms == [hidden(shop, name) for name in ("u:p3", "v:phone", "v:tv")]
        assert (proof.versions, proof.closed_at) == (["v1"], None)
        assert proof.feature_sets == [one.name for one in shop.home.feature_sets.iterdir()]
        assert "of these 1 events" in proof.erased
        recalled = tell(shop)
        assert (recalled.events, recalled.forgotten, recalled.consent) == ([], True, False)

    def test_does_the_same_again_without_harm(self, shop, run):
        run("forget", *config_of(shop), WHO)
        code, *_ = run("forget", *config_of(shop), WHO)
        (proof,) = proofs(shop.home)
        assert (code, proof.versions, proof.closed_at) == (0, ["v1"], None)

    def test_of_somebody_unknown_leaves_nothing_to_do(self, shop, run):
        run("forget", *config_of(shop), "--visitor", "nobody")
        (proof,) = proofs(shop.home)
        assert proof.pseudonyms == [hidden(shop, "v:nobody")]
        assert proof.versions == []

    def test_looks_into_versions_that_mlflow_alone_has(self, shop, run):
        shutil.rmtree(shop.home.bundles / "v1")
        run("forget", *config_of(shop), "--visitor", "nobody")
        run("forget", *config_of(shop), WHO)
        assert [one.versions for one in proofs(shop.home)] == [[], ["v1"]]

    def test_a_device_alone_is_its_customers(self, shop, run):
        run("forget", *config_of(shop), "--visitor", "phone")
        assert hidden(shop, "u:p3") in proofs(shop.home)[0].pseudonyms

    def test_a_device_that_is_anothers_by_now_is_refused(self, shop, run):
        tell(shop, Link(visitor_id="tv", user_id="p4", at_us=1))
        code, _, err = run("forget", *config_of(shop), WHO, "--visitor", "tv")
        assert (code, proofs(shop.home)) == (1, [])
        assert "another customer's by now" in err

    def test_whom_the_service_forgot_gets_a_record_per_name(self, shop):
        tell(shop, Forget(user_id=WHO, at_us=5), Forget(visitor_id="phone", at_us=5))
        written = record_pending(shop.config, shop.home)
        assert {one.pseudonyms[0]: one.versions for one in written} == {
            hidden(shop, "u:p3"): ["v1"], hidden(shop, "v:phone"): ["v1"],
        }  # fmt: skip
        assert record_pending(shop.config, shop.home) == []

    def test_asks_for_somebody(self, shop, run):
        assert run("forget", *config_of(shop))[0] == 2


class TestRetraining:
    def test_serves_a_version_without_them_and_removes_all_others(self, retrained):
        shop, done = retrained
        assert (shop.serving(), done.settled.removed) == ("v3", ["v1", "v2"])
        assert bundle_versions(shop.home) == ["v3"]
        served = shop.home.bundles / "v3"
        known = [knows(served, name) for name in ("u:p3", "v:phone", "u:p4")]
        assert known == [False, False, True]

    def test_leaves_nothing_of_the_others_in_mlflow(self, retrained):
        shop, _ = retrained
        assert shop.tracker.versions() == [3]
        kept = shop.tracker.connect().get_model_version("feeds", "3")
        artifacts = shop.home.root / "artifacts"
        assert {file.name for file in artifacts.iterdir()} == {"models", kept.run_id}
        assert [f"models:/{file.name}" for file in (artifacts / "models").iterdir()] == [
            kept.source
        ]

    def test_closes_the_proofs_of_whom_the_service_forgot(self, retrained):
        shop, done = retrained
        found = {one.pseudonyms[0]: one for one in proofs(shop.home)}
        assert set(found) == {hidden(shop, "u:p3"), hidden(shop, "v:phone")}
        for proof in found.values():
            assert (proof.by, proof.versions, proof.free_version) == ("service", ["v1", "v2"], "v3")
            assert [one.version for one in proof.removed] == ["v1", "v2"]
            assert proof.closed_at is not None
        assert (len(done.settled.closed), done.settled.open) == (2, [])

    def test_has_nothing_to_do_a_second_time(self, retrained, run):
        shop, _ = retrained
        code, out, _ = run("retrain", *config_of(shop))
        assert (code, "nothing new: v3" in out) == (0, True)

    def test_nobody_can_go_back_to_a_version_with_them(self, retrained, run):
        shop, _ = retrained
        code, _, err = run("promote", *config_of(shop), "--back")
        assert (code, "v1" in err, shop.serving()) == (1, True, "v3")

    def test_who_is_forgotten_again_gets_an_open_proof_that_knows_the_first(self, retrained, run):
        shop, _ = retrained
        run("forget", *config_of(shop), WHO)
        again = {one.pseudonyms[0]: one for one in proofs(shop.home)}[hidden(shop, "u:p3")]
        assert again.closed_at is None
        assert [one.free_version for one in again.earlier] == ["v3"]

    def test_what_a_service_holds_keeps_the_proof_open(self, shop, run):
        run("forget", *config_of(shop), WHO)
        held = Bundle.open(shop.home.bundles / "v1")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(forgetting, "LET_GO_SECONDS", 0.0)
            shop.retrain()
        done = settle(shop.config, shop.home, wait_seconds=0)
        assert [one.closed_at for one in done.open] == [None]
        assert done.remains == {"v1": "a running service or an experiment's arm holds it"}
        del held
        done = settle(shop.config, shop.home)
        assert (done.removed, len(done.closed), done.open) == (["v1"], 1, [])

    @pytest.mark.parametrize("where", ["mlflow", "disk"])
    def test_a_version_that_cannot_be_read_stays_and_keeps_the_proof_open(self, proven, where):
        """An outage says nothing of who is in a version."""
        shop = proven
        store, bundle = shop.home.root / "artifacts", shop.home.bundles / "v1"
        if where == "mlflow":
            bundle.rename(bundle.with_name("away"))
            away = store.rename(store.with_name("unmounted"))
        else:
            array = next((bundle / "persons").glob("*.npy"))
            away = array.rename(array.with_suffix(".away"))
            array.mkdir()  # reading it is an OSError
        done = settle(shop.config, shop.home)
        assert (done.removed, len(done.open), list(done.remains)) == ([], 1, ["v1"])
        assert "cannot be read now" in done.remains["v1"]
        assert shop.tracker.versions() == [1]
        if where == "mlflow":
            away.rename(store)
        else:
            array.rmdir()
            away.rename(array)
        done = settle(shop.config, shop.home)
        assert (len(done.closed), done.removed, shop.tracker.versions()) == (1, [], [1])

    def test_what_a_killed_training_has_left_keeps_the_proof_open(self, proven):
        left = proven.home.scratch() / "bundle-1a2b"
        left.mkdir()
        done = settle(proven.config, proven.home)
        assert (list(done.remains), done.closed) == (["tmp/bundle-1a2b"], [])
        left.rmdir()
        assert len(settle(proven.config, proven.home).closed) == 1

    def test_a_removal_that_was_cut_off_is_finished(self, shop, run):
        """The files have gone, their entries in MLflow have not."""
        run("forget", *config_of(shop), WHO)
        run("build", *config_of(shop))
        shutil.rmtree(shop.home.bundles / "v1")
        shop.home.pointer.unlink()
        for model in (shop.home.root / "artifacts" / "models").iterdir():
            shutil.rmtree(model)
        done = settle(shop.config, shop.home)
        assert (done.removed, done.open, shop.tracker.versions()) == (["v1"], [], [])

    def test_a_home_that_only_serves_is_settled_on_its_own(self, shop, run, tmp_path):
        """It has copies of bundles and the salt; v2 was made without the person."""
        other = Shop(tmp_path / "other")
        for version in ("v1", "v2"):
            shutil.copytree(shop.home.bundles / "v1", other.home.bundles / version)
        shutil.copy(shop.base / "feeds.yaml", other.base / "feeds.yaml")
        at_us = Bundle.open(other.home.bundles / "v1").as_of_us
        tell(other, Forget(user_id=WHO, at_us=at_us))
        free = {hidden(other, f"u:{WHO}"): at_us}
        (other.home.bundles / "v2" / "forgotten.json").write_text(json.dumps(free))
        other.home.pointer.write_text("v1\n")
        code, out, _ = run("forget", *config_of(other), "--pending")
        assert (code, bundle_versions(other.home)) == (0, ["v1", "v2"])
        assert "v1: it serves" in out
        other.home.pointer.write_text("v2\n")
        code, out, _ = run("forget", *config_of(other), "--pending")
        assert (code, bundle_versions(other.home)) == (0, ["v2"])
        assert "closed now: 1" in out

    def test_a_refused_version_leaves_it_open_and_says_the_way_out(self, shop, run):
        run("forget", *config_of(shop), WHO)
        shop.configure("[popularity, neighbours]", "[popularity]")  # worse than the champion
        code, out, _ = run("retrain", *config_of(shop))
        assert (code, bundle_versions(shop.home)) == (1, ["v1", "v2"])
        assert "PROOFS THAT STAY OPEN: 1" in out
        assert "v1: it serves" in out
        assert 'feeds promote VERSION --force --why "erasure"' in out
        code, out, _ = run("promote", *config_of(shop), "v2", "--force", "--why", "erasure")
        assert (code, bundle_versions(shop.home)) == (0, ["v2"])
        assert "closed now: 1" in out

    def test_pending_removes_nothing_while_what_serves_contains_them(self, shop, run):
        run("forget", *config_of(shop), WHO)
        code, out, _ = run("forget", *config_of(shop), "--pending")
        assert (code, bundle_versions(shop.home)) == (0, ["v1"])
        assert "v1: it serves" in out
        assert "the log as it was read" in out

    def test_somebody_whom_no_version_knew_is_proven_by_the_next_build(self, shop, run):
        run("forget", *config_of(shop), "--visitor", "nobody")
        run("build", *config_of(shop))
        done = settle(shop.config, shop.home)
        assert (len(done.closed), done.removed) == (1, [])
        assert bundle_versions(shop.home) == ["v1"]

    def test_the_list_outlives_the_state(self, shop, run):
        run("forget", *config_of(shop), WHO)
        for file in shop.home.root.glob("state.db*"):
            file.unlink()
        assert list(forgotten(shop.config, shop.home).among(["u:p3", "u:p4"])) == ["u:p3"]


def test_the_list_of_proofs_shows_no_name(shop, run):
    run("forget", *config_of(shop), WHO)
    _, out, _ = run("forget", *config_of(shop), "--list")
    assert hidden(shop, "u:p3")[:8] in out
    for file in shop.home.proofs.iterdir():
        assert "p3" not in json.loads(file.read_text())["pseudonyms"]
        assert "phone" not in file.read_text()
