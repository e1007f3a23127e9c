"""A bundle: one directory with everything that serving needs of one training run. No pickles."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Self

import numpy as np

from features import arrays
from features.config import Config, Kind
from features.declared import Declared, declared_weights
from features.feature_set import Devices, FeatureSet
from features.home import Home, write_json
from features.honoured import HONOURED, honoured
from features.segments import settled_name
from features.timelines import Timelines
from features.training_options import RankerName
from features.types import Bool, Float32, IdTable, Int8, Int16, Int32, Int64
from training.catalogue import Catalogue
from training.contacts import Contacts
from training.evaluation.evidence import Evidence
from training.leases import MANIFEST, Lease
from training.policy import Step, Terms
from training.queries import Standing
from training.rankers import RANKERS
from training.rankers.base import Items, Ranker
from training.recipe import Recipe
from training.sealing import sealed

FORMAT_VERSION = 7
PROBES = "probes"  # directory of a bundle


class NoModel(ValueError):
    """There is no such model; the message says how to get one."""


@dataclass(frozen=True)
class Bundle:
    """A model version, its arrays mapped from disk.

    timelines, consent, segments, stages, declared: of the customers and visitors in `persons`;
    past sessions are not kept
    devices: visitors who are one of `persons`        shared: visitors of several customers
    segments: (n_persons,) int16, index into the manifest's `segments`, -1 in none
    stages:   (n_persons,) int8, index into STAGES
    declared: what people told us, not yet decayed
    contacts: what mails need to know of `persons`
    evidence: for whom a more personal feed pays; None: there was too little to tell
    lease:    keeps the directory from being removed as long as this, or a copy of it, is there
    """

    version: str
    manifest: dict[str, Any]
    config: Config
    catalogue: Catalogue
    persons: IdTable
    devices: Devices
    shared: IdTable
    timelines: Timelines
    consent: Bool
    segments: Int16
    stages: Int8
    declared: Declared
    rankers: dict[RankerName, Ranker]
    ladder: list[Step]
    contacts: Contacts
    evidence: Evidence | None = None
    lease: Lease | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open a bundle that `save` wrote; the directory's name is its version.

        Raises NoModel for anything that is no bundle of this format. What is to be served is
        opened by `training.probes.checked`.
        """
        with _explained(directory):
            lease = Lease(directory)
            return replace(cls._read(directory, manifest_of(directory)), lease=lease)

    @classmethod
    def _read(cls, directory: Path, manifest: dict[str, Any]) -> Self:
        stored: dict[RankerName, Any] = {
            name: arrays.load(RANKERS[name], directory / "rankers" / name)
            for name in manifest["rankers"]
        }
        rankers = {name: one.bound(stored) for name, one in stored.items()}
        told = manifest.get("evidence", "it was not asked for")
        return cls(
            version=directory.name,
            manifest=manifest,
            config=Config.model_validate(manifest["config"]),
            catalogue=arrays.load(Catalogue, directory / "catalogue"),
            persons=arrays.load(IdTable, directory / "persons"),
            devices=arrays.load(Devices, directory / "devices"),
            shared=arrays.load(IdTable, directory / "shared"),
            timelines=arrays.load(Timelines, directory / "timelines"),
            consent=arrays.load_array(directory / "consent.npy"),
            segments=arrays.load_array(directory / "segments.npy"),
            stages=arrays.load_array(directory / "stages.npy"),
            declared=arrays.load(Declared, directory / "declared"),
            rankers=rankers,
            ladder=[Step(rung, name, rankers[name]) for rung, name in manifest["ladder"]],
            contacts=arrays.load(Contacts, directory / "contacts"),
            evidence=None if isinstance(told, str) else Evidence.of_json(told),
        )

    def rows(self, ids: Sequence[str]) -> Int32:
        """(len(ids),) the row of each marked id, -1 unknown; a linked visitor is its customer."""
        own = self.persons.indices(ids)
        return own if (own >= 0).all() else np.where(own < 0, self.devices.find(ids), own)

    def now_us(self) -> int:
        """The present, by the shop's clock: the wall's, or the moment the model describes."""
        return self.as_of_us if self.config.shop.clock == "as_of" else time.time_ns() // 1000

    @property
    def as_of_us(self) -> int:
        """The moment the model describes, microseconds since 1970 UTC."""
        return int(self.manifest["as_of_us"])

    @property
    def recipe(self) -> Recipe:
        """How this model was made."""
        return Recipe.of_json(self.manifest["recipe"])

    def ceiling(self, channel: str | None, kind: Kind | None) -> Int8 | None:
        """The highest rung that pays, as `policy.Terms` has it; None: of any channel or kind."""
        if self.evidence is None:
            return None
        segments = self.config.segments
        names = [settled_name(segments, name) for name in self.manifest["segments"]]
        return self.evidence.ceiling(channel, kind, names)

    def standing(self, rows: Int32, interest: Float32, now_us: int) -> Standing:
        """What is known of `rows` (-1: nobody) besides what they did, as it weighs at `now_us`.

        interest: (len(rows),) sum of each one's positive weights
        """
        known, place = rows >= 0, np.maximum(rows, 0)
        if not known.any():
            return Standing.nobody(len(rows), self.declared.n_categories)
        told = declared_weights(
            self.declared.take(place), interest, now_us, self.config.preferences
        )
        return Standing(self.segments[place], self.stages[place], told).only(known)

    def ranker(self, name: RankerName) -> Ranker:
        """A ranker of the bundle by name, whether it is on the ladder or not."""
        if name not in self.rankers:
            raise NoModel(
                f"model {self.version} has no ranker {name!r}; it has {list(self.rankers)}"
            )
        return self.rankers[name]

    def forced(self, name: RankerName) -> list[Step]:
        """A ladder on which `name` speaks first; the ranker for strangers fills."""
        rest = [step for step in self.ladder if step.rung == "one_for_all" and step.name != name]
        return [*alone(name, self.ranker(name)), *rest]


