"""Logs to feature set: all builders in order, timed, written beside and then renamed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features import catalogue, drift, people, profile, sessions
from features.config import Config
from features.engine import Engine
from features.engine import engine as open_engine
from features.erasure import Forgotten, clear, forgotten
from features.feature_set import SCHEMA_VERSION, FeatureSet
from features.histories import coded
from features.home import Home, Progress, silent, write_json, written_beside
from features.honoured import HONOURED
from features.log import Clean, clean
from features.parts import file_digest
from features.reading import (
    Digests,
    Tables,
    file_digests,
    named_sources,
    own_log,
    read_tables,
    stop_if_too_many,
)  # fmt: skip
from features.types import from_us, to_us
from features.world import World
from features.write import write_world

STEPS = ("read", "clean", "profile", "number", "catalogue", "histories", "people", "popularity",
         "write")  # fmt: skip
SECTIONS = ("shop", "contract", "cleaning", "signals", "identity", "sessions", "lifecycle",
            "segments", "preferences", "catalogue", "popularity")  # fmt: skip


@dataclass
class Steps:
    """What each step of a build took: goes into the manifest."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time one step and show it."""
        self.progress(name, STEPS.index(name) / len(STEPS))
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def input_digest(
    config: Config, base: Path, digests: Digests, as_of: datetime | None,
    gone: Forgotten | None = None,
) -> str:  # fmt: skip
    """SHA-256 over the bytes of all sources and the part of the config that features depend on.

    gone: who is forgotten, which is a part of the input
    """
    moment = None if as_of is None else to_us(as_of)
    asked = config.mail.withhold.channel_question  # of mails all else is no matter of features
    parts = [config.digest(*SECTIONS), config.training.seed, moment, asked]
    told = " ".join(str(part) for part in (SCHEMA_VERSION, *parts))
    total = hashlib.sha256(told.encode())
    total.update(json.dumps(mapping(config)).encode())
    for name, files in digests.items():
        total.update(json.dumps([name, [[file, digest] for file, _, digest in files]]).encode())
    if gone is not None and gone.until:
        total.update(json.dumps(gone.digest()).encode())
    if config.catalogue.text.model is not None:
        model = base / config.catalogue.text.model
        inside = sorted(file for file in model.rglob("*") if file.is_file())
        total.update("".join(file_digest(file) for file in inside).encode())
    return total.hexdigest()


def mapping(config: Config) -> dict[str, Any]:
    """How the sources become the contract's tables."""
    return {
        name: source.model_dump(mode="json", exclude={"path"})
        for name, source in named_sources(config).items()
    }


def build(
    config: Config, base: Path, home: Home, *, as_of: datetime | None = None,
    now: datetime | None = None, progress: Progress = silent,
) -> FeatureSet:  # fmt: skip
    """Build the feature set of `config`, or open it when the same inputs were built before.

    as_of: the moment to describe, with a time zone; None: the last event that can have happened.
           Later events are left out.
    now:   the present, with a time zone; later events cannot have happened; None: the wall clock

    Raises ConfigError, TooManyRejects, and TooMuchChange against the last feature set; then nothing
    is written but the rejects.
    """
    now = now or datetime.now(UTC)
    _check_moments(as_of, now)
    progress("looking for changes", 0.0)
    with home.locked():
        gone = forgotten(config, home)
        digests = file_digests(config, base, home)
        digest = input_digest(config, base, digests, as_of, gone)
        target = home.feature_sets / digest[:16]
        if (target / "manifest.json").exists():
            found = FeatureSet.open(target)
            if (found.manifest["later_us"] or to_us(now)) >= to_us(now):
                clear(home, gone)
                (target / "manifest.json").touch()  # the newest again: what was built last counts
                return found
        inputs = _Inputs(digests, digest, gone)
        _build(config, base, home, inputs, as_of=as_of, now=now, progress=progress)
        clear(home, gone)
    progress("built", 1.0)
    return FeatureSet.open(target)


@dataclass(frozen=True)
class _Inputs:
    """What goes in besides the config: files, the digest of it all, and who is left out."""

    digests: Digests
    digest: str
    gone: Forgotten


