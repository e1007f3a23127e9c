"""The merchant's rules as the config has them: what a feed may hold, and in which order.

Several rules may hold at once: then all of them do, and of two values for one dial the stricter.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from features.experiments import Experiment, Moment
from features.messages import Stage
from features.options import DeclaredSegment, LearnedSegment, Positive, Section, SegmentSpec, Share

ITEM_COLUMNS: Mapping[str, str | tuple[str, ...]] = {  # what a filter may ask of an item
    "item_id": "text",
    "kind": ("product", "article"),
    "category": "text",  # the whole path
    "brand": "text",
    "title": "text",
    "price": "number",
    "currency": "text",
    "age_days": "number",  # since it was published, else first seen
    "available": "truth",
}
_SCOPE = ("placement", "segment", "stage", "starts", "ends", "set")
_PARSED = "filter"  # what `parse` calls the place; the config's error has a better name for it


def _filter(text: str) -> str:
    from features.rules import parse  # here: the command line starts without NumPy

    try:
        parse(text, ITEM_COLUMNS, _PARSED, what="column", owner="an item")
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{_PARSED}: ")) from None
    return text


Filter = Annotated[str, AfterValidator(_filter)]  # an SQL condition over ITEM_COLUMNS
Places = Annotated[int, Field(ge=1)]


class _Span(Section):
    starts: Moment | None = None

    def _runs_forward(self, until: datetime | None, name: str) -> None:
        if self.starts and until and until <= self.starts:
            raise ValueError(f"{name} {until} must be after starts {self.starts}")


class Pinned(_Span):
    """An item that has a slot of its own."""

    item: str = Field(min_length=1)
    position: int = Field(ge=1, le=200)
    until: Moment | None = None  # the first moment at which it no longer holds

    @model_validator(mode="after")
    def _time_runs_forward(self) -> Self:
        self._runs_forward(self.until, "until")
        return self


class Promote(Section):
    """A share of the slots for the items that a filter names."""

    filter: Filter
    share: Share = Field(gt=0)


class Boost(Section):
    """Items that go up by places, or before all others."""

    filter: Filter
    by: Places | Literal["top"]


class Bury(Section):
    """Items that go down by places, or after all others."""

    filter: Filter
    by: Places | Literal["end"]


class PriceBounds(Section):
    """Of products, in the shop's currency; a product without such a price is not shown."""

    min: float | None = Field(default=None, ge=0)
    max: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _leave_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give `min`, `max` or both")
        if self.min is not None and self.max is not None and self.max < self.min:
            raise ValueError(f"max {self.max:g} is below min {self.min:g}: nothing could be shown")
        return self


class MaxPer(Section):
    """How many items of one category, and of one brand, a feed may have."""

    category: Places | None = None
    brand: Places | None = None

    @model_validator(mode="after")
    def _limit_something(self) -> Self:
        if self.category is None and self.brand is None:
            raise ValueError("give `category`, `brand` or both, such as {category: 4}")
        return self


class Seen(Section):
    """An item shown so often within so many days, and never clicked, is not shown again."""

    times: Places
    within_days: Positive = 7.0


class FeedRule(_Span):
    """One rule: where and for whom it holds, and what it does; what is left out restricts nothing.

    placement: one or several       set: it holds only in an experiment's arm with `rules: NAME`
    """

    placement: str | list[str] | None = Field(default=None, min_length=1)
    segment: str | None = Field(default=None, min_length=1)
    stage: Stage | None = None
    ends: Moment | None = None  # the first moment at which it no longer holds
    set: str | None = Field(default=None, min_length=1)

    hide: Filter | None = None
    only: Filter | None = None
    price: PriceBounds | None = None
    available: bool = True  # false: what is out of stock may be shown, too
    pin: list[Pinned] = Field(default_factory=list)
    promote: Promote | None = None
    boost: list[Boost] = Field(default_factory=list)
    bury: list[Bury] = Field(default_factory=list)
    max_per: MaxPer | None = None
    category_depth: Places | None = None  # how deep max_per compares paths; None: all of them
    repurchase: bool = False  # products bought within their usual interval are not shown
    repurchase_days: Positive | None = None  # the interval of products of which none is known
    seen: Seen | None = None
    diversity: Share = 0.0
    rotate: Share = 0.0

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        self._runs_forward(self.ends, "ends")
        if not any(self._does(name) for name in type(self).model_fields if name not in _SCOPE):
            raise ValueError("does nothing: give an action such as `hide`, `pin` or `max_per`")
        if self.category_depth is not None and not (self.max_per and self.max_per.category):
            raise ValueError("category_depth needs `max_per: {category: N}`; it says how to count")
        if self.repurchase_days is not None and not self.repurchase:
            raise ValueError("repurchase_days needs `repurchase: true`; it is the interval for it")
        return self

    @property
    def placements(self) -> list[str] | None:
        """Where it holds; None: everywhere."""
        return [self.placement] if isinstance(self.placement, str) else self.placement

    @property
    def filters(self) -> list[str]:
        """All the conditions that it asks of items."""
        alone = (self.hide, self.only, self.promote and self.promote.filter)
        boosts, buries = ([one.filter for one in moves] for moves in (self.boost, self.bury))
        return [*(one for one in alone if one), *boosts, *buries]

    def _does(self, name: str) -> bool:
        usual = type(self).model_fields[name].get_default(call_default_factory=True)
        return bool(getattr(self, name) != usual)


def rules_version(rules: Sequence[FeedRule]) -> str:
    """A short name of these rules, the same for the same rules; "none" where there are none."""
    if not rules:
        return "none"
    told = json.dumps([rule.model_dump(mode="json") for rule in rules])
    return blake2b(told.encode(), digest_size=6).hexdigest()


def segment_names(segments: Sequence[SegmentSpec]) -> list[str] | None:
    """The segments that there can be; None: some are only known once they are learned or told."""
    names: list[str] = []
    for one in segments:
        if isinstance(one, LearnedSegment):
            return None
        if isinstance(one, DeclaredSegment) and one.answers is None:
            return None
        names.append(one.name)
    return names


def check_rules(
    rules: Sequence[FeedRule], placements: Collection[str], segments: Sequence[SegmentSpec],
    experiments: Sequence[Experiment],
) -> None:  # fmt: skip
    """Refuse what only the whole config can judge: a ValueError names the rule and the key."""
    names = segment_names(segments)
    arms = [arm for one in experiments for arm in one.dealt.values()]
    turned_on = sorted({arm.rules for arm in arms if arm.rules})
    for place, rule in enumerate(rules):
        if unknown := sorted({*(rule.placements or ())} - {*placements}):
            raise ValueError(
                f"rules.{place}.placement: there is no placement {unknown}; "
                f"choose from {sorted(placements)}"
            )
        if names is not None and rule.segment is not None and rule.segment not in names:
            raise ValueError(
                f"rules.{place}.segment: there is no segment {rule.segment!r}; choose from {names}"
            )
        if rule.set is not None and rule.set not in turned_on:
            raise ValueError(
                f"rules.{place}.set: no arm of an experiment has `rules: {rule.set}`, so this rule "
                f"could never hold; the arms have {turned_on or 'none'}"
            )
    sets = sorted({rule.set for rule in rules if rule.set})
    for place, one in enumerate(experiments):
        for name, arm in one.dealt.items():
            if arm.rules is not None and arm.rules not in sets:
                raise ValueError(
                    f"experiments.{place}.arms: {name!r} turns on the rules {arm.rules!r}; no rule "
                    f"has `set: {arm.rules}`, there are {sets or 'none'}"
                )
