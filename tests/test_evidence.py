"""For whom a more personal feed pays: planted cells, verdicts, what is served, what it says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import worlds
from pydantic import ValidationError

from features.config import KINDS, RUNGS
from features.lifecycle import STAGES
from features.segments import settled_name
from features.training_options import EvidenceOptions
from features.types import DAY_US
from training.bundle import terms
from training.evaluation.bottom_line import evidence_of
from training.evaluation.evidence import UNKNOWN, Evidence, Requests, names_of, weigh, worth
from training.fitting import fit
from training.policy import People, Reason, Step, decide
from training.rungs import Compared, Survey

SEGMENTS = ["fans", "crowd", "few"]
GROUPS = [{"name": name, "rule": "orders > 0"} for name in SEGMENTS]
CONFIG = worlds.config(segments=GROUPS)
NAMES = names_of(SEGMENTS, ["site", "email"])
ONE_FOR_ALL, CONTEXT, SEGMENT, ONE_TO_ONE = range(4)


def compared(cells, seed=0, spread=0.1):
    """A survey's rows: of each (segment, people, gains by rung over one for all), over 20 days."""
    random = np.random.default_rng(seed)
    sizes = [people for _, people, _ in cells]
    n = sum(sizes)
    base = 0.3 + spread * random.standard_normal(n)
    ndcg = base[:, None] + np.repeat([[0, *gains] for _, _, gains in cells], sizes, axis=0)
    ndcg[:, 1:] += 0.05 * random.standard_normal((n, 3))
    zeros = np.zeros(n, np.int64)
    return Compared(
        ndcg, 10 * ndcg, 50 * ndcg, np.tile(np.arange(4, dtype=np.int8), (n, 1)), np.arange(n),
        np.repeat([code for code, _, _ in cells], sizes).astype(np.int16),
        np.full(n, STAGES.index("active"), np.int8), zeros.astype(np.int16), zeros.astype(np.int8),
        np.ones(n, np.bool_), worlds.NOW_US + (random.random(n) * 20 * DAY_US).astype(np.int64),
    )  # fmt: skip


def survey(cells, **parts):
    rows = compared(cells)
    made = Survey(rows, SEGMENTS, ["site", "email"], 6000, {"product": 1.0, "article": 0.0}, 20.0,
                  worlds.NOW_US, worlds.NOW_US + 20 * DAY_US)  # fmt: skip
    return replace(made, **parts)


PLANTED = [(0, 300, (0.1, 0.1, 0.2)), (1, 300, (0.0, 0.0, -0.1)), (2, 4, (0.0, 0.0, 0.05))]


def weighed(cells=PLANTED, on_unknown="parent", **options):
    return weighed_of(compared(cells), on_unknown, **options)


def weighed_of(rows, on_unknown="parent", **options):
    codes = tuple(c.astype(np.int64) for c in (
        rows.browsing, rows.kinds, rows.channels, rows.stages, rows.segments))  # fmt: skip
    told = EvidenceOptions(**options)
    brought, cost = worth(rows, np.ones(len(rows)), told)
    asked = Requests(brought - cost, cost, rows.persons, codes, rows.at_us)
    found = weigh(asked, NAMES, told, on_unknown)
    return Evidence("ndcg@20", on_unknown, 0, found, "", [], [])


def of(evidence, segment, stage="active", visit="browsing", channel="site", kind="product"):
    return evidence.cell(visit, kind, channel, stage, segment)