def _build(
    config: Config, base: Path, home: Home, inputs: _Inputs, *, as_of: datetime | None,
    now: datetime, progress: Progress,
) -> None:  # fmt: skip
    target = home.feature_sets / inputs.digest[:16]
    before = previous(home, target)
    steps = Steps(progress)
    with steps.timed("read"):
        tables = read_tables(config, home, inputs.digests, progress, inputs.gone)
        stop_if_too_many(tables.reports, config.contract.max_rejected_share, home.rejects)
    with open_engine(home.scratch(), config.engine) as engine:
        with steps.timed("clean"):
            log = clean(engine, config, tables, as_of, now)
        with steps.timed("profile"):
            own = own_log(engine, tables, log.credible, log.moment_us)
            known = profile.profile(*own, engine.collect)
            _compare(config, before, known, as_of)
        world = _number(engine, config, tables, log, steps)
        with written_beside(target) as directory:
            directory.mkdir()
            names = before if as_of is None else None  # a past moment knows no later names
            facts = write_world(engine, config, base, world, directory, names, steps.timed)
            about = {"previous": None if before is None else before.directory.name,
                     "as_of_given": as_of is not None, **_about(tables, log), **facts,
                     "profile": known, "seconds": steps.seconds}  # fmt: skip
            if inputs.gone.until:
                write_json(directory / HONOURED, dict(inputs.gone.until))
            manifest = _inputs(config, inputs.digests, inputs.digest) | about
            write_json(directory / "manifest.json", manifest)


def _inputs(config: Config, digests: Digests, digest: str) -> dict[str, Any]:
    """What went in, for the manifest."""
    return {
        "schema_version": SCHEMA_VERSION, "digest": digest, "config_digest": config.digest(),
        "mapping": mapping(config),
        "sources": {name: {f: d for f, _, d in files} for name, files in digests.items()},
    }  # fmt: skip


def _check_moments(as_of: datetime | None, now: datetime) -> None:
    for name, moment in (("as_of", as_of), ("now", now)):
        if moment is not None and moment.tzinfo is None:
            raise ValueError(f"{name} {moment} has no time zone; give one, such as {moment}+00:00")
    if as_of is not None and as_of > now:
        raise ValueError(
            f"as_of {as_of} is in the future; give a moment up to {now:%Y-%m-%d %H:%M}"
        )


def previous(home: Home, target: Path) -> FeatureSet | None:
    """The newest feature set of this home but for `target`, if this version can read it.

    One of a past moment, which was asked for by `as_of`, is not what came before.
    """
    found = [file for file in home.feature_sets.glob("[!.]*/manifest.json")
             if file.parent != target]  # fmt: skip
    fit = [file for file in found if _came_before(json.loads(file.read_text()))]
    newest = max(fit, key=lambda file: file.stat().st_mtime_ns, default=None)
    return None if newest is None else FeatureSet.open(newest.parent)


def _came_before(manifest: dict[str, Any]) -> bool:
    return manifest["schema_version"] == SCHEMA_VERSION and not manifest["as_of_given"]


def _compare(
    config: Config, before: FeatureSet | None, now: profile.Profile, as_of: datetime | None
) -> None:
    """Stop when the log is not what it was; a new mapping or another moment is another log."""
    if before is not None and as_of is None and before.manifest["mapping"] == mapping(config):
        drift.stop_if_beyond(drift.changes(before.manifest["profile"], now, config.bounds))


def _number(engine: Engine, config: Config, tables: Tables, log: Clean, steps: Steps) -> World:
    """People and items get their numbers, and the log is told in them."""
    with steps.timed("number"):
        assert log.links is not None  # cleaning has found who is who
        given = tables.accepted(engine, "preferences")
        everybody = people.persons(
            log.events,
            log.links,
            customers=tables.judged(engine, "customers"),
            preferences=None if given is None else given.filter(given.answered_us <= log.moment_us),
            consent_default=config.shop.consent_default == "yes",
            as_of_us=log.moment_us,
        )
        persons = engine.keep("persons", everybody)
        items = engine.keep("catalogue", catalogue.catalogue(log.items, log.events, log.moment_us))
        numbers = coded(
            log.events, persons, items, list(config.signals),
            had=config.had_signals(), currency=config.shop.currency,
        )  # fmt: skip
        if "session_id" not in tables.report("events").columns:
            numbers = numbers.drop("session_id")  # silence alone ends a session: the cheaper way
        told = engine.keep("log", sessions.with_session(numbers, config.sessions.gap_minutes))
    return World(tables, log, persons, items, told)


def _about(tables: Tables, log: Clean) -> dict[str, Any]:
    """What reading and cleaning did, for the manifest."""
    machines = log.robots.to_pylist() if log.robots is not None else []
    doubted = log.disbelieved.to_pylist() if log.disbelieved is not None else []
    return {
        "as_of": from_us(log.moment_us).isoformat(), "as_of_us": log.moment_us,
        "later_us": log.later_us, "after_as_of": log.after_as_of,
        "tables": [asdict(r) | {"read": r.read} for r in tables.reports],
        "forgotten_rows": sum(r.forgotten for r in tables.reports),
        "removed": dict(sorted(log.counts.items())),
        "respelled_items": log.respelled_items, "robots": machines,
        "published_later_than_seen": doubted,
    }  # fmt: skip
