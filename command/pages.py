"""What the reports share: a section in a terminal, and a page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from command import show
from command.sections import Section
from features.home import written_beside

TEMPLATES = Path(__file__).parent / "templates"


def write(template: str, target: Path, **values: object) -> Path:
    """Fill `template` and put it in the place of `target`, which is returned."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["drawing"] = Markup  # our own SVG; all other text is escaped
    page = environment.get_template(template).render(**values)
    with written_beside(target) as beside:
        beside.write_text(page, encoding="utf-8")
    return target


def tell(section: Section) -> None:
    """One section in the terminal."""
    if not section.rows:
        show.console.print(f"{section.title}: {'; '.join(section.notes)}\n", markup=False)
        return
    show.console.print(table(section.title, section.head, section.rows, section.texts))
    lines = [f"  {section.trend}\n"] if section.trend else []
    lines += [f"  {note}" for note in section.notes]
    for line in lines:
        show.console.print(line, style="dim", highlight=False, markup=False)
    if section.notes:
        show.console.print()


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    """Words to the left, numbers to the right; no text of the data is taken for markup."""
    found = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for place, heading in enumerate(head):
        whole = any("\n" in row[place] for row in rows)  # it comes in lines of its own
        found.add_column(heading, justify="left" if place < texts else "right", no_wrap=whole)
    for row in rows:
        found.add_row(*(Text(cell) for cell in row))
    return found
