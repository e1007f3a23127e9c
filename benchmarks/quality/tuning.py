"""The same number of trials for every peer on the same slice, and its best settings per task."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import optuna

from benchmarks.quality.moments import Moment
from benchmarks.quality.peers.base import Fitted, Peer, Settings, best, filled
from benchmarks.quality.peers.popular import OneForAll
from features.types import Int32
from training.evaluation import protocol
from training.evaluation.protocol import Task
from training.policy import kept_away

METRIC = "ndcg_at_20"


@dataclass(frozen=True)
class Found:
    """What the trials of one peer found: for every task the settings that were best on it.

    settings: task -> settings        values: task -> ndcg@20 on the tuning slice
    """

    settings: dict[str, Settings]
    values: dict[str, float]
    trials: int
    seconds: float


def search(peer: Peer, moment: Moment, popular: OneForAll, trials: int) -> Found:
    """Try settings; Optuna (TPE, seeded) goes by ndcg over that of `popular`, meant over tasks.

    The same rule as for our rankers (`training.tuning`). Of the trials each task then takes its
    own best: a peer may have other settings for every task, ours have one for the log.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    start = time.perf_counter()
    sampler = optuna.samplers.TPESampler(seed=moment.past.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for settings in peer.firsts:
        study.enqueue_trial(dict(settings))
    floors = {
        name: max(mean_ndcg(shown(popular, task, popular), task), 1e-6)
        for name, task in moment.tasks.items()
    }

    def objective(trial: optuna.Trial) -> float:
        settings = peer.suggest(trial)
        fitted = peer.fit(moment, settings)
        values = {
            name: mean_ndcg(shown(fitted, task, popular), task)
            for name, task in moment.tasks.items()
        }
        trial.set_user_attr("settings", dict(settings))
        trial.set_user_attr("values", values)
        return float(np.mean([values[name] / floors[name] for name in values]))

    count = len(peer.firsts) if peer.whole_space else trials
    study.optimize(objective, n_trials=count)
    done = [t.user_attrs for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    chosen = {n: max(done, key=lambda t: t["values"][n]) for n in moment.tasks}
    return Found(
        {name: one["settings"] for name, one in chosen.items()},
        {name: one["values"][name] for name, one in chosen.items()},
        len(done), time.perf_counter() - start,
    )  # fmt: skip


def shown(fitted: Fitted, task: Task, popular: OneForAll) -> Int32:
    """The feeds of a peer, filled by recent popularity where they are short."""
    feeds = fitted.feeds(task)
    if (feeds >= 0).all():
        return feeds
    away = kept_away(task.people, task.terms)
    return filled(feeds, best(popular.scores(task), away, 2 * feeds.shape[1]))


def mean_ndcg(feeds: Int32, task: Task) -> float:
    """Mean ndcg@20 of feeds."""
    n_items = task.people.queries.histories.n_items
    found = protocol.judge(feeds, task.truth, name="popularity", task=task.name, n_items=n_items)
    return float(found.values[METRIC].mean())
