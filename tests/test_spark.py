"""Spark and DuckDB write the same feature set: builder by builder, on a small log with all dirt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from rich.table import Table
from tools import need

from features.build import build
from features.config import load_config
from features.feature_set import FeatureSet
from features.home import Home
from simulation import SimulationConfig, simulate

pytest.importorskip("pyspark", reason="pyspark is not installed: pip install '.[spark]'")
# py4j leaves them to the end
pytestmark = pytest.mark.filterwarnings("ignore:.*(socket|_GatewayClient).*")

SMALL = {  # of a few thousand rows: starting is all that costs
    "spark.sql.shuffle.partitions": "2", "spark.default.parallelism": "2",
    "spark.sql.adaptive.enabled": "false", "spark.sql.codegen.wholeStage": "false",
    "spark.driver.memory": "1g", "spark.sql.session.timeZone": "Asia/Tokyo",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}  # fmt: skip
BUILDERS = {  # file of the feature set -> who made it
    "removed": "cleaning, step by step",
    "links": "identity",
    "events": "coding, sessions, returns",
    "persons": "people, stages, segments",
    "contacts": "contacts of customers",
    "items": "catalogue",
    "categories": "category tree",
    "reference_prices": "reference prices",
    "popularity": "popularity windows",
    "trending": "trending",
    "repurchase": "repurchase intervals",
}
ARRAYS = ("timelines", "declared", "devices", "person_ids", "item_ids")
SEGMENTS = [
    {"name": "bargain hunters", "rule": "share_discounted > 0.5 AND orders >= 2"},
    {"name": "readers", "declared": "favourite_topic"},
    {"learned": 4},
]


@dataclass(frozen=True)
class Compared:
    """One table of both feature sets."""

    name: str
    rows: int
    columns: int
    floats: float  # largest relative difference of a float


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FeatureSet]:
    """The same log built by either engine."""
    need("java")
    base = tmp_path_factory.mktemp("engines")
    simulate(SimulationConfig(customers=150, items=120, days=60, events=4_500, seed=3), base)
    path = base / "feeds.yaml"
    shop = yaml.safe_load(path.read_text()) | {"segments": SEGMENTS}
    shop["popularity"] = {"repurchase_min_people": 1, "trending_min_events": 2}
    shop["mail"] = {"withhold": {"channel_question": "favourite_topic"}}  # an answer is an answer
    path.write_text(yaml.safe_dump(shop | {"engine": {"spark": SMALL}}, sort_keys=False))
    config = load_config(path)
    return {
        name: build(config.on_engine(name, "local[2]"), base, Home(base / name))
        for name in ("duckdb", "spark")
    }


def compare(name: str, left: Path, right: Path) -> Compared:
    """Everything but floats must be the same; how far floats are apart is told."""
    one, other = pq.read_table(left), pq.read_table(right)
    assert one.schema.names == other.schema.names
    assert one.num_rows == other.num_rows
    apart = 0.0
    for column in one.schema.names:
        mine, theirs = one[column], other[column]
        assert mine.type == theirs.type, f"{name}.{column}"
        if pa.types.is_floating(mine.type):
            assert mine.is_null().equals(theirs.is_null()), f"{name}.{column}"
            a, b = (np.asarray(c.drop_null()) for c in (mine, theirs))
            np.testing.assert_allclose(a, b, rtol=1e-9, err_msg=f"{name}.{column}")
            apart = max(apart, *(np.abs(a - b) / np.maximum(np.abs(a), 1e-300)), 0.0)
        else:
            unlike = pc.sum(pc.not_equal(mine.combine_chunks(), theirs.combine_chunks())).as_py()
            assert mine.is_null().equals(theirs.is_null()), f"{name}.{column}"
            assert not unlike, f"{name}.{column}: {unlike} rows differ"
    return Compared(name, one.num_rows, one.num_columns, apart)


def test_every_table_is_the_same_whoever_built_it(both, capsys):
    table = Table(title=f"DuckDB and Spark, {both['duckdb'].manifest['rows']['read']:,} events")
    for heading in ("table", "built by", "rows", "columns", "floats apart by"):
        table.add_column(heading)
    for name, builder in BUILDERS.items():
        found = compare(name, *(both[e].directory / f"{name}.parquet" for e in ("duckdb", "spark")))
        assert found.rows, f"{name} is empty: it shows nothing"
        table.add_row(name, builder, f"{found.rows:,}", str(found.columns), f"{found.floats:.1g}")
    with capsys.disabled():
        Console().print(table)


@pytest.mark.parametrize("name", ARRAYS)
def test_every_array_is_the_same_whoever_built_it(both, name):
    files = [sorted((both[e].directory / name).rglob("*.npy")) for e in ("duckdb", "spark")]
    assert len(files[0]) == len(files[1]) > 0
    for one, other in zip(*files, strict=True):
        np.testing.assert_array_equal(np.load(one), np.load(other), err_msg=one.name)


def test_the_manifests_agree_on_all_that_was_counted(both):
    same = ("as_of", "removed", "respelled_items", "robots", "event_types", "links", "stages",
            "segments", "answers", "rows", "profile", "digest")  # fmt: skip
    for key in same:
        assert both["duckdb"].manifest[key] == both["spark"].manifest[key], key


def test_the_log_has_the_dirt_that_engines_disagree_on(both):
    manifest = both["duckdb"].manifest
    assert {"exact duplicate", "near duplicate", "non-product"} <= set(manifest["removed"])
    times = np.asarray(both["duckdb"].timelines.occurred_us)
    assert (times % 1_000_000 != 0).mean() > 0.9, "sub-second times"
    assert manifest["links"]["merged_devices"] > 0
    assert max(manifest["profile"]["null_shares"].values()) > 0.5
