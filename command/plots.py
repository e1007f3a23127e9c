"""The pictures of the reports: SVG whose colours the page decides, for light and for dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import (
    AutoDateLocator,
    ConciseDateFormatter,
    DateLocator,
    DayLocator,
    date2num,
)
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from features.profile import REST, Profile, day_number
from features.types import DAY_US, Float64, Int64

_WIDTH = 5.4  # inches at 72 points: narrow, so that letters can be read on a phone
_BINS = 400  # of a line; longer logs are drawn by the week, the month, the year
_STEPS = (1, 7, 28, 91, 364)  # days
_GAPS = 30  # the longest are shaded
_DAYS_NAMED = 6  # of a log so short every day is named, and no hour
_LABEL = 26  # characters
_BARS = "▁▂▃▄▅▆▇█"
Found = tuple[float, float, float]  # a mean and its 95 %
# Colours that stand for names of the page's own; see templates/page.html.
_INK, _GRID, _SHADE, _OTHER = "#010101", "#020202", "#030303", "#040404"
_SERIES = tuple(f"#0501{n:02x}" for n in range(7))
_NAMES = {_INK: "ink", _GRID: "grid", _SHADE: "shade", _OTHER: "other"} | {
    colour: f"c{n}" for n, colour in enumerate(_SERIES)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "feeds",
    "text.parse_math": False,  # a dollar in an event type is a dollar
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _GRID,
}


def volume(profile: Profile) -> str:
    """Events per day (or longer, if the log is long) by type, stacked, with the gaps shaded."""
    starts, step, series = _binned(profile)
    edges = np.append(starts, starts[-1] + step)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.0)
        below = np.zeros(len(starts))
        for name, colour in zip(series, _colours(series), strict=True):
            above = below + series[name]
            axes.fill_between(
                _dates(edges), _stepped(below), _stepped(above), step="post",
                color=colour, linewidth=0, label=_short(name or "all others"),
            )  # fmt: skip
            below = above
        longest = sorted(profile["gaps"], key=lambda gap: -gap[2])[:_GAPS]
        for place, (first, last, _days) in enumerate(longest):
            span = _dates(np.array([day_number(first), day_number(last) + 1]))
            label = "_told once" if place else "no events"  # with _: not in the legend
            axes.axvspan(span[0], span[1], color=_SHADE, linewidth=0, zorder=0, label=label)
        axes.set_xlim(*_dates(edges[[0, -1]]))
        axes.set_ylim(0, max(float(below.max()) * 1.05, 1))
        axes.set_ylabel("events a day" if step == 1 else f"events in {step} days")
        axes.yaxis.set_major_formatter(FuncFormatter(_count))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        _time_axis(axes, step * len(starts))
        axes.grid(axis="y", linewidth=0.6)
        wide = max(len(_short(name)) for name in series) > _LABEL / 2
        figure.legend(loc="outside upper left", ncols=2 if wide else 3, frameon=False, fontsize=10)
        return _svg(figure)


def shares(days: Int64, series: Mapping[str, Float64], colours: Mapping[str, str]) -> str:
    """Parts of a whole, stacked from the bottom, day by day.

    days:    (n,) since 1970, ascending; a day that is not there stays blank
    series:  name -> (n,) shares that add up to 1        colours: name -> of the page, such as "c3"
    """
    named = {name: colour for colour, name in _NAMES.items()}
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(2.8)
        below = np.zeros(len(days))
        for name, part in series.items():
            axes.bar(_dates(days), part, 0.9, below, color=named[colours[name]], label=name)
            below = below + part
        half = np.timedelta64(12, "h")
        axes.set_xlim(_dates(days)[0] - half, _dates(days)[-1] + half)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(FuncFormatter(_share))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylabel("share of decisions")
        _time_axis(axes, int(days[-1] - days[0]) + 1)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=10)
        return _svg(figure)


def bars(labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str) -> str:
    """One group of horizontal bars per label, with a bar per series: shares, or counts."""
    shares = unit.startswith("share")
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.9 + (0.18 + 0.16 * len(series)) * len(labels))
        thick = 0.8 / len(series)
        for place, (name, values) in enumerate(series.items()):
            at = np.arange(len(labels)) + thick * (place - (len(series) - 1) / 2)
            axes.barh(at, values, thick * 0.94, label=name, color=(_SERIES[0], _OTHER)[place])
        axes.set_yticks(np.arange(len(labels)), [_short(label) for label in labels])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xlim(0, max(1e-3 if shares else 1, *(max(v) * 1.03 for v in series.values())))
        axes.xaxis.set_major_formatter(FuncFormatter(_share if shares else _count))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=not shares))
        axes.set_xlabel(unit)
        axes.grid(axis="x", linewidth=0.6)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
        return _svg(figure)


def climbs(
    parts: Mapping[str, Mapping[str, Sequence[Found | None]]], steps: Sequence[str], unit: str
) -> str:
    """What each step up adds, as bars with their 95 %, the parts beside one another.

    parts: title -> name of a series -> a value per step, None where there is nothing to tell
    """
    names = list(dict.fromkeys(name for series in parts.values() for name in series))
    thick = 0.8 / len(names)
    with mpl.rc_context(_STYLE):
        height = 1.3 + len(steps) * (0.22 + 0.2 * len(names))
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        grid = figure.subplots(1, len(parts), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (title, series) in zip(grid, parts.items(), strict=True):
            for name, values in series.items():
                place = names.index(name)
                shift = thick * (place - (len(names) - 1) / 2)
                told = [(at + shift, *value) for at, value in enumerate(values) if value]
                _whiskered(axes, np.array(told).reshape(-1, 4), thick * 0.9, _SERIES[place])
            axes.set_title(title, fontsize=11)
            axes.axvline(0, color=_INK, linewidth=0.8)
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.grid(axis="x", linewidth=0.6)
            axes.tick_params(axis="y", length=0)
        grid[0].set_yticks(np.arange(len(steps)), list(steps))
        grid[0].set_ylim(len(steps) - 0.5, -0.5)
        figure.supxlabel(unit, fontsize=11)
        if len(names) > 1:
            _legend(figure, names)
        return _svg(figure)


def _whiskered(axes: Axes, told: Float64, thick: float, colour: str) -> None:
    """Bars with intervals: (n, 4) where, mean, low, high."""
    at, mean, low, high = told.T
    axes.barh(at, mean, thick, color=colour)
    axes.hlines(at, low, high, color=_INK, linewidth=1.2)


def over_time(
    lines: Mapping[str, Sequence[tuple[datetime, Found]]], unit: str, later: datetime
) -> str:
    """A line with its 95 % per name, over the beginnings of periods; from `later` on it is told."""
    moments = sorted({moment for line in lines.values() for moment, _ in line})
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.2)
        for colour, line in zip(_SERIES, lines.values(), strict=False):
            at = np.array([moment.replace(tzinfo=None) for moment, _ in line], "datetime64[us]")
            mean, low, high = np.array([found for _, found in line]).T
            axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(at, mean, color=colour, marker="o", markersize=4, linewidth=1.8)
        axes.axhline(0, color=_INK, linewidth=0.8)
        begin, end = float(date2num(later)), axes.get_xlim()[1]  # type: ignore[no-untyped-call]
        axes.axvspan(begin, max(begin, end), color=_SHADE, alpha=0.35, linewidth=0, zorder=0)
        axes.set_xlim(right=max(begin, end))
        axes.set_ylabel(unit)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", linewidth=0.6)
        _time_axis(axes, (moments[-1] - moments[0]).days + 1)
        _legend(figure, list(lines))
        return _svg(figure)


def looks(days: Int64, uplift: Float64, bands: Sequence[tuple[str, Float64, Float64]],
          unit: str) -> str:  # fmt: skip
    """A difference as it stood on each day, with its intervals, the widest first.

    days: (n,) since 1970        bands: name, (n,) low, (n,) high; NaN where there is none yet
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.2)
        for (name, low, high), alpha in zip(bands, (0.18, 0.35), strict=False):
            axes.fill_between(_dates(days), low, high, color=_SERIES[0], alpha=alpha, linewidth=0,
                              label=name)  # fmt: skip
        axes.plot(_dates(days), uplift, color=_SERIES[0], linewidth=1.8)
        axes.axhline(0, color=_INK, linewidth=0.8)
        ends = [abs(end[-1]) for _, *both in bands for end in both if np.isfinite(end[-1])]
        if ends and max(ends) > 0:  # what was wildly open in the first days does not hide the rest
            axes.set_ylim(-2 * max(ends), 2 * max(ends))
        axes.set_ylabel(unit)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", linewidth=0.6)
        _time_axis(axes, int(days[-1] - days[0]) + 1)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
        return _svg(figure)


