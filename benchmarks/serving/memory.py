"""What two workers hold at a million items, beside one copy of the arrays and an empty shop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.asks import requests_of
from benchmarks.serving.load import round_of
from benchmarks.serving.servers import Cores, on_core, serving
from benchmarks.serving.shops import TINY, Shop, home_of
from features.home import Home

MOST = 1.4  # copies of the arrays that two workers may hold beyond their base
_ASKS = ("known", "anonymous")
_SECONDS = 5.0


@dataclass(frozen=True)
class Memory:
    """MB, each of two workers together: proportional set size, so that shared pages count once.

    base: of a shop of 100 items        loaded: of the large shop, after load
    arrays: all files of its bundle
    """

    base_mb: float
    loaded_mb: float
    arrays_mb: float

    @property
    def copies(self) -> float:
        """How often the arrays are held."""
        return (self.loaded_mb - self.base_mb) / self.arrays_mb

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {**asdict(self), "copies": self.copies, "most": MOST, "met": self.copies <= MOST}


def measure(shop: Shop, base: Path, seconds: float = _SECONDS) -> Memory:
    """Serve both shops, one after the other, and ask each for some seconds."""
    arrays = arrays_mb(home_of(shop, base))
    return Memory(_held(TINY, base, seconds), _held(shop, base, seconds), arrays)


def _held(shop: Shop, base: Path, seconds: float) -> float:
    """MB of two workers that have answered."""
    cores = Cores.here()
    with serving(home_of(shop, base), workers=2) as server, on_core(cores.load):
        for ask in _ASKS:
            round_of(server, requests_of(shop, ask), 8, seconds)
        return sum(server.pss_mb())


def arrays_mb(home: Home) -> float:
    """MB of all files of the promoted bundle."""
    version = home.current()
    assert version is not None  # the shop was written with it
    files = (home.bundles / version).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20
