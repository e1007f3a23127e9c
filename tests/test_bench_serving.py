"""The harness of the serving benchmarks: shops that are real bundles, and arithmetic by hand."""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from benchmarks.serving import report
from benchmarks.serving.asks import requests_of
from benchmarks.serving.load import Sample, round_of
from benchmarks.serving.memory import Memory
from benchmarks.serving.replay import Visit, compare, script, visits
from benchmarks.serving.servers import Server, workers_of
from benchmarks.serving.shops import Shop, home_of, item_id
from benchmarks.serving.speed import MEMORY, Round, answers, factors_of, row_of
from features.types import Ragged
from training.bundle import Bundle, open_bundle
from training.queries import queries_for
from training.rankers.base import Allowed

SHOP = Shop(items=900, people=60)


@pytest.fixture(scope="module", params=["als", "sequence", "blend"])
def bundle(request, tmp_path_factory) -> Bundle:
    base = tmp_path_factory.getbasetemp() / "bench-shops"
    return open_bundle(home_of(replace(SHOP, top=request.param), base), None)


class TestAShopWithoutTraining:
    def test_is_a_bundle_whose_top_ranker_speaks_to_customers(self, bundle):
        top = bundle.ladder[0]
        assert top.name in ("als", "sequence", "blend")
        queries = queries_for(
            bundle.timelines, np.arange(5, dtype=np.int32), [np.empty(0, np.int32)] * 5,
            bundle.as_of_us, bundle.config.signals, 0,
        )  # fmt: skip
        whole = Allowed(slice(0, SHOP.items), Ragged.empty(5))
        ranking = top.ranker.top(queries, 20, whole)
        assert (ranking.items >= 0).all()
        assert not np.isnan(ranking.scores).any()

    def test_has_popularity_for_strangers(self, bundle):
        assert (bundle.ladder[-1].rung, bundle.ladder[-1].name) == ("one_for_all", "popularity")

    def test_lies_sorted_by_category(self, bundle):
        paths = [bundle.catalogue.categories[item] for item in range(SHOP.items)]
        assert paths == sorted(paths)
        assert len(set(paths)) > 100

    def test_has_histories_of_a_customers_few_favourite_categories(self, bundle):
        log = bundle.timelines
        lengths = np.diff(log.indptr)
        assert (lengths.min() >= 5, lengths.max() <= 60) == (True, True)
        for row in range(SHOP.people):
            own = log.items[log.indptr[row] : log.indptr[row + 1]]
            assert len({bundle.catalogue.categories[item] for item in own.tolist()}) <= 3


def test_factors_are_skewed_in_norm_as_those_of_als_are(tmp_path):
    norms = np.linalg.norm(factors_of(home_of(Shop(20_000, people=100), tmp_path)), axis=1)
    assert np.quantile(norms, [0.5, 0.99]) == pytest.approx([0.031, 0.30], rel=0.1)
    assert norms.max() <= 1.7001


def sample(cpu_us: float) -> Sample:
    return Sample(requests=10, per_second=1e6 / cpu_us, cpu_us=cpu_us, p50_ms=1, p99_ms=2)


def rounds(*told: tuple[float, float, float]) -> list[Round]:
    """(CPU of `known`, CPU from memory, floor) of each round, in microseconds."""
    return [Round(8, floor, {"known": sample(cpu), MEMORY: sample(memory)})
            for cpu, memory, floor in told]  # fmt: skip


