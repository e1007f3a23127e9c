"""One training run: split, fit, judge, choose the ladder, refit on everything, save, record."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from features.build import build
from features.config import Config, Rung
from features.feature_set import FeatureSet
from features.home import Home, Progress, silent, written_beside
from features.split import cut_for_test, time_split
from features.training_options import RankerName
from features.types import from_us
from training import bundle as bundles
from training.bundle import alone
from training.catalogue import Catalogue
from training.evaluation import evidence, protocol
from training.evaluation.protocol import Outcome
from training.fitting import CannotFit, fit
from training.item_facts import ItemFacts
from training.past import Past
from training.plots import comparison
from training.policy import Step
from training.rankers.base import Ranker


@dataclass(frozen=True)
class Measured:
    """What the time split said.

    summary: rows of task, name, metric, people, mean, low, high
    """

    cut: datetime
    summary: list[dict[str, object]]
    gains: list[evidence.Gain]
    ladder: list[tuple[Rung, RankerName]]


@dataclass(frozen=True)
class Trained:
    """A registered model version, and how it was judged."""

    version: str
    measured: Measured
    skipped: dict[str, str]  # ranker -> why it could not be fitted
    seconds: float


def train(
    config: Config, base: Path, home: Home, *, rankers: Sequence[RankerName] | None = None,
    as_of: datetime | None = None, progress: Progress = silent,
) -> Trained:  # fmt: skip
    """Build when needed, fit, judge, refit, save and register; the new version is not served yet.

    rankers: which to fit, default the config's; popularity always is, for it speaks to strangers
    """
    start = time.perf_counter()
    features = build(config, base, home, as_of=as_of, progress=_part(progress, 0.0, 0.3))
    names = list(dict.fromkeys([*(rankers or config.training.rankers), evidence.FLOOR]))
    measured = measure(config, features, names, _part(progress, 0.3, 0.6))
    refitting = _part(progress, 0.6, 0.8)
    items, moment = ItemFacts.of(features), features.as_of_us
    past = Past.plain(features.timelines, moment, config.signals, items, seed=config.training.seed)
    fitted, skipped = _fit_all(names, past, config, refitting)
    ladder = evidence.choose_ladder(measured.gains, list(fitted))
    measured = replace(measured, ladder=ladder)
    progress("recording", 0.8)
    version = _saved(config, home, features, fitted, measured)
    progress("trained", 1.0)
    return Trained(version, measured, skipped, time.perf_counter() - start)


def measure(
    config: Config, features: FeatureSet, names: Sequence[RankerName], progress: Progress = silent
) -> Measured:
    """Fit on the past of a time split, judge each ranker and the policy on what came after.

    The policy's ladder is chosen on the same people: its own row flatters it a little.
    """
    cut = cut_for_test(features.timelines, config.training.test_days)
    split = time_split(features.timelines, cut)
    items = ItemFacts.of(features)
    past = Past.plain(split.past, cut, config.signals, items, seed=config.training.seed)
    fitted, _ = _fit_all(names, past, config, _part(progress, 0.0, 0.5))
    progress("judging on what came after", 0.5)
    catalogue = Catalogue.of(features, config.shop.currency)
    asked = protocol.tasks(split, config, catalogue)
    outcomes = _outcomes(asked, {n: _filled(n, fitted) for n in fitted}, len(catalogue))
    options = config.training
    repeat = _usual_repeat(config, catalogue)
    gains = evidence.gains(outcomes, repeat, options.bootstrap_draws, options.seed)
    ladder = evidence.choose_ladder(gains, list(fitted))
    steps = [Step(rung, name, fitted[name]) for rung, name in ladder]
    outcomes += _outcomes(asked, {"policy": steps}, len(catalogue))
    rows = protocol.summary(outcomes, options.bootstrap_draws, options.seed)
    progress("judged", 1.0)
    return Measured(from_us(cut), rows, gains, ladder)


def _fit_all(
    names: Sequence[RankerName], past: Past, config: Config, progress: Progress
) -> tuple[dict[RankerName, Ranker], dict[str, str]]:  # fmt: skip
    """Every ranker that can be fitted, and why the others cannot."""
    fitted: dict[RankerName, Ranker] = {}
    skipped: dict[str, str] = {}
    for place, name in enumerate(names):
        progress(f"fitting {name}", place / len(names))
        try:
            fitted[name] = fit(name, past, config.training)
        except CannotFit as error:
            skipped[name] = str(error)
    return fitted, skipped


def _part(progress: Progress, begin: float, end: float) -> Progress:
    """A progress that fills the part from `begin` to `end` of `progress`."""
    return lambda what, share: progress(what, begin + share * (end - begin))


def _filled(name: RankerName, fitted: Mapping[RankerName, Ranker]) -> list[Step]:
    """A ladder for one ranker, filled by the floor as it would be when served."""
    rest = [] if name == evidence.FLOOR else alone(evidence.FLOOR, fitted[evidence.FLOOR])
    return alone(name, fitted[name]) + rest


def _outcomes(
    asked: Sequence[protocol.Task], ladders: Mapping[Any, Sequence[Step]], n_items: int
) -> list[Outcome]:
    """Every ladder on every task."""
    return [
        protocol.evaluate(ladder, name, task, n_items)
        for task in asked
        for name, ladder in ladders.items()
    ]


def _usual_repeat(config: Config, catalogue: Catalogue) -> str:
    """The repeat rule of the kind that most of the catalogue is of."""
    articles = float(catalogue.kinds.mean()) > 0.5 if len(catalogue) else False
    return config.repeat.article if articles else config.repeat.product


def _saved(
    config: Config, home: Home, features: FeatureSet, fitted: Mapping[RankerName, Ranker],
    measured: Measured,
) -> str:  # fmt: skip
    """Write the bundle, register it, give it the name of its version."""
    from training.tracking import Tracker

    scratch = home.scratch() / f"bundle-{uuid4().hex[:8]}"
    about = {
        "test_from": measured.cut.isoformat(),
        "summary": measured.summary,
        "gains": [asdict(gain) | {"verdict": gain.verdict} for gain in measured.gains],
    }
    try:
        bundles.save(scratch, features, config, fitted, measured.ladder, about)
        number = Tracker(home, config).record(
            scratch,
            params=_params(config, fitted),
            metrics={f"{r['task']}/{r['name']}/{r['metric']}": float(str(r["mean"]))
                     for r in measured.summary},
            tags={"feature_digest": features.digest, "config_digest": config.digest(),
                  "as_of": str(features.manifest["as_of"])},
            plots={m: comparison(measured.summary, m) for m in ("ndcg_at_20", "recall_at_20")},
        )  # fmt: skip
        home.bundles.mkdir(exist_ok=True)
        scratch.rename(home.bundles / f"v{number}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return f"v{number}"


def _params(config: Config, fitted: Mapping[RankerName, Ranker]) -> dict[str, object]:
    """The options of every fitted ranker, and what was found on the past."""
    options = config.training.model_dump(mode="json")
    params: dict[str, object] = {f"{n}.{k}": v for n in fitted for k, v in options[n].items()}
    params |= {"seed": config.training.seed, "rankers": list(fitted)}
    params["popularity.found_half_life_days"] = getattr(
        fitted[evidence.FLOOR], "half_life_days", None
    )
    return params


@dataclass(frozen=True)
class Promotion:
    """What is served from now on, and what was before."""

    version: str
    before: str | None
    repaired: str  # what pointer and alias disagreed about, if they did


def promote(config: Config, home: Home, version: str | None = None) -> Promotion:
    """Serve `version` (v3 or 3; None: the newest): alias and pointer move in one step."""
    from training.tracking import Tracker

    tracker = Tracker(home, config)
    numbers = tracker.versions()
    wanted = _number(version) if version else (numbers[-1] if numbers else None)
    if wanted is None or wanted not in numbers:
        known = [f"v{number}" for number in numbers] or "none; run `feeds train`"
        raise bundles.NoModel(f"no model {version or 'at all'} is registered; there are {known}")
    before, champion = home.current(), tracker.champion()
    agreed = before == (None if champion is None else f"v{champion}")
    repaired = "" if agreed else f"CURRENT named {before}, the alias v{champion}"
    target = home.bundles / f"v{wanted}"
    if not target.exists():
        home.bundles.mkdir(parents=True, exist_ok=True)
        tracker.fetch(wanted, target)
    bundles.Bundle.open(target)  # what cannot be opened must not be served
    tracker.set_champion(wanted)
    with written_beside(home.pointer) as beside:
        beside.write_text(f"v{wanted}\n", encoding="utf-8")
    return Promotion(f"v{wanted}", before, repaired)


def _number(version: str) -> int | None:
    with suppress(ValueError):
        return int(version.removeprefix("v"))
    return None
