"""The people of the log: who they are, how they are known, and what they consent to."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

KINDS = {"u:": "customer", "v:": "visitor", "s:": "session"}  # mark of a person -> how it is known


def persons(events: ir.Table, customers: ir.Table | None, consent_default: bool) -> ir.Table:
    """One row per person with events: person, kind, rows, consent, person_index (in id order).

    Consent is what the customers table says, else `consent_default`.
    """
    counted = events.group_by("person").agg(events=events.count())
    counted = counted.mutate(
        kind=ibis.cases(*((counted.person.startswith(m), k) for m, k in KINDS.items()), else_=None)
    )
    if customers is None:
        told = counted.mutate(consent=ibis.literal(consent_default))
    else:
        said = customers.select(person="u:" + customers.user_id, said=customers.consent_personalise)
        joined = counted.left_join(said, "person").drop("person_right")
        told = joined.mutate(consent=ibis.coalesce(joined.said, consent_default)).drop("said")
    order = ibis.window(order_by=told.person)
    return told.mutate(person_index=ibis.row_number().over(order).cast("int32"))
