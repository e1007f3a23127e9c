"""One small simulated shop, trained once and shared by the tests that need the whole way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tools import own_port

from features.config import Config, load_config
from features.home import Home
from serving.keys import Scope

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
    from command.demo import served

    with (
        served(trained.home, own_port(3456), workers=2, config=trained.path) as url,
        httpx.Client(base_url=url, timeout=10) as client,
    ):
        yield client


ORIGIN = "https://shop.example"
SCOPES: dict[str, list[Scope]] = {
    "reader": ["read"], "writer": ["write"], "boss": ["admin"], "page": ["read", "write"],
}  # fmt: skip


@dataclass(frozen=True)
class Guarded:
    """A real service that has keys: `keys` by their names in SCOPES."""

    url: str
    keys: dict[str, str]
    home: Home
    path: Path

    def bearer(self, name: str) -> dict[str, str]:
        """The header for one of the keys."""
        return {"authorization": f"Bearer {self.keys[name]}"}

    @property
    def log(self) -> str:
        """What it has written to its log."""
        return (self.home.root / "tmp" / "service.log").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def guarded(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The model of `trained` behind keys, with a state of its own, and with one worker."""
    from command.demo import served
    from serving.keys import add_key

    base = tmp_path_factory.mktemp("guarded")
    home, path, version = Home(base / ".feeds"), base / "feeds.yaml", trained.home.current()
    home.bundles.mkdir(parents=True)
    (home.bundles / str(version)).symlink_to(trained.home.bundles / str(version))
    home.pointer.write_text(f"{version}\n")
    path.write_text(f"{trained.path.read_text()}\nservice: {{origins: ['{ORIGIN}']}}\n")
    keys = {name: add_key(home, name, scopes, page=name == "page")
            for name, scopes in SCOPES.items()}  # fmt: skip
    with served(home, own_port(3496), workers=1, config=path) as url:
        yield Guarded(url, keys, home, path)
