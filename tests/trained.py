"""One small simulated shop, trained once and shared by the tests that need the whole way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from features.config import Config, load_config
from features.home import Home

SMALL = """
training:
  als: {factors: 32, sweeps: 5}
  sequence: {factors: 16, length: 20, epochs: 2, steps: 1}
  content: {factors: 16, epochs: 3}
  blend: {trees: 30, leaves: 7, folds: 2}
"""


@dataclass(frozen=True)
class Trained:
    """A trained and promoted shop on disk."""

    path: Path
    config: Config
    home: Home


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The simulated shop and its magazine, small, with version 1 promoted."""
    from simulation import SimulationConfig, simulate
    from training.jobs import train
    from training.promotion import promote

    base = tmp_path_factory.mktemp("trained")
    simulate(SimulationConfig(customers=300, items=160, days=60, events=15_000), base)
    with (base / "feeds.yaml").open("a", encoding="utf-8") as file:
        file.write(SMALL)
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    promote(config, home, train(config, base, home).version)
    return Trained(base / "feeds.yaml", config, home)


@pytest.fixture(scope="session")
def service(trained: Trained) -> Iterator[httpx.Client]:
    """A client of the real service with two workers, on the simulated shop."""
    from command.demo import free_port, served

    with (
        served(trained.home, free_port(3456), workers=2, config=trained.path) as url,
        httpx.Client(base_url=url, timeout=10) as client,
    ):
        yield client
