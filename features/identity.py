"""Identity: which visitors are which customers, as far as is known at a moment.

A device is a marked id of somebody who has not said who it is: `v:` and the visitor id or, for rows
without one, `s:` and the session id. A link says that a device and a customer are the same person.
It is made by the identities table, or by an event that carries both, and ended by the table alone.

While a device has exactly one customer in force, all its anonymous events are that customer's,
those before the login too. With several customers nobody can say whose they are: they stay the
device's, whatever `max_customers` is; it only says from how many on a device is reported as shared.
Nothing is rewritten: persons follow from the links, so a link that ends restores the state without
it, event by event.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.options import Identity

_PAIR = ["device", "user_id"]


def links(
    events: ir.Table, identities: ir.Table | None, as_of_us: int, options: Identity
) -> ir.Table:
    """One row per device and customer that were ever linked, as it is known at `as_of_us`.

    device, user_id; linked_us: the first link since the last unlink, of an ended one the first of
    all; unlinked_us: when it ended, null while it is in force; source: 'table' when the identities
    table names the pair, else 'log'; in_force; shared: whether its device has more than
    `options.max_customers` customers in force.

    An unlink undoes every link of the pair made at or before it. What happens after `as_of_us`
    changes nothing. Sessions count as devices only where some of their rows lack the customer.
    """
    made = _from_log(events.filter(ibis.literal(options.links_from_events)), as_of_us)
    if identities is None:
        made = made.mutate(unlinked_us=ibis.null("int64"))
    else:
        told = _from_table(identities, as_of_us)
        ends = told.group_by(_PAIR).agg(unlinked_us=told.unlinked_us.max())
        made = ibis.union(made, told.select(made.columns)).left_join(ends, _PAIR)
        made = made.select(*_PAIR, "linked_us", "source", "unlinked_us")
    since = made.unlinked_us.isnull() | (made.linked_us > made.unlinked_us)
    pairs = made.group_by(_PAIR).agg(
        since_us=made.linked_us.min(where=since), first_us=made.linked_us.min(),
        unlinked_us=made.unlinked_us.max(), source=made.source.max(),  # 'table' is above 'log'
    )  # fmt: skip
    in_force = pairs.since_us.notnull()
    customers = in_force.cast("int64").sum().over(ibis.window(group_by="device"))
    return pairs.select(
        *_PAIR,
        linked_us=ibis.coalesce(pairs.since_us, pairs.first_us),
        unlinked_us=ibis.ifelse(in_force, ibis.null("int64"), pairs.unlinked_us),
        source=pairs.source,
        in_force=in_force,
        shared=customers > options.max_customers,
    )


def with_person(rows: ir.Table, links: ir.Table) -> ir.Table:
    """Add `person`: the row's customer, else the one its device is linked with, else the device.

    rows: user_id, visitor_id and, where the table has one, session_id
    """
    return with_owner(rows, devices(links))


def with_owner(rows: ir.Table, merged: ir.Table) -> ir.Table:
    """As `with_person`; `merged`: the `devices` that have one customer."""
    anonymous = ibis.ifelse(rows.user_id.isnull(), _device(rows), ibis.null("string"))
    keyed = rows.mutate(device=anonymous)
    joined = keyed.left_join(merged, "device")
    person = ibis.coalesce("u:" + joined.user_id, joined.person, joined.device)
    found = joined.mutate(person=person)  # no bare join: it may be joined with what is made of it
    return found.select(*rows.columns, "person")


def devices(links: ir.Table) -> ir.Table:
    """Every device that is merged with its one customer: device, person."""
    now = links.filter(links.in_force)
    counted = now.group_by("device").agg(user_id=now.user_id.max(), customers=now.count())
    one = counted.filter(counted.customers == 1)
    return one.select("device", person="u:" + one.user_id)


def shared_devices(links: ir.Table) -> ir.Table:
    """How many customers in force each shared device has: device, customers (int64)."""
    found = links.filter(links.shared & links.in_force)
    return found.group_by("device").agg(customers=found.count())


def counts(links: ir.Table) -> ir.Table:
    """One row of int64: links_in_force, links_ended, merged_devices, shared_devices."""
    device = links.group_by("device").agg(
        in_force=links.in_force.cast("int64").sum(), rows=links.count(), shared=links.shared.any()
    )
    found = {
        "links_in_force": device.in_force,
        "links_ended": device.rows - device.in_force,
        "merged_devices": (device.in_force == 1).cast("int64"),
        "shared_devices": device.shared.cast("int64"),
    }
    return device.aggregate(
        **{name: ibis.coalesce(number.sum(), 0).cast("int64") for name, number in found.items()}
    )


def _device(rows: ir.Table) -> ir.StringValue:
    marks = {"visitor_id": "v:", "session_id": "s:"}
    return ibis.coalesce(*(mark + rows[c] for c, mark in marks.items() if c in rows.columns))


def _from_log(events: ir.Table, as_of_us: int) -> ir.Table:
    """device, user_id, linked_us, source: a row for every event that makes a link."""
    seen = events.filter(events.occurred_us <= as_of_us)
    seen = seen.select("user_id", device=_device(seen), linked_us=seen.occurred_us)
    made = seen.filter(seen.user_id.notnull(), seen.device.notnull())
    session = seen.device.startswith("s:")
    loose = seen.filter(seen.user_id.isnull(), session).select("device").distinct()
    found = ibis.union(made.filter(~session), made.filter(session).semi_join(loose, "device"))
    return found.select(*_PAIR, "linked_us", source=ibis.literal("log"))


def _from_table(identities: ir.Table, as_of_us: int) -> ir.Table:
    """device, user_id, linked_us, source, unlinked_us: what the table knows at that moment."""
    known = identities.filter(identities.linked_us <= as_of_us)
    ended = ibis.coalesce(known.unlinked_us <= as_of_us, False)
    return known.select(
        "user_id", "linked_us",
        device="v:" + known.visitor_id,
        unlinked_us=ibis.ifelse(ended, known.unlinked_us, ibis.null("int64")),
        source=ibis.literal("table"),
    )  # fmt: skip
