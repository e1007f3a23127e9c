"""One model against another on the same people: is it not worse, does it show as much?

**Not worse** means: not a loss of more than `margin` of the other's ndcg@20 that is more than
chance (the whole 95 % interval of the paired difference below 0). A loss that may be chance passes:
a challenger has learned from newer data, which the comparison leaves out, and a rule that stops
one of two equals (proof that nothing was lost; the mean alone) would let the champion of a small
shop grow old for no reason. The same recipe twice always ties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Int64
from training.evaluation import metrics
from training.evaluation.protocol import Outcome

COVERAGE = "coverage_at_20"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; the sentence says what was found, and by how much."""

    name: str
    passed: bool
    sentence: str


def not_worse(name: str, mine: Outcome, other: Outcome, margin: float, drawn: Int64) -> Check:
    """Is `mine` as good as `other`, up to the share `margin` of the other's ndcg@20?

    drawn: see `metrics.draws`, of these people
    """
    ours, theirs = mine.decisive, other.decisive
    gap, usual = metrics.interval(ours - theirs, drawn), float(np.nanmean(theirs))
    lost = -gap.mean > margin * usual and gap.high < 0
    relative = f"{gap.mean / usual:+.1%}" if usual else "which found nothing"
    by = "ndcg@20 by value" if mine.by_value else "ndcg@20"
    people = int((~np.isnan(theirs)).sum())
    told = (
        f"{by} {np.nanmean(ours):.4f} against {usual:.4f} ({relative}; difference {gap.mean:+.4f}, "
        f"95 % {gap.low:+.4f} to {gap.high:+.4f}; {people:,} people); {margin:.0%} may be lost"
    )
    return Check(name, not lost, told)


def covers(name: str, mine: Outcome, other: Outcome, least: float) -> Check:
    """Do the feeds of `mine` hold at least the share `least` of what those of `other` hold?"""
    ours, theirs = mine.coverage[COVERAGE], other.coverage[COVERAGE]
    told = (
        f"{ours:.1%} of the catalogue is in somebody's first 20, against {theirs:.1%}; "
        f"{least:.0%} of that must remain"
    )
    return Check(name, ours >= least * theirs, told)
