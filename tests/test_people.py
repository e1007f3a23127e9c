"""People: who they are, how they are known, and what they consent to."""

import ibis
import pyarrow as pa
import pytest

from features.contract import unreadable
from features.identity import links, with_person
from features.options import Identity
from features.people import persons

EVENT = {"user_id": "string", "visitor_id": "string", "session_id": "string",
         "occurred_us": "int64"}  # fmt: skip
IDENTITY = {"visitor_id": "string", "user_id": "string", "linked_us": "int64",
            "unlinked_us": "int64"}  # fmt: skip
CUSTOMER = {"user_id": "string", "consent_personalise": "boolean", "joined_us": "int64",
            "reasons": "array<string>"}  # fmt: skip
PREFERENCE = {"user_id": "string", "visitor_id": "string", "answer": "string"}


def table(schema, rows):
    schema = ibis.schema(schema)
    rows = [dict.fromkeys(schema) | row for row in rows]
    return ibis.memtable(pa.Table.from_pylist(rows, schema.to_pyarrow()), schema=schema)


def event(user=None, visitor=None, session=None):
    return {"user_id": user, "visitor_id": visitor, "session_id": session, "occurred_us": 5}


def customer(user, consent=None, joined=None, reasons=None):
    return {"user_id": user, "consent_personalise": consent, "joined_us": joined,
            "reasons": reasons}  # fmt: skip


def answer(user=None, visitor=None):
    return {"user_id": user, "visitor_id": visitor, "answer": "yes"}


def link(visitor, user, end=None):
    return {"visitor_id": visitor, "user_id": user, "linked_us": 1, "unlinked_us": end}


def people(engine, events, *, customers=None, preferences=None, identities=(), default=True):
    """Person -> row, in the order of their indices."""
    log = table(EVENT, events)
    known = links(log, table(IDENTITY, identities), 9, Identity())
    found = persons(
        with_person(log, known), known,
        customers=None if customers is None else table(CUSTOMER, customers),
        preferences=None if preferences is None else table(PREFERENCE, preferences),
        consent_default=default,
    ).order_by("person_index")  # fmt: skip
    rows = engine.to_pyarrow(found).to_pylist()
    assert [row.pop("person_index") for row in rows] == list(range(len(rows)))
    return {row.pop("person"): row for row in rows}


def column(found, name):
    return {person: row[name] for person, row in found.items()}


class TestWho:
    def test_everybody_with_an_event_is_a_person_known_as_well_as_it_can_be(self, engine):
        found = people(
            engine, [event("ann"), event("ann"), event(None, "v"), event(None, None, "s")]
        )
        assert found == {
            "s:s": {"kind": "session", "events": 1, "consent": True, "joined_us": None},
            "u:ann": {"kind": "customer", "events": 2, "consent": True, "joined_us": None},
            "v:v": {"kind": "visitor", "events": 1, "consent": True, "joined_us": None},
        }

    def test_customers_without_an_event_are_people_too(self, engine):
        found = people(engine, [event("ann")], customers=[customer("bob"), customer("ann")])
        assert column(found, "events") == {"u:ann": 1, "u:bob": 0}

    def test_who_only_answered_a_question_is_one_as_the_customer_that_it_turned_out_to_be(
        self, engine
    ):
        answers = [answer("bob"), answer(None, "v"), answer(None, "w"), answer("ann", "v")]
        found = people(engine, [event("ann", "v")], preferences=answers)
        assert column(found, "events") == {"u:ann": 1, "u:bob": 0, "v:w": 0}

    def test_indices_follow_the_bytes_of_the_ids(self, engine):
        ids = ["b", "B", "a", "é", "z", "😀", "\uffee", "a b"]
        found = people(engine, [event(one) for one in ids])
        assert [person[2:] for person in found] == sorted(ids, key=str.encode)

    def test_an_id_that_no_event_may_have_is_no_person_s(self, engine):
        longest = "x" * 256
        rows = [customer(longest), customer(longest + "x", False, reasons=["longer than 256"]),
                customer(None, False, reasons=["user_id is missing"])]  # fmt: skip
        assert list(people(engine, [event("ann")], customers=rows)) == ["u:ann", f"u:{longest}"]