def manifest_of(directory: Path) -> dict[str, Any]:
    """The manifest of a bundle of this format; NoModel says what else it is."""
    with _explained(directory):
        found: dict[str, Any] = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        if found["format_version"] != FORMAT_VERSION:
            raise NoModel(
                f"cannot open the bundle {directory}: it has format {found['format_version']}, "
                f"this code reads {FORMAT_VERSION}; run `feeds train` with this code"
            )
        return found


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Whatever a directory that is no bundle of ours raises, as NoModel."""
    try:
        yield
    except NoModel:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"
        raise NoModel(f"cannot open the bundle {directory}: {told}") from error


def alone(name: RankerName, ranker: Ranker) -> list[Step]:
    """Steps on which one ranker speaks of all it may know of a person."""
    if ranker.knows_strangers:
        return [Step("one_for_all", name, ranker)]
    if ranker.by_segment:
        return [Step("segment", name, ranker)]
    return [Step("one_to_one", name, ranker), Step("context", name, ranker)]


def terms(config: Config, catalogue: Catalogue, items: Items, size: int, **options: Any) -> Terms:
    """The terms of a feed under the shop's repeat rules; `repeat` in the options overrides them."""
    keeps_away = np.array(config.keeps_away(options.pop("repeat", None)), dtype=np.bool_)
    in_session = np.array(config.keeps_away_in_session(), dtype=np.bool_)
    return Terms(items, catalogue.kinds, keeps_away, in_session, size, **options)


def save(
    directory: Path, features: FeatureSet, config: Config, rankers: Mapping[RankerName, Ranker],
    recipe: Recipe, manifest: dict[str, Any],
) -> None:  # fmt: skip
    """Write a bundle into `directory`; `recipe` is what `rankers` are cooked by.

    What lies there already is sealed with the rest.
    """
    from training.probes import probed  # here: probes ask a bundle

    directory.mkdir(parents=True, exist_ok=True)
    arrays.save(Catalogue.of(features, config.shop.currency), directory / "catalogue")
    for name, ranker in rankers.items():
        arrays.save(ranker.stored(), directory / "rankers" / name)
    people = _not_sessions(features.persons)
    arrays.save(IdTable.sorted(features.persons.ids[people]), directory / "persons")
    arrays.save(features.timelines.take(people), directory / "timelines")
    np.save(directory / "consent.npy", np.asarray(features.consent)[people])
    np.save(directory / "segments.npy", np.asarray(features.segments)[people])
    np.save(directory / "stages.npy", np.asarray(features.stages)[people])
    arrays.save(features.declared.take(people), directory / "declared")
    arrays.save(Contacts.of(features, people), directory / "contacts")
    arrays.save(_shared(features), directory / "shared")
    places = np.searchsorted(people, features.devices.rows).astype(np.int32)
    arrays.save(Devices(features.devices.ids, places), directory / "devices")
    whole = {
        "format_version": FORMAT_VERSION,
        "code_version": installed_version("purposeful-feeds"),
        "feature_digest": features.digest,
        "as_of": features.manifest["as_of"],
        "as_of_us": features.as_of_us,
        "config": config.model_dump(mode="json"),
        "rankers": list(rankers),
        "ladder": [list(step) for step in recipe.ladder if step[1] in rankers],
        "recipe": recipe.as_json(),
        "segments": list(features.manifest["segments"]),
        **manifest,
    }
    if without := honoured(features.directory):
        write_json(directory / HONOURED, without)
    arrays.save(probed(Bundle._read(directory, whole)), directory / PROBES)
    write_json(directory / MANIFEST, sealed(directory, whole))


def _shared(features: FeatureSet) -> IdTable:
    """The visitors who were linked with several customers."""
    links = features.table("links")
    return IdTable.of(sorted(set(links.loc[links["shared"], "device"])))


def _not_sessions(persons: IdTable) -> Int64:
    """Rows of customers and visitors: a session that is over asks for nothing any more."""
    return np.flatnonzero(~np.char.startswith(persons.ids, b"s:"))


def open_bundle(home: Home, wanted: str | None) -> Bundle:
    """Open `wanted` (v3, 3, champion), else the promoted version, else the newest.

    Raises NoModel, which says how to get one.
    """
    versions = bundle_versions(home)
    if wanted and wanted != "champion":
        wanted = f"v{wanted.removeprefix('v')}"
    version = (
        (wanted if wanted != "champion" else None)
        or home.current()
        or (versions[-1] if versions else None)
    )
    if version is None:
        raise NoModel(f"no model under {home.root}; run `feeds train` first")
    if version not in versions:
        raise NoModel(f"no model {version!r} under {home.root}; there are {versions or 'none'}")
    return Bundle.open(home.bundles / version)


def bundle_versions(home: Home) -> list[str]:
    """Names of the bundles that lie here, oldest first: v1, v2, …"""
    names = [path.parent.name for path in home.bundles.glob("v*/manifest.json")]
    ours = [name for name in names if name[1:].isdecimal()]  # else somebody moved it out of the way
    return sorted(ours, key=lambda name: int(name[1:]))
