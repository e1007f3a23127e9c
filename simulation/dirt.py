"""What goes wrong between the shop and the log, planted on purpose and counted."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from simulation.config import HOUR_US, SECOND_US, DirtConfig
from simulation.log import EMPTY_USER, GIFT, NONE, SHIPPING, EventType, Log

SHIPPING_EUR = 4.9


def soil(dirt: DirtConfig, rng: np.random.Generator, log: Log) -> tuple[Log, Counter[str]]:
    """The log as it arrives, in file order, and how many rows of each kind of dirt it has.

    A row has at most one flaw, so that counts can be checked against the file.
    Rows are ordered by time but for the late ones. Sets event numbers from 0.
    """
    log = np.concatenate([log, _extras(dirt, rng, log)])
    log = log[np.argsort(log["occurred_us"], kind="stable")]
    clean = _break_rows(dirt, rng, log)
    log, twice = _repeat_rows(dirt, rng, log, clean)
    log, shown = _deliver(dirt, rng, log)
    counts = Counter(_count(log, twice))
    counts["late_events"] = int((shown < np.maximum.accumulate(shown)).sum())
    return log, counts


def _count(log: Log, repeated: dict[str, int]) -> dict[str, int]:
    """Flaws that can be read off a row, with those that cannot."""
    return {
        **repeated,
        "letter_case": int(log["lower_case"].sum()),
        "shipping": int((log["item"] == SHIPPING).sum()),
        "gift": int((log["item"] == GIFT).sum()),
        "null_item": int((log["item"] == NONE).sum()),
        "missing_time": int((log["occurred_us"] == NONE).sum()),
        "empty_user": int((log["user"] == EMPTY_USER).sum()),
        "bad_quantity": int(((log["quantity"] <= 0) & (log["quantity"] > -100)).sum()),
    }


def _extras(dirt: DirtConfig, rng: np.random.Generator, log: Log) -> Log:
    """Lines of orders that are no products."""
    lines = log[(log["event_type"] == EventType.PURCHASE) & (log["session"] != NONE)]
    _, first = np.unique(lines["session"], return_index=True)
    extras = []
    for item, share, price in (
        (SHIPPING, dirt.shipping_share, SHIPPING_EUR),
        (GIFT, dirt.gift_share, 0.0),
    ):
        rows = lines[first[rng.random(len(first)) < share]]
        rows["item"], rows["quantity"], rows["value"] = item, 1, price
        extras.append(rows)
    return np.concatenate(extras)


def _break_rows(dirt: DirtConfig, rng: np.random.Generator, log: Log) -> NDArray[np.bool_]:
    """Spoil fields in place; returns which rows were left alone."""
    kind, u = log["event_type"], rng.random(len(log))
    look = (kind == EventType.VIEW) | (kind == EventType.READ)
    spoil = (
        ("item", NONE, dirt.null_item_share),
        ("occurred_us", NONE, dirt.missing_time_share),
        ("user", EMPTY_USER, dirt.empty_user_share),
        ("lower_case", True, dirt.letter_case_share),
    )
    clean, below = np.ones(len(log), dtype=bool), 0.0
    for column, value, share in spoil:
        hit = look & (below <= u) & (u < below + share)
        log[column][hit] = value
        clean &= ~hit
        below += share
    order = ((kind == EventType.CART) | (kind == EventType.PURCHASE)) & (log["item"] >= 0)
    hit = order & (u < dirt.bad_quantity_share)
    log["quantity"][hit] = -rng.integers(0, 2, int(hit.sum()))
    return np.asarray(clean & ~hit)


def _repeat_rows(
    dirt: DirtConfig, rng: np.random.Generator, log: Log, clean: NDArray[np.bool_]
) -> tuple[Log, dict[str, int]]:
    """Add double clicks and exact duplicates, and number the events."""
    u = rng.random(len(log))
    clicked = clean & (log["event_type"] == EventType.VIEW) & (u < dirt.double_click_share)
    clicks = log[clicked].copy()
    clicks["occurred_us"] += rng.integers(SECOND_US // 20, SECOND_US * 9 // 10, len(clicks))
    clicks["occurred_us"] = np.minimum(clicks["occurred_us"], log["occurred_us"].max(initial=0))
    log["event"] = np.arange(len(log))
    clicks["event"] = len(log) + np.arange(len(clicks))
    copies = log[clean & (u > 1 - dirt.duplicate_share)]
    counts = {"double_clicks": len(clicks), "duplicates": len(copies)}
    return np.concatenate([log, clicks, copies]), counts


def _deliver(dirt: DirtConfig, rng: np.random.Generator, log: Log) -> tuple[Log, NDArray[np.int64]]:
    """Sort by arrival; also returns the known times in that order."""
    timed = log["occurred_us"] != NONE
    arrival = np.where(timed, log["occurred_us"], np.maximum.accumulate(log["occurred_us"]))
    late = timed & (rng.random(len(log)) < dirt.late_share)
    delay = HOUR_US + rng.exponential(dirt.late_hours * HOUR_US, int(late.sum())).astype(np.int64)
    arrival[late] += delay
    log = log[np.argsort(arrival, kind="stable")]
    return log, log["occurred_us"][log["occurred_us"] != NONE]
