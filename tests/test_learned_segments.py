"""Learned segments: groups of people who behave alike, named, and the same from build to build."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import arrays, segment_names
from features import learned_segments as module
from features.learned_segments import Candidates, LearnedGroups, learn
from features.segment_names import MAX_NAME, TRAITS, TYPICAL, Profile, named, trait

KINDS = {  # planted: what is usual in each group
    "regulars": {"orders": 20, "recency_days": 2, "share_discounted": 0.1, "preferred_hour": 9},
    "bargains": {"orders": 2, "recency_days": 20, "share_discounted": 0.9, "preferred_hour": 20},
    "sleepers": {"orders": 1, "recency_days": 300, "share_discounted": 0.1, "preferred_hour": 9},
}
EACH = 40


def people(seed=0, each=EACH, kinds=KINDS):
    """Columns of `each` people of each kind, and the kind of each."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(list(kinds), each)
    columns = {
        name: np.concatenate([rng.normal(of[name], 0.05 * of[name] + 1e-3, each)
                              for of in kinds.values()])
        for name in next(iter(kinds.values()))
    }  # fmt: skip
    return columns, kind


def ids(n, first=0):
    return np.array([f"u:{first + place:05d}".encode() for place in range(n)], dtype=np.bytes_)


def candidates(columns, who=None, rows=None):
    n = len(next(iter(columns.values())))
    columns = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    chosen = np.ones(n, bool) if rows is None else np.asarray(rows)
    return Candidates(ids(n) if who is None else who, columns, chosen)


def name_of_each(groups):
    """id -> name of the group, for those who are in one."""
    return {one: groups.names[label] for one, label in zip(groups.ids, groups.labels, strict=True)
            if label >= 0}  # fmt: skip


@pytest.fixture(scope="module")
def planted():
    columns, kind = people()
    return learn(candidates(columns), 3, seed=0), kind


