"""`feeds report uplift`: what the experiments show, in a terminal and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from command import pages, plots, show
from command.facts import percent
from command.sections import Section
from command.uplift_words import (
    between,
    cell_name,
    compared,
    counted,
    day,
    how_met,
    not_counted,
    number,
    share,
    unit,
    verdict,
)
from features.build import build
from features.config import Config
from features.experiments import Experiment
from features.home import Home
from features.types import DAY_US, to_us
from training.evaluation.experiment_log import DAYS, Reading, readings
from training.evaluation.uplift import Row, daily
from training.slices import World

Mood = Literal["better", "worse", "open"]
_ROWS = 8  # of a table of days
_WRITE = """feeds.yaml names no experiment. To have one, write for instance:
experiments:
  - {name: purpose, holdout: 0.05}  # 5 % of all people always get one feed for all"""


@dataclass(frozen=True)
class Told:
    """What is said of one experiment.

    says: the verdicts       more: what to know besides        mood: of its colour
    left: what is not counted
    """

    name: str
    says: list[str]
    more: list[str]
    mood: Mood = "open"
    headlines: dict[str, str] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    left: Section | None = None


def uplift_report(config: Config, base: Path, home: Home, days: int | None = None) -> Path:
    """Read the experiments of the config from the log, show them, write the page.

    days: of the window after entering, default DAYS. Returns where the page lies. Raises ValueError
    where the config has no experiment.
    """
    if not config.experiments:
        raise ValueError(_WRITE)
    with show.progress_bar() as progress:
        features = build(config, base, home, progress=progress)
        world = World.of(config, features, home)
        found = [told(world, experiment, days or DAYS) for experiment in config.experiments]
    for one in found:
        _tell(one)
    shop = base.resolve().name
    page = write_page(found, shop, features.as_of_us, home.root / "reports" / "uplift.html")
    show.console.print(f"the same with pictures: {page}", soft_wrap=True, highlight=False)
    return page


def write_page(found: Sequence[Told], shop: str, as_of_us: int, target: Path) -> Path:
    """Write the report as one page that needs nothing else; returns `target`."""
    return pages.write("uplift_report.html", target, shop=shop, as_of=day(as_of_us), found=found)


def _tell(one: Told) -> None:
    show.console.print(f"{one.name}", style="bold", markup=False, highlight=False)
    for sentence in one.says:
        show.console.print(sentence, markup=False, highlight=False)
    for sentence in one.more:
        show.console.print(f"  {sentence}", style="dim", markup=False, highlight=False)
    show.console.print()
    for section in [*one.sections, *([one.left] if one.left else [])]:
        pages.tell(section)


def told(world: World, experiment: Experiment, days: int) -> Told:
    """All that is to be said of an experiment."""
    found = readings(world, experiment, days)
    if not found:
        why = _no_reading(world, experiment, days)
        return Told(experiment.name, [why], [compared(experiment)])
    reading, config = headline(found), world.config
    own = [row for cell, row in reading.rows if cell is None]
    more = [compared(experiment), f"Counted as {unit(config)}: {counted(config)}."]
    left = Section("Not counted", "What these numbers leave out, or what may blur them.", "",
                   notes=not_counted(reading, config))  # fmt: skip
    about = _headlines(reading)
    if not len(reading.observed):
        return Told(experiment.name, [_nobody(reading)], more, "open", about, left=left)
    says, more = [verdict(row, reading, config) for row in own], [*more, reading.ratio.sentence]
    sections = _sections(reading, found, config)
    return Told(experiment.name, says, more, _mood(reading, own), about, sections, left)


def _mood(reading: Reading, own: Sequence[Row]) -> Mood:
    said = {row.verdict for row in own}
    if reading.ratio.alarm or "worse" in said:
        return "worse"
    return "better" if "better" in said else "open"


def headline(found: Sequence[Reading]) -> Reading:
    """The newest that can be compared; else the newest in which anybody is counted; else the last.

    There is more than one where a permanent holdout is read by quarters.
    """
    rows = [(one, [row.found.always_low for _, row in one.rows]) for one in found]
    ready = [one for one, lows in rows if np.isfinite(lows[:1]).any()]
    return (ready or [one for one in found if len(one.observed)] or list(found))[-1]


def _no_reading(world: World, experiment: Experiment, days: int) -> str:
    """Why there is nothing to read."""
    begins, ends = experiment.starts, experiment.ends
    if begins is not None and to_us(begins) > world.features.as_of_us:
        return f"It begins on {begins:%Y-%m-%d}; the log ends on {day(world.features.as_of_us)}."
    if begins is not None and ends is not None and (ends - begins).days < days:
        return (f"It runs for less than {days} days, so nobody has its feeds for all of them: read "
                f"it with --days {max((ends - begins).days // 2, 1)}.")  # fmt: skip
    return f"The log begins on {day(int(world.features.timelines.occurred_us.min()))}, too late."


def _nobody(reading: Reading) -> str:
    if reading.first_over_us is None:
        return f"Nobody has met it yet, as far as the log tells, from {day(reading.begin_us)} on."
    return (f"Nobody's {reading.days} days are over yet; the first person's will be on "
            f"{day(reading.first_over_us)}.")  # fmt: skip


def _headlines(reading: Reading) -> dict[str, str]:
    return {
        "entered from": day(reading.begin_us),
        "entered until": day(min(reading.end_us - 1, reading.until_us)),
        "people counted": f"{len(reading.observed):,}",
        "people whose days are not over": f"{reading.waiting:,}",
        "days each is counted for": f"{reading.days}",
    }


