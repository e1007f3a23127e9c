"""Online evidence: what an experiment has shown clearly overrides what held-out events suggest.

Only experiments whose arms differ in `highest_rung` and in nothing else say anything of rungs, and
only with a clear verdict: the interval that holds on all days is off 0 and the arms hold as many
people as they should. Whoever got no rung of their own (`usual`) had the highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from features.config import RUNGS, Config, Rung
from features.experiments import Arm, Experiment
from training.evaluation.evidence import Evidence, Weighed
from training.evaluation.experiment_log import Cell, readings
from training.evaluation.uplift import Row
from training.slices import World

TOP = RUNGS[-1]
_USUAL = Arm(share=1)  # it sets nothing


@dataclass(frozen=True)
class Online:
    """A clear word of an experiment on two rungs; a part of the place that is None is any.

    better:   is the higher rung the better one?
    as_usual: the higher one is what everybody gets, which is what the table says
    stage, segment: both None: of everybody
    """

    experiment: str
    lower: Rung
    higher: Rung
    better: bool
    as_usual: bool = False
    kind: str | None = None
    channel: str | None = None
    stage: str | None = None
    segment: str | None = None

    @property
    def of_all(self) -> bool:
        """Is it of everybody, not of one cell?"""
        return self.stage is None

    def about(self, cell: Weighed) -> bool:
        """Is the cell a part of what was tried?"""
        place = self.kind in (None, cell.kind) and self.channel in (None, cell.channel)
        return place and (self.of_all or (self.stage, self.segment) == (cell.stage, cell.segment))


def online_evidence(world: World) -> list[Online]:
    """What the experiments of the config say clearly, by the log as far as the feature set goes.

    The oldest word first: of a permanent holdout that of the earliest quarter.
    """
    found = []
    for experiment in world.config.experiments:
        if _pairs(experiment):
            found += [one for reading in readings(world, experiment) for cell, row in reading.rows
                      for one in _said(world.config, experiment, cell, row)]  # fmt: skip
    return found


def overridden(evidence: Evidence, online: Sequence[Online]) -> Evidence:
    """The evidence with every cell by what an experiment said of it, as far as one did."""
    return replace(
        evidence,
        cells=[_settled(cell, online) for cell in evidence.cells],
        merged=[_settled(cell, online) for cell in evidence.merged],
    )


def _settled(cell: Weighed, online: Sequence[Online]) -> Weighed:
    """One cell: its own verdict goes before everybody's, the newest before those of the same rungs.

    Rungs that lie far apart are gone through first, so that the finer comparison has the last word.
    """
    last: dict[tuple[str, Rung, Rung], Online] = {}
    for one in sorted((o for o in online if o.about(cell)), key=lambda o: not o.of_all):
        last[one.experiment, one.lower, one.higher] = one
    for one in sorted(last.values(), key=_distance, reverse=True):
        rung = _rung(cell, one)
        if rung is not None:
            cell = replace(cell, rung=rung, rests_on="online")
    return cell


def _rung(cell: Weighed, one: Online) -> Rung | None:
    """What is served after this word; None: it says nothing of the cell.

    That the usual feeds beat a lower rung confirms the table where it serves more than this rung.
    Where it does not, both arms got the same: then the mean over everybody is others' gain, and
    only a verdict of the cell itself raises it.
    """
    own, low, high = (RUNGS.index(rung) for rung in (cell.rung, one.lower, one.higher))
    if not one.better:
        return RUNGS[min(own, low)]
    if one.as_usual and own > low:
        return cell.rung
    return None if one.as_usual and one.of_all else RUNGS[max(own, high)]


def _distance(one: Online) -> int:
    return RUNGS.index(one.higher) - RUNGS.index(one.lower)


def _said(config: Config, experiment: Experiment, cell: Cell | None, row: Row) -> list[Online]:
    """A row of the read-out as a word on two rungs; nothing unless it is a clear one."""
    pair = _pairs(experiment).get(row.arm)
    if row.verdict == "open" or pair is None:
        return []
    names = experiment.placements or []
    places = [config.placements[name] for name in names]
    if places:  # nobody got more there than the placement allows
        most = max((place.highest_rung for place in places), key=RUNGS.index)
        pair = tuple(min(rung, most, key=RUNGS.index) for rung in pair)
    arm, control = pair
    if arm == control:
        return []
    lower, higher = sorted(pair, key=RUNGS.index)
    kinds, channels = ({getattr(place, key) for place in places} for key in ("kind", "channel"))
    return [
        Online(
            experiment.name, lower, higher, (row.verdict == "better") == (higher == arm),
            _arm(experiment, row.arm if higher == arm else row.control).highest_rung is None,
            kinds.pop() if len(kinds) == 1 else None,
            channels.pop() if len(channels) == 1 else None, *(cell or (None, None)),
        )
    ]  # fmt: skip


def _pairs(experiment: Experiment) -> dict[str, tuple[Rung, ...]]:
    """Arm -> its rung and the control's, of arms that differ from the control in nothing else."""
    control = _arm(experiment, experiment.control)
    others = {name: _arm(experiment, name) for name, share in experiment.shares.items() if share}
    return {
        name: (arm.highest_rung or TOP, control.highest_rung or TOP)
        for name, arm in others.items()
        if arm.highest_rung != control.highest_rung
        and not any((arm.model, arm.rules, control.model, control.rules))
        and arm.mail
        and control.mail
    }


def _arm(experiment: Experiment, name: str) -> Arm:
    return experiment.dealt.get(name, _USUAL)
