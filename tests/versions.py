"""Versions of the small shop's model in a home: every card's price is the number of its version."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import small_desk

from features import arrays
from features.config import Config
from features.home import Home, write_json
from training.bundle import PROBES, Bundle
from training.probes import probed
from training.sealing import FILES, SEAL, sealed

CARDS = "catalogue/prices.npy"
SIMILARITY = "rankers/neighbours/similarity.data.npy"
Change = Callable[[Any], Any]


def version(
    home: Home, name: str, changes: dict[str, Change] | None = None, **sections: Any
) -> Path:
    """The shop's model as `name`, with other sections in its config, and other arrays.

    changes: file -> what becomes of its array. All is sealed again: files and manifest are in
    order, whatever they say; the known answers stay those of the shop's model, unless there are
    other placements.
    """
    directory = home.bundles / name
    shutil.copytree(small_desk.directory(), directory)
    number = float(name.removeprefix("v"))
    for file, change in {CARDS: lambda old: np.full_like(old, number), **(changes or {})}.items():
        change_file(directory / file, change)
    manifest = json.loads((directory / "manifest.json").read_text())
    config = Config.model_validate({**manifest["config"], **sections}).model_dump(mode="json")
    reseal(directory, config=config)
    if "placements" in sections:
        shutil.rmtree(directory / PROBES)
        arrays.save(probed(Bundle.open(directory)), directory / PROBES)
        reseal(directory)
    return directory


def change_file(file: Path, change: Change) -> None:
    """Another array in the place of this one; who has it mapped keeps the old one."""
    new = change(np.load(file))
    file.unlink()
    np.save(file, new)


def reseal(directory: Path, **keys: Any) -> None:
    """Seal a bundle as it is now, with other keys in its manifest."""
    manifest = json.loads((directory / "manifest.json").read_text())
    plain = {name: value for name, value in manifest.items() if name not in (FILES, SEAL)}
    write_json(directory / "manifest.json", sealed(directory, {**plain, **keys}))


def flip(file: Path) -> None:
    """The last byte is another one."""
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.unlink()
    file.write_bytes(whole)


def other_factors(old: Any) -> Any:
    """What another training might have come to."""
    return np.random.default_rng(1).permutation(old) * 2
