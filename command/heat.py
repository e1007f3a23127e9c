"""The heat map of the evidence: a panel per kind, channel and visit, segments by stages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from features.config import RUNGS
from features.lifecycle import STAGES
from training.evaluation.evidence import UNKNOWN, VISITS, Evidence, Gain, Weighed

FEW = 30  # people: of fewer, a row of a table or a panel of its own would say little
RUNG_WORDS = dict(zip(RUNGS, ("one for all", "context", "segment", "one-to-one"), strict=True))
ONLINE = "\N{BLACK DIAMOND}"  # the mark of a cell that an experiment has decided
Holds = Literal["", "pays", "loses", "open", "not asked"]


@dataclass(frozen=True)
class Tile:
    """A cell of the map.

    rung, gain: what is written in it        told: all its numbers in a sentence
    tone: more | less | open | same | none   much: 0 to 1, how much of its colour
    """

    rung: str
    gain: str
    tone: str
    much: float
    told: str


@dataclass(frozen=True)
class Panel:
    """The map of one kind, channel and visit; a tile that is None is blank: nobody asked."""

    title: str
    about: str
    stages: list[str]
    rows: list[tuple[str, list[Tile | None]]]


@dataclass(frozen=True)
class Scale:
    """How gains are written and coloured: alike in all of the report.

    unit: of the gains        top: the gain that has the full colour
    """

    unit: str
    top: float

    @classmethod
    def of(cls, evidence: Evidence) -> Scale:
        """By the largest gain that is told of a finest cell."""
        told = [abs(one.later["gain"]) for one in finest(evidence) if one.later and rung(one)]
        told += [abs(line["over_never"]["mean"]) for line in evidence.bottom]
        return cls(evidence.unit, max([*told, 1e-9]))

    def text(self, value: float) -> str:
        """A gain with its sign, to a hundredth of the largest."""
        places = min(max(1 - math.floor(math.log10(self.top)), 0), 6) + 1
        return f"{round(value, places) or 0.0:+,.{places}f}"

    def found(self, mean: float, low: float, high: float, word: str = "") -> str:
        """A gain and below it its 95 %."""
        between = self.between({"low": low, "high": high}).replace(" ", "\N{NO-BREAK SPACE}")
        return f"{self.text(mean)} {word}".rstrip() + f"\n{between}"

    def between(self, found: dict[str, float]) -> str:
        """A 95 % interval."""
        return f"{self.text(found['low'])} to {self.text(found['high'])}"


def finest(evidence: Evidence) -> list[Weighed]:
    """The cells that nothing is above of, those with the most requests first."""
    cells = [cell for cell in evidence.cells if None not in cell.key]
    return sorted(cells, key=lambda cell: -cell.requests)


def rung(cell: Weighed) -> int:
    """The rung that the people of a cell are served.

    Who has just come has shown nothing in this visit yet, so that `context` is one feed for all.
    """
    found = RUNGS.index(cell.rung)
    return 0 if cell.visit == VISITS[0] and cell.rung == "context" else found


def gains(cell: Weighed) -> list[Gain]:
    """Those of rungs that differ from the one below; see `rung`."""
    return [g for g in cell.gains if cell.visit != VISITS[0] or g.rung != "context"]


def over(cell: Weighed, gain: Gain) -> str:
    """What a gain is over, in words; see `rung`."""
    idle = cell.visit == VISITS[0] and gain.over == "context"
    return RUNG_WORDS["one_for_all" if idle else gain.over]


def verdict(cell: Weighed) -> str:
    """What the earlier periods said of the rung that is served, or of all above the lowest."""
    served = RUNGS[rung(cell)]
    if cell.rests_on == "online":
        return "climb" if rung(cell) else "stay"
    own = [one.verdict for one in gains(cell) if one.rung == served or not rung(cell)]
    return "unknown" if "unknown" in own else own[0] if own else "stay"


def holds(cell: Weighed) -> Holds:
    """What the later periods say of the rung that was chosen; nothing where it is the lowest."""
    if cell.later is None:
        return "not asked"
    if not rung(cell):
        return ""
    return "pays" if cell.later["low"] > 0 else "loses" if cell.later["high"] < 0 else "open"


def name(part: str | None, level: str) -> str:
    """A part of a cell's key in words."""
    if part == UNKNOWN or part is None:
        return "in no segment" if level == "segment" else "not known"
    return part


