"""Identity: links between devices and customers, and whose an event is."""

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.identity import counts, devices, links, shared_devices, with_person
from features.options import Identity

EVENT = {"row": "int64", "occurred_us": "int64", "user_id": "string", "visitor_id": "string",
         "session_id": "string"}  # fmt: skip
IDENTITY = {"visitor_id": "string", "user_id": "string", "linked_us": "int64",
            "unlinked_us": "int64"}  # fmt: skip
END = 100


def table(schema, rows):
    schema = ibis.schema(schema)
    rows = [dict(zip(schema, row, strict=True)) for row in rows]
    return ibis.memtable(pa.Table.from_pylist(rows, schema.to_pyarrow()), schema=schema)


def event(at, user=None, visitor=None, session=None):
    return at, user, visitor, session


def log(events):
    return table(EVENT, [(row, *one) for row, one in enumerate(events)])


def linked(events, identities=None, at=END, **options):
    told = None if identities is None else table(IDENTITY, identities)
    return links(log(events), told, at, Identity(**options))


def found(engine, expression):
    return engine.to_pyarrow(expression).to_pylist()


def states(engine, known):
    """Pair -> (linked, unlinked, source, in force)."""
    columns = ("linked_us", "unlinked_us", "source", "in_force")
    return {(row["device"], row["user_id"]): tuple(row[c] for c in columns)
            for row in found(engine, known)}  # fmt: skip


def persons(engine, events, known):
    rows = found(engine, with_person(log(events), known).order_by("row"))
    return [row["person"] for row in rows]


LOGIN = event(5, "ann", "v")
IN_LOG, IN_TABLE = "log", "table"


class TestLinks:
    @pytest.mark.parametrize(
        ("events", "identities", "state"),
        {
            "from the first event with both": (
                [event(1, None, "v"), LOGIN, event(7, "ann", "v")], None, (5, None, IN_LOG, True)),
            "from the table": ([], [("v", "ann", 3, None)], (3, None, IN_TABLE, True)),
            "the table names it, the log knew earlier": (
                [LOGIN], [("v", "ann", 8, None)], (5, None, IN_TABLE, True)),
            "ended": ([], [("v", "ann", 3, 9)], (3, 9, IN_TABLE, False)),
            "an unlink ends the log's links too": (
                [LOGIN], [("v", "ann", 3, 9)], (3, 9, IN_TABLE, False)),
            "an event after the unlink links again": (
                [LOGIN, event(12, "ann", "v")], [("v", "ann", 3, 9)], (12, None, IN_TABLE, True)),
            "an event at the unlink does not": (
                [event(9, "ann", "v")], [("v", "ann", 3, 9)], (3, 9, IN_TABLE, False)),
            "a second interval that is open": (
                [], [("v", "ann", 1, 2), ("v", "ann", 6, None)], (6, None, IN_TABLE, True)),
            "a second interval that is over": (
                [], [("v", "ann", 1, 2), ("v", "ann", 6, 8)], (1, 8, IN_TABLE, False)),
            "unlinked the moment it was linked": (
                [], [("v", "ann", 4, 4)], (4, 4, IN_TABLE, False)),
        }.values(),
    )  # fmt: skip
    def test_of_one_pair_the_latest_state_counts(self, engine, events, identities, state):
        assert states(engine, linked(events, identities)) == {("v:v", "ann"): state}

    @pytest.mark.parametrize(("at", "in_force"), [(3, True), (8, True), (9, False), (10, False)])
    def test_a_link_is_in_force_until_the_moment_it_ends(self, engine, at, in_force):
        known = states(engine, linked([], [("v", "ann", 3, 9)], at))
        assert known["v:v", "ann"][3] == in_force

    def test_before_it_is_made_there_is_none(self, engine):
        assert states(engine, linked([LOGIN], [("v", "bob", 3, 9)], at=2)) == {}

    def test_events_make_none_where_the_config_says_so(self, engine):
        assert states(engine, linked([LOGIN], links_from_events=False)) == {}

    def test_a_session_is_a_device_where_no_visitor_is_known_and_a_row_lacks_the_customer(
        self, engine
    ):
        events = [
            event(1, None, None, "s"), event(2, "ann", None, "s"),
            event(3, "ann", None, "all hers"),
            event(4, None, "v", "t"), event(5, "ann", "v", "t"),
        ]  # fmt: skip
        assert {device for device, _ in states(engine, linked(events))} == {"s:s", "v:v"}


class TestPerson:
    ANONYMOUS = (event(1, None, "v"), event(9, None, "v"), event(9, None, None, "s"))

    def test_is_the_customer_else_the_visitor_else_the_session(self, engine):
        events = [event(1, "ann", "v", "s"), event(1, None, "w", "s"), event(1, None, None, "s")]
        assert persons(engine, events, linked(events)) == ["u:ann", "v:w", "s:s"]

    def test_all_a_visitor_did_joins_the_customer_it_turns_out_to_be(self, engine):
        events = [event(1, None, "v"), LOGIN, event(9, None, "v"), event(9, None, "w")]
        assert persons(engine, events, linked(events)) == ["u:ann", "u:ann", "u:ann", "v:w"]

    def test_a_session_joins_the_customer_who_logs_in_during_it(self, engine):
        events = [event(1, None, None, "s"), event(2, "ann", None, "s"), event(3, None, None, "t")]
        assert persons(engine, events, linked(events)) == ["u:ann", "u:ann", "s:t"]

    def test_a_customer_on_two_devices_is_one_person(self, engine):
        events = [event(1, None, "v"), event(2, None, "w")]
        both = [("v", "ann", 3, None), ("w", "ann", 3, None)]
        assert persons(engine, events, linked(events, both)) == ["u:ann", "u:ann"]

    def test_an_unlink_gives_the_visitor_back_what_it_did(self, engine):
        events = [*self.ANONYMOUS, LOGIN]
        known = linked(events, [("v", "ann", 5, 6)])
        assert persons(engine, events, known) == ["v:v", "v:v", "s:s", "u:ann"]

    def test_rows_without_sessions_have_one_too(self, engine):
        answers = log([event(1, None, "v"), event(1, "bob", "v")]).drop("session_id")
        rows = found(engine, with_person(answers, linked([LOGIN])).order_by("row"))
        assert [row["person"] for row in rows] == ["u:ann", "u:bob"]


