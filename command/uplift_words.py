"""What an experiment comes to in words: numbers as they are written, verdicts as sentences."""

from __future__ import annotations

import math

import numpy as np

from command.heat import RUNG_WORDS, name
from features.config import Config
from features.experiments import Arm, Experiment
from features.types import from_us
from training.evaluation.evidence import UNKNOWN
from training.evaluation.experiment_log import Cell, Reading
from training.evaluation.uplift import FEWEST, Difference, Row

NOT_YET = "not yet"


def unit(config: Config) -> str:
    """What the outcome of a person is counted in."""
    own = {"clicks": "clicks", "value": config.shop.currency}
    return own.get(config.objective, "orders")


def counted(config: Config) -> str:
    """The event types that the objective counts."""
    pairs = zip(config.signals, config.label_signals(), strict=True)
    return ", ".join(name for name, counts in pairs if counts)


def day(moment_us: int) -> str:
    """A moment as its day (UTC)."""
    return f"{from_us(moment_us):%Y-%m-%d}"


def number(value: float, found: Difference, sign: str = "") -> str:
    """An outcome or a difference, to about a hundredth of what the arms have."""
    if not np.isfinite(value):
        return NOT_YET
    size = float(np.nanmax([abs(found.mean), abs(found.control_mean), 1e-9]))
    places = min(max(2 - math.floor(math.log10(size)), 0), 6)
    return f"{round(value, places) or 0.0:{sign},.{places}f}"


def between(low: float, high: float, found: Difference) -> str:
    """An interval."""
    if not np.isfinite(low):
        return NOT_YET
    return f"{number(low, found, '+')} to {number(high, found, '+')}"


def share(value: float) -> str:
    """A relative difference."""
    return f"{value:+.1%}"


def arm_words(experiment: Experiment, arm: str) -> str:
    """What the people of an arm get."""
    own = experiment.dealt.get(arm, Arm(share=1))
    parts = [f"model {own.model}"] if own.model else []
    parts += [f"rules {own.rules}"] if own.rules else []
    if own.highest_rung == "one_for_all":
        parts.append("one feed for all")
    elif own.highest_rung:
        parts.append(f"feeds up to {RUNG_WORDS[own.highest_rung]}")
    if not own.mail:
        parts.append("no mails")
    return ", ".join(parts) or "what everybody gets"


def compared(experiment: Experiment) -> str:
    """Who is compared with whom, and on what."""
    shares = experiment.shares
    arms = [f"{arm} ({part:.1%}: {arm_words(experiment, arm)})"
            for arm, part in shares.items() if part > 0]  # fmt: skip
    where = "all placements" if experiment.placements is None else ", ".join(experiment.placements)
    return f"{'; '.join(arms)}. On {where}. All are compared with {experiment.control}."


def verdict(row: Row, reading: Reading, config: Config) -> str:
    """What a row of the read-out says, in a sentence."""
    found, what = row.found, f"{unit(config)} a person in {reading.days} days"
    if reading.ratio.alarm:
        return f"Whether {row.arm} beats {row.control} cannot be told: the arms are not alike."
    if not np.isfinite(found.always_low):
        return (f"Too early to compare {row.arm} with {row.control}: it takes {FEWEST} people in "
                f"each whose {reading.days} days are over; there are {found.people:,} and "
                f"{found.control_people:,}.")  # fmt: skip
    size = (f"{number(found.mean, found)} {what} against {number(found.control_mean, found)}, "
            f"{number(found.uplift, found, '+')} "
            f"(95 % {between(found.always_low, found.always_high, found)})")  # fmt: skip
    if np.isfinite(found.relative):
        size += f", or {share(found.relative)}"
    if row.verdict == "open":
        return f"Whether {row.arm} beats {row.control} is open: {size}."
    return f"{row.arm} does {row.verdict} than {row.control}: {size}."


def cell_name(cell: Cell | None) -> str:
    """A group of people in words."""
    if cell is None:
        return "everybody"
    if cell == (UNKNOWN, UNKNOWN):
        return "new, or may not be known"
    return f"{name(cell[0], 'stage')}, {name(cell[1], 'segment')}"


def how_met(reading: Reading, config: Config) -> str:
    """Which source tells who met the experiment."""
    if reading.source == "decisions":
        return "customers for whom a mailing had a mail, whether they got it or were held out"
    if reading.source == "impressions":
        return f"people who were shown something ({', '.join(config.impressions)})"
    return "everybody who came, whatever they were shown (intention to treat)"


def not_counted(reading: Reading, config: Config) -> list[str]:
    """Whom and what the numbers leave out, and what may blur them."""
    found, left = [], reading.left_out
    if reading.waiting and reading.first_over_us is not None:
        found.append(f"{reading.waiting:,} people whose {reading.days} days are not over yet")
    if reading.experiment.ends is not None:
        found.append(f"people who came in the last {reading.days} days of it: they had the feeds "
                     "for less")  # fmt: skip
    if left["held"]:
        found.append(f"{left['held']:,} people in the permanent holdout of another experiment")
    if left["session"]:
        found.append(f"{left['session']:,} known by one visit only: no arm can be dealt to them")
    if left["currency"]:
        found.append(f"{left['currency']:,} orders in another currency than {config.shop.currency}")
    found.append("a visitor who is known to be a customer counts as this customer, with what both "
                 "did; before the login another arm may have been dealt")  # fmt: skip
    if reading.source == "visits":
        found.append("not everybody who came saw a feed: the difference among those who did is "
                     "larger")  # fmt: skip
    return found
