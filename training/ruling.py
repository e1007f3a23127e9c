"""Rules that hold together over a catalogue: conditions become masks, moves become places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from features.config import KINDS, Kind
from features.feed_rules import FeedRule, PriceBounds, Seen
from features.types import DAY_US, Bool, Float32, Histories, Int32, Int64, to_us
from training.arranging import END, TOP, Arrangement, Limit, Pin, Promotion
from training.catalogue import Catalogue
from training.item_columns import At
from training.item_facts import UNBORN

_ALWAYS, _EVER = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)
_LEVELS = 4  # of a category's path that likeness looks at


@dataclass(frozen=True)
class Ruling:
    """What rules make of a catalogue; its arrays are corrected in place as items change.

    open:   (n_items,) bool, what may be shown now: of the kind, there, and not closed by a rule
    closed: why not: (n_items,) bool by reason; the first that fits is an item's
    arrangement: the order of the feed; None: as the rankers say
    seen:   what was shown so often for nothing is not shown again
    repurchase_days: (n_items,) float32, bought less long ago it is not shown; NaN: it is
    """

    open: Bool
    closed: Mapping[str, Bool]
    arrangement: Arrangement | None
    seen: tuple[Seen, ...]
    repurchase_days: Float32 | None

    def bought_lately(self, histories: Histories, had: Bool) -> Bool:
        """(m,) which entries of histories keep their item away for its repurchase interval.

        had: (n_signals,) bool, `Config.had_signals`
        """
        if self.repurchase_days is None:
            return np.zeros(len(histories.items), dtype=np.bool_)
        lately = histories.ages_days < self.repurchase_days[histories.items]
        return had[histories.signals] & lately

    def seen_too_often(self, items: Int32, shown_us: Int64, clicked: Int32, now_us: int) -> Int32:
        """Sorted: what was shown to somebody so often without a click that it is not shown again.

        items, shown_us: (m,) what they were shown, and when
        clicked: what they did something with since it was shown
        """
        tired: list[Int32] = [np.empty(0, np.int32)]
        for rule in self.seen:
            lately = items[shown_us > now_us - rule.within_days * DAY_US]
            different, times = np.unique(lately, return_counts=True)
            tired.append(different[times >= rule.times])
        return np.setdiff1d(np.concatenate(tired), clicked)


def priced_out(price: PriceBounds, currency: str) -> str:
    """The condition for a product that the bounds leave out."""
    low = f" OR price < {price.min!r}" if price.min is not None else ""
    high = f" OR price > {price.max!r}" if price.max is not None else ""
    return f"kind = 'product' AND (price IS NULL OR currency <> '{currency}'{low}{high})"


@dataclass(frozen=True)
class Together:
    """Rules that hold together, and the catalogue that they hold for.

    kind:   of the items that may be shown; None: of both
    opened: (n_items,) bool, what is there now
    masks:  condition -> (n_items,) bool, where it holds
    above:  of `item_columns.ancestry`
    now_us: the moment for which this is
    """

    rules: tuple[FeedRule, ...]
    kind: Kind | None
    currency: str
    catalogue: Catalogue
    opened: Bool
    masks: Mapping[str, Bool]
    above: Int32
    now_us: int

    def ruling(self) -> Ruling:
        """What they come to."""
        n, is_open = len(self.opened), np.zeros(len(self.opened), np.bool_)
        reasons = dict.fromkeys(["unavailable", *(reason for reason, _, _ in self._closing())])
        made = Ruling(
            is_open, {reason: np.zeros(n, np.bool_) for reason in reasons},
            self._arrangement(is_open), tuple(rule.seen for rule in self.rules if rule.seen),
            np.full(n, np.nan, np.float32) if any(r.repurchase for r in self.rules) else None,
        )  # fmt: skip
        self.correct(made, slice(None))
        return made

    def correct(self, ruling: Ruling, at: At) -> None:
        """Write what holds for the items `at` into the ruling's arrays."""
        shut = {reason: np.zeros_like(self.opened[at]) for reason in ruling.closed}
        shut["unavailable"] = ~self._there(at)
        for reason, condition, where in self._closing():
            shut[reason] |= self.masks[condition][at] == where
        is_open = self._of_kind(at)
        for reason, closed in shut.items():
            ruling.closed[reason][at] = closed
            is_open &= ~closed
        ruling.open[at] = is_open
        if ruling.repurchase_days is not None:
            ruling.repurchase_days[at] = self._repurchase_days(at)
        if ruling.arrangement is not None:
            self._arrange(ruling.arrangement, is_open, at)

    def _closing(self) -> Iterator[tuple[str, str, bool]]:
        """Reason, condition, and whether items are closed where it holds or where it does not."""
        for rule in self.rules:
            if rule.hide:
                yield "hidden", rule.hide, True
            if rule.only:
                yield "not_only", rule.only, False
            if rule.price:
                yield "price", priced_out(rule.price, self.currency), True

    def _there(self, at: At) -> Bool:
        if all(rule.available for rule in self.rules):
            return self.opened[at]
        shelf, born = self.catalogue, self.catalogue.born_us[at]
        places = np.arange(len(self.opened)) if isinstance(at, slice) else at
        own = places < len(shelf.ids)  # of what has just appeared nobody knows if it is listed
        sold_out = own & ~shelf.available[at] & ((born <= self.now_us) | (born == UNBORN))
        there: Bool = self.opened[at] | sold_out
        return there

    def _of_kind(self, at: At) -> Bool:
        kinds, code = (
            self.catalogue.kinds[at],
            None if self.kind is None else KINDS.index(self.kind),
        )
        return np.ones(kinds.shape, np.bool_) if code is None else kinds == code

    def _repurchase_days(self, at: At) -> Float32:
        given = [rule.repurchase_days for rule in self.rules if rule.repurchase_days is not None]
        days = self.catalogue.repurchase_days[at]
        days = np.where(np.isnan(days), max(given, default=np.nan), days)
        return np.where(self.catalogue.kinds[at] == KINDS.index("product"), days, np.nan)

    def _arrangement(self, is_open: Bool) -> Arrangement | None:
        """The order of the feed, its arrays still to be filled in; None: nothing changes it."""
        n, moves = len(is_open), [by for _, by in self._moves()]
        shares = [rule.promote.share for rule in self.rules if rule.promote]
        ends = [by for by in (TOP, END) if by in moves]
        diversity = max(rule.diversity for rule in self.rules)
        made = Arrangement(
            is_open,
            pins=self._pins(),
            promotions=tuple(Promotion(np.zeros(n, np.bool_), share) for share in shares),
            places=np.zeros(n, np.int32) if moves else None,
            farthest=(sum(by for by in moves if 0 < by < TOP),
                      -sum(by for by in moves if END < by < 0)),
            sought=tuple(Promotion(np.zeros(n, np.bool_), 1.0) for _ in ends),
            limits=tuple(Limit(self._codes(depth), most) for depth, most in self._limits()),
            parts=np.full((n, _LEVELS + 1), -1, np.int32) if diversity else None,
            diversity=diversity,
            rotation=max(rule.rotate for rule in self.rules),
        )  # fmt: skip
        acts = (made.pins, made.promotions, moves, made.limits, made.diversity, made.rotation)
        return made if any(acts) else None

    def _pins(self) -> tuple[Pin, ...]:
        pins = [(rule, one) for rule in self.rules for one in rule.pin]
        rows = self.catalogue.find([one.item for _, one in pins])
        return tuple(
            Pin(row, one.position - 1, _us(one.starts, _ALWAYS), _us(one.until, _EVER))
            for (_, one), row in zip(pins, rows.tolist(), strict=True)
            if row >= 0
        )

    def _moves(self) -> Iterator[tuple[str, int]]:
        """Condition, and by how many places it moves items up (below 0: down)."""
        for rule in self.rules:
            for up in rule.boost:
                yield up.filter, TOP if up.by == "top" else up.by
            for down in rule.bury:
                yield down.filter, END if down.by == "end" else -down.by

    def _limits(self) -> Iterator[tuple[int | None, int]]:
        """What is counted (a depth of the category's path, 0: all of it; None: the brand)."""
        for rule in self.rules:
            if rule.max_per and rule.max_per.category:
                yield rule.category_depth or 0, rule.max_per.category
            if rule.max_per and rule.max_per.brand:
                yield None, rule.max_per.brand

    def _codes(self, depth: int | None) -> Int32:
        """(n_items,) what is counted; the catalogue's own array where that says it."""
        if depth is None:
            return self.catalogue.brand
        return np.full(len(self.opened), -1, np.int32) if depth else self.catalogue.category

    def _arrange(self, made: Arrangement, is_open: Bool, at: At) -> None:
        """Fill in what holds for the items `at`."""
        promoted = [rule.promote.filter for rule in self.rules if rule.promote]
        for promotion, condition in zip(made.promotions, promoted, strict=True):
            promotion.wanted[at] = self.masks[condition][at] & is_open
        if made.places is not None:
            places = made.places[at] = self._places(at)
            ends = [by for by in (TOP, END) if by in (one for _, one in self._moves())]
            for by, sought in zip(ends, made.sought, strict=True):
                sought.wanted[at] = (places == TOP if by == TOP else places != END) & is_open
        above = self.above[self.catalogue.category[at]]
        for limit, (depth, _) in zip(made.limits, self._limits(), strict=True):
            if depth:  # the codes of a path grow from part to part: the greatest is the deepest
                limit.codes[at] = above[:, :depth].max(axis=1, initial=-1)
        if made.parts is not None:
            levels = min(_LEVELS, above.shape[1])
            made.parts[at, :levels] = above[:, :levels]
            made.parts[at, -1] = self.catalogue.brand[at]

    def _places(self, at: At) -> Int32:
        places: Int32 = np.zeros(self.opened[at].shape, dtype=np.int32)
        moves = [(self.masks[condition][at], by) for condition, by in self._moves()]
        for where, by in moves:
            places += where * np.int32(by if END < by < TOP else 0)
        for last in (TOP, END):  # the end is the stronger: what was to go down stays down
            for where, by in moves:
                if by == last:
                    places[where] = last
        return places


def _us(moment: datetime | None, otherwise: int) -> int:
    return otherwise if moment is None else to_us(moment)
