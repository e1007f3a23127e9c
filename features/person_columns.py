"""What is known about a person: names, types and meanings, for build, serving and rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from features.lifecycle import STAGES
from features.rules import Kind


@dataclass(frozen=True)
class PersonFeature:
    """One number or text about a person, as it stands at `as_of`."""

    type: Literal["int64", "float64", "string"]
    meaning: str  # with its unit, and when it is null


def _whole(meaning: str) -> PersonFeature:
    return PersonFeature("int64", meaning)


def _number(meaning: str) -> PersonFeature:
    return PersonFeature("float64", meaning)


def _text(meaning: str) -> PersonFeature:
    return PersonFeature("string", meaning)


# An order is a session with an event after which the person has the item (`had`); its time is that
# of its first such event. Interest: weights above 0, faded to `as_of`, capped as the signals say.
# Of equal favourites the first by name is taken.
PERSON_FEATURES: dict[str, PersonFeature] = {
    "first_us": _whole("first event, microseconds since 1970 UTC; null without events"),
    "last_us": _whole("last event, microseconds since 1970 UTC; null without events"),
    "recency_days": _number("days since the last event; null without events"),
    "events": _whole("events, of whatever type"),
    "sessions": _whole("sessions with an event"),
    "items": _whole("distinct items with an event"),
    "orders": _whole("orders"),
    "first_order_us": _whole("first order, microseconds since 1970 UTC; null without orders"),
    "last_order_us": _whole("last order, microseconds since 1970 UTC; null without orders"),
    "days_since_order": _number("days since the last order; null without orders"),
    "days_between_orders": _number(
        "mean days between one order and the next; null below two orders"
    ),
    "value": _number("value of what was had, in the shop's currency; 0 without any"),
    "other_currency": _whole("events with a value in another currency, which `value` leaves out"),
    "order_value": _number("value / orders; null without a value in the shop's currency"),
    "share_discounted": _number(
        "of what was had at a known price, the share at 95 % or less of the list price (none: the "
        "item's median price in the log), in the same currency; null without a known price"
    ),
    "favourite_category": _text("category with most interest; null without interest"),
    "favourite_category_share": _number("its share of the interest in items with a category"),
    "favourite_brand": _text("brand with most interest; null without interest"),
    "favourite_brand_share": _number("its share of the interest in items with a brand"),
    "preferred_channel": _text("channel with most events; null where no channel is known"),
    "preferred_channel_share": _number("its share of the events with a channel"),
    "preferred_hour": _whole(
        "local hour with most events, 0 to 23, of equals the earlier; null without events"
    ),
    "tenure_days": _number(
        "days since the first event or the joining, the earlier; null without either"
    ),
}

# What a segment's rule may name: the above, and who the person is.
RULE_COLUMNS: dict[str, Kind] = {
    **{n: "text" if f.type == "string" else "number" for n, f in PERSON_FEATURES.items()},
    "stage": STAGES,
    "kind": ("customer", "visitor", "session"),
    "consent": "truth",
}
