"""A piece of the event log in memory: one NumPy record per event, codes instead of strings."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Log = NDArray[np.void]  # records of LOG

NONE = -1  # null in every code and time column
EMPTY_USER = -2  # the string ''
SHIPPING, GIFT = -2, -3  # item codes of what is no product
NO_QUANTITY = -(2**31)


class EventType(IntEnum):
    """Position in EVENT_TYPES."""

    VIEW = 0
    CART = 1
    PURCHASE = 2
    RETURN = 3
    READ = 4
    DISLIKE = 5
    EMAIL_SEND = 6
    EMAIL_CLICK = 7


EVENT_TYPES = tuple(kind.name.lower() for kind in EventType)


class Placement(IntEnum):
    """Position in PLACEMENTS."""

    HOME = 0
    CATEGORY_PAGE = 1
    SEARCH = 2
    MAGAZINE = 3
    NEWSLETTER_TOP = 4
    NEWSLETTER_PRODUCT = 5


PLACEMENTS = tuple(placement.name.lower() for placement in Placement)

LOG = np.dtype(
    [
        ("occurred_us", np.int64),  # microseconds since 1970 UTC
        ("event_type", np.int8),
        ("placement", np.int8),
        ("lower_case", np.bool_),  # spell the item id so
        ("item", np.int32),
        ("user", np.int32),  # customer number
        ("visitor", np.int32),  # visitor number
        ("session", np.int64),
        ("event", np.int64),
        ("quantity", np.int32),
        ("value", np.float64),  # EUR, NaN null
        ("duration_seconds", np.float32),  # NaN null
    ]
)


def new_log(size: int, event_type: EventType | NDArray[np.signedinteger], **columns: object) -> Log:
    """Records with the given columns; the others are null."""
    log = np.zeros(size, LOG)
    log["event_type"] = event_type
    for name in ("placement", "user", "visitor", "session", "event"):
        log[name] = NONE
    log["quantity"], log["value"], log["duration_seconds"] = NO_QUANTITY, np.nan, np.nan
    for name, column in columns.items():
        log[name] = column
    return log
