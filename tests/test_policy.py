"""The policy as a specification: who gets which rung, what is kept away, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from features.types import Float32, Ragged
from training.policy import Decision, People, Reason, Step, Terms, anchors, decide
from training.rankers.base import Items, Queries, Ranker

N = worlds.N_ITEMS


@dataclass(frozen=True)
class Fixed(Ranker):
    """Ranks some items in a fixed order for anybody with a history; says nothing of others."""

    order: tuple[int, ...]
    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        scores = np.full((len(queries), N), np.nan, dtype=np.float32)
        scores[:, list(self.order)] = np.arange(len(self.order), 0, -1)
        scores[np.diff(queries.histories.indptr) == 0] = np.nan
        return scores if items is None else scores[:, items]


@dataclass(frozen=True)
class Echo(Ranker):
    """Ranks what it is allowed to see: shows what a rung knows."""

    knows_strangers: ClassVar[bool] = False

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        scores = queries.histories.interest().toarray()
        scores[scores == 0] = np.nan
        return scores if items is None else scores[:, items]


@dataclass(frozen=True)
class Everything(Ranker):
    """Ranks the whole catalogue in its order, for anybody."""

    knows_strangers: ClassVar[bool] = True

    def score(self, queries: Queries, items: Items | None = None) -> Float32:
        scores = np.broadcast_to(np.arange(N, 0, -1, dtype=np.float32), (len(queries), N))
        return scores if items is None else scores[:, items]


PERSONAL = Step("one_to_one", "als", Fixed((7, 8)))
SESSION = Step("context", "neighbours", Fixed((5, 6)))
FLOOR = Step("one_for_all", "popularity", Everything())
LADDER = [PERSONAL, SESSION, FLOOR]
PAST = worlds.timelines([[0, 1], [2]])


def people(rows, recent=None, *, consent=True, unknown=False, past=PAST):
    queries = worlds.asking(past, rows, recent)
    many = np.ones(len(rows), dtype=bool)
    return People(queries, many & consent, many & unknown)


def terms(size=4, *, items=slice(0, N), repeat="allow", kinds=None, **options):
    config = worlds.config()
    return Terms(
        items=items,
        kinds=np.zeros(N, np.int8) if kinds is None else np.asarray(kinds, np.int8),
        keeps_away=np.array(config.keeps_away(repeat)),
        keeps_away_in_session=np.array(config.keeps_away_in_session()),
        size=size,
        **options,
    )


def feed(who, wanted=None, ladder=LADDER):
    """The first person's items, rungs, decision and reason."""
    feeds = decide(ladder, who, wanted or terms())
    items = [int(i) for i in feeds.items[0] if i >= 0]
    rungs = [ladder[s].rung for s in feeds.steps[0] if s >= 0]
    return items, rungs, Decision(feeds.decisions[0]).name, Reason(feeds.reasons[0]).name


