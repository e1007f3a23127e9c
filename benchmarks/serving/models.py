"""Rankers of a shop that was never trained: real classes and graphs, numbers out of a hat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from benchmarks.serving.shops import BRANCHES, LEAVES, Top, World
from features.home import written_beside
from features.live import Counters, Reach, Trails, Transitions
from features.training_options import AlsOptions, BlendOptions, RankerName, SequenceOptions
from features.types import Float32, Int32, Ragged
from training.item_side import item_side
from training.past import Past
from training.rankers.als import AlsModel, AlsRanker
from training.rankers.base import Allowed, Queries, Ranker
from training.rankers.blend import BlendForest, candidates, score_all
from training.rankers.blend_features import ItemSide, names, rows_of
from training.rankers.least_squares import diagonal
from training.rankers.neighbours import NeighboursRanker
from training.rankers.onnx_model import OnnxModel
from training.rankers.popularity import Pace, PopularityRanker
from training.rankers.sequence import SequenceRanker
from training.rankers.transitions import TransitionsRanker

INPUTS: list[RankerName] = ["popularity", "transitions", "neighbours", "als"]
CANDIDATES = 180  # of each input: about 500 different ones
_TREES = 120  # as many as the demo's blend found worth having
_ASKED = 400  # people that the forest is grown on
_PAIRS = 20_000_000  # neighbours kept, at most


def rankers_of(top: Top, world: World, past: Past, graphs: Path) -> dict[RankerName, Ranker]:
    """What the ladder needs, and what its rankers ask."""
    found: dict[RankerName, Ranker] = {"popularity": popularity(past)}
    if top in ("als", "blend"):
        found["als"] = als(world, past)
    if top == "sequence":
        found["sequence"] = sequence(world, graphs)
    if top == "blend":
        found |= {"transitions": transitions(past), "neighbours": neighbours(world)}
        found["blend"] = blend(found, past, graphs)
    return found


def als(world: World, past: Past) -> AlsRanker:
    """The world's factors, turned, and the penalties that a fit would have found."""
    turn, strength = diagonal(world.factors)
    factors, options = world.factors @ turn, AlsOptions()
    mean = float(past.interest.data.mean(dtype=np.float64))
    free = len(world.factors) / options.confidence_scale
    penalty = 0.1 / float((30 + free) ** options.frequency_scaling)
    model = AlsModel(options.confidence_scale / mean, penalty, free, options.frequency_scaling)
    return AlsRanker(
        np.concatenate([factors, _means(factors, world.category)]), strength,
        np.ones(len(factors), np.bool_), model, options.declared_weight,
    )  # fmt: skip


def _means(factors: Float32, category: Int32) -> Float32:
    """(categories of the tree, f) float32, each the mean of its items."""
    branch, places = category // LEAVES, BRANCHES * (LEAVES + 1)
    codes = np.concatenate([category + branch + 1, branch * (LEAVES + 1)])  # each above its leaves
    rows = np.tile(np.arange(category.size), 2)
    members = sp.csr_matrix((np.ones(codes.size, np.float32), (codes, rows)),
                            shape=(places, category.size))  # fmt: skip
    counts = np.maximum(np.asarray(members.sum(axis=1)), 1)
    return np.asarray((members @ factors) / counts, dtype=np.float32)


def popularity(past: Past) -> PopularityRanker:
    """Counts at two paces, as a fit leaves them."""
    return PopularityRanker(_pace(past, 7.0), _pace(past, 0.25), past.items.born_us)


def _pace(past: Past, days: float) -> Pace:
    trails = Trails.of(past.timelines, past.signals)
    counters = Counters.empty(np.array([days]), past.timelines.n_items, past.as_of_us)
    counters.add(trails.items, trails.weights, trails.occurred_us)
    return Pace(counters, days, None)


def transitions(past: Past) -> TransitionsRanker:
    """What followed what in the log."""
    trails = Trails.of(past.timelines, past.signals)
    reach = Reach(window=10, decay=0.85, ordered=True)
    counted = Transitions.of(trails, past.timelines.n_items, reach, 90.0, past.as_of_us, 500)
    return TransitionsRanker(counted, 0.7, 0.3, 0.25)


