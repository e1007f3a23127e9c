"""The pictures of notebook 3: the heat map, and what serving by evidence comes to."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from test_evidence_report import ABOVE, LOSES, OPEN, PAYS, SMALL, evidence

from command import pay_pictures
from command.heat_picture import heat_map
from command.pay_pictures import pays_up_to


def tiles(figure):
    """Words of a tile -> its colour, in a map with one panel."""
    (axes,) = figure.axes
    drawn = zip(axes.texts, axes.patches, strict=True)
    return {words.get_text(): patch.get_facecolor()[:3] for words, patch in drawn}


class TestHeatMap:
    def test_writes_what_is_served_and_what_it_gained(self):
        assert set(tiles(heat_map(evidence(PAYS, OPEN, LOSES)))) == {
            "context\n+0.200", "context\n+0.010 open", "context\n-0.200"}  # fmt: skip

    def test_is_blue_where_it_pays_orange_where_it_loses_and_white_where_that_is_open(self):
        found = tiles(heat_map(evidence(PAYS, OPEN, LOSES)))
        red, _, blue = found["context\n+0.200"]
        assert blue > red
        red, _, blue = found["context\n-0.200"]
        assert red > blue
        assert found["context\n+0.010 open"] == to_rgb("white")

    def test_names_the_panels_that_are_too_small_to_draw(self):
        figure = heat_map(evidence(cells=[replace(ABOVE, people=3), SMALL]))
        assert not figure.axes
        assert "only 3 people" in figure.legends[0].get_title().get_text()

    def test_says_what_an_experiment_has_decided(self):
        figure = heat_map(evidence(replace(PAYS, rests_on="online")))
        assert "context ◆\n+0.200" in tiles(figure)
        assert figure.legends[0].get_title().get_text() == "◆ decided by an experiment"
        assert heat_map(evidence(PAYS)).legends[0].get_title().get_text() == ""


def line(over_never, over_always=0.0):
    """A bottom line of products."""
    gains = {"over_never": over_never, "over_always": over_always}
    return {"kind": "product", "feeds_a_month": 1000, "less_personal": 0.5} | {
        name: {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}
        for name, mean in gains.items()
    }


FREE = [line(0.1)]


class TestPaysUpTo:
    def test_is_where_it_brings_as_much_as_what_is_free(self):
        # always: 0.3, 0.2, 0.0, -0.2: down to 0.1 half-way between 1 and 2
        # by evidence: 0.2, 0.12, 0.1 more than nothing; 0.105 is 5 % of its 0.1 above what is free
        found = {0.0: [line(0.2, -0.1)], 1.0: [line(0.12, -0.08)], 2.0: [line(0.1, 0.1)]}
        always, chosen = pays_up_to(found, FREE, "product")
        assert always == pytest.approx(1.5)
        assert chosen == pytest.approx(1.75)

    def test_is_nothing_where_it_never_pays_and_endless_where_it_always_does(self):
        assert pays_up_to({0.0: [line(0.1)], 1.0: [line(0.1)]}, FREE, "product") == (0, 0)
        assert pays_up_to({0.0: [line(0.2)], 1.0: [line(0.2)]}, FREE, "product") == (np.inf, np.inf)


class TestPictures:
    def test_against_habits_shows_both_gains_with_their_intervals(self):
        never, always = pay_pictures.against_habits(evidence(PAYS)).axes
        assert never.lines[0].get_xdata().tolist() == [0.2]
        assert always.lines[0].get_xdata().tolist() == [0.05]
        (interval,) = never.collections[0].get_segments()
        assert interval[:, 0] == pytest.approx([0.15, 0.25])

    def test_by_period_shows_each_rung_over_time(self):
        (axes,) = pay_pictures.by_period(evidence(PAYS)).axes
        assert axes.containers[0].lines[0].get_ydata().tolist() == [0.3, 0.2, 0.1]
        assert axes.get_title(loc="left") + axes.get_title() == "products"

    def test_by_bar_shows_gains_and_the_share_that_is_less_personal(self):
        found = {0.0: [line(0.2)], 0.1: [line(0.1)]}
        above, below = pay_pictures.by_bar(found, "ndcg@20").axes
        assert above.lines[0].get_ydata().tolist() == [0.2, 0.1]
        assert below.lines[0].get_ydata().tolist() == [50, 50]

    def test_by_cost_shows_money_a_month(self):
        found = {0.0: [line(0.3, 0.1)], 1.0: [line(0.2, 0.4)]}
        above, _ = pay_pictures.by_cost(found, FREE, "EUR").axes
        chosen, always, free = above.lines[:3]
        assert chosen.get_ydata() == pytest.approx([300, 200])
        assert always.get_ydata() == pytest.approx([200, -200])
        assert free.get_ydata() == pytest.approx([100, 100])
