"""For whom mailings had a mail, of those dealt into an experiment: by what was decided.

Who was held out has been shown nothing, and who got a mail may never open it: only the decisions
treat all arms alike. They hold out last, so that who was held out would have got the mail.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import msgspec
import numpy as np

from features import served
from features.decided import Torn, decision_files, read_lines
from features.experiments import Experiment
from features.home import Home
from features.types import Int64
from training.policy import Decision, Reason
from training.slices import World

_log = logging.getLogger("feeds.mailed")


class _Block(msgspec.Struct, frozen=True):
    """What is asked of a line of the decisions; as `features.decided.Decided`."""

    at_us: int
    person: str
    decision: str
    reason: str
    arms: dict[str, str] = {}
    mailing: str = ""

    @property
    def due(self) -> bool:
        """Did it go out, or would it have, but for an arm without mails?"""
        return self.decision != Decision.suppress.name or self.reason == Reason.holdout.name


@dataclass(frozen=True)
class Mailed:
    """A mail each that somebody got, or would have got.

    rows:   (m,) of the people: of the log, and behind them of `beside`      at_us: (m,)
    beside: marked names of people whom the log does not know. They count: else those whom a mail
            brings would, and those whom it does not would not
    """

    rows: Int64
    at_us: Int64
    beside: list[str]

    @classmethod
    def of(cls, world: World, experiment: Experiment) -> Self | None:
        """All mails of an experiment; None: none of its arms goes without.

        Raises ConfigError for a state that cannot be read, for it says whose a decision is.
        """
        if all(arm.mail for arm in experiment.dealt.values()):
            return None
        names, persons = served.names(world.config, world.home), world.features.persons
        row_of = dict(zip(names, persons.indices(list(names.values())).tolist(), strict=True))
        rows, at_us, beside = array("q"), array("q"), list[str]()
        for person, moment in _due(world.home, experiment.name):
            row = row_of.get(person)
            if row is None:  # forgotten since
                continue
            if row < 0:
                row = row_of[person] = len(persons) + len(beside)
                beside.append(names[person])
            rows.append(row)
            at_us.append(moment)
        return cls(np.array(rows, np.int64), np.array(at_us, np.int64), beside)


def _due(home: Home, experiment: str) -> Iterator[tuple[str, int]]:
    """Pseudonym and moment of every mail of the experiment that went out, or would have.

    The blocks of a mail follow one another, and are asked together: an arm of any of them withholds
    the whole mail.
    """
    for (person, at_us, mailing), mail in groupby(_blocks(home), _mail):
        if mailing:
            blocks = list(mail)
            if any(experiment in one.arms for one in blocks) and any(one.due for one in blocks):
                yield person, at_us


def _mail(one: _Block) -> tuple[str, int, str]:
    """What the blocks of one mail have in common."""
    return one.person, one.at_us, one.mailing


def _blocks(home: Home) -> Iterator[_Block]:
    for file in decision_files(home.decisions):
        for one in read_lines(file, _Block):
            if isinstance(one, Torn):
                _log.warning("%s:%d: no decision; left out", one.file, one.line)
            else:
                yield one
