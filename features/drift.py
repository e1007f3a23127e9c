"""How far a log has moved from the one before, and whether that is too far for a build to go on.

What may be chance is no change: a swing must also be three standard errors wide to be beyond a
bound, so that a shop of four events a day is not stopped by a quiet Tuesday.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

import numpy as np

from features.options import Bounds
from features.profile import RECENT_DAYS, Part, Profile, day_number
from features.types import DAY_US, Float64

STABLE, SHIFTED = 0.1, 0.25  # of the index: below the first no change, above the second a shift
_ERRORS = 3.0  # standard errors that chance may explain
_WEEKDAYS_KNOWN = 14  # days from which on weekdays can be told apart


class TooMuchChange(ValueError):
    """The log differs more from the one before than the config's bounds allow.

    changes: everything that was compared
    """

    def __init__(self, message: str, changes: list[Change]) -> None:
        super().__init__(message)
        self.changes = changes


@dataclass(frozen=True)
class Change:
    """One number before and after.

    change: of a volume the relative change (0.5: half as much again), of a share the difference,
            of a mix the population stability index
    bound:  the key of the config's `bounds` that was applied, with its limit; a mix has no bound,
            and as limit the index from which on it has shifted
    """

    what: str
    kind: Literal["volume", "share", "mix"]
    before: float
    after: float
    change: float
    bound: str | None
    limit: float | None
    beyond: bool
    sentence: str

    @property
    def notable(self) -> bool:
        """Is it beyond its bound or, of a mix, a shift?"""
        shifted = self.kind == "mix" and self.limit is not None and self.after > self.limit
        return self.beyond or shifted


def changes(before: Profile, after: Profile, bounds: Bounds) -> list[Change]:
    """Everything that can be compared: volume, null shares, mix; not in order of size."""
    rate = _rate(before, after, bounds)
    return [
        *([] if rate is None else [rate]),
        _total(before, after, bounds),
        *_null_shares(before, after, bounds.null_share_change),
        *_mixes(before, after),
    ]


def stop_if_beyond(found: list[Change]) -> None:
    """Raise TooMuchChange when one of the changes is beyond its bound; the message names it."""
    beyond = [change for change in found if change.beyond]
    if beyond:
        keys = ", ".join(dict.fromkeys(f"bounds.{change.bound}" for change in beyond))
        raise TooMuchChange(
            f"{'; '.join(change.sentence for change in beyond)}. If this is meant, raise {keys} in "
            "the config (null: no bound); if not, mend the log. What was built before keeps "
            "serving.",
            found,
        )


def stability_index(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """How far two mixes lie apart, from 0: sum of (a - b) ln(a / b) over the shares a and b.

    The population stability index (Siddiqi 2006, Credit Risk Scorecards: below 0.1 no change,
    above 0.25 a shift). Half an event is added to every count, so that none is 0.
    """
    names = before.keys() | after.keys()
    old, new = ({name: counts.get(name, 0) + 0.5 for name in names} for counts in (before, after))
    shares = ((old[n] / sum(old.values()), new[n] / sum(new.values())) for n in sorted(names))
    return sum((a - b) * log(a / b) for b, a in shares)


def _rate(before: Profile, after: Profile, bounds: Bounds) -> Change | None:
    """Events a day on the days that have ended since `before`, against the four weeks before it.

    Only whole days count: not the first of the log, nor the one in which `as_of` lies. What is
    usual is a range: from the mean of those weeks to their mean on the same weekdays, for a shop
    may be closed on Sundays. None: no day has ended, or there is no usual.
    """
    start, stop = before["as_of_us"] // DAY_US, after["as_of_us"] // DAY_US
    begin = max(day_number(before["days"][0][0]) + 1, start - RECENT_DAYS)
    if start >= stop or begin >= start:
        return None
    weeks, new = _counts(before, begin, start), _counts(after, start, stop)
    if not weeks.any():
        return None
    weekdays = _weekday_means(weeks, begin)
    same = float(weekdays[np.arange(start, stop) % 7].mean())
    low, high = sorted((float(weeks.mean()), same))
    now = float(new.mean())
    usual = min(max(now, low), high)
    error = _spread(weeks, weekdays[np.arange(begin, start) % 7])
    error *= sqrt(1 / len(weeks) + 1 / len(new))
    return _volume("events a day", usual, now, error, bounds)


def _counts(profile: Profile, start: int, stop: int) -> Float64:
    """(stop - start,) events of each day from `start` (since 1970), days without any included."""
    counts = np.zeros(stop - start)
    for day, events in profile["days"]:
        if start <= (number := day_number(day)) < stop:
            counts[number - start] = events
    return counts


def _weekday_means(weeks: Float64, begin: int) -> Float64:
    """(7,) the mean of each weekday; the mean of all where it is not among them."""
    days = np.arange(begin, begin + len(weeks)) % 7
    own = (weeks[days == day] for day in range(7))
    return np.array([(one if one.size else weeks).mean() for one in own])


def _spread(weeks: Float64, usual: Float64) -> float:
    """Standard deviation of a day around what is usual on it; at least that of a Poisson count."""
    poisson = float(weeks.mean())
    if len(weeks) < _WEEKDAYS_KNOWN:
        return sqrt(poisson)
    residual = float(np.square(weeks - usual).sum()) / (len(weeks) - 7)
    return sqrt(max(poisson, residual))


def _total(before: Profile, after: Profile, bounds: Bounds) -> Change:
    """The whole log against the whole log before: one that shrinks has been cut.

    It may grow by as many days as have ended since; where none has, it may not grow beyond bounds.
    """
    if after["as_of_us"] // DAY_US > before["as_of_us"] // DAY_US:
        bounds = bounds.model_copy(update={"volume_rise": None})
    old, new = before["events"], after["events"]
    return _volume("events in total", old, new, sqrt(old + new), bounds)


def _volume(what: str, before: float, after: float, error: float, bounds: Bounds) -> Change:
    change = after / before - 1 if before else 0.0
    key = "volume_drop" if change < 0 else "volume_rise"
    limit: float | None = getattr(bounds, key)
    clear = abs(after - before) > _ERRORS * error
    beyond = limit is not None and abs(change) > limit and clear
    moved = "fell" if change < 0 else "rose"
    sentence = f"{what} {moved} from {_number(before)} to {_number(after)} ({change:+.0%})"
    if abs(change) < 0.005:
        sentence = f"{what}: {_number(after)}, as before"
    if beyond:
        sentence += f"; bounds.{key} allows {limit:.0%}"
    named = None if limit is None else key
    return Change(what, "volume", before, after, change, named, limit, beyond, sentence)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _null_shares(before: Profile, after: Profile, limit: float | None) -> Iterable[Change]:
    for when, old, new in _windows(before, after):
        for column in new["null_shares"]:
            if column in old["null_shares"]:
                yield _null_share(column, when, old, new, limit)


def _windows(before: Profile, after: Profile) -> list[tuple[str, Part, Part]]:
    """The whole logs, and their last weeks where these are not the same."""
    found: list[tuple[str, Part, Part]] = [("", before, after)]
    old, new = before["recent"], after["recent"]
    if old is not None and new is not None:
        shorter = old["events"] < before["events"] or new["events"] < after["events"]
        found += [(f", last {RECENT_DAYS} days", old, new)] * shorter
    return found


def _null_share(column: str, when: str, before: Part, after: Part, limit: float | None) -> Change:
    """A share moves by chance as that of a draw does: two proportions, pooled."""
    old, new = before["null_shares"][column], after["null_shares"][column]
    rows, more = before["events"], after["events"]
    pooled = (old * rows + new * more) / (rows + more)
    error = sqrt(pooled * (1 - pooled) * (1 / rows + 1 / more))
    beyond = limit is not None and abs(new - old) > max(limit, _ERRORS * error)
    sentence = f"{column} is empty in {new:.0%} of the events{when}; before in {old:.0%}"
    if limit is not None and beyond:
        sentence += f", and bounds.null_share_change allows {limit * 100:.0f} points"
    key = None if limit is None else "null_share_change"
    what = f"{column} empty{when}"
    return Change(what, "share", old, new, new - old, key, limit, beyond, sentence)


def _mixes(before: Profile, after: Profile) -> Iterable[Change]:
    when, old, new = _windows(before, after)[-1]
    parts: dict[str, Callable[[Part], Mapping[str, int]]] = {
        "event types": lambda part: part["event_types"],
        "channels": lambda part: part["channels"],
    }
    for what, of in parts.items():
        if of(old) and of(new):
            yield _mix(f"mix of {what}{when}", of(old), of(new))


def _mix(what: str, before: Mapping[str, int], after: Mapping[str, int]) -> Change:
    """Only told, no bound.

    By chance the index is (1 / n + 1 / m) times a chi-square variable of one degree of freedom
    fewer than there are classes (Yurdakul & Naranjo 2020): many classes of few events move it.
    """
    index = stability_index(before, after)
    free = len(before.keys() | after.keys()) - 1
    chance = (free + _ERRORS * sqrt(2 * free)) * sum(1 / sum(c.values()) for c in (before, after))
    words = "has shifted" if index > max(SHIFTED, chance) else "has moved a little"
    words = "is as before" if index <= max(STABLE, chance) else words
    sentence = f"the {what} {words} (population stability index {index:.2f})"
    return Change(what, "mix", 0.0, index, index, None, max(SHIFTED, chance), False, sentence)
