"""What a mailing came to, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from command.facts import percent
from command.heat import RUNG_WORDS
from command.show import console
from features.config import RUNGS, Config
from serving.mailing.summary import Summary
from serving.why import WHY

DECISIONS = ("show", "fallback", "suppress")
_CELLS = 15  # of segment and stage; the file has all


def mail_summary(summary: Summary, config: Config) -> None:
    """Who gets a mail and who does not, why, and what is in them."""
    told = summary.decisions
    console.print(
        f"{summary.mailing}: {summary.mails:,} mails for {summary.recipients:,} recipients; "
        f"{told.get('fallback', 0):,} less personal than they could be, "
        f"{told.get('suppress', 0):,} get none", highlight=False,
    )  # fmt: skip
    _reasons(summary)
    _groups(summary)
    _placements(summary, config)
    _top(summary)
    if summary.repeated:
        console.print(f"items that stand twice in one mail: {summary.repeated:,}", style="red")


def _reasons(summary: Summary) -> None:
    rows = []
    for decision in DECISIONS:
        for reason, people in summary.reasons.get(decision, {}).items():
            share = percent(people / summary.recipients)
            rows.append((decision, reason, WHY.get(reason, ""), f"{people:,}", share))
    _table("Decisions, by reason", ("decision", "reason", "means", "recipients", "share"), rows, 3)


def _groups(summary: Summary) -> None:
    """Segment by stage, the largest groups first."""
    rows = [
        (cell.segment or "–", cell.stage or "–", *_counted(cell.decisions))
        for cell in summary.cells[:_CELLS]
    ]
    _table("By segment and stage", ("segment", "stage", *DECISIONS, "mailed"), rows, 2)
    if (more := len(summary.cells) - _CELLS) > 0:
        console.print(f"and {more} smaller groups", style="dim")


def _counted(decisions: Mapping[str, int]) -> list[str]:
    total = sum(decisions.values())
    mailed = total - decisions.get("suppress", 0)
    return [*(f"{decisions.get(one, 0):,}" for one in DECISIONS), percent(mailed / total)]


def _placements(summary: Summary, config: Config) -> None:
    rows = []
    for name, one in summary.placements.items():
        blocks = sum(one.decisions.get(what, 0) for what in ("show", "fallback"))
        mean = f"{one.items / blocks:.1f} of {config.placements[name].size}" if blocks else "–"
        personal = (percent(one.rungs.get(rung, 0.0)) for rung in reversed(RUNGS))
        covered = f"{one.different:,} of {one.could_be:,} ({percent(one.coverage)})"
        rows.append((name, f"{blocks:,}", mean, *personal, covered))
    rungs = (str(RUNG_WORDS[rung]) for rung in reversed(RUNGS))
    head = ("placement", "blocks", "items each", *rungs, "catalogue shown")
    _table("What they show; items by how personal they are", head, rows, 1)


def _top(summary: Summary) -> None:
    rows = [(one.item_id, one.title, f"{one.mails:,}") for one in summary.top_items]
    _table("Shown most", ("item", "title", "mails"), rows, 2)


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> None:
    """texts: so many columns stand to the left, the others are numbers."""
    found = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for place, heading in enumerate(head):
        found.add_column(heading, justify="left" if place < texts else "right")
    for row in rows:
        found.add_row(*map(escape, row))  # a title may look like markup
    if found.row_count:
        console.print(found)