class TestVerdicts:
    def test_climb_where_it_pays_stay_where_it_costs(self):
        found = weighed()
        assert of(found, "fans").rung == "one_to_one"
        assert of(found, "fans").gains[-1].verdict == "climb"
        assert of(found, "crowd").rung != "one_to_one"
        assert of(found, "crowd").gains[-1].verdict == "stay"

    def test_a_rung_is_compared_with_the_best_below_it_that_paid(self):
        found = weighed([(0, 300, (0.2, 0.0, 0.1))])
        told = [(gain.rung, gain.over, gain.verdict) for gain in of(found, "fans").gains]
        assert told == [("context", "one_for_all", "climb"), ("segment", "context", "stay"),
                        ("one_to_one", "context", "stay")]  # fmt: skip
        assert of(found, "fans").rung == "context"

    def test_four_people_decide_nothing(self):
        cells = [(0, 300, (0, 0, 0.2)), (1, 300, (0, 0, -0.2)), (2, 3, (0, 0, 0.02))]
        assert of(weighed(cells), "few").gains[-1].verdict == "unknown"

    def test_steps_that_are_each_open_do_not_add_up_to_a_loss(self):
        """Each rung is a little worse than the one below; from the lowest the highest is clear."""
        for seed in range(40):
            rows = compared([(0, 400, (-0.006, -0.012, -0.018))], seed=seed)
            gap = rows.ndcg[:, ONE_TO_ONE] - rows.ndcg[:, ONE_FOR_ALL]
            if gap.mean() + 2.5 * gap.std() / 20 > 0:
                continue
            codes = (np.zeros(400, np.int64),) * 5
            asked = Requests(rows.ndcg, 0 * rows.ndcg, rows.persons, codes, rows.at_us)
            names = {**NAMES, "segment": SEGMENTS}
            told = weigh(asked, names, EvidenceOptions(), "parent")[-1]
            assert told.rung != "one_to_one"

    @pytest.mark.parametrize(
        ("on_unknown", "rung"),
        [("parent", "one_to_one"), ("climb", "one_to_one"), ("stay", "one_for_all")],
    )
    def test_what_is_unknown_goes_by_the_config(self, on_unknown, rung):
        cells = [(0, 300, (0, 0, 0.2)), (1, 100, (0, 0, -0.1)), (2, 3, (0, 0, 0.0))]
        assert of(weighed(cells, on_unknown), "few").rung == rung

    def test_by_the_parent_means_what_holds_for_all_of_it(self):
        cells = [(0, 60, (0, 0, 0.2)), (1, 300, (0, 0, -0.2)), (2, 3, (0, 0, 0.03))]
        assert of(weighed(cells, "parent"), "few").rung != "one_to_one"
        assert of(weighed(cells, "climb"), "few").rung == "one_to_one"

    def test_a_gain_below_the_least_worth_having_is_none(self):
        cells = [(0, 300, (0, 0, 0.05))]
        assert of(weighed(cells), "fans").rung == "one_to_one"
        assert of(weighed(cells, min_gain=0.08), "fans").rung != "one_to_one"

    def test_a_rung_that_nobody_speaks_on_is_no_step_up(self):
        rows = compared([(0, 300, (0.1, 0.1, 0.2))])
        rows.ndcg[:, SEGMENT] = rows.ndcg[:, CONTEXT]
        assert rows.ndcg[0, CONTEXT] != rows.ndcg[0, ONE_FOR_ALL]
        codes = (rows.segments.astype(np.int64),) * 5
        told = EvidenceOptions()
        asked = Requests(rows.ndcg, 0 * rows.ndcg, rows.persons, codes, rows.at_us)
        names = {**NAMES, "kind": SEGMENTS, "channel": SEGMENTS, "visit": SEGMENTS}
        cell = weigh(asked, names, told, "climb")[-1]
        assert [gain.verdict for gain in cell.gains] == ["climb", "stay", "climb"]


class TestPlacementsThatTheLogDoesNotKnow:
    """Another channel than the log's, or no kind: what holds for all of them, group by group."""

    def ceiling(self, channel, kind):
        found = evidence_of(survey(PLANTED), CONFIG)
        return found.ceiling(channel, kind, SEGMENTS)[1, STAGES.index("active")]

    @pytest.mark.parametrize(
        ("channel", "kind"),
        [("site", "product"), ("app", "product"), (None, None), ("site", None), ("app", "article")],
    )
    def test_still_tell_the_groups_apart(self, channel, kind):
        fans, crowd, *_ = self.ceiling(channel, kind)
        assert fans == ONE_TO_ONE
        assert crowd < ONE_TO_ONE


class TestLearnedSegments:
    """Another build makes other groups, whatever they are called."""

    SPECS = worlds.config(segments=[
        {"name": "garden", "rule": "orders > 3"}, {"name": "topic", "declared": "topic"},
        {"learned": 3}, {"learned": 2, "within": "garden"}]).segments  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "settled"),
        [("garden", "garden"), ("topic: art", "topic: art"), ("very active", "learned"),
         ("garden: very active", "garden: learned")],
    )  # fmt: skip
    def test_count_as_one(self, name, settled):
        assert settled_name(self.SPECS, name) == settled