class TestGroups:
    def test_are_the_planted_ones(self, planted):
        groups, kind = planted
        assert len(groups.names) == 3
        assert all(len(set(groups.labels[kind == one])) == 1 for one in KINDS)
        assert groups.sizes.tolist() == [EACH] * 3
        assert groups.labels.dtype == np.int16

    def test_are_named_by_what_sets_them_apart(self, planted):
        groups, kind = planted
        names = {one: groups.names[groups.labels[kind == one][0]] for one in KINDS}
        assert names["regulars"].startswith("orders often")
        assert "here recently" in names["regulars"]
        assert "buys discounted" in names["bargains"]
        assert "evenings" in names["bargains"]
        assert "last here long ago" in names["sleepers"]

    def test_are_described_by_their_figures_against_those_of_all(self):
        orders, value = [1.0, 1.0, 1.0, 6.0, 6.0], [10.0, 20.0, 30.0, 1000.0, 2000.0]
        groups = learn(candidates({"orders": orders, "value": value}), 2, seed=0)
        assert [groups.describe(n) for n in range(2)] == [
            "3 people; 1.0 orders each (all: 3.0), 20 spent each (all: 612)",
            "2 people; 6.0 orders each (all: 3.0), 1,500 spent each (all: 612)",
        ]

    def test_within_a_segment_leave_the_others_out(self):
        columns, kind = people()
        inside = kind != "regulars"
        groups = learn(candidates(columns, rows=inside), 2, seed=0)
        assert (groups.labels[~inside] == -1).all()
        assert groups.sizes.tolist() == [EACH, EACH]
        alone = learn(candidates({n: v[inside] for n, v in columns.items()}), 2, seed=0)
        assert alone.names == groups.names
        assert alone.labels.tolist() == groups.labels[inside].tolist()

    def test_are_numbered_from_the_largest_on(self):
        hours = {"preferred_hour": np.repeat([9.0, 20.0, 14.0], [5, 10, 7])}
        groups = learn(candidates(hours), 3, seed=0)
        assert groups.labels.tolist() == [2] * 5 + [0] * 10 + [1] * 7
        assert groups.sizes.tolist() == [10, 7, 5]
        assert groups.assign(hours).tolist() == groups.labels.tolist()

    @pytest.mark.parametrize(
        ("values", "found"), [([], 0), ([3.0], 1), ([3.0] * 9, 1), ([3.0, 8.0, 3.0], 2)],
        ids=["nobody", "one", "all alike", "two kinds"],
    )  # fmt: skip
    def test_are_fewer_where_fewer_people_differ(self, values, found):
        groups = learn(candidates({"orders": values}), 5, seed=0)
        assert len(groups.names) == len(set(groups.names)) == len(groups.centres) == found
        assert sorted(set(groups.labels.tolist())) == list(range(found))
        assert groups.sizes.sum() == len(values)

    def test_of_nobody_in_a_crowd_are_none(self):
        groups = learn(candidates({"orders": [1.0, 2.0]}, rows=[False, False]), 2, seed=0)
        assert (groups.labels.tolist(), groups.names) == ([-1, -1], [])
        assert groups.assign({"orders": np.array([1.0])}).tolist() == [-1]

    def test_are_not_made_by_what_is_unknown(self):
        rng = np.random.default_rng(1)
        orders = np.repeat([1.0, 50.0], 50)
        unknown = {name: np.where(rng.random(100) < 0.5, np.nan, 30 + rng.normal(0, 1, 100))
                   for name in ("days_between_orders", "order_value", "tenure_days")}  # fmt: skip
        groups = learn(candidates({"orders": orders, **unknown}), 2, seed=0)
        assert len(set(groups.labels[:50])) == len(set(groups.labels[50:])) == 1
        assert groups.labels[0] != groups.labels[99]

    def test_do_not_mind_what_nobody_knows(self):
        known = learn(candidates({"orders": [1.0, 9.0]}), 2, seed=0)
        more = candidates({"orders": [1.0, 9.0], "order_value": [np.nan, np.inf]})
        assert learn(more, 2, seed=0).names == known.names

    def test_take_midnight_for_one_hour(self):
        groups = learn(candidates({"preferred_hour": [23.5, 0.4, 0.0, 12.0, 12.5]}), 2, seed=0)
        assert groups.labels.tolist() == [0, 0, 0, 1, 1]
        assert groups.names == ["at night", "afternoons"]
        assert "mostly around 00:00" in groups.describe(0)

    def test_are_not_one_fantastic_buyer(self):
        value = [*np.repeat([1.0, 100.0], 50), 1e300]
        groups = learn(candidates({"value": value}), 2, seed=0)
        assert groups.sizes.tolist() == [51, 50]

    def test_are_of_one_time_of_day_only_where_their_hours_agree(self):
        columns = {"orders": np.repeat([1.0, 90.0], 24),
                   "preferred_hour": [*np.repeat([8.0, 9.0], 12), *np.arange(24.0)]}  # fmt: skip
        groups = learn(candidates(columns), 2, seed=0)
        names = [groups.names[groups.labels[place]] for place in (0, -1)]
        assert "mornings" in names[0]
        assert names[1] == "orders often"

    @pytest.mark.parametrize(
        ("deciding", "outvoted"),
        [(["share_discounted", "tenure_days"], ["sessions", "events", "items"]),
         (["interest: a", "interest: b"], ["share_discounted", "tenure_days"])],
        ids=["a theme counts once", "but interest thrice"],
    )  # fmt: skip
    def test_are_made_by_themes_however_many_columns_speak_of_one(self, deciding, outvoted):
        one, other = np.tile([0.0, 1.0], 20), np.repeat([0.0, 1.0], 20)
        columns = dict.fromkeys(deciding, one) | dict.fromkeys(outvoted, other)
        labels = learn(candidates(columns), 2, seed=0).labels
        assert labels.tolist() in (one.tolist(), (1 - one).tolist())

    def test_of_many_people_are_learned_from_some_and_given_to_all(self, monkeypatch):
        monkeypatch.setattr(module, "SAMPLE", 30)
        columns, kind = people()
        groups = learn(candidates(columns), 3, seed=0)
        assert all(len(set(groups.labels[kind == one])) == 1 for one in KINDS)
        assert groups.sizes.tolist() == [EACH] * 3


