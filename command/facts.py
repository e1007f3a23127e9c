"""What the data report knows: the manifests of a feature set and of the one before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from features.config import Config
from features.drift import Change
from features.profile import REST, Profile

LONG_GAP = 3  # days; a shop may be closed over a weekend
_MUCH = 0.2  # of the log taken out by cleaning


@dataclass(frozen=True)
class Seen:
    """What the report is about: a feature set's manifest, and that of the one before it."""

    config: Config
    manifest: Mapping[str, Any]
    before: Mapping[str, Any] | None = None
    changes: list[Change] = field(default_factory=list)

    @property
    def profile(self) -> Profile:
        """What the log is like."""
        found: Profile = self.manifest["profile"]
        return found

    @property
    def profile_before(self) -> Profile | None:
        """What the log of the previous feature set was like."""
        return None if self.before is None else self.before.get("profile")


def percent(share: float) -> str:
    """A share from 0 to 1 as people write it."""
    return f"{share:.1%}"


def headlines(seen: Seen) -> dict[str, str]:
    """The few numbers to read first."""
    profile = seen.profile
    found = {
        "events": f"{profile['events']:,}",
        "first day": profile["days"][0][0],
        "last day": profile["days"][-1][0],
        "events without a customer": percent(profile["anonymous_share"]),
    }
    if people := sum(seen.manifest.get("stages", {}).values()):
        found["people"] = f"{people:,}"
    if items := seen.manifest.get("catalogue_profile"):
        found["items available"] = f"{items['available']:,} of {items['items']:,}"
    return found


def attention(seen: Seen) -> list[str]:
    """What somebody should look at, in sentences; empty when all is as it should be."""
    found = [change.sentence for change in seen.changes if change.notable]
    if long := [gap for gap in seen.profile["gaps"] if gap[2] >= LONG_GAP]:
        first, last, days = max(long, key=lambda gap: gap[2])
        more = f", and {len(long) - 1} more such gaps" if len(long) > 1 else ""
        found.append(f"nothing was recorded for {days:,} days, {first} to {last}{more}")
    limit = seen.config.contract.max_rejected_share
    found += [
        f"{one['name']}: {percent(one['rejected'] / one['read'])} of the rows are rejected; "
        f"above {percent(limit)} a build stops"
        for one in seen.manifest.get("tables", [])
        if one["read"] and one["rejected"] / one["read"] > limit / 2
    ]
    removed = sum(seen.manifest.get("removed", {}).values()) / seen.profile["events"]
    found += [f"cleaning took out {percent(removed)} of the events"] * (removed > _MUCH)
    silent = [name for name in seen.config.signals if name not in seen.profile["event_types"]]
    if silent and REST not in seen.profile["event_types"]:
        found.append(f"signals without a single event: {', '.join(silent)}")
    if empty := [name for name, n in seen.manifest.get("segments", {}).items() if not n]:
        found.append(f"segments without anybody: {', '.join(empty)}")
    return found
