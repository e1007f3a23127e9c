"""The real logs: where they lie, and how each is read (examples/<name>/feeds.yaml)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from features.build import build
from features.config import load_config
from features.home import Home
from training.slices import World

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FEEDS_DATA") or ROOT.parent / "shared" / "data")
LOGS = {  # name of the example: where its Parquet files lie, and the name that its config looks for
    "online_retail": ("online_retail/*.parquet", "online_retail.parquet"),
    "eshop_clothing": ("eshop_clothing_clicks/*.parquet", "clicks.parquet"),
    "deskdrop": ("deskdrop/*.parquet", "users_interactions.parquet"),
}


def available(data: Path) -> list[str]:
    """Names of the logs that lie under `data`."""
    return [name for name, (files, _) in LOGS.items() if any(data.glob(files))]


def open_log(name: str, data: Path, scratch: Path) -> World:
    """Build the feature set of a log in `scratch`, or take the one that lies there."""
    base = scratch / name
    (base / "data").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "examples" / name / "feeds.yaml", base)
    files, wanted = LOGS[name]
    source, link = next(iter(sorted(data.glob(files)))), base / "data" / wanted
    if not link.exists():
        link.symlink_to(source.resolve())
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    return World.of(config, build(config, base, home), home)
