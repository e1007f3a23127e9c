"""Arrays and the values made of them: what is written is what is read, by id and by row."""

from dataclasses import dataclass, fields

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from features import arrays
from features.timelines import Timelines
from features.types import (
    Histories,
    IdTable,
    Ragged,
    Texts,
    UserItemMatrix,
    from_us,
    stretches,
    summed,
    to_us,
)

IDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
               unique=True, max_size=20)  # fmt: skip
LISTS = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8)


@dataclass(frozen=True)
class Model:
    """A bit of everything that is ever saved."""

    factors: np.ndarray
    nothing: np.ndarray
    similarity: sp.csr_matrix
    ids: IdTable
    name: str
    seed: int
    note: str | None


@pytest.fixture
def model():
    matrix = sp.csr_matrix(np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, 3]], np.float32))
    return Model(np.arange(6.0).reshape(2, 3), np.empty((0, 4), np.float32), matrix,
                 IdTable.of(["b", "ä", ""]), "als", 7, None)  # fmt: skip


class TestSavedDataclass:
    @pytest.mark.parametrize("mapped", [True, False])
    def test_comes_back_as_it_was(self, model, tmp_path, mapped):
        arrays.save(model, tmp_path / "model")
        back = arrays.load(Model, tmp_path / "model", mapped=mapped)
        np.testing.assert_array_equal(back.factors, model.factors)
        assert back.nothing.shape == (0, 4)
        np.testing.assert_array_equal(back.similarity.toarray(), model.similarity.toarray())
        assert back.ids.texts(np.arange(3)) == ["b", "ä", ""]
        assert (back.name, back.seed, back.note) == ("als", 7, None)

    def test_stays_on_disk_until_it_is_touched(self, model, tmp_path):
        arrays.save(model, tmp_path / "model")
        assert isinstance(arrays.load(Model, tmp_path / "model").factors.base, np.memmap)

    def test_is_never_written_over_another(self, model, tmp_path):
        arrays.save(model, tmp_path / "model")
        with pytest.raises(FileExistsError):
            arrays.save(model, tmp_path / "model")

    def test_holds_no_pickles(self, model, tmp_path):
        broken = Model(**{f.name: getattr(model, f.name) for f in fields(model)}
                       | {"factors": np.array([{}], dtype=object)})  # fmt: skip
        with pytest.raises(ValueError, match="Object arrays cannot be saved"):
            arrays.save(broken, tmp_path / "model")


class TestIdTable:
    @settings(deadline=None)
    @given(ids=IDS, others=IDS)
    def test_every_id_is_found_where_it_lies_and_no_other_is(self, ids, others):
        table = IdTable.of(ids)
        assert table.texts(np.arange(len(ids))) == ids
        assert table.indices(ids).tolist() == list(range(len(ids)))
        strangers = [one for one in others if one not in ids]
        assert table.indices(strangers).tolist() == [-1] * len(strangers)

    def test_a_longer_id_is_not_taken_for_its_beginning(self):
        table = IdTable.of(["ab", "a"])
        assert table.indices(["abc", "a", "ab", ""]).tolist() == [-1, 1, 0, -1]
        assert (table.index("a"), table.text(1), len(table)) == (1, "a", 2)

    def test_an_id_with_a_nul_is_not_taken_for_the_id_before_it(self):
        assert IdTable.of(["a"]).indices(["a\0", "\ud800"]).tolist() == [-1, -1]

    @pytest.mark.parametrize("ids", [["a", "b", "a"], ["a", "a\0"]])
    def test_ids_that_are_not_distinct_are_refused(self, ids):
        with pytest.raises(ValueError, match="must be distinct"):
            IdTable.of(ids)

    def test_ids_in_byte_order_need_no_sorting(self):
        ids = np.array([b"a", b"ab", b"b"])
        assert IdTable.sorted(ids).indices(["b", "ab", "x"]).tolist() == [2, 1, -1]


@given(texts=st.lists(st.one_of(st.none(), st.text()), max_size=10))
def test_texts_come_back_and_a_missing_one_is_empty(texts):
    column = Texts.of(texts)
    assert [column[i] for i in range(len(column))] == [text or "" for text in texts]


class TestRagged:
    @given(rows=LISTS)
    def test_rows_come_back(self, rows):
        ragged = Ragged.of(rows)
        assert [ragged.row(i).tolist() for i in range(len(ragged))] == rows

    @given(rows=LISTS.filter(len), data=st.data())
    def test_taken_rows_come_in_the_named_order(self, rows, data):
        named = data.draw(st.lists(st.integers(0, len(rows) - 1)))
        taken = Ragged.of(rows).take(np.array(named, dtype=np.int64))
        assert [taken.row(i).tolist() for i in range(len(taken))] == [rows[i] for i in named]

    @given(pairs=st.lists(st.tuples(*[st.lists(st.integers(0, 9), max_size=4)] * 2), max_size=6))
    def test_joined_rows_are_one_behind_the_other(self, pairs):
        joined = Ragged.of([a for a, _ in pairs]).joined(Ragged.of([b for _, b in pairs]))
        assert [joined.row(i).tolist() for i in range(len(joined))] == [a + b for a, b in pairs]

    def test_empty_rows_are_rows(self):
        assert [Ragged.empty(2).row(i).tolist() for i in range(2)] == [[], []]


