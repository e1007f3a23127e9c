"""One file says everything about one shop: `feeds.yaml`, read, validated and digested here."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from features.experiments import Experiment, check_experiments
from features.feed_rules import FeedRule, check_rules, segment_names
from features.mail_options import MailOptions, check_mail
from features.messages import Message, check_messages
from features.options import (
    RUNGS,
    Bounds,
    CatalogueOptions,
    Cleaning,
    EngineOptions,
    Identity,
    LearnedSegment,
    Lifecycle,
    PopularityTables,
    Preferences,
    Rung,
    Section,
    SegmentSpec,
    ServiceOptions,
    Sessions,
    Share,
    Signal,
    had_signals,
)  # fmt: skip
from features.training_options import Training, Tuning
from features.yaml_lines import Loader, line_of

Kind = Literal["product", "article"]
KINDS: tuple[Kind, ...] = ("product", "article")
__all__ = ["KINDS", "RUNGS", "Config", "ConfigError", "Kind", "Placement", "Rung", "load_config"]


class ConfigError(ValueError):
    """The config cannot be used; the message says where and what to do."""


def _zone(name: object) -> object:
    if not isinstance(name, str) or name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone; write one like Europe/London or UTC")
    return name


def _yes_no(value: object) -> object:
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


Zone = Annotated[str, BeforeValidator(_zone)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
YesNo = Annotated[Literal["yes", "no"], BeforeValidator(_yes_no)]


class Shop(Section):
    """What holds for the whole shop."""

    currency: Currency = "EUR"
    timezone: Zone = "UTC"  # of naive local times, unless a source says otherwise
    language: str = "en"
    clock: Literal["as_of", "now"] = "now"  # what serving takes for the present
    consent_default: YesNo = "no"  # for people of whom no customers table speaks


class Source(Section):
    """Where a table of the contract comes from, and how its columns are made."""

    path: str | None = None  # a file or a glob, relative to the config
    format: Literal["parquet", "csv", "jsonl", "duckdb", "sqlite"] | None = None
    table: str | None = None  # inside a DuckDB or SQLite file
    derive_from: Literal["events"] | None = None  # items only: one row per item of the log
    columns: dict[str, str] = {}  # contract name -> SQL expression; empty: same names
    where: str | None = None
    timezone: Zone | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.derive_from is None):
            raise ValueError("give either `path` or `derive_from: events`")
        return self


class Sources(Section):
    """The five tables of the contract; only the events are a must."""

    events: Source
    items: Source | None = None
    customers: Source | None = None
    identities: Source | None = None
    preferences: Source | None = None
    service: list[Literal["events", "decisions"]] = ["events", "decisions"]  # docs/state.md

    @model_validator(mode="after")
    def _only_items_are_derived(self) -> Self:
        for name in ("events", "customers", "identities", "preferences"):
            source = getattr(self, name)
            if source is not None and source.path is None:
                raise ValueError(f"{name}: only items can be derived from the events; give a path")
        return self


class Contract(Section):
    """How much dirt a build may have before it stops."""

    max_rejected_share: Share = 0.05


class Repeat(Section):
    """Whether a feed may show what the person already had, by kind of item."""

    product: Literal["allow", "exclude"] = "allow"
    article: Literal["allow", "exclude"] = "exclude"


class Placement(Section):
    """A named slot of a channel."""

    channel: str = "site"
    kind: Kind | None = None  # None: both
    size: int = Field(default=20, ge=1, le=200)
    min_items: int = Field(default=1, ge=0)
    on_too_few: Literal["pad", "shorter", "suppress"] = "shorter"
    highest_rung: Rung = "one_to_one"
    sort_only: bool = False
    exploration_share: Share = 0.0
    not_repeated_for_days: float | None = Field(default=None, ge=0)
    template: str | None = Field(default=None, min_length=1)  # of a mail; None: by its kind

    @model_validator(mode="after")
    def _can_be_filled(self) -> Self:
        if self.min_items > self.size:
            raise ValueError(f"min_items {self.min_items} is above size {self.size}")
        return self


class Tracking(Section):
    """Where runs and models are recorded; None: SQLite under the home."""

    uri: str | None = None
    experiment: str = "feeds"
    model_name: str = "feeds"


class Config(Section):
    """The whole of `feeds.yaml`; `base` is the directory it lies in."""

    shop: Shop = Shop()
    sources: Sources
    contract: Contract = Contract()
    cleaning: Cleaning = Cleaning()
    signals: dict[str, Signal] = Field(min_length=1)
    impressions: list[str] = []  # event types that say no more than that an item was shown
    repeat: Repeat = Repeat()
    objective: Literal["clicks", "orders", "value", "repeat"] = "clicks"
    placements: dict[str, Placement] = {"home": Placement()}
    on_unknown_evidence: Literal["parent", "climb", "stay"] = "parent"  # and then climb
    training: Training = Training()
    tracking: Tracking = Tracking()
    engine: EngineOptions = EngineOptions()
    identity: Identity = Identity()
    sessions: Sessions = Sessions()
    lifecycle: Lifecycle = Lifecycle()
    segments: list[SegmentSpec] = []
    preferences: Preferences = Preferences()
    catalogue: CatalogueOptions = CatalogueOptions()
    popularity: PopularityTables = PopularityTables()
    bounds: Bounds = Bounds()
    rules: list[FeedRule] = []
    messages: list[Message] = []
    mail: MailOptions = MailOptions()
    experiments: list[Experiment] = []
    service: ServiceOptions = ServiceOptions()

    @model_validator(mode="after")
    def _interest_is_possible(self) -> Self:
        if not any(signal.weight > 0 for signal in self.signals.values()):
            raise ValueError("signals: at least one needs a weight above 0")
        if len(self.signals) > 127:
            raise ValueError("signals: at most 127 event types can carry a weight")
        if twice := [name for name in self.signals if name in self.cleaning.returns]:
            raise ValueError(
                f"signals: {twice} are also in cleaning.returns, which takes them out of the log; "
                "take them out of one of the two"
            )
        if both := [name for name in self.impressions if name in self.signals]:
            raise ValueError(
                f"impressions: {both} are also in signals; that the shop showed an item says "
                "nothing of what the person likes, so name it in one of the two"
            )
        if self.objective != "clicks" and not any(self.had_signals()):
            raise ValueError(
                f"objective {self.objective}: mark the signal that is an order with `had: true`"
            )
        return self

    @model_validator(mode="after")
    def _experiments_and_rules_fit_together(self) -> Self:
        check_experiments(self.experiments, self.placements)
        check_rules(self.rules, self.placements, self.segments, self.experiments)
        return self

    @model_validator(mode="after")
    def _segments_follow_one_another(self) -> Self:
        names: list[str] = []
        for place, spec in enumerate(self.segments):
            if isinstance(spec, LearnedSegment):
                if spec.within is not None and spec.within not in names:
                    raise ValueError(
                        f"segments.{place}: within {spec.within!r} must name a segment that comes "
                        f"before it; there is {names or 'none'}"
                    )
            elif spec.name in names:
                raise ValueError(f"segments.{place}: the name {spec.name!r} is given twice")
            else:
                names.append(spec.name)
        return self

    @model_validator(mode="after")
    def _messages_are_for_somebody(self) -> Self:
        check_messages(self.messages, segment_names(self.segments), self.placements)
        check_mail(self.mail, self.placements, self.signals, self.experiments)
        return self

    @model_validator(mode="after")
    def _segments_can_be_read(self) -> Self:
        from features.segments import validate  # here: the command line starts without NumPy

        validate(self.segments)
        return self

    def had_signals(self) -> list[bool]:
        """Per signal: does it mean that the person has the product?"""
        return had_signals(self.signals)

    def purchase_types(self) -> list[str]:
        """The event types that a return can undo: those marked `had: true`, else the weightiest."""
        marked = [name for name, signal in self.signals.items() if signal.had]
        most = max(signal.weight for signal in self.signals.values())
        return marked or [name for name, signal in self.signals.items() if signal.weight == most]

    def keeps_away(self, repeat: Literal["allow", "exclude"] | None = None) -> list[list[bool]]:
        """Per signal and kind (KINDS): does having had an item keep it out of the feed?

        Reading an article is having had it; a product is had by `had_signals`. `repeat` overrides
        the config's for all kinds.
        """
        rules = [repeat or getattr(self.repeat, kind) for kind in KINDS]
        had = zip(self.had_signals(), (s.weight > 0 for s in self.signals.values()), strict=True)
        return [[h and r == "exclude" for h, r in zip(row, rules, strict=True)] for row in had]

    def keeps_away_in_session(self) -> list[list[bool]]:
        """Per signal and kind: is an item of the current session not shown again in it?

        What was just bought (`had: true`) is not offered again in the same breath, whatever
        `repeat` says.
        """
        return [[bool(signal.had)] * len(KINDS) for signal in self.signals.values()]

    def label_signals(self) -> list[bool]:
        """Per signal: is it what the objective wants, so that a feed is judged by it?"""
        if self.objective == "clicks":
            return [signal.weight > 0 for signal in self.signals.values()]
        return self.had_signals()

    def shows_unlisted(self) -> bool:
        """Is an item shown of which the service knows no more than an event between trainings?

        By `catalogue.unlisted`; without it where the shop has no list of items of its own.
        """
        items = self.sources.items
        listed = items is not None and items.derive_from is None
        return (self.catalogue.unlisted or ("hide" if listed else "show")) == "show"

    def session_signal(self) -> int:
        """Index of the weakest positive signal: what a bare item id in `recent` says."""
        weights = [s.weight if s.weight > 0 else float("inf") for s in self.signals.values()]
        return weights.index(min(weights))

    def on_engine(self, name: Literal["duckdb", "spark"] | None, master: str | None) -> Config:
        """The same shop with another engine; None: as the config says."""
        asked = {"name": name or ("spark" if master else None), "master": master}
        given = {key: value for key, value in asked.items() if value}
        return self.model_copy(update={"engine": self.engine.model_copy(update=given)})

    def with_tuning(self, trials: int | None, minutes: float | None) -> Config:
        """The same shop with another budget for tuning; None: as the config says."""
        asked = {"trials": trials, "minutes": minutes}
        given = {key: value for key, value in asked.items() if value is not None}
        tuning = Tuning.model_validate({**self.training.tuning.model_dump(), **given})
        training = self.training.model_copy(update={"tuning": tuning})
        return self.model_copy(update={"training": training})

    def digest(self, *sections: str) -> str:
        """SHA-256 over the named sections (all but `service`, if none is named), with defaults.

        Signals count in their order: arrays name them by it.
        """
        part = self.model_dump(mode="json", include=set(sections) or None, exclude={"service"})
        return hashlib.sha256(json.dumps(part).encode()).hexdigest()


def load_config(path: Path) -> Config:
    """Read and validate `path`; a ConfigError names file, line and key of every fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; name the config with -c, or run `feeds demo` to see one"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from None
    try:
        return Config.model_validate(yaml.load(text, Loader=Loader) or {})
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    except ValidationError as error:
        root = yaml.compose(text, Loader=Loader)
        faults = [_fault(path, root, dict(fault)) for fault in error.errors()]
        raise ConfigError("\n".join(faults)) from None


def _fault(path: Path, root: yaml.Node | None, fault: dict[str, Any]) -> str:
    location, message = fault["loc"], str(fault["msg"]).removeprefix("Value error, ")
    named = re.match(r"([a-z_]+(?:\.\w+)+): ", message)
    if not location and named:  # what only the whole config can judge says itself where it is
        location = tuple(int(part) if part.isdigit() else part for part in named[1].split("."))
        message = message[named.end() :]
    key = ".".join(str(part) for part in location) or "config"
    if fault["type"] == "extra_forbidden":
        message = "is not a key of the config; look for a typo"
    return f"{path}:{line_of(root, location)}: {key}: {message}"
