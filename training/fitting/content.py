"""Fit the content towers: torch finds what words and properties mean to people."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional

from features.home import Progress, silent
from features.training_options import ContentOptions
from features.types import Bool, Float32, Int32
from training.fitting import CannotFit, torch_run
from training.fitting.content_lessons import Batch, Judge, Lessons
from training.item_facts import UNBORN, ItemFacts
from training.past import Past
from training.rankers.content import (
    AGE_DAYS,
    ContentRanker,
    ItemTower,
    Layer,
    Properties,
    age_steps,
    logarithms,
)

_STEPS = 8  # of prices
_UNITS = 16  # of the hidden layers
_SPREAD = 0.1  # of the numbers that learning begins with
_SHARPNESS = 10.0  # that it begins with
_EXAMPLES = (10_000, 100_000)  # of an epoch: a quarter of the events, but within these
_DROP = 0.5  # of hidden units while learning
_NEW = 0.02  # weight of a step in the mean over steps
_PATIENCE = 3  # epochs without gain
_AGE_RATE = 10.0  # ages learn so much faster than meanings: few numbers, much said about each
_NEVER = -1e9  # logit of what is no negative


def fit_content(past: Past, options: ContentOptions, progress: Progress = silent) -> ContentRanker:
    """Two towers; sampled softmax over the batch, corrected for its sampling (Yi et al. 2019).

    The item tower sees content only: what DropoutNet (Volkovs, Yu & Poutanen 2017) reaches by
    dropping what is known from events. So an item without events is placed like any other. Learning
    ends when items that were kept out of it are placed no better. Raises CannotFit.
    """
    return torch_run.together(_fit, past, options, progress)


def _fit(past: Past, options: ContentOptions, progress: Progress) -> ContentRanker:
    facts = past.items
    properties = _properties(facts)
    described = _described(facts)
    _check(past, described, properties.table(facts))
    lessons = Lessons.of(past, described)
    if not len(lessons):
        raise CannotFit("content: nobody has shown interest in two items that anything is known of")
    with torch_run.seeded(past.seed):
        towers = Towers(facts, properties, lessons.touched(), options)
        towers.to(torch_run.device_of(past))
        torch_run.from_first(towers)
        towers, curve = _learn(towers, lessons, Judge.of(past, lessons), options, progress)
    return _ranker(towers, past, described, lessons, curve)


def _described(facts: ItemFacts) -> Bool:
    """(n,) is anything known of the item that tells what it is?"""
    named = (facts.category >= 0) | (facts.brands >= 0) | (facts.prices > 0)
    return np.asarray(named | facts.text.any(axis=1))


def _check(past: Past, described: Bool, table: sp.csr_matrix) -> None:
    if not past.interest.nnz:
        raise CannotFit("content: nobody has shown interest in anything yet")
    if not described.any():
        raise CannotFit(
            "content: nothing is known of any item; add title, text, category, brand or price to "
            "the items table (`sources.items` in the config)"
        )
    spoken = past.items.text[described]
    known = table[np.flatnonzero(described)]
    if not np.ptp(spoken, axis=0).any() and not (known.max(axis=0) - known.min(axis=0)).nnz:
        raise CannotFit(
            "content: all items are described alike; add title, text, category, brand or price to "
            "the items table (`sources.items` in the config) that tell them apart"
        )


def _properties(facts: ItemFacts) -> Properties:
    """Steps of price between which equally many items lie."""
    steps = []
    for prices in (facts.prices, facts.price_relative):
        known = logarithms(prices)
        known = known[np.isfinite(known)]
        quantiles = np.quantile(known, np.linspace(0, 1, _STEPS)) if known.size else known
        steps.append(np.unique(quantiles.astype(np.float32)))
    n_brands, n_kinds = (int(codes.max(initial=-1)) + 1 for codes in (facts.brands, facts.kinds))
    return Properties(facts.n_categories, n_brands, n_kinds, steps[0], steps[1])


class Correction(nn.Module):
    """What a `Layer` does; it begins by correcting nothing."""

    def __init__(self, factors: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(_DROP)
        self.hidden = nn.Linear(factors, _UNITS)
        self.out = nn.Linear(_UNITS, factors)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, factors) to (n, factors), rows of length 1."""
        correction = self.out(self.drop(torch.relu(self.hidden(vectors))))
        corrected: Tensor = functional.normalize(vectors + correction, dim=1, eps=1e-6)
        return corrected

    def numbers(self) -> Layer:
        """As the ranker holds it."""
        return Layer(
            _numbers(self.hidden.weight.T), _numbers(self.hidden.bias), _numbers(self.out.weight.T),
            _numbers(self.out.bias),
        )  # fmt: skip


