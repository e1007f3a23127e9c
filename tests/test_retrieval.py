"""Large catalogues: an index only where it is faster, and only if it finds what is best."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import worlds

from features.types import Histories, Ragged
from training import retrieval
from training.rankers.als import AlsModel, AlsRanker
from training.rankers.base import Allowed, Queries
from training.rankers.least_squares import diagonal
from training.rankers.live import Widened
from training.rankers.neighbours import NeighboursRanker
from training.retrieval import Factored, Indexed, chosen, compared, index_at, judged

ITEMS, WIDTH, PEOPLE = 20_000, 32, 40
EVERYTHING = slice(0, ITEMS)


def skewed(seed: int = 0) -> AlsRanker:
    """Factors in clusters and with norms as ALS gives on real logs: median 0.03, some far above."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((50, WIDTH))
    found = centres[random.integers(0, 50, ITEMS)] + 0.8 * random.standard_normal((ITEMS, WIDTH))
    norms = np.minimum(0.031 * np.exp(random.standard_normal(ITEMS)), 1.7)
    found *= (norms / np.linalg.norm(found, axis=1))[:, None]
    turn, strength = diagonal(found.astype(np.float32))
    factors = found.astype(np.float32) @ turn
    return AlsRanker(factors, strength, np.ones(ITEMS, bool), AlsModel(10.0, 0.1, 100.0, 1.0), 0.0)


@pytest.fixture(scope="module")
def als():
    return skewed()


@pytest.fixture(scope="module")
def people():
    """Everybody likes ten items."""
    random = np.random.default_rng(1)
    liked = np.concatenate([random.choice(ITEMS, 10, replace=False) for _ in range(PEOPLE)])
    n = liked.size
    histories = Histories(
        np.arange(0, n + 1, 10), liked.astype(np.int32), np.zeros(n, np.int8),
        np.ones(n, np.float32), np.ones(n, np.float32), ITEMS,
    )  # fmt: skip
    return Queries.plain(histories, np.full(PEOPLE, 10), worlds.NOW_US)


def one(people: Queries, row: int) -> Queries:
    return people.take(np.array([row]))


class TestWithoutAnIndex:
    def test_a_small_catalogue_is_scored_whole_and_that_is_said(self, als, people, tmp_path):
        ranker, choice = chosen("als", als, people, tmp_path / "als.faiss")
        assert ranker is als
        assert str(choice) == ("als, 20,000 items: every item is scored (fewer than 200,000)")

    def test_where_faiss_is_not_installed_everything_works_and_says_so(
        self, als, people, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(retrieval, "EXACT_BELOW", 1000)
        monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not there
        ranker, choice = chosen("als", als, people, tmp_path / "als.faiss")
        assert ranker is als
        assert "faiss is not installed" in str(choice)

    def test_only_a_product_of_factors_can_have_one(self, als):
        assert isinstance(als, Factored)
        assert not issubclass(NeighboursRanker, AlsRanker)
        assert not isinstance(Widened(als, ITEMS, ITEMS), Factored)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("bundle") / "indexes" / "als.faiss"


@pytest.fixture(scope="module")
def indexed(als, kept):
    pytest.importorskip("faiss", reason="the extra [faiss] is not installed")
    return Indexed(als, index_at(kept, als.item_factors))


class TestAnIndex:
    def test_finds_what_is_best_although_norms_are_skewed(self, als, indexed, people):
        everything = Allowed(EVERYTHING, Ragged.empty(1))
        found = 0
        for row in range(PEOPLE):
            asked = one(people, row)
            exact, listed = (r.top(asked, 20, everything) for r in (als, indexed))
            found += np.isin(exact.items, listed.items).sum()
            same = np.isin(listed.items[0], exact.items[0])
            np.testing.assert_allclose(  # scored exactly, best first
                listed.scores[0, same], als.score(asked)[0, listed.items[0, same]], rtol=1e-5
            )
            assert (np.diff(listed.scores[0]) <= 0).all()
        assert found / (20 * PEOPLE) >= 0.99

    def test_never_shows_what_is_closed_or_excluded(self, als, indexed, people):
        best = als.top(one(people, 0), 400, Allowed(EVERYTHING, Ragged.empty(1))).items[0]
        open_ = np.ones(ITEMS, bool)
        open_[best[:300:2]] = False
        allowed = Allowed(EVERYTHING, Ragged.of([best[1:300:2]]), open_)
        shown = indexed.top(one(people, 0), 20, allowed).items[0]
        assert shown.tolist() == best[300:320].tolist()

    def test_is_not_asked_for_a_part_of_the_catalogue(self, als, indexed, people):
        parts = [slice(100, 400), np.arange(0, ITEMS, 9, dtype=np.int32)]
        few = np.arange(ITEMS) % 50 == 0
        for allowed in (*(Allowed(part, Ragged.empty(1)) for part in parts),
                        Allowed(EVERYTHING, Ragged.empty(1), few)):  # fmt: skip
            for ranker in (als, replace(indexed, index=None)):  # None: whoever asks it falls over
                shown = ranker.top(one(people, 3), 20, allowed).items
                np.testing.assert_array_equal(shown, als.top(one(people, 3), 20, allowed).items)

    def test_gives_a_batch_and_a_stranger_what_the_ranker_gives(self, als, indexed, people):
        everything = Allowed(EVERYTHING, Ragged.empty(PEOPLE))
        np.testing.assert_array_equal(
            indexed.top(people, 5, everything).items, als.top(people, 5, everything).items
        )
        nobody = Queries.of_strangers(1, ITEMS)
        shown = indexed.top(nobody, 5, Allowed(EVERYTHING, Ragged.empty(1)))
        assert (shown.items == -1).all()

    def test_is_made_once_and_kept_for_other_workers(self, als, indexed, kept):
        before = kept.stat().st_mtime_ns
        again = index_at(kept, als.item_factors)
        assert again.ntotal == ITEMS
        assert kept.stat().st_mtime_ns == before
        assert [path.name for path in kept.parent.iterdir()] == ["als.faiss"]
        assert kept.stat().st_size < 1.1 * ITEMS * WIDTH  # a byte per factor

    @pytest.mark.parametrize(
        ("exact_ms", "index_ms", "recall", "line"),
        [
            (11.2, 5.7, 0.995, "an index (faster here); exact 11.2 ms, index 5.7 ms, recall 0.995"),
            (5.0, 5.7, 1.0, "every item is scored (an index would be no faster); exact 5.0 ms, "
             "index 5.7 ms, recall 1.000"),
            (11.2, 5.7, 0.98, "every item is scored (an index would miss too much); exact 11.2 ms, "
             "index 5.7 ms, recall 0.980"),
        ],
    )  # fmt: skip
    def test_is_taken_where_it_is_faster_and_good_and_that_is_said(
        self, exact_ms, index_ms, recall, line
    ):
        choice = judged("als", 1_000_000, exact_ms, index_ms, recall)
        assert str(choice) == f"als, 1,000,000 items: {line}"
        assert choice.indexed == ("an index (" in line)

    def test_is_measured_on_this_machine_and_these_people(self, als, indexed, people):
        ranker, choice = compared("als", als, indexed, people)
        assert choice.recall >= 0.99
        assert min(choice.exact_ms, choice.index_ms) > 0
        assert ranker is (indexed if choice.indexed else als)

    def test_of_other_factors_misses_nearly_everything(self, als, indexed, people, tmp_path):
        other = Indexed(als, index_at(tmp_path / "other.faiss", skewed(5).item_factors))
        _, choice = compared("als", als, other, people)
        assert choice.recall < 0.5
        assert not choice.indexed
