"""Experiments: which people get another feed than everybody, so that the difference can be read.

Who is in which arm is never stored: a hash of the experiment's name and the unit says it, the same
in every process, version and language. Standard library and pydantic only: serving imports it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import accumulate, combinations
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from features.options import RUNGS, Rung, Section

HOLDOUT, USUAL, CHAMPION = "holdout", "usual", "champion"
_DIGITS = 12  # of a cumulative share: 0.1 + 0.2 + 0.7 is 1


def _with_zone(moment: object) -> object:
    try:
        found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        found = None
    if not isinstance(found, datetime) or found.tzinfo is None:
        raise ValueError(
            f"{moment} is no moment with a time zone; write one like 2026-12-01T00:00:00Z"
        )
    return found


def _version(model: object) -> object:
    """A version has one name: v3, however it is written."""
    if isinstance(model, int | str) and (found := re.fullmatch(r"v?([1-9]\d*)", str(model))):
        return f"v{found[1]}"
    if model not in (CHAMPION, None):
        raise ValueError(f"{model!r} names no model; write a version like v3, or `{CHAMPION}`")
    return model


ArmShare = Annotated[float, Field(gt=0, le=1)]
Moment = Annotated[datetime, BeforeValidator(_with_zone)]
Model = Annotated[str, BeforeValidator(_version)]


class Arm(Section):
    """What some people get; a key left out is as for everybody."""

    share: ArmShare  # of all units
    highest_rung: Rung | None = None
    model: Model | None = None  # a version, v3; `champion` is what everybody else gets
    rules: str | None = Field(default=None, min_length=1)  # the name of a set of rules
    mail: bool = True  # False: no mail at all, so that one can measure what mails bring


class Experiment(Section):
    """Some units get another feed; those in no arm are `usual` and get what everybody gets.

    `holdout: 0.05` is short for an arm `holdout` of that share on rung one_for_all, before all
    others. A holdout without an end is permanent: whoever is in it is in no other experiment.
    """

    name: str = Field(pattern=r"^[\w.-]{1,64}$")  # part of the hash: a new name deals anew
    holdout: ArmShare | None = None
    arms: dict[str, Arm] = Field(default_factory=dict)  # in the order of the file
    starts: Moment | None = None  # the first moment that counts; None: always did
    ends: Moment | None = None  # the first that no longer does; None: open
    placements: list[str] | None = Field(default=None, min_length=1)  # None: all
    planned_people: int = Field(default=10_000, ge=100)  # the daily interval is tightest there

    @model_validator(mode="after")
    def _arms_can_be_dealt(self) -> Self:
        if not self.dealt:
            raise ValueError("no arms: give `arms`, or `holdout` with a share like 0.05")
        if USUAL in self.arms:
            raise ValueError(f"arms: `{USUAL}` is who is in no arm; choose another name")
        if HOLDOUT in self.arms and self.holdout is not None:
            raise ValueError(
                f"`holdout` and `arms.{HOLDOUT}` are the same arm; keep one of the two"
            )
        if (total := self._edges()[-1]) > 1:
            raise ValueError(f"arms: the shares sum to {total:g}; lower them to at most 1")
        return self

    @model_validator(mode="after")
    def _time_runs_forward(self) -> Self:
        if self.starts and self.ends and self.ends <= self.starts:
            raise ValueError(f"ends {self.ends} must be after starts {self.starts}")
        return self

    @property
    def dealt(self) -> dict[str, Arm]:
        """The arms by name in the order in which the hash deals them, the holdout first."""
        if self.holdout is None:
            return self.arms
        return {HOLDOUT: Arm(share=self.holdout, highest_rung="one_for_all"), **self.arms}

    @property
    def shares(self) -> dict[str, float]:
        """The share of every arm as `assign_many` numbers them: as dealt, then `usual`."""
        left = round(1 - self._edges()[-1], _DIGITS)
        return {**{name: arm.share for name, arm in self.dealt.items()}, USUAL: left}

    @property
    def control(self) -> str:
        """Whom the others are compared with: the holdout, else `usual`, else the first arm."""
        filled = [name for name, share in self.shares.items() if share > 0]
        return next((name for name in (HOLDOUT, USUAL) if name in filled), filled[0])

    @property
    def permanent(self) -> bool:
        """Is this a holdout without an end?"""
        return self.holdout is not None and self.ends is None

    def runs(self, now: datetime, placement: str) -> bool:
        """Does it count at this moment on this placement?"""
        begun = self.starts is None or self.starts <= now
        over = self.ends is not None and self.ends <= now
        return begun and not over and (self.placements is None or placement in self.placements)

    def _edges(self) -> list[float]:
        """Where each arm ends in [0, 1]: the cumulative shares."""
        return [round(e, _DIGITS) for e in accumulate(arm.share for arm in self.dealt.values())]


@dataclass(frozen=True)
class Treatment:
    """What the arms of one unit make of a feed; None: as for everybody."""

    highest_rung: Rung | None = None
    model: str | None = None
    rules: str | None = None
    mail: bool = True


def assign(experiment: Experiment, unit: str) -> str:
    """The arm of a unit (the `user_id` of a customer, the `visitor_id` of a visitor), by hash.

    Two experiments deal independently. A larger share of the LAST arm, or a new arm after it, takes
    units from `usual` only; a change of an earlier share moves those of the arms after it as well.
    Whoever moves has seen both feeds: change shares under a new name once people have entered.
    """
    return list(experiment.shares)[assign_many(experiment, [unit])[0]]


def assign_many(experiment: Experiment, units: Sequence[str]) -> list[int]:
    """For each unit the index of its arm in `experiment.shares`."""
    edges, salt = experiment._edges(), blake2b(f"{experiment.name}\0".encode(), digest_size=8)
    found = []
    for unit in units:
        hashed = salt.copy()
        hashed.update(unit.encode("utf-8", "surrogatepass"))
        place = int.from_bytes(hashed.digest(), "big") >> 11  # 53 bits: exact as a float, below 1
        found.append(bisect_right(edges, place / 2**53))
    return found


def arms_of(
    experiments: Sequence[Experiment], unit: str, now: datetime, placement: str
) -> dict[str, str]:
    """The arm of a unit in each experiment that runs here and now.

    Whoever is in a permanent holdout is in no other experiment: these people stay untouched, and
    the other experiments lose the same share of every arm. `now` needs a time zone.
    """
    running = [one for one in experiments if one.runs(now, placement)]
    arms = {one.name: assign(one, unit) for one in running}
    held = {one.name: HOLDOUT for one in running if one.permanent and arms[one.name] == HOLDOUT}
    return held or arms


def terms_of(experiments: Sequence[Experiment], arms: Mapping[str, str]) -> Treatment:
    """What `arms` (of `arms_of`) mean together: the lowest of the rungs, the one model and rules.

    `check_experiments` sees to it that no two name a model, or rules.
    """
    known = {one.name: one.dealt for one in experiments}
    mine = [known[name][arm] for name, arm in arms.items() if arm != USUAL]
    rungs = [arm.highest_rung for arm in mine if arm.highest_rung is not None]
    return Treatment(
        highest_rung=min(rungs, key=RUNGS.index, default=None),
        model=next((arm.model for arm in mine if arm.model), None),
        rules=next((arm.rules for arm in mine if arm.rules), None),
        mail=all(arm.mail for arm in mine),
    )


def models_of(experiments: Sequence[Experiment], now: datetime | None = None) -> list[str]:
    """The versions that arms name, each once; `champion` is none of them.

    now: leaves out what has ended by then
    """
    running = [one for one in experiments if not (now and one.ends and one.ends <= now)]
    named = [arm.model for one in running for arm in one.dealt.values()]
    return [one for one in dict.fromkeys(named) if one not in (None, CHAMPION)]


def check_experiments(experiments: Sequence[Experiment], placements: Collection[str]) -> None:
    """Refuse what only the whole config can judge: a ValueError names the experiment."""
    for place, one in enumerate(experiments):
        if unknown := sorted(set(one.placements or ()) - set(placements)):
            raise ValueError(
                f"experiments.{place}.placements: there is no placement {unknown}; "
                f"choose from {sorted(placements)}"
            )
    for (_, one), (place, other) in combinations(enumerate(experiments), 2):
        if one.name == other.name:
            raise ValueError(
                f"experiments.{place}.name: {one.name!r} is given twice; two experiments of one "
                "name would deal the same people; rename one"
            )
        for key in ("model", "rules"):
            if _sets(one, key) and _sets(other, key) and _meet(one, other):
                raise ValueError(
                    f"experiments.{place}.arms: {other.name!r} and {one.name!r} both set `{key}` "
                    "on one placement at one time; make them arms of one experiment, give them "
                    "different `placements`, or let one end before the other starts"
                )


def _sets(experiment: Experiment, key: str) -> bool:
    return any(getattr(arm, key) for arm in experiment.dealt.values())


def _meet(one: Experiment, other: Experiment) -> bool:
    """Is there a placement and a moment at which both run?"""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    begins = max(one.starts or first, other.starts or first)
    over = min(one.ends or last, other.ends or last)
    if one.placements is None or other.placements is None:
        return begins < over
    return begins < over and bool(set(one.placements) & set(other.placements))