def neighbours(world: World, seed: int = 2) -> NeighboursRanker:
    """Items of the same category, drawn; as many as are kept by default, fewer for many items."""
    random, n = np.random.default_rng(seed), world.category.size
    kept = min(500, max(20, _PAIRS // n))
    begin, end = (
        np.searchsorted(world.category, world.category, side=s) for s in ("left", "right")
    )
    room = (end - begin)[:, None]
    steps = np.arange(kept)[None, :]
    drawn = (random.integers(0, room) + steps * np.maximum(room // kept, 1)) % room
    indices = (begin[:, None] + drawn).astype(np.int32).ravel()
    weights = (random.random(indices.size, dtype=np.float32) ** 2) + np.float32(0.01)
    indptr = np.arange(n + 1, dtype=np.int64) * kept
    found = sp.csr_matrix((weights, indices, indptr), shape=(n, n))
    found.sum_duplicates()
    return NeighboursRanker(found)


def sequence(world: World, graphs: Path) -> SequenceRanker:
    """The world's factors read by a network with the weights that it starts with."""
    options = SequenceOptions(factors=world.factors.shape[1])
    reader = _kept(graphs / f"reader-{options.factors}", lambda: _reader(options))
    touched = np.ones(len(world.factors), np.bool_)
    curve = np.zeros((1, 4), np.float32)
    return SequenceRanker(world.factors, touched, reader, options.length, 20, curve)


def _reader(options: SequenceOptions) -> OnnxModel:
    from training.fitting import torch_run
    from training.fitting.sequence_net import SequenceNet, exported

    with torch_run.seeded(0):
        return OnnxModel(exported(SequenceNet(options, 10).reader, options))


def blend(rankers: Mapping[RankerName, Ranker], past: Past, graphs: Path) -> Ranker:
    """A forest over the inputs: what it looks at does not depend on the shop's size."""
    side = item_side(past)
    forest = _kept(graphs / f"forest-{len(INPUTS)}", lambda: _forest(rankers, past, side))
    return BlendForest(forest, side, INPUTS, CANDIDATES).bound(rankers)


def _forest(rankers: Mapping[RankerName, Ranker], past: Past, side: ItemSide) -> OnnxModel:
    """LambdaMART from people who want what ALS and the transitions agree on, more or less."""
    from training.fitting.blend import as_graph, grown
    from training.fitting.blend_lessons import Lessons

    queries = queries_of(past, np.arange(min(_ASKED, len(past.timelines))))
    scored = score_all(rankers, INPUTS, queries)
    everything = Allowed(slice(0, past.timelines.n_items), Ragged.empty(len(queries)))
    row, item = candidates(queries, scored, everything, CANDIDATES)
    rows = rows_of(queries, scored, side, row, item)
    luck = np.random.default_rng(3).gumbel(size=row.size)
    likely = -np.log1p(rows[:, [5, 8, 11]]).sum(axis=1) + luck  # places
    labels = (likely > np.quantile(likely, 0.98)).astype(np.int8)
    lessons = Lessons(rows, labels, item, row, np.arange(len(queries)), np.arange(len(queries)))
    options = BlendOptions(trees=_TREES)
    taught = np.ones(row.size, np.bool_)
    return as_graph(grown(lessons, names(INPUTS), options, 0, taught), rows.shape[1])


def queries_of(past: Past, people: np.ndarray) -> Queries:
    """These people, asking at the moment that the past ends, in no visit."""
    histories = past.timelines.take(people).histories(past.as_of_us, past.signals)
    return Queries.plain(histories, np.diff(histories.indptr), past.as_of_us)


def _kept(path: Path, make: Callable[[], OnnxModel]) -> OnnxModel:
    """The graph in a file, made when it is not there."""
    file = path.with_suffix(".onnx")
    if not file.exists():
        made = make()
        with written_beside(file) as beside:
            beside.write_bytes(made.graph)
    return OnnxModel(file.read_bytes())