class TestTheLadder:
    def test_a_known_customer_gets_a_personal_feed_filled_from_below(self):
        items, rungs, decision, reason = feed(people([0]))
        assert items == [7, 8, 0, 1]
        assert rungs == ["one_to_one", "one_to_one", "one_for_all", "one_for_all"]
        assert (decision, reason) == ("show", "known_history")

    def test_a_customer_in_a_session_gets_all_three_rungs(self):
        items, rungs, _, _ = feed(people([0], [[3]]), terms(6))
        assert items == [7, 8, 5, 6, 0, 1]
        assert rungs == ["one_to_one"] * 2 + ["context"] * 2 + ["one_for_all"] * 2

    def test_a_visitor_gets_what_the_session_says(self):
        assert feed(people([-1], [[3]])) == (
            [5, 6, 0, 1], ["context"] * 2 + ["one_for_all"] * 2, "show", "current_session",
        )  # fmt: skip

    def test_a_stranger_gets_what_is_popular(self):
        assert feed(people([-1])) == ([0, 1, 2, 3], ["one_for_all"] * 4, "show", "stranger")

    def test_an_unknown_user_is_a_stranger_who_is_told_so(self):
        assert feed(people([-1], unknown=True))[2:] == ("show", "unknown_user")

    def test_without_consent_only_the_session_counts(self):
        assert feed(people([0], consent=False))[1:] == (
            ["one_for_all"] * 4, "show", "no_consent",
        )  # fmt: skip
        _, rungs, _, reason = feed(people([0], [[3]], consent=False))
        assert rungs == ["context"] * 2 + ["one_for_all"] * 2
        assert reason == "no_consent"

    @pytest.mark.parametrize(
        ("limit", "top"), [("context", "context"), ("one_for_all", "one_for_all")]
    )
    def test_no_rung_above_the_limit(self, limit, top):
        _, rungs, _, reason = feed(people([0], [[3]]), terms(highest_rung=limit))
        assert rungs[0] == top
        assert reason == "limit"

    def test_a_rung_that_did_not_pay_is_not_climbed_and_that_is_said(self):
        _, rungs, decision, reason = feed(people([0]), ladder=[SESSION, FLOOR])
        assert rungs == ["one_for_all"] * 4
        assert (decision, reason) == ("show", "not_on_ladder")
        _, rungs, _, reason = feed(people([0], [[3]]), ladder=[SESSION, FLOOR])
        assert rungs[0] == "context"
        assert reason == "not_on_ladder"

    def test_a_limit_at_the_session_leaves_a_customer_without_one_with_what_is_popular(self):
        _, rungs, decision, reason = feed(people([0]), terms(highest_rung="context"))
        assert rungs == ["one_for_all"] * 4
        assert (decision, reason) == ("show", "limit")

    def test_a_rung_without_opinion_is_skipped_and_said(self):
        silent = [Step("one_to_one", "als", Fixed(())), FLOOR]
        assert feed(people([0]), ladder=silent)[1:] == (
            ["one_for_all"] * 4, "fallback", "no_opinion",
        )  # fmt: skip

    def test_each_rung_sees_only_what_it_may_know(self):
        one_to_one, context = Step("one_to_one", "als", Echo()), Step("context", "als", Echo())
        assert set(feed(people([0], [[3]]), ladder=[one_to_one])[0]) == {0, 1, 3}
        assert feed(people([0], [[3]]), ladder=[context])[0] == [3]
        no_consent = people([0], [[3]], consent=False)
        assert feed(no_consent, ladder=[one_to_one, context])[0] == [3]


class TestWhatIsKeptAway:
    @pytest.mark.parametrize(("repeat", "items"), [("allow", [0, 1, 2]), ("exclude", [2, 3, 4])])
    def test_what_was_bought_by_the_repeat_rule(self, repeat, items):
        assert feed(people([0]), terms(3, repeat=repeat), ladder=[FLOOR])[0] == items

    def test_a_view_is_not_having_a_product_but_is_having_read_an_article(self):
        viewed = people([0], past=worlds.timelines([[0, 1]], signal=worlds.VIEW))
        assert feed(viewed, terms(2, repeat="exclude"), ladder=[FLOOR])[0] == [0, 1]
        articles = terms(2, repeat="exclude", kinds=[1] * N)
        assert feed(viewed, articles, ladder=[FLOOR])[0] == [2, 3]

    def test_what_was_disliked_whatever_is_allowed(self):
        disliked = worlds.timelines([[0, 2]], signal=worlds.DISLIKE)
        assert feed(people([0], past=disliked), terms(3))[0] == [7, 8, 1]
        assert feed(people([0], past=disliked, consent=False), terms(3))[0] == [1, 3, 4]

    def test_what_was_bought_in_this_session_even_where_repeats_are_allowed(self):
        queries = worlds.asking(PAST, [-1], [[0, 1]])
        queries.histories.signals[:] = worlds.PURCHASE
        bought = People(queries, np.array([True]), np.array([False]))
        assert feed(bought, terms(2), ladder=[FLOOR])[0] == [2, 3]

    def test_without_consent_the_past_keeps_nothing_away(self):
        who = people([0], consent=False)
        assert feed(who, terms(2, repeat="exclude"), ladder=[FLOOR])[0] == [0, 1]

    def test_what_the_placement_does_not_show(self):
        odd = np.array([1, 3, 5, 7, 9], dtype=np.int32)
        assert feed(people([0]), terms(4, items=odd))[0] == [7, 1, 3, 5]

    @pytest.mark.parametrize("size", [1, 3])
    def test_what_is_closed_now(self, size):
        closed = np.isin(np.arange(N), [0, 7])
        assert feed(people([0]), terms(size, open=~closed))[0] == [8, 1, 2][:size]
        assert feed(people([-1]), terms(size, open=~closed))[0] == [1, 2, 3][:size]

    @pytest.mark.parametrize("yes", [True, False])
    def test_what_is_kept_from_this_person_alone_whatever_is_consented_to(self, yes):
        who = replace(people([0, -1, -1], consent=yes), away=Ragged.of([[8, 0], [], [1]]))
        first = [7, 1, 2] if yes else [1, 2, 3]
        assert decide(LADDER, who, terms(3)).items.tolist() == [first, [0, 1, 2], [0, 2, 3]]
        assert decide(LADDER, who.take(np.array([2])), terms(2)).items.tolist() == [[0, 2]]


