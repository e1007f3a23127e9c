"""Which of the merchant's rules hold for whom, here and now, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from features.config import Config, Kind
from features.feed_rules import ITEM_COLUMNS, FeedRule
from features.rules import Rule, parse
from features.types import Bool, Int32, to_us
from training.catalogue import Catalogue
from training.item_columns import ancestry, item_columns
from training.ruling import Ruling, Together, priced_out

KEPT = 64  # rulings at most; each has some bytes for every item


@dataclass(frozen=True)
class UnknownPin:
    """A pin of an item that the catalogue does not have: `rules[rule].pin[pin]`."""

    rule: int
    pin: int
    item_id: str


@dataclass
class Rulings:
    """The rules of a config over one catalogue.

    opened: (n_items,) bool, what is there now; the caller changes it in place, as the catalogue
    masks:  condition -> (n_items,) bool, where it holds
    above:  of `item_columns.ancestry`
    made:   the rulings that were asked for of late, the least recent first

    One thread at a time: what changes is written in place.
    """

    config: Config
    catalogue: Catalogue
    opened: Bool
    conditions: dict[str, Rule]
    masks: dict[str, Bool]
    above: Int32
    made: dict[tuple[Kind | None, tuple[int, ...]], Ruling] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, catalogue: Catalogue, opened: Bool, now_us: int) -> Rulings:
        """Work out `config.rules` as things are now; without rules that costs nothing."""
        asked = {text: None for rule in config.rules for text in _conditions(rule, config)}
        parsed = {
            text: parse(text, ITEM_COLUMNS, "rules", what="column", owner="an item")
            for text in asked
        }
        masks = {text: np.zeros(len(opened), dtype=np.bool_) for text in asked}
        made = cls(config, catalogue, opened, parsed, masks, ancestry(catalogue.tree))
        made._judge(now_us, None)
        return made

    def ruling(
        self, placement: str, now_us: int, segment: str | None = None, stage: str | None = None,
        rules: str | None = None,
    ) -> Ruling | None:  # fmt: skip
        """What holds here and now for somebody; None: no rule does.

        segment, stage: of the person, where the feed may know it; else None
        rules: the set that an experiment's arm turns on
        """
        if not self.config.rules:
            return None
        holding = tuple(
            place for place, rule in enumerate(self.config.rules)
            if (rule.placements is None or placement in rule.placements)
            and rule.segment in (None, segment) and rule.stage in (None, stage)
            and rule.set in (None, rules) and _runs(rule, now_us)
        )  # fmt: skip
        if not holding:
            return None
        kind = self.config.placements[placement].kind
        found = self.made.pop((kind, holding), None)
        if found is None:
            found = self._together(kind, holding, now_us).ruling()
            if len(self.made) >= KEPT:
                del self.made[next(iter(self.made))]
        self.made[kind, holding] = found
        return found

    def refresh(self, now_us: int, items: Int32 | None = None) -> None:
        """Correct what is known of `items`, which have changed; None: of all, as they grow older.

        Rulings that were given out are corrected in place. A pin that waited for one of the items
        holds from the next `ruling` on.
        """
        self._judge(now_us, items)
        for key, ruling in self.made.items():
            self._together(*key, now_us).correct(ruling, slice(None) if items is None else items)
        pinned = self.catalogue.find([one.item for rule in self.config.rules for one in rule.pin])
        if items is not None and np.isin(pinned, items).any():
            self.made.clear()

    @property
    def age(self) -> bool:
        """Does a condition ask how old items are, so that its answer moves with time?"""
        return any("age_days" in one.columns for one in self.conditions.values())

    def unknown_pins(self) -> list[UnknownPin]:
        """Pins of items that are not in the catalogue (yet)."""
        pins = [
            UnknownPin(place, nth, one.item)
            for place, rule in enumerate(self.config.rules)
            for nth, one in enumerate(rule.pin)
        ]
        rows = self.catalogue.find([pin.item_id for pin in pins])
        return [pin for pin, row in zip(pins, rows.tolist(), strict=True) if row < 0]

    def _together(self, kind: Kind | None, holding: tuple[int, ...], now_us: int) -> Together:
        rules = tuple(self.config.rules[place] for place in holding)
        return Together(
            rules, kind, self.config.shop.currency, self.catalogue, self.opened, self.masks,
            self.above, now_us,
        )  # fmt: skip

    def _judge(self, now_us: int, items: Int32 | None) -> None:
        """Find out where the conditions hold."""
        if not self.conditions:
            return
        asked = {name for one in self.conditions.values() for name in one.columns}
        columns = item_columns(self.catalogue, asked | {"available"}, now_us, items)
        for text, condition in self.conditions.items():
            self.masks[text][slice(None) if items is None else items] = condition.holds(columns)


def _conditions(rule: FeedRule, config: Config) -> list[str]:
    price = [priced_out(rule.price, config.shop.currency)] if rule.price else []
    return [*rule.filters, *price]


def _runs(rule: FeedRule, now_us: int) -> bool:
    begun = rule.starts is None or to_us(rule.starts) <= now_us
    return begun and (rule.ends is None or now_us < to_us(rule.ends))