class TestConsent:
    UNREADABLE = customer("ann", None, reasons=[unreadable("consent_personalise")])
    OTHER_FAULT = ("joined_at is no time",)

    @pytest.mark.parametrize("default", [True, False])
    @pytest.mark.parametrize(
        ("rows", "consent"),
        {
            "yes": ([customer("ann", True)], True),
            "no": ([customer("ann", False)], False),
            "silent": ([customer("ann")], None),
            "not there": ([customer("bob", False)], None),
            "unreadable": ([UNREADABLE], False),
            "yes and no": ([customer("ann", True), customer("ann", False, reasons=["2nd"])], False),
            "yes and unreadable": ([customer("ann", True), UNREADABLE], False),
            "yes in a row that is no good": ([customer("ann", True, reasons=OTHER_FAULT)], None),
            "no in a row that is no good": ([customer("ann", False, reasons=OTHER_FAULT)], False),
        }.values(),
    )
    def test_is_the_most_restrictive_answer_else_the_default(self, engine, rows, consent, default):
        found = people(engine, [event("ann")], customers=rows, default=default)
        assert found["u:ann"]["consent"] == (default if consent is None else consent)

    @pytest.mark.parametrize("default", [True, False])
    def test_without_a_customers_table_is_the_default(self, engine, default):
        found = people(engine, [event("ann"), event(None, "v")], default=default)
        assert column(found, "consent") == {"u:ann": default, "v:v": default}

    REFUSES = (customer("ann", True), customer("bob", False), customer("cid", True))
    TOGETHER = (link("v", "ann"), link("v", "bob"))

    def test_of_a_shared_device_is_refused_when_one_of_its_customers_refuses(self, engine):
        events = [event(None, "v"), event(None, "w")]
        calm = [link("w", "ann"), link("w", "cid")]
        found = people(engine, events, customers=self.REFUSES, identities=[*self.TOGETHER, *calm])
        assert column(found, "consent") == {
            "u:ann": True, "u:bob": False, "u:cid": True, "v:v": False, "v:w": True,
        }  # fmt: skip

    def test_of_a_shared_device_is_known_before_it_does_anything(self, engine):
        found = people(engine, [event("ann")], customers=self.REFUSES, identities=self.TOGETHER)
        assert found["v:v"] == {
            "kind": "visitor", "events": 0, "consent": False, "joined_us": None,
        }  # fmt: skip

    def test_of_a_merged_device_is_the_customer_s(self, engine):
        found = people(engine, [event(None, "v")], customers=self.REFUSES,
                       identities=[link("v", "bob")])  # fmt: skip
        assert "v:v" not in found
        assert found["u:bob"] == {
            "kind": "customer", "events": 1, "consent": False, "joined_us": None,
        }  # fmt: skip

    def test_of_a_device_no_longer_shared_is_that_of_whom_it_is_left_to(self, engine):
        identities = [link("v", "ann"), link("v", "bob", end=2), link("w", "bob", end=2)]
        found = people(engine, [event(None, "v"), event(None, "w")], customers=self.REFUSES,
                       identities=identities)  # fmt: skip
        assert column(found, "events") == {"u:ann": 1, "u:bob": 0, "u:cid": 0, "v:w": 1}
        assert found["v:w"]["consent"]


def test_customers_joined_with_the_earliest_of_their_accepted_rows(engine):
    repeated = customer("ann", joined=1, reasons=["user_id was given before"])
    rows = [customer("ann", joined=5), customer("ann", joined=4), repeated, customer("bob")]
    found = people(engine, [event("cid")], customers=rows)
    assert column(found, "joined_us") == {"u:ann": 4, "u:bob": None, "u:cid": None}
