"""Who gets no mail, or a less personal one: what is asked before any item is looked at. Pure.

The questions in their order: may we write at all (forgotten, consent), do they want us to (another
channel, how often), is it a good moment (just bought), do we know enough (stale, low confidence).
What an experiment holds back is asked when the mail is decided: see `serving.mailing.deciding`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.mail_options import Withholding
from features.types import DAY_US, HOUR_US, Bool, Float32, Int8, Int64, Ragged
from training.policy import Reason

WEEK_US = 7 * DAY_US
SLACK_US = 12 * HOUR_US  # a weekly mail may go out a little earlier in the day than the last one
NEVER_US = np.iinfo(np.int64).min // 2


@dataclass(frozen=True)
class Standing:
    """What is asked of a batch of n customers, at one moment.

    forgotten, consent_email, other_channel: (n,) bool
    mails_per_week: (n,) float32, how often they want mails; NaN: as often as we like
    mailed_us:      (n + 1,) int64 and (m,) int64: when each got mails, as rows of a Ragged
    last_event_us, last_order_us: (n,) int64, NEVER_US where there is none
    events:         (n,) int64, how many are known, that may be used
    """

    forgotten: Bool
    consent_email: Bool
    other_channel: Bool
    mails_per_week: Float32
    mailed_us: tuple[Int64, Int64]
    last_event_us: Int64
    last_order_us: Int64
    events: Int64


@dataclass(frozen=True)
class Withheld:
    """What was found; a Reason per person, -1 for none.

    reasons: (n,) int8, why there is no mail
    lowered: (n,) int8, why the mail is to be no more personal than a segment's
    """

    reasons: Int8
    lowered: Int8


def withheld(known: Standing, options: Withholding, now_us: int) -> Withheld:
    """Ask everything of everybody; the first reason that holds is a person's."""
    stale, unsure = _stale(known, options, now_us), known.events < options.min_events
    asked = [
        (Reason.forgotten, known.forgotten),
        (Reason.no_email_consent, ~known.consent_email),
        (Reason.other_channel, known.other_channel),
        (Reason.frequency_reached, frequency_reached(known, options.mails_per_week, now_us)),
        (Reason.just_bought, known.last_order_us > now_us - options.just_bought_days * DAY_US),
        (Reason.stale_profile, stale & (options.stale == "suppress")),
        (Reason.low_confidence, unsure & (options.low_confidence == "suppress")),
    ]
    reasons = _first(asked, len(known.events))
    lowered = _first([(Reason.stale_profile, stale), (Reason.low_confidence, unsure)],
                     len(known.events))  # fmt: skip
    return Withheld(reasons, np.where(reasons < 0, lowered, np.int8(-1)))


def frequency_reached(known: Standing, usual: float | None, now_us: int) -> Bool:
    """(n,) have they got as many mails as they want?

    Of f a week: f, rounded down, in seven days; of less than one, one in 7 / f days; of 0 none.

    usual: of those who did not say; None: no limit
    """
    asked = np.where(np.isnan(known.mails_per_week), np.nan if usual is None else usual,
                     known.mails_per_week).astype(np.float64)  # fmt: skip
    limited = ~np.isnan(asked)
    often = np.maximum(np.where(limited, asked, 1.0), 1e-9)
    window_us = (WEEK_US / np.minimum(often, 1.0)).clip(max=-NEVER_US).astype(np.int64)
    indptr, times = known.mailed_us
    rows = np.repeat(np.arange(len(limited)), np.diff(indptr))
    since = now_us - window_us + np.minimum(SLACK_US, window_us // 2)
    counts = np.bincount(rows[times > since[rows]], minlength=len(limited))
    return np.asarray(limited & ((asked == 0) | (counts >= np.maximum(np.floor(often), 1))))


def _stale(known: Standing, options: Withholding, now_us: int) -> Bool:
    """(n,) was nothing done for long? Of whom nothing is known, nothing can be old."""
    if options.stale_after_days is None:
        return np.zeros(len(known.events), np.bool_)
    old = known.last_event_us < now_us - options.stale_after_days * DAY_US
    return np.asarray(old & (known.last_event_us > NEVER_US))


def _first(asked: list[tuple[Reason, Bool]], n: int) -> Int8:
    found = np.full(n, -1, dtype=np.int8)
    for reason, where in asked:
        found[where & (found < 0)] = reason
    return found


def nothing_new(fresh: Ragged, last: Ragged, least: int) -> Bool:
    """(n,) does the mail have fewer than `least` items that the last one had not?

    fresh: the items of the mail        last: those of the last mail; an empty row: there was none
    """
    new = np.diff(fresh.minus(last).indptr)
    return np.asarray((new < least) & (np.diff(last.indptr) > 0))