def _sections(reading: Reading, found: Sequence[Reading], config: Config) -> list[Section]:
    parts = [_shows(reading, config)]
    parts += [_looks(reading, arm, config) for arm in reading.design.compared()]
    parts += [_people(reading, config)]
    parts += [_cells(reading, config)] if reading.cells else []
    parts += [_quarters(found, config)] if len(found) > 1 else []
    return parts


def _numbers(row: Row) -> tuple[str, str, str, str]:
    """The people of both arms, the uplift with its interval, the relative one, the verdict."""
    found, relative = row.found, ""
    if np.isfinite(found.relative):
        relative = share(found.relative)
    if np.isfinite(found.relative_low):
        relative += f"\n{share(found.relative_low)} to {share(found.relative_high)}"
    uplift = number(found.uplift, found, "+")
    uplift += "\n" + between(found.always_low, found.always_high, found)
    return f"{found.people:,}\n{found.control_people:,}", uplift, relative, row.verdict


def _shows(reading: Reading, config: Config) -> Section:
    own = [row for cell, row in reading.rows if cell is None]
    rows = []
    for row in own:
        found, (people, *rest) = row.found, _numbers(row)
        means = f"{number(found.mean, found)}\n{number(found.control_mean, found)}"
        once = between(found.fixed_low, found.fixed_high, found)
        rows.append((f"{row.arm}\nover {row.control}", people, means, *rest, once))
    cut = max(row.found.variance_cut for row in own)
    notes = [f"what people did before explained {percent(cut)} of the noise away"] if cut else []
    return Section(
        "What it shows",
        f"{unit(config).capitalize()} a person in the {reading.days} days after meeting the "
        "experiment. The interval holds however often you look: stop when it leaves 0.",
        "The interval for one look is only for who chose its day before the start.",
        ("arm", "people", "mean", "uplift, 95 %", "relative, 95 %", "verdict", "for one look"),
        rows, notes=notes,
    )  # fmt: skip


def _looks(reading: Reading, arm: str, config: Config) -> Section:
    """How the difference stood on each day."""
    found = daily(reading.observed, reading.design, arm)
    last = next(row.found for cell, row in reading.rows if cell is None and row.arm == arm)
    days = found.until_us // DAY_US - 1
    shown = np.unique(np.linspace(0, len(days) - 1, min(_ROWS, len(days))).round().astype(int))
    rows = [
        (day(int(days[n]) * DAY_US), f"{found.people[n]:,}", number(found.uplift[n], last, "+"),
         between(found.always_low[n], found.always_high[n], last))
        for n in shown
    ]  # fmt: skip
    bands = [("95 % on all days", found.always_low, found.always_high),
             ("95 % for one look", found.fixed_low, found.fixed_high)]  # fmt: skip
    return Section(
        f"Day by day: {arm} over {reading.design.control}",
        "The difference as it stood with all who had entered by that day.",
        "The dark band is for one look on a day chosen beforehand; who looks daily and stops at "
        "the first day that it leaves 0 is often fooled. The light one may be looked at daily.",
        ("entered until", "people", "uplift", "95 % on all days"), rows,
        plot=plots.looks(days, found.uplift, bands, f"uplift in {unit(config)}")
        if len(days) > 1 else "",  # all on one day, as where there was one mailing
    )  # fmt: skip


def _people(reading: Reading, config: Config) -> Section:
    design, total = reading.design, len(reading.observed)
    arms = [(arm, int(n), part * total)
            for arm, part, n in zip(design.arms, design.shares, reading.counts, strict=True)
            if part > 0]  # fmt: skip
    series = {"counted": [float(n) for _, n, _ in arms], "planned": [due for *_, due in arms]}
    return Section(
        "People in each arm", f"Who counts: {how_met(reading, config)}.",
        "If the arms do not hold the people they should, some get lost on the way, and no "
        "difference can be believed.",
        ("arm", "counted", "planned"), [(arm, f"{n:,}", f"{due:,.0f}") for arm, n, due in arms],
        plot=plots.bars([arm for arm, *_ in arms], series, "people"),
    )  # fmt: skip


def _cells(reading: Reading, config: Config) -> Section:
    """Everybody, then each group; the picture has those that have an interval."""
    many = len(reading.design.compared()) > 1
    named = [(f"{row.arm}: " * many + cell_name(cell), row) for cell, row in reading.rows]
    ready = {
        label: (row.found.uplift, row.found.always_low, row.found.always_high)
        for label, row in named if np.isfinite(row.found.always_low)
    }  # fmt: skip
    cell = reading.observed.cell
    small = 0 if cell is None else int((cell < 0).sum())
    return Section(
        "Group by group",
        "By what people were when it began: their stage and segment. These intervals are wider, "
        "so that none of them misses on any day.",
        "Groups were chosen by their size before anybody looked.",
        ("group", "people", "uplift, 95 %", "verdict"),
        [(f"{label}\nover {row.control}", people, uplift, said)
         for label, row in named for people, uplift, _, said in [_numbers(row)]],
        notes=[f"{small:,} people are in groups too small to be read"] if small else [],
        plot=plots.forest(ready, f"uplift in {unit(config)}") if len(ready) > 1 else "",
    )  # fmt: skip


def _quarters(found: Sequence[Reading], config: Config) -> Section:
    """A holdout without an end, quarter by quarter."""
    rows = [
        (day(one.begin_us), f"{row.arm}\nover {row.control}", *_numbers(row))
        for one in found for cell, row in one.rows if cell is None
    ]  # fmt: skip
    return Section(
        "Quarter by quarter",
        f"A holdout without an end is read anew in each quarter: {unit(config)} in the "
        f"{found[0].days} days after the first visit in it.",
        "A difference that goes says that people got used to it, or that the feeds grew worse.",
        ("quarter from", "arm", "people", "uplift, 95 %", "relative, 95 %", "verdict"), rows, 2,
    )  # fmt: skip
