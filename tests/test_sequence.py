"""The sequence ranker: order and gaps count, padding does not, and what serves needs no torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from features import arrays
from features.timelines import Timelines
from features.training_options import SequenceOptions
from features.types import DAY_US, Histories, Ragged
from training.fitting import CannotFit, sequence, torch_run
from training.fitting.sequence import fit_sequence
from training.fitting.sequence_lessons import Lessons
from training.fitting.sequence_net import SequenceNet, exported
from training.rankers.base import Queries
from training.rankers.onnx_model import OnnxModel
from training.rankers.sequence import SequenceRanker, gap_buckets, reading

SMALL = SequenceOptions(
    factors=16,
    heads=1,
    layers=1,
    length=6,
    dropout=0.0,
    batch=50,
    epochs=20,
    steps=1,
    learning_rate=0.01,
)
ROUND = np.random.default_rng(0).integers(0, 10, 60)  # where each person enters the round


def in_a_round(steps=8):
    """Everybody goes from item i to i + 1, and from 9 to 0."""
    return worlds.timelines([[(start + i) % 10 for i in range(steps)] for start in ROUND])


@pytest.fixture(scope="module")
def fitted():
    return fit_sequence(worlds.past(in_a_round()), SMALL)


def asking(rows, hours_ago=24.0, n_items=worlds.N_ITEMS, weights=1.0):
    """People with these items, `hours_ago` between each and the next, and until now."""
    ragged = Ragged.of(rows)
    ages = np.concatenate([np.arange(len(row), 0, -1) for row in rows]) * hours_ago / 24
    signals = np.zeros(ragged.values.size, np.int8)
    weighed = np.full(ragged.values.size, weights, np.float32)
    histories = Histories(
        ragged.indptr, ragged.values, signals, weighed, ages.astype(np.float32), n_items
    )
    return Queries.plain(histories, np.zeros(len(rows), np.int64), worlds.NOW_US)


def best(ranker, queries):
    return np.nanargmax(ranker.score(queries), axis=1).tolist()


class TestRanker:
    def test_tells_what_comes_next(self, fitted):
        assert best(fitted, asking([[1, 2, 3], [7, 8], [9], [4, 5, 6, 7]])) == [4, 9, 0, 8]

    def test_reads_the_newest_items_only(self, fitted):
        newest = [3, 4, 5, 6, 7, 8]
        scores = fitted.score(asking([newest, [1, 0, 1, *newest]]))
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-5)

    def test_scores_any_mix_of_lengths_as_it_scores_each_alone(self, fitted):
        rows = [list(range(length)) for length in (1, 6, 2, 5, 3)]
        together = fitted.score(asking(rows))
        alone = np.concatenate([fitted.score(asking([row])) for row in rows])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)

    def test_is_the_same_after_saving_and_loading(self, fitted, tmp_path):
        arrays.save(fitted, tmp_path / "sequence")
        again = arrays.load(SequenceRanker, tmp_path / "sequence")
        people = asking([[1, 2, 3]])
        np.testing.assert_array_equal(again.score(people), fitted.score(people))

    def test_has_no_opinion_without_anything_liked(self, fitted):
        assert np.isnan(fitted.score(asking([[1, 2]], weights=-1.0))).all()
        assert np.isnan(fitted.score(asking([[1, 2]], weights=0.0))).all()

    def test_has_no_opinion_on_and_by_items_that_nobody_touched(self):
        log = replace(in_a_round(), n_items=12)
        ranker = fit_sequence(worlds.past(log), SMALL.model_copy(update={"epochs": 1}))
        scores = ranker.score(asking([[1, 11], [1], [10, 11]], n_items=12))
        assert np.isnan(scores[:, 10:]).all()
        assert np.isfinite(scores[:2, :10]).all()
        assert np.isnan(scores[2]).all()

    def test_scores_without_torch(self, fitted, tmp_path):
        arrays.save(fitted, tmp_path / "sequence")
        code = (
            "import sys; from pathlib import Path; from features import arrays; "
            "from training.rankers.sequence import SequenceRanker; "
            f"ranker = arrays.load(SequenceRanker, Path({str(tmp_path / 'sequence')!r})); "
            "ranker.reader.session; print('torch' in sys.modules)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.stdout == "False\n", run.stderr


def test_looks_at_the_order_and_not_only_at_what_is_there():
    """Half of the people go up, the others down: 2 and 3 in one order mean 4, in the other 1."""
    down = [[(start - i) % 10 for i in range(8)] for start in ROUND]
    up = [[(start + i) % 10 for i in range(8)] for start in ROUND]
    options = SMALL.model_copy(update={"layers": 2})
    ranker = fit_sequence(worlds.past(worlds.timelines(up + down)), options)
    assert best(ranker, asking([[2, 3], [3, 2]])) == [4, 1]


def test_what_is_wanted_depends_on_when_it_is_asked():
    """After item 0 everybody takes 1 within the hour, or 2 on another day."""
    rows, hours = [[0, 1], [0, 2]] * 40, np.tile([0.2, 0.0, 30.0, 0.0], 40)
    log = worlds.timelines(rows)
    log.occurred_us[:] = worlds.NOW_US - (hours * DAY_US / 24).astype(np.int64)
    ranker = fit_sequence(worlds.past(log), SMALL)
    assert best(ranker, asking([[0]], hours_ago=0.2)) == [1]
    assert best(ranker, asking([[0]], hours_ago=40)) == [2]
    assert best(ranker, asking([[0]], hours_ago=40_000)) == [2], "a gap never met is the longest"


def test_gaps_are_powers_of_two_of_minutes_until_the_next_or_until_now():
    ages = np.array([3, 1, 0, 63], dtype=np.float32) / (24 * 60)
    assert gap_buckets(np.array([0, 3, 3, 4]), ages).tolist() == [1, 1, 0, 6]


class TestFit:
    def test_keeps_the_curve_and_the_best_epoch(self, fitted):
        assert fitted.curve.shape[1] == 4
        np.testing.assert_array_equal(fitted.curve[:, 0], np.arange(1, len(fitted.curve) + 1))
        assert fitted.curve[-1, 2] < fitted.curve[0, 2]
        assert fitted.curve[:, 3].max() > 0.9, "the round is all there is to know"

    def test_is_the_same_twice_and_another_with_another_seed(self):
        short = SMALL.model_copy(update={"epochs": 1, "dropout": 0.2})
        first, again, other = (
            fit_sequence(worlds.past(in_a_round(), seed=seed), short) for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first.item_vectors, again.item_vectors)
        assert first.reader.graph == again.reader.graph
        assert (first.item_vectors != other.item_vectors).any()

    @pytest.mark.parametrize("rows", [[], [[]], [[1], [2], [3]]])
    def test_needs_somebody_who_did_two_things(self, rows):
        with pytest.raises(CannotFit, match="sequence"):
            fit_sequence(worlds.past(worlds.timelines(rows)), SMALL)

    def test_leaves_torch_as_it_was(self):
        torch.manual_seed(3)
        before = torch.random.get_rng_state()
        fit_sequence(worlds.past(in_a_round()), SMALL.model_copy(update={"epochs": 1}))
        assert torch.equal(torch.random.get_rng_state(), before)
        assert not torch.are_deterministic_algorithms_enabled()

    def test_heads_must_divide_the_factors(self):
        with pytest.raises(ValueError, match="heads is 3"):
            SequenceOptions(factors=64, heads=3)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    length=st.integers(2, 12),
    seed=st.integers(0, 9),
)
def test_windows_hold_everything_that_has_a_next_item_once(lengths, length, seed):
    told = reading(asking([[1] * n for n in lengths]).histories, np.ones(10, np.bool_))
    lessons = Lessons(told, np.empty(0, np.int64), np.empty(0, np.int32), np.ones(10), np.ones(1))
    windows = lessons.windows(length, np.random.default_rng(seed))
    covered = np.concatenate([np.arange(a, a + n) for a, n in windows] or [np.empty(0, np.int64)])
    last = told.indptr[1:][told.lengths > 0] - 1
    expected = np.setdiff1d(np.arange(told.items.size), last)
    np.testing.assert_array_equal(np.sort(covered), expected)
    assert (windows[:, 1] <= length).all()
    assert (windows[:, 1] > 0).all()


def test_what_is_held_back_is_not_learned_from():
    lessons = Lessons.of(worlds.past(in_a_round(steps=4)))
    lengths, held = lessons.told.lengths, np.zeros(len(ROUND), np.bool_)
    held[lessons.held] = True
    assert lessons.held.size == 30
    np.testing.assert_array_equal(lengths, np.where(held, 3, 4))
    np.testing.assert_array_equal(lessons.answers, (ROUND[held] + 3) % 10)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SequenceNet(SequenceOptions(factors=8, length=20), 30).eval()


@pytest.fixture(scope="module")
def reader(net):
    return OnnxModel(exported(net.reader, SequenceOptions(factors=8, length=20)))


class TestNet:
    @pytest.mark.parametrize(
        ("people", "length"), [(1, 1), (1, 20), (2, 2), (5, 1), (64, 7), (3, 20)]
    )
    def test_onnx_is_torch_at_any_shape(self, net, reader, people, length):
        random = np.random.default_rng(people)
        items, gaps = (
            random.integers(0, 30, (people, length)),
            random.integers(0, 4, (people, length)),
        )
        lengths = random.integers(1, length + 1, people)
        with torch.no_grad():
            states = net(torch.from_numpy(items), torch.from_numpy(gaps)).numpy()
        vectors = net.items.weight.detach().numpy()[items]
        found = reader.run("state", vectors=vectors, gaps=gaps, lengths=lengths)
        np.testing.assert_allclose(
            found, states[np.arange(people), lengths - 1], rtol=1e-4, atol=1e-4
        )

    def test_what_follows_an_item_does_not_reach_it(self, net):
        items, gaps = torch.arange(6)[None], torch.zeros(1, 6, dtype=torch.int64)
        other = items.clone()
        other[0, 3:] = 20
        with torch.no_grad():
            first, second = net(items, gaps), net(other, gaps)
        torch.testing.assert_close(first[:, :3], second[:, :3])
        assert (first[:, 3:] != second[:, 3:]).any()

    def test_a_sample_of_every_item_is_the_whole_softmax(self, net):
        states, after = torch.randn(7, 8), torch.arange(7)
        everything = sequence._Sample(np.arange(30), np.zeros(30, np.float32))
        whole = functional.cross_entropy(states @ net.items.weight.T, after, reduction="sum")
        found = sequence._sampled_loss(net, states, after, everything)
        torch.testing.assert_close(found, whole)


def test_a_large_catalogue_learns_from_samples(monkeypatch):
    monkeypatch.setattr(sequence, "_SMALL", 5)
    ranker = fit_sequence(worlds.past(in_a_round()), SMALL.model_copy(update={"negatives": 40}))
    assert best(ranker, asking([[1, 2, 3], [7, 8]])) == [4, 9]


class TestCourse:
    def course(self, epochs=10, minutes=9.0, patience=2):
        return torch_run.Course(nn.Linear(1, 1), epochs, minutes, patience)

    def test_is_over_after_its_epochs(self):
        course = self.course(epochs=3)
        assert [course.goes_on(1.0, quality) for quality in (1, 2, 3)] == [True, True, False]
        assert course.finished()[:, 3].tolist() == [1, 2, 3]

    def test_is_over_when_it_has_been_no_better_for_a_while(self):
        course = self.course(patience=2)
        assert [course.goes_on(1.0, q) for q in (1, 3, 2, 3)] == [True, True, True, False]

    def test_is_over_when_the_time_is(self):
        course = self.course(minutes=1e-9)
        assert course.late()
        assert not course.goes_on(1.0, 1.0)

    def test_ends_with_the_weights_of_the_best_epoch(self):
        course = self.course(patience=2)
        for weight, quality in ((1.0, 0.1), (2.0, 0.5), (3.0, 0.3)):
            nn.init.constant_(course.model.weight, weight)
            course.goes_on(1.0, quality)
        course.finished()
        assert course.model.weight.item() == 2.0

    def test_knows_how_much_of_it_is_over(self):
        course = self.course(epochs=4)
        assert course.over(0.5) == pytest.approx(0.125)
        course.goes_on(1.0, 1.0)
        assert course.over(0.0) == pytest.approx(0.25)
        course.points[0] = (1, 60 * 9 / 2, 1.0, 1.0)  # the time allows for two such epochs
        assert course.over(0.0) == pytest.approx(0.5)


def test_a_fit_alone_sees_nothing_of_the_others():
    assert (torch_run.rank(), torch_run.world_size()) == (0, 1)
    assert np.arange(5)[torch_run.share(5)].tolist() == [0, 1, 2, 3, 4]
    assert torch_run.lead(lambda: "done") == "done"


def test_timelines_of_everybody_are_not_changed():
    log: Timelines = in_a_round()
    before = log.items.copy()
    fit_sequence(worlds.past(log), SMALL.model_copy(update={"epochs": 1}))
    np.testing.assert_array_equal(log.items, before)


def test_a_small_log_is_gone_through_more_often():
    """As many epochs as come to the steps that it takes to learn anything."""
    few = SMALL.model_copy(update={"epochs": 2, "steps": 30, "learning_rate": 1e-6})
    curve = fit_sequence(worlds.past(in_a_round()), few).curve
    assert 2 < len(curve) <= 30
