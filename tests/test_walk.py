"""The page that walks through a customer's life, run as it stands against the real service."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "walk.md"
_END = "-- end of block --"


def blocks(kind: str) -> list[tuple[int, str]]:
    """The fenced blocks of a kind: where each begins on the page, and what it says."""
    text = PAGE.read_text(encoding="utf-8")
    return [(one.start(), one[1]) for one in re.finditer(rf"```{kind}\n(.*?)```", text, re.DOTALL)]


def said(service) -> list[list[str]]:
    """What each block of shell prints, line by line, all run in one shell."""
    script = "".join(f"{block}\necho '{_END}'\n" for _, block in blocks("sh"))
    environment = {**os.environ, "URL": str(service.base_url).rstrip("/")}
    run = subprocess.run(
        ["bash", "-e", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return [one.strip("\n").splitlines() for one in run.stdout.split(_END)[:-1]]


def shown() -> list[list[str]]:
    """What the page says that each block of shell prints."""
    begins = [start for start, _ in blocks("sh")]
    texts = blocks("text")
    pairs = zip(begins, [*begins[1:], 10**9], strict=True)
    return [[line for start, text in texts if begin < start < end for line in text.splitlines()]
            for begin, end in pairs]  # fmt: skip


def test_every_feed_on_the_page_says_what_the_page_says(service):
    """All but titles and what they go with: an item is an item, popular or not."""
    told, page = said(service), shown()
    for lines in (*told, *page):
        lines[:] = [_an_item(line) if line.startswith("  ") else line for line in lines]
    assert told == page


def _an_item(line: str) -> str:
    return "popular" if line.endswith(": popular right now") else "an item"
