"""Pictures of what serving by evidence comes to, for notebooks: against habits, over time, what if.

A bottom line is one of `Evidence.bottom`: what serving by evidence comes to for one kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from command.heat import RUNG_WORDS
from features.config import RUNGS
from features.types import Float64
from training.evaluation.evidence import Evidence

Bottom = Sequence[Mapping[str, Any]]
WhatIf = Mapping[float, Bottom]  # value of an option -> the bottom lines that it gives
_INK, _SOFT = "#23211d", "#6a655c"
_LITTLE = 0.05  # of a gain: next to nothing
_HABITS = {"over_never": "over never personal", "over_always": "over always personal"}


def against_habits(evidence: Evidence) -> Figure:
    """The gain of serving by evidence over never and over always, a line per kind, with 95 %."""
    kinds = [f"{line['kind']}s" for line in evidence.bottom]
    figure = Figure(figsize=(8, 1.5 + 0.45 * len(kinds)), layout="constrained")
    figure.suptitle("What serving by evidence gains over two simple habits (95 %)")
    for axes, (habit, title) in zip(figure.subplots(1, 2), _HABITS.items(), strict=True):
        mean, low, high = _found(line[habit] for line in evidence.bottom)
        axes.hlines(kinds, low, high, linewidth=2)
        axes.plot(mean, kinds, "o")
        axes.axvline(0, color=_INK, linewidth=0.8)
        axes.margins(x=0.1, y=0.5)
        axes.invert_yaxis()
        axes.set(title=title, xlabel=_unit(evidence))
    return figure


def by_period(evidence: Evidence) -> Figure:
    """What each rung gained over one feed for all, a panel per kind, with 95 % by period."""
    kinds = list(dict.fromkeys(one["kind"] for one in evidence.periods))
    later, width = _moment(evidence.chosen_until), _width(evidence)
    figure, panels = _panels(1, kinds, 3.4)
    figure.suptitle("What each feed gained over one for all, period by period (95 %)")
    for axes, kind in zip(panels[0], kinds, strict=True):
        for place, rung in enumerate(RUNGS[1:]):
            own = [one for one in evidence.periods if (one["kind"], one["rung"]) == (kind, rung)]
            at = np.array([_moment(one["from"]) for one in own]) + width * (0.35 + 0.15 * place)
            mean, low, high = _found(own)
            axes.errorbar(at, mean, [mean - low, high - mean], marker="o", capsize=3,
                          label=RUNG_WORDS[rung])  # fmt: skip
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.axvline(later, color=_SOFT, linestyle=":")
        locator = AutoDateLocator(minticks=2, maxticks=6)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    panels[0][0].set_ylabel(_unit(evidence))
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure


def by_bar(found: WhatIf, unit: str) -> Figure:
    """By `min_gain`: the gains over never and over always, and how much is less personal."""

    def gains(axes: Axes, kind: str) -> None:
        for habit, label in _HABITS.items():
            _band(axes, found, kind, habit=habit, label=label)

    figure, panels = _stacked(found, gains, f"min_gain, in {unit}")
    figure.suptitle("A higher bar: fewer personal feeds, and what that costs")
    panels[0][0].set_ylabel(f"gain by evidence,\n{unit}, 95 %")
    return figure


def by_cost(found: WhatIf, free: Bottom, currency: str) -> Figure:
    """By the cost of a personal feed: what always, by evidence and only for free bring a month.

    free: the bottom lines at a cost that no personal feed is worth
    """

    def money(axes: Axes, kind: str) -> None:
        feeds = _of(free, kind)["feeds_a_month"]
        _band(axes, found, kind, habit="over_never", label="by evidence, 95 %", times=feeds)
        gains = np.array([always(_of(bottom, kind)) for bottom in found.values()])
        axes.plot(list(found), gains * feeds, label="always personal")
        least = _of(free, kind)["over_never"]["mean"] * feeds
        axes.axhline(least, color=_SOFT, linestyle="--", label="only what costs nothing")

    figure, panels = _stacked(found, money, f"cost of a personal feed, {currency}")
    figure.suptitle("The dearer a personal feed, the fewer are worth it")
    panels[0][0].set_ylabel(f"{currency} a month more\nthan one for all")
    return figure


def always(line: Mapping[str, Any]) -> float:
    """What always serving the most personal feed gains over never, out of a bottom line."""
    return float(line["over_never"]["mean"] - line["over_always"]["mean"])


def pays_up_to(found: WhatIf, free: Bottom, kind: str) -> tuple[float, float]:
    """The costs at which personal feeds stop to bring more than what is free: always, by evidence.

    By evidence the gain only dwindles: "stop" is 5 % of what they bring at the lowest cost. Between
    two costs of `found`, which rise, a straight line is taken; 0: never more; inf: up to the last.
    """
    least = _of(free, kind)["over_never"]["mean"]
    lines = [_of(bottom, kind) for bottom in found.values()]
    costs, more = np.array(list(found)), np.array([always(line) for line in lines]) - least
    chosen = np.array([line["over_never"]["mean"] for line in lines]) - least
    return _crossing(costs, more), _crossing(costs, chosen - _LITTLE * max(float(chosen[0]), 0))


def _crossing(at: Float64, values: Float64) -> float:
    """Where `values` first come down to 0."""
    down = np.flatnonzero(values <= 0)
    if not down.size or down[0] == 0:
        return 0.0 if down.size else np.inf
    last = int(down[0])
    before, after = values[last - 1 : last + 1]
    return float(at[last - 1] + (at[last] - at[last - 1]) * before / (before - after))


def _stacked(found: WhatIf, above: Callable[[Axes, str], None], xlabel: str) -> tuple[Figure, Any]:
    """`above` per kind, and below it the share of feeds that are less personal than they could."""
    kinds = [line["kind"] for line in next(iter(found.values()))]
    figure, panels = _panels(2, kinds, 5.2)
    for (upper, lower), kind in zip(panels.T, kinds, strict=True):
        above(upper, kind)
        upper.axhline(0, color=_INK, linewidth=0.8)
        lines = [_of(bottom, kind) for bottom in found.values()]
        lower.plot(list(found), [100 * line["less_personal"] for line in lines], marker=".")
        lower.set(ylim=(0, 105), xlabel=xlabel)
    panels[1][0].set_ylabel("feeds less personal\nthan they could be, %")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure, panels


def _band(
    axes: Axes, found: WhatIf, kind: str, *, habit: str, label: str, times: float = 1.0
) -> None:
    """The gain over a habit with its 95 %, over the values of an option."""
    gains = _found(_of(bottom, kind)[habit] for bottom in found.values()) * times
    (line,) = axes.plot(list(found), gains[0], marker=".", label=label)
    axes.fill_between(list(found), *gains[1:], color=line.get_color(), alpha=0.2, linewidth=0)


def _panels(rows: int, kinds: Sequence[str], height: float) -> tuple[Figure, Any]:
    """A column of panels per kind, named by it; the panels are (rows, kinds)."""
    figure = Figure(figsize=(8, height), layout="constrained")
    ratios = (3, 2)[:rows]
    panels = figure.subplots(rows, len(kinds), sharex="col", sharey="row", squeeze=False,
                             height_ratios=ratios)  # fmt: skip
    for axes, kind in zip(panels[0], kinds, strict=True):
        axes.set_title(f"{kind}s")
    return figure, panels


def _of(bottom: Bottom, kind: str) -> Mapping[str, Any]:
    return next(line for line in bottom if line["kind"] == kind)


def _found(gains: Iterable[Mapping[str, float]]) -> Float64:
    """(3, n): the means, and their lower and upper ends."""
    told = [[gain[part] for part in ("mean", "low", "high")] for gain in gains]
    return np.array(told, dtype=np.float64).reshape(-1, 3).T


def _unit(evidence: Evidence) -> str:
    return f"gain in {evidence.unit}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _width(evidence: Evidence) -> timedelta:
    """Of a period."""
    starts = sorted({_moment(one["from"]) for one in evidence.periods})
    return starts[1] - starts[0] if len(starts) > 1 else timedelta(days=1)
