"""Means of small cells: shrunk towards what they are part of, with intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.shrinkage import parent_of, posterior, shrunken


def asked(cells, spread=0.3, seed=0):
    """(values, persons, codes) of (mean, people) cells: one request a person."""
    random = np.random.default_rng(seed)
    sizes = [people for _, people in cells]
    values = np.concatenate([mean + spread * random.standard_normal(n) for mean, n in cells])
    codes = np.repeat(np.arange(len(cells)), sizes)
    return values, np.arange(len(values)), [codes]


class TestShrinking:
    def test_a_cell_of_many_keeps_its_mean_a_cell_of_few_goes_to_the_others(self):
        values, persons, codes = asked([(0.02 * (n % 3), 400) for n in range(9)] + [(0.0, 2)])
        values[-2:] = 0.5  # two people who were lucky
        found = shrunken(values, persons, codes)
        assert found[0,].shrunk == pytest.approx(found[0,].mean, abs=0.01)
        assert found[9,].mean == 0.5
        assert abs(found[9,].shrunk) < 0.1

    def test_cells_that_lie_far_apart_are_left_where_they_are(self):
        found = shrunken(*asked([(-1.0, 50), (0.0, 50), (1.0, 50)]))
        for cell in found.values():
            if cell.key != (None,):
                assert cell.shrunk == pytest.approx(cell.mean, abs=0.02)

    def test_the_interval_of_a_shrunken_cell_is_narrower(self):
        found = shrunken(*asked([(0.0, 300), (0.0, 300), (0.0, 300), (0.0, 6)]))
        low, high = found[3,].interval()
        plain_low, plain_high = found[3,].plain()
        assert high - low < (plain_high - plain_low) / 2

    def test_without_levels_there_is_the_mean(self):
        values, persons, _ = asked([(0.5, 100)])
        (cell,) = shrunken(values, persons, []).values()
        assert cell.shrunk == pytest.approx(values.mean())
        assert cell.estimate() == (cell.mean, *cell.plain())

    def test_the_same_person_ten_times_is_one_person(self):
        values, persons, codes = asked([(0.1, 60), (0.2, 60)])
        once = shrunken(values, persons, codes)[0,]
        often = shrunken(np.repeat(values, 10), np.repeat(persons, 10), [np.repeat(codes[0], 10)])
        assert often[0,].error == pytest.approx(once.error)
        assert (often[0,].people, often[0,].requests) == (60, 600)

    def test_where_nothing_differs_nothing_is_open(self):
        found = shrunken(np.zeros(40), np.arange(40), [np.arange(40) % 2])
        np.testing.assert_allclose(found[0,].estimate(), 0, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_pass_up_and_one_down_is_the_joint_posterior(data):
    """Against the dense normal equations over all nodes of the tree."""
    depth = data.draw(st.integers(1, 3))
    leaves = data.draw(
        st.lists(st.tuples(*[st.integers(0, 2)] * depth), min_size=1, max_size=8, unique=True)
    )
    number = st.floats(-2, 2)
    measured = {leaf: (1, 1, data.draw(number), data.draw(st.floats(0.1, 2))) for leaf in leaves}
    for leaf in leaves:
        for level in range(depth):
            key = leaf[:level] + (None,) * (depth - level)
            measured.setdefault(key, (1, 1, 99.0, 99.0))  # of inner nodes nothing is used
    root = (None,) * depth
    parent = {key: parent_of(key) for key in measured if key != root}
    spreads = [0.0, *(data.draw(st.floats(0.05, 2)) for _ in range(depth))]
    nodes = list(measured)
    precision, pull = np.zeros((len(nodes), len(nodes))), np.zeros(len(nodes))
    for key in nodes:
        here = nodes.index(key)
        if None not in key:
            _, _, mean, error = measured[key]
            precision[here, here] += error**-2
            pull[here] += mean * error**-2
        if key != root:
            above = nodes.index(parent[key])
            weight = 1 / spreads[sum(part is not None for part in key)]
            precision[[here, above], [here, above]] += weight
            precision[[here, above], [above, here]] -= weight
    covariance = np.linalg.inv(precision)
    found = posterior(measured, parent, spreads, depth)
    for place, key in enumerate(nodes):
        mean, spread = found[key]
        assert mean == pytest.approx((covariance @ pull)[place], rel=1e-6, abs=1e-6)
        assert spread == pytest.approx(covariance[place, place] ** 0.5, rel=1e-6)


def test_intervals_hold_the_truth_nineteen_times_in_twenty():
    held, plain, better = [], [], []
    for seed in range(25):
        random = np.random.default_rng(seed)
        truth = 0.05 + random.normal(0, 0.03, 5)[:, None] + random.normal(0, 0.03, (5, 6))
        cells = random.choice(30, 500, p=random.dirichlet(np.full(30, 0.7)))
        persons = np.repeat(np.arange(500), 1 + random.poisson(1, 500))
        own = cells[persons]
        taste = random.normal(0, 0.15, 500)[persons]
        values = truth.ravel()[own] + taste + random.normal(0, 0.3, len(own))
        for key, cell in shrunken(values, persons, [own // 6, own % 6]).items():
            if None not in key:
                (low, high), (plain_low, plain_high) = cell.interval(), cell.plain()
                held.append(low <= truth[key] <= high)
                plain.append(plain_low <= truth[key] <= plain_high)
                better.append(abs(cell.shrunk - truth[key]) - abs(cell.mean - truth[key]))
    assert 0.93 < np.mean(held) < 0.99
    assert 0.92 < np.mean(plain) < 0.98
    assert np.mean(better) < -0.03
