"""Recent popularity, newest first, and what people had before and then what is popular."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import optuna

from benchmarks.quality.moments import Moment
from benchmarks.quality.peers.base import Scoring, Settings, user_items
from features.options import Signal
from features.types import DAY_US, Float32
from training.evaluation.protocol import Task

HALF_LIVES = [0.05, 0.25, 1.0, 3.0, 7.0, 14.0, 30.0, 90.0, 365.0]  # days


@dataclass(frozen=True)
class OneForAll(Scoring):
    """The same order for everybody: (n_items,) scores."""

    values: Float32

    def scores(self, task: Task) -> Float32:
        """The same row for each."""
        return np.tile(self.values, (len(task.people), 1))


class Popularity:
    """Counts of positive events, an event halved every half-life."""

    name: ClassVar[str] = "recent popularity"
    firsts: ClassVar[list[Settings]] = [{"half_life_days": days} for days in HALF_LIVES]
    whole_space: ClassVar[bool] = True

    def suggest(self, trial: optuna.Trial) -> Settings:
        """The half-life in days."""
        return {"half_life_days": trial.suggest_categorical("half_life_days", HALF_LIVES)}

    def fit(self, moment: Moment, settings: Settings) -> OneForAll:
        """Count."""
        log, liked = moment.past.timelines, _liked(moment.past.signals)
        age = (moment.cut_us - log.occurred_us) / DAY_US
        weight = np.exp2(-age / settings["half_life_days"]) * liked[log.signals]
        counts = np.bincount(log.items, weight, minlength=log.n_items)
        return OneForAll(np.where(counts > 0, counts, np.nan).astype(np.float32))


class Newest:
    """The items that appeared last."""

    name: ClassVar[str] = "newest first"
    firsts: ClassVar[list[Settings]] = [{}]
    whole_space: ClassVar[bool] = True

    def suggest(self, trial: optuna.Trial) -> Settings:
        """There is nothing to set."""
        del trial
        return {}

    def fit(self, moment: Moment, settings: Settings) -> OneForAll:
        """Items that had appeared before the cut, by the age that they had then."""
        del settings
        age = (moment.cut_us - first_seen(moment)) / DAY_US
        return OneForAll(np.where(age > 0, -age, np.nan).astype(np.float32))


def first_seen(moment: Moment) -> np.ndarray:
    """(n_items,) int64: published, else the first event; far ahead for items not seen yet."""
    log, born = moment.past.timelines, moment.past.items.born_us.copy()
    seen = np.full(log.n_items, np.iinfo(np.int64).max)
    np.minimum.at(seen, log.items, log.occurred_us)
    return np.where(born < moment.cut_us, born, seen)


@dataclass(frozen=True)
class Repeating(Scoring):
    """What a person has most often, the newest first among equals; then what is popular."""

    popular: OneForAll
    signals: dict[str, Signal]
    half_life_days: float

    def scores(self, task: Task) -> Float32:
        """Popularity below 1; what the person has had, 1 and above."""
        histories = task.people.queries.histories
        own = user_items(histories, self.signals, "count").toarray()
        decayed = histories.weights.clip(0)
        rows = np.repeat(np.arange(len(histories)), np.diff(histories.indptr))
        fresh = np.zeros_like(own)
        np.maximum.at(fresh, (rows, histories.items), decayed / (decayed.max(initial=0) + 1))
        base = self.popular.scores(task)
        base = base / (np.nanmax(base, initial=0) + 1)
        return np.where(own > 0, 1 + own + fresh, base).astype(np.float32)


class RepeatThenPopular:
    """What the person had, most often first, then recent popularity."""

    name: ClassVar[str] = "repeat then popular"
    firsts: ClassVar[list[Settings]] = Popularity.firsts
    whole_space: ClassVar[bool] = True

    def suggest(self, trial: optuna.Trial) -> Settings:
        """The half-life of the popularity below."""
        return Popularity().suggest(trial)

    def fit(self, moment: Moment, settings: Settings) -> Repeating:
        """Count; histories come with the question."""
        popular = Popularity().fit(moment, settings)
        return Repeating(popular, moment.past.signals, settings["half_life_days"])


def _liked(signals: dict[str, Signal]) -> np.ndarray:
    return np.array([s.weight > 0 for s in signals.values()], dtype=np.float64)
