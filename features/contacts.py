"""What mails need to know of customers: may they be written to, how often, in which words."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.contract import unreadable
from features.identity import with_owner
from features.options import SKIP

SCHEMA = {"person": "string", "consent_email": "boolean", "mails_per_week": "float64",
          "first_name": "string", "language": "string"}  # fmt: skip


def contacts(persons: ir.Table, customers: ir.Table | None, channels: ir.Table | None) -> ir.Table:
    """A row per person that is a customer; whatever nobody said is null.

    person_index, consent_email, mails_per_week, first_name, language, channel

    persons:   person_index, person, kind
    customers: every row of the table with its `reasons`, the rejected ones too
    channels:  as `channels` has them; None: nobody was asked

    Of a customer's rows the most restrictive counts: no before yes, and the smallest number of
    mails a week. An answer to consent_email that cannot be read is a no. A rejected row may ask for
    less, but neither agree nor tell a name. Name and language are those of the first sound row that
    has either.
    """
    known = persons.filter(persons.kind == "customer").select("person_index", "person")
    if customers is None:
        said = known.mutate(**{c: ibis.null(kind) for c, kind in SCHEMA.items() if c != "person"})
    else:
        rows = customers.mutate(person="u:" + customers.user_id)
        told = _may(rows).left_join(_words(rows), "person").drop("person_right")
        said = known.left_join(told, "person").select("person_index", *SCHEMA)
    if channels is None:
        found = said.mutate(channel=ibis.null("string"))
    else:
        found = said.left_join(channels, "person")
    return found.select("person_index", *SCHEMA, "channel").drop("person")


def channels(preferences: ir.Table, devices: ir.Table, question: str, as_of_us: int) -> ir.Table:
    """person, channel: everybody's newest answer to the question, at or before `as_of_us`.

    Who newly does not want to answer says nothing (null). Of two answers of one moment the first by
    its letters counts, so that builds agree.

    preferences: user_id, visitor_id, question, answer, answered_us
    devices:     device, person: visitors (`v:` and the id) who are customers
    """
    asked = preferences.filter(
        preferences.question == question, preferences.answered_us <= as_of_us
    )
    told = with_owner(asked, devices)
    newest = ibis.window(
        group_by="person", order_by=[ibis.desc(told.answered_us), told.answer.asc()]
    )
    placed = told.mutate(place=ibis.row_number().over(newest))
    said_nothing = placed.answer.strip().lower() == SKIP
    answer = ibis.ifelse(said_nothing, ibis.null("string"), placed.answer)
    return placed.mutate(channel=answer).filter(placed.place == 0).select("person", "channel")


def _may(rows: ir.Table) -> ir.Table:
    """person, consent_email, mails_per_week: the most restrictive of all rows."""
    sound = rows.reasons.isnull()
    garbled = ibis.coalesce(rows.reasons.contains(unreadable("consent_email")), False)
    given = rows.select(
        "person",
        refuses=ibis.coalesce(~rows.consent_email, False) | garbled,
        agrees=ibis.coalesce(rows.consent_email, False) & sound,
        weekly=ibis.ifelse(
            rows.email_frequency_per_week >= 0, rows.email_frequency_per_week, ibis.null("float64")
        ),
    )
    each = given.group_by("person").agg(
        refuses=given.refuses.any(), agrees=given.agrees.any(), mails_per_week=given.weekly.min()
    )
    consent = ibis.cases((each.refuses, False), (each.agrees, True), else_=ibis.null("boolean"))
    return each.select("person", "mails_per_week", consent_email=consent)


def _words(rows: ir.Table) -> ir.Table:
    """person, first_name, language: of the first sound row that has either."""
    told = rows.filter(rows.reasons.isnull(), rows.first_name.notnull() | rows.language.notnull())
    first = ibis.window(group_by="person", order_by=[told.source_file, told.source_row])
    placed = told.mutate(place=ibis.row_number().over(first))
    return placed.filter(placed.place == 0).select("person", "first_name", "language")