class Towers(nn.Module):
    """Both towers, what ages add, and the content of all items, which is not learned.

    touched: (n_items,) bool, what is learned from; a property that only others have means nothing
    """

    def __init__(
        self, facts: ItemFacts, properties: Properties, touched: Bool, options: ContentOptions
    ) -> None:
        super().__init__()
        self.facts, self.properties, self.dropout = facts, properties, options.dropout
        self.table = table = properties.table(facts)
        met = torch.from_numpy(np.asarray(touched.astype(np.float32) @ table > 0))
        self.words = nn.Parameter(torch.randn(facts.text.shape[1], options.factors) * _SPREAD)
        start = torch.randn(table.shape[1], options.factors) * _SPREAD
        self.meanings = nn.Parameter(start * met[:, None])
        self.items, self.people = Correction(options.factors), Correction(options.factors)
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS).log())
        kinds = int(facts.kinds.max(initial=0)) + 1
        self.session = nn.Parameter(torch.ones(()))
        self.ages = nn.Parameter(torch.zeros(kinds, len(AGE_DAYS) + 1))

    def forward(self, batch: Batch, rows: slice) -> Tensor:
        """(some rows, b) how likely each person is to want each item of the batch, as logits."""
        vectors, wanted = self._vectors(batch.items), self._here(batch.wanted)
        means, sessions = (
            _sums(one, self._here(one.data), vectors)
            for one in (batch.histories[rows], batch.sessions[rows])
        )
        people = self.people(means + self.session * sessions)
        with torch_run.autocast(self.words.device):
            cosines = people @ vectors[wanted].T
        logits = self.sharpness.exp() * cosines.float()
        logits = logits + self._of_age(batch, rows) - self._here(batch.log_share)
        return torch.where(self._here(self._no_negatives(batch, rows)), _NEVER, logits)

    def _vectors(self, items: Int32) -> Tensor:
        """(u, factors); words and properties are dropped at random while learning."""
        known, words = self.table[items], self._here(self.facts.text[items])
        meanings = _sums(known, self._some(self._here(known.data)), self.meanings)
        vectors: Tensor = self.items(self._some(words) @ self.words + meanings)
        return vectors

    def _of_age(self, batch: Batch, rows: slice) -> Tensor:
        wanted = batch.items[batch.wanted]
        steps = age_steps(batch.now_us[rows, None], self.facts.born_us[wanted])
        kinds = self._here(self.facts.kinds[wanted].astype(np.int64))
        ages: Tensor = functional.pad(self.ages, (0, 1))[kinds, self._here(steps)]
        return ages

    def _no_negatives(self, batch: Batch, rows: slice) -> Bool:
        """What a person has too, and what was not there yet at the time."""
        born = self.facts.born_us[batch.items[batch.wanted]]
        later = (born > batch.now_us[rows, None]) & (born != UNBORN)
        hidden: Bool = batch.apart[rows] | later
        own = np.arange(len(born))[rows]
        hidden[np.arange(own.size), own] = False
        return hidden

    def numbers(self) -> ItemTower:
        """The item tower as the ranker holds it."""
        words, meanings = _numbers(self.words), _numbers(self.meanings)
        return ItemTower(self.properties, words, meanings, self.items.numbers())

    def _some(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training)

    def _here(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self.words.device)


