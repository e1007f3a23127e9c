"""Everybody who takes part on one log: peers tuned, fitted and asked; what was asked is kept."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.moments import Moment
from benchmarks.quality.others import Replay
from benchmarks.quality.peers.base import SIZE, Peer, Settings, filled
from benchmarks.quality.peers.popular import Newest, OneForAll, Popularity
from benchmarks.quality.tuning import Found, mean_ndcg, search, shown
from features.types import Int32

LIVE_HALF_LIVES = [0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 3.0]  # days
_DECIDES = ("field", "moments", "others", "tuning")  # files that decide feeds, beside a peer's own


@dataclass(frozen=True)
class Entry:
    """What one contestant showed.

    feeds: task -> (n, SIZE) items        about: what else the reader should know
    """

    name: str
    feeds: dict[str, Int32]
    fit_seconds: float
    about: dict[str, Any]


@dataclass(frozen=True)
class Field:
    """The slices of one log, and where results are kept between runs.

    popular: settings of recent popularity, which fills the short feeds of every peer
    """

    tune: Moment
    test: Moment
    replay: Replay | None
    scratch: Path
    trials: int
    popular: Settings

    def with_popular(self, settings: Settings) -> Field:
        """Short feeds are filled by recent popularity with these settings."""
        return replace(self, popular=settings)

    def with_trials(self, trials: int) -> Field:
        """Another number of trials."""
        return replace(self, trials=trials)

    def showing(self, peer: Peer, moment: Moment, settings: Settings) -> Entry:
        """What a peer shows with given settings at another moment."""
        start = time.perf_counter()
        fitted = peer.fit(moment, settings)
        seconds = getattr(fitted, "seconds", time.perf_counter() - start)
        floor = self._floor(moment)
        feeds = {name: shown(fitted, task, floor) for name, task in moment.tasks.items()}
        about = {"settings": dict(settings), "epochs": getattr(fitted, "epochs", None)}
        return Entry(peer.name, feeds, seconds, about)

    def enter(self, peer: Peer) -> Entry:
        """Tune, fit and ask a peer, or take what it showed in an earlier run."""
        return _kept(self.scratch, self._key(peer), lambda: self._entered(peer))

    def _entered(self, peer: Peer) -> Entry:
        found = search(peer, self.tune, self._floor(self.tune), self.trials)
        feeds: dict[str, Int32] = {}
        seconds: list[float] = []
        epochs: list[int | None] = []
        for settings, names in _by_settings(found, self.test):
            start = time.perf_counter()
            fitted = peer.fit(self.test, settings)
            seconds.append(getattr(fitted, "seconds", time.perf_counter() - start))
            epochs.append(getattr(fitted, "epochs", None))
            for name in names:
                feeds[name] = shown(fitted, self.test.tasks[name], self._floor(self.test))
        if self.replay:
            feeds["replay"] = self._replayed(peer, found)
        about = {
            "settings": {name: dict(one) for name, one in found.settings.items()},
            "tuned_to": found.values, "trials": found.trials, "tuning_seconds": found.seconds,
            "epochs": epochs,
        }  # fmt: skip
        return Entry(peer.name, feeds, float(np.mean(seconds)), about)

    def _replayed(self, peer: Peer, found: Found) -> Int32:
        """Feeds at the moment of each request."""
        assert self.replay is not None
        live = self.replay.live(self.live_half_life)
        settings = found.settings["discovery" if "discovery" in found.settings else "session"]
        if isinstance(peer, Popularity):
            return live[:, :SIZE]
        if isinstance(peer, Newest):
            return self.replay.live(None)[:, :SIZE]
        feeds = np.full((len(live), SIZE), -1, dtype=np.int32)
        for night, rows in self.replay.nights():
            feeds[rows] = peer.fit(night, settings).feeds(night.tasks["replay"])
        return filled(feeds, live)

    @cached_property
    def live_half_life(self) -> float:
        """Days; the best for popularity at the moment of each request of the tuning slice."""
        before = Replay.of(self.tune)
        feeds = {days: before.live(days)[:, :SIZE] for days in LIVE_HALF_LIVES}
        return max(feeds, key=lambda days: mean_ndcg(feeds[days], before.task))

    def _floor(self, moment: Moment) -> OneForAll:
        return Popularity().fit(moment, self.popular)

    def _key(self, peer: Peer) -> str:
        here = Path(__file__).parent
        own = Path(inspect.getfile(type(peer)))
        files = [own, here / "peers" / "base.py", *(here / f"{name}.py" for name in _DECIDES)]
        code = b"".join(file.read_bytes() for file in files)
        told = [peer.name, repr(getattr(peer, "tuned", "")), self.trials, self.test.cut_us,
                dict(self.popular), self.test.world.features.digest]  # fmt: skip
        if minutes := getattr(peer, "minutes", None):
            told.append(minutes)
        return hashlib.sha256(json.dumps(told).encode() + code).hexdigest()[:16]


def _by_settings(found: Found, moment: Moment) -> list[tuple[Settings, list[str]]]:
    """The distinct settings, each with the tasks that they are for; a task not tuned: the first."""
    groups: dict[str, tuple[Settings, list[str]]] = {}
    first = next(iter(found.settings.values()))
    for name in moment.tasks:
        settings = found.settings.get(name, first)
        groups.setdefault(json.dumps(settings, sort_keys=True), (settings, []))[1].append(name)
    return list(groups.values())


def _kept(scratch: Path, key: str, make: Callable[[], Entry]) -> Entry:
    """The entry that an earlier run left under `key`, else a new one, left for the next run."""
    file = scratch / "entries" / f"{key}.npz"
    if file.exists():
        arrays = dict(np.load(file))
        told = json.loads(str(arrays.pop("told")))
        return Entry(told["name"], arrays, told["fit_seconds"], told["about"])
    entry = make()
    told = {"name": entry.name, "fit_seconds": entry.fit_seconds, "about": entry.about}
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"told": np.array(json.dumps(told)), **entry.feeds}
    np.savez_compressed(file, **arrays)
    return entry


def settings_of(entries: Sequence[Entry], name: str) -> Mapping[str, Settings]:
    """Task -> the settings that an entry was tuned to."""
    (found,) = (one for one in entries if one.name == name)
    settings: Mapping[str, Settings] = found.about["settings"]
    return settings