class TestSharedDevices:
    EVENTS = (LOGIN, event(6, "bob", "v"), event(7, None, "v"))

    @pytest.mark.parametrize("most", [1, 2])
    def test_are_not_merged_however_many_customers_are_usual(self, engine, most):
        known = linked(self.EVENTS, max_customers=most)
        assert persons(engine, self.EVENTS, known) == ["u:ann", "u:bob", "v:v"]

    @pytest.mark.parametrize(("most", "shared"), [(1, {"v:v": 2}), (2, {})])
    def test_are_reported_when_they_have_more_customers_than_is_usual(self, engine, most, shared):
        rows = found(engine, shared_devices(linked(self.EVENTS, max_customers=most)))
        assert {row["device"]: row["customers"] for row in rows} == shared

    def test_are_shared_no_more_when_all_but_one_are_unlinked(self, engine):
        known = linked(self.EVENTS, [("v", "bob", 6, 8)])
        assert persons(engine, self.EVENTS, known) == ["u:ann", "u:bob", "u:ann"]
        assert found(engine, shared_devices(known)) == []


def test_merged_devices_name_their_customer(engine):
    events = [LOGIN, event(6, "ann", "shared"), event(6, "bob", "shared")]
    assert found(engine, devices(linked(events, [("gone", "ann", 1, 2)]))) == [
        {"device": "v:v", "person": "u:ann"}
    ]


@pytest.mark.parametrize(
    ("events", "identities", "numbers"),
    [
        ([], [], (0, 0, 0, 0)),
        ([LOGIN, event(6, "ann", "w"), event(6, "bob", "w"), event(6, None, "x")],
         [("gone", "ann", 1, 2), ("v", "bob", 1, 2)], (3, 2, 1, 1)),
    ],
)  # fmt: skip
def test_counts_say_what_became_of_the_links(engine, events, identities, numbers):
    names = ("links_in_force", "links_ended", "merged_devices", "shared_devices")
    assert found(engine, counts(linked(events, identities))) == [
        dict(zip(names, numbers, strict=True))
    ]


USERS, VISITORS, TIMES = st.sampled_from("ab"), st.sampled_from("vwxyz"), st.integers(0, 6)
EVENTS = st.lists(
    st.tuples(TIMES, st.none() | USERS, st.none() | VISITORS, st.sampled_from("stuv")), max_size=30
)
TOLD = st.lists(st.tuples(VISITORS, USERS, TIMES, st.none() | TIMES), max_size=12)


def device_of(visitor, session):
    return f"v:{visitor}" if visitor else f"s:{session}"


def replayed(events, identities, at):
    """Device -> customers in force, by going through everything in time; unlinks come last."""
    facts = [(time, "link", device_of(visitor, session), user)
             for time, user, visitor, session in events if user]  # fmt: skip
    for visitor, user, start, end in identities:
        if start <= at:
            facts += [(start, "link", f"v:{visitor}", user)]
            facts += [] if end is None else [(end, "unlink", f"v:{visitor}", user)]
    in_force = {}
    for time, what, device, user in sorted(facts):
        if time <= at:
            change = set.add if what == "link" else set.discard
            change(in_force.setdefault(device, set()), user)
    return in_force


@settings(max_examples=10, deadline=None)
@given(EVENTS, TOLD, TIMES)
def test_persons_are_those_of_a_replay(engine, events, identities, at):
    events = [one for one in events if one[0] <= at]
    in_force = replayed(events, identities, at)
    expected = []
    for _, user, visitor, session in events:
        device = device_of(visitor, session)
        owners = in_force.get(device, set())
        expected.append(f"u:{user}" if user else f"u:{min(owners)}" if len(owners) == 1 else device)
    assert persons(engine, events, linked(events, identities, at)) == expected


@settings(max_examples=6, deadline=None)
@given(EVENTS, TOLD, TIMES)
def test_the_future_changes_nothing(engine, events, identities, at):
    past = [one for one in events if one[0] <= at]
    told = [(v, user, start, None if end is None or end > at else end)
            for v, user, start, end in identities if start <= at]  # fmt: skip
    now = states(engine, linked(events, identities, at))
    assert now == states(engine, linked(past, told, END))


@settings(max_examples=6, deadline=None)
@given(EVENTS, TOLD, TIMES, TIMES)
def test_a_link_changes_its_device_only_and_its_end_restores_all(engine, events, told, start, end):
    start, end = min(start, end), max(start, end)
    before = persons(engine, events, linked(events, told))
    new = ("v", "new", start, None)
    during = persons(engine, events, linked(events, [*told, new]))
    others = [place for place, (_, user, visitor, _) in enumerate(events) if user or visitor != "v"]
    assert [during[i] for i in others] == [before[i] for i in others]
    over = linked(events, [*told, (*new[:3], end)])
    assert persons(engine, events, over) == before
