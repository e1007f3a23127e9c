"""What people tell us: whose answer it is, what it names, and how much it weighs."""

from datetime import timedelta

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import arrays
from features.answers import answers, counts, declared_of
from features.declared import Declared, declared_weights
from features.options import Preferences
from features.types import DAY_US

DAY = timedelta(days=1)
PREFERENCES = {"user_id": "string", "visitor_id": "string", "question": "string",
               "answer": "string", "answered_us": "int64"}  # fmt: skip
PEOPLE = ["u:ann", "u:bob", "v:kiosk"]
PATHS = ["garden", "men", "men/shirts", "men/shoes", "women", "women/shirts", "women/Garden"]


def table(columns, rows):
    schema = ibis.schema(columns)
    return ibis.memtable(pa.Table.from_pylist(rows, schema.to_pyarrow()), schema=schema)


PERSONS = table(
    {"person_index": "int32", "person": "string"},
    [{"person_index": n, "person": person} for n, person in enumerate(PEOPLE)],
)
DEVICES = table(
    {"device": "string", "person": "string"}, [{"device": "v:tablet", "person": "u:ann"}]
)
CATEGORIES = table(
    {"category_index": "int32", "path": "string", "name": "string"},
    [{"category_index": n, "path": p, "name": p.split("/")[-1]} for n, p in enumerate(PATHS)],
)  # fmt: skip


def said(answer="garden", day=0, question="likes", user="ann", visitor=None):
    return {"user_id": user, "visitor_id": visitor, "question": question, "answer": answer,
            "answered_us": day * DAY_US}  # fmt: skip


def collected(engine, *rows, as_of=10):
    known = answers(table(PREFERENCES, rows), DEVICES, PERSONS, CATEGORIES, as_of * DAY_US,
                    ["less_of_this"])  # fmt: skip
    return engine.to_pyarrow(known)


def kept(engine, *rows, columns=("answer",), as_of=10):
    found = collected(engine, *rows, as_of=as_of).to_pylist()
    return sorted(tuple(row[c] for c in columns) for row in found)


class TestWhoseAnswer:
    @pytest.mark.parametrize(
        ("given_ids", "person"),
        [({"user": "bob"}, "u:bob"), ({"user": "bob", "visitor": "tablet"}, "u:bob"),
         ({"user": None, "visitor": "tablet"}, "u:ann"),
         ({"user": None, "visitor": "kiosk"}, "v:kiosk")],
    )  # fmt: skip
    def test_is_the_customers_else_the_devices_owners_else_the_visitors(
        self, engine, given_ids, person
    ):
        (found,) = kept(engine, said(**given_ids), columns=("person_index",))
        assert PEOPLE[found[0]] == person

    def test_of_nobody_we_know_is_left_out(self, engine):
        assert kept(engine, said(user="zoe"), said(user=None, visitor="new")) == []


class TestNamedCategory:
    @pytest.mark.parametrize(
        ("answer", "path"),
        [("men/shoes", "men/shoes"), (" Men / SHOES ", "men/shoes"), ("Shoes", "men/shoes"),
         ("men", "men"), ("shirts", None), ("garden", "garden"), ("women/garden", "women/Garden"),
         ("hats", None), ("men/", "men"), ("/", None)],
    )  # fmt: skip
    def test_is_a_path_or_the_last_part_of_exactly_one(self, engine, answer, path):
        index = None if path is None else PATHS.index(path)
        assert kept(engine, said(answer), columns=("answer", "category_index")) == [(answer, index)]


class TestAnswersThatCount:
    def test_later_ones_replace_all_earlier_ones_to_the_question(self, engine):
        rows = [said("garden", 1), said("men", 1), said("women", 2), said("hats", 2),
                said("men", 1, question="second"), said("men", 1, user="bob")]  # fmt: skip
        assert kept(engine, *rows, columns=("person_index", "question", "answer")) == [
            (0, "likes", "hats"), (0, "likes", "women"), (0, "second", "men"), (1, "likes", "men"),
        ]  # fmt: skip

    def test_a_customer_and_the_device_answer_as_one_person(self, engine):
        assert kept(engine, said("men", 1), said("women", 2, user=None, visitor="tablet")) == [
            ("women",)
        ]  # fmt: skip

    def test_what_is_asked_to_be_less_adds_up_and_the_newest_of_a_category_counts(self, engine):
        rows = [said(answer, day, question="less_of_this") for answer, day in
                (("men/shoes", 1), ("Shoes", 3), ("women", 2), ("hats", 1), ("Hats", 2))
                ]  # fmt: skip
        found = kept(engine, *rows, columns=("answer", "answered_us", "less"))
        assert found == [("Hats", 2 * DAY_US, True), ("Shoes", 3 * DAY_US, True),
                         ("women", 2 * DAY_US, True)]  # fmt: skip

    def test_what_comes_later_is_not_known(self, engine):
        rows = [said("men", 1), said("women", 5)]
        assert kept(engine, *rows, as_of=4) == [("men",)]
        assert kept(engine, *rows, as_of=5) == [("women",)]

    def test_said_twice_is_said_once(self, engine):
        assert kept(engine, said(), said()) == [("garden",)]

    def test_are_counted_and_those_that_name_a_category_become_arrays(self, engine):
        told = collected(engine, said("women", 2), said("hats", 2), said("men", 1, user="bob"),
                         said("men", 3, question="less_of_this"))  # fmt: skip
        assert counts(told) == {"answers": 4, "people": 2, "less": 1, "without_category": 1}
        declared = declared_of(told, len(PEOPLE), len(PATHS))
        assert declared.indptr.tolist() == [0, 2, 3, 3]
        assert declared.categories.tolist() == [1, 4, 1]
        assert declared.less.tolist() == [True, False, False]
        assert declared.answered_us.tolist() == [3 * DAY_US, 2 * DAY_US, DAY_US]

    def test_no_answers_are_nothing(self, engine):
        told = collected(engine)
        assert counts(told) == {"answers": 0, "people": 0, "less": 0, "without_category": 0}
        assert len(declared_of(told, 3, 7).categories) == 0


