"""What a build can be told: the sections of `feeds.yaml` that the feature builders read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
STATE = "FEEDS_STATE"  # environment: goes before `service.state`
SKIP = "skip"  # the answer of who does not want to answer
MUTES = {"mute_category": "category", "mute_brand": "brand", "mute_item": "item"}
UNMUTES = {f"un{name}": name for name in MUTES}
WISHES = (*MUTES, *UNMUTES)  # questions whose answers say what is not to be seen, not what is liked


Rung = Literal["one_for_all", "context", "segment", "one_to_one"]
RUNGS: tuple[Rung, ...] = ("one_for_all", "context", "segment", "one_to_one")  # by knowledge used


class Section(BaseModel):
    """A part of the config: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Signal(Section):
    """What one event of a type says about interest in its item."""

    weight: float  # below 0: blocks the item, adds no interest
    half_life_days: Positive | None = None  # None: does not fade
    had: bool | None = None  # after it the person HAS the item; None: see `Config.had_signals`
    cap: int | None = Field(default=None, ge=1)  # of one person's on one item the newest so many


class Robots(Section):
    """Who is no person: any one of the three rules is enough. None turns a rule off."""

    min_moments: int = Field(default=100, ge=3)  # fewer distinct moments: never called a robot
    moments_per_hour: float | None = Field(default=1200, gt=0)  # rate
    beat_variation: float | None = Field(default=0.1, gt=0)  # regularity: see robots.rhythms
    items_per_day: float | None = Field(default=2000, gt=0)  # breadth: distinct items


def had_signals(signals: Mapping[str, Signal]) -> list[bool]:
    """Per signal: does it mean that the person has the product?

    Those marked `had: true`; where none is marked, every signal of positive weight.
    """
    marked = any(signal.had for signal in signals.values())
    return [bool(s.had) if marked else s.weight > 0 for s in signals.values()]


class Cleaning(Section):
    """What is taken out of the log before anything is counted."""

    returns: list[str] = ["return"]  # event types netted against the purchase before them
    non_products: list[str] = []  # regular expressions over item ids
    near_duplicate_seconds: float = Field(default=1.0, ge=0)  # 0: only exact duplicates
    before_published_days: float | None = Field(default=1.0, ge=0)  # None: not looked at
    straggler_gap_days: Positive | None = 90.0  # None: not looked at
    straggler_share: Share = 0.001  # of the log at most (or one row), beyond such a gap
    robots: Robots = Robots()

    @model_validator(mode="after")
    def _patterns_compile(self) -> Self:
        for pattern in self.non_products:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"non_products: {pattern!r} is no pattern: {error}") from None
        return self


class Identity(Section):
    """Who is the same person."""

    links_from_events: bool = True  # an event with a customer and a device links the two
    max_customers: int = Field(default=1, ge=1)  # more on one device: it is reported as shared


class Sessions(Section):
    """What belongs to one visit."""

    gap_minutes: Positive = 30.0  # silence that ends a session of a log without session ids

    @property
    def gap_us(self) -> int:
        """That silence in microseconds, a second at least."""
        return max(round(self.gap_minutes * 60_000_000), 1_000_000)


class Lifecycle(Section):
    """When a customer counts as new, loyal, lapsing or lapsed."""

    new_days: Positive = 30.0  # since the first order
    loyal_min_orders: int = Field(default=5, ge=2)
    lapsing_after_days: Positive = 60.0  # without an order; for people without a rhythm
    lapsed_after_days: Positive = 180.0
    rhythm_min_orders: int = Field(default=4, ge=2)  # from so many on their own rhythm counts
    lapsing_after_rhythms: Positive = 2.0  # times the mean days between their orders
    lapsed_after_rhythms: Positive = 4.0

    @model_validator(mode="after")
    def _lapsing_comes_first(self) -> Self:
        if self.lapsing_after_days >= self.lapsed_after_days:
            raise ValueError("lapsing_after_days must be below lapsed_after_days")
        if self.lapsing_after_rhythms >= self.lapsed_after_rhythms:
            raise ValueError("lapsing_after_rhythms must be below lapsed_after_rhythms")
        return self


class RuleSegment(Section):
    """Everybody for whom a condition over the people features holds."""

    name: str = Field(min_length=1)
    rule: str = Field(min_length=1)


class DeclaredSegment(Section):
    """Everybody who gave one of `answers`; without `answers` one segment per answer."""

    name: str = Field(min_length=1)
    declared: str = Field(min_length=1)  # the question
    answers: list[str] | None = None


class LearnedSegment(Section):
    """Groups that k-means finds, of everybody or within a segment named before."""

    learned: int = Field(ge=2, le=100)
    within: str | None = None