class TestMoney:
    def test_a_personal_feed_that_costs_more_than_it_brings_does_not_pay(self):
        cells = [(0, 300, (0, 0, 0.05))]  # half a hit more in 20
        cheap = weighed(cells, value_per_hit=0.01, cost_per_personal_feed=0.001)
        dear = weighed(cells, value_per_hit=0.01, cost_per_personal_feed=0.02)
        assert (of(cheap, "fans").rung, of(dear, "fans").rung[:7]) == ("one_to_one", "one_for")

    def test_where_a_personal_feed_is_the_same_feed_any_cost_is_lost(self):
        """What a feed costs is known: no doubt about the cost may make the policy more personal."""
        same = [(0, 300, (0, 0, 0)), (1, 300, (0, 0, 0.05))]
        rows = compared(same)
        crowd = rows.segments == 0
        equal = replace(rows, hits=np.where(crowd[:, None], rows.hits[:, :1], rows.hits))
        for cost in (0.0, 1e-6, 0.01):
            found = of(weighed_of(equal, value_per_hit=0.1, cost_per_personal_feed=cost), "fans")
            assert found.rung == "one_for_all"
            assert [gain.verdict for gain in found.gains] == ["stay"] * 3

    def test_only_rungs_that_use_what_is_known_of_the_person_cost(self):
        told = EvidenceOptions(value_per_hit=2.0, cost_per_personal_feed=0.5)
        rungs = np.array([[0, 1, 2, 3], [0, 0, 0, 0]], dtype=np.int8)  # the second is a stranger
        feeds = replace(compared([(0, 2, (0, 0, 0))]), hits=np.ones((2, 4)), rungs=rungs)
        brought, cost = worth(feeds, np.array([1, 0.5]), told)
        assert (brought - cost).tolist() == [[2.0, 2.0, 1.5, 1.5], [1.0, 1.0, 1.0, 1.0]]

    def test_with_a_margin_what_was_paid_decides(self):
        feeds = replace(compared([(0, 1, (0, 0, 0))]), paid=np.array([[0.0, 0, 0, 30]]))
        brought, _ = worth(feeds, np.ones(1), EvidenceOptions(margin=0.2))
        assert brought.tolist() == [[0, 0, 0, 6.0]]

    def test_what_is_not_paid_for_is_valued_by_the_hit(self):
        """The second is about an article, for which nobody pays."""
        feeds = replace(
            compared([(0, 2, (0, 0, 0))]), paid=np.array([[0.0, 0, 0, 30], [0, 0, 0, 0]]),
            hits=np.array([[0.0, 0, 0, 1], [0, 0, 0, 1]]), kinds=np.array([0, 1], np.int8),
        )  # fmt: skip
        brought, _ = worth(feeds, np.ones(2), EvidenceOptions(margin=0.2, value_per_hit=0.5))
        assert brought[:, ONE_TO_ONE].tolist() == [6.0, 0.5]

    def test_a_margin_where_nothing_was_paid_says_what_to_give(self):
        config = worlds.config(segments=GROUPS, training={"evidence": {"margin": 0.2}})
        made = survey(PLANTED)
        articles = replace(made.compared, paid=0 * made.compared.paid)
        articles = replace(articles, kinds=np.ones_like(articles.kinds))
        both = replace(made, compared=Compared.joined([made.compared, articles]))
        told = evidence_of(both, config)
        assert "nothing was paid for articles" in told
        assert "value_per_hit" in told
        assert evidence_of(made, config).unit == "EUR a feed"

    def test_a_cost_without_a_value_is_refused(self):
        with pytest.raises(ValidationError, match="give value_per_hit"):
            EvidenceOptions(cost_per_personal_feed=0.1)


class TestLookingUp:
    def test_a_cell_nobody_asked_in_goes_by_the_finest_above_it(self):
        found = weighed()
        assert of(found, "fans", stage="lapsed").key == ("browsing", "product", "site", None, None)

    def test_the_ceiling_is_by_visit_stage_and_segment(self):
        ceiling = weighed().ceiling("site", "product", SEGMENTS)
        assert ceiling.shape == (2, len(STAGES) + 1, len(SEGMENTS) + 1)
        active = STAGES.index("active")
        assert ceiling[1, active, 0] == ONE_TO_ONE
        assert ceiling[1, active, 1] < ONE_TO_ONE

    def test_segments_are_found_by_name_whatever_their_order(self):
        ceiling = weighed().ceiling("site", "product", ["crowd", "fans"])
        active = STAGES.index("active")
        assert ceiling[1, active, 0] < ONE_TO_ONE
        assert ceiling[1, active, 1] == ONE_TO_ONE

    def test_minus_one_points_at_the_unknown(self):
        cells = [(0, 300, (0, 0, 0.2)), (-1, 300, (0, 0, -0.2))]
        ceiling = weighed(cells).ceiling("site", "product", SEGMENTS)
        assert ceiling[1, STAGES.index("active"), -1] < ONE_TO_ONE
        assert of(weighed(cells), UNKNOWN).rung != "one_to_one"

    def test_survives_being_written_down(self):
        found = evidence_of(survey(PLANTED), CONFIG)
        assert Evidence.of_json(json.loads(json.dumps(found.as_json()))) == found


