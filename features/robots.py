"""Robots: who acts too often, too evenly or too widely to be a person.

What counts is moments, distinct times of one person, never rows: an order of 600 lines is one act.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features import cleaning
from features.engine import number
from features.options import Robots
from features.types import DAY_US, HOUR_US, MINUTE_US, SECOND_US

QUANTILES = (0.1, 0.5, 0.6)  # of the gaps: their spread lies between the first and the last
_NORMAL = 1.5349  # that distance in a normal distribution, in standard deviations


def find_robots(events: ir.Table, options: Robots) -> ir.Table:
    """One row per robot: who, by which rule, and the numbers that tell.

    events:  with `person`
    returns: person string, rule string (rate | regularity | breadth: the first that applies),
             moments int64 (distinct times), moments_per_hour float64 (of the busiest clock hour),
             beat_variation float64 (see `rhythms`; null: too few gaps), items_per_day int64
             (distinct items of the busiest day, UTC), events int64

    rate: more than `moments_per_hour`. regularity: a `beat_variation` below the option. breadth:
    more than `items_per_day` in a day with at least `min_moments` moments. Who has fewer than
    `min_moments` in all is never a robot.
    """
    suspects = _suspects(rhythms(events, options.min_moments), options)
    acts = events.semi_join(suspects, "person").select("person", "occurred_us", "item_id")
    hours, days = _hours(acts), _days(acts, options.min_moments)
    found = suspects.inner_join(hours, "person").inner_join(days, "person")
    rule = ibis.cases(
        (_above(found.moments_per_hour, options.moments_per_hour), "rate"),
        (_below(found.beat_variation, options.beat_variation), "regularity"),
        (_above(found.items_in_busy_day, options.items_per_day), "breadth"),
        else_=ibis.null("string"),
    )
    ruled = found.mutate(rule=rule)
    return ruled.filter(ruled.rule.notnull()).select(
        "person", "rule", "moments", "moments_per_hour", "beat_variation", "items_per_day", "events"
    )


def removals(events: ir.Table, robots: ir.Table) -> ir.Table:
    """Removals: everything that `robots` did."""
    theirs = events.inner_join(robots.select("person", "rule"), "person")
    return cleaning.removals(theirs, "robot: " + theirs.rule)


def rhythms(events: ir.Table, min_moments: int) -> ir.Table:
    """person, events, moments, beat_variation float64 of all with at least `min_moments` moments.

    beat_variation: the spread of the gaps between moments over their median. Gaps of more than an
    hour are pauses and do not count; null where fewer than `min_moments` others are left.

    The spread is robust: the distance of the 10th from the 60th percentile, scaled so that it is
    the standard deviation of normal gaps. A look that never came makes a gap twice as long, and the
    standard deviation of a machine with one miss in ten is that of a person. A rounded clock makes
    gaps more equal than they are: the variance of its error, clock² / 6 for the difference of two
    rounded times, is added.
    """
    counted = events.group_by("person").agg(events=events.count())
    busy = counted.filter(counted.events >= min_moments)
    busy = busy.mutate(number=ibis.row_number().over(order_by=busy.person))  # cheap to sort by
    told = _gap_statistics(_moments(events, busy)).filter(lambda t: t.moments >= min_moments)
    spread = (told.quantiles[2] - told.quantiles[0]) / number(_NORMAL) / told.quantiles[1]
    rounding = told.clock_us.cast("float64") / told.quantiles[1]
    variation = (spread * spread + rounding * rounding / number(6)).sqrt().round(9)
    enough = ibis.ifelse(told.gaps >= min_moments, variation, ibis.null("float64"))
    known = told.select("number", "moments", beat_variation=enough)
    return busy.inner_join(known, "number").select("person", "events", "moments", "beat_variation")


def _moments(events: ir.Table, busy: ir.Table) -> ir.Table:
    """number, gap_us: one row per moment of `busy` (person, number); null before the first."""
    acts = events.inner_join(busy, "person").select("number", "occurred_us")
    order = ibis.window(group_by="number", order_by=acts.occurred_us)
    acts = acts.mutate(gap_us=acts.occurred_us - acts.occurred_us.lag().over(order))
    return acts.filter(acts.gap_us.isnull() | (acts.gap_us > 0)).select("number", "gap_us")


def _gap_statistics(moments: ir.Table) -> ir.Table:
    """number, moments, and of the gaps up to an hour: how many, their quantiles, their clock."""
    gap = ibis.ifelse(moments.gap_us <= HOUR_US, moments.gap_us, ibis.null("int64"))
    whole = [((gap % clock).max() == 0, clock) for clock in (HOUR_US, MINUTE_US, SECOND_US)]
    return moments.group_by("number").agg(
        moments=moments.count(),
        gaps=gap.count(),
        quantiles=gap.cast("float64").quantile(list(QUANTILES)),
        clock_us=ibis.cases(*whole, else_=0),
    )


def _suspects(people: ir.Table, options: Robots) -> ir.Table:
    """Those of `people` to whom a rule may apply: only their hours and days are looked at."""
    return people.filter(
        _above(people.moments, options.moments_per_hour)
        | _below(people.beat_variation, options.beat_variation)
        | _above(people.events, options.items_per_day)
    )


def _hours(acts: ir.Table) -> ir.Table:
    """person, moments_per_hour float64: of the busiest clock hour."""
    hours = acts.group_by("person", hour=acts.occurred_us // HOUR_US)
    counted = hours.agg(moments=acts.occurred_us.nunique())
    return counted.group_by("person").agg(moments_per_hour=counted.moments.max().cast("float64"))


def _days(acts: ir.Table, min_moments: int) -> ir.Table:
    """person, items_per_day: at most, items_in_busy_day: of days with enough moments."""
    days = acts.group_by("person", day=acts.occurred_us // DAY_US).agg(
        items=acts.item_id.nunique(), moments=acts.occurred_us.nunique()
    )
    in_busy_day = ibis.ifelse(days.moments >= min_moments, days.items, 0)
    return days.group_by("person").agg(
        items_per_day=days.items.max(), items_in_busy_day=in_busy_day.max()
    )


def _above(value: ir.NumericValue, limit: float | None) -> ir.BooleanValue:
    """No limit: nothing is above it."""
    return ibis.literal(False) if limit is None else value > number(limit)


def _below(value: ir.NumericValue, limit: float | None) -> ir.BooleanValue:
    """No limit, or no value: not below it."""
    return ibis.literal(False) if limit is None else ibis.coalesce(value < number(limit), False)