class TestTheSameGroups:
    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 99), order=st.randoms(use_true_random=False))
    def test_come_out_whatever_the_order_of_the_people(self, seed, order):
        columns, _ = people(seed)
        first = learn(candidates(columns), 4, seed=seed)
        place = np.array(order.sample(range(3 * EACH), 3 * EACH))
        mixed = candidates({n: v[place] for n, v in columns.items()}, ids(3 * EACH)[place])
        again = learn(mixed, 4, seed=seed)
        assert name_of_each(again) == name_of_each(first)
        assert first.assign(columns).tolist() == first.labels.tolist()
        assert again.centres.tobytes() == first.centres.tobytes()

    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 99), dropped=st.integers(0, 12), added=st.integers(0, 12))
    def test_keep_names_while_a_few_people_come_and_go(self, seed, dropped, added):
        columns, _ = people(seed)
        first = learn(candidates(columns), 3, seed=seed)
        newer, _ = people(seed + 1, each=added)
        later = {n: np.concatenate([v[dropped:], newer[n]]) for n, v in columns.items()}
        who = np.concatenate([ids(3 * EACH)[dropped:], ids(3 * added, first=1000)])
        order = np.random.default_rng(seed).permutation(len(who))
        mixed = candidates({n: v[order] for n, v in later.items()}, who[order])
        again = learn(mixed, 3, seed=seed + 1, previous=first)
        before, now = name_of_each(first), name_of_each(again)
        assert again.names == first.names
        assert all(now[one] == before[one] for one in before.keys() & now.keys())

    def test_stay_where_they_were_in_a_shapeless_crowd(self):
        rng = np.random.default_rng(0)
        columns = {name: np.exp(rng.normal(0, 1, 500)) for name in ("orders", "value", "events")}
        first = learn(candidates(columns), 6, seed=0)
        moved = {
            name: values * np.exp(rng.normal(0, 0.01, 500)) for name, values in columns.items()
        }
        later = moved | {"value": 3 * moved["value"]}  # the scale itself is another one
        again = learn(candidates(later), 6, seed=1, previous=first)
        assert again.names == first.names
        assert (again.labels == first.labels).mean() > 0.95

    def test_keep_number_and_name_when_another_feature_is_looked_at(self):
        columns, kind = people()
        first = learn(candidates(columns), 3, seed=0)
        more = columns | {"items": np.where(kind == "regulars", 1.0, 90.0)}
        again = learn(candidates(more), 3, seed=5, previous=first)
        assert again.names == first.names
        assert again.labels.tolist() == first.labels.tolist()

    def test_keep_their_names_when_there_are_no_longer_so_many(self):
        columns, kind = people()
        first = learn(candidates(columns), 3, seed=0)
        for gone in KINDS:
            rest = learn(candidates(columns, rows=kind != gone), 2, seed=0, previous=first)
            now, before = name_of_each(rest), name_of_each(first)
            assert all(before[one] == name for one, name in now.items())
            assert sorted(set(rest.labels)) == [-1, 0, 1]

    @pytest.mark.parametrize(("share", "same"), [(1.0, True), (0.5, True), (0.4, False)])
    def test_are_those_that_share_half_of_their_people(self, share, same):
        value = np.repeat([1.0, 10.0, 100.0], 20)
        first = learn(candidates({"value": value}), 3, seed=0)
        first = replace(first, names=["x", "y", "z"])
        gone = round(20 * (1 - share) / 2)  # so many of each group are now like each other group
        kind = np.repeat(np.arange(3), 20)
        for group in range(3):
            kind[20 * group : 20 * group + 2 * gone] = np.repeat(
                [(group + 1) % 3, (group + 2) % 3], gone
            )
        again = learn(candidates({"value": value[20 * kind]}), 3, seed=0, previous=first)
        stayed = np.repeat(np.arange(3), 20) == kind
        if same:
            assert again.names == first.names
            assert again.labels[stayed].tolist() == first.labels[stayed].tolist()
        else:
            assert not {*again.names} & {*first.names}

    def test_are_told_by_those_who_were_there_before(self):
        first = learn(candidates({"orders": np.repeat([1.0, 9.0], 5)}), 2, seed=0)
        first = replace(first, names=["x", "y"])
        many = candidates({"orders": np.repeat([1.0, 9.0, 1.0, 9.0], [5, 5, 500, 900])})
        again = learn(many, 2, seed=0, previous=first)
        assert again.names == ["x", "y"]
        assert again.labels[:10].tolist() == first.labels.tolist()

    def test_give_up_a_name_that_another_segment_took(self):
        columns, _ = people()
        first = learn(candidates(columns), 3, seed=0)
        again = learn(candidates(columns), 3, seed=0, previous=first, taken=[first.names[1]])
        assert again.labels.tolist() == first.labels.tolist()
        assert first.names[1] not in again.names
        assert (again.names[0], again.names[2]) == (first.names[0], first.names[2])


