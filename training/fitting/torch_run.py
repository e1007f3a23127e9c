"""What the torch fits share: device, seed, precision, several processes as one, when to stop.

Under `torchrun` the first process does the whole job, and the others help with its torch fits:
`lead` sends each of them there. A fit sees nothing of this but four calls, which do nothing when it
is alone: it takes its `share` of every batch, divides its loss by the size of the whole batch, and
calls `add_gradients`; `from_first` gives all processes the same start.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from features.home import Progress, silent
from features.types import Float32
from training.fitting import CannotFit
from training.past import Past

Options = TypeVar("Options")
Result = TypeVar("Result")
_CPU = torch.device("cpu")
_PATIENT = timedelta(days=2)  # helpers wait while the first process does what is not theirs


def rank() -> int:
    """The number of this process: 0 when it is alone, and for the one that leads."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes fit together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def lead(job: Callable[[], Result]) -> Result | None:
    """Run `job` in the first process of `torchrun`, while the others help; None in those.

    Without torchrun this is `job()`. When the job fails, torchrun ends the helpers.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return job()
    both = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=_PATIENT)
    try:
        if rank() > 0:
            _help()
            return None
        done = job()
        _over()
        return done
    except SystemExit as stop:
        if not stop.code:  # the end of a command that went well
            _over()
        raise
    finally:
        dist.destroy_process_group()


def together(
    fit: Callable[[Past, Options, Progress], Result], past: Past, options: Options,
    progress: Progress,
) -> Result:  # fmt: skip
    """`fit(past, options, progress)`, and the same in every helper; a module's function."""
    if world_size() > 1:
        _told((fit, past, options))
    return fit(past, options, progress)


def _help() -> None:
    """Take part in every fit that the first process begins, until it says that it is done."""
    while (told := _told(None)) is not None:
        fit, past, options = told
        with suppress(CannotFit):  # the first process says so
            fit(past, options, silent)
    dist.barrier()


def _over() -> None:
    """Let the helpers go; none leaves while another still reads: gloo may abort who is left."""
    _told(None)
    dist.barrier()


def _told(what: Any) -> Any:
    """What the first process says to all."""
    box = [what]
    dist.broadcast_object_list(box, src=0, device=_CPU)
    return box[0]


def device_of(past: Past) -> torch.device:
    """Where the fit runs; of several processes on a machine each has a GPU of its own."""
    if past.device != "cuda":
        return torch.device(past.device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not deterministic
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws from `seed` and adds up in a fixed order; each process draws its own."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed * 1000 + rank())
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def autocast(device: torch.device) -> torch.autocast:
    """Half precision (bfloat16) where a GPU has it; its range is that of float32: no scaling."""
    enabled = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def from_first(model: nn.Module) -> None:
    """Give `model` the weights that it has in the first process."""
    if world_size() > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=0)


def share(size: int) -> slice:
    """Which of a batch of `size` are this process's; every process has the whole batch's rows."""
    return slice(rank(), size, world_size())


def add_gradients(model: nn.Module) -> None:
    """Add up the gradients of all processes; each divided its loss by the whole batch's size."""
    if world_size() == 1:
        return
    gradients = [_gradient(one) for one in model.parameters()]
    flat = torch.cat([one.ravel() for one in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat, [one.numel() for one in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Zeros where this process had nothing to say."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def total(value: float) -> float:
    """The sum of every process's value."""
    if world_size() > 1:
        box = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(box)
        return float(box)
    return value


def agreed(value: float) -> float:
    """The first process's value: clocks and the last bits of sums differ, decisions may not."""
    if world_size() > 1:
        box = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(box, src=0)
        return float(box)
    return value


@dataclass
class Course:
    """How learning goes: the curve, the best weights, and when it is over.

    It is over after `epochs`, or `minutes`, or when `patience` epochs in a row were no better.
    points: one per epoch: (epoch from 1, seconds since the start, mean loss, quality)
    """

    model: nn.Module
    epochs: int
    minutes: float
    patience: int
    points: list[tuple[float, float, float, float]] = field(default_factory=list)
    _best: dict[str, Tensor] = field(default_factory=dict)
    _best_at: int = -1
    _begin: float = field(default_factory=time.perf_counter)

    def late(self) -> bool:
        """Is the time over? Asked between batches: an epoch may be longer than the time."""
        return agreed(self._seconds()) > self.minutes * 60

    def over(self, part: float) -> float:
        """Share of the course that is over, `part` of this epoch being done; from 0 to 1.

        By epochs; by the time that they take, where it allows fewer.
        """
        epochs = float(self.epochs)
        if self.points:
            each = self.points[-1][1] / len(self.points)
            epochs = min(epochs, self.minutes * 60 / each)
        return min((len(self.points) + part) / epochs, 1.0)

    def goes_on(self, loss: float, quality: float) -> bool:
        """Note an epoch, whose quality (higher is better) was measured after it; go on?"""
        quality = agreed(quality)
        self.points.append((len(self.points) + 1, agreed(self._seconds()), loss, quality))
        qualities = [point[3] for point in self.points]
        if self._best_at < 0 or quality > qualities[self._best_at]:
            self._best_at = len(qualities) - 1
            self._best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        patient = len(qualities) - 1 - self._best_at < self.patience
        return patient and len(qualities) < self.epochs and not self.late()

    def finished(self) -> Float32:
        """Put the best weights back; (epochs, 4) float32, the points."""
        self.model.load_state_dict(self._best)
        return np.array(self.points, dtype=np.float32).reshape(-1, 4)

    def _seconds(self) -> float:
        return time.perf_counter() - self._begin
