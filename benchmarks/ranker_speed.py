"""What every ranker costs to fit, and how fast ALS fits and answers beside implicit's own.

Simulated shops; the feature set is built once, before. Every fit is a process of its own, so that
its peak memory is its own; what is compared with implicit runs in turn with it, and on all cores.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

FACTORS = (64, 128)
PEOPLE = 20_000  # asked for their top 20, at most
CHUNK = 512  # people in one call, as in an evaluation
console = Console(stderr=True)
Found = dict[str, Any]


def peak_mb() -> float:
    """The most memory that this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def world(shop: Path) -> Any:
    """The simulated shop's log and catalogue, built if they are not."""
    from features.build import build
    from features.config import load_config
    from features.home import Home
    from training.slices import World

    config, home = load_config(shop / "feeds.yaml"), Home(shop / "home")
    return World.of(config, build(config, shop, home), home)


def simulated(place: Path, events: int) -> Path:
    """A shop of about so many events and 20,000 items, with its feature set."""
    from simulation import SimulationConfig, simulate

    shop = place / f"shop-{events}"
    if not (shop / "feeds.yaml").exists():
        sizes = SimulationConfig(events=events, customers=events // 100, items=20_000, days=180)
        simulate(sizes, shop)
    world(shop)
    return shop


def fitted(shop: Path, name: str) -> Found:
    """Fit one ranker with its default options on all of the log."""
    from training.fitting import CannotFit, fit
    from training.slices import past_at

    about = world(shop)
    past = past_at(about, about.features.as_of_us)
    before, start = peak_mb(), time.perf_counter()
    try:
        fit(name, past, about.config.training)  # type: ignore[arg-type]
    except CannotFit as why:
        return {"failed": str(why)}
    return {"seconds": time.perf_counter() - start, "mb": peak_mb(), "before_mb": before}


def als(shop: Path, library: str) -> Found:
    """Seconds of an ALS fit by factors: ours or implicit's, same matrix, factors and sweeps."""
    from features.training_options import AlsOptions
    from training.slices import past_at

    about = world(shop)
    past = past_at(about, about.features.as_of_us)
    taken, sweeps = {}, AlsOptions().sweeps
    interest = past.interest  # counted before either starts
    for factors in FACTORS:
        options = AlsOptions(factors=factors)
        start = time.perf_counter()
        _fit_ours(past, options) if library == "ours" else _fit_implicit(interest, options)
        taken[str(factors)] = time.perf_counter() - start
    return {"seconds": taken, "entries": interest.nnz, "sweeps": sweeps, "mb": peak_mb()}


def _fit_ours(past: Any, options: Any) -> Any:
    from training.fitting.als import fit_als

    return fit_als(past, options)


def _fit_implicit(interest: Any, options: Any) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    confidence = interest.copy()
    confidence.data = 1 + options.confidence_scale * confidence.data / confidence.data.mean()
    with threadpool_limits(limits=1, user_api="blas"):  # as its documentation asks
        model = AlternatingLeastSquares(
            factors=options.factors, regularization=options.regularization, alpha=1.0,
            iterations=options.sweeps, random_state=0, dtype=np.float32,
        )  # fmt: skip
        model.fit(confidence, show_progress=False)
    return model


def answers(shop: Path) -> Found:
    """Users per second of the best 20 items without those of the history, by factors.

    ours and implicit_folding start from histories, implicit from factors that it was given.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    from features.training_options import AlsOptions
    from features.types import Ragged
    from training.rankers.base import Allowed, Queries
    from training.slices import past_at

    about = world(shop)
    past = past_at(about, about.features.as_of_us)
    asked = np.flatnonzero(np.diff(past.interest.indptr))[:PEOPLE]
    histories = past.timelines.take(asked).histories(past.as_of_us, past.signals)
    queries = Queries.plain(histories, np.diff(histories.indptr), past.as_of_us)
    own = Allowed(slice(0, len(about)), Ragged(histories.indptr, histories.items))
    rows, known = np.arange(asked.size), histories.interest()
    speed: dict[str, dict[str, list[float]]] = {}
    for factors in FACTORS:
        ranker = _fit_ours(past, AlsOptions(factors=factors, sweeps=3))
        model = AlternatingLeastSquares(factors=factors, regularization=1.0)
        model.item_factors, model.user_factors = ranker.item_factors, ranker.people(queries)

        def ours(ranker: Any = ranker) -> None:
            for chunk in np.array_split(rows, -(-rows.size // CHUNK)):
                ranker.top(queries.take(chunk), 20, own.take(chunk))

        def theirs(model: Any = model, fold: bool = False) -> None:
            with threadpool_limits(limits=1, user_api="blas"):
                model.recommend(rows, known, N=20, recalculate_user=fold)

        ways: dict[str, Callable[[], None]] = {
            "ours": ours, "implicit": theirs,
            "implicit_folding": lambda theirs=theirs: theirs(fold=True),  # type: ignore[misc]
        }  # fmt: skip
        speed[str(factors)] = {name: [] for name in ways}
        for _ in range(3):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                speed[str(factors)][name].append(rows.size / (time.perf_counter() - start))
    return {"people": int(rows.size), "items": len(about), "users_per_second": speed}


def apart(shop: Path, what: str) -> Found:
    """Run one measurement in a process of its own."""
    run = subprocess.run(
        [sys.executable, __file__, "--one", what, "--shop", str(shop)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: Found = json.loads(run.stdout.splitlines()[-1])
    return found


def alone(shop: Path, what: str) -> Found:
    """One measurement: a ranker's name, als-ours, als-implicit or answers."""
    if what == "answers":
        return answers(shop)
    return als(shop, what[4:]) if what.startswith("als-") else fitted(shop, what)


def measured(shop: Path, names: list[str], rounds: int) -> Found:
    """Everything about one shop."""
    fits = {}
    for name in names:
        console.print(f"fitting {name} …")
        fits[name] = apart(shop, name)
    console.print("ALS, ours and implicit's in turn …")
    pairs = [(apart(shop, "als-ours"), apart(shop, "als-implicit")) for _ in range(rounds)]
    console.print("top 20 of many …")
    return {"fits": fits, "als": pairs, "answers": apart(shop, "answers"), "cores": os.cpu_count()}


def main(
    events: Annotated[list[int] | None, typer.Option(help="sizes of the logs")] = None,
    rounds: Annotated[int, typer.Option(help="of both ALS; one beyond 2 million events")] = 3,
    ranker: Annotated[list[str] | None, typer.Option(help="default: all but the blend")] = None,
    data: Annotated[Path | None, typer.Option(help="where the shops are kept")] = None,
    out: Annotated[Path | None, typer.Option(help="write the numbers as JSON, too")] = None,
    one: Annotated[str | None, typer.Option(hidden=True)] = None,
    shop: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Simulate and build once, then measure every ranker and compare ALS with implicit's."""
    if one is not None and shop is not None:
        print(json.dumps(alone(shop, one)))  # noqa: T201
        return
    from training.rankers import RANKERS

    place = data or Path(tempfile.gettempdir()) / "feeds-benchmarks"
    place.mkdir(parents=True, exist_ok=True)
    found = {}
    for size in events or [1_000_000, 10_000_000]:
        console.print(f"{size:,} events: simulating and building, unless it was done before …")
        names = ranker or [str(name) for name in RANKERS if name != "blend"]
        apart_shop = simulated(place, size)
        found[str(size)] = measured(apart_shop, names, rounds if size <= 2_000_000 else 1)
        for table in tables(size, found[str(size)]):
            Console().print(table)
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")


def tables(size: int, found: Found) -> Iterator[Table]:
    """Fits; ALS beside implicit's; answers beside implicit's."""
    fits = _table(f"{size:,} events, default options", "ranker", "fit s", "peak MB", "before MB")
    for name, one in found["fits"].items():
        numbers = [f"{one[k]:,.1f}" if k == "seconds" else f"{one[k]:,.0f}"
                   for k in ("seconds", "mb", "before_mb") if "failed" not in one]  # fmt: skip
        fits.add_row(name, *(numbers or [one["failed"]]))
    yield fits
    pairs = found["als"]
    ours = pairs[0][0]
    about = f"ALS fit, {ours['entries']:,} entries, {ours['sweeps']} sweeps, {found['cores']} cores"
    fit = _table(about, "factors", "ours s", "implicit s", "ours / implicit, median")
    for factors in map(str, FACTORS):
        taken = [[one["seconds"][factors] for one in pair] for pair in pairs]
        seconds = [" ".join(f"{s:.1f}" for s in side) for side in zip(*taken, strict=True)]
        fit.add_row(factors, *seconds, f"{median(a / b for a, b in taken):.2f}")
    yield fit
    asked = found["answers"]
    about = f"top 20 of {asked['items']:,} items for {asked['people']:,} people, users a second"
    speed = _table(about, "factors", "ours", "implicit", "implicit, folding in", "ours / implicit")
    for factors, ways in asked["users_per_second"].items():
        numbers = [f"{median(rate):,.0f}" for rate in ways.values()]
        pairs = zip(ways["ours"], ways["implicit"], strict=True)
        speed.add_row(factors, *numbers, f"{median(a / b for a, b in pairs):.2f}")
    yield speed


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


if __name__ == "__main__":
    typer.run(main)
