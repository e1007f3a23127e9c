"""The tour that `feeds demo` gives, from log to feed."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import simulation
from command import demo, gate, show
from command.check import check
from features.config import load_config
from features.home import Home
from features.mail_options import EMAIL
from features.training_options import RankerName
from training.bundle import open_bundle
from training.jobs import train

QUICK: list[RankerName] = [  # the networks take minutes: `feeds train` fits them too
    "popularity", "segment_popularity", "repeat", "transitions", "neighbours", "als", "blend",
]  # fmt: skip


def tour(out: Path, example: str | None, data: Path | None, *, port: int, stay: bool) -> None:
    """Do the main job under `out` and show it; `stay`: keep serving until interrupted."""
    start = time.perf_counter()
    with show.progress_bar() as progress:
        if example is not None and data is not None:
            path = demo.bring_example(example, data, out / example)
        else:
            path = out / "shop" / "feeds.yaml"
            simulation.simulate(simulation.SimulationConfig(), path.parent, progress=progress)
    config, home = load_config(path), Home(path.parent / ".feeds")
    check(config, path.parent, home)
    with show.progress_bar() as progress:
        trained = train(config, path.parent, home, rankers=QUICK, progress=progress)
    show.split(trained.measured.summary, trained.measured.cut)
    show.gains(trained.measured.gains, trained.measured.ladder)
    show.evidence(trained.measured.evidence)
    gate.promote(config, home, trained.version)
    _serve(home, path, demo.free_port(port), stay=stay, started=start)


def _serve(home: Home, path: Path, port: int, *, stay: bool, started: float) -> None:
    requests = demo.four_requests(open_bundle(home, None))
    show.console.print("\nstarting the service …")
    with demo.served(home, port, workers=2, config=path) as url:
        for title, request in requests.items():
            show.feed(title, demo.ask(url, request))
        show.console.print(f"\nDone in {time.perf_counter() - started:.0f} s. Where to look:")
        _signposts(home, path, url, requests)
        if stay:
            show.console.print("\nServing until you press Ctrl-C.")
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
    show.console.print(
        f"\nThe service has stopped; start it with: {demo.tool('feeds')} serve -c {path}"
    )


def _signposts(home: Home, path: Path, url: str, requests: dict[str, dict[str, Any]]) -> None:
    curl = demo.as_curl(url, next(iter(requests.values())))
    session = next(one["recent"] for one in requests.values() if "recent" in one)
    config = open_bundle(home, None).config
    kind = list(config.signals)[config.session_signal()]
    event = {"item_id": session[0], "event_type": kind, "visitor_id": "me"}
    tell = demo.as_curl(url, {"events": [event]}, "events")
    mails = [f"--placement {name}" for name, place in config.placements.items()
             if place.channel == EMAIL]  # fmt: skip
    preview = f"{demo.tool('feeds')} mail -c {path} {' '.join(mails)} --preview --out mailing"
    database = f"sqlite:///{home.tracking_database}"
    for what, where in {
        "all rankers": f"{demo.tool('feeds')} train -c {path}",
        "does it pay": f"{demo.tool('feeds')} report evidence -c {path}",
        **({"mails": preview} if mails else {}),
        "the service": f"{url}/feed",
        "a feed": curl,
        "an event": f"{tell}   (then ask for the feed of visitor_id me)",
        "API docs": f"{url}/",
        "the runs": f"{demo.tool('mlflow')} ui --backend-store-uri {database}",
        "the config": str(path),
    }.items():
        show.console.print(f"  {what:12}{where}", soft_wrap=True, highlight=False)
