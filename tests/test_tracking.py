"""What MLflow keeps of a training, and how metrics are told apart by groups."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st

from features.types import Ragged
from training.evaluation import protocol, slices
from training.evaluation.slices import Groups, demand
from training.plots import learning_curve
from training.tracking import SAMPLE_SECONDS, Tracker

CURVE = np.array([[1, 2.0, 0.9, 0.10], [2, 4.0, 0.5, 0.20], [3, 6.0, 0.4, np.nan]], np.float32)
SLICE = {"task": "all", "name": "policy", "slice": "stage", "value": "loyal",
         "metric": "ndcg_at_20", "people": 40, "mean": 0.25}  # fmt: skip
EVENTS = [
    {"occurred_at": f"2026-01-{day:02}T10:00:00Z", "event_type": "view", "item_id": f"i{day % 3}",
     "user_id": f"p{day % 2}"} for day in range(1, 20)
]  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """As much of a trial of `training.tuning` as is recorded."""

    ranker: str
    number: int
    params: dict
    value: float
    seconds: float
    state: str


@pytest.fixture(scope="module")
def recorded(new_shop):
    """A run with everything that a training can tell, and its bundle."""
    shop = new_shop()
    features = shop.build({"events": shop.file("events.parquet", EVENTS)})
    tracker = Tracker(shop.home, shop.config({"events": {"path": "events.parquet"}}))
    bundle = shop.home.scratch() / "bundle"
    bundle.mkdir()
    np.save(bundle / "large.npy", np.zeros(100_000))
    np.save(bundle / "small.npy", np.zeros(1))
    (bundle / "manifest.json").write_text("{}")
    with tracker.run(features):
        version = tracker.record(
            bundle, params={"als.factors": 64}, metrics={"all/policy/ndcg_at_20": 0.5},
            tags={"why": "test"}, plots={}, curves={"sequence": CURVE},
            slices=[SLICE, SLICE | {"value": "new: a/b", "people": 3}],
            trials=[Tried("als", 0, {"factors": 32}, 0.3, 1.5, "complete"),
                    Tried("als", 1, {"factors": 64}, float("nan"), 0.5, "fail")],
        )  # fmt: skip
    client = tracker.connect()
    run = client.get_run(client.get_model_version("feeds", str(version)).run_id)
    return SimpleNamespace(
        client=client, run=run, features=features, bundle=bundle, tracker=tracker, version=version
    )


class TestARun:
    def test_keeps_settings_metrics_and_tags(self, recorded):
        data = recorded.run.data
        assert data.params["als.factors"] == "64"
        assert data.metrics["all/policy/ndcg_at_20"] == 0.5
        assert data.tags["why"] == "test"
        assert recorded.run.info.status == "FINISHED"

    def test_names_the_data_set_by_its_digest_and_its_size(self, recorded):
        (used,) = recorded.run.inputs.dataset_inputs
        assert used.dataset.digest == recorded.features.digest[:16]
        assert str(recorded.features.directory) in used.dataset.source
        assert '"events": 19' in used.dataset.profile

    def test_has_metrics_of_groups_that_are_large_enough_and_a_table_of_all(self, recorded):
        metrics = recorded.run.data.metrics
        assert metrics["all/policy/stage/loyal/ndcg_at_20"] == 0.25
        assert not any("new" in name for name in metrics)
        table = recorded.client.download_artifacts(recorded.run.info.run_id, "slices.json")
        rows = json.loads(Path(table).read_text())["data"]
        assert [row[3] for row in rows] == ["loyal", "new: a/b"]

    def test_has_learning_curves_by_epoch_and_their_plot(self, recorded):
        client, run_id = recorded.client, recorded.run.info.run_id
        loss = client.get_metric_history(run_id, "sequence/loss")
        assert {point.step: round(point.value, 3) for point in loss} == {1: 0.9, 2: 0.5, 3: 0.4}
        found = client.get_metric_history(run_id, "sequence/validation_ndcg")
        assert [point.step for point in found] == [1, 2]  # of the third epoch nothing is known
        plots = [artifact.path for artifact in client.list_artifacts(run_id, "plots")]
        assert plots == ["plots/learning_sequence.png"]

    def test_has_a_nested_run_for_every_trial(self, recorded):
        parent = recorded.run.info
        found = recorded.client.search_runs(
            [parent.experiment_id], f"tags.mlflow.parentRunId = '{parent.run_id}'"
        )
        told = {run.data.tags["mlflow.runName"]: run for run in found}
        assert told["als 0"].data.metrics == {"value": 0.3, "seconds": 1.5}
        assert told["als 0"].data.params == {"factors": "32"}
        assert told["als 1"].info.status == "FAILED"
        assert "value" not in told["als 1"].data.metrics

    def test_holds_no_second_copy_of_large_arrays(self, recorded):
        stored = {file.name: file for file in recorded.tracker.home.root.glob("artifacts/**/*.npy")}
        assert stored["large.npy"].samefile(recorded.bundle / "large.npy")
        assert not stored["small.npy"].samefile(recorded.bundle / "small.npy")

    def test_gives_its_bundle_back(self, recorded, tmp_path):
        recorded.tracker.fetch(recorded.version, tmp_path / "v1")
        names = {file.name for file in (tmp_path / "v1").iterdir()}
        assert names == {"large.npy", "small.npy", "manifest.json"}

    def test_watches_the_machine_while_it_lasts(self, recorded):
        with recorded.tracker.run(recorded.features):
            time.sleep(2.5 * SAMPLE_SECONDS)
        newest = recorded.client.search_runs([recorded.run.info.experiment_id], max_results=1)[0]
        assert newest.data.metrics["system/system_memory_usage_megabytes"] > 0

    def test_of_a_training_that_fails_is_marked_as_failed(self, recorded):
        with pytest.raises(RuntimeError), recorded.tracker.run(recorded.features):
            raise RuntimeError("no memory")
        newest = recorded.client.search_runs([recorded.run.info.experiment_id], max_results=1)[0]
        assert newest.info.status == "FAILED"


def test_a_learning_curve_is_drawn_even_of_no_epoch():
    assert learning_curve("sequence", CURVE[:0]).axes


class TestDemand:
    def test_half_of_all_events_are_of_the_head(self):
        log = worlds.timelines([[0, 0, 0, 0, 1, 1, 2, 3]], n_items=6)
        found = {name: np.flatnonzero(mask).tolist() for name, mask in demand(log).items()}
        assert found == {"head": [0], "tail": [1, 2, 3], "cold": [4, 5]}

    @given(st.lists(st.integers(0, 9), max_size=40))
    def test_every_item_is_in_one_group_and_the_head_is_no_larger_than_needed(self, items):
        log = worlds.timelines([items])
        found = demand(log)
        assert (sum(mask.astype(int) for mask in found.values()) == 1).all()
        counts = np.bincount(items, minlength=10) if items else np.zeros(10)
        head = np.sort(counts[found["head"]])
        assert head.sum() >= counts.sum() / 2
        assert head[1:].sum() < counts.sum() / 2 or not items


class TestSlices:
    """Three people: the first two find what they want at the first place, the third does not."""

    task = SimpleNamespace(
        name="all", people=range(3), rows=np.array([4, 2, 0]), truth=Ragged.of([[1], [2, 3], [4]])
    )
    feeds = np.array([[1, 5], [2, 6], [7, 8]], dtype=np.int32)

    def rows(self, people, items, **options):
        outcome = protocol.judge(self.feeds, self.task.truth, name="policy", task="all", n_items=9)
        found = slices.rows([outcome], [self.task], Groups(people, items), **options)
        return {(row["value"], row["people"]): row["mean"] for row in found
                if row["metric"] == "hit_rate_at_20"}  # fmt: skip

    def test_of_people_are_means_over_those_in_the_group(self):
        loyal = np.array([True, False, True, False, False])  # the second and the third
        found = self.rows({"stage": {"loyal": loyal, "new": ~loyal}}, {})
        assert found == {("loyal", 2): 0.5, ("new", 1): 1.0}

    def test_of_items_ask_only_those_who_wanted_one_of_them_and_for_these_alone(self):
        head = np.isin(np.arange(9), [1, 3])
        found = self.rows({}, {"demand": {"head": head, "tail": ~head}})
        assert found == {("head", 2): 0.5, ("tail", 2): 0.5}

    def test_of_everybody_or_nobody_are_left_out(self):
        everybody = np.ones(5, dtype=bool)
        assert self.rows({"channel": {"site": everybody, "email": ~everybody}}, {}) == {}
        assert self.rows({}, {"kind": {"product": np.ones(9, dtype=bool)}}) == {}

    def test_are_made_of_the_asked_rankers_only(self):
        loyal = np.array([True, False, True, False, False])
        assert self.rows({"stage": {"loyal": loyal}}, {}, names=["als"]) == {}
