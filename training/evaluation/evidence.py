"""For whom, and where, does a more personal feed pay? Verdicts per cell, chosen, then checked.

A cell is segment x stage x channel x kind x visit; `visit` is whether the person has just come or
has seen something in this visit already, for what a rung can know depends on that. In each, every
rung is compared with the ones below it on the same requests. In the earlier periods a rung is
chosen for every cell; what that is worth is told by the later ones, which chose nothing. Means are
shrunk as `evaluation.shrinkage` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Any, Literal, Self

import numpy as np

from features.config import KINDS, RUNGS, Rung
from features.lifecycle import STAGES
from features.training_options import EvidenceOptions
from features.types import Float64, Int8, Int64
from training.evaluation.shrinkage import Cell, Key, parent_of, shrunken

Verdict = Literal["climb", "stay", "unknown"]
OnUnknown = Literal["parent", "climb", "stay"]
LEVELS = ("visit", "kind", "channel", "stage", "segment")  # from the coarsest down
VISITS = ("arriving", "browsing")
PERSONAL = RUNGS.index("segment")  # from here on a feed uses what is known of the person
Names = Mapping[str, Sequence[str]]  # level -> names by code
Name = tuple[str | None, str | None, str | None, str | None, str | None]  # of a cell, by LEVELS


@dataclass(frozen=True)
class Requests:
    """What the rungs were worth, a row per request.

    worth:   (q, 4) float64, by rung in the order of RUNGS, in the unit that verdicts are in
    persons: (q,) int64        codes: per level (q,) int64, -1 unknown        at_us: (q,) int64
    """

    worth: Float64
    persons: Int64
    codes: tuple[Int64, ...]
    at_us: Int64

    def take(self, rows: Int64) -> Requests:
        """The named rows."""
        codes = tuple(column[rows] for column in self.codes)
        return Requests(self.worth[rows], self.persons[rows], codes, self.at_us[rows])

    def cells(self, values: Float64) -> dict[Key, Cell]:
        """The means of `values` (q,) in every cell and what is above it."""
        return shrunken(values, self.persons, self.codes)


def worth(ndcg: Float64, hits: Float64, options: EvidenceOptions) -> Float64:
    """(q, 4) what each rung's feed is worth: money where a hit has a value, else ndcg@20.

    In money: value_per_hit x hits, less cost_per_personal_feed from rung `segment` on.
    """
    if options.value_per_hit is None:
        return ndcg
    cost = np.zeros(len(RUNGS))
    cost[PERSONAL:] = options.cost_per_personal_feed
    return hits * options.value_per_hit - cost


@dataclass(frozen=True)
class Gain:
    """What a rung gains over a lower one in a cell, shrunken, with 95 %."""

    rung: Rung
    over: Rung
    gain: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Weighed:
    """A cell with its verdict; a part of the key that is None is of any.

    rung:    the highest that is served here        rests_on: offline | online
    requests, people, gains: of the earlier periods, that chose
    later:   what the chosen rung gained over `one_for_all` in the later ones; None: nobody asked
    always:  what `one_to_one` gained there
    """

    visit: str | None
    kind: str | None
    channel: str | None
    stage: str | None
    segment: str | None
    rung: Rung
    rests_on: Literal["offline", "online"]
    requests: int
    people: int
    gains: list[Gain]
    later: dict[str, float] | None = None
    always: dict[str, float] | None = None

    @property
    def key(self) -> Name:
        """The names from the coarsest level down."""
        return self.visit, self.kind, self.channel, self.stage, self.segment


@dataclass(frozen=True)
class Evidence:
    """Which rung pays in which cell: kept with the model, obeyed by the policy.

    unit:    of all gains          chosen_until: where the later periods begin, ISO 8601
    periods: per period, kind and rung the gain over `one_for_all`: does it fade?
    bottom:  per kind what serving by evidence comes to in the later periods
    """

    unit: str
    on_unknown: OnUnknown
    min_gain: float
    cells: list[Weighed]
    chosen_until: str
    periods: list[dict[str, Any]]
    bottom: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """For a bundle's manifest."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Self:
        """What `as_json` told."""
        cells = [
            Weighed(**{**cell, "gains": [Gain(**gain) for gain in cell["gains"]]})
            for cell in told["cells"]
        ]
        return cls(**{**told, "cells": cells})

    @cached_property
    def _by_key(self) -> dict[tuple[str | None, ...], Weighed]:
        return {cell.key: cell for cell in self.cells}

    def cell(self, *key: str | None) -> Weighed | None:
        """The finest cell that there is for names in the order of LEVELS; None: of any."""
        for level in range(len(LEVELS), -1, -1):
            wanted = key[:level] + (None,) * (len(LEVELS) - level)
            if found := self._by_key.get(wanted):
                return found
        return None

    def ceiling(self, channel: str | None, kind: str | None, segments: Sequence[str]) -> Int8:
        """(2, len(STAGES) + 1, len(segments) + 1) int8: the highest rung that pays there.

        By visit, stage and segment; the last of each, which -1 points at, is of the unknown.
        """
        stages, groups = [*STAGES, UNKNOWN], [*segments, UNKNOWN]
        found = [self.rung(visit, kind, channel, *rest)
                 for visit, *rest in product(VISITS, stages, groups)]  # fmt: skip
        return np.array(found, dtype=np.int8).reshape(len(VISITS), len(stages), len(groups))

    def rung(self, *key: str | None) -> int:
        """Index of the highest rung that pays in the finest cell that there is."""
        cell = self.cell(*key)
        return len(RUNGS) - 1 if cell is None else RUNGS.index(cell.rung)


