"""Segments: named groups of people; the first that matches, in config order, is a person's.

NumPy only: build and serving use it, for everybody and for one who asks now. Learned groups come
from a function that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.options import DeclaredSegment, LearnedSegment, RuleSegment, SegmentSpec
from features.person_columns import RULE_COLUMNS
from features.rules import Columns, Rule, parse
from features.types import Bool, Int16, Int64

# Groups of the people that the mask (n,) names: the group of each person (n,), -1 none, and the
# names of the groups.
Learned = Callable[[LearnedSegment, Bool], tuple[Int16, list[str]]]


@dataclass(frozen=True)
class Answers:
    """Current answers to one question: row `people[i]` says `texts[i]`; one may say several."""

    people: Int64
    texts: NDArray[Any]


@dataclass(frozen=True)
class Segments:
    """Who belongs where.

    members: (n,) int16, index into `names`, -1: in no segment
    names:   in config order; there may be segments without people
    """

    members: Int16
    names: list[str]

    def name(self, person: int) -> str | None:
        """The segment of one row; None: in no segment."""
        index = int(self.members[person])
        return None if index < 0 else self.names[index]


def validate(specs: Sequence[SegmentSpec]) -> None:
    """Parse all rules; ValueError names the place, such as segments.1.rule, and the fault."""
    for place, spec in enumerate(specs):
        if isinstance(spec, RuleSegment):
            _rule(spec.rule, place)


def current_answers(
    people: Int64, questions: NDArray[Any], texts: NDArray[Any], answered_us: Int64
) -> dict[str, Answers]:
    """What people say now: of each person and question the answers of the latest moment, all of it.

    people: (m,) row of who answered        answered_us: (m,) microseconds since 1970 UTC
    """
    found = {}
    for question in dict.fromkeys(questions.tolist()):
        asked = questions == question
        latest = np.full(people.max() + 1, np.iinfo(np.int64).min)
        np.maximum.at(latest, people[asked], answered_us[asked])
        now = asked & (answered_us == latest[people])
        found[str(question)] = Answers(people[now], texts[now])
    return found


def settled_name(specs: Sequence[SegmentSpec], name: str) -> str:
    """The name of a segment where it means the same in every build.

    A group that was learned is another one in another build, whatever it is called: all groups of
    one specification are `learned`, or `NAME: learned` within the segment NAME.
    """
    for spec in specs:
        if isinstance(spec, LearnedSegment):
            continue
        if name == spec.name or (
            isinstance(spec, DeclaredSegment) and name.startswith(f"{spec.name}: ")
        ):
            return name
    for spec in specs:
        within = spec.within if isinstance(spec, LearnedSegment) else None
        if within is not None and name.startswith(f"{within}: "):
            return f"{within}: learned"
    return "learned"


def assign(
    specs: Sequence[SegmentSpec], columns: Columns, answers: Mapping[str, Answers],
    learned: Learned | None = None,
) -> Segments:  # fmt: skip
    """The segment of each person: the first of `specs` that takes them.

    A rule takes those for whom it holds. A declared segment takes those who say one of its answers;
    without a list of answers there is one segment per answer, called "name: answer", sorted by
    answer. A learned one takes everybody not yet taken; one `within` another segment refines it:
    its people move on to the smaller group, called "name: group". Segments of one name are one.

    columns: (n,) arrays, as RULE_COLUMNS names them
    learned: finds the groups of a learned segment; None: such segments take nobody
    """
    rows = len(next(iter(columns.values())))
    taken = _Taken(np.full(rows, -1, dtype=np.int16))
    for place, spec in enumerate(specs):
        if isinstance(spec, RuleSegment):
            holds = _rule(spec.rule, place).holds(columns)
            taken.take(spec.name, [spec.name], np.where(holds, 0, -1))
        elif isinstance(spec, DeclaredSegment):
            taken.take(spec.name, *_declared(spec, answers.get(spec.declared), rows))
        elif learned is not None:
            candidates = taken.free() if spec.within is None else taken.by(spec.within)
            groups, names = learned(spec, candidates)
            if spec.within is not None:
                names = [f"{spec.within}: {name}" for name in names]
            taken.move(names, np.where(candidates, groups, -1))
    return Segments(taken.members, list(taken.names))


@dataclass
class _Taken:
    """The segments so far, and which of them each spec of the config has made."""

    members: Int16
    names: dict[str, int] = field(default_factory=dict)
    made: dict[str, list[int]] = field(default_factory=dict)

    def free(self) -> Bool:
        """Who is in no segment yet."""
        return np.less(self.members, 0)

    def by(self, spec: str) -> Bool:
        """Who is in a segment that the spec of this name has made."""
        return np.isin(self.members, self.made[spec])

    def take(self, spec: str, names: list[str], groups: NDArray[np.integer]) -> None:
        """Put those who are free into their group; `groups` (n,): index into `names`, -1 none."""
        self.made[spec] = self.move(names, np.where(self.free(), groups, -1))

    def move(self, names: list[str], groups: NDArray[np.integer]) -> list[int]:
        """Put everybody who has a group into it, and say which segments the groups are."""
        indices = [self.names.setdefault(name, len(self.names)) for name in names]
        if len(self.names) > np.iinfo(np.int16).max:
            raise ValueError(
                f"segments: there are {len(self.names)}, and 32767 are the most; where people "
                "answer in their own words, list the `answers` that make a segment"
            )
        table = np.array([*indices, 0], dtype=np.int16)
        self.members = np.where(groups >= 0, table[groups], self.members)
        return indices


def _declared(
    spec: DeclaredSegment, said: Answers | None, rows: int
) -> tuple[list[str], NDArray[np.integer]]:
    """The segments that `spec` makes, and the first of them for each person, -1 none."""
    if said is None:
        said = Answers(np.empty(0, np.int64), np.empty(0, dtype=object))
    if spec.answers is not None:
        names, codes = [spec.name], np.where(np.isin(said.texts, spec.answers), 0, 1)
    else:
        texts, codes = np.unique(said.texts, return_inverse=True)
        names = [f"{spec.name}: {text}" for text in texts.tolist()]
    first = np.full(rows, len(names))
    np.minimum.at(first, said.people, codes)
    return names, np.where(first < len(names), first, -1)


@lru_cache(maxsize=1024)  # a request assigns one person: the rules are parsed once a process
def _rule(text: str, place: int) -> Rule:
    return parse(text, RULE_COLUMNS, f"segments.{place}.rule")