class TestRatios:
    def test_are_medians_of_ratios_within_a_round(self):
        row = row_of(
            Shop(100_000), "known", rounds((300, 100, 50), (900, 300, 100), (500, 100, 200))
        )
        assert (row.cpu_us, row.memory_us, row.floor_us) == (500, 100, 100)
        assert row.ratio == 3  # of 3, 3 and 5
        assert row.floors == 6  # of 6, 9 and 2.5
        assert row.added == 2  # (300 - 200) / 50, (900 - 600) / 100, (500 - 200) / 200

    @pytest.mark.parametrize(
        ("items", "top", "cpu", "met"),
        [
            (10_000, "als", 200, True), (10_000, "als", 201, False),  # 2x the 100 from memory
            (10_000, "blend", 400, True), (10_000, "sequence", 401, False),
            (100_000, "als", 329, True), (100_000, "als", 331, False),  # 200 + 1.3 x 100
            (1_000_000, "als", 140, True), (1_000_000, "als", 141, False),  # 1.4 x 100
        ],
    )  # fmt: skip
    def test_are_held_against_what_was_wanted(self, items, top, cpu, met):
        row = row_of(Shop(items, top), "known", rounds((cpu, 100, 100)))
        assert report.bar_of(row).met([row]) is met

    def test_of_one_and_of_many_connections_must_both_keep_to_it(self):
        good = row_of(Shop(10_000), "known", rounds((150, 100, 100)))
        bad = row_of(Shop(10_000), "known", rounds((250, 100, 100)))
        assert not report.bar_of(good).met([good, bad])

    def test_nothing_was_promised_of_a_large_blend(self):
        assert report.bar_of(row_of(Shop(100_000, "blend"), "known", rounds((9, 1, 1)))) is None


def test_memory_is_told_in_copies_of_the_arrays_beyond_the_base():
    assert Memory(base_mb=200, loaded_mb=700, arrays_mb=400).copies == 1.25


@pytest.mark.slow
class TestLoad:
    @pytest.fixture
    def server(self, service) -> Server:
        port = urlsplit(str(service.base_url)).port
        return Server(port, workers_of(os.getpid(), 2))

    def test_counts_answers_and_what_the_workers_used(self, server):
        body = requests_of(SHOP, "known")
        found = round_of(server, body, connections=4, seconds=0.3)
        assert found.requests > 10
        assert found.requests / 10 < found.per_second <= found.requests / 0.3
        assert 0 < found.cpu_us < 2e6 / found.per_second  # two workers at most
        assert found.p50_ms <= found.p99_ms

    def test_an_answer_that_is_none_stops_the_round(self, server):
        bad = [one.replace(b"/feed", b"/fees") for one in requests_of(SHOP, "known")]
        assert not answers(server, bad[0])
        with pytest.raises(ValueError, match="404"):
            round_of(server, bad, connections=1, seconds=0.3)


LOG = pd.DataFrame(
    [  # in order of time
        ("ann", "old", "s0", "view", 10), ("ann", "old", "s1", "view", 20),
        ("bob", "a", "s2", "view", 20), ("ann", "new", "s1", "view", 30),
        ("ann", "new", "s1", "like", 31), ("bob", "b", "s2", "share", 40),
    ],
    columns=["user_id", "item_id", "session_id", "event_type", "occurred_us"],
)  # fmt: skip


class TestReplay:
    def test_a_visit_wants_what_its_person_had_not_read_before(self):
        assert visits(LOG, 15, ["view", "like"]) == [
            Visit(20, "ann", ["new"]), Visit(20, "bob", ["a"]),
        ]  # fmt: skip

    def test_a_visit_from_before_the_cut_is_not_asked(self):
        assert visits(LOG, 20, ["view", "like"]) == []

    def test_all_events_strictly_before_a_request_are_told_before_it(self):
        asked = [Visit(20, "ann", []), Visit(20, "bob", []), Visit(31, "ann", [])]
        steps = [
            [one["item_id"] for one in body["events"]] if path == "/events" else body["user_id"]
            for path, body in script(asked, LOG)
        ]
        assert steps == [["old"], "ann", "bob", ["old", "a", "new"], "ann"]

    def test_both_ways_are_judged_on_the_same_and_the_first_difference_is_told(self):
        asked = [Visit(20, "ann", ["x"]), Visit(30, "bob", ["y"])]
        found = compare(asked, [["x", "a"], ["a", "y"]], [["x", "a"], ["y", "a"]])
        assert (found.offline, found.served) == pytest.approx(((1 + 1 / np.log2(3)) / 2, 1.0))
        assert not found.agree
        assert found.same_feeds == 1
        assert (found.first_difference["user_id"], found.first_difference["place"]) == ("bob", 1)

    def test_ids_are_as_the_shop_has_them(self):
        (_, told), *_ = script([Visit(11, "ann", [])], LOG)
        assert told["events"][0] == {
            "user_id": "ann", "item_id": "old", "session_id": "s0", "event_type": "view",
            "occurred_at": "1970-01-01T00:00:00.000010+00:00",
        }  # fmt: skip
        assert item_id(7) == "i0000007"