def title(kind: str, channel: str, visit: str) -> str:
    """The words for a panel."""
    where = "channel not known" if channel == UNKNOWN else channel
    return f"{kind[:1].upper()}{kind[1:]}s, {where}, {visit}"


def panels(evidence: Evidence) -> tuple[list[Panel], list[str]]:
    """The panels with enough people, by kind and traffic; and what is said of the others."""
    cells, scale = finest(evidence), Scale.of(evidence)
    found, few = [], []
    for above in places(evidence):
        own = [cell for cell in cells if place(cell) == place(above)]
        called = title(str(above.kind), str(above.channel), str(above.visit))
        if above.people < FEW:
            few.append(f"{called}: only {above.people} people")
        else:
            found.append(_panel(called, above, own, scale))
    return found, few


def places(evidence: Evidence) -> list[Weighed]:
    """The cells of kind, channel and visit, those of a channel together, the busiest first."""
    found = [one for one in evidence.cells if None not in place(one) and one.stage is None]
    traffic: Counter[tuple[str | None, ...]] = Counter()
    for one in found:
        traffic[one.kind,] += one.requests
        traffic[one.kind, one.channel] += one.requests
    order = [*VISITS, UNKNOWN]
    return sorted(
        found,
        key=lambda one: (-traffic[one.kind,], str(one.kind), -traffic[one.kind, one.channel],
                         str(one.channel), order.index(str(one.visit))),
    )  # fmt: skip


def place(cell: Weighed) -> tuple[str | None, str | None, str | None]:
    """What a panel is of."""
    return cell.kind, cell.channel, cell.visit


def _panel(called: str, above: Weighed, cells: Sequence[Weighed], scale: Scale) -> Panel:
    by_place = {(cell.segment, cell.stage): cell for cell in cells}
    stages = [one for one in (*STAGES, UNKNOWN) if any(cell.stage == one for cell in cells)]
    segments = list(dict.fromkeys(cell.segment for cell in cells))
    segments.sort(key=lambda one: one == UNKNOWN)  # of no segment: last
    rows = [
        (name(segment, "segment"),
         [_tile(by_place.get((segment, stage)), scale) for stage in stages])
        for segment in segments
    ]  # fmt: skip
    about = f"{above.people:,} people asked {above.requests:,} times while the choice was made."
    if not any(rung(cell) for cell in cells):
        about += " No more personal feed is served here: everybody gets one feed for all."
    elif above.later:
        about += (f" In the later days {above.later['people']:,} people: what is served gained "
                  f"{scale.text(above.later['gain'])} over one feed for all "
                  f"(95 % {scale.between(above.later)}).")  # fmt: skip
    return Panel(called, about, [name(one, "stage") for one in stages], rows)


def _tile(cell: Weighed | None, scale: Scale) -> Tile | None:
    if cell is None:
        return None
    held, word = holds(cell), RUNG_WORDS[RUNGS[rung(cell)]]
    word += f" {ONLINE}" * (cell.rests_on == "online")
    told = "; ".join(sentences(cell, scale))
    if held == "not asked" or cell.later is None:
        return Tile(word, "not asked later", "none", 0.0, told)
    if held == "":
        return Tile(word, "", "same", 0.0, told)
    much = round(min(abs(cell.later["gain"]) / scale.top, 1.0), 2)
    if held == "open":
        return Tile(word, f"{scale.text(cell.later['gain'])} open", "open", much, told)
    return Tile(word, scale.text(cell.later["gain"]), "more" if held == "pays" else "less", much,
                told)  # fmt: skip


def sentences(cell: Weighed, scale: Scale) -> Iterable[str]:
    """All that is known of a cell."""
    yield f"{name(cell.segment, 'segment')}; stage {name(cell.stage, 'stage')}"
    yield f"served: {RUNG_WORDS[RUNGS[rung(cell)]]} ({cell.rests_on} evidence, {verdict(cell)})"
    yield f"chosen on {cell.requests:,} requests of {cell.people:,} people"
    if cell.later is None:
        yield "nobody asked in the later days"
        return
    if rung(cell):
        yield f"gain in the later days {scale.text(cell.later['gain'])} {scale.unit}"
        yield f"95 % {scale.between(cell.later)}"
        yield f"{cell.later['requests']:,} requests of {cell.later['people']:,} people"
    if cell.always:
        yield f"always one-to-one: {scale.text(cell.always['gain'])} ({scale.between(cell.always)})"
