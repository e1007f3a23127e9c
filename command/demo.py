"""The demo: from a log to four feeds, and where to look afterwards."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from features.home import Home
from training.bundle import Bundle

START_SECONDS = 60


def bring_example(name: str, data: Path, target: Path) -> Path:
    """Lay an example's config beside links to its data; returns the config."""
    source = Path(__file__).parent.parent / "examples" / name
    if not (source / "feeds.yaml").exists():
        known = sorted(p.parent.name for p in source.parent.glob("*/feeds.yaml"))
        raise ValueError(f"there is no example {name!r}; there are {known}")
    files = sorted(p for p in data.glob("*") if p.is_file()) if data.is_dir() else []
    if not files:
        raise ValueError(
            f"{data} holds no files; see {source / 'README.md'} for how to get the log of {name}"
        )
    (target / "data").mkdir(parents=True, exist_ok=True)
    for file in files:
        link = target / "data" / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file.resolve())
    shutil.copy(source / "feeds.yaml", target / "feeds.yaml")
    return target / "feeds.yaml"


def serve_command(
    home: Home, port: int, workers: int, config: Path | None = None, host: str = "127.0.0.1"
) -> tuple[list[str], dict[str, str]]:
    """The command that serves `home`, and its environment.

    config: whose rules the service follows; None: those that the model was trained with
    host:   where it listens; on this machine alone it needs no keys
    """
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Feeds",
               "--host", host, "--port", str(port)]  # fmt: skip
    environment = {
        **os.environ,
        "FEEDS_HOME": str(home.root.resolve()),
        "FEEDS_WORKERS": str(workers),
        "FEEDS_OPEN": "here" if host == "127.0.0.1" else "0",
        **({"FEEDS_CONFIG": str(config.resolve())} if config else {}),
        "BENTOML_HOME": str((home.root / "bentoml" / os.environ.get("FEEDS_HOST", "")).resolve()),
        "BENTOML_DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",  # workers are processes; threads inside them fight for the cores
        "OPENBLAS_NUM_THREADS": "1",
    }
    return command, environment


@contextmanager
def served(home: Home, port: int, workers: int, config: Path | None = None) -> Iterator[str]:
    """Serve `home` in a process of its own while the block runs; yields the URL."""
    command, environment = serve_command(home, port, workers, config)
    log = home.scratch() / "service.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(process, url, log)
            yield url
        finally:
            process.terminate()


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/readyz", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise ValueError(f"the service did not start; the end of {log}:\n{log.read_text()[-2000:]}")


def free_port(wanted: int) -> int:
    """`wanted` when nothing listens there, else one that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ValueError("there is no free port on this machine")


def tool(name: str) -> str:
    """How to call a command of this environment from here, also where it is not activated."""
    mine = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found is not None and Path(found).resolve() == mine.resolve():
        return name
    return str(mine.relative_to(Path.cwd()) if mine.is_relative_to(Path.cwd()) else mine)


def four_requests(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """A known customer, a visitor in the middle of a session, a stranger, and an unknown id."""
    placement = next(iter(bundle.config.placements))
    lengths = np.diff(bundle.timelines.indptr)
    customers = np.char.startswith(bundle.persons.ids, b"u:")
    requests: dict[str, dict[str, Any]] = {}
    usable = np.flatnonzero(customers & np.asarray(bundle.consent) & (lengths > 0))
    if usable.size:
        typical = usable[np.argsort(lengths[usable], kind="stable")[usable.size // 2]]
        person = bundle.persons.text(int(typical)).removeprefix("u:")
        requests[f"customer {person}"] = {"placement": placement, "user_id": person}
    session = _a_session(bundle)
    names = " + ".join(bundle.catalogue.name(bundle.catalogue.ids.index(item)) for item in session)
    requests[f"anonymous session ({names})"] = {"placement": placement, "recent": session}
    requests["perfect stranger"] = {"placement": placement}
    requests["unknown user id"] = {"placement": placement, "user_id": "nobody-knows-me"}
    return requests


def _a_session(bundle: Bundle) -> list[str]:
    """A popular item of the placement's kind and the one that goes best with it."""
    placement = next(iter(bundle.config.placements.values()))
    shown = bundle.catalogue.shown(placement.kind)
    popularity = bundle.ladder[-1].ranker.popularity  # type: ignore[attr-defined]
    first = np.arange(len(bundle.catalogue), dtype=np.int32)[shown][
        np.argsort(-np.asarray(popularity)[shown], kind="stable")[3:5]
    ]
    return bundle.catalogue.ids.texts(first)


def ask(url: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """One feed from the service."""
    answer = httpx.post(f"{url}/feed", json=dict(request), timeout=10)
    answer.raise_for_status()
    return dict(answer.json())


def as_curl(url: str, request: Mapping[str, Any], endpoint: str = "feed") -> str:
    """The same request for a terminal."""
    import json

    body = shlex.quote(json.dumps(dict(request)))
    return f"curl -s {url}/{endpoint} -H 'content-type: application/json' -d {body}"