SegmentSpec = RuleSegment | DeclaredSegment | LearnedSegment


class AnswerOption(Section):
    """An answer that can be chosen: `answer` is what is kept, `text` is what people read."""

    answer: str = Field(min_length=1, max_length=1000)  # a path, to speak for a category
    text: str | None = Field(default=None, min_length=1)  # None: the answer itself


class Question(Section):
    """What the shop may ask people, one question at a time; `serving.questions` chooses."""

    name: str = Field(min_length=1, max_length=1000)  # as in the column `question` of the log
    text: str = Field(min_length=1)
    answers: list[AnswerOption | str] = Field(min_length=2)
    ask_again_days: Positive = 180.0  # after an answer, also after "skip"

    @model_validator(mode="after")
    def _answers_differ(self) -> Self:
        given = [one.answer for one in self.options]
        if twice := sorted({one for one in given if given.count(one) > 1}):
            raise ValueError(f"answers: {twice} is given twice; every answer is one of its own")
        if any(one.strip().lower() == SKIP for one in given):
            raise ValueError(
                f"answers: {SKIP!r} is what who gives no answer says; call it something else"
            )
        return self

    @property
    def options(self) -> list[AnswerOption]:
        """The answers; a plain text is both what is kept and what is read."""
        return [AnswerOption(answer=a) if isinstance(a, str) else a for a in self.answers]


class Preferences(Section):
    """What people tell us: a prior over categories that behaviour can overrule."""

    weight: Positive = 3.0  # of a fresh answer, in the unit of the signals' weights
    half_life_days: Positive | None = 180.0
    max_share: Share = 0.5  # of a history's interest; at least one fresh answer always counts
    less: list[str] = ["less_of_this"]  # questions whose answers mean less of a category
    questions: list[Question] = []
    ask_above_bits: float = Field(default=0.5, ge=0)  # an answer that tells less is not asked for

    @model_validator(mode="after")
    def _questions_differ(self) -> Self:
        names = [one.name for one in self.questions]
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(f"questions: the name {twice} is given twice; rename one")
        if kept := [one for one in names if one in self.less]:
            raise ValueError(f"questions: {kept} is also in `less`, whose answers mean less of it")
        return self


class TextOptions(Section):
    """How the words of an item become numbers."""

    dimensions: int = Field(default=64, ge=1)  # of TF-IDF → truncated SVD
    model: str | None = None  # a local directory of sentence-transformers instead


class CatalogueOptions(Section):
    """What is derived about items."""

    new_days: Positive = 14.0  # an item counts as new for so long
    text: TextOptions = TextOptions()
    unlisted: Literal["show", "hide"] | None = None  # known by an event only; None: see Config


class PopularityTables(Section):
    """What is counted about items over several windows."""

    windows_hours: list[Positive] = Field(default=[1, 24, 168, 720, 2160], min_length=1)
    top: int = Field(default=200, ge=1)  # rows kept per scope and window
    trending_min_events: int = Field(default=20, ge=1)
    repurchase_min_people: int = Field(default=5, ge=1)


class Bounds(Section):
    """How far a build may differ from the one before; None: as far as it likes."""

    volume_drop: Share | None = 0.5  # of events a day, against the weeks before
    volume_rise: Positive | None = 4.0  # 1 doubles it
    null_share_change: Share | None = 0.25  # of any column of the events


class EngineOptions(Section):
    """Where tables are computed, and what that may use."""

    name: Literal["duckdb", "spark"] = "duckdb"
    memory_limit_mb: int = Field(default=1500, ge=200)  # of DuckDB; it spills to disk beyond
    threads: int | None = Field(default=None, ge=1)  # None: all cores
    master: str = "local[*]"  # of Spark
    spark: dict[str, str] = {}  # further settings of the Spark session


class ServiceOptions(Section):
    """What the service needs to know of the place where it runs; none of it changes a feed."""

    state: str | None = Field(default=None, pattern="^(redis|rediss|unix)://")  # None: state.db
    origins: list[str] = []  # sites whose pages may ask from a browser, https://shop.example
    max_body_kb: int = Field(default=1024, ge=1)  # of a request, 1,024 bytes each
    requests_per_second: Positive | None = None  # per key and worker; None: no limit
    page_requests_per_minute: Positive = 120.0  # per address and worker, with a page's key
    keep_models: int = Field(default=5, ge=2)  # newest versions that stay on the disk

    @property
    def state_url(self) -> str | None:
        """Where several hosts keep one state; None: each home has its own file."""
        return os.environ.get(STATE) or self.state
