"""The seal of a bundle: what each of its files was when it was written, the manifest too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.leases import MANIFEST

FILES, SEAL = "files", "seal"


def sealed(directory: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with size and SHA-256 of every file below `directory`, and a digest of itself.

    What is written there later (an index, `training.retrieval`) is no part of the seal.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    told = {path.relative_to(directory).as_posix(): _of(path) for path in files}
    told.pop(MANIFEST, None)  # an older one
    whole = {**manifest, FILES: told}
    return {**whole, SEAL: _digest(whole)}


def broken(directory: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What is not as it was sealed, a sentence each; reads every file, about a second per GB."""
    own = {name: value for name, value in manifest.items() if name != SEAL}
    if manifest.get(SEAL) != _digest(own):
        return ["manifest.json is not what was written"]
    found = []
    for name, told in manifest[FILES].items():
        try:
            now = _of(directory / name)
        except OSError as error:
            found.append(f"{name} cannot be read ({error.strerror})")
            continue
        if now["bytes"] != told["bytes"]:
            found.append(f"{name} has {now['bytes']:,} bytes, not {told['bytes']:,}")
        elif now != told:
            found.append(f"{name} is not what was written")
    return found


def _of(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