class TestAfterwards:
    def test_everybody_can_be_given_a_group_again(self, planted):
        groups, _ = planted
        columns, _ = people()
        assert groups.assign(columns).tolist() == groups.labels.tolist()
        one = {name: values[7:8] for name, values in columns.items()}
        assert groups.assign(one).tolist() == [groups.labels[7]]

    def test_a_feature_that_is_not_given_is_named(self, planted):
        with pytest.raises(ValueError, match=r"learned on \['orders', .*give these columns too"):
            planted[0].assign({})

    def test_they_come_back_from_the_disk(self, planted, tmp_path):
        groups, _ = planted
        arrays.save(groups, tmp_path / "groups")
        back = arrays.load(LearnedGroups, tmp_path / "groups")
        columns, _ = people()
        assert back.assign(columns).tolist() == groups.labels.tolist()
        assert [back.describe(n) for n in range(3)] == [groups.describe(n) for n in range(3)]
        again = learn(candidates(columns), 3, seed=1, previous=back)
        assert name_of_each(again) == name_of_each(groups)


class TestRefused:
    @pytest.mark.parametrize(
        ("column", "told"),
        [("shoe_size", r"'shoe_size': choose from .*'interest: CATEGORY'"),
         ("interest: ", "cannot be grouped by")],
    )  # fmt: skip
    def test_a_feature_that_nobody_could_be_told_of(self, column, told):
        with pytest.raises(ValueError, match=told):
            candidates({column: [1.0]})

    def test_a_column_of_another_length(self):
        with pytest.raises(ValueError, match="orders: 2 values for 1 people"):
            Candidates(ids(1), {"orders": np.zeros(2)}, np.ones(1, bool))

    def test_people_who_are_one(self):
        with pytest.raises(ValueError, match="must be distinct"):
            learn(candidates({"orders": [1, 2]}, who=np.array([b"a", b"a"])), 2, seed=0)

    def test_no_group_at_all(self):
        with pytest.raises(ValueError, match="groups is 0"):
            learn(candidates({"orders": [1, 2]}), 0, seed=0)


def profile(features, *effects, means=None):
    """Groups with these effects; what they mean is of no matter."""
    size = np.array(effects, np.float64).reshape(len(effects), len(features))
    means = np.ones_like(size) if means is None else np.array(means, np.float64)
    return Profile(list(features), size, means, np.ones(len(features)))


def name(features, effects, **more):
    return named(profile(features, effects, **more), {}, [])[0]


