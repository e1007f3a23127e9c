"""Follow the merchant's rules: the config file is read again when it changes, without a restart."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
import yaml

from features.config import ConfigError, load_config
from features.feed_rules import FeedRule, check_rules, rules_version
from features.types import HOUR_US, Int32
from features.yaml_lines import Loader, line_of
from serving.living import Living
from training.ruling import Ruling
from training.rulings import Rulings

_log = logging.getLogger("feeds.rules")
Stamp = tuple[int, int] | None  # when a file was changed and how long it is; None: there is none
_NOT_READ = (-1, -1)


@dataclass(frozen=True)
class Page:
    """One version of the rules, worked out over the catalogue.

    path: the file they were read from; None: they are the model's
    """

    version: str
    rulings: Rulings
    path: Path | None = None


@dataclass
class Rulebook:
    """The rules of a worker: of the config file, and of the model's config until that is readable.

    path: the config file; None: the rules stay those of the model
    """

    path: Path | None
    living: Living
    page: Page
    stamp: Stamp = _NOT_READ
    judged_us: int = 0
    _meanwhile: list[Int32] | None = None  # what changed since a page is being worked out
    _turning: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, path: Path | None, living: Living) -> Self:
        """The rules as the file has them now."""
        config, now_us = living.bundle.config, _now_us(living)
        rulings = Rulings.of(config, living.catalogue, living.opened, now_us)
        book = cls(path, living, Page(rules_version(config.rules), rulings), judged_us=now_us)
        if not book.refresh():
            book._warn()
        return book

    @property
    def version(self) -> str:
        """Names the rules that hold; the same for the same rules, "none" without any."""
        return self.page.version

    def ruling(
        self, placement: str, now_us: int, segment: str | None = None, stage: str | None = None,
        rules: str | None = None,
    ) -> Ruling | None:  # fmt: skip
        """As `Rulings.ruling`, of the rules that hold now."""
        return self.page.rulings.ruling(placement, now_us, segment, stage, rules)

    def asks_what_was_seen(self, placement: str) -> bool:
        """Does any rule of this placement ask what a person has been shown before?"""
        rules = self.page.rulings.config.rules
        return any(
            rule.seen and (rule.placements is None or placement in rule.placements)
            for rule in rules
        )

    def changed(self, items: Int32) -> None:
        """These items are others than before: other in stock, in price, in name, or new."""
        with self._turning:
            if self._meanwhile is not None:
                self._meanwhile.append(items)
        self.page.rulings.refresh(_now_us(self.living), items)

    def refresh(self) -> bool:
        """Read the file again if it has changed; True: other rules hold from now on.

        A file that cannot be used leaves the old rules in place, and says so in the log. May run in
        a thread beside requests and `changed`, one at a time. Where a rule asks for the age of
        items, everything is looked at again once an hour.
        """
        if self.path is None or (stamp := _stamp(self.path)) == self.stamp:
            self._grow_older(_now_us(self.living))
            return False
        self.stamp = stamp
        try:
            rules = load_config(self.path).rules
        except (ConfigError, OSError) as error:
            _log.error("the rules %s stay, the new ones cannot be used: %s", self.version, error)
            return False
        if rules_version(rules) == self.version:
            self.page = replace(self.page, path=self.path)
            return False
        old = self.version
        self._turn(rules, self.path, _now_us(self.living))
        _log.info("rules %s follow %s", self.version, old)
        self._warn()
        return True

    def _turn(self, rules: list[FeedRule], path: Path | None, now_us: int) -> None:
        """Work the rules out beside those that hold, and swap them in by one reference.

        Until then only this thread writes to them, and only `changed` afterwards: two at a time
        would undo each other's corrections.
        """
        living, self._meanwhile, self.judged_us = self.living, [], now_us
        config = living.bundle.config.model_copy(update={"rules": rules})
        fresh = Rulings.of(config, living.catalogue, living.opened, now_us)
        page = Page(rules_version(rules), fresh, path)
        while (items := self._missed_by(page)) is not None:
            fresh.refresh(now_us, items)

    def _missed_by(self, page: Page) -> Int32 | None:
        """What has changed meanwhile; None: nothing, and the page holds from now on."""
        with self._turning:
            if self._meanwhile:
                missed, self._meanwhile = self._meanwhile, []
                return np.unique(np.concatenate(missed))
            self.page, self._meanwhile = page, None
            return None

    def _grow_older(self, now_us: int) -> None:
        if now_us - self.judged_us < HOUR_US:
            return
        self.judged_us = now_us
        if self.page.rulings.age:
            self._turn(self.page.rulings.config.rules, self.page.path, now_us)

    def _warn(self) -> None:
        """Say what is well-formed and yet can have no effect, with its line."""
        served, rulings = self.living.bundle.config, self.page.rulings
        try:
            check_rules(
                rulings.config.rules, served.placements, served.segments, served.experiments
            )
        except ValueError as error:
            _log.warning("not in effect before a model with this config is promoted: %s", error)
        for pin in rulings.unknown_pins():
            place = ("rules", pin.rule, "pin", pin.pin, "item")
            told = "there is no item %r; the pin waits for it"
            _log.warning(f"%s%s: {told}", self._line(place), _dotted(place), pin.item_id)

    def _line(self, place: tuple[str | int, ...]) -> str:
        """Where the file says it; nothing if it has just changed again."""
        if self.page.path is None:
            return ""
        try:
            root = yaml.compose(self.page.path.read_text(encoding="utf-8"), Loader=Loader)
            return f"{self.page.path}:{line_of(root, place)}: "
        except (OSError, yaml.YAMLError, IndexError):
            return ""


def _now_us(living: Living) -> int:
    """The present, by the shop's clock."""
    base = living.base
    return living.newest_us if base.config.shop.clock == "as_of" else base.now_us()


def _dotted(place: tuple[str | int, ...]) -> str:
    return ".".join(map(str, place))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
