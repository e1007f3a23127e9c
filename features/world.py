"""What a build knows when the log is clean: the tables that all later builders share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import ibis.expr.types as ir

from features.log import Clean
from features.reading import Tables


@dataclass(frozen=True)
class Known:
    """What describing people takes: who there is, and what they did until `moment_us`.

    persons: person_index, person, kind, consent, joined_us
    items:   the catalogue with item_index
    log:     person_index, item_index, event_type, signal, had, occurred_us, session, …
    """

    persons: ir.Table
    items: ir.Table
    log: ir.Table
    moment_us: int

    def without(self, event_types: Sequence[str]) -> Known:
        """The same people, as if they had done nothing of these types."""
        if not event_types:
            return self
        return replace(self, log=self.log.filter(self.log.event_type.notin(event_types)))


@dataclass(frozen=True)
class World:
    """The clean log in numbers, and whom and what it is about.

    persons: person_index, person, kind, events, consent, joined_us
    items:   the catalogue with item_index
    log:     person_index, item_index, event_type, signal, had, occurred_us, session, …
    """

    tables: Tables
    clean: Clean
    persons: ir.Table
    items: ir.Table
    log: ir.Table

    @property
    def known(self) -> Known:
        """Of the build's moment."""
        persons = self.persons.drop("events")
        return Known(persons, self.items, self.log, self.clean.moment_us)

    @property
    def links(self) -> ir.Table:
        """Devices and the customers that they were linked with."""
        assert self.clean.links is not None  # cleaning has found who is who
        return self.clean.links
