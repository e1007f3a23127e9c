"""The people of the log: who they are, how they are known, and what they consent to."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.contract import unreadable
from features.identity import devices, with_person
from features.types import MAX_ID

KINDS = {"u:": "customer", "v:": "visitor", "s:": "session"}  # mark of a person -> how it is known


def persons(
    events: ir.Table, links: ir.Table, *, customers: ir.Table | None, preferences: ir.Table | None,
    consent_default: bool, as_of_us: int | None = None,
) -> ir.Table:  # fmt: skip
    """One row per person: person_index, person, kind, events, consent, joined_us.

    events:      with `person`
    links:       `identity.links` of the same moment
    customers:   every row of the table with its `reasons`, the rejected ones too
    preferences: what was answered until that moment

    A person has events, or a row among the customers, or has answered a question, or is a device
    that refuses: the refusal must be known when it comes back. `person_index` is the place among
    the marked ids, sorted by their bytes. Consent is what the table says, else `consent_default`;
    `joined_us` is the earliest of a customer's accepted rows. Who joins after `as_of_us` and has
    done nothing before is not known yet.
    """
    counted = [events.group_by("person").agg(events=events.count())]
    if preferences is not None:
        counted.append(_without_events(with_person(preferences, links)))
    if customers is None:
        people = _counted(counted).mutate(
            consent=ibis.literal(consent_default), joined_us=ibis.null("int64")
        )
    else:
        said = _said(customers)
        said = ibis.union(said, _refused_devices(links, said))
        people = _consenting(_counted([*counted, _without_events(said)]), said, consent_default)
        if as_of_us is not None:
            known = ibis.coalesce(people.joined_us <= as_of_us, True)
            people = people.filter((people.events > 0) | known).mutate(
                joined_us=ibis.ifelse(known, people.joined_us, ibis.null("int64"))
            )
    kinds = ((people.person.startswith(mark), kind) for mark, kind in KINDS.items())
    place = ibis.row_number().over(ibis.window(order_by=people.person))
    people = people.mutate(kind=ibis.cases(*kinds, else_=None), person_index=place.cast("int32"))
    return people.select("person_index", "person", "kind", "events", "consent", "joined_us")


def _without_events(people: ir.Table) -> ir.Table:
    return people.select("person", events=ibis.literal(0, "int64"))


def _counted(tables: list[ir.Table]) -> ir.Table:
    """Every person of any of the tables once, with all its events."""
    rows = ibis.union(*tables) if len(tables) > 1 else tables[0]
    return rows.group_by("person").agg(events=rows.events.sum().cast("int64"))


def _consenting(people: ir.Table, said: ir.Table, consent_default: bool) -> ir.Table:
    """Add consent and joined_us; of what one person says the most restrictive wins."""
    joined = people.left_join(said, "person")
    consent = ibis.cases((joined.refuses, False), (joined.agrees, True), else_=consent_default)
    return joined.select("person", "events", "joined_us", consent=consent)


def _said(customers: ir.Table) -> ir.Table:
    """person, refuses, agrees, joined_us: what each customer says to being known.

    An answer that cannot be read is a refusal. A rejected row may refuse but not agree.
    """
    sound = customers.reasons.isnull()
    garbled = ibis.coalesce(customers.reasons.contains(unreadable("consent_personalise")), False)
    given = customers.select(
        person="u:" + customers.user_id,
        refuses=ibis.coalesce(~customers.consent_personalise, False) | garbled,
        agrees=ibis.coalesce(customers.consent_personalise, False) & sound,
        joined_us=ibis.ifelse(sound, customers.joined_us, ibis.null("int64")),
    )
    given = given.filter(given.person.length() <= MAX_ID + len("u:"))  # a longer id is nobody's
    return given.group_by("person").agg(
        refuses=given.refuses.any(), agrees=given.agrees.any(), joined_us=given.joined_us.min()
    )


def _refused_devices(links: ir.Table, said: ir.Table) -> ir.Table:
    """The same columns for devices of several customers in force, of whom one refuses."""
    linked = links.filter(links.in_force).anti_join(devices(links), "device")
    linked = linked.mutate(person="u:" + linked.user_id)
    refused = linked.semi_join(said.filter(said.refuses), "person").select("device").distinct()
    return refused.select(
        person=refused.device,
        refuses=ibis.literal(True),
        agrees=ibis.literal(False),
        joined_us=ibis.null("int64"),
    )