def _learn(
    towers: Towers, lessons: Lessons, judge: Judge | None, options: ContentOptions,
    progress: Progress,
) -> tuple[Towers, Float32]:  # fmt: skip
    """The mean of the towers on their way, as it was when it placed items held out best; the curve.

    A mean over the last steps (Polyak & Juditsky 1992) is steadier than the last step.
    """
    others = [one for name, one in towers.named_parameters() if name != "ages"]
    optimizer = torch.optim.Adam(others, lr=options.learning_rate)
    optimizer.add_param_group({"params": towers.ages, "lr": options.learning_rate * _AGE_RATE})
    mean = Towers(towers.facts, towers.properties, lessons.touched(), options)
    mean.to(towers.words.device).load_state_dict(towers.state_dict())
    course = torch_run.Course(mean, options.epochs, options.minutes, _PATIENCE)
    random, goes_on = np.random.default_rng(lessons.seed), True
    while goes_on:
        losses: list[float] = []
        drawn = lessons.draw(int(np.clip(len(lessons) // 4, *_EXAMPLES)), random)
        for events in np.array_split(drawn, max(1, drawn.size // options.batch)):
            if losses and course.late():
                break
            losses.append(_step(towers, lessons.batch(events, random), optimizer))
            _approach(mean, towers)
        loss = float(np.mean(losses))
        quality = judge.quality(*_placed(mean)) if judge else -loss
        goes_on = course.goes_on(loss, quality)
        progress("content", len(course.points) / options.epochs)
    return mean, course.finished()


def _step(towers: Towers, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """Learn from one batch, of which this process takes its share; the mean loss."""
    rows = torch_run.share(len(batch))
    own = torch.arange(len(batch), device=towers.words.device)[rows]
    loss = functional.cross_entropy(towers(batch, rows), own, reduction="sum") / len(batch)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch_run.add_gradients(towers)
    optimizer.step()
    return torch_run.total(loss.item())


def _approach(mean: Towers, towers: Towers) -> None:
    with torch.no_grad():
        for old, new in zip(mean.parameters(), towers.parameters(), strict=True):
            old.lerp_(new, _NEW)


def _placed(towers: Towers) -> tuple[Float32, Layer]:
    return towers.numbers().vectors(towers.facts), towers.people.numbers()


def _ranker(
    towers: Towers, past: Past, described: Bool, lessons: Lessons, curve: Float32
) -> ContentRanker:
    facts = past.items
    vectors, people = _placed(towers)
    vectors[~described] = 0
    of_category = facts.categories.T.tocsr()
    sizes = np.maximum(of_category @ described.astype(np.float32), 1)
    return ContentRanker(
        items=towers.numbers(), people=people, session=float(towers.session.detach()),
        sharpness=float(towers.sharpness.detach().exp()),
        item_vectors=vectors, described=described, centres=of_category @ vectors / sizes[:, None],
        kinds=facts.kinds, born_us=facts.born_us, ages=_ages(towers, past),
        interest_scale=lessons.scale, curve=curve,
    )  # fmt: skip


def _ages(towers: Towers, past: Past) -> Float32:
    """What ages add, beside the average item now; an age not met is taken for the one before."""
    facts, ages = past.items, _numbers(functional.pad(towers.ages, (0, 1))).copy()
    met = ages != 0  # what no batch held has not moved
    for step in range(1, len(AGE_DAYS) + 1):
        ages[~met[:, step], step] = ages[~met[:, step], step - 1]
    steps = age_steps(np.array(past.as_of_us), facts.born_us)
    known = steps <= len(AGE_DAYS)
    if known.any():
        ages[:, :-1] -= ages[facts.kinds[known], steps[known]].mean()
    return ages


def _sums(table: sp.csr_matrix, values: Tensor, vectors: Tensor) -> Tensor:
    """(n, factors) table @ vectors, with `values` (nnz,) in place of the table's own."""
    places, begins = (
        torch.from_numpy(part.astype(np.int64)).to(vectors.device)
        for part in (table.indices, table.indptr[:-1])
    )
    return functional.embedding_bag(
        places, vectors, begins, mode="sum", per_sample_weights=values
    )  # fmt: skip


def _numbers(tensor: Tensor) -> Float32:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
