"""The gate: what a new model must not fall below before it is served.

Three questions: is it the newest there can be, is the data sound that it was made from, and is it
as good as what is served (`training.meeting`)? What is stale or rests on data that failed is
refused without being measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from features import drift
from features.build import SECTIONS
from features.config import Config
from features.erasure import what_it_was_like
from features.feature_set import SCHEMA_VERSION, FeatureSet
from features.home import Home, Progress, silent
from features.honoured import covers, honoured
from features.types import from_us
from training.bundle import Bundle, NoModel
from training.evaluation.contest import Check
from training.meeting import measured
from training.slices import World


@dataclass(frozen=True)
class Verdict:
    """All that was looked at; champion None: there is none to compare with."""

    challenger: str
    champion: str | None
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Did every check pass?"""
        return all(check.passed for check in self.checks)

    @property
    def refusals(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    @property
    def summary(self) -> str:
        """One line for the record."""
        if not self.passed:
            return "; ".join(f"{check.name}: {check.sentence}" for check in self.refusals)
        against = self.champion or "no champion, against the floors"
        return f"{len(self.checks)} checks passed ({against})"


def judge(
    config: Config, home: Home, challenger: Bundle, progress: Progress = silent,
    features: FeatureSet | None = None,
) -> Verdict:  # fmt: skip
    """May `challenger` be served instead of what is served now?

    features: today's; None: the newest of the home
    """
    champion, checks = _champion(home)
    today = features or newest(home, challenger)
    checks += [*_fresh(config, home, challenger, champion, today),
               *_sound(config, home, today, champion)]  # fmt: skip
    if all(check.passed for check in checks):
        checks += measured(World.of(config, today, home), challenger, champion, progress)
    served = None if champion is None else champion.version
    return Verdict(challenger.version, served, checks)


def newest(home: Home, challenger: Bundle) -> FeatureSet:
    """The newest feature set of the home, but for those of a past moment that was asked for.

    Raises NoModel where there is none: nothing can be measured then.
    """
    found = []
    for file in home.feature_sets.glob("[!.]*/manifest.json"):
        about = json.loads(file.read_text())
        own = about["digest"] == challenger.manifest["feature_digest"]
        if about["schema_version"] == SCHEMA_VERSION and (own or not about["as_of_given"]):
            found.append((not about["as_of_given"], file.stat().st_mtime_ns, file.parent))
    if not found:
        raise NoModel(
            f"{challenger.version} cannot be judged: {home.feature_sets} holds no feature set; "
            "run `feeds build` first, or promote it with --force --why TEXT"
        )
    return FeatureSet.open(max(found)[2])


def _champion(home: Home) -> tuple[Bundle | None, list[Check]]:
    """What is served now; one that this code cannot open is compared with no more."""
    version = home.current()
    if version is None:
        return None, []
    try:
        return Bundle.open(home.bundles / version), []
    except NoModel as error:
        told = f"{error}; only the floors can be compared with"
        return None, [Check("champion", True, told)]


def _fresh(
    config: Config, home: Home, challenger: Bundle, champion: Bundle | None, today: FeatureSet
) -> list[Check]:
    """Is the challenger the newest there can be: its data, and the config that made them?"""
    known = f"{challenger.version} knows the log up to {_moment(challenger.as_of_us)}"
    found = []
    if champion is not None:
        told = f"{known}, the champion {champion.version} up to {_moment(champion.as_of_us)}"
        newer = challenger.as_of_us >= champion.as_of_us
        if not newer and _forgets_more(home, challenger, champion):
            told, newer = f"{told}, when it still knew who is forgotten by now", True
        found.append(Check("newer", newer, told))
    told, same = f"{known}, and so does the newest feature set", True
    if challenger.manifest["feature_digest"] != today.digest:
        told, same = f"{known}; the newest feature set goes up to {_moment(today.as_of_us)}", False
        if challenger.as_of_us == today.as_of_us:
            told += ", but was made from other sources or by another config"
        told += ". Train again, or run `feeds retrain`"
    found.append(Check("newest data", same, told))
    parts = (*SECTIONS, "repeat", "objective")
    other = [p for p in parts if config.digest(p) != challenger.config.digest(p)]
    told = "the one of today in all that makes features and labels"
    if other:
        told = f"{', '.join(f'`{p}`' for p in other)} changed since; train again"
    return [*found, Check("config", not other, told)]


def _forgets_more(home: Home, challenger: Bundle, champion: Bundle) -> bool:
    """Is somebody left out, whose acts may have been the last that the champion knows of?"""
    ours, theirs = (honoured(home.bundles / one.version) for one in (challenger, champion))
    return not covers(theirs, ours)


def _moment(microseconds: int) -> str:
    return f"{from_us(microseconds):%Y-%m-%d %H:%M:%S}"


def _sound(config: Config, home: Home, today: FeatureSet, champion: Bundle | None) -> list[Check]:
    """Data checks: rejected rows, and how far the log has moved since the champion's."""
    limit = config.contract.max_rejected_share
    shares = {
        one["name"]: one["rejected"] / max(one["read"], 1) for one in today.manifest["tables"]
    }
    table = max(shares, key=lambda name: shares[name])
    told = f"{shares[table]:.1%} of {table}, the most of a table; {limit:.0%} may be"
    found = [Check("rejected rows", shares[table] <= limit, told)]
    before = None if champion is None else _manifest(home, champion)
    if before is None or before["digest"] == today.digest:
        return found
    if before["mapping"] != today.manifest["mapping"]:
        return [*found, Check("drift", True, "the sources are mapped otherwise than before")]
    changes = drift.changes(before["profile"], today.manifest["profile"], config.bounds)
    beyond = [change.sentence for change in changes if change.beyond]
    told = "; ".join(beyond) or "nothing moved beyond its bounds since the champion's data"
    return [*found, Check("drift", not beyond, told)]


def _manifest(home: Home, champion: Bundle) -> dict[str, Any] | None:
    """Of the feature set that made the champion, or what was kept of it; None: unreadable here."""
    found = what_it_was_like(home, champion.manifest["feature_digest"])
    return found if found and found["schema_version"] == SCHEMA_VERSION else None
