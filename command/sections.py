"""The sections of the data report: titles, words and tables, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from command import plots
from command.facts import LONG_GAP, Seen, percent
from features.drift import Change
from features.profile import RECENT_DAYS, REST, CatalogueProfile, Profile, day_number, iso_day
from features.types import DAY_US, Int64

CHANGE_HEAD = ("what", "before", "now", "change", "allowed")
_ROWS = 13  # of a table of many: a year of months, and the one that began it
_WEEKS_TOLD = 13  # a log that is longer is told by the month
_MOVED = 0.01  # a null share that moved by less is not told
_LINKS = {
    "links_in_force": "links between a device and a customer",
    "links_ended": "links that have ended",
    "merged_devices": "devices whose whole past is their one customer's",
    "shared_devices": "devices of several customers, kept apart",
}


@dataclass(frozen=True)
class Section:
    """One part of the report.

    about: what it shows      worry: what would be worrying      plot: inline SVG
    rows:  texts as they are shown, one per heading; the first `texts` columns are words
    trend: the plot as one line of text, for a terminal
    """

    title: str
    about: str
    worry: str
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    texts: int = 1
    notes: list[str] = field(default_factory=list)
    plot: str = ""
    trend: str = ""


def sections(seen: Seen) -> list[Section]:
    """Every part that the manifest has something for, in the order of reading."""
    given = seen.manifest
    found = [_read(given["tables"])] if "tables" in given else []
    found += [_volume(seen.profile), _gaps(seen.profile), _drift(seen), _known(seen)]
    found += [_types(seen), _nulls(seen)]
    found += [_catalogue(seen)] if "catalogue_profile" in given else []
    found += [_cleaning(seen)] if "removed" in given else []
    found += [_stages(given["stages"])] if given.get("stages") else []
    found += [_segments(given)] if given.get("segments") else []
    return found


def _read(tables: Iterable[Mapping[str, Any]]) -> Section:
    rows, notes = [], []
    for one in tables:
        counts = (f"{one[key]:,}" for key in ("read", "accepted", "rejected"))
        share = percent(one["rejected"] / one["read"] if one["read"] else 0.0)
        rows.append((one["name"], *counts, share))
        files = ", ".join(one["files"][:3]) + ", …" * (len(one["files"]) > 3)
        notes.append(f"{one['name']} come from {files or 'the events'}")
        notes[-1] += f"; `where` left out {one['left_out']:,} rows" * (one["left_out"] > 0)
        notes += [f"{one['name']}: {n:,} rows: {why}" for why, n in one["reasons"].items()]
    return Section(
        "What was read",
        "Every row of every source is held against the contract; a row that breaks it is put aside "
        "with its reasons and not used.",
        "A growing share of rejected rows, or a reason never seen before, means that an export has "
        "changed.",
        ("table", "read", "accepted", "rejected", "share"), rows,
        notes=notes[:_ROWS] + ["and more reasons: see rejects.parquet"] * (len(notes) > _ROWS),
    )  # fmt: skip


def _volume(profile: Profile) -> Section:
    days = np.array([day_number(day) for day, _ in profile["days"]], dtype=np.int64)
    first, last = int(days[0]), profile["as_of_us"] // DAY_US
    months = last - first > _WEEKS_TOLD * 7
    edges = _months(first, last) if months else _weeks(first, last)
    place = np.searchsorted(edges, days, side="right") - 1
    events = np.zeros(len(edges) - 1, dtype=np.int64)
    np.add.at(events, place, [n for _, n in profile["days"]])
    lengths = np.diff(np.clip(edges, first, last + 1))
    rows = [
        (iso_day(int(start))[: 7 if months else 10], f"{n:,}", _rate(n / length))
        for start, n, length in zip(edges[:-1], events, lengths, strict=True)
    ]
    earlier = int(events[:-_ROWS].sum())
    return Section(
        "Volume", "How much was recorded, day by day and by kind of event.",
        "A sudden fall is more often a broken export than fewer customers; a sudden rise is often "
        "a robot, or a file that came twice. The last day may not be over yet.",
        ("month" if months else "week from", "events", "a day"), rows[-_ROWS:],
        notes=[f"events before that: {earlier:,}"] if earlier else [],
        plot=plots.volume(profile), trend=plots.trend(profile),
    )  # fmt: skip


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _weeks(first: int, last: int) -> Int64:
    """Mondays (days since 1970) from the one up to `first` to the one after `last`."""
    monday = first - (first + 3) % 7  # 1970 began on a Thursday
    return np.arange(monday, last + 8, 7)


def _months(first: int, last: int) -> Int64:
    """The same of the first days of months."""
    start, end = np.array([first, last]).astype("datetime64[D]").astype("datetime64[M]")
    return np.arange(start, end + 2).astype("datetime64[D]").astype(np.int64)


def _gaps(profile: Profile) -> Section:
    ordered = sorted(profile["gaps"], key=lambda gap: (-gap[2], gap[0]))
    longer = [gap for gap in ordered if gap[2] >= LONG_GAP]
    left, short = len(longer) - _ROWS, len(ordered) - len(longer)
    notes = [f"and {left:,} more of {LONG_GAP} days or longer"] if left > 0 else []
    notes += [f"{short:,} of one or two days"] if short else []
    return Section(
        "Gaps", "Days inside the log on which nothing at all was recorded.",
        "Closed days are fine; several in a row usually mean that a delivery is missing.",
        ("from", "to", "days"),
        [(first, last, f"{days:,}") for first, last, days in longer[:_ROWS]], 2,
        notes if ordered else ["no gaps"],
    )  # fmt: skip


def _drift(seen: Seen) -> Section:
    told = [c for c in seen.changes if c.kind != "share" or c.beyond or abs(c.change) >= _MOVED]
    rest = len(seen.changes) - len(told)
    notes = [f"{rest} shares of empty columns moved by less than a point"] if rest else []
    if any(change.kind == "mix" for change in told):
        notes.append("the mix is told as a stability index: above 0.25 it has shifted")
    return Section(
        "Since the build before", "This log beside the one that the previous feature set was "
        "built from.",
        "A change beyond its bound stops a build; a smaller one may still be the beginning of a "
        "fault.",
        CHANGE_HEAD, change_rows(told),
        notes=notes if seen.changes else ["nothing to compare with: no build before this one"],
    )  # fmt: skip


def change_rows(changes: Iterable[Change]) -> list[tuple[str, ...]]:
    """The changes under the headings of CHANGE_HEAD."""
    return [_change_row(change) for change in changes]


def _change_row(change: Change) -> tuple[str, ...]:
    arrow = "▲" if change.change > 0.005 else "▼" if change.change < -0.005 else "="
    if change.kind == "mix":
        words = "shifted" if change.notable else "stable"
        return change.what, "", f"{change.after:.2f}", words, "told only"
    if change.kind == "share":
        limit = "any" if change.limit is None else f"{change.limit * 100:.0f} pts"
        moved = f"{arrow} {change.change * 100:+.1f} pts"
        return change.what, percent(change.before), percent(change.after), moved, limit
    limit = "any" if change.limit is None else f"{change.limit:.0%}"
    moved = f"{arrow} {change.change:+.0%}"
    return change.what, _rate(change.before), _rate(change.after), moved, limit


def _known(seen: Seen) -> Section:
    now, before = seen.profile, seen.profile_before
    views = _views(now, before)
    shares = {
        "a known customer": [1 - one["anonymous_share"] for one in views],
        "a device only": [one["visitor_share"] for one in views],
        "a single visit only": [one["session_only_share"] for one in views],
    }
    links = seen.manifest.get("links") or {}
    return Section(
        "Who is known", "By what the person behind an event can be known again.",
        "When fewer events belong to a known customer than before, a login or a cookie banner may "
        "have changed, and feeds can be less personal.",
        ("known by", "share of events", *_recent_head(now), *(["before"] if before else [])),
        [(name, *map(percent, found)) for name, found in shares.items()],
        notes=[f"{_LINKS.get(name, name.replace('_', ' '))}: {n:,}" for name, n in links.items()],
    )  # fmt: skip


def _recent_head(profile: Profile) -> list[str]:
    return [f"last {RECENT_DAYS} days"] if profile["recent"] else []


def _views(now: Profile, before: Profile | None) -> list[Any]:
    """The log, its last weeks, the log before; what there is of it."""
    return [one for one in (now, now["recent"], before) if one]


def _types(seen: Seen) -> Section:
    now, before = seen.profile["event_types"], seen.profile_before
    old = before["event_types"] if before else {}
    views = [(seen.profile["events"], now)] + ([(before["events"], old)] if before else [])
    gone = [name for name in old if name and name not in now and REST not in now]
    names = list(now)[:_ROWS] + gone
    rows = [
        (name or "all others", f"{now.get(name, 0):,}",
         *(percent(types.get(name, 0) / total) for total, types in views))
        for name in names
    ]  # fmt: skip
    left = len(now) - _ROWS
    shares = {
        label: [types.get(name, 0) / total for name in names]
        for label, (total, types) in zip(("now", "before"), views, strict=False)
    }
    return Section(
        "What people did", "How often each kind of event comes.",
        "A kind that vanishes or appears has often only been renamed: the signals of the config go "
        "by these names.",
        ("event type", "events", "share", *(["before"] if before else [])), rows,
        notes=[f"and {left} rarer ones"] if left > 0 else [],
        plot=plots.bars([name or "all others" for name in names], shares, "share of events"),
    )  # fmt: skip


def _nulls(seen: Seen) -> Section:
    now, before = seen.profile, seen.profile_before
    views = [one["null_shares"] for one in _views(now, before)]
    missing, full = (
        [name for name in views[0] if all(one.get(name, 1.0) == share for one in views)]
        for share in (1.0, 0.0)
    )
    names = [name for name in views[0] if name not in [*missing, *full]]
    shares = {"now": [views[0][name] for name in names]}
    if before:
        shares["before"] = [before["null_shares"].get(name, 1.0) for name in names]
    return Section(
        "Empty columns", "How many of the events lack each optional column.",
        "A column that was filled and is empty now points to a changed export or mapping. A column "
        "that was always empty is none that this shop has.",
        ("column", "empty", *_recent_head(now), *(["before"] if before else [])),
        [(name, *(percent(one.get(name, 1.0)) for one in views)) for name in names],
        notes=_listed("always filled", full) + _listed("never filled", missing),
        plot=plots.bars(names, shares, "share of events without it") if names else "",
    )  # fmt: skip


def _listed(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what}: {', '.join(names)}"] if names else []


def _catalogue(seen: Seen) -> Section:
    now: CatalogueProfile = seen.manifest["catalogue_profile"]
    old: CatalogueProfile | None = seen.before.get("catalogue_profile") if seen.before else None
    views = [now, old] if old else [now]
    counts = {"items": [f"{one['items']:,}" for one in views],
              "available": [f"{one['available']:,}" for one in views]}  # fmt: skip
    for kind in now["kinds"]:
        counts[f"of kind {kind}"] = [f"{one['kinds'].get(kind, 0):,}" for one in views]
    full = [name for name in now["null_shares"]
            if all(one["null_shares"].get(name) == 0 for one in views)]  # fmt: skip
    for name in (name for name in now["null_shares"] if name not in full):
        label = f"without {name.removesuffix('_us')}"
        counts[label] = [percent(one["null_shares"].get(name, 1.0)) for one in views]
    for code in now["median_prices"]:
        prices = (one["median_prices"].get(code) for one in views)
        counts[f"median price, {code or 'no currency'}"] = [
            "" if price is None else f"{price:,.2f}" for price in prices
        ]
    return Section(
        "Catalogue", "What there is to show.",
        "Items without a title, a price or a picture make poor feeds; few available ones make "
        "short feeds.",
        ("", "now", *(["before"] if old else [])), [(n, *texts) for n, texts in counts.items()],
        notes=_listed("every item has", [name.removesuffix("_us") for name in full]),
    )  # fmt: skip


def _cleaning(seen: Seen) -> Section:
    removed, total = seen.manifest["removed"], seen.profile["events"]
    spelled = seen.manifest.get("respelled_items", 0)
    ordered = sorted(removed.items(), key=lambda pair: (-pair[1], pair[0]))
    return Section(
        "What cleaning took out", "Rows that are true but would mislead: copies, robots, purchases "
        "that were given back, items that are none.",
        "More than a few per cent deserves a look: a rule may be too strict, or the log full of "
        "robots.",
        ("reason", "rows", "share of events"),
        [(why, f"{rows:,}", percent(rows / total)) for why, rows in ordered],
        notes=["nothing"] * (not removed) + [f"{spelled:,} spellings of items joined"] * (
            spelled > 0),
    )  # fmt: skip


def _stages(stages: Mapping[str, int]) -> Section:
    return Section(
        "Lifecycle stages", "Where people stand with the shop.",
        "When the lapsed grow from build to build and the new do not, customers are being lost.",
        ("stage", "people", "share"), _sizes(stages),
        plot=plots.bars(list(stages), {"now": [float(n) for n in stages.values()]}, "people"),
    )  # fmt: skip


def _segments(manifest: Mapping[str, Any]) -> Section:
    sizes, lines = dict(manifest["segments"]), manifest.get("segment_lines", {})
    if (rest := sum(manifest.get("stages", {}).values()) - sum(sizes.values())) > 0:
        sizes["in no segment"] = rest
    return Section(
        "Segments", "Named groups of people; everybody is in the first that fits.",
        "A segment without anybody has a rule that fits nobody; one with nearly everybody tells "
        "nothing.",
        ("segment", "people", "share"), _sizes(sizes),
        notes=[f"{name}: {lines[name]}" for name in sizes if name in lines],
        plot=plots.bars(list(sizes), {"now": [float(n) for n in sizes.values()]}, "people"),
    )  # fmt: skip


def _sizes(sizes: Mapping[str, int]) -> list[tuple[str, ...]]:
    total = max(sum(sizes.values()), 1)
    return [(name, f"{n:,}", percent(n / total)) for name, n in sizes.items()]
