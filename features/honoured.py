"""Whom a feature set or a bundle was made without, as it says itself; imports little."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

HONOURED = "forgotten.json"  # in what was made; pseudonym -> moment


def honoured(made: Path) -> dict[str, int]:
    """Pseudonym -> the moment up to which this directory was made without that name."""
    file = made / HONOURED
    found: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    return found


def covers(done: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    """Does `done` leave out everybody of `wanted`, as far as wanted?"""
    return all(done.get(one, -1) >= moment for one, moment in wanted.items())