class TestThePolicyObeys:
    """Eight people of two tastes; of segment 0 it is known that one-to-one does not pay."""

    def feeds(self, segments, *, consent=True, recent=None):
        log = worlds.two_tastes()
        queries = worlds.asking(log, [0, 4], recent)
        queries = replace(queries, segment=np.array(segments, np.int16),
                          stage=np.zeros(2, np.int8))  # fmt: skip
        past = worlds.past(log)
        from features.training_options import Training

        options = Training.model_validate({"als": {"factors": 2}})
        als, popularity = (fit(name, past, options) for name in ("als", "popularity"))
        ladder = [Step("one_to_one", "als", als), Step("context", "als", als),
                  Step("one_for_all", "popularity", popularity)]  # fmt: skip
        ceiling = np.full((2, len(STAGES) + 1, 3), ONE_TO_ONE, np.int8)
        ceiling[:, :, 0] = CONTEXT
        catalogue = type("Shelf", (), {"kinds": np.zeros(10, np.int8)})
        rules = terms(worlds.config(), catalogue, slice(0, 10), 3, ceiling=ceiling)
        agreed = np.full(2, consent)
        return decide(ladder, People(queries, agreed, ~np.ones(2, np.bool_)), rules)

    def test_and_says_so(self):
        found = self.feeds([0, 1])
        assert [RUNGS[rung] for rung in found.rungs] == ["one_for_all", "one_to_one"]
        assert [Reason(code).name for code in found.reasons] == ["does_not_pay", "known_history"]

    def test_a_lower_rung_that_pays_is_served(self):
        found = self.feeds([0, 1], recent=[[1], []])
        assert RUNGS[found.rungs[0]] == "context"

    def test_whose_segment_may_not_be_used_is_of_none(self):
        found = self.feeds([0, 0], consent=False)
        assert [Reason(code).name for code in found.reasons] == ["no_consent", "no_consent"]


class TestTheBottomLine:
    def test_is_told_by_periods_that_chose_nothing(self):
        made = survey([(0, 400, (0, 0, 0.2))])
        late = made.compared.at_us >= worlds.NOW_US + 10 * DAY_US
        made.compared.ndcg[late, ONE_TO_ONE] -= 0.4  # it paid, then it cost
        found = evidence_of(made, CONFIG)
        assert of(found, "fans").rung == "one_to_one"
        assert of(found, "fans").later["high"] < 0
        (line,) = found.bottom
        assert line["over_never"]["high"] < 0
        assert "lost in the later periods" in line["says"]

    def test_pays(self):
        (line,) = evidence_of(survey(PLANTED), CONFIG).bottom
        assert line["over_never"]["low"] > 0
        assert line["over_always"]["low"] > 0
        assert 0.3 < line["less_personal"] < 0.7
        assert line["says"].startswith(
            "Personalising products pays, where the table serves more than one for all: +"
        )

    def test_every_cell_has_its_share_of_the_feeds_of_a_month(self):
        """6,000 visits in 20 days are 9,000 feeds a month; 300 of 604 requests are of fans."""
        found = evidence_of(survey(PLANTED), CONFIG)
        feeds = {cell.segment: cell.feeds_a_month for cell in found.cells if None not in cell.key}
        assert feeds == {"fans": 4470, "crowd": 4470, "few": 60}
        assert all(cell.feeds_a_month is None for cell in found.cells if None in cell.key)

    def test_a_shop_that_should_not_personalise(self):
        found = evidence_of(survey([(0, 300, (-0.1, -0.1, -0.1))]), CONFIG)
        assert found.bottom[0]["says"].startswith("This shop should not personalise products")
        assert found.bottom[0]["ndcg_by_evidence"] == found.bottom[0]["ndcg_never"]

    def test_in_money_it_counts_a_month(self):
        config = worlds.config(segments=GROUPS, training={"evidence": {"value_per_hit": 0.5}})
        found = evidence_of(survey([(0, 300, (0, 0, 0.1))]), config)
        (line,) = found.bottom
        assert found.unit == "EUR a feed"
        assert line["feeds_a_month"] == 9000
        gained = line["over_never"]["mean"]
        assert gained == pytest.approx(0.5, abs=0.06)  # one hit more, of ten times the ndcg
        assert f"{9000 * gained:+,.0f} a month at 9,000 feeds" in line["says"]

    def test_gains_are_told_period_by_period(self):
        found = evidence_of(survey(PLANTED), CONFIG)
        assert len(found.periods) == 4 * 3
        assert {row["kind"] for row in found.periods} == {KINDS[0]}

    def test_half_a_log_is_too_little(self):
        made = survey(PLANTED)
        early = np.flatnonzero(made.compared.at_us < worlds.NOW_US + 9 * DAY_US)
        said = evidence_of(replace(made, compared=made.compared.take(early)), CONFIG)
        assert "one half of the test slice" in said
        assert "nobody asked" in evidence_of(None, CONFIG)
