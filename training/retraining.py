"""Retraining for a scheduler: build, train, judge, promote, as far as there is anything to do.

Called again it does nothing again: what serves the newest data by today's config is left alone, and
a version that was trained and not yet promoted is judged, not trained once more. What somebody went
back from, or forced another version upon, stays withdrawn until the data, the config or the code
change. Until the very last step the champion serves on, whatever goes wrong before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed_version
from pathlib import Path

from features.build import build
from features.config import Config
from features.feature_set import FeatureSet
from features.home import Busy, Home, Progress, part_of, silent
from training.bundle import Bundle, NoModel, bundle_versions
from training.forgetting import Settled, record_pending, settle
from training.jobs import Trained, train
from training.promotion import Judged, Word, promote_if_it_passes, withdrawn
from training.recipe import FLOOR


@dataclass(frozen=True)
class Retrained:
    """What came of it.

    features: the data of today      serving: the version that served before, None for none
    trained:  None where there was nothing to train
    judged:   None where the champion was made from today's data by today's config, or what was
              made from them is withdrawn
    withdrawn: the version that would serve, had nobody withdrawn it
    settled:  what became of the proofs of the forgotten
    """

    features: FeatureSet
    serving: str | None
    trained: Trained | None
    judged: Judged | None
    withdrawn: str | None = None
    settled: Settled = field(default_factory=Settled)

    @property
    def refused(self) -> bool:
        """Was there a new version that the gate did not let through?"""
        return self.judged is not None and self.judged.promotion is None

    @property
    def sentence(self) -> str:
        """What came of it, in one line."""
        moment = self.features.manifest["as_of"]
        if self.withdrawn is not None:
            told = f"{self.withdrawn} was withdrawn, and the log still goes up to {moment}"
            return f"nothing new: {told}; serving: {self.serving or 'nothing'}, as before"
        if self.judged is None:
            return f"nothing new: {self.serving} was made from the log up to {moment}, as it is"
        made = "trained" if self.trained else "trained before"
        told = f"{self.judged.version} was {made} from the log up to {moment}"
        if self.refused:
            return f"{told} and refused; serving: {self.serving or 'nothing'}, as before"
        return f"{told}; serving: {self.judged.version}, before: {self.serving or 'nothing'}"


def retrain(config: Config, base: Path, home: Home, progress: Progress = silent) -> Retrained:
    """Serve a model of today's data if the gate lets it through.

    Raises Busy when another retraining runs here; TooManyRejects, TooMuchChange and whatever else a
    build or a training raises. Then nothing has moved.
    """
    try:
        with home.locked("retrain.lock", wait=False):
            record_pending(config, home)
            done = _retrain(config, base, home, progress)
            return replace(done, settled=settle(config, home))
    except Busy:
        raise Busy(f"another `feeds retrain` runs on {home.root}; this one did nothing") from None


def _retrain(config: Config, base: Path, home: Home, progress: Progress) -> Retrained:
    features = build(config, base, home, progress=part_of(progress, 0.0, 0.1))
    serving, trained = home.current(), None
    if serving is not None and _made_from(home, serving, config, features):
        return Retrained(features, serving, None, None)
    made = [one for one in bundle_versions(home) if _made_from(home, one, config, features)]
    version = _newest_not_withdrawn(home, made)
    if version is None and made:
        return Retrained(features, serving, None, None, made[-1])
    if version is None:
        trained = train(config, base, home, progress=part_of(progress, 0.1, 0.8))
        version = trained.version
    judged = promote_if_it_passes(
        config, home, version, word=Word("retrain"), features=_features_of(home, version),
        progress=part_of(progress, 0.8, 1.0),
    )  # fmt: skip
    return Retrained(features, serving, trained, judged)


def _newest_not_withdrawn(home: Home, versions: list[str]) -> str | None:
    """versions: oldest first"""
    out = withdrawn(home)
    return next((one for one in reversed(versions) if one not in out), None)


def _features_of(home: Home, version: str) -> FeatureSet:
    """What the version was made from: the sources may have grown since they were looked at."""
    digest = Bundle.open(home.bundles / version).manifest["feature_digest"]
    return FeatureSet.open(home.feature_sets / digest[:16])


def _made_from(home: Home, version: str, config: Config, features: FeatureSet) -> bool:
    """Was it made from these features by this config and code?"""
    try:
        bundle = Bundle.open(home.bundles / version)
    except NoModel:
        return False
    manifest, names = bundle.manifest, set(bundle.recipe.names)
    made = (manifest["feature_digest"], bundle.config.digest(), manifest["code_version"])
    asked = (features.digest, config.digest(), installed_version("purposeful-feeds"))
    return made == asked and names == {*config.training.rankers, FLOOR}
