"""What a training run can be told: the `training` section of `feeds.yaml`, a part per ranker."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

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

    half_life_days: list[Above0] = [0.05, 0.25, 1, 3, 7, 14, 30, 90]  # the best is taken
    prior: list[Above0] = [10, 100, 1000]  # events of everybody that a segment starts with


class RepeatOptions(Section):
    """What a person buys again, and when it is due."""

    prior: Above0 = 5.0  # repurchases at the catalogue's rate that each item's own start with
    half_life_days: Above0 = 60.0  # a repurchase this old says half as much about its item


class TransitionsOptions(Section):
    """What came after an item; of the lists the values that foretold the past best are taken."""

    window: Count = 10  # items that a transition may reach over
    decay: Annotated[float, Field(gt=0, le=1)] = 0.85  # per item of distance
    half_life_days: Above0 = 90.0
    followers: Count = 500  # kept per item
    recency: list[Annotated[float, Field(gt=0, le=1)]] = [0.15, 0.4, 0.7, 0.95]  # per item back
    popularity_damping: list[Share] = [0.0, 0.25, 0.5]  # of what follows everything
    earlier: Share = 0.3  # what a history from before the session counts


class SessionNeighboursOptions(Section):
    """vs-kNN over past sessions (Ludewig & Jannach 2018)."""

    sample: Count = 2000  # newest sessions that share an item, looked at per query
    neighbours: Count = 500  # most similar ones, that vote
    history: Count = 100  # newest events of who asks, looked at
    half_life_days: Above0 = 180.0  # a session this old has half a vote
    rarity: float = Field(default=0.5, ge=0)  # weight of the inverse frequency of an item
    sessions: Count = 500_000  # newest ones kept in the model


class NeighboursOptions(Section):
    """Item neighbours over decayed histories."""

    weighting: Literal["cosine", "tfidf", "bm25"] = "bm25"
    neighbours: Count = 500  # kept per item
    saturation: Above0 = 1.2  # k1 of BM25
    length_share: Share = 0.75  # b of BM25: how much a popular item's weights are cut


class GraphOptions(Section):
    """A graph filter without training (Shen et al. 2021)."""

    factors: Count = 128
    low_pass: float = Field(default=0.05, ge=0)  # alpha in the paper: weight of the ideal filter
    neighbours: Count = 500  # kept per item


class AlsOptions(Section):
    """Implicit-feedback ALS (Hu, Koren & Volinsky 2008; Rendle et al. 2021)."""

    factors: Count = 128
    regularization: Above0 = 30.0  # its mean over people and items, whatever the scaling
    frequency_scaling: Share = 0.5  # nu in Rendle et al. 2021, sec. 3: 0 uniform, 1 by frequency
    confidence_scale: Above0 = 4.0  # 1 / alpha_0 there: an event of mean interest / no event
    sweeps: Count = 15  # one sweep solves people, then items
    declared_weight: float = Field(default=1.0, ge=0)  # of an answer / an event that weighs as much


class EaseOptions(Section):
    """EASE (Steck 2019) over decayed histories."""

    regularization: Above0 = 300.0
    interest_power: Share = 0.5  # 1: as it is; 0: any interest counts alike
    max_items: Count = 10_000  # the most popular ones: memory grows with the square, time cubed


class SequenceOptions(Section):
    """SASRec (Kang & McAuley 2018) with a softmax over the catalogue, or an estimate of it."""

    factors: Count = 64
    layers: Count = 2
    heads: Count = 4  # must divide the factors
    length: int = Field(default=50, ge=2)  # newest items of a history that it reads
    dropout: float = Field(default=0.2, ge=0, lt=1)
    learning_rate: Above0 = 3e-3  # at its highest: it rises for some steps, then falls to 0
    batch: Count = 800  # places of histories, each with its next item, per step
    negatives: Count = 1024  # per batch; up to 5,000 items it needs none: all are looked at
    epochs: Count = 24  # at most; it stops when the past's own last items are told no better
    steps: Count = 2_000  # more epochs than that where they come to fewer steps: on a small log
    minutes: Above0 = 1.2  # at most, per fit

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.factors % self.heads:
            raise ValueError(
                f"heads is {self.heads}, which does not divide factors ({self.factors}); "
                "choose another"
            )
        return self


class ContentOptions(Section):
    """Two towers over what an item is: words, category, brand, price, age."""

    factors: Count = 64
    dropout: float = Field(default=0.2, ge=0, lt=1)  # of words and properties while learning
    learning_rate: Above0 = 5e-3
    batch: Count = 512
    epochs: Count = 30  # at most; it stops when items held out are placed no better
    minutes: Above0 = 0.8  # at most, per fit


class BlendOptions(Section):
    """LambdaRank (Burges 2010) over what the other rankers would show."""

    candidates: Count = 100  # of each input, per request
    negatives: Count = 100  # candidates that were not wanted, learned from per request
    trees: Count = 300  # at most; as many as help people who were left out
    leaves: int = Field(default=15, ge=2)
    learning_rate: Above0 = 0.08
    min_leaf: Count = 50
    people: Count = 6_000  # requests that it learns from, at most
    folds: int = Field(default=4, ge=2)


class Tuning(Section):
    """How long settings are looked for on the slice before the blend's; 0 trials: not at all."""

    trials: int = Field(default=0, ge=0)  # per ranker
    minutes: Above0 = 5.0  # for all rankers together
    people: Count = 5000  # asked per trial, at most


class Gate(Section):
    """What a new model must not fall below before it is served."""

    margin: float = Field(default=0.02, ge=0, lt=1)  # of the other's ndcg@20 that may be lost
    min_coverage: Share = 0.5  # of the champion's coverage (none: of popularity's) that must remain


class EvidenceOptions(Section):
    """How it is found out for whom a more personal feed pays."""

    requests: Count = 2_000  # of each kind that all rungs are asked for, at most
    periods: int = Field(default=4, ge=2)  # of the test slice; the earlier half chooses
    min_gain: float = Field(default=0.0, ge=0)  # a rung must gain so much over a less personal one
    value_per_hit: Above0 | None = None  # what it brings, in the shop's currency, that one of the
    # first 20 items is one that the person then wants; None: gains are told in ndcg alone
    margin: float | None = Field(default=None, gt=0, le=1)  # before it: this share of what was then
    # paid for items of the first 20, for kinds of items whose orders have values in the log
    cost_per_personal_feed: float = Field(default=0.0, ge=0)  # in the shop's currency
    online: bool = False  # do experiments on rungs override it? Only once their arms are served

    @property
    def in_money(self) -> bool:
        """Are gains money rather than ndcg?"""
        return self.value_per_hit is not None or self.margin is not None

    @model_validator(mode="after")
    def _a_cost_needs_a_value(self) -> Self:
        if self.cost_per_personal_feed and not self.in_money:
            raise ValueError(
                "cost_per_personal_feed is money, so the gain must be too: give value_per_hit, or "
                "margin where the log has the values of orders"
            )
        return self


class Training(Section):
    """What is fitted, with which options, and how it is measured."""

    rankers: list[RankerName] = [name for name in RANKER_NAMES if name != "graph"]
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
    evidence: EvidenceOptions = EvidenceOptions()
    test_days: float | None = Field(default=None, gt=0)  # None: a tenth of the log, 1 to 28 days
    test_people: Count = 20_000  # at most so many are asked, drawn by the seed
    bootstrap_draws: int = Field(default=1000, ge=100)
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where there is one
