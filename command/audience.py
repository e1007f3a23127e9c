"""`feeds audience`: find the people, write them down, say how many and who is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from command import show
from features.config import Config
from training.audience import Found, Target, audience, check, message_audience, write
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
    _written(bundle, found, [target.name for target in targets], out)


def find_for_messages(
    bundle: Bundle, config: Config, messages: Sequence[str], most: int, out: Path
) -> None:
    """Write at most `most` customers for each of the config's key messages to `out`."""
    check(out)
    found = message_audience(bundle, config.messages, messages, most)
    _written(bundle, found, list(dict.fromkeys(messages)), out)
    show.console.print("lift: how alive somebody's interest is, beside the customer in the middle")


def _written(bundle: Bundle, found: Found, targets: Sequence[str], out: Path) -> None:
    write(found, out)
    names = found.table["target"].to_pylist()
    for target in targets:
        show.console.print(f"{target}: {names.count(target):,} customers")
    for why, people in found.left_out.items():
        show.console.print(f"left out, {why}: {people:,}", style="dim")
    show.console.print(f"model {bundle.version} → {out}")
    note = "who may be mailed is not looked at here: join it with consent_email"
    show.console.print(note, style="yellow")
