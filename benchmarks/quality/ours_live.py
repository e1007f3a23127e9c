"""Our side of the replay, through the door that everybody has: `feeds train`, `feeds rank`.

The model is trained as of the cut, then the requests are replayed with `--stream`: the log itself,
of which only what comes after the model's moment is taken in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.quality.field import Entry
from benchmarks.quality.others import Replay
from benchmarks.quality.ours import POLICY, Budget, with_budget
from benchmarks.quality.peers.base import SIZE
from features.home import Home
from features.training_options import RankerName
from features.types import Int32, from_us
from training.batch import Wish, rank_people
from training.bundle import open_bundle
from training.jobs import train
from training.slices import World


def replayed(replay: Replay, budget: Budget, names: Sequence[RankerName]) -> list[Entry]:
    """The feeds of the policy and of every ranker at the moment of each request."""
    world = replay.moment.world
    base = world.home.root.parent
    home, config = Home(base / ".feeds-replay"), with_budget(world.config, budget)
    until = from_us(replay.moment.cut_us - 1)
    trained = train(config, base, home, rankers=names, as_of=until)
    bundle = open_bundle(home, trained.version)
    people, wish = _people(replay), Wish(SIZE, stream=_stream(world))
    told = {"seconds": trained.seconds, "skipped": trained.skipped,
            "ladder": trained.measured.ladder}  # fmt: skip
    wishes = {POLICY: wish} | {str(n): replace(wish, ranker=n) for n in bundle.rankers}
    return [
        Entry(name, {"replay": _feeds(rank_people(bundle, people, one), world, len(replay.rows))},
              0.0, told)
        for name, one in wishes.items()
    ]  # fmt: skip


def _people(replay: Replay) -> pa.Table:
    """The requests: a number each, who asks, and when."""
    ids = replay.moment.world.features.persons.texts(replay.rows)
    return pa.table({
        "person_id": [str(number) for number in range(len(ids))],
        "user_id": [one.removeprefix("u:") for one in ids],
        "at": pa.array(replay.at_us, pa.timestamp("us", "UTC")),
    })  # fmt: skip


def _stream(world: World) -> Path:
    """The one file that the log is."""
    (file,) = (world.home.root.parent / "data").iterdir()
    return file


def _feeds(ranked: pa.Table, world: World, requests: int) -> Int32:
    """(requests, SIZE) items of the world's catalogue."""
    feeds = np.full((requests, SIZE), -1, dtype=np.int32)
    rows = np.array(ranked["person_id"].to_pylist(), dtype=np.int64)
    places = np.array(ranked["rank"].to_pylist(), dtype=np.int64) - 1
    feeds[rows, places] = world.features.items.indices(ranked["item_id"].to_pylist())
    return feeds
