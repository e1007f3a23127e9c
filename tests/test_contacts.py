"""Contacts: whom a mail may be written to, how often, in which words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.build import input_digest
from features.contacts import channels, contacts
from features.contract import unreadable
from training import bundle as bundles
from training.bundle import Bundle
from training.contacts import Contacts
from training.fitting import fit
from training.item_facts import ItemFacts
from training.past import Past
from training.recipe import Recipe

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PERSON = {"person_index": "int32", "person": "string", "kind": "string"}
CUSTOMER = {"source_file": "string", "source_row": "int64", "user_id": "string",
            "consent_email": "boolean", "email_frequency_per_week": "float64",
            "first_name": "string", "language": "string", "reasons": "array<string>"}  # fmt: skip
ANSWER = {"user_id": "string", "visitor_id": "string", "question": "string", "answer": "string",
          "answered_us": "int64"}  # fmt: skip
DEVICE = {"device": "string", "person": "string"}
BROKEN = ["joined_at is no time"]
GARBLED = [unreadable("consent_email")]


def table(schema, rows):
    """Rows as a table that an engine computes with."""
    schema = ibis.schema(schema)
    filled = [dict.fromkeys(schema) | row for row in rows]
    return ibis.memtable(pa.Table.from_pylist(filled, schema.to_pyarrow()), schema=schema)


def ann(consent=None, weekly=None, *, reasons=None, **texts):
    """A row of hers among the customers."""
    return {"consent_email": consent, "email_frequency_per_week": weekly, "reasons": reasons,
            **texts}  # fmt: skip


def found(engine, customers, said=None):
    """What is known of ann, who is a customer; a visitor and a session are there, too."""
    everybody = table(PERSON, [
        {"person_index": place, "person": person, "kind": kind}
        for place, (person, kind) in enumerate(
            [("s:1", "session"), ("u:ann", "customer"), ("v:1", "visitor")])
    ])  # fmt: skip
    if customers is not None:
        customers = table(CUSTOMER, [
            {"user_id": "ann", "source_file": "c", "source_row": row, **one}
            for row, one in enumerate(customers)
        ])  # fmt: skip
    (row,) = engine.to_pyarrow(contacts(everybody, customers, said)).to_pylist()
    assert row.pop("person_index") == 1
    return row


class TestConsent:
    @pytest.mark.parametrize(
        ("rows", "consent"),
        {
            "yes": ([ann(True)], True),
            "no": ([ann(False)], False),
            "silent": ([ann()], None),
            "no row of hers": ([{"user_id": "bob", "consent_email": True}], None),
            "yes and no": ([ann(True), ann(False, reasons=["given before"])], False),
            "that cannot be read": ([ann(reasons=GARBLED)], False),
            "yes, and one that cannot be read": ([ann(True), ann(reasons=GARBLED)], False),
            "yes in a broken row": ([ann(True, reasons=BROKEN)], None),
            "no in a broken row": ([ann(True), ann(False, reasons=BROKEN)], False),
        }.values(),
    )
    def test_is_the_most_restrictive_answer(self, engine, rows, consent):
        assert found(engine, rows)["consent_email"] is consent

    def test_nobody_has_said_anything_without_a_table(self, engine):
        nothing = ("consent_email", "mails_per_week", "first_name", "language", "channel")
        assert found(engine, None) == dict.fromkeys(nothing)


class TestMailsAWeek:
    @pytest.mark.parametrize(
        ("rows", "weekly"),
        {
            "as said": ([ann(weekly=2.0)], 2.0),
            "none at all": ([ann(weekly=0.0)], 0.0),
            "never said": ([ann()], None),
            "the smallest": ([ann(weekly=2.0), ann(weekly=0.5, reasons=["given before"])], 0.5),
            "below nothing": ([ann(weekly=-1.0, reasons=["it is negative"])], None),
        }.values(),
    )
    def test_are_as_few_as_any_row_asks_for(self, engine, rows, weekly):
        assert found(engine, rows)["mails_per_week"] == weekly


class TestWords:
    def test_are_those_of_the_first_sound_row_that_has_any(self, engine):
        rows = [
            ann(first_name="An", language="en", reasons=BROKEN), ann(True), ann(first_name="Ann"),
            ann(first_name="Anna", language="de"),
        ]  # fmt: skip
        told = found(engine, rows)
        assert (told["first_name"], told["language"]) == ("Ann", None)


class TestChannel:
    DEVICES = ({"device": "v:phone", "person": "u:ann"},)

    def channel(self, engine, *answers, as_of_us=9):
        rows = [
            {"question": "channel", "answered_us": at, "answer": answer,
             "user_id" if name == "ann" else "visitor_id": name}
            for name, at, answer in answers
        ]  # fmt: skip
        rows.append({"question": "topic", "answered_us": 9, "answer": "art", "user_id": "ann"})
        devices = table(DEVICE, self.DEVICES)
        said = channels(table(ANSWER, rows), devices, "channel", as_of_us)
        return found(engine, [ann()], said)["channel"]

    @pytest.mark.parametrize(
        ("answers", "channel"),
        {
            "the newest": ([("ann", 1, "email"), ("ann", 2, "phone")], "phone"),
            "on a device of hers, too": ([("ann", 1, "email"), ("phone", 2, "post")], "post"),
            "of nobody else": ([("ann", 1, "email"), ("tablet", 2, "post")], "email"),
            "not of later": ([("ann", 9, "email"), ("ann", 10, "phone")], "email"),
            "of one moment the first by its letters": (
                [("ann", 1, "phone"), ("ann", 1, "email")], "email"),
            "none once she will not say": ([("ann", 1, "phone"), ("ann", 2, " Skip")], None),
            "never asked": ([], None),
        }.values(),
    )  # fmt: skip
    def test_is_the_newest_answer(self, engine, answers, channel):
        assert self.channel(engine, *answers) == channel


LOG = [
    {"occurred_at": NOON, "event_type": "view", "item_id": "lamp", "user_id": user,
     "visitor_id": visitor, "session_id": session}
    for user, visitor, session in (("ann", None, None), (None, "web", None), (None, None, "once"),
                                   ("bob", None, None))
]  # fmt: skip
CHANNEL = {"mail": {"withhold": {"channel_question": "channel"}}}


def sources(shop):
    """A shop of ann and bob; carl is a customer who has done nothing yet."""
    people = [
        {"user_id": "ann", "first_name": "Ann", "language": "de-AT", "consent_email": "yes",
         "email_frequency_per_week": "0.5"},
        {"user_id": "carl", "first_name": "Carl", "language": None, "consent_email": "perhaps",
         "email_frequency_per_week": None},
    ]  # fmt: skip
    answers = [
        {"user_id": "bob", "question": "channel", "answer": "phone", "answered_at": NOON - HOUR},
        {"user_id": "ann", "question": "channel", "answer": "email", "answered_at": NOON + HOUR},
    ]  # fmt: skip
    return {
        "events": shop.file("log.parquet", LOG),
        "customers": shop.file("customers.parquet", people),
        "preferences": shop.file("answers.parquet", answers),
    }


@pytest.fixture(scope="module")
def built(new_shop):
    """The shop, and what was built of it."""
    shop = new_shop()
    return shop, shop.build(sources(shop), contract={"max_rejected_share": 1.0}, **CHANNEL)


class TestABuild:
    def test_writes_a_row_per_customer(self, built):
        _, features = built
        rows = pq.read_table(features.directory / "contacts.parquet").to_pylist()
        names = features.persons.texts(np.array([row.pop("person_index") for row in rows]))
        silent = dict.fromkeys(rows[0])
        assert dict(zip(names, rows, strict=True)) == {
            "u:ann": {"consent_email": True, "mails_per_week": 0.5, "first_name": "Ann",
                      "language": "de-AT", "channel": None},
            "u:bob": silent | {"channel": "phone"},
            "u:carl": silent | {"consent_email": False},
        }  # fmt: skip

    def test_depends_on_the_question_and_on_nothing_else_of_the_mails(self, shop):
        def digest(**mail):
            config = shop.config({"events": shop.file("log.parquet", LOG)}, mail=mail)
            return input_digest(config, shop.base, {}, None)

        asked = digest(withhold={"channel_question": "channel"})
        assert asked != digest()
        assert asked == digest(
            withhold={"channel_question": "channel", "min_events": 3}, look={"accent": "#000000"},
            utm={}, site="https://shop.example",
        )  # fmt: skip


class TestABundle:
    def test_has_the_contacts_of_its_persons(self, built, tmp_path):
        shop, made = built
        config = shop.config(sources(shop), **CHANNEL)
        past = Past.plain(made.timelines, made.as_of_us, config.signals, ItemFacts.of(made))
        rankers = {"popularity": fit("popularity", past, config.training)}
        recipe = Recipe(config.training, ["popularity"], [("one_for_all", "popularity")])
        bundles.save(tmp_path / "v1", made, config, rankers, recipe, {})
        bundle = Bundle.open(tmp_path / "v1")
        names = bundle.persons.texts(np.arange(len(bundle.persons)))
        assert names == ["u:ann", "u:bob", "u:carl", "v:web"]
        known = bundle.contacts
        assert (len(known), known.consent_email.dtype, known.mails_per_week.dtype) == (
            4, np.int8, np.float32)  # fmt: skip
        assert known.consent_email.tolist() == [1, -1, 0, -1]
        np.testing.assert_array_equal(known.mails_per_week, np.float32([0.5] + [np.nan] * 3))
        texts = [[column[row] for row in range(4)]
                 for column in (known.first_names, known.languages, known.channels)]  # fmt: skip
        assert texts == [["Ann", "", "", ""], ["de-AT", "", "", ""], ["", "phone", "", ""]]

    def test_of_a_feature_set_without_the_table_knows_nobody(self, built, tmp_path):
        _, made = built
        known = Contacts.of(replace(made, directory=tmp_path), np.arange(2))
        assert (known.consent_email.tolist(), known.first_names[1]) == ([-1, -1], "")
