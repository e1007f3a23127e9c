"""The people of the log: who they are, how they are known, and what they consent to."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.contract import UNREADABLE_CONSENT

KINDS = {"u:": "customer", "v:": "visitor", "s:": "session"}  # mark of a person -> how it is known


def persons(events: ir.Table, customers: ir.Table | None, consent_default: bool) -> ir.Table:
    """One row per person: person, kind, events, consent, person_index (in id order).

    customers: every row of the table with its `reasons`, the rejected ones too; customers without
    an event are people as well. Consent is what the table says, else `consent_default`; where rows
    of one customer disagree, or an answer cannot be read, the most restrictive wins.
    """
    people = events.group_by("person").agg(events=events.count())
    if customers is None:
        people = people.mutate(consent=ibis.literal(consent_default))
    else:
        joined = people.outer_join(_answers(customers), "person")
        people = joined.select(
            person=ibis.coalesce(joined.person, joined.person_right),
            events=ibis.coalesce(joined.events, 0),
            consent=ibis.cases(
                (joined.refuses, False), (joined.agrees, True), else_=consent_default
            ),
        )
    kinds = ((people.person.startswith(mark), kind) for mark, kind in KINDS.items())
    order = ibis.window(order_by=people.person)
    return people.mutate(
        kind=ibis.cases(*kinds, else_=None),
        person_index=ibis.row_number().over(order).cast("int32"),
    )


def _answers(customers: ir.Table) -> ir.Table:
    """person, refuses, agrees: what each customer says to being known."""
    unreadable = ibis.coalesce(customers.reasons.contains(UNREADABLE_CONSENT), False)
    given = customers.mutate(
        person="u:" + customers.user_id,
        refuses=ibis.coalesce(~customers.consent_personalise, False) | unreadable,
        agrees=ibis.coalesce(customers.consent_personalise, False) & customers.reasons.isnull(),
    )
    given = given.filter(given.user_id.notnull()).group_by("person")
    return given.agg(refuses=lambda t: t.refuses.any(), agrees=lambda t: t.agrees.any())
