"""For whom, and where, does a more personal feed pay? Verdicts per cell, chosen, then checked.

A cell is segment x stage x channel x kind x visit; `visit` is whether the person has just come or
has seen something in this visit already, for what a rung can know depends on that. In each, every
rung is compared with the ones below it on the same requests. In the earlier periods a rung is
chosen for every cell; what that is worth is told by the later ones, which chose nothing. Means are
shrunk as `evaluation.shrinkage` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from features.config import KINDS, RUNGS, Rung
from features.lifecycle import STAGES
from features.training_options import EvidenceOptions
from features.types import Float64, Int8, Int64
from training.evaluation.shrinkage import Cell, Key, parent_of, shrunken

if TYPE_CHECKING:
    from training.rungs import Compared

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
    cost:    (q, 4) float64, what of it was taken off for making the feed
    persons: (q,) int64        codes: per level (q,) int64, -1 unknown        at_us: (q,) int64
    """

    worth: Float64
    cost: Float64
    persons: Int64
    codes: tuple[Int64, ...]
    at_us: Int64

    def take(self, rows: Int64) -> Requests:
        """The named rows."""
        codes = tuple(column[rows] for column in self.codes)
        return Requests(
            self.worth[rows], self.cost[rows], self.persons[rows], codes, self.at_us[rows]
        )

    def merging(self, *levels: int) -> Requests:
        """As if there were no differences in these levels."""
        codes = tuple(np.full(len(self.persons), -2) if level in levels else column
                      for level, column in enumerate(self.codes))  # fmt: skip
        return replace(self, codes=codes)

    def cells(self, values: Float64) -> dict[Key, Cell]:
        """The means of `values` (q,) in every cell and what is above it."""
        return shrunken(values, self.persons, self.codes)


