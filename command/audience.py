"""`feeds audience`: find the people, write them down, say how many and who is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from command import show
from training.audience import Target, audience, check, write
from training.bundle import Bundle


def find(
    bundle: Bundle, items: Sequence[str], categories: Sequence[str], most: int, out: Path
) -> None:
    """Write at most `most` customers for each item and each category to `out`."""
    check(out)
    targets = [Target.item(bundle, one) for one in dict.fromkeys(items)]
    targets += [Target.category(bundle, one) for one in dict.fromkeys(categories)]
    with show.progress_bar() as progress:
        found = audience(bundle, targets, most, progress)
    write(found, out)
    names = found.table["target"].to_pylist()
    for target in targets:
        show.console.print(f"{target.name}: {names.count(target.name):,} customers")
    for why, people in found.left_out.items():
        show.console.print(f"left out, {why}: {people:,}", style="dim")
    show.console.print(f"model {bundle.version} → {out}")
    note = "who may be mailed is not looked at here: join it with consent_email"
    show.console.print(note, style="yellow")
