"""One training run: slice, tune, fit, blend, judge, refit on everything, save, record."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from features.build import build
from features.config import Config, Rung
from features.feature_set import FeatureSet
from features.home import Home, Progress, part_of, silent
from features.training_options import RankerName
from features.types import from_us
from training import bundle as bundles
from training.cooking import Cooked, cook, forget_fits
from training.evaluation import protocol, slices
from training.evaluation.bottom_line import evidence_of
from training.evaluation.evidence import Evidence
from training.evaluation.ladder import Gain, choose_ladder, gains_of
from training.evaluation.online_evidence import online_evidence
from training.forgetting import record_pending
from training.judging import describe_feeds, judge_all
from training.lessons import Blended, learn_blend
from training.plots import comparison
from training.rankers.blend import BlendForest
from training.recipe import FLOOR, Recipe
from training.rungs import Survey, compare_rungs
from training.slices import Cuts, World, cuts, past_at, tasks_between, usual_repeat
from training.tuning import Bench, Tried, tune

if TYPE_CHECKING:
    from training.tracking import Tracker


@dataclass(frozen=True)
class Measured:
    """What the test slice said; nothing was chosen on it.

    cuts:    where the slices begin
    summary: rows of task, name, metric, people, mean, low, high
    slices:  the policy and popularity by groups of people and items, as `evaluation.slices.rows`
    gains:   what each ranker gains over recent popularity, on the blend's slice
    ladder:  chosen by the gains
    evidence: for whom a more personal feed pays, or why nothing is known of that
    survey:  what the evidence rests on
    """

    cuts: Cuts
    summary: list[dict[str, object]]
    slices: list[dict[str, object]]
    gains: list[Gain]
    ladder: list[tuple[Rung, RankerName]]
    evidence: Evidence | str = "evidence: it was not asked for"
    survey: Survey | None = None

    @property
    def cut(self) -> datetime:
        """Where the test slice begins."""
        return from_us(self.cuts.test_us)


@dataclass(frozen=True)
class Trained:
    """A registered model version, and how it was judged.

    skipped: ranker -> why it could not be fitted
    """

    version: str
    measured: Measured
    skipped: dict[str, str]
    tried: list[Tried]
    seconds: float


@dataclass(frozen=True)
class Learned:
    """What the slices before the test came to: a recipe, and the blend that goes with it."""

    recipe: Recipe
    blended: Blended | None
    gains: list[Gain]
    tried: list[Tried]
    skipped: dict[str, str]

    @property
    def forest(self) -> BlendForest | None:
        """The blend, if there was enough to learn it from."""
        return None if self.blended is None else self.blended.forest


def train(
    config: Config, base: Path, home: Home, *, rankers: Sequence[RankerName] | None = None,
    as_of: datetime | None = None, progress: Progress = silent,
) -> Trained:  # fmt: skip
    """Build when needed, learn, judge, refit, save and register; the version is not served yet.

    rankers: which to fit, default the config's; popularity always is, for it speaks to strangers
    """
    from training.tracking import Tracker  # here: MLflow takes a second

    start = time.perf_counter()
    record_pending(config, home)
    features = build(config, base, home, as_of=as_of, progress=part_of(progress, 0.0, 0.1))
    forget_fits(home, [features.digest[:16]])
    world = World.of(config, features, home)
    names = list(dict.fromkeys([*(rankers or config.training.rankers), FLOOR]))
    parts = cuts(config, features)
    tracker = Tracker(home, config)
    with tracker.run(features):
        learned = learn(world, names, parts, part_of(progress, 0.1, 0.6))
        measured = measure(world, learned, parts, part_of(progress, 0.6, 0.8))
        served = cook(learned.recipe, past_at(world, features.as_of_us), home,
                      part_of(progress, 0.8, 0.95), learned.forest)  # fmt: skip
        progress("recording", 0.95)
        version = _saved(tracker, world, served, learned, measured)
    progress("trained", 1.0)
    skipped = learned.skipped | served.skipped
    return Trained(version, measured, skipped, learned.tried, time.perf_counter() - start)


def learn(
    world: World, names: Sequence[RankerName], parts: Cuts, progress: Progress = silent
) -> Learned:
    """Settings on the tune slice; blend and ladder on the blend slice, by rankers fitted before."""
    options = world.config.training
    recipe = Recipe(options, list(names), [(rung, FLOOR) for rung in ("one_for_all",)])
    tuning_past = past_at(world, parts.tune_us)
    tried: list[Tried] = []
    if options.tuning.trials:
        asked = tasks_between(world, tuning_past, parts.blend_us)
        floor = cook(replace(recipe, names=[FLOOR]), tuning_past, world.home).rankers[FLOOR]
        bench = Bench(tuning_past, asked, floor, world.home)
        found, tried = tune(recipe, bench, part_of(progress, 0.0, 0.4))
        recipe = replace(recipe, options=found)
    past = past_at(world, parts.blend_us)
    cooked = cook(recipe, past, world.home, part_of(progress, 0.4, 0.7))
    each = max(options.blend.people // 3, 1)  # of the tasks
    asked = [task.drawn(each, options.seed) for task in tasks_between(world, past, parts.test_us)]
    outcomes = judge_all(asked, cooked, len(world))
    blended, skipped = None, dict(cooked.skipped)
    if "blend" in names:
        learnt = learn_blend(world, recipe, parts, cooked, asked, part_of(progress, 0.7, 1.0))
        if isinstance(learnt, str):
            skipped["blend"] = learnt
        else:
            blended, outcomes = learnt, outcomes + learnt.outcomes
    repeat = usual_repeat(world)
    gains = gains_of(outcomes, repeat, options.bootstrap_draws, options.seed)
    speaking: list[RankerName] = [*cooked.rankers, *(("blend",) if blended else ())]
    chosen = choose_ladder(gains, speaking)
    return Learned(replace(recipe, ladder=chosen), blended, gains, tried, skipped)


def measure(world: World, learned: Learned, parts: Cuts, progress: Progress = silent) -> Measured:
    """Judge every ranker and the policy on the test slice: the one time that it is touched."""
    config = world.config
    past = past_at(world, parts.test_us)
    cooked = cook(learned.recipe, past, world.home, part_of(progress, 0.0, 0.7), learned.forest)
    progress("judging on what came after", 0.7)
    asked = tasks_between(world, past)
    outcomes = judge_all(asked, cooked, len(world))
    outcomes += [protocol.evaluate(cooked.steps, "policy", task, len(world)) for task in asked]
    describe_feeds(outcomes, asked, past)
    options = config.training
    rows = protocol.summary(outcomes, options.bootstrap_draws, options.seed)
    divided = slices.rows(outcomes, asked, slices.Groups.of(world, past))
    survey = compare_rungs(world, cooked, parts.test_us, options.evidence.requests,
                           part_of(progress, 0.85, 1.0))  # fmt: skip
    words = online_evidence(world) if options.evidence.online else []
    found = evidence_of(survey, config, words)
    return Measured(parts, rows, divided, learned.gains, learned.recipe.ladder, found, survey)


def _saved(
    tracker: Tracker, world: World, served: Cooked, learned: Learned, measured: Measured
) -> str:
    """Write the bundle, register it, give it the name of its version."""
    config, features, home = world.config, world.features, world.home
    scratch = home.scratch() / f"bundle-{uuid4().hex[:8]}"
    about = {
        "test_from": measured.cut.isoformat(),
        "summary": measured.summary,
        "evidence": found if isinstance(found := measured.evidence, str) else found.as_json(),
        "gains": [asdict(gain) | {"verdict": gain.verdict} for gain in measured.gains],
    }
    try:
        if measured.survey is not None:
            measured.survey.save(scratch)
        bundles.save(scratch, features, config, served.rankers, learned.recipe, about)
        number = tracker.record(
            scratch,
            params=_params(learned, served, features),
            metrics={f"{r['task']}/{r['name']}/{r['metric']}": float(str(r["mean"]))
                     for r in measured.summary},
            tags={"feature_digest": features.digest, "config_digest": config.digest(),
                  "as_of": str(features.manifest["as_of"])},
            plots={m: comparison(measured.summary, m) for m in ("ndcg_at_20", "recall_at_20")},
            slices=measured.slices,
            curves={n: r.curve for n, r in served.rankers.items() if hasattr(r, "curve")},
            trials=learned.tried,
        )  # fmt: skip
        home.bundles.mkdir(exist_ok=True)
        scratch.rename(home.bundles / f"v{number}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return f"v{number}"


def _params(learned: Learned, served: Cooked, features: FeatureSet) -> dict[str, object]:
    """The options of every fitted ranker, and what was found on the past."""
    options = learned.recipe.options.model_dump(mode="json")
    params: dict[str, Any] = {f"{n}.{k}": v for n in served.rankers for k, v in options[n].items()}
    params |= {"seed": options["seed"], "rankers": list(served.rankers),
               "as_of": features.manifest["as_of"]}  # fmt: skip
    for pace in ("pace", "live"):
        for found in ("half_life_days", "freshness_days"):
            value = getattr(getattr(served.rankers[FLOOR], pace), found)
            params[f"popularity.found_{pace}_{found}"] = value
    return params
