"""Programs that some tests need: where one is missing they skip; with FEEDS_TOOLS=all they fail."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from command.demo import free_port

BESIDE_PYTHON = str(Path(sys.executable).parent)  # what pip installs, environment active or not


def need(*tools: str) -> None:
    """Go on where all these programs are; else skip, or fail, and say which are not."""
    path = os.pathsep.join((os.environ["PATH"], BESIDE_PYTHON))
    missing = [one for one in tools if shutil.which(one, path=path) is None]
    if missing:
        stop = pytest.fail if os.environ.get("FEEDS_TOOLS") == "all" else pytest.skip
        stop(f"needs {' and '.join(missing)}, not installed here; see README.md")


def own_port(wanted: int) -> int:
    """A port for a server: `wanted`, but another in each process of tests that run side by side."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return free_port(wanted + 100 * worker)
