"""`feeds report evidence`: for whom a more personal feed pays, in a terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from command import heat, pages, plots, show
from command.facts import percent
from command.heat import FEW, RUNG_WORDS, Scale, name
from command.sections import Section
from features.config import RUNGS
from features.home import Home
from training.bundle import open_bundle
from training.evaluation.evidence import VISITS, Evidence, Weighed

_PARTS = ("channel", "visit", "stage", "segment")  # of a cell, besides its kind
_CHANNELS = 6  # in a picture: the busiest
_ON_UNKNOWN = {
    "parent": "what the larger group says that the cell is part of, and where that is open too, "
    "the more personal feed",
    "climb": "the more personal feed",
    "stay": "the less personal feed",
}


def evidence_report(shop: str, home: Home, model: str | None = None) -> Path:
    """Show the evidence of a model and write the page; returns where it lies.

    Raises ValueError when the model has no evidence, with the reason and what to do.
    """
    bundle = open_bundle(home, model)
    if bundle.evidence is None:
        reason = str(bundle.manifest["evidence"]).removeprefix("evidence: ")
        raise ValueError(
            f"model {bundle.version} has no evidence: {reason}. Until there is some, everybody is "
            "served the most personal feed that they can have. Run `feeds train` when the log has "
            "grown, and then `feeds report evidence` again"
        )
    _tell(bundle.evidence)
    target = home.root / "reports" / "evidence.html"
    page = write_page(bundle.evidence, shop, bundle.version, target)
    show.console.print(f"the same with pictures: {page}", soft_wrap=True, highlight=False)
    return page


def _tell(evidence: Evidence) -> None:
    scale = Scale.of(evidence)
    for line in evidence.bottom:
        show.console.print(line["says"], markup=False, highlight=False)
        for sentence in plainly(line, scale):
            show.console.print(f"  {sentence}", style="dim", markup=False, highlight=False)
    for sentence in by_experiment(evidence):
        show.console.print(sentence, markup=False, highlight=False)
    show.console.print()
    pages.tell(bottom(evidence, scale))
    pages.tell(cells(evidence, scale, FEW))


def write_page(evidence: Evidence, shop: str, version: str, target: Path) -> Path:
    """Write the report as one page that needs nothing else; returns `target`."""
    scale = Scale.of(evidence)
    panels, few = heat.panels(evidence)
    kinds = list(dict.fromkeys(line["kind"] for line in evidence.bottom))
    return pages.write(
        "evidence_report.html", target,
        shop=shop, version=version, headlines=headlines(evidence, version),
        says=[(f"{line['kind']}s".capitalize(), line["says"], plainly(line, scale),
               line["over_never"]["low"] > 0) for line in evidence.bottom],
        bottom=bottom(evidence, scale),
        ladders=[ladder(evidence, kind, scale) for kind in kinds],
        panels=panels, few=few, scale=scale, online=by_experiment(evidence), mark=heat.ONLINE,
        fading=[fading(evidence, kind, scale) for kind in kinds],
        cells=cells(evidence, scale, 0), on_unknown=_ON_UNKNOWN[evidence.on_unknown],
        min_gain=scale.text(evidence.min_gain) if evidence.min_gain else "0",
        rungs=RUNG_WORDS, chosen_until=_moment(evidence.chosen_until),
    )  # fmt: skip


def headlines(evidence: Evidence, version: str) -> dict[str, str]:
    """What is read first, by its name."""
    own = heat.finest(evidence)
    first = min((one["from"] for one in evidence.periods), default=evidence.chosen_until)
    return {
        "model": version,
        "gains are in": evidence.unit,
        "chosen on requests from": f"{_moment(first):%Y-%m-%d}",
        "reported on requests from": f"{_moment(evidence.chosen_until):%Y-%m-%d}",
        "cells weighed": f"{len(own):,}",
        "cells served something more personal": f"{sum(heat.rung(one) > 0 for one in own):,}",
    }


def by_experiment(evidence: Evidence) -> list[str]:
    """How much of the table experiments have decided; nothing where it is none of it."""
    own = heat.finest(evidence)
    online = sum(one.rests_on == "online" for one in own)
    if not online:
        return []
    return [f"{online:,} of {len(own):,} cells rest on an experiment, which goes before what the "
            "earlier days suggest; it may have run in the shaded days, too."]  # fmt: skip


def plainly(line: Mapping[str, Any], scale: Scale) -> list[str]:
    """What a bottom line comes to, without statistics."""
    against, wide = line["over_always"], scale.between(line["over_always"])
    than = ("better than" if against["low"] > 0 else "worse than" if against["high"] < 0
            else "not measurably different from")  # fmt: skip
    return [
        f"Serving by this evidence is {than} always serving the most personal feed: "
        f"{scale.text(against['mean'])} {scale.unit} (95 % {wide}).",
        f"{percent(line['less_personal'])} of the feeds are less personal than they could be.",
    ]


def bottom(evidence: Evidence, scale: Scale) -> Section:
    """Per kind never, by evidence and always."""
    rows = [
        (f"{line['kind']}s", f"{line['feeds_a_month']:,}",
         *(f"{line[key]:.3f}" for key in ("ndcg_never", "ndcg_by_evidence", "ndcg_always")),
         *(scale.found(**line[key]) for key in ("over_never", "over_always")),
         percent(line["less_personal"]))
        for line in evidence.bottom
    ]  # fmt: skip
    return Section(
        "What it comes to",
        "Three ways to serve the same later requests: never personal (one feed for all), by this "
        "evidence, and always one-to-one.",
        "By evidence should not lie below either of the others by more than its 95 %.",
        ("kind", "feeds a month", "never", "by evidence", "always", "over never, 95 %",
         "over always, 95 %", "less personal"), rows,
        notes=[f"never, by evidence and always in ndcg@20, gains in {evidence.unit}"],
    )  # fmt: skip


def ladder(evidence: Evidence, kind: str, scale: Scale) -> Section:
    """What each step up the ladder adds for a kind, by visit and channel."""
    own = [one for one in heat.places(evidence) if one.kind == kind]
    kept = list(dict.fromkeys(one.channel for one in own))[:_CHANNELS]
    shown = [one for one in own if one.channel in kept]
    parts = {
        visit: {
            name(one.channel, "channel"): [_found(one, step) for step in RUNGS[1:]]
            for one in shown if one.visit == visit
        }
        for visit in VISITS if any(one.visit == visit for one in shown)
    }  # fmt: skip
    rows = [
        (f"{RUNG_WORDS[gain.rung]} over {heat.over(one, gain)}\n"
         f"{one.visit}, {name(one.channel, 'channel')}", gain.verdict,
         scale.found(gain.gain, gain.low, gain.high))
        for one in shown for gain in heat.gains(one)
    ]  # fmt: skip
    return Section(
        f"{kind}s: what each step up adds".capitalize(),
        "Each bar is what a more personal feed adds to the best of those below it, in the earlier "
        "days; the thin line is its 95 %. To the right of 0 it helps, to the left it harms.",
        "A line that crosses 0 settles nothing. Arriving people have no context: they have "
        "looked at nothing yet.",
        ("step", "verdict", "gain, 95 %"), rows,
        plot=plots.climbs(parts, [RUNG_WORDS[step] for step in RUNGS[1:]], _axis(scale)),
    )  # fmt: skip


def _found(cell: Weighed, step: str) -> plots.Found | None:
    return next(((g.gain, g.low, g.high) for g in heat.gains(cell) if g.rung == step), None)


def fading(evidence: Evidence, kind: str, scale: Scale) -> Section:
    """How the gain of each rung over one feed for all moves over the periods."""
    own = [one for one in evidence.periods if one["kind"] == kind]
    by_rung = {
        RUNG_WORDS[step]: found
        for step in RUNGS[1:] if (found := [one for one in own if one["rung"] == step])
    }  # fmt: skip
    lines = {
        word: [(_moment(one["from"]), (one["mean"], one["low"], one["high"])) for one in found]
        for word, found in by_rung.items()
    }
    rows = [
        (f"{_moment(one['from']):%Y-%m-%d}", RUNG_WORDS[one["rung"]], f"{one['requests']:,}",
         scale.found(one["mean"], one["low"], one["high"]))
        for one in own
    ]  # fmt: skip
    return Section(
        f"{kind}s: does the gain fade?".capitalize(),
        "What each kind of feed gained over one feed for all, period by period, had everybody "
        "been served no more personal a feed than this. The shaded days chose nothing.",
        "A line that falls to 0 says that people get used to it.",
        ("from", "feed", "requests", "gain, 95 %"), rows, 2,
        notes=[f"{word}: {_moved(found)}" for word, found in by_rung.items()],
        plot=plots.over_time(lines, _axis(scale), _moment(evidence.chosen_until)),
    )  # fmt: skip


def _moved(found: Sequence[Mapping[str, Any]]) -> str:
    first, last = found[0], found[-1]
    if last["high"] < first["low"]:
        return "less in the last period than in the first"
    if last["low"] > first["high"]:
        return "more in the last period than in the first"
    return "no clear change from the first period to the last"


def cells(evidence: Evidence, scale: Scale, least: int) -> Section:
    """The finest cells of at least `least` people, those with the most requests first."""
    own = heat.finest(evidence)
    told = [one for one in own if one.people >= least]
    rest = [one for one in own if one.people < least]
    notes = [
        f"cells of fewer than {least} people each: {len(rest):,}, with "
        f"{sum(one.requests for one in rest):,} of {sum(one.requests for one in own):,} requests"
    ]
    return Section(
        "All cells", "Every group that was weighed, those with the most requests first.",
        "Gains are over one feed for all, in the later days.",
        ("kind", "channel", "visit", "stage", "segment", "people", "served", "verdict",
         "gain, 95 %"),
        [_row(one, scale) for one in told], 5, notes=notes if rest else [],
    )  # fmt: skip


def _row(cell: Weighed, scale: Scale) -> tuple[str, ...]:
    parts = (name(getattr(cell, level), level) for level in _PARTS)
    held, later = heat.holds(cell), cell.later
    gained = {"": "0, the same feed", "not asked": "not asked later"}.get(held, "")
    if later and not gained:
        word = "open" if held == "open" else ""
        gained = scale.found(later["gain"], later["low"], later["high"], word)
        if scale.unit != "ndcg@20" and cell.feeds_a_month is not None:
            gained += f"\n{later['gain'] * cell.feeds_a_month:+,.0f} a month"
    return (
        str(cell.kind), *parts, f"{cell.people:,}",
        f"{RUNG_WORDS[RUNGS[heat.rung(cell)]]}\n({cell.rests_on})", heat.verdict(cell), gained,
    )  # fmt: skip


def _axis(scale: Scale) -> str:
    return f"gain in {scale.unit}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
