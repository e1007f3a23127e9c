"""The files of a mailing, made of its finished parts, one after the other.

Everything is written beside its place and takes it at the end. The summary comes last of all, by
`finish`, when what was sent is remembered: where it lies a mailing can be sent.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow.parquet as pq
from msgspec.structs import replace

from features.config import Config
from features.home import Progress, silent, written_beside
from serving.mailing.blocks import Blocks
from serving.mailing.dressing import DressedMail, Dressing, mail_of
from serving.mailing.parts import PART, RECORD, Record, as_blocks, tables
from serving.mailing.sheet import Sheet
from serving.mailing.summary import Summary, Tally
from serving.rendering import rendered
from serving.templating import Templates

BLOCKS, WIDE, LINES, PAGES = "blocks.parquet", "recipients.csv", "mails.jsonl", "html"
SUMMARY = "summary.json"
_json = msgspec.json.Encoder()


class Sink(Protocol):
    """Something that mails are written to, one by one."""

    def __call__(self, mail: DressedMail, /) -> object:
        """Write one mail."""


def write(
    out: Path, dressing: Dressing, config: Config, templates: Templates | None = None,
    progress: Progress = silent,
) -> Summary:  # fmt: skip
    """Make all files of the mailing in `out` but the summary; those of an earlier time go.

    templates: also render every mail, as HTML and as plain text; None: only data
    Raises ValueError where parts are missing or of another mailing.
    """
    began, record = time.perf_counter(), Record.read(out)
    if record is None:
        raise ValueError(f"{out} has no {RECORD}: no mailing was decided there")
    tally, each, done = Tally(record), len(record.placements), 0
    _clear(out)
    with _uncollected(), ExitStack() as stack:
        whole = pq.ParquetWriter(_beside(stack, out / BLOCKS), PART, compression="zstd")
        stack.enter_context(whole)
        sinks = _sinks(stack, out, record, config, templates)
        for table in tables(out, record):
            whole.write_table(table, row_group_size=max(len(table), 1))
            blocks = as_blocks(table)
            tally.add(blocks)
            for mail in _mails(dressing, blocks, each):
                for sink in sinks:
                    sink(mail)
            done += len(table) // each
            progress("writing the mails", done / max(record.recipients, 1))
    if templates is None and (out / PAGES).exists():
        shutil.rmtree(out / PAGES)  # of an earlier time
    return tally.told(dressing.catalogue, config, time.perf_counter() - began)


def finish(out: Path, summary: Summary) -> None:
    """Write OUT/summary.json: the sign that the mailing can be sent."""
    with written_beside(out / SUMMARY) as beside:
        beside.write_bytes(msgspec.json.format(_json.encode(summary), indent=1) + b"\n")


def _clear(out: Path) -> None:
    """Take away what a killed run left, and the summary of files that are being replaced."""
    (out / SUMMARY).unlink(missing_ok=True)
    for name in (BLOCKS, WIDE, LINES, PAGES, SUMMARY):
        for left in out.glob(f".{name}.*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextmanager
def _uncollected() -> Iterator[None]:
    """A part is a million lists and texts without a cycle; looking for one takes a third of all."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _beside(stack: ExitStack, target: Path) -> Path:
    return stack.enter_context(written_beside(target))


def _mails(dressing: Dressing, blocks: Blocks, each: int) -> Iterator[DressedMail]:
    """Those that are sent."""
    for row in range(0, len(blocks), each):
        rows = range(row, row + each)
        if any(blocks.decisions[one] != "suppress" for one in rows):
            yield dressing.dressed(blocks, rows)


def _sinks(
    stack: ExitStack, out: Path, record: Record, config: Config, templates: Templates | None
) -> list[Sink]:
    sizes = {name: config.placements[name].size for name in record.placements}
    handle = _beside(stack, out / WIDE).open("w", encoding="utf-8", newline="")
    sheet = Sheet(stack.enter_context(handle), sizes)
    lines = stack.enter_context(_beside(stack, out / LINES).open("wb"))
    pages = None
    if templates is not None:
        pages = _beside(stack, out / PAGES)
        pages.mkdir()

    def line(mail: DressedMail) -> None:
        if pages is not None and templates is not None:
            mail = _page(mail, pages, config, templates)
        lines.write(_json.encode(mail))
        lines.write(b"\n")

    return [sheet, line]


def _page(mail: DressedMail, pages: Path, config: Config, templates: Templates) -> DressedMail:
    """Write a mail as HTML and as text; returns it with their names, relative to the mailing."""
    found, name = rendered(mail_of(mail, config), templates), mail.pseudonym
    folder = pages / name[:2]
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.html").write_text(found.html, encoding="utf-8", newline="")
    (folder / f"{name}.txt").write_text(found.text, encoding="utf-8", newline="")
    place = f"{PAGES}/{name[:2]}/{name}"
    return replace(mail, html=f"{place}.html", text=f"{place}.txt")
