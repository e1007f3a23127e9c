"""From what the rungs showed to evidence: choose early, report late, say what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from features.config import KINDS, RUNGS, Config
from features.segments import settled_name
from features.training_options import EvidenceOptions
from features.types import DAY_US, Float64, Int64, from_us
from training.evaluation.evidence import (
    CHANNEL,
    KIND,
    Evidence,
    Names,
    Requests,
    Weighed,
    names_of,
    served,
    told,
    weigh,
    worth,
)
from training.evaluation.online_evidence import Online, overridden
from training.evaluation.shrinkage import Cell, Key, shrunken
from training.rungs import Survey

MONTH_DAYS = 30.0
TOP = len(RUNGS) - 1


def evidence_of(
    survey: Survey | None, config: Config, online: Sequence[Online] = ()
) -> Evidence | str:
    """Evidence out of a survey, or why there is none; what is said `online` goes before it."""
    if survey is None:
        return "evidence: nobody asked for anything in the test slice; a longer log has more"
    options, found = config.training.evidence, survey.compared
    if options.in_money and options.value_per_hit is None and (free := _free(survey)):
        return (
            f"evidence: `margin` is a share of what was paid, and nothing was paid for "
            f"{' and '.join(free)}s in the log; say what a hit there brings: value_per_hit"
        )
    names, own = _settled(survey, config)
    requests = _requests(survey, own, options)
    edges = _edges(survey, options.periods)
    middle = int(edges[(options.periods + 1) // 2])
    early, late = (np.flatnonzero(mask) for mask in (found.at_us < middle, found.at_us >= middle))
    if not early.size or not late.size:
        return "evidence: all requests came in one half of the test slice; a longer log has both"
    asked = [requests, requests.merging(CHANNEL), requests.merging(KIND, CHANNEL)]
    cells, *merged = (weigh(part.take(early), names, options, config.on_unknown_evidence)
                      for part in asked)  # fmt: skip
    unit = f"{config.shop.currency} a feed" if options.in_money else "ndcg@20"
    evidence = Evidence(unit, config.on_unknown_evidence, options.min_gain, cells,
                        from_us(middle).isoformat(), [], [], [*merged[0], *merged[1]])  # fmt: skip
    evidence = overridden(evidence, online)
    chosen = served(requests.take(late), evidence, names)
    traffic = _traffic(requests, survey, names)
    return replace(
        evidence,
        cells=[
            replace(cell, feeds_a_month=traffic.get(cell.key))
            for cell in _reported(evidence.cells, requests.take(late), chosen, names)
        ],
        periods=_over_time(requests, edges),
        bottom=[
            line
            for kind in range(len(KINDS))
            if (line := _bottom(survey, requests.take(late), (late, chosen), kind, unit))
        ],
    )


def _free(survey: Survey) -> list[str]:
    """The kinds that were wanted, and for which nobody paid anything."""
    found = survey.compared
    by_kind = {kind: found.paid[found.kinds == code] for code, kind in enumerate(KINDS)}
    return [kind for kind, paid in by_kind.items() if len(paid) and not paid.any()]


def _requests(survey: Survey, segments: Int64, options: EvidenceOptions) -> Requests:
    """What was asked, as it is weighed; segments: (q,) int64, of each, settled."""
    found = survey.compared
    codes = (found.browsing, found.kinds, found.channels, found.stages, segments)
    wanted = np.array([survey.wanted[kind] for kind in KINDS])[found.kinds]
    brought, cost = worth(found, wanted, options)
    return Requests(
        brought - cost, cost, found.persons, tuple(c.astype(np.int64) for c in codes), found.at_us
    )


def _settled(survey: Survey, config: Config) -> tuple[Names, Int64]:
    """The names of all codes, and the segment of each request as `settled_name` has it."""
    settled = [settled_name(config.segments, name) for name in survey.segments]
    segments = list(dict.fromkeys(settled))
    code = np.array([*(segments.index(name) for name in settled), -1], dtype=np.int64)
    return names_of(segments, survey.channels), code[survey.compared.segments]


def _reported(
    cells: Sequence[Weighed], late: Requests, chosen: Int64, names: Names
) -> list[Weighed]:
    """The cells with what the later periods say of their rungs.

    A finest cell is shrunk among the gains of the rung that it serves; one that is made of others
    has what these serve together.
    """
    mixed = _by_name(late.cells(_gain(late, chosen)), names)
    rungs = [_by_name(late.cells(_gain(late, np.full(len(chosen), rung))), names)
             for rung in range(len(RUNGS))]  # fmt: skip
    return [
        replace(
            cell,
            later=(mixed if None in cell.key else rungs[RUNGS.index(cell.rung)]).get(cell.key),
            always=rungs[TOP].get(cell.key),
        )
        for cell in cells
    ]


def _traffic(requests: Requests, survey: Survey, names: Names) -> dict[Any, int]:
    """Feeds a month of every finest cell: its share of the requests of its kind, of all visits."""
    a_month = survey.visits / survey.days * MONTH_DAYS
    in_cell = Counter(zip(*(column.tolist() for column in requests.codes), strict=True))
    of_kind = Counter(requests.codes[KIND].tolist())
    return {told(key, names): round(a_month * count / of_kind[key[KIND]])
            for key, count in in_cell.items()}  # fmt: skip


def _edges(survey: Survey, periods: int) -> Int64:
    """(periods + 1,) where the periods begin, and the end: at midnight UTC where they are days."""
    edges = np.linspace(survey.begin_us, survey.end_us, periods + 1)
    for clock in (DAY_US, DAY_US // 24):
        if edges[1] - edges[0] >= 5 * clock:  # else too much would move
            edges[1:-1] = np.round(edges[1:-1] / clock) * clock
            break
    return edges.astype(np.int64)


def _gain(requests: Requests, rungs: Int64) -> Float64:
    """(q,) what these rungs gain over `one_for_all`."""
    return requests.worth[np.arange(len(rungs)), rungs] - requests.worth[:, 0]


def _by_name(cells: Mapping[Key, Cell], names: Names) -> dict[Any, dict[str, float]]:
    return {told(key, names): _told(cell) for key, cell in cells.items()}


def _told(cell: Cell) -> dict[str, float]:
    mean, low, high = cell.estimate()
    plain_low, plain_high = cell.plain()
    return {"requests": cell.requests, "people": cell.people, "gain": mean, "low": low,
            "high": high, "plain": cell.mean, "plain_low": plain_low,
            "plain_high": plain_high}  # fmt: skip


def _mean(values: Float64, persons: Int64) -> dict[str, float]:
    """A mean over requests with 95 % by person."""
    (cell,) = shrunken(values, persons, ()).values()
    low, high = cell.plain()
    return {"mean": cell.mean, "low": low, "high": high}


def _over_time(requests: Requests, edges: Int64) -> list[dict[str, Any]]:
    """Per period, kind and rung: does the gain fade as people get used to it?"""
    found = []
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        for code, kind in enumerate(KINDS):
            here = (
                (requests.at_us >= begin) & (requests.at_us < end) & (requests.codes[KIND] == code)
            )
            rows = np.flatnonzero(here)
            for rung in range(1, len(RUNGS)) if rows.size else ():
                own = requests.take(rows)
                gained = _mean(_gain(own, np.full(rows.size, rung)), own.persons)
                about = {"from": from_us(begin).isoformat(), "kind": kind, "rung": RUNGS[rung]}
                found.append({**about, "requests": int(rows.size), **gained})
    return found


def _bottom(
    survey: Survey, late: Requests, asked: tuple[Int64, Int64], kind: int, unit: str
) -> dict[str, Any] | None:
    """What serving by evidence comes to for one kind, against never and against always."""
    rows = np.flatnonzero(late.codes[KIND] == kind)
    if not rows.size:
        return None
    own, chosen, numbers = late.take(rows), asked[1][rows], asked[0][rows]
    could = survey.compared.rungs[numbers, TOP].astype(np.int64)
    top = np.full(rows.size, TOP)
    never = _mean(_gain(own, chosen), own.persons)
    always = _mean(_gain(own, chosen) - _gain(own, top), own.persons)
    ndcg = survey.compared.ndcg[numbers]
    a_month = survey.visits / survey.days * MONTH_DAYS
    return {
        "kind": KINDS[kind], "requests": int(rows.size), "feeds_a_month": round(a_month),
        "ndcg_never": float(ndcg[:, 0].mean()), "ndcg_always": float(ndcg[:, TOP].mean()),
        "ndcg_by_evidence": float(ndcg[np.arange(rows.size), chosen].mean()),
        "over_never": never, "over_always": always,
        "less_personal": float((chosen < could).mean()), "could": float((could > 0).mean()),
        "says": _sentence(KINDS[kind], never, bool((np.minimum(chosen, could) > 0).any()),
                          a_month, unit),
    }  # fmt: skip


def _sentence(
    kind: str, gain: Mapping[str, float], personal: bool, a_month: float, unit: str
) -> str:
    if not personal:
        return f"This shop should not personalise {kind}s: nowhere does a more personal feed pay."
    size = f"{gain['mean']:+.4f} {unit} (95 % {gain['low']:+.4f} to {gain['high']:+.4f})"
    if unit != "ndcg@20":
        size += f", {gain['mean'] * a_month:+,.0f} a month at {a_month:,.0f} feeds"
    if gain["low"] > 0:
        return f"Personalising {kind}s pays, where the table serves more than one for all: {size}."
    if gain["high"] < 0:
        return f"Personalising {kind}s as the table says lost in the later periods: {size}."
    return f"Whether personalising {kind}s pays is open: {size}."
