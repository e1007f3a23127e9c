"""Programs that some tests need: where one is missing they skip; with FEEDS_TOOLS=all they fail."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

BESIDE_PYTHON = str(Path(sys.executable).parent)  # what pip installs, environment active or not


def need(*tools: str) -> None:
    """Go on where all these programs are; else skip, or fail, and say which are not."""
    path = os.pathsep.join((os.environ["PATH"], BESIDE_PYTHON))
    missing = [one for one in tools if shutil.which(one, path=path) is None]
    if missing:
        stop = pytest.fail if os.environ.get("FEEDS_TOOLS") == "all" else pytest.skip
        stop(f"needs {' and '.join(missing)}, not installed here; see README.md")