def forest(rows: Mapping[str, Found], unit: str) -> str:
    """A point with its interval for each row; the first is of everybody and stands apart."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(1.0 + 0.32 * len(rows))
        at = np.arange(len(rows))
        mean, low, high = np.array(list(rows.values())).T
        axes.hlines(at, low, high, color=_SERIES[0], linewidth=2)
        axes.plot(mean[1:], at[1:], "o", color=_SERIES[0], markersize=6)
        axes.plot(mean[:1], at[:1], "D", color=_INK, markersize=7)
        axes.axvline(0, color=_INK, linewidth=0.8)
        axes.set_yticks(at, [_short(label) for label in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", linewidth=0.6)
        axes.set_xlabel(unit)
        return _svg(figure)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    keys = [Patch(color=colour) for colour in _SERIES[: len(names)]]
    labels = [_short(name) for name in names]
    figure.legend(keys, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=10)


def trend(profile: Profile, width: int = 60) -> str:
    """The volume as one line of text, at most `width` characters, a blank where nothing is."""
    starts, _step, series = _binned(profile)
    total = np.sum(list(series.values()), axis=0)
    means = np.array([part.mean() for part in np.array_split(total, min(width, len(starts)))])
    heights = np.ceil(means / max(means.max(), 1) * len(_BARS)).astype(int)
    return "".join((" " + _BARS)[height] for height in heights)


def _binned(profile: Profile) -> tuple[Int64, int, dict[str, Float64]]:
    """Days (since 1970) on which bins begin, days in a bin, and the events in each by type."""
    days = np.array([day_number(day) for day, _ in profile["days"]], dtype=np.int64)
    first, last = int(days[0]), max(int(days[-1]), profile["as_of_us"] // DAY_US)
    span = last - first + 1
    step = next((step for step in _STEPS if span / step <= _BINS), _STEPS[-1])
    bins = -(-span // step)
    place = (days - first) // step
    series = {
        name: np.bincount(place, weights=counts, minlength=bins).astype(np.float64)
        for name, counts in profile["daily_types"].items()
    }
    return first + step * np.arange(bins), step, series


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _time_axis(axes: Axes, days: int) -> None:
    few = days <= _DAYS_NAMED
    locator: DateLocator = DayLocator() if few else AutoDateLocator(minticks=2, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _colours(series: Mapping[str, Float64]) -> Iterator[str]:
    own = iter(_SERIES)
    return (_OTHER if name == REST else next(own) for name in series)


def _dates(days: Int64) -> NDArray[np.datetime64]:
    return days.astype("datetime64[D]")


def _stepped(values: Float64) -> Float64:
    return np.append(values, values[-1])


def _short(label: str) -> str:
    """A label that fits, and that a legend does not take for one to be left out."""
    line = " ".join(label.split())
    fitting = line if len(line) <= _LABEL else f"{line[: _LABEL - 11]}…{line[-10:]}"
    return f" {fitting}" if line.startswith("_") else fitting


def _count(value: float, _place: int) -> str:
    for size, mark in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {mark}"
    return f"{value:g}"


def _share(value: float, _place: int) -> str:
    return f"{value * 100:g} %"


def _svg(figure: Figure) -> str:
    """The drawing alone, with the page's colours and without what makes two drawings differ."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser has more
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, name in _NAMES.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r' id="[A-Za-z.]+_\d+"', "", text)
    return re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)