class TestNames:
    @pytest.mark.parametrize(
        ("features", "effects", "expected"),
        [(["orders", "value"], [2, 1.1], "orders often, high value"),
         (["orders", "value"], [-2, -0.9], "orders rarely"),
         (["orders", "value"], [0.4, 0.1], "orders often"),
         (["orders", "value"], [0.2, -0.2], TYPICAL),
         (["orders"], [0], TYPICAL),
         (["sessions", "events", "items"], [2, 2, 2], "visits often"),
         (["interest: Sofas & chairs", "channel: app"], [1, 2], "on the app, Sofas & chairs"),
         (["interest: Sofas", "orders"], [-3, 1], "orders often"),
         (["interest: {0}"], [3], "{0}"),
         (["channel: email", "tenure_days", "value", "orders"], [1, 1, 1, 1],
          "by e-mail, known for long, high value")],
        ids=["two", "one far ahead", "one weak", "typical", "alike", "one per theme",
             "category and channel", "no lack of interest", "braces", "three"],
    )  # fmt: skip
    def test_say_what_differs_most(self, features, effects, expected):
        assert name(features, effects) == expected

    def test_tell_none_from_few(self):
        assert name(["orders"], [-2], means=[[0]]) == "no orders yet"
        assert name(["value", "orders"], [-2, -1], means=[[0, 0]]) == "no orders yet"
        assert name(["share_discounted"], [-2], means=[[0]]) == "buys at full price"

    def test_say_nothing_of_what_is_unknown(self):
        assert name(["orders", "value"], [2, 1], means=[[np.nan, 1]]) == "high value"

    @pytest.mark.parametrize(
        ("hour", "said"), [(0, "at night"), (4, "at night"), (5, "mornings"), (12, "afternoons"),
                           (16, "afternoons"), (17, "evenings"), (21, "evenings"),
                           (22, "at night"), (23, "at night")],
    )  # fmt: skip
    def test_speak_of_the_time_of_day(self, hour, said):
        assert name(["preferred_hour"], [2], means=[[hour]]) == said

    def test_of_groups_that_are_alike_say_one_thing_more_and_then_count(self):
        features = ["orders", "tenure_days"]
        assert named(profile(features, [2, 0.6], [2, 0.5], [2, 0.4]), {}, []) == [
            "orders often", "orders often, known for long", "orders often 2",
        ]  # fmt: skip

    def test_are_cut_where_a_category_has_a_long_name(self):
        names = named(profile([f"interest: {'x' * 80}"], [3], [3]), {}, [])
        assert [len(one) for one in names] == [MAX_NAME, MAX_NAME - 4]
        assert (names[0][-2:], names[1][-4:]) == ("x…", "x… 2")

    def test_are_none_that_somebody_has(self):
        groups = profile(["orders", "value"], [2, 0.5], [-2, 0.1])
        assert named(groups, {1: "orders often"}, ["orders often, high value"]) == [
            "orders often 2", "orders often",
        ]  # fmt: skip

    @given(
        effects=st.lists(st.lists(st.floats(-4, 4), min_size=5, max_size=5), max_size=9),
        category=st.text(min_size=1, max_size=80),
    )
    def test_are_distinct_and_short(self, effects, category):
        features = ["orders", "value", "preferred_hour", f"interest: {category}", "tenure_days"]
        names = named(profile(features, *effects), {}, [])
        assert len(set(names)) == len(effects)
        assert all(0 < len(one) <= MAX_NAME for one in names)

    @pytest.mark.parametrize("feature", [*TRAITS, "interest: Garden {x}", "channel: app"])
    def test_there_are_words_and_figures_for_every_feature(self, feature):
        groups = profile([feature], [2], means=[[3]])
        assert name([feature], [2], means=[[3]]) != TYPICAL
        told = segment_names.described(groups, 0, 1)
        assert re.fullmatch(
            r"1 person; .*\b(3|03|300)\b.* \(all: (1|1\.0|1\.00|100%|01:00)\)", told
        )
        assert trait(feature).theme