def worth(found: Compared, wanted: Float64, options: EvidenceOptions) -> tuple[Float64, Float64]:
    """(q, 4) what each rung's feed brings: money where a hit has a value, else ndcg@20; its cost.

    In money: margin x what was paid for the hits, of a kind of items that is paid for, else
    value_per_hit x hits; times `wanted`. A feed costs if
    the person could have `segment` or more under the limit.

    wanted: (q,) the share of visits that want anything of the kind: the others get feeds too, and
    these find nothing
    """
    cost = np.where(found.rungs >= PERSONAL, options.cost_per_personal_feed, 0.0)
    if not options.in_money:
        return found.ndcg, cost
    brought = found.hits * (options.value_per_hit or 0.0)
    if options.margin is not None:
        for kind in np.unique(found.kinds):
            own = found.kinds == kind
            if found.paid[own].any():
                brought[own] = found.paid[own] * options.margin
    return brought * wanted[:, None], cost


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
    feeds_a_month: of a finest cell, as many of its kind as its share of the requests says
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
    feeds_a_month: int | None = None

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
    merged:  cells of all channels, and of all kinds and channels, for placements of another channel
             than the log's, or of no kind
    """

    unit: str
    on_unknown: OnUnknown
    min_gain: float
    cells: list[Weighed]
    chosen_until: str
    periods: list[dict[str, Any]]
    bottom: list[dict[str, Any]]
    merged: list[Weighed] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For a bundle's manifest."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Self:
        """What `as_json` told."""
        read = {
            part: [Weighed(**{**cell, "gains": [Gain(**gain) for gain in cell["gains"]]})
                   for cell in told[part]]
            for part in ("cells", "merged")
        }  # fmt: skip
        return cls(**{**told, **read})

    @cached_property
    def _by_key(self) -> dict[tuple[str | None, ...], Weighed]:
        return {cell.key: cell for cell in [*self.merged, *self.cells]}

    def cell(
        self, visit: str, kind: str | None, channel: str | None, stage: str, segment: str
    ) -> Weighed | None:
        """The finest cell that there is; a kind or channel of which nothing is known is any."""
        for own in ((kind or ANY, channel or ANY), (kind or ANY, ANY), (ANY, ANY)):
            if (visit, *own, None, None) in self._by_key:
                finest = (visit, *own, stage, segment), (visit, *own, stage, None)
                found = (self._by_key.get(key) for key in (*finest, (visit, *own, None, None)))
                return next(one for one in found if one is not None)
        return self._by_key.get((None,) * len(LEVELS))

    def ceiling(self, channel: str | None, kind: str | None, segments: Sequence[str]) -> Int8:
        """(2, len(STAGES) + 1, len(segments) + 1) int8: the highest rung that pays there.

        By visit, stage and segment; the last of each, which -1 points at, is of the unknown.
        """
        stages, groups = [*STAGES, UNKNOWN], [*segments, UNKNOWN]
        found = [self.rung(visit, kind, channel, *rest)
                 for visit, *rest in product(VISITS, stages, groups)]  # fmt: skip
        return np.array(found, dtype=np.int8).reshape(len(VISITS), len(stages), len(groups))

    def rung(
        self, visit: str, kind: str | None, channel: str | None, stage: str, segment: str
    ) -> int:
        """Index of the highest rung that pays in the finest cell that there is."""
        cell = self.cell(visit, kind, channel, stage, segment)
        return len(RUNGS) - 1 if cell is None else RUNGS.index(cell.rung)


UNKNOWN, ANY = "unknown", "any"


def weigh(
    early: Requests, names: Names, options: EvidenceOptions, on_unknown: OnUnknown
) -> list[Weighed]:
    """A verdict for every cell that anybody asked in, and for all above it.

    Each rung is compared with the highest below it that has proved its worth. What is served may be
    higher, where the evidence leaves it open: steps that are each open can add up to a loss.
    What feeds cost is known: only what they bring is estimated.
    """
    pairs = list(combinations(range(len(RUNGS)), 2))
    gained = {
        (high, low): _less(early.cells(brought[:, high] - brought[:, low]),
                           early.cells(early.cost[:, high] - early.cost[:, low]))
        for brought in [early.worth + early.cost] for low, high in pairs
    }  # fmt: skip
    root: Key = (None,) * len(LEVELS)
    found = []
    for key, (cell, _) in gained[1, 0].items():
        proved, rung, gains = 0, 0, []
        for high in range(1, len(RUNGS)):
            own = gained[high, proved]
            gains.append(_gain(own[key], high, proved, options.min_gain))
            verdict = gains[-1].verdict
            above = key
            while verdict == "unknown" and on_unknown == "parent" and above != root:
                above = parent_of(above)
                verdict = _gain(own[above], high, proved, options.min_gain).verdict
            if gains[-1].verdict == "climb":
                proved = high
            if verdict == "climb" or (verdict == "unknown" and on_unknown != "stay"):
                rung = high
        found.append(
            Weighed(*told(key, names), RUNGS[rung], "offline", cell.requests, cell.people, gains)
        )
    return found


def told(key: Key, names: Names) -> Name:
    """A key in words."""
    visit, kind, channel, stage, segment = (
        None if code is None else _NAMED.get(code) or names[level][code]
        for level, code in zip(LEVELS, key, strict=True)
    )
    return visit, kind, channel, stage, segment


_NAMED = {-1: UNKNOWN, -2: ANY}


def _less(brought: Mapping[Key, Cell], cost: Mapping[Key, Cell]) -> dict[Key, tuple[Cell, float]]:
    """What was brought in each cell, with the mean cost there."""
    return {key: (cell, cost[key].mean) for key, cell in brought.items()}


def _gain(found: tuple[Cell, float], rung: int, over: int, least: float) -> Gain:
    cell, cost = found
    told = (0.0, 0.0, 0.0) if cell.mean == cell.scatter == 0 else cell.estimate()  # the same feed
    mean, low, high = (round(number - cost, 9) for number in told)
    verdict: Verdict = "climb" if low > least else "stay" if high <= least else "unknown"
    return Gain(RUNGS[rung], RUNGS[over], mean, low, high, verdict)


def served(requests: Requests, evidence: Evidence, names: Names) -> Int64:
    """(q,) the rung that the evidence serves to each request."""
    keys = list(zip(*(column.tolist() for column in requests.codes), strict=True))
    known = {key: evidence.rung(*(str(part) for part in told(key, names))) for key in set(keys)}
    return np.array([known[key] for key in keys], dtype=np.int64)


def names_of(segments: Sequence[str], channels: Sequence[str]) -> Names:
    """Level -> names by code."""
    return {"visit": VISITS, "kind": KINDS, "channel": channels, "stage": STAGES,
            "segment": segments}  # fmt: skip


KIND, CHANNEL = LEVELS.index("kind"), LEVELS.index("channel")  # of a request's codes
