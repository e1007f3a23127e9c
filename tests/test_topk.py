"""The best of many scores at once, and a ranker's `top` over batches, filters and exclusions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from features.types import Float32, Ragged
from training.rankers.base import Allowed, Queries, Ranker
from training.rankers.topk import best, best_of_rows, highest

NOTHING = np.empty(0, dtype=np.int64)
VALUES = st.one_of(
    st.sampled_from([np.nan, -0.0, 0.0, np.inf, -np.inf, 1.0, -1.0]), st.floats(-1, 1, width=32)
)


def expected(scores, k, excluded):
    """A stable full sort of every row, without NaN and without what is excluded."""
    own = scores.copy()
    own.reshape(-1)[excluded] = np.nan
    order = np.argsort(-own, axis=1, kind="stable")
    kept = [one[~np.isnan(own[row, one])][:k].tolist() for row, one in enumerate(order)]
    return [one + [-1] * (k - len(one)) for one in kept]


class TestBestOfRows:
    @settings(max_examples=150, deadline=None)
    @given(data=st.data(), rows=st.integers(1, 4), n=st.integers(0, 30), k=st.integers(1, 40))
    def test_is_a_stable_full_sort_of_short_rows(self, data, rows, n, k):
        scores = data.draw(hnp.arrays(np.float32, (rows, n), elements=VALUES))
        cells = st.integers(0, max(rows * n - 1, 0))
        excluded = np.array(sorted(data.draw(st.sets(cells))) if n else [], dtype=np.int64)
        assert best_of_rows(scores, k, excluded).tolist() == expected(scores, k, excluded)

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("steps", [3, 50, 10**6])  # few: nearly all are equal
    def test_is_a_stable_full_sort_of_long_rows(self, seed, steps):
        random = np.random.default_rng(seed)
        scores = (random.integers(0, steps, (5, 5000)) / steps - 0.5).astype(np.float32)
        scores[random.random(scores.shape) < 0.1] = np.nan
        scores[3] = np.nan
        scores[4, 7:] = np.nan  # fewer than are asked for
        best = np.concatenate([np.argsort(-scores[row])[:300] + row * 5000 for row in (0, 1)])
        excluded = np.sort(np.concatenate([best, random.choice(25_000, 50)]))
        assert best_of_rows(scores, 20, excluded).tolist() == expected(scores, 20, excluded)

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 1.0])
    def test_what_is_closed_counts_in_no_row(self, share):
        random = np.random.default_rng(7)
        scores = random.random((3, 6000)).astype(np.float32)
        open_, excluded = random.random(6000) < share, np.arange(0, 18_000, 7)
        shut = (np.arange(3)[:, None] * 6000 + np.flatnonzero(~open_)).ravel()
        gone = np.union1d(excluded, shut)
        assert best_of_rows(scores, 20, excluded, open_).tolist() == expected(scores, 20, gone)

    def test_survives_a_misleading_sample(self):
        scores = np.zeros((2, 10_000), dtype=np.float32)
        scores[0, ::64] = 1000  # all that the sample sees is high
        scores[1, 1::64] = 1000  # or none of what is
        for row in (0, 1):
            assert best_of_rows(scores, 5, NOTHING)[row].tolist() == [
                row + 64 * i for i in range(5)
            ]

    def test_looks_further_where_exclusions_leave_too_few_above_the_guess(self):
        scores = -np.arange(5000, dtype=np.float32)[None]  # the guess leaves 193
        found = best_of_rows(scores, 20, np.arange(190))
        assert found[0].tolist() == list(range(190, 210))

    def test_does_not_write_into_the_scores(self):
        scores = np.broadcast_to(np.arange(3000, dtype=np.float32), (3, 3000))
        found = best_of_rows(scores, 2, np.array([2999, 2 * 3000 + 2998]))
        assert found.tolist() == [[2998, 2997], [2999, 2998], [2999, 2997]]


@pytest.mark.parametrize("n", [0, 1, 30, 5000])
@pytest.mark.parametrize("k", [1, 20, 300])
@pytest.mark.parametrize("known", [0.0, 0.002, 0.9])
def test_the_highest_scores_are_those_of_the_best(n, k, known):
    random = np.random.default_rng(n + k)
    scores = random.standard_normal(n).astype(np.float32)
    scores[random.random(n) >= known] = np.nan
    assert highest(scores, k).tolist() == scores[best(scores, k)].tolist()


@dataclass(frozen=True)
class Table(Ranker):
    """Scores that are just there."""

    scores: Float32
    knows_strangers: ClassVar[bool] = True

    def score(self, queries, items=None):
        """The first of them."""
        return self.scores[: len(queries), slice(None) if items is None else items]


class TestTop:
    @pytest.mark.parametrize("people", [1, 64, 150])  # a request, a block, a batch on all cores
    @pytest.mark.parametrize("n_items", [300, 9000])
    @pytest.mark.parametrize("filtered", ["slice", "few", "most"])
    @pytest.mark.parametrize("closed", [None, 0.1, 0.9])
    def test_is_that_of_every_row_alone(self, people, n_items, filtered, closed):
        random = np.random.default_rng(people + n_items)
        scores = random.integers(0, 500, (people, n_items)).astype(np.float32)
        scores[random.random(scores.shape) < 0.2] = np.nan
        items = {
            "slice": slice(10, n_items - 10),
            "few": np.arange(0, n_items, 7, dtype=np.int32),
            "most": np.delete(np.arange(n_items, dtype=np.int32), [3, 5]),
        }[filtered]
        open_ = None if closed is None else random.random(n_items) >= closed
        inside = np.arange(n_items)[items]
        inside = inside if open_ is None else inside[open_[inside]]
        excluded = [random.choice(n_items, one % 40, replace=True) for one in range(people)]
        ranker, queries = Table(scores), Queries.of_strangers(people, n_items)
        found = ranker.top(queries, 20, Allowed(items, Ragged.of(excluded), open_))
        for row in range(people):
            own = np.full(n_items, np.nan, dtype=np.float32)
            own[inside] = scores[row, inside]
            own[excluded[row]] = np.nan
            wanted = expected(own[None], 20, [])[0]
            assert found.items[row].tolist() == wanted
            np.testing.assert_array_equal(found.scores[row], own[wanted])

    def test_of_nobody_is_empty(self):
        ranking = Table(np.zeros((0, 5), np.float32)).top(
            Queries.of_strangers(0, 5), 3, Allowed(slice(0, 5), Ragged.empty(0))
        )
        assert ranking.items.shape == ranking.scores.shape == (0, 3)
