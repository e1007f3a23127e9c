"""Old bundles go when nobody maps them and nothing names them; MLflow keeps its copy.

A bundle is renamed aside under a lock that no reader can take meanwhile, and then deleted: a kill
in between leaves no half bundle under a version's name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from features.config import Config
from features.experiments import models_of
from features.home import Home
from training.bundle import NoModel, bundle_versions, manifest_of
from training.leases import unleased
from training.promotion import LOCK

_ASIDE = ".gone"  # the end of a name under which a bundle waits to be deleted


@dataclass(frozen=True)
class Pruned:
    """What was removed, and why other old versions were not.

    removed: oldest first        kept: version -> why, of those older than the newest few
    """

    removed: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def pruned(home: Home, config: Config) -> Pruned:
    """Remove the bundles older than the newest `service.keep_models`, as far as they may go."""
    from training.tracking import Tracker  # here: MLflow takes a second

    with home.locked(LOCK):  # nobody promotes meanwhile
        _sweep(home)
        old = bundle_versions(home)[: -config.service.keep_models]
        if not old:
            return Pruned()
        tracker = Tracker(home, config)
        named, copies = _named(home, config, tracker.aliases()), set(tracker.versions())
        removed, kept = [], {}
        for version in old:
            if version in named:
                kept[version] = named[version]
            elif int(version[1:]) not in copies:
                kept[version] = "MLflow has no copy of it"
            elif _removed(home.bundles / version):
                removed.append(version)
            else:
                kept[version] = "it is open in a process"
    return Pruned(removed, kept)


def drop(home: Home, version: str) -> bool:
    """Remove one bundle from this disk, however new; False: it is served or open, and stays.

    True also where there is none. What MLflow has is not touched.
    """
    directory = home.bundles / version
    with home.locked(LOCK):
        _sweep(home)
        served = home.current()
        if served and version in (served, *_arms(home, served)):
            return False
        return not directory.exists() or _removed(directory)


def _named(home: Home, config: Config, aliases: dict[int, list[str]]) -> dict[str, str]:
    """Version -> what names it."""
    served = home.current()
    named = {f"v{number}": f"alias {', '.join(names)}" for number, names in aliases.items()}
    arms = [*models_of(config.experiments), *(_arms(home, served) if served else ())]
    named |= dict.fromkeys(arms, "an arm of an experiment names it")
    return named | ({served: "it is served"} if served else {})


def _arms(home: Home, version: str) -> list[str]:
    """The versions that arms of a bundle's own config name."""
    try:
        told = manifest_of(home.bundles / version)["config"]
    except NoModel:  # it cannot be served, so nothing is served beside it
        return []
    return models_of(Config.model_validate(told).experiments)


def _removed(directory: Path) -> bool:
    """Take a bundle away; False: a process has it open."""
    aside = directory.with_name(f".{directory.name}.{uuid4().hex[:8]}{_ASIDE}")
    with unleased(directory) as free:
        if not free:
            return False
        directory.rename(aside)
    shutil.rmtree(aside)
    return True


def _sweep(home: Home) -> None:
    """Delete what a command that was ended has left."""
    for aside in _asides(home):
        shutil.rmtree(aside, ignore_errors=True)


def _asides(home: Home) -> Iterator[Path]:
    return home.bundles.glob(f".v*{_ASIDE}")
