"""What a training run can be told: the `training` section of `feeds.yaml`, a part per ranker."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from features.options import Section, Share

RankerName = Literal[
    "popularity", "segment_popularity", "repeat", "transitions", "session_neighbours",
    "neighbours", "graph", "als", "ease", "sequence", "content", "blend",
]  # fmt: skip
RANKER_NAMES: tuple[RankerName, ...] = get_args(RankerName)
Count = Annotated[int, Field(ge=1)]
Above0 = Annotated[float, Field(gt=0)]


class PopularityOptions(Section):
    """Recent popularity: decayed counts (Cormode et al. 2009, forward decay)."""

    half_life_days: list[Above0] = [0.01, 0.05, 0.25, 1, 3, 7, 14, 30, 90]  # the best is taken
    freshness_days: list[Above0 | None] = [None, 0.25, 1, 7]  # an item's age halves its score


class SegmentPopularityOptions(Section):
    """Popularity within a segment, leaning on everybody's where the segment is small."""

    prior: Above0 = 100.0  # events of everybody's popularity that each segment starts with


class RepeatOptions(Section):
    """What a person buys again, and when it is due."""

    prior: Above0 = 5.0  # intervals of the catalogue that each item's own start with


class TransitionsOptions(Section):
    """What came after an item, within a window of a session."""

    window: Count = 5  # items that a transition may reach over
    decay: Annotated[float, Field(gt=0, le=1)] = 0.7  # per item of distance
    half_life_days: Above0 = 90.0
    followers: Count = 500  # kept per item


class SessionNeighboursOptions(Section):
    """vs-kNN over past sessions (Ludewig & Jannach 2018)."""

    sample: Count = 1000  # newest sessions that share an item, looked at per query
    neighbours: Count = 200  # most similar ones, that speak
    sessions: Count = 500_000  # newest ones kept in the model


class NeighboursOptions(Section):
    """Item neighbours over decayed histories."""

    weighting: Literal["cosine", "tfidf", "bm25"] = "cosine"
    neighbours: Count = 500  # kept per item


class GraphOptions(Section):
    """A graph filter without training (Shen et al. 2021)."""

    factors: Count = 128
    low_pass: float = Field(default=0.3, ge=0)  # alpha in the paper: weight of the ideal filter


class AlsOptions(Section):
    """Implicit-feedback ALS (Hu, Koren & Volinsky 2008; Rendle et al. 2021)."""

    factors: Count = 64
    regularization: Above0 = 30.0
    frequency_scaling: Share = 0.0  # nu in Rendle et al. 2021, sec. 3.2: 0 uniform, 1 by frequency
    confidence_scale: Above0 = 3.0  # alpha in Hu et al., sec. 4, at the mean interest
    sweeps: Count = 15  # one sweep solves people, then items
    declared_weight: float = Field(default=1.0, ge=0)  # of an answer, in events of mean interest


class EaseOptions(Section):
    """EASE (Steck 2019) over decayed histories."""

    regularization: Above0 = 300.0
    max_items: Count = 12_000  # the most popular ones: memory grows with the square, time cubed


class SequenceOptions(Section):
    """SASRec (Kang & McAuley 2018) with a loss that keeps the full ranking honest."""

    factors: Count = 64
    layers: Count = 2
    heads: Count = 1
    length: Count = 50  # newest items of a history that it reads
    dropout: float = Field(default=0.2, ge=0, lt=1)
    learning_rate: Above0 = 1e-3
    batch: Count = 128
    negatives: Count = 256
    epochs: Count = 30  # at most; it stops when the past's own last items are told no better
    minutes: Above0 = 4.0  # at most, per fit


class ContentOptions(Section):
    """Two towers over what an item is: words, category, brand, price, age."""

    factors: Count = 64
    learning_rate: Above0 = 1e-3
    batch: Count = 512
    epochs: Count = 20
    minutes: Above0 = 2.0  # at most, per fit


class BlendOptions(Section):
    """LambdaRank (Burges 2010) over what the other rankers would show."""

    candidates: Count = 100  # of each input, per query
    trees: Count = 400  # at most; as many as people who were left out say
    leaves: int = Field(default=31, ge=2)
    learning_rate: Above0 = 0.05
    min_leaf: Count = 50
    people: Count = 20_000  # queries that it learns from, at most
    folds: int = Field(default=5, ge=2)


class Tuning(Section):
    """How long settings are looked for on the slice before the blend's; 0 trials: not at all."""

    trials: int = Field(default=0, ge=0)  # per ranker
    minutes: Above0 = 5.0  # for all rankers together
    people: Count = 5000  # asked per trial, at most


class Gate(Section):
    """What a new model must not fall below before it is served."""

    margin: float = Field(default=0.02, ge=0, lt=1)  # of the champion's ndcg that may be lost
    min_coverage: Share = 0.5  # of the champion's coverage that must remain


class Training(Section):
    """What is fitted, with which options, and how it is measured."""

    rankers: list[RankerName] = ["popularity", "neighbours", "als"]
    popularity: PopularityOptions = PopularityOptions()
    segment_popularity: SegmentPopularityOptions = SegmentPopularityOptions()
    repeat: RepeatOptions = RepeatOptions()
    transitions: TransitionsOptions = TransitionsOptions()
    session_neighbours: SessionNeighboursOptions = SessionNeighboursOptions()
    neighbours: NeighboursOptions = NeighboursOptions()
    graph: GraphOptions = GraphOptions()
    als: AlsOptions = AlsOptions()
    ease: EaseOptions = EaseOptions()
    sequence: SequenceOptions = SequenceOptions()
    content: ContentOptions = ContentOptions()
    blend: BlendOptions = BlendOptions()
    tuning: Tuning = Tuning()
    gate: Gate = Gate()
    test_days: float | None = Field(default=None, gt=0)  # None: a tenth of the log, 1 to 28 days
    test_people: Count = 20_000  # at most so many are asked, drawn by the seed
    bootstrap_draws: int = Field(default=1000, ge=100)
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where there is one
