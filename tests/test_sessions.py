"""Sessions: what belongs to one visit."""

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.sessions import session_numbers, with_session

SCHEMA = {"person_index": "int32", "occurred_us": "int64", "session_id": "string",
          "sequence": "int64", "row": "int64"}  # fmt: skip
MINUTE = 60_000_000
GAP = 30.0


def numbered(engine, rows, gap=GAP, brings=True):
    """The session of each (person, occurred_us, session_id, sequence), in the order given."""
    schema = ibis.schema(SCHEMA)
    columns = [dict(zip(schema, (*row, place), strict=True)) for place, row in enumerate(rows)]
    table = ibis.memtable(pa.Table.from_pylist(columns, schema.to_pyarrow()), schema=schema)
    found = with_session(table if brings else table.drop("session_id"), gap).order_by("row")
    assert found.session.type().is_int32()
    return [row["session"] for row in engine.to_pyarrow(found).to_pylist()]


def visit(minute, session=None, sequence=None, person=0):
    return person, int(minute * MINUTE), session, sequence


class TestSilence:
    @pytest.mark.parametrize("brings", [True, False])
    @pytest.mark.parametrize(
        ("minutes", "sessions"),
        {
            "one": ([5], [0]),
            "exactly the gap goes on": ([0, 30, 60], [0, 0, 0]),
            "a microsecond more does not": ([0, 30 + 1 / MINUTE], [0, 1]),
            "every silence ends one": ([0, 10, 50, 60, 100], [0, 0, 1, 1, 2]),
            "whatever the order of the rows": ([50, 0, 100, 10], [1, 0, 2, 0]),
            "before 1970": ([-100, -50, -25, 4, 10], [0, 1, 1, 1, 1]),
        }.values(),
    )
    def test_ends_a_session(self, engine, minutes, sessions, brings):
        rows = [visit(minute) for minute in minutes]
        assert numbered(engine, rows, brings=brings) == sessions

    @pytest.mark.parametrize(
        ("gap", "sessions"), [(0.5, [0, 1, 2]), (1, [0, 0, 1]), (2.5, [0] * 3)]
    )
    def test_as_long_as_the_config_says(self, engine, gap, sessions):
        assert numbered(engine, [visit(0), visit(1), visit(3)], gap) == sessions

    def test_of_others_counts_for_nobody(self, engine):
        rows = [visit(0), visit(20, person=1), visit(40), visit(45, person=1)]
        assert numbered(engine, rows) == [0, 0, 1, 0]


class TestBroughtSessions:
    def test_are_sessions_however_long_and_interleaved(self, engine):
        rows = [visit(0, "a"), visit(1, "b"), visit(2, "a"), visit(900, "b"), visit(901, "c")]
        assert numbered(engine, rows) == [0, 1, 0, 1, 2]

    def test_of_one_name_are_each_person_s_own(self, engine):
        assert numbered(engine, [visit(0, "a"), visit(1, "a", person=1)]) == [0, 0]

    def test_are_counted_together_with_the_silent_ones(self, engine):
        rows = [visit(0), visit(10, "a"), visit(20), visit(60), visit(70, "a"), visit(80, "b")]
        assert numbered(engine, rows) == [0, 1, 0, 2, 1, 3]

    def test_begin_while_a_silent_one_goes_on(self, engine):
        rows = [visit(20), visit(21, "a"), visit(40), visit(41, "b"), visit(65), visit(66)]
        assert numbered(engine, rows) == [0, 1, 0, 2, 0, 0]

    @pytest.mark.parametrize(
        ("rows", "sessions"),
        {
            "by their sequence": ([visit(0, "a", 2), visit(0, "b", 1)], [1, 0]),
            "those without one last": ([visit(0, "a"), visit(0, "b", 1), visit(0)], [1, 0, 2]),
            "then by their rows": ([visit(0, "b", 1), visit(0, "a", 1)], [0, 1]),
            "of the rows that are first": (
                [visit(0, "a", 3), visit(0, "b", 2), visit(0, "a", 1), visit(5, "b", 0)],
                [0, 1, 0, 1]),
        }.values(),
    )  # fmt: skip
    def test_that_begin_together_go(self, engine, rows, sessions):
        assert numbered(engine, rows) == sessions


def by_hand(rows, gap):
    """The same by going through one event after the other."""
    order = sorted(
        range(len(rows)), key=lambda i: (rows[i][1], rows[i][3] is None, rows[i][3] or 0, i)
    )
    counts, brought, silent, found = {}, {}, {}, [0] * len(rows)
    for i in order:
        person, time, session, _ = rows[i]
        if session is None:
            last, number = silent.get(person, (None, None))
            fresh = last is None or time - last > gap * MINUTE
        else:
            number = brought.get((person, session))
            fresh = number is None
        if fresh:
            number = counts.get(person, 0)
            counts[person] = number + 1
        if session is None:
            silent[person] = (time, number)
        else:
            brought[person, session] = number
        found[i] = number
    return found


ROWS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(-6, 30).map(lambda half: half * 15 * MINUTE + half % 2),
        st.none() | st.sampled_from("ab"),
        st.none() | st.integers(0, 2),
    ),
    max_size=40,
)
GAPS = st.sampled_from([15.0, 30.0, 47.3])


@settings(max_examples=15, deadline=None)
@given(ROWS, GAPS, st.booleans())
def test_sessions_are_those_of_going_through_the_log(engine, rows, gap, brings):
    if not brings:
        rows = [(person, time, None, sequence) for person, time, _, sequence in rows]
    assert numbered(engine, rows, gap, brings) == by_hand(rows, gap)


@given(ROWS, GAPS)
def test_one_person_s_sessions_are_the_same_without_the_engine(rows, gap):
    rows = [(0, *rest) for _, *rest in sorted(rows, key=lambda row: row[1])]
    rows = [(person, time, session, None) for person, time, session, _ in rows]
    times = np.array([time for _, time, _, _ in rows], dtype=np.int64)
    found = session_numbers(times, [session for _, _, session, _ in rows], gap)
    assert found.dtype == np.int32
    assert found.tolist() == by_hand(rows, gap)


@pytest.mark.parametrize("ids", [None, [None] * 3])
def test_one_person_without_session_ids_has_sessions_by_silence(ids):
    times = np.array([0, 30, 61], dtype=np.int64) * MINUTE
    assert session_numbers(times, ids, GAP).tolist() == [0, 0, 1]