class TestTooFew:
    two_left = slice(0, 2)

    def test_is_shorter_by_default(self):
        items, _, decision, _ = feed(people([-1]), terms(items=self.two_left, min_items=3))
        assert (items, decision) == ([0, 1], "show")

    def test_is_suppressed_where_the_placement_says_so(self):
        wanted = terms(items=self.two_left, min_items=3, on_too_few="suppress")
        assert feed(people([-1]), wanted) == ([], [], "suppress", "too_few_items")

    def test_is_padded_with_what_the_person_has(self):
        wanted = terms(items=slice(0, 3), min_items=2, repeat="exclude", on_too_few="pad")
        assert feed(people([0]), wanted, ladder=[FLOOR])[0] == [2, 0]

    def test_padding_never_brings_back_what_was_disliked(self):
        disliked = people([0], past=worlds.timelines([[0]], signal=worlds.DISLIKE))
        wanted = terms(items=slice(0, 2), min_items=2, on_too_few="pad")
        assert feed(disliked, wanted, ladder=[FLOOR])[0] == [1]

    def test_padding_brings_back_neither_what_is_closed_nor_what_is_kept_away(self):
        who = replace(people([0]), away=Ragged.of([[1]]))
        wanted = terms(items=slice(0, 4), min_items=4, repeat="exclude", on_too_few="pad",
                       open=np.arange(N) != 3)  # fmt: skip
        assert feed(who, wanted, ladder=[FLOOR])[0] == [2, 0]

    def test_nothing_allowed_is_suppressed_and_said(self):
        empty = terms(items=np.empty(0, dtype=np.int32))
        assert feed(people([0]), empty) == ([], [], "suppress", "nothing_allowed")


rows = st.lists(st.integers(-1, 1), min_size=1, max_size=6)
sessions = st.lists(st.lists(st.integers(0, N - 1), max_size=4), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows, sessions, st.integers(1, 14), st.booleans(), st.sampled_from(["allow", "exclude"]))
def test_feeds_are_full_distinct_and_the_same_alone_or_in_a_batch(who, recent, size, yes, repeat):
    crowd = people(who, recent[: len(who)], consent=yes)
    wanted = terms(size, repeat=repeat)
    together = decide(LADDER, crowd, wanted)
    for row in range(len(who)):
        alone = decide(LADDER, crowd.take(np.array([row])), wanted)
        assert alone.items[0].tolist() == together.items[row].tolist()
        shown = [i for i in together.items[row] if i >= 0]
        assert len(set(shown)) == len(shown)
        bought = PAST.indptr[who[row] + 1] - PAST.indptr[who[row]] if who[row] >= 0 else 0
        gone = bought if repeat == "exclude" and yes else 0
        assert len(shown) == min(size, N - gone)


def test_grounds_are_named_for_each_item_by_the_step_that_placed_it():
    from features.training_options import NeighboursOptions
    from training.fitting.neighbours import fit_neighbours
    from training.rankers.neighbours import NeighboursRanker

    log = worlds.two_tastes()
    near: NeighboursRanker = fit_neighbours(worlds.past(log), NeighboursOptions())
    ladder = [Step("one_to_one", "neighbours", near), FLOOR]
    who = People(worlds.asking(log, [0]), np.array([True]), np.array([False]))
    feeds = decide(ladder, who, terms(N, repeat="exclude"))
    grounds = anchors(ladder, who, feeds)[0]
    for step, ground in zip(feeds.steps[0], grounds, strict=True):
        assert (ground >= 0) == (step == 0)
