"""Fit SASRec: torch learns what comes next; what is left is item vectors and an ONNX reader.

Small catalogues learn from the softmax over all items, which ranks best. Large ones learn from a
sample of items per batch, shared by all its places and corrected for how often each is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from features.home import Progress, silent
from features.training_options import SequenceOptions
from features.types import Float32, Int64
from training.fitting import torch_run
from training.fitting.sequence_lessons import Lessons
from training.fitting.sequence_net import SequenceNet, exported
from training.past import Past
from training.rankers.onnx_model import OnnxModel
from training.rankers.sequence import SequenceRanker, padded

_SMALL = 5000  # items: the whole softmax up to here
_PATIENCE = 4  # epochs
_PATIENT_STEPS = 300  # where epochs are shorter than that
_WARM = 100  # steps in which the learning rate rises
_JUDGED_AT = 10


def fit_sequence(
    past: Past, options: SequenceOptions, progress: Progress = silent
) -> SequenceRanker:
    """SASRec (Kang & McAuley 2018), the epoch that best foretold last items held back.

    Fitted twice the same, unless `minutes` ended it: then it depends on how fast the machine was.
    Under `torchrun` all processes learn together, see `torch_run.lead`. Raises CannotFit.
    """
    return torch_run.together(_fit, past, options, progress)


def _fit(past: Past, options: SequenceOptions, progress: Progress) -> SequenceRanker:
    lessons = Lessons.of(past)
    with torch_run.seeded(past.seed):
        net = SequenceNet(options, lessons.n_items)
        net.to(torch_run.device_of(past))
        torch_run.from_first(net)
        curve = _learn(net, lessons, options, np.random.default_rng(past.seed), progress)
    vectors = np.zeros((lessons.touched.size, options.factors), dtype=np.float32)
    vectors[lessons.touched] = net.items.weight.detach().cpu().numpy()
    reader = OnnxModel(exported(net.reader, options))
    return SequenceRanker(
        vectors, lessons.touched, reader, options.length, lessons.longest_gap, curve
    )


def _learn(
    net: SequenceNet, lessons: Lessons, options: SequenceOptions, random: np.random.Generator,
    progress: Progress,
) -> Float32:  # fmt: skip
    """Epoch by epoch until the course is over; the curve."""
    each = len(lessons.batches(options, np.random.default_rng(0)))  # steps of an epoch
    epochs = max(options.epochs, -(-options.steps // each))
    patience = max(_PATIENCE, -(-_PATIENT_STEPS // each))
    course = torch_run.Course(net, epochs, options.minutes, patience)
    optimizer = torch.optim.Adam(net.parameters(), betas=(0.9, 0.98))
    steps, goes_on = 0, True
    while goes_on:
        losses: list[float] = []
        batches = lessons.batches(options, random)
        for number, batch in enumerate(batches):
            if losses and course.late():
                break
            steps += 1
            falling = 1 - course.over(number / len(batches))
            optimizer.param_groups[0]["lr"] = (
                options.learning_rate * min(steps / _WARM, 1.0) * falling
            )
            losses.append(_step(net, lessons, batch, optimizer, _sample(lessons, options, random)))
        loss = float(np.mean(losses))
        progress(f"sequence: epoch {len(course.points) + 1}", course.over(1.0))
        goes_on = course.goes_on(loss, _ndcg(net, lessons) if lessons.held.size else -loss)
    return course.finished()


@dataclass(frozen=True)
class _Sample:
    """Items that stand for the catalogue in one batch.

    items: (s,) int64, drawn with replacement      log_expected: (s,) float32, draws of each
    """

    items: Int64
    log_expected: Float32


def _sample(
    lessons: Lessons, options: SequenceOptions, random: np.random.Generator
) -> _Sample | None:
    """Half by how often items are seen, half evenly: what is popular and what is not is there."""
    if lessons.n_items <= _SMALL:
        return None
    chance = (lessons.seen + np.float32(1 / lessons.n_items)) / 2
    common = random.choice(lessons.n_items, options.negatives, p=chance / chance.sum())
    return _Sample(common, np.log(chance[common] * options.negatives))


def _step(
    net: SequenceNet, lessons: Lessons, batch: Int64, optimizer: torch.optim.Optimizer,
    sample: _Sample | None,
) -> float:  # fmt: skip
    """Learn from one batch, of which this process takes its share; the mean loss."""
    net.train()
    optimizer.zero_grad()
    own = batch[torch_run.share(len(batch))]
    loss = 0.0
    if len(own):
        mean = _loss(net, lessons, own, sample) / int(batch[:, 1].sum())
        torch.autograd.backward(mean)
        loss = mean.item()
    torch_run.add_gradients(net)
    optimizer.step()
    return torch_run.total(loss)


def _loss(net: SequenceNet, lessons: Lessons, windows: Int64, sample: _Sample | None) -> Tensor:
    """Cross-entropy of the item that came next, summed over every place of the windows."""
    device = net.items.weight.device
    places, real = padded(windows[:, 0], windows[:, 1])
    items, gaps, after = (
        torch.from_numpy(part.astype(np.int64)).to(device)
        for part in (lessons.told.items[places], lessons.told.gaps[places],
                     lessons.told.items[places + 1][real])
    )  # fmt: skip
    with torch_run.autocast(device):
        states = net(items, gaps)[torch.from_numpy(real).to(device)]
        if sample is None:
            return F.cross_entropy(states @ net.items.weight.T, after, reduction="sum")
        return _sampled_loss(net, states, after, sample)


def _sampled_loss(net: SequenceNet, states: Tensor, after: Tensor, sample: _Sample) -> Tensor:
    """Softmax over the right item and the sample, each drawn item worth 1 / its expected draws.

    The importance sampling of Jean et al. 2015, sec. 3.1: the sum over the sample estimates the
    sum over all other items, so that the full ranking is what is learned.
    """
    device = states.device
    drawn = torch.from_numpy(sample.items).to(device)
    right = (states * net.items(after)).sum(dim=1, keepdim=True)
    others = states @ net.items(drawn).T - torch.from_numpy(sample.log_expected).to(device)
    others = others.masked_fill(drawn == after[:, None], -torch.inf)
    return F.cross_entropy(
        torch.cat([right, others], dim=1).float(), torch.zeros_like(after), reduction="sum"
    )


@torch.no_grad()
def _ndcg(net: SequenceNet, lessons: Lessons) -> float:
    """ndcg@10 over all items of the last items held back; equal scores in item order."""
    net.eval()
    device = net.items.weight.device
    asked = lessons.told.last(net.reader.places.num_embeddings, lessons.held)
    ranks = np.empty(lessons.held.size)
    for rows, items, gaps in asked.batches():
        ends = asked.lengths[rows] - 1
        given = (torch.from_numpy(part.astype(np.int64)).to(device) for part in (items, gaps))
        states = net(*given)[torch.arange(rows.size), torch.from_numpy(ends)]
        scores = (states @ net.items.weight.T).float().cpu().numpy()
        answers = lessons.answers[rows, None]
        right = np.take_along_axis(scores, answers.astype(np.int64), axis=1)
        before = (scores == right) & (np.arange(lessons.n_items) < answers)
        ranks[rows] = ((scores > right) | before).sum(axis=1)
    return float(np.where(ranks < _JUDGED_AT, 1 / np.log2(ranks + 2), 0).mean())
