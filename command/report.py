"""`feeds report data`: what the log looks like, as tables in a terminal and as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command import pages, show
from command.facts import Seen, attention, headlines
from command.sections import CHANGE_HEAD, Section, change_rows, sections
from features.build import build
from features.config import Config
from features.drift import TooMuchChange, changes
from features.home import Home
from features.types import from_us


def data_report(config: Config, base: Path, home: Home) -> Path:
    """Build or open the feature set of the current input, show it, and write the page.

    Returns where the page lies. Raises TooMuchChange, after a table of what changed, when the input
    has moved beyond the config's bounds; then the page of the last build stays.
    """
    try:
        with show.progress_bar() as progress:
            features = build(config, base, home, progress=progress)
    except TooMuchChange as stop:
        rows = change_rows(change for change in stop.changes if change.beyond)
        show.console.print(pages.table("Beyond the bounds", CHANGE_HEAD, rows, 1))
        raise
    seen = seen_in(config, features.manifest, home)
    found = sections(seen)
    for section in found:
        pages.tell(section)
    for sentence in attention(seen):
        show.console.print(f"look at this: {sentence}", style="yellow", markup=False)
    page = write_page(seen, found, base.resolve().name, home.root / "reports" / "data.html")
    show.console.print(f"the same with pictures: {page}", soft_wrap=True, highlight=False)
    return page


def seen_in(config: Config, manifest: dict[str, Any], home: Home) -> Seen:
    """The manifest beside that of the feature set before it, as far as there is one."""
    if "profile" not in manifest:
        raise ValueError(
            f"the feature set {manifest['digest'][:16]} was built by a version that counted less; "
            f"delete its directory under {home.feature_sets} and run `feeds report data` again"
        )
    file = home.feature_sets / str(manifest.get("previous")) / "manifest.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if before is None or "profile" not in before:
        return Seen(config, manifest)
    moved = changes(before["profile"], manifest["profile"], config.bounds)
    return Seen(config, manifest, before, moved)


def write_page(seen: Seen, found: Sequence[Section], shop: str, target: Path) -> Path:
    """Write the report as one page that needs nothing else; returns `target`."""
    return pages.write(
        "data_report.html", target,
        shop=shop, as_of=from_us(seen.profile["as_of_us"]), headlines=headlines(seen),
        attention=attention(seen), sections=found, digest=seen.manifest["digest"][:16],
        seconds=seen.manifest.get("seconds", {}),
    )  # fmt: skip