def timelines(rows, n_items=10):
    """Items of each person, one a microsecond."""
    ragged = Ragged.of(rows)
    size = len(ragged.values)
    signals = np.zeros(size, np.int8)
    return Timelines(
        ragged.indptr, ragged.values, signals, np.arange(size), np.zeros(size, np.int32), n_items
    )


def rows_of(value):
    return [value.items[a:b].tolist() for a, b in zip(value.indptr, value.indptr[1:], strict=False)]


class TestTimelines:
    @given(rows=LISTS.filter(len), data=st.data())
    def test_taking_people_keeps_their_order_in_time(self, rows, data):
        named = data.draw(st.lists(st.integers(0, len(rows) - 1)))
        assert rows_of(timelines(rows).take(np.array(named, np.int64))) == [rows[i] for i in named]

    @given(rows=LISTS, least=st.integers(0, 9))
    def test_leaving_entries_out_leaves_nobody_out(self, rows, least):
        whole = timelines(rows)
        kept = whole.where(whole.items >= least)
        assert rows_of(kept) == [[item for item in row if item >= least] for row in rows]
        assert len(kept) == len(rows)

    @given(rows=LISTS)
    def test_are_the_same_after_a_way_over_the_disk(self, rows, tmp_path_factory):
        directory = tmp_path_factory.mktemp("arrays") / "timelines"
        arrays.save(timelines(rows), directory)
        assert rows_of(arrays.load(Timelines, directory)) == rows


class TestHistories:
    def of(self, rows, weights):
        lines = timelines(rows)
        sizes = np.array(weights, np.float32)
        return Histories(lines.indptr, lines.items, lines.signals, sizes, sizes * 0, lines.n_items)

    @given(rows=LISTS.filter(len), data=st.data())
    def test_since_leaves_what_follows_an_offset(self, rows, data):
        starts = [data.draw(st.integers(0, len(row))) for row in rows]
        histories = self.of(rows, range(sum(map(len, rows))))
        cut = histories.since(np.array(starts, np.int64))
        assert rows_of(cut) == [row[start:] for row, start in zip(rows, starts, strict=True)]

    def test_interest_sums_what_is_positive_and_forgets_the_rest(self):
        interest = self.of([[1, 2, 1], [], [3]], [1, 2, 0.5, -4]).interest()
        dense = np.zeros((3, 10), np.float32)
        dense[0, 1], dense[0, 2] = 1.5, 2
        np.testing.assert_array_equal(interest.toarray(), dense)
        assert interest.nnz == 2

    @pytest.mark.parametrize("rows", [[[1, 2, 1]], [[]], [[3], [], [1, 1]]])
    def test_interest_by_item_is_the_same_without_a_matrix(self, rows):
        histories = self.of(rows, [1, -2, 3][: sum(map(len, rows))])
        matrix, light = histories.interest(), histories.by_item
        assert light.indptr.tolist() == matrix.indptr.tolist()
        assert light.indices.tolist() == matrix.indices.tolist()
        assert light.data.tolist() == matrix.data.tolist()
        assert light.nnz == matrix.nnz
        for row in range(len(rows)):
            assert light.row(row).indices.tolist() == matrix[row].indices.tolist()

    def test_interest_leaves_the_histories_as_they_are(self):
        histories = self.of([[1, 1]], [1, 2])
        histories.interest()
        assert histories.weights.tolist() == [1, 2]

    def test_a_stranger_is_an_empty_row(self):
        strangers = Histories.strangers(3, n_items=4)
        assert len(strangers) == 3
        assert strangers.interest().shape == (3, 4)
        assert rows_of(strangers.take(np.array([2]))) == [[]]


@pytest.mark.parametrize("many", [3, 300])  # stretch by stretch, or entry by entry
def test_stretches_are_the_rows_one_after_another(many):
    random = np.random.default_rng(many)
    lengths = random.integers(0, 4, 50)
    indptr = np.append(0, np.cumsum(lengths))
    keys = random.integers(0, 9, indptr[-1]).astype(np.int32)
    rows = random.integers(0, 50, many)
    found = stretches(indptr, rows, keys, keys * 0.5)
    places = [place for row in rows for place in range(indptr[row], indptr[row + 1])]
    assert found[0].tolist() == lengths[rows].tolist()
    assert found[1].tolist() == keys[places].tolist()
    assert found[2].tolist() == (keys[places] * 0.5).tolist()


def test_amounts_are_summed_by_key():
    keys, sums = summed(np.array([4, 1, 4, 0]), np.array([1.0, 2.0, 0.5, -1.0]))
    assert (keys.tolist(), sums.tolist()) == ([0, 1, 4], [-1.0, 2.0, 1.5])


def test_a_matrix_that_does_not_fit_its_ids_is_refused():
    people, items = IdTable.of(["u:1", "u:2"]), IdTable.of(["a", "b", "c"])
    UserItemMatrix(sp.csr_matrix((2, 3)), people, items)
    with pytest.raises(ValueError, match=r"\(3, 2\) does not fit 2 persons x 3 items; rows are"):
        UserItemMatrix(sp.csr_matrix((3, 2)), people, items)


@given(us=st.integers(-(10**15), 4 * 10**15))
def test_moments_are_exact_to_the_microsecond(us):
    assert to_us(from_us(us)) == us
