"""The contract report: what `feeds check` shows, and every demo first."""

from __future__ import annotations

from pathlib import Path

from command import show
from features.config import Config
from features.engine import engine
from features.home import Home
from features.reading import file_digests, read_tables, stop_if_too_many
from serving.rendering import load_templates


def check(config: Config, base: Path, home: Home) -> None:
    """Read every source by the contract and show what came of it.

    Raises TooManyRejects, after the report, when more is rejected than the config allows; before
    it TemplateFault for a template of mails that cannot be used.
    """
    load_templates(config.mail, base, config.shop.language)  # a fault is told now, with its line
    with show.progress_bar() as progress, home.locked():
        tables = read_tables(config, home, file_digests(config, base, home), progress)
    with engine(home.scratch(), config.engine) as place:
        events = tables.accepted(place, "events")
        assert events is not None  # a config without events is refused
        types = place.collect(events.group_by("event_type").agg(rows=events.count()))
    show.reports(tables.reports)
    names, rows = types["event_type"].to_pylist(), types["rows"].to_pylist()
    show.event_types(dict(zip(names, rows, strict=True)), config)
    show.console.print(f"rejected rows with their reasons: {home.rejects}", soft_wrap=True)
    stop_if_too_many(tables.reports, config.contract.max_rejected_share, home.rejects)