def declared(*rows, people=1):
    """Of (person, category, day) or, for less of it, (person, category, day, True)."""
    full = np.array([(*row, False)[:4] for row in rows] or np.empty((0, 4)))
    return Declared.of(
        full[:, 0].astype(np.int32), full[:, 1].astype(np.int32), full[:, 3].astype(np.bool_),
        (full[:, 2] * DAY_US).astype(np.int64), n_persons=people, n_categories=4,
    )  # fmt: skip


OPTIONS = Preferences(weight=3, half_life_days=10, max_share=0.5)


def weights(told, interest=0.0, now=0, options=OPTIONS):
    history = np.full(len(told), interest, np.float32)
    return declared_weights(told, history, now * DAY_US, options)


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-50, 10), st.booleans()),
    max_size=12,
)
INTEREST = st.floats(0, 1000, width=32)


class TestWeight:
    @pytest.mark.parametrize(("days", "weight"), [(0, 3), (10, 1.5), (20, 0.75), (5, 2.12132)])
    def test_halves_every_half_life(self, days, weight):
        assert weights(declared((0, 1, -days))).toarray() == pytest.approx(
            np.array([[0, weight, 0, 0]]), rel=1e-5
        )  # fmt: skip

    def test_without_a_half_life_does_not_fade(self):
        lasting = Preferences(weight=2, half_life_days=None)
        assert weights(declared((0, 0, -9999)), options=lasting).toarray()[0, 0] == 2

    def test_is_below_zero_for_less_and_the_newer_word_counts(self):
        told = declared((0, 0, -10, True), (0, 1, -10), (0, 1, -20, True), (0, 2, -10, True),
                        (0, 2, -20))  # fmt: skip
        assert weights(told, interest=99).toarray().tolist() == [[-1.5, 1.5, -1.5, 0]]

    def test_of_two_words_in_one_moment_the_one_for_less_counts(self):
        assert weights(declared((0, 0, 0, True), (0, 0, 0))).toarray()[0, 0] == -3
        assert weights(declared((0, 0, 0), (0, 0, 0, True))).toarray()[0, 0] == -3

    @pytest.mark.parametrize(
        ("interest", "total"), [(0, 3), (6, 3), (8, 4), (12, 6), (18, 9), (99, 9)]
    )
    def test_of_all_answers_is_a_share_of_the_history_and_at_least_one_fresh_answer(
        self, interest, total
    ):
        found = weights(declared((0, 0, 0), (0, 1, 0), (0, 3, 0, True)), interest).toarray()[0]
        assert np.abs(found).sum() == pytest.approx(total, rel=1e-6)
        assert found == pytest.approx(np.array([total, total, 0, -total]) / 3, rel=1e-6)

    @given(rows=ROWS, interest=INTEREST)
    def test_never_exceeds_the_cap_and_keeps_its_sign(self, rows, interest):
        told = declared(*rows, people=4)
        found = weights(told, interest)
        cap = max(OPTIONS.max_share * interest, OPTIONS.weight)
        assert (np.abs(found).sum(axis=1) <= cap * (1 + 1e-6)).all()
        newest = {}
        for person, category, day, less in sorted(rows, key=lambda row: row[2:]):
            if day <= 0:
                newest[person, category] = less
        signs = {cell: value < 0 for cell, value in dict(found.todok()).items()}
        assert signs == newest

    @given(rows=ROWS, interest=INTEREST, later=st.integers(0, 100))
    def test_only_fades_as_time_goes_by(self, rows, interest, later):
        told = declared(*(row for row in rows if row[2] <= 0), people=4)
        now, then = (np.abs(weights(told, interest, now=day).toarray()) for day in (0, later))
        assert (then.sum(axis=1) <= now.sum(axis=1) * (1 + 1e-6)).all()
        assert ((then > 0) == (now > 0)).all()

    @given(rows=ROWS, interest=INTEREST)
    def test_of_one_person_is_the_row_of_the_batch(self, rows, interest):
        told = declared(*rows, people=4)
        batch = weights(told, interest)
        for person in range(4):
            alone = weights(told.take(np.array([person])), interest)
            assert alone.toarray().tolist() == batch[person].toarray().tolist()

    @given(rows=ROWS, order=st.randoms(use_true_random=False))
    def test_does_not_depend_on_the_order_of_the_rows(self, rows, order):
        mixed = rows.copy()
        order.shuffle(mixed)
        one, other = (weights(declared(*some, people=4)).toarray() for some in (rows, mixed))
        assert one.tolist() == other.tolist()

    @given(rows=ROWS)
    def test_knows_no_answer_that_is_given_later(self, rows):
        until = [row for row in rows if row[2] <= 0]
        found = (weights(declared(*some, people=4)).toarray().tolist() for some in (rows, until))
        assert next(found) == next(found)

    def test_is_a_float32_matrix_of_people_and_categories(self):
        found = weights(Declared.strangers(3, 4))
        assert found.shape == (3, 4)
        assert found.dtype == np.float32
        assert found.nnz == 0


def test_answers_on_disk_are_what_they_were(tmp_path):
    told = declared((0, 1, 0), (2, 3, -5, True), people=3)
    arrays.save(told, tmp_path / "declared")
    back = arrays.load(Declared, tmp_path / "declared")
    assert weights(back, 5).toarray().tolist() == weights(told, 5).toarray().tolist()
    assert len(back) == 3
