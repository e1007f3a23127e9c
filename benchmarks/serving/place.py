"""Where benchmarks keep what a next run need not make again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PLACE = Path(os.environ.get("FEEDS_BENCHMARKS") or Path(tempfile.gettempdir()) / "feeds-benchmarks")
