"""People as they stood at a moment before a feature set's own: what judging by the past needs.

Who is `loyal` today may have been `new` a month ago; a model judged on that month must not know.
Consent is today's, for it is about what we may use, not about what was the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

from features import arrays
from features.config import Config
from features.declared import declared_weights
from features.describe import described
from features.engine import engine as open_engine
from features.feature_set import FeatureSet
from features.home import Home, written_beside
from features.types import Int8, Int16
from features.world import Known


@dataclass(frozen=True)
class PeopleAt:
    """Stage and segment of everybody at a moment.

    stages: (n_persons,) int8, index into STAGES
    segments: (n_persons,) int16, index into `names`, -1 in none
    """

    stages: Int8
    segments: Int16
    names: list[str]


def people_at(config: Config, features: FeatureSet, moment_us: int, home: Home) -> PeopleAt:
    """Everybody as the events and answers before `moment_us` show them; computed once, then kept.

    moment_us: microseconds since 1970 UTC; at or after the feature set's own: as it says itself
    """
    if moment_us >= features.as_of_us:
        names = list(features.manifest["segments"])
        return PeopleAt(np.asarray(features.stages), np.asarray(features.segments), names)
    kept = features.directory / "at" / str(moment_us)
    if not kept.exists():
        with written_beside(kept) as beside:
            arrays.save(_computed(config, features, moment_us, home), beside)
    return arrays.load(PeopleAt, kept)


def declared_at(config: Config, features: FeatureSet, moment_us: int) -> sp.csr_matrix:
    """(n_persons, n_categories) CSR float32: what people had told us, as it weighed then."""
    log = features.timelines
    before = log if moment_us > features.as_of_us else log.where(log.occurred_us < moment_us)
    interest = before.histories(moment_us, config.signals).interest()
    sums = np.asarray(interest.sum(axis=1), dtype=np.float32).ravel()
    return declared_weights(features.declared, sums, moment_us, config.preferences)


def _computed(config: Config, features: FeatureSet, moment_us: int, home: Home) -> PeopleAt:
    with open_engine(home.scratch(), config.engine) as engine:
        persons, items, log = (
            engine.read([features.directory / f"{name}.parquet"])
            for name in ("persons", "items", "events")
        )
        known = Known(
            persons.select("person_index", "person", "kind", "consent", "joined_us"),
            items, log.filter(log.occurred_us < moment_us), moment_us,
        )  # fmt: skip
        said = _said(features.directory / "answers.parquet", moment_us)
        found = described(engine, config, known, said, None)  # later names are not known
    return PeopleAt(found.stages, found.segments.members, found.segments.names)


def _said(file: Path, moment_us: int) -> pa.Table | None:
    """The answers before a moment; one that was replaced since is not known any more."""
    return pq.read_table(file, filters=[("answered_us", "<", moment_us)]) if file.exists() else None