UNKNOWN = "unknown"


def weigh(
    early: Requests, names: Names, options: EvidenceOptions, on_unknown: OnUnknown
) -> list[Weighed]:
    """A verdict for every cell that anybody asked in, and for all above it."""
    pairs = list(combinations(range(len(RUNGS)), 2))
    gained = {(high, low): early.cells(early.worth[:, high] - early.worth[:, low])
              for low, high in pairs}  # fmt: skip
    root: Key = (None,) * len(LEVELS)
    found = []
    for key, cell in gained[1, 0].items():
        rung, gains = 0, []
        for high in range(1, len(RUNGS)):
            own = gained[high, rung]
            gains.append(_gain(own[key], high, rung, options.min_gain))
            verdict = gains[-1].verdict
            above = key
            while verdict == "unknown" and on_unknown == "parent" and above != root:
                above = parent_of(above)
                verdict = _gain(own[above], high, rung, options.min_gain).verdict
            if verdict == "climb" or (verdict == "unknown" and on_unknown != "stay"):
                rung = high
        found.append(
            Weighed(*told(key, names), RUNGS[rung], "offline", cell.requests, cell.people, gains)
        )
    return found


def told(key: Key, names: Names) -> Name:
    """A key in words."""
    visit, kind, channel, stage, segment = (
        None if code is None else UNKNOWN if code < 0 else names[level][code]
        for level, code in zip(LEVELS, key, strict=True)
    )
    return visit, kind, channel, stage, segment


def _gain(cell: Cell, rung: int, over: int, least: float) -> Gain:
    mean, low, high = (round(number, 9) for number in cell.estimate())  # what is 0 is 0
    verdict: Verdict = "climb" if low > least else "stay" if high <= least else "unknown"
    return Gain(RUNGS[rung], RUNGS[over], mean, low, high, verdict)


def served(requests: Requests, evidence: Evidence, names: Names) -> Int64:
    """(q,) the rung that the evidence serves to each request."""
    keys = list(zip(*(column.tolist() for column in requests.codes), strict=True))
    known = {key: evidence.rung(*told(key, names)) for key in set(keys)}
    return np.array([known[key] for key in keys], dtype=np.int64)


def names_of(segments: Sequence[str], channels: Sequence[str]) -> Names:
    """Level -> names by code."""
    return {"visit": VISITS, "kind": KINDS, "channel": channels, "stage": STAGES,
            "segment": segments}  # fmt: skip


KIND = LEVELS.index("kind")  # of a request's codes
