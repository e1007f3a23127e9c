"""Several feeds of one mail: what one after the other would give, and no item in two of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from features.training_options import Training
from features.types import Ragged
from training import several
from training.arranging import Arrangement, Pin
from training.bundle import terms as terms_of
from training.fitting import fit
from training.policy import Decision, People, Reason, Step, decide
from training.several import Wanted, decide_several, shown

MANY, ASKING = 16, 6
PRODUCTS = np.arange(MANY) < 11  # 11 to 15 are articles
THERE = ~np.isin(np.arange(MANY), [3, 13])  # these two are sold out
LADDER = [("one_to_one", "als"), ("context", "transitions"), ("one_for_all", "popularity")]
SMALL = Training.model_validate({"als": {"factors": 4}})
NOTHING = Ragged.empty(ASKING)


class Shelf:
    kinds = (~PRODUCTS).astype(np.int8)


def _log(seed):
    """Thirty people who each bought one to nine things, and nobody the last of each kind."""
    random, sold = np.random.default_rng(seed), np.setdiff1d(np.arange(MANY), [10, 15])
    return worlds.timelines(
        [random.choice(sold, random.integers(1, 10), replace=False) for _ in range(30)],
        n_items=MANY,
    )


@cache
def made(seed):
    """A log, and the ladder that was fitted on it."""
    log = _log(seed)
    past = worlds.past(log, items=worlds.described([0] * 11 + [1] * 5))
    return log, [Step(rung, name, fit(name, past, SMALL)) for rung, name in LADDER]


@pytest.fixture
def world():
    return made(0)


def people(log, rows=range(ASKING), consent=True):
    many = np.ones(len(list(rows)), np.bool_)
    return People(worlds.asking(log, list(rows)), many & consent, ~many)


def terms(size=3, kind=True, repeat="exclude", **options):
    """A feed of products, or of articles."""
    options.setdefault("open", (kind == PRODUCTS) & THERE)
    options["min_items"] = min(size, options.get("min_items", 0))
    return terms_of(worlds.config(), Shelf(), slice(0, MANY), size, repeat=repeat, **options)


def in_turn(ladder, who, wanted):
    """What `decide` says of one after the other, each without what those before it show."""
    feeds, given_ = [], Ragged.empty(len(who))
    for one in wanted:
        feeds.append(decide(ladder, replace(who, away=one.away.joined(given_)), one.terms))
        given_ = given_.joined(shown(feeds[-1].items))
    return feeds


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.items, other.items)
        np.testing.assert_array_equal(one.steps, other.steps)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
        for name in ("rungs", "decisions", "reasons"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def assert_no_item_twice(feeds):
    for row in np.concatenate([one.items for one in feeds], axis=1):
        there = row[row >= 0]
        assert len(set(there.tolist())) == there.size


AWAY = [NOTHING, Ragged.of([[0, 1, 2]] * ASKING), Ragged.of([list(range(9))] * 3 + [[]] * 3)]
FEEDS = st.lists(st.fixed_dictionaries({
    "away": st.sampled_from([0, 0, 0, 1, 2]), "size": st.integers(1, 5), "kind": st.booleans(),
    "repeat": st.sampled_from(["exclude", "exclude", "allow"]), "min_items": st.integers(0, 4),
    "on_too_few": st.sampled_from(["shorter", "pad", "suppress"]),
    "highest_rung": st.sampled_from(["one_to_one", "one_to_one", "one_for_all"]),
}), min_size=1, max_size=4)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2), FEEDS, st.integers(0, 24))
def test_is_what_one_after_the_other_would_be(seed, feeds, first):
    log, ladder = made(seed)
    who = people(log, range(first, first + ASKING))
    wanted = [Wanted(terms(**one), AWAY[away]) for one in map(dict, feeds)
              for away in [one.pop("away")]]  # fmt: skip
    found = decide_several(ladder, who, wanted)
    assert_same(found, in_turn(ladder, who, wanted))
    assert_no_item_twice(found)


def both(world, *wanted, who=None):
    """The feeds, which are also what one after the other gives."""
    log, ladder = world
    who, own = who or people(log), [Wanted(one, NOTHING) for one in wanted]
    found = decide_several(ladder, who, own)
    assert_same(found, in_turn(ladder, who, own))
    return found


def test_the_first_feed_has_the_best_and_the_next_one_what_follows(world):
    log, ladder = world
    whole = decide(ladder, people(log), terms(6)).items
    first, second = both(world, terms(4), terms(2))
    assert np.concatenate([first.items, second.items], axis=1).tolist() == whole.tolist()


def test_feeds_that_may_show_the_same_items_are_one_pass(world, monkeypatch):
    asked = []
    count = several.request_of
    monkeypatch.setattr(several, "request_of",
                        lambda *words: asked.append(words) or count(*words))  # fmt: skip
    both(world, terms(2), terms(2, kind=False), terms(2))
    assert len(asked) == 1, "the two of products; articles are a feed of their own"


def test_no_feed_overtakes_one_that_may_show_what_it_would_take(world):
    """The third may show all that the first may, but the second is asked before it."""
    log, ladder = world
    popular = decide(ladder, people(log), terms(1, highest_rung="one_for_all")).items
    _, second, _ = both(world, terms(1, kind=False), terms(1, highest_rung="one_for_all"), terms(9))
    assert second.items.tolist() == popular.tolist()
    both(world, terms(1), terms(2, highest_rung="one_for_all"), terms(9))


class TestTooFew:
    """Eleven products, one of them sold out: what somebody has not bought is soon told."""

    ROW = 0

    def left(self, world):
        log, _ = world
        had = set(log.items[log.indptr[0] : log.indptr[1]].tolist())
        return [one for one in range(11) if THERE[one] and one not in had]

    def first_of(self, feed):
        return [one for one in feed.items[self.ROW].tolist() if one >= 0]

    def test_what_a_suppressed_feed_was_too_short_for_is_the_next_one_s(self, world):
        left = self.left(world)
        strict = terms(len(left) + 2, min_items=len(left) + 1, on_too_few="suppress")
        first, second = both(world, strict, terms(3))
        assert (first.decisions[0], first.reasons[0]) == (Decision.suppress, Reason.too_few_items)
        assert self.first_of(first) == []
        assert len(self.first_of(second)) == min(3, len(left))

    def test_a_padded_feed_has_what_they_bought_and_the_next_one_none_of_it(self, world):
        left = self.left(world)
        wanted = len(left) + 1
        first, second = both(
            world, terms(wanted, min_items=wanted, on_too_few="pad"),
            terms(2, min_items=1, on_too_few="pad"),
        )  # fmt: skip
        assert set(self.first_of(first)) > set(left)
        assert len(self.first_of(first)) == wanted
        assert len(self.first_of(second)) == 1, "padded to the least, and no further"
        assert_no_item_twice([first, second])

    def test_a_shorter_feed_stays_short_and_the_next_one_is_empty(self, world):
        left = self.left(world)
        first, second = both(world, terms(len(left) + 1), terms(2))
        assert sorted(self.first_of(first)) == left
        assert second.reasons[0] == Reason.nothing_allowed


def test_an_order_of_the_shop_s_own_is_made_feed_by_feed(world):
    """Both feeds have a pin on the same item: the second has it no more."""
    open_ = PRODUCTS & THERE
    pinned = Arrangement(open=open_, pins=(Pin(item=10, slot=0),))
    first, second = both(world, terms(2, arrangement=pinned), terms(2, arrangement=pinned))
    assert (first.items[:, 0] == 10).all()
    assert not (second.items == 10).any()
    assert_no_item_twice([first, second])


def test_what_is_kept_back_from_one_feed_may_stand_in_another(world):
    log, ladder = world
    best = decide(ladder, people(log), terms(1)).items
    wanted = [Wanted(terms(2), Ragged.of(best.tolist())), Wanted(terms(2), NOTHING)]
    first, second = decide_several(ladder, people(log), wanted)
    assert not (first.items == best).any()
    assert (second.items[:, :1] == best).all()


def test_nobody_asks_for_nothing(world):
    log, ladder = world
    assert decide_several(ladder, people(log), []) == []
    (empty,) = decide_several(ladder, people(log, []), [Wanted(terms(2), Ragged.empty(0))])
    assert empty.items.shape == (0, 2)
